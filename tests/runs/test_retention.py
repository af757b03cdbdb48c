"""What is kept no longer is deleted by itself, once a day, with the files of its agents."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anyio
import pytest

from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import JournalError
from massgen_mcp.journal import Journal, MemoryJournal, open_journal
from massgen_mcp.runs import Ask, Runs
from massgen_mcp.runs.open import open_runs
from massgen_mcp.runs.retention import STAMP
from massgen_mcp.workspace.beneath import PART
from massgen_mcp.workspace.kept_folder import KeptFolder
from massgen_mcp.workspace.run_folder import RunFolder
from tests.teams import ScriptedTeam

pytestmark = pytest.mark.anyio

DAY = 86_400.0


class Calendar(SystemClock):
    """The system's clock, some days on."""

    days = 0.0

    def now(self) -> float:
        return super().now() + self.days * DAY


@dataclass
class Kept(ScriptedTeam):
    """A team whose runs are on disk and kept for 30 days."""

    folder: Path = field(default_factory=Path)
    calendar: Calendar = field(default_factory=Calendar)

    @asynccontextmanager
    async def __call__(self, tasks: anyio.abc.TaskGroup) -> AsyncGenerator[Runs]:
        world = replace(
            self.world(), state_dir=self.folder, keep_days=30.0, open_journal=self._open, clock=self.calendar
        )
        runs = Runs(world, tasks)
        try:
            yield runs
        finally:
            await runs.aclose()

    async def _open(self) -> Journal:
        return await open_journal(self.folder, clock=self.calendar)


@pytest.fixture
def team(tmp_path: Path) -> Kept:
    return Kept({"a": ["answer: 4"] * 9}, folder=tmp_path / "state")


async def _ask(runs: Runs) -> str:
    handle = await runs.start(Ask(question="q"))
    with anyio.fail_after(10):
        await handle.wait()
    return handle.run_id


def _folder(team: Kept, run_id: str, *, days: float = 0.0) -> Path:
    """A run's folder, as old as that."""
    RunFolder(team.folder, run_id).close()
    path = team.folder / "runs" / run_id
    moment = team.calendar.now() - days * DAY
    os.utime(path, (moment, moment))
    return path


async def _ids(runs: Runs) -> list[str]:
    return [row.run_id for row in await runs.rows()]


async def _becomes(runs: Runs, ids: list[str]) -> None:
    with anyio.fail_after(10):
        while await _ids(runs) != ids:  # noqa: ASYNC110 - it happens in the background, and nobody is told
            await anyio.sleep(0.01)


async def test_what_is_older_than_its_time_is_deleted_with_its_files(team: Kept) -> None:
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        old = await _ask(runs)
        files = _folder(team, old)
        team.calendar.days = 20
        young = await _ask(runs)
        for run_id in (old, young):
            KeptFolder(team.folder, run_id).write("a", b"")
        team.calendar.days = 31
        await runs.tidy()
        assert await _ids(runs) == [young]
        assert not files.exists()
        assert list(KeptFolder.changed(team.folder)) == [young]


async def test_it_is_done_once_a_day_by_whoever_comes_first(team: Kept) -> None:
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        old = await _ask(runs)
        team.calendar.days = 29.5
        await runs.tidy()
        stamp = (team.folder / STAMP).read_text()
        team.calendar.days = 30.2
        async with team(tasks) as others:
            await others.tidy()
        assert await _ids(runs) == [old]
        assert (team.folder / STAMP).read_text() == stamp
        team.calendar.days = 30.6
        async with team(tasks) as others:
            await others.tidy()
        assert await _ids(runs) == []
        assert (team.folder / STAMP).stat().st_mode & 0o777 == 0o600


async def test_a_clock_that_was_set_back_does_not_put_it_off(team: Kept) -> None:
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        await _ask(runs)
        (team.folder / STAMP).write_text(f"{team.calendar.now() + 400 * DAY}")
        team.calendar.days = 31
        await runs.tidy()
        assert await _ids(runs) == []


async def test_a_new_run_begins_it_and_does_not_wait_for_it(team: Kept) -> None:
    async with anyio.create_task_group() as tasks:
        async with team(tasks) as runs:
            await _ask(runs)
        team.calendar.days = 31
        async with team(tasks) as runs:
            young = await _ask(runs)
            await _becomes(runs, [young])


