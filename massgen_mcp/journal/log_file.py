"""The write-ahead log beside the journal's file: its size, its way into the file, its way to the disk."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from massgen_mcp.errors import JournalError
from massgen_mcp.journal.schema import make_room

__all__ = ["Log"]

_LIMIT = 2 * 1024 * 1024
"""Bytes that the log has from the start, and keeps. A checkpoint is made when it has more."""
_FULL = 256
"""Transactions that make a checkpoint, too: about as many as fit, at two pages each."""
_LOOK_EVERY = 32
"""Transactions between two looks at the log's size."""
_PATIENCE = 100
"""Milliseconds that a checkpoint waits for other processes; they may be appending."""


class Log:
    """The log, as the one connection that writes to it sees it."""

    def __init__(self, path: Path, sync: Callable[[int], None]) -> None:
        """Of the journal in that file; `sync` has what was written to an open file survive power loss."""
        self._path = path.with_name(f"{path.name}-wal")
        self._sync = sync
        self._open: int | None = None
        self._failed: OSError | None = None
        """Why nothing can be said to be on the disk any more."""
        self._checkpoint_at = _LIMIT
        self._unseen = 0
        """Transactions since the last look."""
        self._seen = 0
        """Those before it, since the last checkpoint."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to look at it."""
        return self._unseen >= _LOOK_EVERY

    @property
    def full(self) -> bool:
        """Whether nothing may be written before it was looked at."""
        return self._unseen >= _FULL

    def grown(self) -> None:
        """One transaction more is in it."""
        self._unseen += 1

    def limit(self, connection: sqlite3.Connection) -> None:
        """Have it keep its size."""
        connection.execute(f"PRAGMA journal_size_limit = {_LIMIT}")

    def make_room(self, connection: sqlite3.Connection) -> None:
        """Give it its size before it is needed."""
        if self._size() < _LIMIT:
            make_room(connection, _LIMIT)

    def sync(self) -> None:
        """Have all that is in it survive power loss: what a commit of `synchronous = FULL` does at its end.

        Raises:
            OSError: the disk fails.
            JournalError: it failed before, as `check` says.
        """
        self.check()
        if self._open is None:
            self._open = os.open(self._path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        try:
            self._sync(self._open)
        except OSError as error:
            self._failed = error
            raise

    def check(self) -> None:
        """Refuse to go on once the disk has failed.

        The system may count as written what it lost then, so that it would say "done" from now on of what is
        not on the disk.

        Raises:
            JournalError: it has.
        """
        if self._failed is not None:
            why = self._failed.strerror or self._failed
            raise JournalError(
                f"The journal in {self._path.parent} can't be used: {why}, when it was last to be "
                "written to the disk. What came after that may be lost. Check the disk, then restart "
                "massgen-mcp."
            ) from self._failed

    def look(self, connection: sqlite3.Connection) -> None:
        """Empty it when it is full, after those who wait were answered."""
        self._seen += self._unseen
        self._unseen = 0
        if self._seen >= _FULL or self._size() > self._checkpoint_at:
            self._checkpoint(connection, "RESTART")

    def truncate(self, connection: sqlite3.Connection) -> None:
        """Empty it whole, if other processes let us."""
        self._checkpoint(connection, "TRUNCATE")

    def close(self) -> None:
        """Before the connection is: the last one of all processes removes the file."""
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def _checkpoint(self, connection: sqlite3.Connection, mode: Literal["RESTART", "TRUNCATE"]) -> None:
        """Move the log into the file, if other processes let us. What is written next begins at its start.

        Both modes take the writer's lock: a plain checkpoint beside another process's commit is what SQLite
        up to 3.51.2 can, very rarely, damage a file with ("WAL-reset bug").
        """
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
        busy = True
        # An error leaves the log whole; if the disk is at fault, the next record says so.
        with suppress(sqlite3.Error):
            ((busy, _, _),) = connection.execute(f"PRAGMA wal_checkpoint({mode})")
        connection.execute("PRAGMA busy_timeout = 0")
        # With a reader in its way the log goes on to grow: wait until it has grown as much again.
        self._checkpoint_at = self._size() + _LIMIT if busy else _LIMIT
        self._seen = 0

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
