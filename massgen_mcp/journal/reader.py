"""The one thread of a process that reads the journal, on a connection of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import TypeVar

from massgen_mcp.errors import MassgenError
from massgen_mcp.journal.folder import explain, is_full, outdated
from massgen_mcp.journal.jobs import Outcome, Post
from massgen_mcp.journal.schema import connect_reader, is_newer

__all__ = ["Reader"]

T = TypeVar("T")


class Reader:
    """Runs read-only jobs one after the other. Its thread starts with the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._post = Post()
        self._started = False
        self._connection: sqlite3.Connection | None = None
        """The thread's."""

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on what is committed now.

        Raises:
            JournalError: the file can't be read, or `work` says so.
            RunNotFound: `work` says so.
        """
        result = self._post.send(work)
        if not self._started:
            self._started = True
            Thread(target=self._main, name="journal reader", daemon=True).start()
        return await result

    async def close(self) -> None:
        """Finish what was sent and close the file."""
        if not self._post.closed:
            self._post.close()
        if self._started:
            await self._post.join()

    def _main(self) -> None:
        while True:
            for job in self._post.take(None):
                if job is None:
                    self._let_go()
                    self._post.end()
                    return
                if job.future.cancelled():
                    self._post.answer([Outcome(job)])
                    continue
                try:
                    outcome = Outcome(job, self._read(job.work))
                except Exception as error:  # noqa: BLE001 - it belongs to the one who waits
                    outcome = Outcome(job, error=self._told(error))
                self._post.answer([outcome])

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            self._connection = self._connection or connect_reader(self._path)
            return work(self._connection)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
        # Of a journal that nobody has open, the first to look at it would need room on the full disk.
        self._let_go()
        with closing(connect_reader(self._path, alone=True)) as connection:
            return work(connection)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _told(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error | OSError) or isinstance(error, MassgenError):
            return error
        newer = self._connection is not None and is_newer(self._connection)
        told = outdated(self._path.parent) if newer else explain(self._path.parent, error)
        told.__cause__ = error
        return told
