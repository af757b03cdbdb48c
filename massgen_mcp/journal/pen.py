"""The pen for one run in a SQLite journal: it writes as long as its lease stands in the run's row."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio

from massgen_mcp.clock import Clock
from massgen_mcp.journal import lease, queries, rules
from massgen_mcp.journal.codec import Redact, decode, encode
from massgen_mcp.journal.records import DURABLE, Entry, Kind, Record, RunState
from massgen_mcp.journal.watch import OpenRun, Watch
from massgen_mcp.journal.writer import Writer

__all__ = ["SqliteRunLog"]

_BRIEF = 65_536
"""Characters that are written without delay."""


class SqliteRunLog:
    """The pen for one run."""

    def __init__(self, run_id: str, *, writer: Writer, watch: Watch, clock: Clock, redact: Redact) -> None:
        self._run_id = run_id
        self._run = OpenRun(run_id, self._stop_soon, lease=lease.draw())
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
            RunTaken: another process has taken the run over.
            RunNotFound: the run was deleted.
        """
        (record,) = await self.append_all((Entry(kind=kind, body=body, turn=turn, call=call),))
        return record

    async def append_all(self, entries: Sequence[Entry]) -> Sequence[Record]:
        """Write several records, one behind the other and all or none; they are in the log when this returns.

        All survive what the most precious of them does. `Finished` may only be the last.

        Raises:
            JournalError: they could not be written, or the run is finished.
            RunTaken: another process has taken the run over.
            RunNotFound: the run was deleted.
        """
        if not entries:
            return ()
        state = rules.ending(entries)
        drafts = [self._draft(entry) for entry in entries]
        last = await self._write(drafts, state)
        return [
            Record(
                run_id=self._run_id,
                seq=seq,
                at=draft.at,
                kind=draft.kind,
                body=decode(draft.text),
                turn=draft.turn,
                call=draft.call,
            )
            for seq, draft in enumerate(drafts, last - len(drafts) + 1)
        ]

    def _draft(self, entry: Entry) -> queries.Draft:
        return queries.Draft(
            run_id=self._run_id,
            at=float(self._clock.now()),
            kind=entry.kind,
            text=encode(entry.body, self._redact),
            turn=entry.turn,
            call=entry.call,
            cost=rules.cost_of(entry.kind, entry.body),
            lost=rules.lost_cost_of(entry.kind, entry.body),
        )

    async def _write(self, drafts: Sequence[queries.Draft], state: RunState | None) -> int:
        write = partial(self._watch.write, run=self._run, drafts=drafts, state=state)
        if state is not None:
            return await self._writer.do(write, durable=True, done=self._left)
        durable = any(draft.kind in DURABLE for draft in drafts)
        brief = sum(len(draft.text) for draft in drafts) <= _BRIEF
        do = self._writer.do_briefly if brief else self._writer.do
        return await do(write, durable=durable)

    async def activity(self, agent: str, tail: str) -> None:
        """Show other processes what an agent is doing now: the newest, twice a second, and not logged."""
        self._run.tails[agent] = tail

    async def cancel_requested(self) -> str | None:
        """Why this run is to stop: some process asked, or has taken it over. None while neither is so."""
        return self._reason

    async def wait_cancel(self) -> str:
        """Wait until some process asks to stop this run or takes it over, and return the reason."""
        await self._stopping.wait()
        return self._reason or ""

    async def leave(self) -> None:
        """Let go of the run unfinished: it shows as interrupted, and any process may take it over.

        Nothing happens where it is finished, was taken over, or its journal is closed.

        Raises:
            JournalError: it could not be written.
        """
        if not self._writer.closed:
            await self._writer.do(self._leave, done=self._left)

    async def open(self, write: Callable[[sqlite3.Connection, int], tuple[int, int]]) -> None:
        """Write what makes this the run's pen: its row and first record, or the record that takes it over.

        Args:
            write: takes this pen's lease, returns the run's number and the seq of its newest record.

        Raises:
            MassgenError: what `write` raises, or it could not be written; this pen writes nothing.
        """
        try:
            await self._writer.begin(partial(self._open, write=write), done=self._opened)
        except anyio.get_cancelled_exc_class():
            # A run without a pen would look alive for as long as this process lives.
            self._writer.soon(self._leave, done=self._left)
            raise

    # What follows is called in the writer's thread.

    def _open(
        self, connection: sqlite3.Connection, *, write: Callable[[sqlite3.Connection, int], tuple[int, int]]
    ) -> int:
        self._run.number = 0  # until it is written, and if it is refused
        self._run.number, seq = write(connection, self._run.lease)
        return seq

    def _opened(self, seq: int) -> None:
        """The run is committed."""
        self._run.last = seq
        self._watch.open(self._run)

    def _leave(self, connection: sqlite3.Connection) -> None:
        lease.abandon(connection, [self._run.hold])

    def _left(self, _: object) -> None:
        """The run is over for this pen, and that is committed."""
        self._watch.close(self._run)

    def _stop_soon(self, reason: str) -> None:
        self._writer.on_loop(self._stop, reason)

    def _stop(self, reason: str) -> None:
        self._reason = reason
        self._stopping.set()
