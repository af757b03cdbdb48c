"""The journal's file: shared transactions, its folder, its failures, its repair."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from threading import Barrier, Event, get_ident
from time import sleep
from typing import Any, Protocol

import anyio
import pytest

from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import JournalError, RunNotFound, RunTaken
from massgen_mcp.journal import (
    Entry,
    RecordDamaged,
    RunLog,
    RunRow,
    SqliteJournal,
    export_jsonl,
    lease,
    open_journal,
    queries,
    read_intact,
)
from massgen_mcp.journal.check import check_journal
from massgen_mcp.journal.codec import checksum, untouched
from massgen_mcp.journal.folder import prepare, sync
from massgen_mcp.journal.owner import this_process
from massgen_mcp.journal.reader import Reader
from massgen_mcp.journal.schema import MIGRATIONS, connect_writer, migrate
from massgen_mcp.journal.watch import Watch
from massgen_mcp.journal.writer import Writer

pytestmark = pytest.mark.anyio

FIXTURES = Path(__file__).with_name("fixtures")


Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


class MovingClock(Protocol):
    time: float

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncGenerator[SqliteJournal]:
    journal = await open_journal(folder, **options)
    try:
        yield journal
    finally:
        await journal.aclose()


async def begin(journal: SqliteJournal, run_id: str = "r1") -> RunLog:
    return await journal.begin(run_id, question="Why?", team="fast", body={"question": "Why?"})


def raw(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "journal.db", isolation_level=None)


def cancelled() -> anyio.CancelScope:
    scope = anyio.CancelScope()
    scope.cancel()
    return scope


def modes(folder: Path) -> dict[str, int]:
    files = (folder, *folder.iterdir())
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}


def contents(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


def fill(folder: Path, data: bytes, *, page: int, pages: int = 1) -> None:
    with (folder / "journal.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write((data * 4096 * pages)[: 4096 * pages])


# Writing.


async def test_appends_that_wait_together_share_a_transaction(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        before = journal.transactions
        with closing(raw(folder)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(log.append, "CallReplied", {"number": number})
                await anyio.wait_all_tasks_blocked()
                other.execute("ROLLBACK")

        assert journal.transactions - before <= 3
        assert len(await journal.read("r1")) == 101


async def test_several_records_are_one_transaction(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        for kind in ("AnswerGiven", "VoteCast"):
            before = journal.transactions
            await log.append_all([Entry(kind=kind, body={}), Entry(kind="TurnEnded", body={})])
            assert journal.transactions == before + 1


async def test_what_meets_another_process_at_work_waits_for_it_without_stopping_the_loop(
    folder: Path,
) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        with closing(raw(folder)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(log.append, "Notice", {"number": 1})
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(log.append, "Notice", {"number": 2})
                await anyio.sleep(0.05)
                assert len(await journal.read("r1")) == 1
                other.execute("ROLLBACK")
        assert [record.body for record in (await journal.read("r1"))[1:]] == [{"number": 1}, {"number": 2}]


async def test_the_log_has_its_size_before_it_is_needed_and_keeps_it(folder: Path) -> None:
    log_file = folder / "journal.db-wal"
    async with opened(folder) as journal:
        assert log_file.stat().st_size < 1_000_000
        log = await begin(journal)
        size = log_file.stat().st_size
        assert size > 2_000_000
        for _ in range(600):
            await log.append("Notice", {"text": "x" * 100})
        assert 2_000_000 < log_file.stat().st_size < 2 * size
        assert len(await journal.read("r1")) == 601


async def test_a_record_whose_writer_was_cancelled_is_written_all_the_same(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        with cancelled():
            await log.append("CallReplied", {"paid": True})
        await log.append("Notice", {})
        assert [record.seq for record in await journal.read("r1")] == [1, 2, 3]


async def test_what_is_sent_together_with_the_last_record_but_after_it_is_refused(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        refused: list[str] = []

        async def late() -> None:
            try:
                await log.append("Notice", {})
            except JournalError as error:
                refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.append, "Notice", {"event": "in time"})
            tasks.start_soon(log.append, "Finished", {"status": "completed"})
            tasks.start_soon(late)
        assert refused == ["Run 'r1' is finished; nothing can follow."]
        assert [record.kind for record in await journal.read("r1")] == ["RunStarted", "Notice", "Finished"]


async def test_a_run_whose_beginning_was_cancelled_does_not_look_alive(folder: Path) -> None:
    async with opened(folder) as journal:
        with cancelled():
            await begin(journal)
        await begin(journal, "r2")
        with cancelled():
            await begin(journal, "r2")
        assert [(row.run_id, row.state) for row in await journal.rows()] == [
            ("r2", "running"),
            ("r1", "interrupted"),
        ]


async def test_reading_and_listing_can_be_cancelled(folder: Path) -> None:
    async with opened(folder) as journal:
        await begin(journal)
        with cancelled():
            await journal.read("r1")
        assert len(await journal.read("r1")) == 1


async def test_a_long_log_is_moved_into_the_file(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        for _ in range(96):
            await log.append("Notice", {"text": "x" * 100_000})
        assert (folder / "journal.db-wal").stat().st_size < 8_000_000
        assert (folder / "journal.db").stat().st_size > 4_000_000
        assert len(await journal.read("r1")) == 97


async def test_a_reader_in_the_way_does_not_stop_the_writer(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        with closing(raw(folder)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM records").fetchall()
            for _ in range(64):
                await log.append("Notice", {"text": "x" * 100_000})
            reader.execute("ROLLBACK")
        assert len(await journal.read("r1")) == 65


async def test_activity_is_written_at_most_twice_a_second(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        with closing(raw(folder)) as observer:
            versions: set[int] = set()
            with anyio.move_on_after(1.2):
                while True:
                    await log.activity("a", f"tail {anyio.current_time()}")
                    versions.add(observer.execute("PRAGMA data_version").fetchone()[0])
                    await anyio.sleep(0.002)
        # The state at the start, and at most one write each half second.
        assert 2 <= len(versions) <= 4


async def test_the_heart_of_an_open_run_beats(folder: Path, clock: MovingClock, until: Until) -> None:
    async with opened(folder, clock=clock) as journal:
        await begin(journal)
        clock.time += 2

        async def beaten() -> bool:
            return (await journal.row("r1")).heartbeat == clock.time

        await until(beaten)


async def test_runs_left_open_show_as_interrupted_after_closing(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        await (await begin(journal, "r2")).append("Finished", {"status": "completed"})
        await log.append("AnswerGiven", {"content": "42"})
    async with opened(folder) as journal:
        assert [(row.run_id, row.state) for row in await journal.rows()] == [
            ("r2", "completed"),
            ("r1", "interrupted"),
        ]
        assert (await journal.read("r1"))[1].body == {"content": "42"}


async def test_a_redactor_that_fails_stops_the_journal_loudly(folder: Path, until: Until) -> None:
    def redact(value: Any) -> Any:
        if value == "boom":
            raise ZeroDivisionError("no such key")
        return value

    async with opened(folder, redact=redact) as journal:
        log = await begin(journal)
        await log.activity("a", "boom")

        async def never() -> bool:
            await log.append("Notice", {})
            return False

        with pytest.raises(JournalError, match="ZeroDivisionError: no such key"):
            await until(never)
        with pytest.raises(JournalError, match="ZeroDivisionError"):
            await journal.aclose()


# The folder.


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing there")
async def test_folder_and_files_are_private_whatever_the_umask(folder: Path) -> None:
    umask = os.umask(0)
    try:
        async with opened(folder) as journal:
            await begin(journal)
            found = modes(folder)
    finally:
        os.umask(umask)
    assert found == {"state": 0o700, "journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing there")
async def test_our_own_folder_and_files_are_closed_to_others_again(folder: Path) -> None:
    async with opened(folder):
        pass
    await anyio.Path(folder).chmod(0o755)
    await anyio.Path(folder / "journal.db").chmod(0o644)
    async with opened(folder):
        assert modes(folder)["state"] == 0o700
        assert modes(folder)["journal.db"] == 0o600


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing there")
async def test_a_folder_that_holds_other_things_keeps_its_mode(folder: Path) -> None:
    await anyio.Path(folder / "letters").mkdir(parents=True)
    await anyio.Path(folder).chmod(0o755)
    async with opened(folder):
        assert modes(folder)["state"] == 0o755
        assert modes(folder)["journal.db"] == 0o600


async def test_a_folder_that_can_not_be_made_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError) as caught:
        await open_journal(tmp_path / "file" / "state")
    text = str(caught.value)
    assert str(tmp_path / "file" / "state") in text
    assert "a part of that path is a file" in text
    assert "MASSGEN_MCP_STATE_DIR" in text
    assert "`journal: off`" in text


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder where nobody may write")
async def test_a_folder_where_nobody_may_write_is_refused() -> None:
    with pytest.raises(JournalError, match="/proc/state can't be used"):
        await open_journal(Path("/proc/state"))


async def test_a_folder_in_the_place_of_the_file_is_refused(folder: Path) -> None:
    (folder / "journal.db").mkdir(parents=True)
    with pytest.raises(JournalError, match=r"a part of that path is a file"):
        await open_journal(folder)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("40 27 0:40 / {folder} rw - nfs4 server:/home rw", "nfs4"),
        ("40 27 0:40 / {parent} rw shared:1 - fuse.sshfs host: rw", "fuse.sshfs"),
        ("40 27 0:40 / {folder} rw - ext4 /dev/sdb rw\n41 40 0:41 / {folder} rw - 9p share rw", "9p"),
    ],
)
async def test_a_network_file_system_is_refused_by_name(tmp_path: Path, line: str, kind: str) -> None:
    folder = (tmp_path / "my home").resolve()
    escaped = str(folder).replace(" ", "\\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        + line.format(folder=escaped, parent=folder.parent)
        + "\n28 27 0:22 / /elsewhere rw - nfs server:/ rw\n"
    )
    with pytest.raises(JournalError, match="network file system") as caught:
        await open_journal(folder, mounts=mounts)
    assert f"({kind})" in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "MASSGEN_MCP_STATE_DIR" in str(caught.value)
    assert not folder.exists()


async def test_a_local_disk_mounted_over_a_network_one_is_fine(tmp_path: Path) -> None:
    folder = await anyio.Path(tmp_path).resolve() / "state"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"27 1 0:1 / / rw - nfs server:/ rw\n28 27 0:2 / {folder.parent} rw master:1 - xfs /dev/sda rw\n"
    )
    async with opened(Path(folder), mounts=mounts) as journal:
        await begin(journal)


async def test_a_system_without_a_list_of_mounts_is_trusted(folder: Path) -> None:
    async with opened(folder, mounts=folder / "none") as journal:
        await begin(journal)


async def test_a_removed_file_is_noticed_before_a_run_is_begun(folder: Path) -> None:
    async with opened(folder) as journal:
        for name in modes(folder).keys() - {"state"}:
            (folder / name).unlink()
        with pytest.raises(JournalError, match="its files can't be opened"):
            await journal.rows()
        with pytest.raises(JournalError, match="was removed while this process had it open"):
            await begin(journal)


# Failures.


async def test_a_full_disk_is_said_and_costs_only_what_did_not_fit(folder: Path) -> None:
    async with opened(folder, max_pages=40) as journal:
        log = await begin(journal)
        failed: list[str] = []

        async def append(size: int) -> None:
            try:
                await log.append("Notice", {"text": "x" * size})
            except JournalError as error:
                failed.append(str(error))

        async with anyio.create_task_group() as tasks:
            for size in (10, 1_000_000, 20):
                tasks.start_soon(append, size)

        (text,) = failed
        assert "the disk is full" in text
        assert str(folder) in text
        assert "MASSGEN_MCP_STATE_DIR" in text
        assert [record.seq for record in await journal.read("r1")] == [1, 2, 3]
        assert (await log.append("Finished", {"status": "failed"})).seq == 4


async def test_a_finish_that_did_not_fit_may_be_tried_again(folder: Path) -> None:
    async with opened(folder, max_pages=40) as journal:
        log = await begin(journal)
        with pytest.raises(JournalError, match="the disk is full"):
            await log.append("Finished", {"status": "completed", "answer": "x" * 1_000_000})
        await log.append("Finished", {"status": "completed"})
        assert (await journal.row("r1")).state == "completed"


class Disk:
    """Connections to a journal on a disk that is full until there is room."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.room = False
        self.tried = 0

    def connect(self) -> sqlite3.Connection:
        self.tried += 1
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return connect_writer(self.folder / "journal.db")

    def journal(self) -> SqliteJournal:
        return SqliteJournal(self.folder / "journal.db", self.connect, clock=SystemClock(), redact=untouched)


