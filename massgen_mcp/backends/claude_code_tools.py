"""The team's tools as an MCP server inside this process, which Claude Code asks over its own pipe."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.backends.base import TurnTools
from massgen_mcp.backends.claude_code_settings import SERVER
from massgen_mcp.backends.pulse import PULSE
from massgen_mcp.messages import Image, ToolCall, ToolResult, ToolSpec

__all__ = ["Desk", "OpenTurn"]

_LONGEST = 100_000
"""Characters of a result that stay in the conversation; the team cuts results earlier than that."""
_BEAT = 15.0


@dataclass(slots=True)
class _Order:
    """A call on its way from the pipe to the turn it belongs to."""

    call: ToolCall
    done: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    result: ToolResult | None = None


class Desk:
    """Takes the command line's calls of our tools, and hands them to the turn that is open.

    They run as tasks of that turn, so that they end with it. A call after the turn is refused.
    """

    def __init__(self, protocol: ModuleType) -> None:
        self._protocol = protocol
        self._turn: OpenTurn | None = None

    def open(self, tools: TurnTools, tasks: TaskGroup) -> OpenTurn:
        """A turn begins; its calls are tasks of that group."""
        self._turn = OpenTurn(tools)
        tasks.start_soon(self._turn.serve, tasks)
        return self._turn

    def close(self) -> None:
        """The turn is over."""
        if self._turn is not None:
            self._turn.close()
        self._turn = None

    def server(self, server: Any, specs: Sequence[ToolSpec]) -> dict[str, Any]:
        """The server as the SDK's options hold it.

        Args:
            server: the class of the MCP SDK's low-level server.
            specs: the tools, as they are listed.
        """
        types: Any = self._protocol
        listed = types.ListToolsResult(
            tools=[
                types.Tool.model_validate(
                    {
                        "name": spec.name,
                        "description": spec.description,
                        "inputSchema": dict(spec.parameters),
                        "_meta": {"anthropic/maxResultSizeChars": _LONGEST},
                    }
                )
                for spec in specs
            ]
        )

        async def on_list(context: Any, params: Any) -> Any:
            del context, params
            return listed

        async def on_call(context: Any, params: Any) -> Any:
            del context
            return types.CallToolResult.model_validate(await self._run(params))

        made = server(SERVER, version="1", on_list_tools=on_list, on_call_tool=on_call)
        return {"type": "sdk", "name": SERVER, "instance": made, "alwaysLoad": True}

    async def _run(self, params: Any) -> dict[str, Any]:
        turn = self._turn
        if turn is None:
            return _content("The turn is over. Stop now.", is_error=True)
        meta: dict[str, Any] = params.meta or {}
        identity = str(meta.get("claudecode/toolUseId") or f"call-{turn.next_number()}")
        arguments = json.dumps(params.arguments or {}, ensure_ascii=False)
        result = await turn.run(ToolCall(id=identity, name=params.name, arguments=arguments))
        if not turn.ended.is_set():
            return _content(result.content, is_error=result.is_error, images=result.images)
        # Ends the command line's turn without another request; it looks at that only where nothing failed.
        return {**_content(result.content, is_error=False), "_meta": {"claude/endTurn": True}}


class OpenTurn:
    """The calls of one turn."""

    def __init__(self, tools: TurnTools) -> None:
        self.ended = anyio.Event()
        """A call has ended the turn, or broke."""
        self.failure: Exception | None = None
        """What broke: nothing that a model can mend."""
        self._tools = tools
        self._numbers = 0
        self._orders, self._incoming = anyio.create_memory_object_stream[_Order](16)

    def next_number(self) -> int:
        """A number for a call that came without an identity."""
        self._numbers += 1
        return self._numbers

    async def run(self, call: ToolCall) -> ToolResult:
        """Have one call made; cancelling this cancels the call."""
        order = _Order(call)
        try:
            await self._orders.send(order)
            await order.done.wait()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the turn has just ended
        finally:
            order.scope.cancel()
        return order.result or ToolResult(call_id=call.id, content="The turn is over.", is_error=True)

    async def serve(self, tasks: TaskGroup) -> None:
        """Make the calls, as tasks of that group, until cancelled."""
        with contextlib.suppress(anyio.ClosedResourceError):
            async for order in self._incoming:
                tasks.start_soon(self._perform, order)

    def close(self) -> None:
        """Take no more calls."""
        self._orders.close()
        self._incoming.close()

    async def _perform(self, order: _Order) -> None:
        try:
            with order.scope:
                async with anyio.create_task_group() as beside:
                    beside.start_soon(_beat)
                    await self._call(order)
                    beside.cancel_scope.cancel()
        finally:
            if self._tools.ended_by is not None or self.failure is not None:
                self.ended.set()
            order.done.set()

    async def _call(self, order: _Order) -> None:
        try:
            order.result = await self._tools.call(order.call)
        except Exception as error:  # noqa: BLE001 - raised again by the turn, outside of the groups that would wrap it
            self.failure = error


async def _beat() -> None:
    """A tool that works is life."""
    while True:
        await anyio.sleep(_BEAT)
        if (pulse := PULSE.get()) is not None:
            pulse.beat()


def _content(text: str, *, is_error: bool, images: Sequence[Image] = ()) -> dict[str, Any]:
    pictures = [image for image in images if image.mime.startswith("image/")]
    left_out = len(images) - len(pictures)
    told = f"{text}\n[{left_out} documents can't be shown to you here.]" if left_out else text
    shown = [
        {"type": "image", "data": base64.b64encode(each.data).decode(), "mimeType": each.mime}
        for each in pictures
    ]
    return {"content": [{"type": "text", "text": told}, *shown], "isError": is_error}
