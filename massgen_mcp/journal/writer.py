"""The one connection of a process that writes the journal. Whatever waits shares a transaction.

A thread of its own does what may have to wait: for the disk, for other processes. What need not is done on
the event loop itself as long as nobody else is at work: to hand a small record to the thread, and the answer
back, takes more time than to write it. What has to survive power loss is written there, too, and then the
thread syncs the log.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from threading import Lock, Thread
from typing import TypeVar

from massgen_mcp.errors import JournalError, MassgenError
from massgen_mcp.journal import lease
from massgen_mcp.journal.folder import explain, outdated, sync
from massgen_mcp.journal.jobs import Job, Outcome, Post
from massgen_mcp.journal.log_file import Log
from massgen_mcp.journal.schema import is_newer, transaction
from massgen_mcp.journal.watch import PATIENCE, TICK, Watch

__all__ = ["Writer"]

T = TypeVar("T")

_SLOW = 0.02
"""Seconds that a write on the event loop may take."""
_SPARE = 100
"""So many times as long as a longer one took the thread then does everything: the loop loses 1 % at most."""


class Writer:
    """Runs jobs on the writing connection, in the order sent, many to a transaction."""

    def __init__(
        self,
        path: Path,
        connect: Callable[[], sqlite3.Connection],
        watch: Watch,
        *,
        sync: Callable[[int], None] = sync,
    ) -> None:
        """Of one file.

        Args:
            path: the file.
            connect: opens it.
            watch: the runs that are driven here.
            sync: has what was written to an open file survive power loss.
        """
        self._folder = path.parent
        self._log = Log(path, sync)
        self._connect = connect
        self._watch = watch
        self._post = Post()
        self._turn = Lock()
        """Held by whoever uses the connection, and for what the watch knows."""
        self._connection: sqlite3.Connection | None = None
        self._waiting = 0
        """Who waits for an answer, or has one and does not go on yet."""
        self._spare_until = 0.0
        self._roomy = False
        """Whether the log has been given its size: not in a process that only reads."""
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
            JournalError: it could not be written, or it was and may not survive power loss.
            MassgenError: `work` refuses; it has written nothing then.
        """
        if durable:
            self._log.check()
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
            self.soon(self._log.make_room, alone=True)
        return await self.do(work, done=done)

    async def do_briefly(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Like `do` for what is quickly written: here and now, if neither the thread nor the disk is busy.

        Raises:
            JournalError: it could not be written.
            MassgenError: `work` refuses; it has written nothing then.
        """
        if durable:
            self._log.check()
        done = self._at_once(work)
        if done is None:
            return await self.do(work, durable=durable)
        if durable:
            await self.do(_is_written, durable=True)
        return done[0]

    def _at_once(self, work: Callable[[sqlite3.Connection], T]) -> tuple[T] | None:
        """What came of it, if it was written here and now; None where the thread has to."""
        # Who was answered goes on first: a run is taken up again in the order of its log.
        quiet = not self._waiting and self._post.idle and not self._post.closed
        if not quiet or not self._turn.acquire(blocking=False):
            return None
        try:
            # A slow disk, and a log that has grown long, are the thread's.
            if self._connection is None or self._log.full or time.monotonic() < self._spare_until:
                return None
            began = time.monotonic()
            with transaction(self._connection):
                result = work(self._connection)
            self._committed()
            if (took := time.monotonic() - began) > _SLOW:
                self._spare_until = began + _SPARE * took
        except sqlite3.Error:
            # Another process is at work in the file, or it has a fault: the thread waits, or tells.
            self._watch.rolled_back()
            return None
        finally:
            self._turn.release()
        return (result,)

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
        await self.do(self._log.truncate, alone=True)

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
            self._log.limit(connection)
            connection.execute("PRAGMA busy_timeout = 0")  # waiting is up to `transaction`
            self._serve(connection)
        finally:
            self._let_go(connection)

    def _refuse(self, error: Exception) -> None:
        """Answer every job with the reason why there is no writer."""
        told = self._told(error)
        while True:
            jobs = self._post.take(None)
            self._post.answer([Outcome(job, error=told) for job in jobs if job is not None])
            if None in jobs:
                return

    def _let_go(self, connection: sqlite3.Connection) -> None:
        with self._turn:
            self._connection = None
            self._log.close()
            connection.close()

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
            if self._log.is_due:
                with self._turn:
                    self._log.look(connection)

    def _tick(self, connection: sqlite3.Connection) -> None:
        # Losing a heartbeat harms nobody; if the disk is at fault, the next record says so.
        with suppress(sqlite3.Error):
            self._watch.tick(connection)

    def _work(self, connection: sqlite3.Connection, jobs: Sequence[Job]) -> None:
        # What is committed already need not wait until another process lets the others be.
        if written := [Outcome(job) for job in jobs if job.work is _is_written]:
            self._post.answer(self._on_disk(written))
        left = (job for job in jobs if job.work is not _is_written)
        for alone, group in groupby(left, key=lambda job: job.alone):
            with self._turn:
                if alone:
                    outcomes = [self._run_alone(connection, job) for job in group]
                else:
                    outcomes = self._run_together(connection, tuple(group))
            self._post.answer(self._on_disk(outcomes))

    def _on_disk(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """The same once what is to survive power loss does; whoever waits for that is told if it may not."""
        if not any(outcome.job.durable and outcome.error is None for outcome in outcomes):
            return outcomes
        try:
            self._log.sync()
        except (OSError, JournalError) as error:
            told = self._told(error)
            return [
                Outcome(outcome.job, error=told) if outcome.job.durable and outcome.error is None else outcome
                for outcome in outcomes
            ]
        return outcomes

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
        try:
            with transaction(connection, patience=PATIENCE):
                outcomes = [_attempt(job, connection) for job in jobs]
        except Exception:
            self._watch.rolled_back()
            raise
        self._committed()
        return outcomes

    def _committed(self) -> None:
        self.transactions += 1
        self._log.grown()

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
    """Any file can be opened; one that a transaction can be made in is a journal."""


def _is_written(_: sqlite3.Connection) -> None:
    """The job of who wrote without the thread, and needs no more of it than that the log is synced."""


def _unheard(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY
