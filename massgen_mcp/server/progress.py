"""Progress of a run to the caller that waits for it.

At most a message a second, the newest wins; one every ten seconds when nothing happens, since hosts give up
on silent servers. Without a progress token the SDK sends nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from massgen_mcp.clock import Clock
from massgen_mcp.journal.records import Record
from massgen_mcp.runs import RunHandle
from massgen_mcp.runs.lines import Lines
from massgen_mcp.team import Listener

__all__ = ["Send", "progress_of"]

Send = Callable[[float, str], Awaitable[None]]
"""Sends one message: a number that grows, and the line."""

_PACE = 1.0
_HEARTBEAT = 10.0


@asynccontextmanager
async def progress_of(
    handle: RunHandle,
    send: Send,
    *,
    clock: Clock,
    past: Callable[[], Awaitable[Sequence[Record]]],
    redact: Callable[[str], str],
) -> AsyncGenerator[None]:
    """Report on a run for the time of the block. `past` reads what it has journalled so far."""
    with handle.listen() as listener:
        reporter = _Reporter(handle, send, clock, redact)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reporter.follow, listener, past)
            tasks.start_soon(reporter.beat)
            tasks.start_soon(reporter.speak)
            yield
            tasks.cancel_scope.cancel()


class _Reporter:
    def __init__(self, handle: RunHandle, send: Send, clock: Clock, redact: Callable[[str], str]) -> None:
        self._lines = Lines(handle.agents, redact=redact)
        self._send = send
        self._clock = clock
        self._count = 0
        self._spoke = clock.monotonic()
        self._pending: str | None = None
        self._news = anyio.Event()

    async def follow(self, listener: Listener, past: Callable[[], Awaitable[Sequence[Record]]]) -> None:
        """Turn records into lines. The past is told by its last line alone."""
        seen = 0
        line = None
        for record in await past():
            line = self._lines.line(record) or line
            seen = record.seq
        self._say(line)
        async for record in listener:
            if record.seq > seen:
                self._say(self._lines.line(record))

    async def beat(self) -> None:
        """Say where the run is when there was nothing to say for a while."""
        while True:
            silent = self._clock.monotonic() - self._spoke
            if silent >= _HEARTBEAT:
                self._say(self._lines.heartbeat(self._clock.now()))
                silent = 0.0
            await self._clock.sleep(_HEARTBEAT - silent)

    async def speak(self) -> None:
        """Send the newest line, then keep the pace."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            if self._pending is not None:
                line, self._pending = self._pending, None
                self._count += 1
                self._spoke = self._clock.monotonic()
                await self._send(float(self._count), line)
                await self._clock.sleep(_PACE)

    def _say(self, line: str | None) -> None:
        if line is not None:
            self._pending = line
            self._news.set()
