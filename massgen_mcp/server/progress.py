"""Progress of a run to the caller that waits for it.

At most a message a second, the newest wins; one every ten seconds when nothing happens, since hosts give up
on silent servers. Without a progress token the SDK sends nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import anyio

from massgen_mcp.clock import Clock
from massgen_mcp.errors import JournalError
from massgen_mcp.journal.records import Record
from massgen_mcp.runs import RunHandle, RunResult
from massgen_mcp.runs.lines import Lines
from massgen_mcp.team import Listener

__all__ = ["HEARTBEAT", "PACE", "Send", "wait_reporting"]

_logger = logging.getLogger(__name__)

Send = Callable[[float, str], Awaitable[None]]
"""Sends one message: a number that grows, and the line."""

PACE = 1.0
"""Seconds between two messages at least."""
HEARTBEAT = 10.0
"""Seconds after which something is said in any case."""


async def wait_reporting(
    handle: RunHandle,
    seconds: float | None,
    send: Send,
    *,
    clock: Clock,
    past: Callable[[], Awaitable[Sequence[Record]]],
    redact: Callable[[str], str],
) -> RunResult:
    """Wait for a run and report on it. Returns its result, or how far it is when `seconds` have passed.

    Args:
        handle: the run.
        seconds: how long to wait at most; None: to the end.
        send: takes what there is to report.
        clock: where time comes from.
        past: reads what the run has journalled so far.
        redact: takes secrets out of what is reported.
    """
    reporter = _Reporter(handle, send, clock, redact)
    with handle.listen() as listener:
        async with anyio.create_task_group() as tasks:

            async def end_in_time(limit: float) -> None:
                await clock.sleep(limit)
                tasks.cancel_scope.cancel()

            tasks.start_soon(reporter.follow, listener, past)
            tasks.start_soon(reporter.beat)
            tasks.start_soon(reporter.speak)
            if seconds is not None:
                tasks.start_soon(end_in_time, seconds)
            await handle.wait()
            tasks.cancel_scope.cancel()
    return handle.status()


class _Reporter:
    def __init__(self, handle: RunHandle, send: Send, clock: Clock, redact: Callable[[str], str]) -> None:
        self._handle = handle
        self._lines = Lines(handle.agents, redact=redact)
        self._send = send
        self._clock = clock
        self._count = 0
        self._spoke = clock.monotonic()
        self._newest = ""
        self._news = anyio.Event()

    async def follow(self, listener: Listener, past: Callable[[], Awaitable[Sequence[Record]]]) -> None:
        """Turn records into lines. The past is told by its last line alone."""
        seen, line = 0, None
        try:
            for record in await past():
                line = self._lines.line(record) or line
                seen = record.seq
        except JournalError as error:
            _logger.warning("progress of run %s begins without its past: %s", self._handle.run_id, error)
        self._say(line)
        async for record in listener:
            if record.seq > seen:
                self._say(self._lines.line(record))

    async def beat(self) -> None:
        """Say where the run is when there was nothing to say for a while."""
        while True:
            silent = self._clock.monotonic() - self._spoke
            if silent >= HEARTBEAT:
                self._say(self._lines.heartbeat(self._clock.now(), queued=self._handle.queued))
                silent = 0.0
            await self._clock.sleep(HEARTBEAT - silent)

    async def speak(self) -> None:
        """Send the newest line, then keep the pace."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            self._count += 1
            self._spoke = self._clock.monotonic()
            await self._send(float(self._count), self._newest)
            await self._clock.sleep(PACE)

    def _say(self, line: str | None) -> None:
        if line is not None:
            self._newest = line
            self._news.set()
