"""The one connection of a process that writes the journal. Whatever waits shares a transaction.

A thread of its own does what may have to wait: for the disk, for other processes. What need not is done on
the event loop itself as long as nobody else is at work: to hand a small record to the thread, and the answer
back, takes more time than to write it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from threading import Lock, Thread
from typing import Literal, TypeVar

from massgen_mcp.errors import JournalError, MassgenError
from massgen_mcp.journal import lease
from massgen_mcp.journal.folder import explain, outdated
from massgen_mcp.journal.jobs import Job, Outcome, Post
from massgen_mcp.journal.schema import is_newer, make_room, transaction
from massgen_mcp.journal.watch import PATIENCE, TICK, Watch

__all__ = ["Writer"]

T = TypeVar("T")

_LOG_LIMIT = 2 * 1024 * 1024
"""Bytes that the write-ahead log has from the start, and keeps. A checkpoint is made when it has more."""
_LOG_FULL = 256
"""Transactions that make a checkpoint, too: about as many as fit, at two pages each."""
_LOOK_EVERY = 32
"""Transactions between two looks at the log's size."""
_CHECKPOINT_PATIENCE = 100
"""Milliseconds that a checkpoint waits for other processes; they may be appending."""
_SLOW = 0.02
"""Seconds that a write on the event loop may take."""
_SPARE = 5.0
"""Seconds for which the thread does everything after one took longer."""


