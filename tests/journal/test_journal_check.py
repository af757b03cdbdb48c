"""A journal is looked at without being changed, and what is wrong with it is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from massgen_mcp.errors import JournalError
from massgen_mcp.journal import open_journal
from massgen_mcp.journal.check import check_journal
from massgen_mcp.journal.schema import MIGRATIONS

FIXTURES = Path(__file__).with_name("fixtures")


async def _filled(folder: Path, runs: int = 2) -> None:
    journal = await open_journal(folder)
    for number in range(runs):
        log = await journal.begin(f"r{number}", question="q", team="t", body={"question": "q"})
        await log.append("Finished", {"status": "completed"})
    await journal.aclose()


def _execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "journal.db")) as raw, raw:
        raw.execute(statement)


def test_none_is_none_and_none_is_made(folder: Path) -> None:
    assert check_journal(folder) is None
    assert not folder.exists()


def test_a_whole_journal_is_counted_and_proved(folder: Path) -> None:
    anyio.run(_filled, folder)
    health = check_journal(folder)
    assert health is not None
    assert (health.version, health.runs, health.records, health.proved) == (len(MIGRATIONS), 2, 4, 2)
    assert (health.complaints, health.damaged) == ((), ())
    assert health.size > 0
    assert any(statement.startswith("CREATE TABLE runs") for statement in health.schema)


@pytest.mark.anyio
async def test_a_journal_in_use_can_be_looked_at(folder: Path) -> None:
    journal = await open_journal(folder)
    await journal.begin("r1", question="q", team="t", body={"question": "q"})
    health = check_journal(folder)
    await journal.aclose()
    assert health is not None
    assert (health.runs, health.records) == (1, 1)


def test_a_run_with_a_changed_record_is_named(folder: Path) -> None:
    anyio.run(_filled, folder)
    _execute(folder, "UPDATE records SET body = '{}' WHERE run = 1 AND seq = 2")
    health = check_journal(folder)
    assert health is not None
    assert (health.damaged, health.proved, health.complaints) == (("r0",), 2, ())


def test_what_sqlite_finds_wrong_is_told(folder: Path) -> None:
    anyio.run(_filled, folder, 1)
    # An index that does not fit its table.
    _execute(folder, "PRAGMA writable_schema = ON")
    with closing(sqlite3.connect(folder / "journal.db")) as raw, raw:
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("DELETE FROM sqlite_master WHERE name = 'runs_by_start'")
    health = check_journal(folder)
    assert health is not None
    assert health.complaints


def test_a_journal_of_an_older_version_is_looked_at_as_it_is(folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / "journal.db")) as raw:
        raw.executescript((FIXTURES / "version_1.sql").read_text("utf-8"))
    health = check_journal(folder)
    assert health is not None
    assert (health.version, health.runs, health.damaged) == (1, 1, ())
    assert check_journal(folder) == health


def test_a_newer_one_and_one_that_was_only_begun_are_looked_at(folder: Path) -> None:
    anyio.run(_filled, folder)
    _execute(folder, "PRAGMA user_version = 99")
    health = check_journal(folder)
    assert health is not None
    assert health.version == 99 > health.newest
    for file in folder.iterdir():
        file.unlink()
    (folder / "journal.db").touch()
    empty = check_journal(folder)
    assert empty is not None
    assert (empty.version, empty.runs) == (0, 0)


def test_a_file_that_is_no_journal_is_said_to_be_damaged(folder: Path) -> None:
    folder.mkdir()
    (folder / "journal.db").write_bytes(b"rubbish " * 1000)
    with pytest.raises(JournalError, match="damaged or no journal"):
        check_journal(folder)
