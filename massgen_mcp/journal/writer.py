"""The one thread of a process that writes the journal. Whatever waits shares a transaction."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from threading import Thread
from typing import TypeVar

from massgen_mcp.errors import JournalError, MassgenError
from massgen_mcp.journal import lease
from massgen_mcp.journal.folder import explain
from massgen_mcp.journal.jobs import Job, Outcome, Post
from massgen_mcp.journal.schema import transaction
from massgen_mcp.journal.watch import TICK, Watch

__all__ = ["Writer"]

T = TypeVar("T")

_LOG_LIMIT = 4 * 1024 * 1024
"""Bytes of write-ahead log that start a checkpoint."""
_LOOK_EVERY = 32
"""Transactions between two looks at the log's size."""
_CHECKPOINT_PATIENCE = 100
"""Milliseconds that a checkpoint waits for other processes; they may be appending."""
_PATIENCE = 10_000


class Writer:
    """Runs jobs on the writing connection, in the order sent, many to a transaction."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection], watch: Watch) -> None:
        self._folder = path.parent
        self._log = path.with_name(f"{path.name}-wal")
        self._connect = connect
        self._watch = watch
        self._post = Post()
        self._full = False
        self._checkpoint_at = _LOG_LIMIT
        self._unchecked = 0
        self.transactions = 0
        """Transactions with jobs in them that were committed."""

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._post.closed

    async def start(self) -> None:
        """Open the file.

        Raises:
            JournalError: it can't be used.
        """
        opened = self._post.send(_nothing)
        Thread(target=self._main, name="journal writer", daemon=True).start()
        try:
            await opened
        except BaseException:
            self._post.close()
            raise

    def on_loop(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a function on the event loop, soon; from the thread."""
        self._post.call(function, *arguments)

    async def do(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        durable: bool = False,
        alone: bool = False,
        done: Callable[[T], None] | None = None,
    ) -> T:
        """Run `work` and return its result once it is committed: to the disk if `durable`.

        Raises:
            JournalError: it could not be written.
            MassgenError: `work` refuses; it has written nothing then.
        """
        return await self._post.send(work, durable=durable, alone=alone, done=done)

    def soon(
        self,
        work: Callable[[sqlite3.Connection], object],
        *,
        done: Callable[[object], None] | None = None,
    ) -> None:
        """Run `work` after what was sent before, without waiting. Nobody is told if it fails."""
        with suppress(JournalError):
            self._post.send(work, done=done).add_done_callback(_unheard)

    async def close(self) -> None:
        """Finish what was sent, mark open runs as left, and close the file.

        Raises:
            JournalError: the marks could not be written.
        """
        if not self._post.closed:
            left = self._post.send(self._leave)
            self._post.close()
            await left
        await self._post.join()

    async def empty_log(self) -> None:
        """Move the log into the file, unless another process is in the way."""
        await self.do(self._truncate, alone=True)

    # What follows runs in the thread.

    def _leave(self, connection: sqlite3.Connection) -> None:
        lease.abandon(connection, self._watch.holds)

    def _main(self) -> None:
        try:
            self._open_and_serve()
        except Exception as error:  # noqa: BLE001 - the edge of the thread: whoever waits has to be told
            self._refuse(error)
        self._post.end()

    def _open_and_serve(self) -> None:
        connection = self._connect()
        try:
            self._serve(connection)
        finally:
            connection.close()

    def _refuse(self, error: Exception) -> None:
        """Answer every job with the reason why there is no writer."""
        told = self._told(error)
        while True:
            jobs = self._post.take(None)
            self._post.answer([Outcome(job, error=told) for job in jobs if job is not None])
            if None in jobs:
                return

    def _serve(self, connection: sqlite3.Connection) -> None:
        next_tick = 0.0
        while True:
            watching = bool(self._watch.holds)
            jobs = self._post.take(max(0.0, next_tick - time.monotonic()) if watching else None)
            self._work(connection, [job for job in jobs if job is not None])
            if None in jobs:
                return
            if watching and time.monotonic() >= next_tick:
                self._tick(connection)
                next_tick = time.monotonic() + TICK
            if jobs:
                self._checkpoint(connection)

    def _tick(self, connection: sqlite3.Connection) -> None:
        self._sync(connection, full=False)
        # Losing a heartbeat harms nobody; if the disk is at fault, the next record says so.
        with suppress(sqlite3.Error):
            self._watch.tick(connection)

    def _work(self, connection: sqlite3.Connection, jobs: Iterable[Job]) -> None:
        for alone, group in groupby(jobs, key=lambda job: job.alone):
            if alone:
                outcomes = [self._run_alone(connection, job) for job in group]
            else:
                outcomes = self._run_together(connection, tuple(group))
            self._post.answer(outcomes)

    def _run_alone(self, connection: sqlite3.Connection, job: Job) -> Outcome:
        try:
            return Outcome(job, job.work(connection))
        except Exception as error:  # noqa: BLE001 - it belongs to the one who waits
            return Outcome(job, error=self._told(error))

    def _run_together(self, connection: sqlite3.Connection, jobs: Sequence[Job]) -> Sequence[Outcome]:
        try:
            outcomes = self._commit(connection, jobs)
        except Exception as error:  # noqa: BLE001 - it belongs to the one who waits
            if len(jobs) == 1 or _is_busy(error):
                return [Outcome(job, error=self._told(error)) for job in jobs]
            # One job's failure is not the others': each gets a transaction of its own.
            return [outcome for job in jobs for outcome in self._run_together(connection, (job,))]
        for outcome in outcomes:
            if outcome.error is None and outcome.job.done is not None:
                outcome.job.done(outcome.result)
        return outcomes

    def _commit(self, connection: sqlite3.Connection, jobs: Sequence[Job]) -> Sequence[Outcome]:
        self._sync(connection, full=any(job.durable for job in jobs))
        try:
            with transaction(connection):
                outcomes = [_attempt(job, connection) for job in jobs]
        except Exception:
            self._watch.rolled_back()
            raise
        self.transactions += 1
        self._unchecked += 1
        return outcomes

    def _sync(self, connection: sqlite3.Connection, *, full: bool) -> None:
        if full != self._full:
            connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._full = full

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Empty the log when it has grown, after those who wait were answered."""
        if self._unchecked < _LOOK_EVERY:
            return
        self._unchecked = 0
        if self._log_size() >= self._checkpoint_at:
            self._truncate(connection)

    def _truncate(self, connection: sqlite3.Connection) -> None:
        """Move the log into the file, if other processes let us.

        TRUNCATE takes the writer's lock: a plain checkpoint beside another process's commit is what SQLite up
        to 3.51.2 can, very rarely, damage a file with ("WAL-reset bug").
        """
        connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_PATIENCE}")
        # An error leaves the log whole; if the disk is at fault, the next record says so.
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
        # With a reader in its way the log keeps its size: wait until it has grown as much again.
        self._checkpoint_at = self._log_size() + _LOG_LIMIT

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _told(self, error: Exception) -> Exception:
        if isinstance(error, MassgenError):
            return error
        if isinstance(error, sqlite3.Error | OSError):
            told = explain(self._folder, error)
        else:
            told = JournalError(f"The journal's writer failed: {type(error).__name__}: {error}.")
        told.__cause__ = error
        return told


def _attempt(job: Job, connection: sqlite3.Connection) -> Outcome:
    """What became of one job of a transaction: one that refuses has written nothing, so the others go on."""
    try:
        return Outcome(job, job.work(connection))
    except MassgenError as error:
        return Outcome(job, error=error)


def _nothing(_: sqlite3.Connection) -> None:
    pass


def _unheard(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY
