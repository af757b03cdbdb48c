"""The tables, their versions, and how a connection is set up."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from massgen_mcp.errors import JournalError
from massgen_mcp.journal.owner import is_gone, read_owner
from massgen_mcp.journal.salvage import records_by_id

__all__ = [
    "MIGRATIONS",
    "Migration",
    "connect_reader",
    "connect_writer",
    "is_newer",
    "make_room",
    "migrate",
    "read_version",
    "transaction",
]

_PATIENCE = 10.0
"""Seconds to wait for another process's transaction; its own take milliseconds."""

_PAUSE = 0.0005
_LONGEST_PAUSE = 0.004
"""Seconds between two looks for another process's lock.

SQLite itself looks every 100 ms after a while: who syncs one record after the other holds it nearly always,
and would hardly ever be met without it.
"""

_APPLICATION = 0x6D676D63
"""Marks the file as ours: `mgmc`."""

Migration: TypeAlias = str | Callable[[sqlite3.Connection], str]
"""SQL, statements parted by semicolons; or what makes it from what it reads before the transaction."""

_COST = """
    CASE WHEN json_valid(body) AND json_type(body, '$.usage.cost_usd') IN ('integer', 'real')
    THEN json_extract(body, '$.usage.cost_usd') END
"""
_COSTS = f"""
    SELECT number, coalesce(
        (SELECT {_COST} FROM records WHERE run = number AND kind = 'Finished'),
        (SELECT sum({_COST}) FROM records WHERE run = number AND kind = 'CallReplied')
    ) FROM runs
"""  # noqa: S608 - a constant of this module


def _costs_into_rows(connection: sqlite3.Connection) -> str:
    """A run's cost stands in its row: that of an older run comes from its records."""
    steps = ["ALTER TABLE runs ADD COLUMN cost_usd REAL NOT NULL DEFAULT 0"]
    try:
        for number, cost in connection.execute(_COSTS):
            if cost and math.isfinite(cost):
                steps.append(f"UPDATE runs SET cost_usd = {float(cost)!r} WHERE number = {number}")  # noqa: S608 - numbers
    except sqlite3.DatabaseError as error:
        # Of a damaged file what can be read still is, without its old costs.
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
    return ";".join(steps)


MIGRATIONS: Sequence[Migration] = (
    """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        question TEXT NOT NULL,
        team TEXT NOT NULL,
        started REAL NOT NULL,
        ended REAL,
        pid INTEGER NOT NULL,
        host TEXT NOT NULL,
        process_started REAL NOT NULL,
        heartbeat REAL NOT NULL,
        cancel_requested TEXT
    );
    CREATE INDEX runs_by_start ON runs (started);
    CREATE TABLE records (
        run INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        schema INTEGER NOT NULL,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        turn INTEGER,
        call INTEGER,
        body TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (run, seq)
    ) WITHOUT ROWID;
    CREATE TABLE activity (
        run INTEGER NOT NULL,
        agent TEXT NOT NULL,
        tail TEXT NOT NULL,
        PRIMARY KEY (run, agent)
    ) WITHOUT ROWID;
    """,
    _costs_into_rows,
    "ALTER TABLE runs ADD COLUMN user_name TEXT NOT NULL DEFAULT ''",
    """
    ALTER TABLE runs ADD COLUMN digest TEXT NOT NULL DEFAULT '';
    ALTER TABLE runs ADD COLUMN delivered INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX runs_by_digest ON runs (digest) WHERE digest != ''
    """,
    records_by_id,
    """
    CREATE TABLE spendings (
        day REAL NOT NULL,
        user_name TEXT NOT NULL,
        usd REAL NOT NULL,
        PRIMARY KEY (day, user_name)
    ) WITHOUT ROWID
    """,
)
"""In order; a file's version is how many of them it has seen. Never edited, only added to."""

_BREAKING: frozenset[Migration] = frozenset({records_by_id})
"""Those after which a process of an older version can write nothing any more."""


