"""The journal in a SQLite file of the state folder, shared by all processes of one user on one machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.errors import AlreadyAsked, JournalError
from massgen_mcp.journal import queries, rules, spendings
from massgen_mcp.journal.codec import Redact, encode, untouched
from massgen_mcp.journal.folder import FILE, is_full, prepare
from massgen_mcp.journal.lease import take_over
from massgen_mcp.journal.owner import this_process
from massgen_mcp.journal.pen import SqliteRunLog
from massgen_mcp.journal.reader import Reader
from massgen_mcp.journal.records import Kind, Noted, Record, RunRow
from massgen_mcp.journal.schema import MIGRATIONS, connect_writer, read_version
from massgen_mcp.journal.watch import Watch
from massgen_mcp.journal.writer import Writer

__all__ = ["SqliteJournal", "open_journal"]

_CLOSING = 1.0
"""Seconds that closing may take."""
_PAGES = 256
"""Pages given back to the disk in one transaction: a megabyte, so that appends can go between."""
_MOUNTS = Path("/proc/self/mountinfo")


async def open_journal(
    folder: Path,
    *,
    clock: Clock | None = None,
    redact: Redact = untouched,
    max_pages: int | None = None,
    mounts: Path = _MOUNTS,
) -> SqliteJournal:
    """Open the journal of a state folder, making both where they are missing.

    One on a full disk is opened all the same: it can be read, and written as soon as there is room.

    Args:
        folder: the state folder; private to its user.
        clock: where `at`, `started` and heartbeats come from.
        redact: takes secrets out of whatever is written; called on the event loop and in a thread.
        max_pages: the most pages of 4 KiB that the file may have.
        mounts: the system's list of mounted file systems.

    Raises:
        JournalError: the folder can't hold a journal; the text says why and what to do.
    """
    folder = Path(folder).absolute()  # noqa: ASYNC240 - looks at no file
    clock = clock or SystemClock()

    def connect() -> sqlite3.Connection:
        return connect_writer(prepare(folder, mounts=mounts), max_pages=max_pages, now=clock.now)

    journal = SqliteJournal(folder / FILE, connect, clock=clock, redact=redact)
    await journal.open()
    return journal


class SqliteJournal:
    """A `Journal` in one file. Belongs to the event loop it was opened on."""

    def __init__(
        self, path: Path, connect: Callable[[], sqlite3.Connection], *, clock: Clock, redact: Redact
    ) -> None:
        self.path = path
        self._connect = connect
        self._watch = Watch(clock, redact)
        self._writer = Writer(path, connect, self._watch)
        self._closed = False
        self._full = False
        """Whether the writer could not begin for want of room."""
        self._beginning = anyio.Lock()
        self._reader = Reader(path)
        self._clock = clock
        self._redact = redact
        self._owner = this_process()

    async def open(self) -> None:
        """Begin to write, or at least to read, if only room is missing.

        Raises:
            JournalError: it can't be used.
        """
        try:
            await self._writer.start()
        except JournalError as error:
            if not is_full(error.__cause__) or not await self._is_ours():
                await self._reader.close()
                raise
            self._full = True

    async def _is_ours(self) -> bool:
        """Whether it can be read as it is: it was made before, and by this version."""
        try:
            return await self._reader.do(read_version) == len(MIGRATIONS)
        except JournalError:
            return False

    async def _writing(self) -> Writer:
        """The writer; a new one if there was no room for it, and the journal is not closed.

        Raises:
            JournalError: there is still none.
        """
        if not self._full:
            return self._writer
        async with self._beginning:
            if self._full and not self._closed:
                writer = Writer(self.path, self._connect, self._watch)
                await writer.start()
                self._writer, self._full = writer, False
            return self._writer

    @property
    def transactions(self) -> int:
        """Transactions committed so far; under load far fewer than records."""
        return self._writer.transactions

    async def begin(
        self,
        run_id: str,
        *,
        question: str,
        team: str,
        body: Mapping[str, Any],
        user: str = "",
        digest: str = "",
        join: bool = False,
    ) -> SqliteRunLog:
        """Create a run of a user's: its row and its `RunStarted` record with `body`.

        With `join` of several that begin the same at once, in any process, one succeeds.

        Raises:
            AlreadyAsked: with `join`: `same` has a run of that digest. Nothing was written.
            JournalError: it could not be written, or there is such a run.
        """
        draft = self._draft(run_id, "RunStarted", body)
        headline, team = rules.headline(question, self._redact), self._redact(team)

        def insert(connection: sqlite3.Connection, lease: int) -> tuple[int, int]:
            self._refuse_removed()
            if join:
                row = queries.same(connection, digest, user=user, now=draft.at)
                if row is not None:
                    raise AlreadyAsked(row.run_id)
            return queries.insert_run(
                connection,
                draft,
                question=headline,
                team=team,
                owner=self._owner,
                lease=lease,
                user=user,
                digest=digest,
            )

        log = await self._pen(run_id)
        await log.open(insert)
        return log

    async def take_over(self, run_id: str, *, body: Mapping[str, Any]) -> SqliteRunLog:
        """Become the driver of an interrupted run, with a `Notice` record of `body` that says so.

        Of several that try at once one succeeds. A wish to stop the run from before is forgotten. Whoever
        drove it, and was only asleep, can't write to it any more.

        Raises:
            RunNotFound: no such run.
            RunTaken: it is driven, and its driver lives.
            RunOver: it is finished.
            JournalError: it could not be written, or `body` is not JSON.
        """
        draft = self._draft(run_id, "Notice", body)

        def take(connection: sqlite3.Connection, lease: int) -> tuple[int, int]:
            self._refuse_removed()
            return take_over(connection, draft, owner=self._owner, lease=lease)

        log = await self._pen(run_id)
        await log.open(take)
        return log

    def _draft(self, run_id: str, kind: Kind, body: Mapping[str, Any]) -> queries.Draft:
        return queries.Draft(
            run_id=run_id, at=float(self._clock.now()), kind=kind, text=encode(body, self._redact)
        )

    async def _pen(self, run_id: str) -> SqliteRunLog:
        writer = await self._writing()
        return SqliteRunLog(run_id, writer=writer, watch=self._watch, clock=self._clock, redact=self._redact)

    def _refuse_removed(self) -> None:
        if not self.path.exists():
            raise JournalError(
                f"{self.path} was removed while this process had it open. Restart to begin a new journal."
            )

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[Record]:
        """A run's records in order, from `after` (exclusive).

        Raises:
            RunNotFound: no such run.
            RecordDamaged: a record asked for can't be read; a `limit` that ends before it reads the rest.
            JournalError: the file can't be read at all.
        """
        return await self._reader.do(partial(queries.read_records, run_id=run_id, after=after, limit=limit))

    async def row(self, run_id: str) -> RunRow:
        """A run's row, with `interrupted` worked out from its owner.

        Raises:
            RunNotFound: no such run.
        """
        return await self._reader.do(partial(queries.read_row, run_id=run_id, now=self._clock.now()))

    async def rows(
        self, *, limit: int = 20, before: float | None = None, user: str | None = None
    ) -> Sequence[RunRow]:
        """The latest runs, newest first; `before` is the `started` of the last row seen."""
        look = partial(queries.read_rows, limit=limit, before=before, user=user, now=self._clock.now())
        return await self._reader.do(look)

    async def same(self, digest: str, *, user: str | None = None) -> RunRow | None:
        """The newest run of that digest that can serve a caller who asks the same, if there is one.

        That is one which is driven and which nobody wants stopped, or one which ended with an answer that was
        not delivered. Of one user's runs; None: of the operator's own.
        """
        return await self._reader.do(
            partial(queries.same, digest=digest, user=user or "", now=self._clock.now())
        )

    async def deliver(self, run_id: str) -> None:
        """Keep that a run's result has been handed to a caller. It may be said again.

        Raises:
            RunNotFound: no such run.
        """
        await (await self._writing()).do(partial(queries.deliver, run_id=run_id))

    async def interrupted(
        self, *, since: float, limit: int = 100, user: str | None = None
    ) -> Sequence[RunRow]:
        """The interrupted runs whose heart beat after `since`, oldest first, for going on with them.

        Those that somebody wants stopped are left out.
        """
        now = self._clock.now()
        return await self._reader.do(
            partial(queries.interrupted, since=since, limit=limit, user=user, now=now)
        )

    async def spent(self, since: float, *, user: str | None = None) -> float:
        """US dollars of all runs begun since then, whoever drove them, and what was noted for those days."""
        now = self._clock.now()
        return await self._reader.do(partial(spendings.spent, since=since, user=user, now=now))

    async def note_spent(self, usd: float, *, user: str = "", at: float | None = None) -> None:
        """Have `spent` count an amount of a run that is not kept here, and nothing else of that run.

        Raises:
            JournalError: it could not be written.
        """
        if usd > 0:
            day = rules.midnight(float(self._clock.now()) if at is None else at)
            note = partial(spendings.note_spent, usd=float(usd), user=user, day=day)
            await (await self._writing()).do(note, durable=True)

    async def noted(self, since: float, *, user: str | None = None) -> Sequence[Noted]:
        """What was noted for days, UTC, that had not ended by then, newest first."""
        return await self._reader.do(partial(spendings.noted, since=since, user=user))

    async def activities(self, run_id: str) -> Mapping[str, str]:
        """What each agent of a live run is doing now.

        Raises:
            RunNotFound: no such run.
        """
        return await self._reader.do(partial(queries.activities, run_id=run_id, now=self._clock.now()))

    async def request_cancel(self, run_id: str, reason: str) -> None:
        """Ask the owner to stop; it sees this within a second. The first reason stays.

        An interrupted run that somebody wants stopped is not gone on with by itself.

        Raises:
            RunNotFound: no such run.
        """
        ask = partial(queries.request_cancel, run_id=run_id, reason=self._redact(reason))
        await (await self._writing()).do(ask, done=lambda _: self._watch.look_again())

    async def prune(self, *, older_than_days: float = 30.0) -> Sequence[str]:
        """Delete the runs that are over for longer than that, and give the space back.

        A finished run's age counts from its end, an interrupted one's from its last heartbeat; running ones
        stay. Returns the deleted runs' ids.
        """
        now = self._clock.now()
        before = now - older_than_days * rules.DAY
        # One transaction each: other processes' records go between.
        found = await self._reader.do(partial(queries.expired, before=before, now=now))
        delete = partial(queries.delete_run, before=before, now=now)
        writer = await self._writing()
        deleted = [run for run in found if await writer.do(partial(delete, run_id=run))]
        await writer.do(partial(spendings.forget_spent, before=before, now=now))
        while await writer.do(partial(queries.release_pages, count=_PAGES), alone=True):
            pass
        await writer.empty_log()
        return deleted

    async def aclose(self) -> None:
        """Flush and let go, within a second. Runs still open show as interrupted.

        Raises:
            JournalError: what was acknowledged is safe, but the file could not be closed properly.
        """
        self._closed = True
        with anyio.move_on_after(_CLOSING, shield=True):
            await self._reader.close()
            await self._writer.close()
            return
        raise JournalError(
            f"{self.path} could not be closed within {_CLOSING:g} s: another process keeps it locked, or the "
            "disk does not answer. What was acknowledged is safe."
        )
