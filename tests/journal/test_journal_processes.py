"""One journal, several processes: nothing acknowledged is lost, and each sees what the others do."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.errors import RunTaken
from massgen_mcp.journal import Owner, SqliteJournal, open_journal
from massgen_mcp.journal.owner import is_gone, place_of, read_owner, this_process

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
Drive = Callable[[str, str], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncGenerator[SqliteJournal]:
    journal = await open_journal(folder, **options)
    try:
        yield journal
    finally:
        await journal.aclose()


def tear(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1000)


async def test_kill_9_loses_nothing_that_was_acknowledged(folder: Path, drive: Drive) -> None:
    async with drive("append", "r1") as other:
        seen = [await other.line() for _ in range(50)]
        acknowledged = int([*seen, *(await other.kill())][-1])

    async with opened(folder) as journal:
        records = await journal.read("r1")
        assert len(records) >= acknowledged >= 50
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        assert (await journal.row("r1")).state == "interrupted"
        assert await journal.activities("r1") == {}


async def test_after_a_torn_end_of_the_log_whole_records_are_left(folder: Path, drive: Drive) -> None:
    async with drive("append", "r1") as other:
        seen = [await other.line() for _ in range(50)]
        acknowledged = int([*seen, *(await other.kill())][-1])
    tear(folder / "journal.db-wal")

    async with opened(folder) as journal:
        records = await journal.read("r1")
        assert acknowledged - 3 <= len(records)
        assert [record.seq for record in records] == list(range(1, len(records) + 1))


async def test_two_processes_write_to_one_journal(folder: Path, drive: Drive) -> None:
    async with opened(folder) as journal:
        log = await journal.begin("mine", question="?", team="test", body={})
        async with drive("count", "theirs") as other:
            for number in range(100):
                await log.append("AnswerGiven", {"number": number})
            assert await other.line() == "finished"
        assert len(await journal.read("mine")) == 101
        assert len(await journal.read("theirs")) == 102
        assert {row.run_id: row.state for row in await journal.rows()} == {
            "mine": "running",
            "theirs": "completed",
        }


async def test_a_run_of_another_process_is_seen_and_stopped_within_a_second(
    folder: Path, drive: Drive, until: Until
) -> None:
    async with opened(folder) as journal, drive("obey", "r1") as other:
        assert await other.line() == "ready"
        row = await journal.row("r1")
        assert (row.state, row.question) == ("running", "What does r1 do?")
        assert row.owner is not None
        assert row.owner.pid == other.process.pid

        async def shown() -> bool:
            return await journal.activities("r1") == {"a": "waiting to be told"}

        await until(shown)

        with anyio.fail_after(1):
            await journal.request_cancel("r1", "the user changed their mind")
            assert await other.line() == "the user changed their mind"

        async def stopped() -> bool:
            return (await journal.row("r1")).state == "cancelled"

        await until(stopped)


async def test_a_run_whose_process_died_is_interrupted_at_once(folder: Path, drive: Drive) -> None:
    async with opened(folder) as journal:
        async with drive("obey", "r1") as other:
            await other.line()
            assert (await journal.row("r1")).state == "running"
            await other.kill()
            assert (await journal.row("r1")).state == "interrupted"
        assert await journal.prune(older_than_days=0) == ["r1"]


async def test_a_process_ends_although_another_one_keeps_the_journal_locked(
    folder: Path, drive: Drive
) -> None:
    async with drive("give_up", "r1") as other:
        assert await other.line() == "ready"
        with closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            await other.process.stdin.send(b"\n")
            with anyio.fail_after(4):
                assert "could not be closed within 1 s" in await other.line()
                assert await other.process.wait() == 0
            lock.execute("ROLLBACK")


def test_an_event_loop_may_end_without_closing_its_journal(folder: Path) -> None:
    async def leave() -> None:
        journal = await open_journal(folder)
        await journal.begin("r1", question="?", team="test", body={})
        with closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            with anyio.move_on_after(0.05):
                await journal.request_cancel("r1", "never heard")
            lock.execute("ROLLBACK")

    async def look() -> str:
        async with opened(folder) as journal:
            return (await journal.row("r1")).state

    anyio.run(leave)
    assert anyio.run(look) == "running"


# Taking over.


async def test_of_two_processes_that_take_a_run_over_at_once_one_gets_it(folder: Path, drive: Drive) -> None:
    async with drive("obey", "r1") as dead:
        await dead.line()
        await dead.kill()
    async with drive("take", "r1") as one, drive("take", "r1") as two, opened(folder) as journal:
        for other in (one, two):
            assert await other.line() == "ready"
        for other in (one, two):
            await other.tell()
        said = {one: await one.line(), two: await two.line()}
        assert sorted(said.values()) == ["RunTaken", "taken"]
        winner = next(other for other, words in said.items() if words == "taken")
        row = await journal.row("r1")
        assert row.state == "running"
        assert row.owner is not None
        assert row.owner.pid == winner.process.pid
        assert [record.body.get("event") for record in await journal.read("r1")][1:] == ["Resumed", "at work"]
        await winner.kill()
        # And once more: whoever took it over may die, too.
        log = await journal.take_over("r1", body={"event": "Resumed"})
        assert (await log.append("Finished", {"status": "completed"})).seq == 5


async def test_a_run_of_a_living_process_is_not_taken_over(folder: Path, drive: Drive) -> None:
    async with opened(folder) as journal, drive("follow", "r1") as other:
        assert await other.line() == "ready"
        if hasattr(signal, "SIGSTOP"):
            other.process.send_signal(signal.SIGSTOP)
        words = f"driven by process {other.process.pid} on {socket.gethostname()} and alive"
        with pytest.raises(RunTaken, match=words):
            await journal.take_over("r1", body={})


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes can't be suspended there")
async def test_a_process_that_slept_while_its_run_was_taken_over_writes_nothing_to_it(
    folder: Path, drive: Drive
) -> None:
    async with opened(folder) as journal, drive("follow", "r1") as other:
        assert await other.line() == "ready"
        await other.tell()
        assert await other.line() == "2"
        other.process.send_signal(signal.SIGSTOP)
        with closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as raw:
            raw.execute("UPDATE runs SET host = 'elsewhere', heartbeat = heartbeat - 1000")
        log = await journal.take_over("r1", body={"event": "Resumed"})
        beaten = (await journal.row("r1")).heartbeat
        await other.tell()  # what it was about to write
        other.process.send_signal(signal.SIGCONT)

        said = sorted([await other.line(), await other.line()])

        by = f"process {os.getpid()} on {socket.gethostname()}"
        assert said[0].startswith(f"RunTaken: Run r1 was taken over by {by}; nothing more is written")
        assert said[1] == "stop: another process has taken this run over"
        await other.tell()
        with anyio.fail_after(10):
            assert await other.process.wait() == 0
        row = await journal.row("r1")
        assert row.state == "running"
        assert row.owner is not None
        assert row.owner.pid == os.getpid()
        assert (row.heartbeat or 0.0) >= (beaten or 0.0)
        assert (await log.append("Finished", {"status": "completed"})).seq == 4
        assert [record.kind for record in await journal.read("r1")] == [
            "RunStarted",
            "AnswerGiven",
            "Notice",
            "Finished",
        ]


async def test_the_same_question_finds_the_run_of_another_process(folder: Path, drive: Drive) -> None:
    async def found(digest: str = "#r1") -> str | None:
        row = await journal.same(digest)
        return None if row is None else row.run_id

    async with opened(folder) as journal, opened(folder) as later:
        async with drive("follow", "r1") as other:
            assert await other.line() == "ready"
            assert await found() == "r1"
            await other.kill()
            assert await found() is None
        async with drive("count", "r2") as other:
            assert await other.line() == "finished"
        assert await found("#r2") == "r2"
        await later.deliver("r2")
        assert await found("#r2") is None
        assert [row.run_id for row in await later.interrupted(since=0.0)] == ["r1"]


# Owners.


def dead_process() -> Owner:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return replace(this_process(), pid=process.pid, started=1.0)


def system(folder: Path, *, space: str = "pid:[7]", ours: bool = True, **started: int) -> dict[str, Any]:
    """A system's list of processes, by when they started, as this process sees it from its namespace."""
    for name, ticks in {"self": 100, **started}.items():
        place = folder / (str(os.getpid()) if name == "self" else name.removeprefix("p"))
        place.mkdir(parents=True)
        (place / "stat").write_text(f"1 (a ) b) S {'0 ' * 18}{ticks} 0\n", "utf-8")
    (folder / "self").symlink_to(str(os.getpid()))
    (folder / "self" / "ns").mkdir()
    (folder / "self" / "ns" / "pid").symlink_to(space)
    if not ours:  # we have another number there
        (folder / "self").unlink()
        (folder / str(os.getpid())).rename(folder / "99999999")
        (folder / "self").symlink_to("99999999")
    return {"proc": folder}


