"""Time that is passed in."""

from __future__ import annotations

import time

import anyio
import pytest

from massgen_mcp.clock import Clock, ScriptedClock, SystemClock

pytestmark = pytest.mark.anyio


async def _sleeper(clock: Clock, seconds: float, log: list[tuple[float, float]]) -> None:
    await clock.sleep(seconds)
    log.append((seconds, clock.monotonic()))


async def test_the_system_clock_is_the_machine_s() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    await clock.sleep(-1)
    assert clock.monotonic() - before >= 0.009
    assert abs(clock.now() - time.time()) < 5


async def test_a_scripted_clock_wakes_sleepers_in_order_and_only_as_far_as_it_is_moved() -> None:
    clock = ScriptedClock(start=1000.0)
    log: list[tuple[float, float]] = []
    async with anyio.create_task_group() as tasks:
        for seconds in (5.0, 1.0, 3.0, 20.0):
            tasks.start_soon(_sleeper, clock, seconds, log)
        await clock.advance(10)
        assert log == [(1.0, 1.0), (3.0, 3.0), (5.0, 5.0)]
        assert clock.sleepers == 1
        assert clock.now() == 1010.0
        tasks.cancel_scope.cancel()
    assert clock.sleepers == 0


async def test_a_task_woken_by_the_clock_may_sleep_again_within_one_move() -> None:
    clock = ScriptedClock()
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await clock.advance(3.5)
        tasks.cancel_scope.cancel()
    assert ticks == [1.0, 2.0, 3.0]


async def test_a_running_clock_passes_hours_while_everybody_waits() -> None:
    clock = ScriptedClock()
    log: list[tuple[float, float]] = []
    with anyio.fail_after(5):
        async with anyio.create_task_group() as outer:
            outer.start_soon(clock.run)
            async with anyio.create_task_group() as inner:
                for seconds in (7200.0, 60.0, 0.0):
                    inner.start_soon(_sleeper, clock, seconds, log)
            await anyio.lowlevel.checkpoint()
            await clock.sleep(30)
            outer.cancel_scope.cancel()
    assert log == [(0.0, 0.0), (60.0, 60.0), (7200.0, 7200.0)]
    assert clock.monotonic() == 7230.0