def connect_writer(
    path: Path, *, max_pages: int | None = None, now: Callable[[], float] = time.time
) -> sqlite3.Connection:
    """The one connection of a process that writes, with all migrations done. For one thread at a time.

    Raises:
        sqlite3.Error: the file can't be used.
        JournalError: it was made by a newer version, or an older one is at work in it.
    """
    connection = _connect(str(path), one_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # holds for a new file only
        _use_wal(connection)
        # The checkpoint is made by the writer itself, when nobody waits for it.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA secure_delete = FAST")  # freed pages leave with `prune`
        connection.execute("PRAGMA fullfsync = ON")  # macOS: to the disk, not to the disk's cache
        connection.execute("PRAGMA synchronous = NORMAL")
        if max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {max_pages}")
        migrate(connection, now=now)
    except BaseException:
        connection.close()
        raise
    return connection


def make_room(connection: sqlite3.Connection, size: int) -> None:
    """Let the log have so many bytes before they are needed. Where they don't fit, it stays as it is.

    What is written over is synced in little more than half the time of what makes a file grow.
    """
    with suppress(sqlite3.Error):
        (pages,) = connection.execute("PRAGMA cache_size").fetchone()
        connection.execute("PRAGMA cache_size = 8")  # so that this is not held back until it is rolled back
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE room (content BLOB)")
            connection.execute("INSERT INTO room VALUES (zeroblob(?))", (size,))
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute(f"PRAGMA cache_size = {pages}")


def connect_reader(path: Path, *, alone: bool = False) -> sqlite3.Connection:
    """A connection that only reads; damaged text is readable as far as it goes.

    With `alone` it shares nothing with other connections, so that it needs no room on the disk, and shuts
    them out once it has read: for a moment, and where there can be no other.
    """
    # Without `mode` a file that was removed would be made anew, empty.
    connection = _connect(f"{path.absolute().as_uri()}?mode=rw")
    if alone:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA query_only = ON")
    connection.text_factory = _readable
    return connection


def _connect(name: str, *, one_thread: bool = True) -> sqlite3.Connection:
    connection = sqlite3.connect(
        name,
        timeout=_PATIENCE,
        isolation_level=None,
        uri=name.startswith("file:"),
        check_same_thread=one_thread,
    )
    connection.execute("PRAGMA temp_store = MEMORY")  # no copies of answers in other folders
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _readable(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. Two processes that do so at once see "locked" without the usual waiting."""
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            mode: str = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise JournalError(f"SQLite can't keep a write-ahead log there (it offers {mode!r}).")
        return


@contextmanager
def transaction(connection: sqlite3.Connection, *, patience: float = 0.0) -> Generator[None]:
    """All or nothing. The lock is taken at once, so that waiting for it can't fail half-way.

    Args:
        connection: which has no transaction yet.
        patience: seconds to wait for another process's, beyond what the connection itself waits.
    """
    _begin(connection, patience)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has often rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection, patience: float) -> None:
    give_up, pause = time.monotonic() + patience, _PAUSE
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def migrate(
    connection: sqlite3.Connection,
    migrations: Sequence[Migration] = MIGRATIONS,
    *,
    now: Callable[[], float] = time.time,
) -> None:
    """Bring the file to the newest version, each step whole or not at all.

    Raises:
        JournalError: the file is newer than this program, or a process of an older version drives a run that
            it could not go on with.
    """
    while (version := read_version(connection)) != len(migrations):
        if version > len(migrations):
            raise JournalError(
                f"This journal has version {version}; this massgen-mcp knows up to {len(migrations)}. "
                "Upgrade massgen-mcp, or set MASSGEN_MCP_STATE_DIR to another folder."
            )
        step = migrations[version]
        if step in _BREAKING:
            _refuse_at_work(connection, now())
        # Before the transaction: one that meets a damaged page can't be committed any more.
        text = step if isinstance(step, str) else step(connection)
        with transaction(connection):
            if read_version(connection) != version:
                continue  # another process was faster
            for statement in text.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {version + 1}")


def _refuse_at_work(connection: sqlite3.Connection, now: float) -> None:
    """Leave the file as it is while a run is driven: that is paid for, and we can wait until it is over."""
    rows = connection.execute(
        "SELECT run_id, pid, host, process_started, heartbeat FROM runs WHERE state = 'running'"
    )
    for run_id, *process, heartbeat in rows.fetchall():
        driver = read_owner(*process)
        if not is_gone(driver, heartbeat=heartbeat, now=now):
            raise JournalError(
                f"This journal is an older massgen-mcp's, and that is at work in it: process {driver.pid} on "
                f"{driver.host} drives run {run_id}. It is upgraded once the run is over: try again then, or "
                "close the windows of the older massgen-mcp first. Nothing was spent."
            )


def read_version(connection: sqlite3.Connection) -> int:
    """How many migrations a file has seen."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def is_newer(connection: sqlite3.Connection) -> bool:
    """Whether the file has been upgraded to what this program does not know; not if it can't be read."""
    try:
        return read_version(connection) > len(MIGRATIONS)
    except sqlite3.Error:
        return False
