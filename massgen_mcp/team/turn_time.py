"""The deadline of one turn."""

from __future__ import annotations

import anyio

from massgen_mcp.clock import Clock
from massgen_mcp.engine import Event
from massgen_mcp.team.turn import TurnInMotion

__all__ = ["in_time"]


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