def gone(owner: Owner, *, silent_for: float = 0.0, **system: Any) -> bool:
    return is_gone(owner, heartbeat=1000.0, now=1000.0 + silent_for, **system)


def test_this_process_is_there_however_long_it_was_silent() -> None:
    assert not gone(this_process(), silent_for=0)
    if Path("/proc/self/stat").exists():
        assert not gone(this_process(), silent_for=10_000)


def test_a_dead_process_is_gone_at_once(tmp_path: Path) -> None:
    assert gone(dead_process())
    assert gone(replace(dead_process(), space=""), proc=tmp_path)


HERE = Owner(pid=5, host=socket.gethostname(), started=3.0, space="pid:[7]")


def test_a_process_is_told_with_its_pid_namespace(tmp_path: Path) -> None:
    owner = this_process(**system(tmp_path, ours=False))
    assert owner == Owner(pid=os.getpid(), host=socket.gethostname(), started=1.0, space="pid:[7]")
    assert place_of(owner) == f"{socket.gethostname()} pid:[7]"
    assert read_owner(owner.pid, place_of(owner), owner.started) == owner
    assert place_of(read_owner(1, "elsewhere")) == "elsewhere"


def test_in_one_pid_namespace_the_system_is_asked(tmp_path: Path) -> None:
    seen = system(tmp_path, p5=300)
    assert not gone(HERE, silent_for=10_000, **seen)
    assert gone(replace(HERE, started=4.0), **seen)
    assert gone(replace(HERE, pid=6), **seen)


