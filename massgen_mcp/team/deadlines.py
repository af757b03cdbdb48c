"""The deadlines of a run, its rounds and its turns: the engine is told of them like of anything else."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from massgen_mcp.clock import Clock
from massgen_mcp.engine import AnsweringClosed, Event, RoundDeadline, RunDeadline
from massgen_mcp.team.spec import Limits
from massgen_mcp.team.turn import TurnInMotion

__all__ = ["Deadlines", "in_time"]


class Deadlines:
    """The deadlines of one run.

    Args:
        limits: how long it and its rounds may take.
        clock: what tells the time.
        began: when the run began by that clock, the time in which nobody drove it left out.
        tell: told what is over.
    """

    def __init__(self, limits: Limits, clock: Clock, began: float, tell: Callable[[Event], None]) -> None:
        self._limits = limits
        self._clock = clock
        self._began = began
        self._tell = tell

    async def of_run(self, *, closed: bool) -> None:
        """Close answering, unless that has been told before, and end the run in time."""
        if not closed:
            await self._until(self._limits.answering_seconds)
            self._tell(AnsweringClosed())
        await self._until(self._limits.seconds)
        self._tell(RunDeadline())

    async def of_round(self, number: int) -> None:
        """End a round that begins now."""
        seconds = self._limits.round(number)
        if seconds is not None:
            await self._clock.sleep(seconds)
            self._tell(RoundDeadline(round=number))

    async def _until(self, seconds: float) -> None:
        await self._clock.sleep(max(0.0, self._began + seconds - self._clock.monotonic()))


async def in_time(motion: TurnInMotion, seconds: float | None, clock: Clock) -> Event | None:
    """What a turn ends in, at the latest after so many seconds; None for one that was over before.

    An agent runtime that has handed in by then may come to its end by itself.

    Raises:
        ExceptionGroup: around what the turn raises, where there is a limit.
    """
    if seconds is None:
        return await motion.run()
    event: Event | None = None
    late = False
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            nonlocal late
            await clock.sleep(seconds)
            if not motion.has_handed_in:
                late = True
                tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        event = await motion.run()
        late = False
        tasks.cancel_scope.cancel()
    return motion.run_out(seconds) if late else event
