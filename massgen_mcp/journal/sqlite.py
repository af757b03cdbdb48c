"""The journal in a SQLite file of the state folder, shared by all processes of one user on one machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.errors import JournalError
from massgen_mcp.journal import queries, rules
from massgen_mcp.journal.codec import Redact, decode, encode, untouched
from massgen_mcp.journal.folder import FILE, prepare
from massgen_mcp.journal.owner import this_process
from massgen_mcp.journal.reader import Reader
from massgen_mcp.journal.records import DURABLE, Kind, Record, RunRow
from massgen_mcp.journal.schema import connect_writer
from massgen_mcp.journal.watch import OpenRun, Watch
from massgen_mcp.journal.writer import Writer

__all__ = ["SqliteJournal", "SqliteRunLog", "open_journal"]

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
        return connect_writer(prepare(folder, mounts=mounts), max_pages=max_pages)

    path, watch = folder / FILE, Watch(clock, redact)
    writer = Writer(path, connect, watch)
    await writer.start()
    return SqliteJournal(path, writer=writer, watch=watch, clock=clock, redact=redact)


class SqliteJournal:
    """A `Journal` in one file. Belongs to the event loop it was opened on."""

    def __init__(self, path: Path, *, writer: Writer, watch: Watch, clock: Clock, redact: Redact) -> None:
        self.path = path
        self._writer = writer
        self._reader = Reader(path)
        self._watch = watch
        self._clock = clock
        self._redact = redact
        self._owner = this_process()

    @property
    def transactions(self) -> int:
        """Transactions committed so far; under load far fewer than records."""
        return self._writer.transactions

    async def begin(
        self, run_id: str, *, question: str, team: str, body: Mapping[str, Any], user: str = ""
    ) -> SqliteRunLog:
        """Create a run of a user's: its row and its `RunStarted` record with `body`.

        Raises:
            JournalError: it could not be written, or there is such a run.
        """
        log = SqliteRunLog(
            run_id, writer=self._writer, watch=self._watch, clock=self._clock, redact=self._redact
        )
        draft = queries.Draft(
            run_id=run_id, at=float(self._clock.now()), kind="RunStarted", text=encode(body, self._redact)
        )
        headline, team = rules.headline(question, self._redact), self._redact(team)

        def insert(connection: sqlite3.Connection) -> int:
            self._refuse_removed()
            return queries.insert_run(
                connection, draft, question=headline, team=team, owner=self._owner, user=user
            )

        try:
            await self._writer.do(partial(log.create, insert=insert), done=log.created)
        except anyio.get_cancelled_exc_class():
            # A run without a pen would look alive for as long as this process lives.
            self._writer.soon(log.leave, done=log.left)
            raise
        return log

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

    async def spent(self, since: float, *, user: str | None = None) -> float:
        """US dollars of all runs begun since then, whoever drove them."""
        return await self._reader.do(partial(queries.spent, since=since, user=user))

    async def activities(self, run_id: str) -> Mapping[str, str]:
        """What each agent of a live run is doing now.

        Raises:
            RunNotFound: no such run.
        """
        return await self._reader.do(partial(queries.activities, run_id=run_id, now=self._clock.now()))

    async def request_cancel(self, run_id: str, reason: str) -> None:
        """Ask the owner to stop; it sees this within a second. The first reason stays.

        Raises:
            RunNotFound: no such run.
        """
        ask = partial(queries.request_cancel, run_id=run_id, reason=self._redact(reason))
        await self._writer.do(ask, done=lambda _: self._watch.look_again())

    async def prune(self, *, older_than_days: float = 30.0) -> Sequence[str]:
        """Delete the runs that are over for longer than that, and give the space back.

        A finished run's age counts from its end, an interrupted one's from its last heartbeat; running ones
        stay. Returns the deleted runs' ids.
        """
        now = self._clock.now()
        before = now - older_than_days * rules.DAY
        # One transaction each: other processes' records go between.
        found = await self._reader.do(partial(queries.expired, before=before, now=now))
        deleted = [run for run in found if await self._writer.do(partial(queries.delete_run, run_id=run))]
        while await self._writer.do(partial(queries.release_pages, count=_PAGES), alone=True):
            pass
        await self._writer.empty_log()
        return deleted

    async def aclose(self) -> None:
        """Flush and let go, within a second. Runs still open show as interrupted.

        Raises:
            JournalError: what was acknowledged is safe, but the file could not be closed properly.
        """
        with anyio.move_on_after(_CLOSING, shield=True):
            await self._reader.close()
            await self._writer.close()
            return
        raise JournalError(
            f"{self.path} could not be closed within {_CLOSING:g} s: another process keeps it locked, or the "
            "disk does not answer. What was acknowledged is safe."
        )


class SqliteRunLog:
    """The pen for one run."""

    def __init__(self, run_id: str, *, writer: Writer, watch: Watch, clock: Clock, redact: Redact) -> None:
        self._run_id = run_id
        self._run = OpenRun(self._stop_soon)
        self._writer = writer
        self._watch = watch
        self._clock = clock
        self._redact = redact
        self._reason: str | None = None
        self._stopping = anyio.Event()

    @property
    def run_id(self) -> str:
        """The run written to."""
        return self._run_id

    async def append(
        self,
        kind: Kind,
        body: Mapping[str, Any],
        *,
        turn: int | None = None,
        call: int | None = None,
    ) -> Record:
        """Write one record; it is in the log when this returns, as every reader will see it.

        `CallReplied`, `AnswerGiven` and `Finished` survive power loss from then on, all others a kill -9. One
        whose waiter is cancelled is written all the same. `Finished` is the last.

        Raises:
            JournalError: it could not be written, or the run is finished.
        """
        text = encode(body, self._redact)
        at = float(self._clock.now())
        cost = rules.cost_of(kind, body)
        draft = queries.Draft(
            run_id=self._run_id, at=at, kind=kind, text=text, turn=turn, call=call, cost=cost
        )
        if kind == "Finished":
            state = rules.final_state(body)
            finish = partial(self._watch.finish, run=self._run, draft=draft, state=state)
            seq = await self._writer.do(finish, durable=True, done=self.left)
        else:
            write = partial(self._watch.write, run=self._run, draft=draft)
            seq = await self._writer.do(write, durable=kind in DURABLE)
        return Record(run_id=self._run_id, seq=seq, at=at, kind=kind, body=decode(text), turn=turn, call=call)

    async def activity(self, agent: str, tail: str) -> None:
        """Show other processes what an agent is doing now: the newest, twice a second, and not logged."""
        self._run.tails[agent] = tail

    async def cancel_requested(self) -> str | None:
        """The reason some process gave for stopping this run; None while nobody asked."""
        return self._reason

    async def wait_cancel(self) -> str:
        """Wait until some process asks to stop this run, and return its reason."""
        await self._stopping.wait()
        return self._reason or ""

    # Called by the journal, in the writer's thread.

    def create(self, connection: sqlite3.Connection, *, insert: Callable[[sqlite3.Connection], int]) -> None:
        """Write the run; it has a number once that is done, and none if it is refused."""
        self._run.number = 0
        self._run.number = insert(connection)

    def created(self, _: object) -> None:
        """The run is committed."""
        self._run.last = 1
        self._watch.open(self._run)

    def leave(self, connection: sqlite3.Connection) -> None:
        """Nobody will write to this run."""
        queries.abandon(connection, [self._run.number])

    def left(self, _: object) -> None:
        """The run is over, and that is committed."""
        self._watch.close(self._run.number)

    def _stop_soon(self, reason: str) -> None:
        self._writer.on_loop(self._stop, reason)

    def _stop(self, reason: str) -> None:
        self._reason = reason
        self._stopping.set()