async def test_a_journal_on_a_full_disk_is_read_and_written_once_there_is_room(folder: Path) -> None:
    await write_ten(folder)
    disk = Disk(folder)
    journal = disk.journal()
    await journal.open()
    assert [row.run_id for row in await journal.rows()] == ["r1"]
    with pytest.raises(JournalError, match=r"the disk is full.*runs prune"):
        await begin(journal, "r2")
    disk.room = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(begin, journal, "r2")
        tasks.start_soon(begin, journal, "r3")
    assert disk.tried == 3
    await journal.aclose()
    assert sorted([row.run_id for row in await rows(folder)]) == ["r1", "r2", "r3"]


async def test_a_journal_on_a_full_disk_is_closed_as_any_other(folder: Path) -> None:
    await write_ten(folder)
    disk = Disk(folder)
    journal = disk.journal()
    await journal.open()
    await journal.aclose()
    disk.room = True
    with pytest.raises(JournalError, match="closed"):
        await begin(journal, "r2")


@pytest.mark.parametrize("there", ["nothing", "an older version"])
async def test_what_can_not_be_read_as_it_is_is_not_opened_on_a_full_disk(folder: Path, there: str) -> None:
    if there == "nothing":
        await anyio.Path(folder).mkdir()
    else:
        await older(folder, records=5)
    with pytest.raises(JournalError, match=r"the disk is full.*runs prune"):
        await Disk(folder).journal().open()


