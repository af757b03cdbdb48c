"""The runs that this process drives: their heartbeat, what their agents are doing, who wants them stopped.

And whether it still drives them: another process that found it gone may have taken a run over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from massgen_mcp.clock import Clock
from massgen_mcp.errors import MassgenError, RunNotFound, RunTaken
from massgen_mcp.journal import lease, queries, rules
from massgen_mcp.journal.codec import Redact
from massgen_mcp.journal.lease import Hold
from massgen_mcp.journal.queries import Draft
from massgen_mcp.journal.records import RunState
from massgen_mcp.journal.schema import transaction

__all__ = ["PATIENCE", "TICK", "OpenRun", "Watch"]

TICK = 0.25
"""Seconds between two looks, while any run is open."""

PATIENCE = 10.0
"""Seconds to wait for another process's transaction; its own take milliseconds."""

_BEAT = 2.0
_SHOW = 0.5
"""An agent's activity is written at most this often."""


@dataclass(slots=True, eq=False)
class OpenRun:
    """One run, as the writer's thread sees it."""

    run_id: str
    cancelled: Callable[[str], None]
    """Told the reason, in the writer's thread, when the run is to stop."""
    lease: int
    """What it is held by."""
    number: int = 0
    """In the tables; 0 until the run is written."""
    last: int | None = None
    """The seq of its newest record; None when the tables have to be asked."""
    tails: dict[str, str] = field(default_factory=dict[str, str])
    """The newest activity of each agent that has not been written. Filled by the event loop."""
    shown: dict[str, float] = field(default_factory=dict[str, float])
    """When each agent's activity was last written."""

    @property
    def hold(self) -> Hold:
        """What every statement about it names."""
        return Hold(self.number, self.lease)


class Watch:
    """What the writer's thread looks after between transactions. Lives in that thread."""

    def __init__(self, clock: Clock, redact: Redact) -> None:
        self._clock = clock
        self._redact = redact
        self._runs: dict[int, OpenRun] = {}
        self._beaten = 0.0
        self._version: int | None = None

    @property
    def busy(self) -> bool:
        """Whether any run is open; from any thread."""
        return bool(self._runs)

    @property
    def holds(self) -> Sequence[Hold]:
        """The open runs."""
        return tuple(run.hold for run in self._runs.values())

    def open(self, run: OpenRun) -> None:
        """Look after this run, whose row has just been written, from now on."""
        if not self._runs:
            self._beaten = self._clock.monotonic()
        self._runs[run.number] = run
        self._version = None

    def write(
        self, connection: sqlite3.Connection, run: OpenRun, drafts: Sequence[Draft], state: RunState | None
    ) -> int:
        """Insert a run's next records; with `state` they end it, as its row then says. Returns the last seq.

        Raises:
            RunTaken: another process has taken the run over.
            RunNotFound: the run was deleted.
            JournalError: the run is finished, or was let go of.
        """
        seq = queries.last_seq(connection, run.number) if run.last is None else run.last
        for draft in drafts:
            seq += 1
            # What refuses the first refuses all: nothing else is written meanwhile.
            if not queries.insert_record(connection, run.number, seq, draft, lease=run.lease):
                raise self._refused(connection, run)
        run.last = seq
        if state is not None:
            queries.finish_run(connection, run.number, state, drafts[-1])
        return seq

    def _refused(self, connection: sqlite3.Connection, run: OpenRun) -> MassgenError:
        why = lease.refusal(connection, run.hold, run.run_id)
        if isinstance(why, RunTaken | RunNotFound):
            self._lose(run, rules.TAKEN if isinstance(why, RunTaken) else rules.DELETED)
        return why

    def rolled_back(self) -> None:
        """What was just written is gone: numbers given to it are free again."""
        for run in self._runs.values():
            run.last = None

    def close(self, run: OpenRun) -> None:
        """The run is over, or driven by another pen."""
        if self._runs.get(run.number) is run:
            del self._runs[run.number]

    def _lose(self, run: OpenRun, why: str) -> None:
        self.close(run)
        run.cancelled(why)

    def look_again(self) -> None:
        """This process has itself changed something: its own changes don't move the file's counter."""
        self._version = None

    def tick(self, connection: sqlite3.Connection) -> None:
        """Write what is due and look for requests to stop.

        Raises:
            sqlite3.Error: not this time; the next tick tries again.
        """
        self._write(connection, self._clock.monotonic())
        self._read(connection)

    def _write(self, connection: sqlite3.Connection, now: float) -> None:
        tails = [tail for run in self._runs.values() for tail in self._due(run, now)]
        beat = now - self._beaten >= _BEAT
        if not tails and not beat:
            return
        with transaction(connection, patience=PATIENCE):
            lease.show_activity(connection, tails)
            if beat:
                lease.beat(connection, self.holds, self._clock.now())
        if beat:
            self._beaten = now

    def _due(self, run: OpenRun, now: float) -> Sequence[tuple[Hold, str, str]]:
        due = [agent for agent in tuple(run.tails) if now - run.shown.get(agent, 0.0) >= _SHOW]
        run.shown.update(dict.fromkeys(due, now))
        return [(run.hold, agent, self._redact(run.tails.pop(agent))[-rules.TAIL :]) for agent in due]

    def _read(self, connection: sqlite3.Connection) -> None:
        version: int = connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._version = version
        found = lease.standing(connection, self._runs)
        for run in tuple(self._runs.values()):
            holder, reason = found.get(run.run_id, (None, None))
            if holder != run.lease:
                self._lose(run, rules.DELETED if holder is None else rules.TAKEN)
            elif reason is not None:
                run.cancelled(reason)