async def test_folders_that_no_journal_knows_go_when_they_are_old(team: Kept) -> None:
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        await _ask(runs)
        old, young = _folder(team, "20260101-0000-aaaaaa", days=31), _folder(team, "20260201-0000-bbbbbb")
        (team.folder / "runs" / "a file").write_text("")
        (team.folder / STAMP).unlink(missing_ok=True)
        team.calendar.days = 1
        await runs.tidy()
        assert (old.exists(), young.exists()) == (False, True)


async def test_what_came_with_a_question_that_was_never_asked_goes_when_it_is_old(team: Kept) -> None:
    KeptFolder(team.folder, "20260101-0000-aaaaaa").write("given.json", b"")
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        team.calendar.days = 29
        await runs.tidy()
        assert list(KeptFolder.changed(team.folder)) == ["20260101-0000-aaaaaa"]
        team.calendar.days = 31
        await runs.tidy()
        assert not KeptFolder.changed(team.folder)


async def test_half_removed_folders_are_removed_at_the_start(team: Kept) -> None:
    whole = _folder(team, "20260101-0000-aaaaaa")
    half = whole.rename(whole.with_name(f"{PART}{whole.name}-00"))
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        await runs.tidy()
    assert not half.exists()


async def test_nothing_is_made_where_nothing_was_kept(team: Kept) -> None:
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        await runs.tidy()
    assert not team.folder.exists()


class _Broken(MemoryJournal):
    async def prune(self, *, older_than_days: float = 30.0) -> Sequence[str]:
        raise JournalError(f"The disk is full ({older_than_days:g}).")


async def test_a_failure_is_logged_and_tried_again_in_an_hour(
    team: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    team.folder.mkdir()
    (team.folder / "journal.db").touch()

    async def broken() -> Journal:
        return _Broken()

    async with anyio.create_task_group() as tasks:
        world = replace(team.world(), state_dir=team.folder, keep_days=30.0, clock=team.calendar)
        runs = Runs(replace(world, open_journal=broken), tasks)
        with caplog.at_level(logging.WARNING):
            await runs.tidy()
            await runs.tidy()
            assert [record.getMessage() for record in caplog.records] == [
                "what is older than 30 days could not be deleted: The disk is full (30)."
            ]
            team.calendar.days = 0.05
            await runs.tidy()
            assert len(caplog.records) == 2
    assert not (team.folder / STAMP).exists()


class _Crammed(MemoryJournal):
    """On a disk that is full for as long as that folder is there."""

    folder = Path()

    async def prune(self, *, older_than_days: float = 30.0) -> Sequence[str]:
        if self.folder.exists():
            raise JournalError("The disk is full.")
        return await super().prune(older_than_days=older_than_days)


async def test_on_a_full_disk_the_files_of_old_runs_make_room(team: Kept) -> None:
    crammed = _Crammed(clock=team.calendar)

    async def opened() -> Journal:
        return crammed

    async with anyio.create_task_group() as tasks:
        world = replace(team.world(), state_dir=team.folder, clock=team.calendar, open_journal=opened)
        runs = Runs(world, tasks)
        old = await _ask(runs)
        team.calendar.days = 40
        live = await crammed.begin("live", question="q", team="t", body={})
        stranger, alive = _folder(team, "stranger", days=40), _folder(team, live.run_id, days=40)
        crammed.folder = stranger
        with pytest.raises(JournalError, match="full"):
            await runs.prune(30)
        crammed.folder = _folder(team, old, days=40)
        assert await runs.prune(30) == [old]
        assert (stranger.exists(), alive.exists()) == (True, True)


async def test_a_server_tidies_when_it_begins_and_a_terminal_does_not(team: Kept, tmp_path: Path) -> None:
    environ = {"MASSGEN_MCP_STATE_DIR": str(team.folder), "MASSGEN_MCP_KEEP_DAYS": "5"}
    team.calendar.days = -6
    async with anyio.create_task_group() as tasks:
        async with team(tasks) as runs:
            old = await _ask(runs)
        (team.folder / STAMP).unlink(missing_ok=True)
        opened = partial(
            open_runs, tasks, environ=environ, home=tmp_path, here=tmp_path, config_folder=tmp_path / "config"
        )
        async with opened(place="terminal") as runs:
            await anyio.wait_all_tasks_blocked()
            assert await _ids(runs) == [old]
        async with opened(place="server") as runs:
            await _becomes(runs, [])
        tasks.cancel_scope.cancel()