async def test_reading_takes_no_room_where_there_is_none(folder: Path) -> None:
    await write_ten(folder)
    reader = Reader(folder / "journal.db")
    modes: list[str] = []

    def look(connection: sqlite3.Connection) -> int:
        modes.append(connection.execute("PRAGMA locking_mode").fetchone()[0])
        if modes[-1] == "normal":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
            raise error
        found: int = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
        return found

    assert [await reader.do(look), await reader.do(look)] == [1, 1]
    assert modes == ["normal", "exclusive"] * 2
    with closing(raw(folder)) as other:  # which is not shut out
        other.execute("UPDATE runs SET team = 'other'")
    await reader.close()


async def test_a_journal_that_stays_locked_is_closed_within_a_second_and_says_so(folder: Path) -> None:
    journal = await open_journal(folder)
    await begin(journal)
    with closing(raw(folder)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = anyio.current_time()
        with pytest.raises(JournalError, match=r"could not be closed within 1 s.*acknowledged is safe"):
            await journal.aclose()
        assert anyio.current_time() - began < 1.5
        other.execute("ROLLBACK")


async def test_another_file_in_its_place_is_not_taken_for_a_journal(folder: Path) -> None:
    await anyio.Path(folder).mkdir()
    (folder / "journal.db").write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(JournalError, match="move it away") as caught:
        await open_journal(folder)
    assert str(folder) in str(caught.value)


async def test_a_journal_of_a_newer_version_is_left_alone(folder: Path) -> None:
    async with opened(folder):
        pass
    with closing(raw(folder)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match=r"version 99.*Upgrade massgen-mcp"):
        await open_journal(folder)


# Damage.


async def rows(folder: Path) -> Sequence[RunRow]:
    async with opened(folder) as journal:
        return await journal.rows()


async def write_ten(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        for number in range(2, 11):
            await log.append("AnswerGiven", {"content": f"answer number {number}"})
        await log.append("Finished", {"status": "completed"})


async def assert_damaged(folder: Path, seq: int, *, state: str = "completed") -> None:
    async with opened(folder) as journal:
        with pytest.raises(RecordDamaged, match=rf"Run 'r1': record {seq} .* is damaged") as caught:
            await journal.read("r1")
        assert (caught.value.run_id, caught.value.seq) == ("r1", seq)
        assert len(await journal.read("r1", limit=seq - 1)) == seq - 1
        intact, damage = await read_intact(journal, "r1")
        assert [record.seq for record in intact] == list(range(1, seq))
        assert damage is not None
        lines = export_jsonl(journal, "r1")
        for _ in range(1, seq):
            await anext(lines)
        with pytest.raises(RecordDamaged):
            await anext(lines)
        assert (await journal.row("r1")).state == state


async def test_a_flipped_bit_in_a_body_is_found(folder: Path) -> None:
    await write_ten(folder)
    file = folder / "journal.db"
    data = file.read_bytes()
    at = data.index(b"answer number 7")
    file.write_bytes(data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1 :])
    await assert_damaged(folder, 7)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records SET at = at + 0.001 WHERE seq = 7",
        "UPDATE records SET kind = 'VoteCast' WHERE seq = 7",
        "UPDATE records SET kind = CAST(x'ff' AS TEXT) WHERE seq = 7",
        "UPDATE records SET turn = 5 WHERE seq = 7",
        "UPDATE records SET body = '[]', checksum = 0 WHERE seq = 7",
        "DELETE FROM records WHERE seq = 7",
        "UPDATE records SET body = (SELECT body FROM records WHERE seq = 8) WHERE seq = 7",
    ],
)
async def test_a_changed_or_missing_record_is_found(folder: Path, damage: str) -> None:
    await write_ten(folder)
    with closing(raw(folder)) as connection:
        connection.execute(damage)
    await assert_damaged(folder, 7)