class Writer:
    """Runs jobs on the writing connection, in the order sent, many to a transaction."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection], watch: Watch) -> None:
        self._folder = path.parent
        self._log = path.with_name(f"{path.name}-wal")
        self._connect = connect
        self._watch = watch
        self._post = Post()
        self._turn = Lock()
        """Held by whoever uses the connection, and for what the watch knows."""
        self._connection: sqlite3.Connection | None = None
        self._waiting = 0
        """Who waits for an answer, or has one and does not go on yet."""
        self._spare_until = 0.0
        self._full = False
        self._roomy = False
        """Whether the log has been given its size: not in a process that only reads."""
        self._checkpoint_at = _LOG_LIMIT
        self._unchecked = 0
        self._logged = 0
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
        self._waiting += 1
        try:
            return await self._post.send(work, durable=durable, alone=alone, done=done)
        finally:
            self._waiting -= 1

    async def begin(
        self, work: Callable[[sqlite3.Connection], T], *, done: Callable[[T], None] | None = None
    ) -> T:
        """Like `do`, for what many writes will follow.

        Raises:
            JournalError: it could not be written.
            MassgenError: `work` refuses; it has written nothing then.
        """
        if not self._roomy:
            self._roomy = True
            self.soon(self._make_room, alone=True)
        return await self.do(work, done=done)

    async def do_briefly(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Like `do` for what need not be synced: here and now, if neither the thread nor the disk is busy.

        Raises:
            JournalError: it could not be written.
            MassgenError: `work` refuses; it has written nothing then.
        """
        # Who was answered goes on first: a run is taken up again in the order of its log.
        quiet = not self._waiting and self._post.idle and not self._post.closed
        if quiet and self._turn.acquire(blocking=False):
            try:
                if self._connection is not None and self._may_write_here():
                    return self._at_once(self._connection, work)
            except sqlite3.Error:
                # Another process is at work in the file, or it has a fault: the thread waits, or tells.
                self._watch.rolled_back()
            finally:
                self._turn.release()
        return await self.do(work)

    def _may_write_here(self) -> bool:
        """Whether the disk is quick, and the thread not to look at the log first."""
        return self._unchecked < _LOG_FULL and time.monotonic() >= self._spare_until

    def _at_once(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        began = time.monotonic()
        self._sync(connection, full=False)
        with transaction(connection):
            result = work(connection)
        self.transactions += 1
        self._unchecked += 1
        if (ended := time.monotonic()) - began > _SLOW:
            self._spare_until = ended + _SPARE
        return result

    def soon(
        self,
        work: Callable[[sqlite3.Connection], object],
        *,
        alone: bool = False,
        done: Callable[[object], None] | None = None,
    ) -> None:
        """Run `work` after what was sent before, without waiting. Nobody is told if it fails."""
        with suppress(JournalError):
            self._post.send(work, alone=alone, done=done).add_done_callback(_unheard)

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
        connection = self._connection = self._connect()
        try:
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
            connection.execute("PRAGMA busy_timeout = 0")  # waiting is up to `transaction`
            self._serve(connection)
        finally:
            with self._turn:
                self._connection = None
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
            watching = self._watch.busy
            jobs = self._post.take(max(0.0, next_tick - time.monotonic()) if watching else None)
            self._work(connection, [job for job in jobs if job is not None])
            if None in jobs:
                return
            # The connection is taken for nothing but what is due: who was just answered may want it at once.
            if watching and time.monotonic() >= next_tick:
                with self._turn:
                    self._tick(connection)
                next_tick = time.monotonic() + TICK
            if self._unchecked >= _LOOK_EVERY:
                with self._turn:
                    self._look(connection)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        if self._log_size() < _LOG_LIMIT:
            make_room(connection, _LOG_LIMIT)

    def _tick(self, connection: sqlite3.Connection) -> None:
        self._sync(connection, full=False)
        # Losing a heartbeat harms nobody; if the disk is at fault, the next record says so.
        with suppress(sqlite3.Error):
            self._watch.tick(connection)

    def _work(self, connection: sqlite3.Connection, jobs: Iterable[Job]) -> None:
        for alone, group in groupby(jobs, key=lambda job: job.alone):
            with self._turn:
                if alone:
                    outcomes = [self._run_alone(connection, job) for job in group]
                else:
                    outcomes = self._run_together(connection, tuple(group))
            self._post.answer(outcomes)

    def _run_alone(self, connection: sqlite3.Connection, job: Job) -> Outcome:
        connection.execute(f"PRAGMA busy_timeout = {int(PATIENCE * 1000)}")
        try:
            return Outcome(job, job.work(connection))
        except Exception as error:  # noqa: BLE001 - it belongs to the one who waits
            return Outcome(job, error=self._told(error))
        finally:
            connection.execute("PRAGMA busy_timeout = 0")

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
            with transaction(connection, patience=PATIENCE):
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

    def _look(self, connection: sqlite3.Connection) -> None:
        """Empty the log when it is full, after those who wait were answered."""
        self._logged += self._unchecked
        self._unchecked = 0
        if self._logged >= _LOG_FULL or self._log_size() > self._checkpoint_at:
            self._checkpoint(connection, "RESTART")

    def _truncate(self, connection: sqlite3.Connection) -> None:
        self._checkpoint(connection, "TRUNCATE")

    def _checkpoint(self, connection: sqlite3.Connection, mode: Literal["RESTART", "TRUNCATE"]) -> None:
        """Move the log into the file, if other processes let us. What is written next begins at its start.

        Both modes take the writer's lock: a plain checkpoint beside another process's commit is what SQLite
        up to 3.51.2 can, very rarely, damage a file with ("WAL-reset bug").
        """
        connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_PATIENCE}")
        busy = True
        # An error leaves the log whole; if the disk is at fault, the next record says so.
        with suppress(sqlite3.Error):
            ((busy, _, _),) = connection.execute(f"PRAGMA wal_checkpoint({mode})")
        connection.execute("PRAGMA busy_timeout = 0")
        # With a reader in its way the log goes on to grow: wait until it has grown as much again.
        self._checkpoint_at = self._log_size() + _LOG_LIMIT if busy else _LOG_LIMIT
        self._logged = 0

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _told(self, error: Exception) -> Exception:
        if isinstance(error, MassgenError):
            return error
        if isinstance(error, sqlite3.Error | OSError):
            newer = self._connection is not None and is_newer(self._connection)
            told = outdated(self._folder) if newer else explain(self._folder, error)
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
