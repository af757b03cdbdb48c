"""Two processes that are asked the same at the same moment: one run, and nothing kept of the other."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from massgen_mcp.errors import AlreadyAsked, JournalError
from massgen_mcp.journal import Journal, MemoryJournal, RunRow, open_journal
from massgen_mcp.runs import Ask, Runs
from massgen_mcp.runs.material import Given, Material
from massgen_mcp.runs.users import UserJournal
from tests.teams import After, ScriptedTeam

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@dataclass
class Meeting:
    """Where processes wait for each other."""

    processes: int
    all_here: anyio.Event = field(default_factory=anyio.Event)
    here: int = 0

    async def wait(self) -> None:
        self.here += 1
        if self.here >= self.processes:
            self.all_here.set()
        await self.all_here.wait()


class _Slow:
    """A journal whose reader has looked for the same question before anyone begins."""

    def __init__(self, journal: Journal, meeting: Meeting) -> None:
        self._journal = journal
        self._meeting = meeting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def same(self, digest: str, *, user: str | None = None) -> RunRow | None:
        found = await self._journal.same(digest, user=user)
        await self._meeting.wait()
        return found


class Refusing:
    """A journal that takes no run."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def begin(self, *_: Any, **__: Any) -> Any:
        raise JournalError("The disk is full.")


async def _one_file(_: Ask) -> Material:
    return Material(files=(Given(name="a.txt", data=b"text"),))


@asynccontextmanager
async def process(
    state: Path, tasks: TaskGroup, team: ScriptedTeam, wrap: Any = None
) -> AsyncGenerator[Runs]:
    """The runs of one process on that state folder."""
    team.journal = await open_journal(state) if wrap is None else wrap(await open_journal(state))
    runs = Runs(replace(team.world(), state_dir=state, gather=_one_file), tasks)
    try:
        yield runs
    finally:
        await runs.aclose()


def kept(state: Path) -> list[str]:
    """The runs that have files of the question."""
    return sorted(folder.name for folder in (state / "kept").glob("*"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def test_of_processes_that_are_asked_the_same_at_once_one_begins_a_run(state: Path):
    go, meeting = anyio.Event(), Meeting(2)
    teams = [
        ScriptedTeam({"a": [After(go, "answer: 4"), "answer: 4"]}, _seeds=itertools.count(100 * number))
        for number in range(2)
    ]
    found: list[tuple[str, bool, bool]] = []

    async def ask(runs: Runs) -> None:
        asked = await runs.ask(Ask(question="2 + 2?"))
        found.append((asked.run_id, asked.attached, asked.handle is not None))

    def slow(journal: Journal) -> Any:
        return _Slow(journal, meeting)

    async with (
        anyio.create_task_group() as tasks,
        process(state, tasks, teams[0], slow) as one,
        process(state, tasks, teams[1], slow) as two,
    ):
        with anyio.fail_after(10):
            async with anyio.create_task_group() as asking:
                asking.start_soon(ask, one)
                asking.start_soon(ask, two)
        (began,) = {run_id for run_id, attached, held in found if held and not attached}
        assert sorted(found) == sorted([(began, False, True), (began, True, False)])
        assert [row.run_id for row in await one.rows()] == [began]
        assert kept(state) == [began]
        # Who wants a run of their own has one.
        own = await two.start(Ask(question="2 + 2?"))
        assert own.run_id != began
        go.set()
        with anyio.fail_after(10):
            assert (await own.wait()).answer == "4"
            assert (await two.wait(began, 9)).answer == "4"


async def test_who_has_just_stopped_a_run_gets_a_new_one(state: Path):
    go = anyio.Event()
    team = ScriptedTeam({"a": [After(go, "answer: 4"), "answer: 4"]})
    async with anyio.create_task_group() as tasks, process(state, tasks, team) as runs:
        first = await runs.ask(Ask(question="q"))
        assert first.handle is not None
        first.handle.cancel("enough")
        second = await runs.ask(Ask(question="q"))
        assert second.run_id != first.run_id
        assert not second.attached
        go.set()
        assert second.handle is not None
        with anyio.fail_after(10):
            await second.handle.wait()


async def test_of_a_run_that_can_not_begin_no_files_are_kept(state: Path):
    team = ScriptedTeam({"a": ["answer: 4"]})
    async with anyio.create_task_group() as tasks, process(state, tasks, team, Refusing) as runs:
        with pytest.raises(JournalError, match="The disk is full"):
            await runs.ask(Ask(question="q"))
        assert kept(state) == []


async def test_a_user_joins_their_own_runs_alone_and_their_amounts_are_theirs():
    shared = MemoryJournal()
    anna, bert = UserJournal(shared, "anna"), UserJournal(shared, "bert")

    async def begin(journal: Journal, run_id: str) -> None:
        await journal.begin(run_id, question="q", team="t", body={}, digest="#1", join=True)

    await begin(shared, "operator's")
    await begin(anna, "anna's")
    await begin(bert, "bert's")
    with pytest.raises(AlreadyAsked) as caught:
        await begin(anna, "r4")
    assert caught.value.run_id == "anna's"
    await anna.note_spent(0.5, user="bert")
    assert [await journal.spent(0.0) for journal in (anna, bert, shared)] == [0.5, 0.0, 0.5]
