"""The journal without a disk: for `journal: off`, and for simulations. Gone with its process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.errors import AlreadyAsked, JournalError
from massgen_mcp.journal import rules
from massgen_mcp.journal.codec import Redact, decode, encode, untouched
from massgen_mcp.journal.owner import this_process
from massgen_mcp.journal.records import Entry, Kind, Noted, Record, RunRow, RunState
from massgen_mcp.journal.summary import summarise

__all__ = ["MemoryJournal", "MemoryRunLog"]


@dataclass(slots=True)
class _Run:
    row: RunRow
    records: list[Record] = field(default_factory=list[Record])
    tails: dict[str, str] = field(default_factory=dict[str, str])
    stopping: anyio.Event = field(default_factory=anyio.Event)
    """Set when its pen is to stop: each pen has its own."""
    lease: int = 1
    """The number of its pen."""


class MemoryJournal:
    """A `Journal` that keeps everything in this process. After `aclose` it can still be read."""

    def __init__(self, *, clock: Clock | None = None, redact: Redact = untouched) -> None:
        self._clock = clock or SystemClock()
        self._redact = redact
        self._owner = this_process()
        self._runs: dict[str, _Run] = {}
        self._noted: defaultdict[tuple[float, str], float] = defaultdict(float)
        """Day and user -> US dollars of runs that are not kept here."""
        self._closed = False

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
    ) -> MemoryRunLog:
        """Create a run of a user's: its row and its `RunStarted` record with `body`.

        Raises:
            AlreadyAsked: with `join`: `same` has a run of that digest. Nothing was written.
            JournalError: there is such a run, or `body` is not JSON.
        """
        self._refuse_closed()
        row = await self.same(digest, user=user) if join else None
        if row is not None:
            raise AlreadyAsked(row.run_id)
        if run_id in self._runs:
            raise rules.already_there(run_id)
        now = float(self._clock.now())
        row = RunRow(
            run_id=run_id,
            state="running",
            question=rules.headline(question, self._redact),
            team=self._redact(team),
            started=now,
            owner=self._owner,
            heartbeat=now,
            user=user,
            digest=digest,
        )
        run = _Run(row)
        run.records.extend(self._records(run, [Entry(kind="RunStarted", body=body)], now))
        self._runs[run_id] = run
        return MemoryRunLog(self, run_id, lease=run.lease, stopping=run.stopping)

    async def take_over(self, run_id: str, *, body: Mapping[str, Any]) -> MemoryRunLog:
        """Become the driver of a run whose pen let go of it, with a `Notice` record of `body` that says so.

        Raises:
            RunNotFound: no such run.
            RunTaken: its pen has not let go of it.
            RunOver: it is finished.
            JournalError: `body` is not JSON.
        """
        self._refuse_closed()
        run = self._find(run_id)
        if run.row.state == "running":
            raise rules.driven(run_id, self._owner.pid, self._owner.host)
        if run.row.state != "interrupted":
            raise rules.over(run_id, run.row.state)
        now = float(self._clock.now())
        run.records.extend(self._records(run, [Entry(kind="Notice", body=body)], now))
        run.row = replace(run.row, state="running", heartbeat=now, cancel_requested=None, delivered=False)
        run.stopping.set()
        run.stopping, run.lease = anyio.Event(), run.lease + 1
        run.tails.clear()
        return MemoryRunLog(self, run_id, lease=run.lease, stopping=run.stopping)

    def append(self, run_id: str, entries: Sequence[Entry], *, lease: int) -> Sequence[Record]:
        """Write records of an open run, all or none. `Finished` is the last.

        Raises:
            JournalError: the run is finished, or was let go of, or a body is not JSON.
            RunTaken: another pen has taken it over.
            RunNotFound: it was deleted.
        """
        self._refuse_closed()
        run = self._find(run_id)
        if run.lease != lease:
            raise rules.lost(run_id, self._owner.pid, self._owner.host)
        if run.row.state == "interrupted":
            raise rules.left(run_id)
        if run.row.ended is not None:
            raise rules.finished(run_id)
        state = rules.ending(entries)
        records = self._records(run, entries, float(self._clock.now()))
        run.records.extend(records)
        for entry, record in zip(entries, records, strict=True):
            _count(run, entry, record, state)
        return records

    def _records(self, run: _Run, entries: Sequence[Entry], now: float) -> Sequence[Record]:
        """What these become behind those there are."""
        return [
            Record(
                run_id=run.row.run_id,
                seq=seq,
                at=now,
                kind=entry.kind,
                body=decode(encode(entry.body, self._redact)),
                turn=entry.turn,
                call=entry.call,
            )
            for seq, entry in enumerate(entries, len(run.records) + 1)
        ]

    def _find(self, run_id: str) -> _Run:
        try:
            return self._runs[run_id]
        except KeyError:
            raise rules.not_found(run_id) from None

    def _refuse_closed(self) -> None:
        if self._closed:
            raise JournalError("The journal is closed.")

    def _seen(self, run: _Run) -> RunRow:
        row = run.row
        if row.state != "running":
            return row
        # The owner is this process, so its heart beats as long as the journal is open.
        return (
            replace(row, state="interrupted") if self._closed else replace(row, heartbeat=self._clock.now())
        )

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[Record]:
        """A run's records in order, from `after` (exclusive).

        Raises:
            RunNotFound: no such run.
        """
        records = self._find(run_id).records[after:]
        return records if limit is None else records[:limit]

    async def row(self, run_id: str) -> RunRow:
        """A run's row; `interrupted` if the journal was closed before it finished.

        Raises:
            RunNotFound: no such run.
        """
        return self._seen(self._find(run_id))

    async def rows(
        self, *, limit: int = 20, before: float | None = None, user: str | None = None
    ) -> Sequence[RunRow]:
        """The latest runs, newest first; `before` is the `started` of the last row seen."""
        # Of runs begun at the same moment the later one counts as newer.
        numbered = enumerate(self._runs.values())
        newest = sorted(numbered, key=lambda pair: (pair[1].row.started, pair[0]), reverse=True)
        found = [
            self._seen(run)
            for _, run in newest
            if (before is None or run.row.started < before) and user in (None, run.row.user)
        ]
        return found[:limit]

    async def same(self, digest: str, *, user: str | None = None) -> RunRow | None:
        """The newest run of that digest that is driven, or whose answer nobody was given yet."""
        rows = await self.rows(limit=len(self._runs), user=user or "")
        return next((row for row in rows if digest and row.digest == digest and _serves(row)), None)

    async def deliver(self, run_id: str) -> None:
        """Keep that a run's result has been handed to a caller. It may be said again.

        Raises:
            RunNotFound: no such run.
        """
        run = self._find(run_id)
        run.row = replace(run.row, delivered=True)

    async def interrupted(
        self, *, since: float, limit: int = 100, user: str | None = None
    ) -> Sequence[RunRow]:
        """The interrupted runs whose heart beat after `since`, oldest first; none that is to be stopped."""
        rows = await self.rows(limit=len(self._runs), user=user)
        found = [
            row
            for row in reversed(rows)
            if row.state == "interrupted" and (row.heartbeat or 0.0) > since and row.cancel_requested is None
        ]
        return found[:limit]

    async def spent(self, since: float, *, user: str | None = None) -> float:
        """US dollars of all runs begun since then, and what was noted for those days."""
        runs = [run for run in self._runs.values() if user in (None, run.row.user)]
        spent = sum(run.row.cost_usd + self._cut_off(run) for run in runs if run.row.started >= since)
        return spent + sum(item.usd for item in await self.noted(since, user=user))

    def _cut_off(self, run: _Run) -> float:
        """What an interrupted run had under way, at what was set aside for it."""
        if self._seen(run).state != "interrupted":
            return 0.0
        summary = summarise(run.records)
        return summary.open_usd + summary.lost_usd

    async def noted(self, since: float, *, user: str | None = None) -> Sequence[Noted]:
        """What was noted for days, UTC, that had not ended by then, newest first."""
        found = [
            Noted(day=day, user=who, usd=usd)
            for (day, who), usd in self._noted.items()
            if day >= rules.midnight(since) and user in (None, who)
        ]
        return sorted(found, key=lambda item: (-item.day, item.user))

    async def note_spent(self, usd: float, *, user: str = "", at: float | None = None) -> None:
        """Have `spent` count an amount of a run that is not kept here, and nothing else of that run.

        Raises:
            JournalError: the journal is closed.
        """
        self._refuse_closed()
        if usd > 0:
            self._noted[rules.midnight(self._clock.now() if at is None else at), user] += usd

    async def activities(self, run_id: str) -> Mapping[str, str]:
        """What each agent of a live run is doing now.

        Raises:
            RunNotFound: no such run.
        """
        run = self._find(run_id)
        return dict(sorted(run.tails.items())) if self._seen(run).state == "running" else {}

    def show(self, run_id: str, agent: str, tail: str, *, lease: int) -> None:
        """What an agent of an open run is doing now."""
        run = self._find(run_id)
        if run.row.state == "running" and run.lease == lease:
            run.tails[agent] = self._redact(tail)[-rules.TAIL :]

    def reason(self, run_id: str, *, lease: int) -> str | None:
        """Why a pen is to stop; None while nobody asked."""
        run = self._find(run_id)
        return run.row.cancel_requested if run.lease == lease else rules.TAKEN

    def leave(self, run_id: str, *, lease: int) -> None:
        """A pen lets go of its run."""
        run = self._runs.get(run_id)
        if run is not None and run.row.state == "running" and run.lease == lease:
            run.row = replace(self._seen(run), state="interrupted")

    async def request_cancel(self, run_id: str, reason: str) -> None:
        """Ask the owner to stop; it sees this at once. The first reason stays.

        Raises:
            RunNotFound: no such run.
        """
        run = self._find(run_id)
        if run.row.ended is None and run.row.cancel_requested is None:
            run.row = replace(run.row, cancel_requested=self._redact(reason))
            run.stopping.set()

    async def prune(self, *, older_than_days: float = 30.0) -> Sequence[str]:
        """Delete the runs that are over for longer than that. Returns their ids."""
        before = self._clock.now() - older_than_days * rules.DAY
        rows = [self._seen(run) for run in self._runs.values()]
        old = [
            row.run_id
            for row in rows
            if row.state != "running" and (row.ended or row.heartbeat or 0.0) < before
        ]
        for run_id in old:
            del self._runs[run_id]
        return old

    async def aclose(self) -> None:
        """Take no more records. Runs still open show as interrupted."""
        if self._closed:
            return
        for run in self._runs.values():
            run.row = self._seen(run)
        self._closed = True


def _count(run: _Run, entry: Entry, record: Record, state: RunState | None) -> None:
    """A run's row says what a record costs, and how it ended."""
    cost = rules.cost_of(entry.kind, entry.body)
    if entry.kind == "Finished" and state is not None:
        total = run.row.cost_usd if cost is None else cost
        total += rules.lost_cost_of(entry.kind, entry.body)
        run.row = replace(run.row, state=state, ended=record.at, cost_usd=total)
        run.tails.clear()
    elif cost:
        run.row = replace(run.row, cost_usd=run.row.cost_usd + cost)


