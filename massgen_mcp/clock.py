"""Time, as a value that is passed in: the real clock, and the contract a scripted one keeps."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import Protocol

import anyio
import anyio.lowlevel

__all__ = ["Clock", "ScriptedClock", "SystemClock"]


class Clock(Protocol):
    """Where time comes from. Tests pass one that stands still until they move it."""

    def now(self) -> float:
        """Seconds since the epoch, for records that people read."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for durations and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds; at once when not positive."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await anyio.sleep(max(0.0, seconds))


class ScriptedClock:
    """Time that stands still until a test or a simulation moves it.

    `advance` moves it by hand. `run`, as a task of its own, moves it to the next sleeper's time whenever
    every other task waits, so that hours pass in milliseconds and always in the same order; it is for worlds
    inside one process, since it can't know that bytes are on their way through a socket.
    """

    _SPINS = 20
    """Steps of the event loop granted to others before asking whether all of them wait."""

    def __init__(self, start: float = 1_750_000_000.0) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._numbers = itertools.count()
        self._slept = anyio.Event()

    def now(self) -> float:
        """Seconds since the epoch, as scripted."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds moved so far."""
        return self._elapsed

    @property
    def sleepers(self) -> int:
        """How many tasks wait for time to move."""
        return len(self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has been moved that far."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        sleeper = (self._elapsed + seconds, next(self._numbers), anyio.Event())
        heapq.heappush(self._sleepers, sleeper)
        self._slept.set()
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move time, waking sleepers one after the other; each may act and sleep again before the next."""
        end = self._elapsed + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            await self._wake_next()
        self._elapsed = end

    async def run(self) -> None:
        """Move time for as long as this task lives, whenever all others wait."""
        await self._settle()
        while True:
            if self._sleepers:
                await self._wake_next()
            else:
                self._slept = anyio.Event()
                await self._slept.wait()
                await self._settle()

    async def _wake_next(self) -> None:
        self._elapsed, _, event = heapq.heappop(self._sleepers)
        event.set()
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(self._SPINS):
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