async def test_a_page_full_of_rubbish_is_said_to_be_damage(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        for _ in range(40):
            await log.append("Notice", {"text": "x" * 900})
    with closing(raw(folder)) as connection:
        (last,) = connection.execute("PRAGMA page_count").fetchone()
    fill(folder, b"\xaa", page=last)
    async with opened(folder) as journal:
        intact, damage = await read_intact(journal, "r1")
        assert damage is not None
        assert 1 < len(intact) < 41
        assert damage.seq == len(intact) + 1


async def test_a_body_that_is_no_object_is_damage_even_with_its_checksum(folder: Path) -> None:
    await write_ten(folder)
    with closing(raw(folder)) as connection:
        (at,) = connection.execute("SELECT at FROM records WHERE seq = 7").fetchone()
        check = checksum(b"[]", run_id="r1", seq=7, schema=1, at=at, kind="Notice", turn=None, call=None)
        connection.execute(
            "UPDATE records SET kind = 'Notice', body = '[]', checksum = ? WHERE seq = 7", (check,)
        )
    await assert_damaged(folder, 7)


async def test_a_file_full_of_rubbish_is_said_to_be_damaged(folder: Path) -> None:
    await write_ten(folder)
    async with opened(folder) as journal:
        fill(folder, b"\xaa", page=2, pages=8)
        with pytest.raises(JournalError, match=r"journal\.db is damaged; move it away"):
            await journal.rows()
        with pytest.raises(JournalError, match=r"journal\.db is damaged; move it away"):
            await begin(journal, "r2")


async def test_unreadable_text_in_a_row_does_not_hide_the_others(folder: Path) -> None:
    async with opened(folder) as journal:
        await begin(journal)
        with closing(raw(folder)) as connection:
            connection.execute("UPDATE runs SET question = CAST(x'57ff79' AS TEXT)")
        assert [row.question for row in await journal.rows()] == ["W\ufffdy"]


async def test_what_a_run_had_under_way_counts_as_far_as_its_records_can_be_read(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        for call in range(40):
            begun = {"agent": "a", "reserved_usd": 1.0, "padding": "x" * 1000}
            await log.append("CallStarted", begun, turn=1, call=call)
    async with opened(folder) as journal:
        assert await journal.spent(0.0) == 40.0
    with closing(raw(folder)) as connection:
        (last,) = connection.execute("PRAGMA page_count").fetchone()
    fill(folder, b"\xaa", page=last)
    async with opened(folder) as journal:
        assert 0 < await journal.spent(0.0) < 40.0


async def test_a_damaged_record_does_not_stop_a_take_over(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        for number in range(2, 11):
            await log.append("AnswerGiven", {"content": f"answer number {number}"})
    with closing(raw(folder)) as connection:
        connection.execute("UPDATE records SET body = 'torn' WHERE seq = 7")
    async with opened(folder) as journal:
        again = await journal.take_over("r1", body={"event": "Resumed"})
        assert (await again.append("Finished", {"status": "failed"})).seq == 12
    await assert_damaged(folder, 7, state="failed")


async def test_a_run_that_has_lost_all_its_records_can_be_ended(folder: Path) -> None:
    async with opened(folder) as journal:
        await begin(journal)
    with closing(raw(folder)) as connection:
        connection.execute("DELETE FROM records")
    async with opened(folder) as journal:
        again = await journal.take_over("r1", body={"event": "Resumed"})
        assert (await again.append("Finished", {"status": "failed"})).seq == 2


# Losing a run.


def fake_gone(folder: Path, run_id: str = "r1") -> None:
    """Its owner seems to be on another machine, and silent for long."""
    with closing(raw(folder)) as connection:
        connection.execute(
            "UPDATE runs SET host = 'elsewhere', heartbeat = heartbeat - 1000 WHERE run_id = ?", (run_id,)
        )


async def test_a_lost_run_does_not_disturb_what_is_written_with_its_records(folder: Path) -> None:
    async with opened(folder) as first, opened(folder) as second:
        lost, kept = await begin(first), await begin(first, "r2")
        fake_gone(folder)
        await second.take_over("r1", body={"event": "Resumed"})
        before = first.transactions
        refused: list[str] = []

        async def late(kind: Any, body: dict[str, Any]) -> None:
            try:
                await lost.append(kind, body)
            except RunTaken as error:
                refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(kept.append, "CallReplied", {"number": number})
                tasks.start_soon(late, "CallReplied", {"number": number})
            tasks.start_soon(late, "Finished", {"status": "completed"})

        assert first.transactions - before <= 3
        assert len(refused) == 21
        assert f"taken over by process {os.getpid()} on " in refused[0]
        assert [record.seq for record in await first.read("r2")] == list(range(1, 22))
        assert [record.kind for record in await first.read("r1")] == ["RunStarted", "Notice"]
        assert (await first.row("r1")).state == "running"


async def test_who_loses_a_run_is_told_within_a_second_and_leaves_its_row_alone(
    folder: Path, until: Until
) -> None:
    first = await open_journal(folder)
    async with opened(folder) as second:
        log = await begin(first)
        fake_gone(folder)
        again = await second.take_over("r1", body={"event": "Resumed"})
        await log.activity("old", "still here")
        with anyio.fail_after(1):
            assert await log.wait_cancel() == "another process has taken this run over"
        await again.activity("new", "at work")

        async def shown() -> bool:
            return await second.activities("r1") == {"new": "at work"}

        await until(shown)
        await first.aclose()
        assert (await second.row("r1")).state == "running"
        assert (await again.append("Notice", {})).seq == 3


async def test_only_the_heart_of_the_driver_beats(folder: Path) -> None:
    async with opened(folder) as journal:
        await begin(journal)
        with closing(raw(folder)) as connection:
            place = connection.execute("SELECT number, lease FROM runs").fetchone()
            hold = lease.Hold(*place)
            lease.beat(connection, [hold._replace(lease=lease.draw())], 5.0)
            assert (await journal.row("r1")).heartbeat != 5.0
            lease.beat(connection, [hold], 5.0)
            assert (await journal.row("r1")).heartbeat == 5.0


async def test_a_lost_run_stays_lost_after_a_failed_transaction(folder: Path) -> None:
    async with opened(folder, max_pages=40) as first, opened(folder) as second:
        log = await begin(first)
        with pytest.raises(JournalError, match="the disk is full"):
            await log.append("Notice", {"text": "x" * 1_000_000})
        fake_gone(folder)
        await second.take_over("r1", body={"event": "Resumed"})
        with pytest.raises(RunTaken):
            await log.append("Notice", {})
        with pytest.raises(RunTaken):
            await log.append("Notice", {})
        assert len(await second.read("r1")) == 2


async def test_a_run_that_was_deleted_under_its_driver_is_not_written_to(folder: Path) -> None:
    async with opened(folder) as first, opened(folder) as second:
        log, told = await begin(first), await begin(first, "r2")
        for run_id in ("r1", "r2"):
            fake_gone(folder, run_id)
        assert await second.prune(older_than_days=0) == ["r1", "r2"]
        other = await begin(second, "r3")
        with pytest.raises(RunNotFound):
            await log.append("AnswerGiven", {"content": "late"})
        with anyio.fail_after(1):
            assert await log.wait_cancel() == "this run was deleted"
            assert await told.wait_cancel() == "this run was deleted"
        assert (await other.append("Notice", {})).seq == 2


async def test_a_take_over_that_was_cancelled_leaves_the_run_as_it_was(folder: Path) -> None:
    async with opened(folder) as journal:
        await (await begin(journal)).leave()
        with cancelled():
            await journal.take_over("r1", body={"event": "Resumed"})
        again = await journal.take_over("r1", body={"event": "Resumed"})
        assert (await again.append("Notice", {})).seq == 4


async def test_a_process_takes_over_what_it_left_itself(folder: Path) -> None:
    async with opened(folder) as journal:
        old = await begin(journal)
    await old.leave()
    async with opened(folder) as journal:
        log = await journal.take_over("r1", body={"event": "Resumed"})
        with pytest.raises(JournalError, match="closed"):
            await old.append("Notice", {})
        assert (await log.append("Finished", {"status": "completed"})).seq == 3


async def test_a_run_that_was_taken_over_meanwhile_is_not_deleted(folder: Path) -> None:
    async with opened(folder) as journal:
        await (await begin(journal)).leave()
        (row,) = await journal.rows()
        now = (row.heartbeat or 0.0) + 1
        await journal.take_over("r1", body={"event": "Resumed"})
        with closing(raw(folder)) as connection:
            assert not queries.delete_run(connection, "r1", before=now, now=now)
        assert len(await journal.read("r1")) == 2


async def test_nothing_is_taken_over_in_a_journal_that_was_removed(folder: Path) -> None:
    async with opened(folder) as journal:
        await (await begin(journal)).leave()
        for name in modes(folder).keys() - {"state"}:
            (folder / name).unlink()
        with pytest.raises(JournalError, match="was removed"):
            await journal.take_over("r1", body={})


# Versions.


async def test_a_journal_of_version_1_is_read_and_written(folder: Path) -> None:
    await anyio.Path(folder).mkdir()
    with closing(raw(folder)) as connection:
        connection.executescript((FIXTURES / "version_1.sql").read_text("utf-8"))
    async with opened(folder) as journal:
        (row,) = await journal.rows()
        records = await journal.read(row.run_id)
        assert (row.run_id, row.state, row.question) == ("r1", "completed", "What is the answer?")
        assert [record.kind for record in records] == [
            "RunStarted",
            "TurnStarted",
            "CallStarted",
            "CallReplied",
            "AnswerGiven",
            "TurnEnded",
            "Finished",
        ]
        assert records[4].body["content"] == "Forty-two — 42."
        assert row.cost_usd == 0.001
        assert row.user == ""
        await begin(journal, "r2")
        assert await journal.spent(0.0) == 0.001


async def test_runs_of_a_journal_of_version_3_can_be_gone_on_with(folder: Path) -> None:
    await anyio.Path(folder).mkdir()
    with closing(raw(folder)) as connection:
        connection.executescript((FIXTURES / "version_3.sql").read_text("utf-8"))
    async with opened(folder) as journal:
        assert [
            (row.run_id, row.state, row.user, row.cost_usd, row.digest, row.delivered)
            for row in await journal.rows()
        ] == [
            ("left", "interrupted", "", 0.25, "", False),
            ("dead", "interrupted", "anna", 0.0, "", False),
            ("done", "completed", "", 0.001, "", False),
        ]
        assert [row.run_id for row in await journal.interrupted(since=0.0)] == ["dead", "left"]
        assert await journal.same("") is None
        for run_id, seq in (("dead", 5), ("left", 4)):
            log = await journal.take_over(run_id, body={"event": "Resumed"})
            assert (await log.append("Finished", {"status": "partial"})).seq == seq
            assert len(await journal.read(run_id)) == seq


async def older(folder: Path, *, records: int) -> None:
    """A journal of version 4 in which `dead` has so many records."""
    await anyio.Path(folder).mkdir()
    with closing(raw(folder)) as connection:
        connection.executescript((FIXTURES / "version_3.sql").read_text("utf-8"))
        migrate(connection, MIGRATIONS[:4])
        for seq in range(4, records + 1):
            text = f'{{"text":"{"x" * 900}"}}'
            check = checksum(
                text.encode(), run_id="dead", seq=seq, schema=1, at=5.5, kind="Notice", turn=None, call=None
            )
            connection.execute(
                "INSERT INTO records VALUES (2, ?, 1, 5.5, 'Notice', NULL, NULL, ?, ?)", (seq, text, check)
            )


def leaves(folder: Path) -> list[int]:
    """The pages that hold records, in order of their place in the file."""
    data = (folder / "journal.db").read_bytes()
    return [
        page + 1
        for page in range(len(data) // 4096)
        if data[page * 4096 : page * 4096 + 4096].count(b"xxxx") > 400
    ]


async def test_records_of_version_4_are_all_there_afterwards(folder: Path) -> None:
    await older(folder, records=200)
    async with opened(folder) as journal:
        assert [record.seq for record in await journal.read("dead")] == list(range(1, 201))
        assert len(await journal.read("dead", after=190, limit=5)) == 5
        assert len(await journal.read("left")) == 2
        log = await journal.take_over("dead", body={"event": "Resumed"})
        assert (await log.append("Notice", {})).seq == 202
    with closing(raw(folder)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        assert sorted(tables) == ["activity", "records", "runs", "spendings"]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_damaged_table_of_version_4_is_read_as_far_as_it_can_be(folder: Path) -> None:
    await older(folder, records=200)
    pages = leaves(folder)
    fill(folder, b"\xaa", page=pages[len(pages) // 2])
    async with opened(folder) as journal:
        intact, damage = await read_intact(journal, "dead")
        assert damage is not None
        assert 20 < len(intact) < 180
        assert damage.seq == len(intact) + 1
        assert len(await journal.read("done")) == 3
        assert len(await journal.read("left")) == 2
        log = await journal.take_over("dead", body={"event": "Resumed"})
        assert (await log.append("Finished", {"status": "failed"})).seq == 202
    assert (await anyio.to_thread.run_sync(check_journal, folder)) is not None


async def test_what_a_process_of_an_older_version_writes_is_refused(folder: Path) -> None:
    async with opened(folder) as journal:
        await begin(journal)
        await begin(journal, "r2")
        with closing(raw(folder)) as older_one, pytest.raises(sqlite3.IntegrityError):
            older_one.execute(
                "INSERT INTO records (run, seq, schema, at, kind, turn, call, body, checksum) "
                "VALUES (1, 2, 1, 5.5, 'Notice', NULL, NULL, '{}', 1)"
            )
        assert len(await journal.read("r1")) == 1


async def test_a_process_whose_journal_was_upgraded_under_it_says_so(folder: Path) -> None:
    async with opened(folder) as journal:
        log = await begin(journal)
        with closing(raw(folder)) as newer:
            for table in ("runs", "records"):
                newer.execute(
                    f"CREATE TRIGGER no_{table} BEFORE INSERT ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed'); END"
                )
            with pytest.raises(JournalError, match=r"CHECK constraint failed.*local disk"):
                await log.append("Notice", {})
            newer.execute("PRAGMA user_version = 99")
            for kind in ("Notice", "CallReplied"):
                with pytest.raises(JournalError, match=r"newer massgen-mcp has upgraded.*Restart") as caught:
                    await log.append(kind, {})
                assert "MASSGEN_MCP_STATE_DIR" not in str(caught.value)
            with pytest.raises(JournalError, match="newer massgen-mcp has upgraded"):
                await begin(journal, "r2")
            newer.execute("DROP TABLE activity")
            with pytest.raises(JournalError, match="newer massgen-mcp has upgraded"):
                await journal.activities("r1")


async def test_a_journal_in_which_an_older_version_drives_a_run_is_not_upgraded_before_that_is_over(
    folder: Path,
) -> None:
    await older(folder, records=10)
    driver = this_process()
    with closing(raw(folder)) as connection:
        connection.execute(
            "UPDATE runs SET pid = ?, host = ?, process_started = ?, heartbeat = ?, state = 'running' "
            "WHERE run_id = 'dead'",
            (driver.pid, driver.host, driver.started, SystemClock().now()),
        )
        words = (
            rf"process {driver.pid} on {driver.host} drives run dead.*try again then, or close the windows"
        )
        with pytest.raises(JournalError, match=words):
            await open_journal(folder)
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)
        connection.execute("UPDATE runs SET state = 'interrupted' WHERE run_id = 'dead'")
    async with opened(folder) as journal:
        assert len(await journal.read("dead")) == 10


@pytest.mark.parametrize(
    ("change", "cost"),
    [
        ("DELETE FROM records WHERE kind = 'Finished'", 0.001),
        ("UPDATE records SET body = substr(body, 3) WHERE kind = 'Finished'", 0.001),
        ("UPDATE records SET body = 'rubbish'", 0.0),
        ("UPDATE records SET body = json_set(body, '$.usage.cost_usd', 'much')", 0.0),
    ],
)
async def test_a_run_of_version_1_costs_what_its_records_still_say(
    folder: Path, change: str, cost: float
) -> None:
    await anyio.Path(folder).mkdir()
    with closing(raw(folder)) as connection:
        connection.executescript((FIXTURES / "version_1.sql").read_text("utf-8"))
        connection.execute(change)
    async with opened(folder) as journal:
        assert (await journal.row("r1")).cost_usd == cost


async def test_a_damaged_file_of_version_1_is_opened_without_its_old_costs(folder: Path) -> None:
    await anyio.Path(folder).mkdir()
    with closing(raw(folder)) as connection:
        connection.executescript((FIXTURES / "version_1.sql").read_text("utf-8"))
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'records'").fetchone()
    fill(folder, b"\xaa", page=page, pages=1)
    async with opened(folder) as journal:
        (row,) = await journal.rows()
    assert (row.run_id, row.cost_usd) == ("r1", 0.0)


async def test_migrations_run_once_in_order_and_whole(folder: Path) -> None:
    await write_ten(folder)
    steps = (
        *MIGRATIONS,
        "ALTER TABLE runs ADD COLUMN colour TEXT; UPDATE runs SET colour = 'green'",
        "ALTER TABLE runs ADD COLUMN taste TEXT; UPDATE nothing SET taste = 'sweet'",
    )
    with closing(raw(folder)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="nothing"):
            migrate(connection, steps)
        migrate(connection, steps[:-1])
        assert connection.execute("SELECT colour FROM runs").fetchall() == [("green",)]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
    assert "taste" not in columns


def test_many_may_make_a_new_journal_at_once(folder: Path) -> None:
    def make(path: Path) -> str:
        start.wait(5)
        with closing(connect_writer(path)) as connection:
            mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
            return mode

    folder.mkdir()
    start = Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        for number in range(25):
            path = folder / f"{number}.db"
            assert list(threads.map(make, [path] * 8)) == ["wal"] * 8


async def test_opening_waits_for_another_process_that_makes_the_same_file(folder: Path) -> None:
    await anyio.Path(folder).mkdir()
    with closing(raw(folder)) as other:
        other.execute("BEGIN EXCLUSIVE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write_ten, folder)
            await anyio.sleep(0.1)
            other.execute("COMMIT")


def test_a_place_without_a_write_ahead_log_is_refused() -> None:
    with pytest.raises(JournalError, match="it offers 'memory'"):
        connect_writer(Path(":memory:"))


# The thread.


def new_writer(folder: Path, **options: Any) -> Writer:
    def connect() -> sqlite3.Connection:
        return connect_writer(prepare(folder, mounts=folder))

    return Writer(folder / "journal.db", connect, Watch(SystemClock(), untouched), **options)


async def test_what_a_job_raises_is_told_to_its_sender_alone(folder: Path) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise ZeroDivisionError("no such number")

    writer = new_writer(folder)
    await writer.start()
    for alone in (False, True):
        with pytest.raises(JournalError, match="ZeroDivisionError: no such number"):
            await writer.do(fail, alone=alone)
    assert await writer.do(lambda connection: connection.total_changes) == 0
    writer.soon(fail)
    await writer.close()
    writer.soon(fail)


async def test_what_is_brief_is_done_on_the_loop_until_the_disk_is_slow(folder: Path) -> None:
    def where(_: sqlite3.Connection) -> int:
        return get_ident()

    def slowly(_: sqlite3.Connection) -> int:
        sleep(0.03)
        return get_ident()

    writer = new_writer(folder)
    await writer.start()
    assert await writer.do(where) != get_ident()
    assert await writer.do_briefly(where) == get_ident()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.do, where)
        await anyio.wait_all_tasks_blocked()
    assert await writer.do_briefly(slowly) == get_ident()
    assert await writer.do_briefly(where) != get_ident()
    await writer.close()
    with pytest.raises(JournalError, match="closed"):
        await writer.do_briefly(where)


async def test_what_is_to_survive_power_loss_is_answered_once_the_log_is_synced(folder: Path) -> None:
    synced: list[int] = []

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sleep(0.02)  # for as long as the disk needs

    def write(_: sqlite3.Connection) -> int:
        return len(synced)

    writer = new_writer(folder, sync=sync)
    await writer.start()
    for do in (writer.do, writer.do_briefly):
        assert (await do(write), len(synced)) == (0, 0)
    assert (await writer.do_briefly(write, durable=True), len(synced)) == (0, 1)
    assert (await writer.do(write, durable=True), len(synced)) == (1, 2)
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(partial(writer.do_briefly, write, durable=True))
    assert len(synced) <= 5  # they wait together
    assert set(synced) == {(folder / "journal.db-wal").stat().st_ino}
    await writer.close()


async def test_who_has_written_what_may_not_survive_power_loss_is_told(folder: Path) -> None:
    def sync(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def write(_: sqlite3.Connection) -> str:
        return "written"

    writer = new_writer(folder, sync=sync)
    await writer.start()
    for do in (writer.do, writer.do_briefly):
        with pytest.raises(JournalError, match="can't be used: Input/output error"):
            await do(write, durable=True)
        assert await do(write) == "written"
    await writer.close()


def test_on_a_mac_a_disk_without_a_flush_of_its_cache_is_synced_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 0x7FFF, raising=False)  # no system knows it
    with (tmp_path / "file").open("wb") as file:
        sync(file.fileno())
    read, write = os.pipe()
    with pytest.raises(OSError, match="Invalid argument"):
        sync(write)  # which nothing can have on a disk
    os.close(read)
    os.close(write)


async def test_after_the_disk_has_failed_once_nothing_more_is_said_to_be_on_it(folder: Path) -> None:
    synced, wrote = list[int](), list[str]()

    def sync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.EIO, "Input/output error")  # and Linux forgets it

    def write(name: str) -> Callable[[sqlite3.Connection], None]:
        return lambda _: wrote.append(name)

    writer = new_writer(folder, sync=sync)
    await writer.start()
    await writer.do(write("before"), durable=True)
    refused: list[str] = []

    async def refuse(do: Callable[[], Awaitable[None]]) -> None:
        with pytest.raises(JournalError, match="can't be used: Input/output error") as caught:
            await do()
        refused.append(str(caught.value))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refuse, partial(writer.do_briefly, write("at once"), durable=True))
        tasks.start_soon(refuse, partial(writer.do, write("meanwhile"), durable=True))
    for do in (writer.do, writer.do_briefly):
        await refuse(partial(do, write("afterwards"), durable=True))
        assert "restart massgen-mcp" in refused[-1]
    assert "afterwards" not in wrote
    assert len(synced) == 2, "the disk is not asked again: it might say that all is well"
    await writer.do(write("not durable"))
    await writer.close()


async def test_who_has_written_already_does_not_wait_for_what_others_write(folder: Path) -> None:
    writer, answered, seen = new_writer(folder), Event(), list[bool]()
    await writer.start()

    async def first() -> None:
        await writer.do_briefly(lambda _: None, durable=True)
        answered.set()

    def second(_: sqlite3.Connection) -> None:
        seen.append(answered.wait(2))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        # Its turn comes right after, before the thread has looked: they are taken together.
        tasks.start_soon(writer.do, second)
    assert seen == [True]
    await writer.close()


async def test_what_is_brief_does_not_overtake_what_was_sent_before(folder: Path) -> None:
    done: list[int] = []

    def number(which: int) -> Callable[[sqlite3.Connection], None]:
        return lambda _: done.append(which)

    writer = new_writer(folder)
    await writer.start()
    async with anyio.create_task_group() as tasks:
        for which in range(0, 20, 2):
            tasks.start_soon(writer.do, number(which))
            tasks.start_soon(writer.do_briefly, number(which + 1))
    assert done == list(range(20))
    await writer.close()


# Pruning.


async def test_two_that_prune_at_once_do_not_disturb_each_other(folder: Path) -> None:
    async with opened(folder) as first, opened(folder) as second:
        for number in range(20):
            log = await begin(first, f"r{number}")
            await log.append("Finished", {"status": "completed"})
        deleted: list[str] = []

        async def prune(journal: SqliteJournal) -> None:
            deleted.extend(await journal.prune(older_than_days=-1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(prune, first)
            tasks.start_soon(prune, second)
        assert sorted(deleted) == sorted(f"r{number}" for number in range(20))
        assert await first.rows() == []


async def test_pruning_gives_the_space_back_and_leaves_no_traces(folder: Path) -> None:
    async with opened(folder) as journal:
        for run_id in ("old", "kept"):
            log = await begin(journal, run_id)
            for _ in range(30):
                await log.append("CallReplied", {"text": f"{run_id} diary " * 10_000})
            if run_id == "old":
                await log.append("Finished", {"status": "completed"})

        assert await journal.prune(older_than_days=-1) == ["old"]

        everything = contents(folder)
        assert b"old diary" not in everything
        assert everything.count(b"kept diary") > 29 * 10_000
        assert (folder / "journal.db").stat().st_size < 5_000_000
        assert len(await journal.read("kept")) == 31


async def test_nobody_is_answered_at_once_before_those_whose_work_came_first(folder: Path) -> None:
    writer, go, answered = new_writer(folder), anyio.Event(), list[str]()
    await writer.start()

    async def first() -> None:
        await writer.do(lambda _: None, durable=True, done=lambda _: writer.on_loop(go.set))
        answered.append("first")

    async def second() -> None:
        await go.wait()  # woken just before the first is
        await writer.do_briefly(lambda _: None)
        answered.append("second")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        tasks.start_soon(second)
    assert answered == ["first", "second"]
    await writer.close()
