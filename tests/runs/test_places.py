"""How much is in motion at once: runs, their agents, and what those take of the memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.runs import Ask, Runs
from massgen_mcp.runs.lines import Lines
from massgen_mcp.runs.places import Load, Places, machine_memory
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = pytest.mark.anyio


class Visitor:
    """Somebody who wants a place, and may be told to leave it."""

    def __init__(self, places: Places, load: Load) -> None:
        self.words: list[str] = []
        self.scope = anyio.CancelScope()
        self.leaving = anyio.Event()
        self.inside = False
        self._places = places
        self._load = load

    async def come(self) -> None:
        with self.scope:
            async with self._places.place(self._load, self.words.append):
                self.inside = True
                await self.leaving.wait()
        self.inside = False


@asynccontextmanager
async def visited(places: Places, *loads: Load) -> AsyncGenerator[list[Visitor]]:
    async with anyio.create_task_group() as tasks:
        visitors = [Visitor(places, load) for load in loads]
        for visitor in visitors:
            tasks.start_soon(visitor.come)
            await anyio.wait_all_tasks_blocked()
        yield visitors
        tasks.cancel_scope.cancel()


def inside(visitors: list[Visitor]) -> list[bool]:
    return [visitor.inside for visitor in visitors]


async def test_a_run_waits_until_all_its_agents_have_a_place() -> None:
    places = Places(runs=9, agents=5)
    async with visited(places, Load(agents=3), Load(agents=3), Load(agents=2)) as (first, second, third):
        # The small one would fit, and waits its turn all the same.
        assert inside([first, second, third]) == [True, False, False]
        assert second.words == [
            "waiting for other runs: it has 3 agents, and 2 of 5 places for agents are free",
            "waiting for other runs: it has 3 agents, and 2 of 5 places for agents are free",
        ]
        first.leaving.set()
        await anyio.wait_all_tasks_blocked()
        assert inside([first, second, third]) == [False, True, True]
        assert (second.words[-1], third.words[-1]) == ("", "")


async def test_memory_is_counted_by_what_the_agents_take() -> None:
    places = Places(runs=9, memory=1_100)
    async with visited(places, Load(memory=660), Load(memory=660)) as (_, second):
        assert not second.inside
        assert second.words == [
            "waiting for other runs: its agents take about 660 MiB, and 440 of 1,100 are free"
        ]


async def test_a_run_that_is_larger_than_a_limit_runs_alone() -> None:
    places = Places(runs=9, agents=2, memory=100)
    async with visited(places, Load(agents=1), Load(agents=7, memory=900), Load(agents=1)) as (
        one,
        large,
        late,
    ):
        assert inside([one, large, late]) == [True, False, False]
        one.leaving.set()
        await anyio.wait_all_tasks_blocked()
        assert inside([large, late]) == [True, False]
        large.leaving.set()
        await anyio.wait_all_tasks_blocked()
        assert late.inside


async def test_who_leaves_the_queue_is_waited_for_no_longer() -> None:
    places = Places(runs=9, agents=5)
    async with visited(places, Load(agents=3), Load(agents=4), Load(agents=2)) as (_, second, third):
        assert third.words == ["waiting for other runs"]
        second.scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert third.inside


async def test_a_place_that_comes_at_the_moment_of_leaving_is_given_back() -> None:
    places = Places(runs=1)
    async with visited(places, Load(), Load(), Load()) as (first, second, third):
        first.leaving.set()
        second.scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert inside([first, second, third]) == [False, False, True]


async def test_a_run_in_the_queue_says_what_it_waits_for_and_begins_in_time() -> None:
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4"), "answer: 4"], b=["answer: 4", "answer: 4"])
    async with _runs(team, max_agents=3) as runs:
        first = await runs.start(Ask(question="one"))
        await team.answering.wait()
        second = await runs.start(Ask(question="two"))
        assert (await second.wait(0)).phase == (
            "waiting for other runs: it has 2 agents, and 1 of 3 places for agents are free"
        )
        third = await runs.start(Ask(question="three"))
        assert (await runs.cancel(third.run_id, "not needed")).status == "cancelled"
        gate.set()
        with anyio.fail_after(10):
            assert (await first.wait()).status == "completed"
            assert (await second.wait()).status == "completed"


async def test_a_run_in_the_queue_says_so_in_its_progress() -> None:
    words = "waiting for other runs: it has 2 agents, and 1 of 3 places for agents are free"
    lines = Lines(["a", "b"], started=100.0)
    assert lines.heartbeat(112.0, queued=words) == f"{words}, 12 s"
    assert lines.heartbeat(112.0) == "waiting to begin, 12 s"


@asynccontextmanager
async def _runs(team: ScriptedTeam, *, max_agents: int) -> AsyncGenerator[Runs]:
    async with anyio.create_task_group() as tasks:
        runs = Runs(replace(team.world(), max_agents=max_agents), tasks)
        yield runs
        tasks.cancel_scope.cancel()


async def test_agents_with_a_program_of_their_own_take_far_more_than_others() -> None:
    weights = {row.type: row.memory for row in BACKENDS.values()}
    assert min(weights[name] for name in ("claude_code", "codex", "gemini_cli")) > 50
    assert weights["openai"] == 1


async def test_the_memory_of_a_container_counts_where_it_has_less(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    whole = machine_memory([limit])
    limit.write_text("max\n")
    assert machine_memory([limit]) == whole
    limit.write_text(f"{64 * 1024 * 1024}\n")
    assert machine_memory([limit]) == 64
