"""Runs that this process does not drive, or that end in a way nobody wanted."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import JournalError
from massgen_mcp.journal import Journal, MemoryJournal, open_journal, summarise
from massgen_mcp.runs import Ask, RunResult, Runs
from massgen_mcp.runs.past import result_of_record
from tests.runs import crash
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(team: ScriptedTeam) -> AsyncGenerator[Runs]:
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        yield runs
        tasks.cancel_scope.cancel()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def begun(runs: Runs, **ask: Any) -> str:
    """A run that has its first answer."""
    handle = await runs.start(Ask(question="q", **ask))
    with anyio.fail_after(10), handle.listen() as listener:
        async for record in listener:
            if record.kind == "AnswerGiven":
                break
    return handle.run_id


def two(gate: anyio.Event, journal: Journal) -> ScriptedTeam:
    team = scripted_team(a=["answer: 4"], b=[After(gate, "answer: 4")])
    team.journal = journal
    return team


async def test_a_run_of_another_process_can_be_looked_at_waited_for_and_stopped(folder: Path):
    gate = anyio.Event()
    async with opened(two(gate, await open_journal(folder))) as driver:
        run_id = await begun(driver)
        other = scripted_team(a=[])
        other.journal = await open_journal(folder)
        async with opened(other) as watcher:
            assert (await watcher.result(run_id)).status == "running"
            assert (await watcher.wait(run_id, 0.3)).next.startswith("get_run(")
            stopped = await watcher.cancel(run_id, "from next door")
            assert (stopped.status, stopped.answer) == ("cancelled", "4")
            assert await watcher.cancel(run_id, "again") == stopped


async def test_a_run_of_another_process_says_how_long_its_team_usually_takes(folder: Path):
    clock, gate = ScriptedClock(), anyio.Event()
    teams = [two(event, await open_journal(folder, clock=clock)) for event in (gate, anyio.Event())]
    other = scripted_team(a=[])
    other.journal = await open_journal(folder, clock=clock)
    before, now, later = (replace(team, clock=clock) for team in (*teams, other))
    async with opened(before) as driver, opened(now) as another, opened(later) as watcher:
        first = await driver.start(Ask(question="one"))
        await before.answering.wait()
        await clock.advance(60)
        assert (await watcher.result(first.run_id)).eta_seconds is None
        gate.set()
        with anyio.fail_after(10):
            await first.wait()
        run_id = (await another.start(Ask(question="two"))).run_id
        await now.answering.wait()
        for passed, left in ((20, 40), (50, 1)):
            await clock.advance(passed)
            assert (await watcher.wait(run_id, 0)).eta_seconds == left


async def test_a_run_of_another_process_that_waits_for_a_place_has_not_begun(folder: Path):
    team = two(anyio.Event(), await open_journal(folder))
    async with anyio.create_task_group() as tasks:
        driver = Runs(replace(team.world(), max_runs=1), tasks)
        begun_id = await begun(driver)
        waiting = await driver.start(Ask(question="and then?"))
        other = scripted_team(a=[])
        other.journal = await open_journal(folder)
        async with opened(other) as watcher:
            seen = [await watcher.result(run_id) for run_id in (begun_id, waiting.run_id)]
        assert [(one.status, one.phase, one.done) for one in seen] == [
            ("running", "answering", "1/2"),
            ("running", "waiting to begin", "0/2"),
        ]
        tasks.cancel_scope.cancel()


async def test_waiting_for_a_run_of_another_process_ends_with_it(folder: Path):
    gate = anyio.Event()
    async with opened(two(gate, await open_journal(folder))) as driver:
        run_id = await begun(driver)
        other = scripted_team(a=[])
        other.journal = await open_journal(folder)
        async with opened(other) as watcher:
            gate.set()
            with anyio.fail_after(10):
                result = await watcher.wait(run_id, 9)
    assert (result.status, result.answer) == ("completed", "4")


async def test_a_run_whose_process_has_gone_is_interrupted_and_keeps_its_answers(folder: Path):
    gate = anyio.Event()
    async with opened(two(gate, await open_journal(folder))) as driver:
        run_id = await begun(driver)
    later = scripted_team(a=[])
    later.journal = await open_journal(folder)
    async with opened(later) as runs:
        result = await runs.result(run_id)
        spent = (await runs.catalogue())["spent_today_usd"]
    assert (result.status, result.answer) == ("interrupted", "4")
    assert "1 answer." in result.error
    assert result.usage.lost["requests"] == 1
    assert result.usage.lost["cost_usd"] > 0
    assert spent == pytest.approx(0.01 + result.usage.lost["cost_usd"])


async def test_a_result_of_another_version_is_read_from_its_records():
    journal = MemoryJournal()
    log = await journal.begin("run", question="q", team="t", body={"question": "q"})
    await log.append("Finished", {"status": "completed", "answer": "4", "result": {"from": "the future"}})
    row = await journal.row("run")
    result = result_of_record(row, summarise(await journal.read("run"), state=row.state))
    assert (result.status, result.answer) == ("completed", "4")


async def test_a_run_waits_for_a_place_and_says_so():
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4"), "answer: 4"])
    async with anyio.create_task_group() as tasks:
        world = team.world()
        runs = Runs(replace(world, max_runs=1), tasks)
        first = await runs.start(Ask(question="one"))
        await team.answering.wait()
        second = await runs.start(Ask(question="two"))
        assert (await second.wait(0)).phase == "waiting for other runs"
        gate.set()
        with anyio.fail_after(10):
            assert (await first.wait()).status == "completed"
            assert (await second.wait()).status == "completed"
        await runs.aclose()


class Full(MemoryJournal):
    """A journal that takes no record of these kinds."""

    kinds: tuple[str, ...] = ()

    async def begin(self, run_id: str, **what: Any) -> Any:
        log = await super().begin(run_id, **what)
        return _Refusing(log, self)


class _Refusing:
    def __init__(self, log: Any, journal: Full) -> None:
        self._log = log
        self._journal = journal

    async def append(self, kind: Any, body: Any, **more: Any) -> Any:
        self._refuse(kind)
        return await self._log.append(kind, body, **more)

    async def append_all(self, entries: Any) -> Any:
        self._refuse(*(entry.kind for entry in entries))
        return await self._log.append_all(entries)

    def _refuse(self, *kinds: str) -> None:
        if any(kind in self._journal.kinds for kind in kinds):
            raise JournalError("The disk is full.")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


async def test_an_answer_that_cant_be_kept_is_given_with_a_warning():
    team = scripted_team(a=["answer: 4"])
    full = team.journal = Full()
    full.kinds = ("Finished",)
    async with opened(team) as runs:
        with anyio.fail_after(10):
            result = await (await runs.start(Ask(question="q"))).wait()
    assert (result.status, result.answer) == ("completed", "4")
    assert "This result could not be kept: The disk is full." in result.warnings


async def test_a_run_whose_journal_fails_ends_with_what_it_has():
    team = scripted_team(a=["answer: 4", "vote: 5"], b=["answer: 5", "vote: 4"], c=["answer: 6", "vote: 4"])
    full = team.journal = Full()
    full.kinds = ("VoteCast",)
    async with opened(team) as runs:
        with anyio.fail_after(10):
            result = await (await runs.start(Ask(question="q"))).wait()
    assert (result.status, result.answer) == ("partial", "4")
    assert "The disk is full." in result.error


async def test_a_run_whose_journal_fails_before_anybody_answered_has_failed_and_says_why():
    team = scripted_team(a=["answer: 4"])
    full = team.journal = Full()
    full.kinds = ("TurnStarted",)
    async with opened(team) as runs:
        with anyio.fail_after(10):
            result = await (await runs.start(Ask(question="q"))).wait()
    assert (result.status, result.answer, team.asked) == ("failed", "", [])
    assert "The disk is full." in result.error


async def test_what_the_presenter_changed_is_told_although_the_journal_fails_behind_it(tmp_path: Path):
    result: RunResult | None = None
    async with anyio.create_task_group() as tasks:
        real = crash.world(tmp_path)
        full = Full()

        async def journal() -> Journal:
            return full

        runs = Runs(replace(real, open_journal=journal), tasks)
        handle = await runs.start(Ask(question="q"))
        with anyio.fail_after(20), handle.listen() as listener:
            async for record in listener:
                if record.body.get("kind") == "present":
                    full.kinds = ("AnswerGiven", "Finished")
        result = await handle.wait()
        assert (await runs.change(handle.run_id, "done.txt")).endswith("+done\n")
        await runs.aclose()
        tasks.cancel_scope.cancel()
    assert result is not None
    assert (result.status, result.answer) == ("partial", "better beta")
    assert [(row.path, row.added) for row in result.changes] == [("done.txt", 1)]
    assert "The disk is full." in result.error


async def test_the_list_still_comes_when_the_journal_cant_be_read():
    team = scripted_team(a=["answer: 4"])
    found: dict[str, Any] = {}
    async with anyio.create_task_group() as tasks:
        world = team.world()

        async def broken() -> Journal:
            raise JournalError("state folder is on a network file system")

        runs = Runs(replace(world, open_journal=broken), tasks)
        found = await runs.catalogue()
        with pytest.raises(JournalError):
            await runs.start(Ask(question="q"))
        await runs.aclose()
    assert found["journal"] == "state folder is on a network file system"
    assert team.asked == []


async def test_a_run_cancelled_while_it_waits_for_a_place_never_begins():
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4"), "answer: 5"])
    async with anyio.create_task_group() as tasks:
        runs = Runs(replace(team.world(), max_runs=1), tasks)
        first = await runs.start(Ask(question="one"))
        await team.answering.wait()
        second = await runs.start(Ask(question="two"))
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(2):
            stopped = await runs.cancel(second.run_id, "enough")
        assert (stopped.status, stopped.usage.requests) == ("cancelled", 0)
        gate.set()
        with anyio.fail_after(10):
            assert (await first.wait()).answer == "4"
        assert (await runs.result(second.run_id)).status == "cancelled"
        await runs.aclose()
    assert len(team.asked) == 1


async def test_an_interrupted_run_that_is_cancelled_ends_with_what_it_has_and_nobody_goes_on_with_it(
    folder: Path,
):
    gate = anyio.Event()
    async with opened(two(gate, await open_journal(folder))) as driver:
        run_id = await begun(driver)
    team = scripted_team(a=[], b=[])
    team.journal = await open_journal(folder)
    async with opened(team) as runs:
        stopped = await runs.cancel(run_id, "cancel_run was called")
        assert (stopped.status, stopped.answer, stopped.next) == ("cancelled", "4", "")
        assert stopped.usage.lost["requests"] == 1
        assert await runs.cancel(run_id, "again") == stopped
        await runs.resume_interrupted()
        assert (await runs.result(run_id)).status == "cancelled"
    assert not team.asked


async def test_how_far_a_run_of_another_process_is_can_be_seen(folder: Path):
    gate = anyio.Event()
    async with opened(two(gate, await open_journal(folder))) as driver:
        run_id = await begun(driver)
        other = scripted_team(a=[])
        other.journal = await open_journal(folder)
        async with opened(other) as watcher:
            seen = await watcher.result(run_id)
    assert (seen.phase, seen.done) == ("answering", "1/2")