def _serves(row: RunRow) -> bool:
    """Whether a run can serve a caller who asks the same."""
    if row.state == "running":
        return row.cancel_requested is None
    return row.state in rules.ANSWERED and not row.delivered


class MemoryRunLog:
    """The pen for one run."""

    def __init__(self, journal: MemoryJournal, run_id: str, *, lease: int, stopping: anyio.Event) -> None:
        self._journal = journal
        self._run_id = run_id
        self._lease = lease
        self._stopping = stopping

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
        """Write one record; it is in the log when this returns. `Finished` is the last.

        Raises:
            JournalError: the run is finished, or was let go of, or `body` is not JSON.
            RunTaken: another pen has taken it over.
        """
        (record,) = await self.append_all([Entry(kind=kind, body=body, turn=turn, call=call)])
        return record

    async def append_all(self, entries: Sequence[Entry]) -> Sequence[Record]:
        """Write several records, one behind the other and all or none.

        Raises:
            JournalError: the run is finished, ends before the last entry, or was let go of; or no JSON.
            RunTaken: another pen has taken it over.
        """
        return self._journal.append(self._run_id, entries, lease=self._lease)

    async def activity(self, agent: str, tail: str) -> None:
        """Show what an agent is doing now; not logged."""
        self._journal.show(self._run_id, agent, tail, lease=self._lease)

    async def cancel_requested(self) -> str | None:
        """The reason somebody gave for stopping this run; None while nobody asked."""
        return self._journal.reason(self._run_id, lease=self._lease)

    async def wait_cancel(self) -> str:
        """Wait until somebody asks to stop this run or takes it over, and return the reason."""
        await self._stopping.wait()
        return await self.cancel_requested() or ""

    async def leave(self) -> None:
        """Let go of the run unfinished: it shows as interrupted, and can be taken over."""
        self._journal.leave(self._run_id, lease=self._lease)