def test_the_heartbeat_decides_about_another_pid_namespace_of_this_host(tmp_path: Path) -> None:
    seen = system(tmp_path, p5=300)
    for owner in (replace(HERE, space="pid:[8]"), replace(HERE, space="pid:[8]", pid=6)):
        assert not gone(owner, silent_for=29, **seen)
        assert gone(owner, silent_for=31, **seen)


def test_an_owner_without_a_namespace_lives_if_its_start_fits_or_its_heart_beats(tmp_path: Path) -> None:
    seen = system(tmp_path, p5=300)
    older = replace(HERE, space="")
    assert not gone(older, silent_for=10_000, **seen)
    for owner in (replace(older, started=4.0), replace(older, pid=6)):
        assert not gone(owner, silent_for=29, **seen)
        assert gone(owner, silent_for=31, **seen)


def test_a_list_of_processes_of_another_namespace_is_not_believed(tmp_path: Path) -> None:
    seen = system(tmp_path, ours=False, p5=300)
    me = this_process(**seen)
    assert not gone(me, silent_for=29, **seen)
    assert gone(me, silent_for=31, **seen)
    assert gone(replace(dead_process(), space="pid:[7]"), **seen)
    older = replace(HERE, space="")
    assert not gone(older, silent_for=29, **seen)
    assert gone(older, silent_for=31, **seen)


def _apart(*words: str) -> list[str] | None:
    """A command in a pid namespace of its own; None where that can't be made."""
    for how in (["--pid"], ["--user", "--map-root-user", "--pid"]):
        command = ["unshare", *how, "--fork", "--mount-proc", "--kill-child"]
        try:
            if subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0:  # noqa: S603 - words of ours
                return [*command, *words]
        except OSError:
            return None
    return None


async def test_a_run_is_not_taken_from_a_process_that_lives_in_another_pid_namespace(
    folder: Path, drive: Drive
) -> None:
    async with opened(folder) as journal:
        await journal.begin("mine", question="?", team="test", body={})
        other = _apart(
            sys.executable, str(Path(__file__).with_name("driver.py")), "take", str(folder), "mine"
        )
        if other is not None:
            environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            done = await anyio.run_process(other, input=b"\n\n", env=environ, stderr=None)
            assert done.stdout.decode().split() == ["ready", "RunTaken"]
        row = await journal.row("mine")
        assert (row.state, row.owner) == ("running", this_process())
    async with drive("take", "mine") as again:  # it was let go of
        await again.line()
        await again.tell()
        assert await again.line() == "taken"


def test_where_the_system_does_not_say_when_a_process_started_nothing_is_made_up(tmp_path: Path) -> None:
    assert this_process(proc=tmp_path).started == 0.0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_pid_that_is_used_again_is_not_the_owner() -> None:
    assert gone(replace(this_process(), started=this_process().started - 1))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_killed_process_that_nobody_has_collected_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        stat = Path(f"/proc/{process.pid}/stat").read_text("utf-8")
        owner = replace(this_process(), pid=process.pid, started=int(stat.split()[21]) / 100)
        assert not gone(owner)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert gone(owner)


@pytest.mark.parametrize("system", [{"proc": Path("/nowhere")}, {"windows": True}])
def test_where_the_system_tells_nothing_the_heartbeat_decides(system: dict[str, Any]) -> None:
    assert not gone(this_process(), silent_for=29, **system)
    assert gone(this_process(), silent_for=31, **system)


@pytest.mark.skipif(os.name == "nt", reason="there is no signal 0 there")
def test_a_process_of_another_user_is_there() -> None:
    assert not gone(replace(this_process(), pid=1), proc=Path("/nowhere"))


def test_the_heartbeat_decides_about_other_machines() -> None:
    owner = replace(dead_process(), host="another machine")
    assert not gone(owner, silent_for=29)
    assert gone(owner, silent_for=31)
