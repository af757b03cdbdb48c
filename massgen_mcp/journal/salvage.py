"""Records moved to where a run's lie side by side, and of a damaged table as many as can still be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

__all__ = ["records_by_id"]

_Row: TypeAlias = tuple[Any, ...]

_COLUMNS = "run, seq, schema, at, kind, turn, call, body, checksum"

# One key, so that bodies lie in the leaves of one tree: without a rowid SQLite moves those of more than about
# a kilobyte to pages of their own. `run` and `seq` stay, for whoever looks with a program of their own; and
# the condition refuses what a process of an older version, still at work, would write without `id`.
_TABLE = """
    CREATE TABLE records_by_id (
        id INTEGER PRIMARY KEY CHECK (id = (run << 32) + seq),
        run INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        schema INTEGER NOT NULL,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        turn INTEGER,
        call INTEGER,
        body TEXT NOT NULL,
        checksum INTEGER NOT NULL
    )
"""
_COPY = f"""
    INSERT INTO records_by_id SELECT (run << 32) + seq, {_COLUMNS} FROM records ORDER BY run, seq;
    DROP TABLE records
"""  # noqa: S608 - constants of this module
# Rows that the damage has made impossible are left out, which shows as damage where they were.
_RESCUE = f"""
    INSERT OR IGNORE INTO records_by_id SELECT (run << 32) + seq, {_COLUMNS} FROM temp.rescued;
    DROP TABLE temp.rescued;
    ALTER TABLE records RENAME TO records_damaged
"""  # noqa: S608 - constants of this module
_NAMED = "ALTER TABLE records_by_id RENAME TO records"

_READ = (
    "SELECT run, seq, schema, at, CAST(kind AS BLOB), turn, call, CAST(body AS BLOB), checksum "
    "FROM records WHERE run = ? ORDER BY seq"
)
_KEEP = "INSERT INTO temp.rescued VALUES (?, ?, ?, ?, CAST(? AS TEXT), ?, ?, CAST(? AS TEXT), ?)"


def records_by_id(connection: sqlite3.Connection) -> str:
    """The SQL that gives the table of records its one key.

    Of a damaged table what can be read is moved, and the table itself stays as `records_damaged`. Where a
    run's records break off there is one that is none, so that the run is known to be damaged.
    """
    if _is_whole(connection):
        return f"{_TABLE};{_COPY};{_NAMED}"
    connection.execute("DROP TABLE IF EXISTS temp.rescued")
    connection.execute(f"CREATE TEMP TABLE rescued ({_COLUMNS})")
    for number in _numbers(connection):
        connection.executemany(_KEEP, _rescued(connection, number))
    return f"{_TABLE};{_RESCUE};{_NAMED}"


def _is_whole(connection: sqlite3.Connection) -> bool:
    """Whether every page of the table can be read; those where long bodies go on, too."""
    try:
        connection.execute("SELECT sum(length(body)) FROM records").fetchone()
    except sqlite3.DatabaseError as error:
        _refuse_others(error)
        return False
    return True


def _numbers(connection: sqlite3.Connection) -> Sequence[int]:
    rows, _ = _until_damage(connection, "SELECT number FROM runs ORDER BY number")
    return [number for (number,) in rows]


def _rescued(connection: sqlite3.Connection, number: int) -> Iterable[_Row]:
    """A run's records from its first to the damage, and from its last back to it."""
    first, broken = _until_damage(connection, _READ, number)
    if not broken:
        return first
    found = len(first)
    last, _ = _until_damage(connection, f"{_READ} DESC", number)
    behind = [row for row in last if row[1] > found + 1]
    return [*first, (number, found + 1, 0, 0.0, b"", None, None, b"", 0), *behind]


def _until_damage(connection: sqlite3.Connection, query: str, *values: int) -> tuple[Sequence[_Row], bool]:
    """The rows that can be read, and whether the damage ends them."""
    found: list[_Row] = []
    try:
        for row in connection.execute(query, values):
            found.append(row)  # noqa: PERF402 - those before the error are kept
    except sqlite3.DatabaseError as error:
        _refuse_others(error)
        return found, True
    return found, False


def _refuse_others(error: sqlite3.DatabaseError) -> None:
    """Go on only with what is damage: no other failure mends by leaving records out."""
    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
        raise error
