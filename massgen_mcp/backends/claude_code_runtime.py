"""Claude Code as an agent: turns over one session, each with the team's tools."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.backends.base import TurnTools
from massgen_mcp.backends.claude_code_access import Access
from massgen_mcp.backends.claude_code_failures import TurnFailures
from massgen_mcp.backends.claude_code_place import Place
from massgen_mcp.backends.claude_code_reading import Reading
from massgen_mcp.backends.claude_code_session import Session, Vendor
from massgen_mcp.backends.claude_code_tools import Desk, OpenTurn
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.runtime_turn import Delivered
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Message, Request

__all__ = ["Runtime"]

_HINT = 0.3
"""Seconds that the command line has to end its turn by itself once it was told to; older ones don't."""
_PATIENCE = 1.0
"""Seconds that it has after it was interrupted."""


class Runtime:
    """One agent on Claude Code: a session that its turns continue, in a place of its own."""

    def __init__(
        self,
        *,
        info: BackendInfo,
        model: str,
        vendor: Vendor,
        place: Place,
        session: Session,
        desk: Desk,
        access: Access,
        failures: TurnFailures,
        warnings: tuple[str, ...],
    ) -> None:
        self.info = info
        """The backend's row."""
        self.model = model
        """The model asked for."""
        self._vendor = vendor
        self._place = place
        self._session = session
        self._desk = desk
        self._access = access
        self._failures = failures
        self._warnings = warnings
        self._delivered = Delivered()

    @property
    def session(self) -> str | None:
        """The id of the conversation, chosen before it begins."""
        return self._session.id

    @asynccontextmanager
    async def run_turn(self, request: Request, tools: TurnTools) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt at a turn; leaving stops it, and the session can go on."""
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            turn = self._desk.open(tools, tasks)
            try:
                async with aclosing(self._deltas(request, tools, turn, tasks)) as deltas:
                    yield deltas
            except Exception as error:  # noqa: BLE001 - raised again below, outside of the group that would wrap it
                failure = error
            finally:
                self._desk.close()
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        """End the command line and delete its folder."""
        with anyio.CancelScope(shield=True):
            await self._session.close()
            await self._place.remove()

    async def _deltas(
        self, request: Request, tools: TurnTools, turn: OpenTurn, tasks: TaskGroup
    ) -> AsyncGenerator[Delta]:
        system = "\n\n".join(message.text for message in request.messages if message.role == "system")
        await self._session.start(system, request.tools, self._failures)
        reading = Reading(self._vendor.sdk, self._failures, self._access, self._session.totals)
        tasks.start_soon(self._stop_when_ended, turn)
        try:
            async with aclosing(self._read(self._news(request), reading, turn)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            if reading.result is None and self._session.running:
                await self._session.settle()
        if turn.failure is not None:
            raise turn.failure
        warnings, self._warnings = self._warnings, ()
        yield reading.reply(tools.ended_by, session=self._session.id, warnings=warnings)

    async def _read(
        self, news: list[dict[str, Any]], reading: Reading, turn: OpenTurn
    ) -> AsyncGenerator[Delta]:
        """Everything up to the turn's last word. One cut off after its end was decided has none."""
        try:
            await self._session.send(news)
            async for message in self._session.messages():
                for delta in reading.feed(message):
                    yield delta
        except BackendError as failure:
            if not turn.ended.is_set():
                raise reading.counted(failure) from None
        except Exception as error:  # noqa: BLE001 - the SDK raises bare exceptions when its process is gone
            await self._session.close()
            if not turn.ended.is_set():
                raise reading.counted(self._failures.of_process(error, started=True)) from None
        else:
            if reading.result is None and not turn.ended.is_set():
                await self._session.close()
                raise reading.counted(self._failures.of_process(None, started=True))

    async def _stop_when_ended(self, turn: OpenTurn) -> None:
        """See that the command line stops once a call has ended the turn. Cancelled when it has."""
        await turn.ended.wait()
        await anyio.sleep(_HINT)
        with suppress(Exception), anyio.move_on_after(_PATIENCE):
            await self._session.interrupt()
            await anyio.sleep(_PATIENCE)
        self._session.kill()

    def _news(self, request: Request) -> list[dict[str, Any]]:
        """What the user says that the session does not hold yet."""
        if self._session.fresh:
            self._delivered = Delivered()
        return [block for message in self._delivered.news(request) for block in _blocks(message)]


def _blocks(message: Message) -> list[dict[str, Any]]:
    """An entry as the Messages API has it."""
    blocks: list[dict[str, Any]] = [
        {
            "type": "document" if image.mime == "application/pdf" else "image",
            "source": {
                "type": "base64",
                "media_type": image.mime,
                "data": base64.b64encode(image.data).decode(),
            },
        }
        for image in message.images
    ]
    return [*blocks, {"type": "text", "text": message.text}] if message.text else blocks
