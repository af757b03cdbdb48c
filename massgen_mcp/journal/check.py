"""Whether a journal is whole: looked at without making, changing or upgrading it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from massgen_mcp.errors import JournalError
from massgen_mcp.journal import queries
from massgen_mcp.journal.folder import FILE, explain
from massgen_mcp.journal.records import RecordDamaged
from massgen_mcp.journal.schema import MIGRATIONS, connect_reader

__all__ = ["Health", "check_journal"]

_MOST_RECORDS = 20_000
"""Proved one by one, of the newest runs: a second's work."""
_COMPLAINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was found of a journal."""

    version: int
    newest: int = len(MIGRATIONS)
    """What this program makes of it when it opens it."""
    runs: int
    records: int
    size: int
    """Bytes on the disk, with the log."""
    complaints: tuple[str, ...] = ()
    """What SQLite finds wrong with the file."""
    damaged: tuple[str, ...] = ()
    """Runs with a record that is not what was written."""
    proved: int = 0
    """Runs whose records were proved, the newest."""
    schema: tuple[str, ...] = ()
    """The tables, as SQL."""


def check_journal(folder: Path) -> Health | None:
    """Look at the journal of a state folder; None if there is none. Waits for the disk.

    Raises:
        JournalError: it can't be read at all.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with closing(connect_reader(path)) as connection:
            return _look(connection, _size(path))
    except (sqlite3.Error, OSError) as error:
        raise explain(folder, error) from error


def _size(path: Path) -> int:
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _look(connection: sqlite3.Connection, size: int) -> Health:
    version: int = _one(connection, "PRAGMA user_version")
    complaints = [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({_COMPLAINTS})")]
    schema = [row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    if not version:
        return Health(version=0, runs=0, records=0, size=size, schema=tuple(schema))
    damaged, proved = _prove(connection)
    return Health(
        version=version,
        runs=_one(connection, "SELECT count(*) FROM runs"),
        records=_one(connection, "SELECT count(*) FROM records"),
        size=size,
        complaints=() if complaints == ["ok"] else tuple(complaints),
        damaged=tuple(damaged),
        proved=proved,
        schema=tuple(schema),
    )


def _prove(connection: sqlite3.Connection) -> tuple[list[str], int]:
    damaged: list[str] = []
    left = _MOST_RECORDS
    rows = connection.execute("SELECT run_id FROM runs ORDER BY number DESC").fetchall()
    proved = 0
    for (run_id,) in rows:
        if left <= 0:
            break
        try:
            left -= len(queries.read_records(connection, run_id, after=0, limit=left))
        except RecordDamaged:
            damaged.append(run_id)
        except JournalError:
            continue  # deleted just now
        proved += 1
    return damaged, proved


def _one(connection: sqlite3.Connection, query: str) -> Any:
    return connection.execute(query).fetchone()[0]
