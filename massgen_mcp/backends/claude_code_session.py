"""One conversation with Claude Code over the Agent SDK: its processes come and go, its id stays."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread

from massgen_mcp.backends.claude_code_failures import TurnFailures
from massgen_mcp.backends.claude_code_place import Place
from massgen_mcp.backends.claude_code_process import Process
from massgen_mcp.backends.claude_code_reading import Totals
from massgen_mcp.backends.claude_code_settings import SERVER
from massgen_mcp.backends.claude_code_tools import Desk
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import ToolSpec

__all__ = ["Session", "Vendor"]

_START_SECONDS = 60.0
_SETTLE = 0.4
"""Seconds that a stopped turn has to come to its end before its process is ended."""
_LEAVE = 0.6
"""Seconds that a process has to end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """The packages it takes, loaded."""

    sdk: ModuleType
    server: Any
    """The class of the MCP SDK's low-level server."""
    protocol: ModuleType
    """The types of the MCP SDK."""


class Session:
    """A conversation. It is started by the first turn, which alone knows the system prompt and the tools.

    A process that was lost or stopped is followed by another, which resumes the conversation by its id.
    """

    def __init__(
        self,
        *,
        vendor: Vendor,
        place: Place,
        settings: Mapping[str, Any],
        prompt: str,
        full: bool,
        desk: Desk,
        starts: float = _START_SECONDS,
    ) -> None:
        self._vendor = vendor
        self._place = place
        self._settings = settings
        self._prompt = prompt
        self._full = full
        self._desk = desk
        self._starts = starts
        self._client: Any = None
        self._process: Process | None = None
        self._shape = ""
        self._begun = False
        self.id = str(uuid.uuid4())
        """Chosen by us, so that it is known before anything is sent."""
        self.fresh = True
        """Whether nothing that was ever sent is part of it."""
        self.totals = Totals()

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._client is not None

    async def start(self, system: str, specs: Sequence[ToolSpec], failures: TurnFailures) -> None:
        """Have a process with this system prompt and these tools; the one there is, where it has them.

        Raises:
            BackendError: none can be started.
        """
        shape = json.dumps([system, [[spec.name, spec.description, spec.parameters] for spec in specs]])
        if self._client is not None and shape == self._shape:
            return
        await self.close()
        if self._begun:
            try:
                await self._open(system, specs, failures, {"resume": self.id})
            except BackendError:
                # What was never written down can't be resumed: the conversation begins anew.
                self.id, self._begun, self.fresh = str(uuid.uuid4()), False, True
                self.totals = Totals()
            else:
                self._shape = shape
                return
        await self._open(system, specs, failures, {"session_id": self.id})
        self._shape = shape

    async def send(self, content: list[dict[str, Any]]) -> None:
        """Say something; the command line's turn begins."""
        self._begun, self.fresh = True, False
        entry = {"type": "user", "message": {"role": "user", "content": content}, "parent_tool_use_id": None}

        async def entries() -> AsyncIterator[dict[str, Any]]:
            yield entry

        await self._client.query(entries())

    def messages(self) -> AsyncIterator[Any]:
        """What the command line says, up to the end of its turn."""
        return self._client.receive_response()

    async def interrupt(self) -> None:
        """Ask it to stop its turn; it says a last word then."""
        if self._client is not None:
            await self._client.interrupt()

    async def settle(self) -> None:
        """Stop a turn that is under way, so that another can follow: by a word, else by the process's end."""
        with anyio.CancelScope(shield=True):
            settled = False
            with anyio.move_on_after(_SETTLE), contextlib.suppress(Exception):
                await self.interrupt()
                async with contextlib.aclosing(self._client.receive_response()) as rest:
                    async for message in rest:
                        settled = isinstance(message, self._vendor.sdk.ResultMessage)
            if not settled:
                self.kill()
                await self.close()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        """End the process; it is gone when this returns."""
        client, self._client = self._client, None
        if client is None:
            return
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._kill_later)
                # However the SDK's goodbye fails, the process is ended below.
                with contextlib.suppress(Exception):
                    await client.disconnect()
                tasks.cancel_scope.cancel()
            await self._end()

    async def _kill_later(self) -> None:
        await anyio.sleep(_LEAVE)
        self.kill()

    async def _open(
        self,
        system: str,
        specs: Sequence[ToolSpec],
        failures: TurnFailures,
        start: Mapping[str, str],
    ) -> None:
        sdk: Any = self._vendor.sdk
        failures.forget()
        await anyio.to_thread.run_sync(self._write, system)
        options = sdk.ClaudeAgentOptions(
            **self._settings,
            **start,
            **self._system(),
            mcp_servers={SERVER: self._desk.server(self._vendor.server, specs)},
            stderr=failures.heard,
        )
        client = sdk.ClaudeSDKClient(options)
        failure = await self._connect(client)
        self._process = self._place.started()
        if failure is not None:
            await self._end()
            raise failures.of_process(failure, started=False) from None
        self._client = client

    async def _connect(self, client: Any) -> Exception | None:
        """Start the process and greet it; what kept it from starting, where something did."""
        connected = anyio.Event()
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_unless, connected)
            try:
                with anyio.fail_after(self._starts):
                    await client.connect()
            except Exception as error:  # noqa: BLE001 - the SDK raises bare exceptions; whichever, it did not start
                failure = error
            connected.set()
        return failure

    async def _end_unless(self, connected: anyio.Event) -> None:
        """Where a start is cancelled or too slow, the SDK waits long for a process that does not leave."""
        try:
            with anyio.move_on_after(self._starts):
                await connected.wait()
        finally:
            if not connected.is_set():
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(_LEAVE)
                    self._process = self._place.started()
                    await self._end()

    async def _end(self) -> None:
        """See that nothing is left of the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with anyio.CancelScope(shield=True):
            await process.gone()
        process.forget()

    def _write(self, system: str) -> None:
        text = "\n\n".join(part for part in (self._prompt, system) if part)
        # By a file: an argument has a limit, and everybody can read it.
        (self._place.fixed / "system.md").write_text(text, encoding="utf-8", errors="replace")
        self._place.write_launcher(self._settings["env"])

    def _system(self) -> dict[str, Any]:
        path = str(self._place.fixed / "system.md")
        if not self._full:
            return {"system_prompt": {"type": "file", "path": path}}
        return {
            "system_prompt": {"type": "preset", "preset": "claude_code"},
            "extra_args": {"append-system-prompt-file": path, "disable-slash-commands": None},
        }
