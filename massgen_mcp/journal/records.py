"""The journal's records and the port its stores fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

from massgen_mcp.errors import JournalError

__all__ = [
    "DURABLE",
    "SCHEMA",
    "Entry",
    "Journal",
    "Kind",
    "Noted",
    "Owner",
    "Record",
    "RecordDamaged",
    "RunLog",
    "RunRow",
    "RunState",
]

SCHEMA = 1
"""The version of the record bodies written today."""

Kind: TypeAlias = Literal[
    "RunStarted",
    "TurnStarted",
    "TurnEnded",
    "CallStarted",
    "CallReplied",
    "CallFailed",
    "ToolStarted",
    "ToolFinished",
    "AnswerGiven",
    "VoteCast",
    "Notice",
    "Finished",
]

DURABLE: Final[frozenset[Kind]] = frozenset({"CallReplied", "AnswerGiven", "Finished"})
"""What survives power loss from the moment that `append` returns."""

RunState: TypeAlias = Literal["running", "completed", "partial", "failed", "cancelled", "interrupted"]
"""`interrupted`: begun, not finished, and its owner is gone."""


class RecordDamaged(JournalError):
    """A record is not what was written: flipped, torn or missing. What is before it can be read."""

    def __init__(self, message: str, *, run_id: str, seq: int) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.seq = seq
        """The first record that can't be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a run's log. Append-only; `body` is a JSON object."""

    run_id: str
    seq: int
    """From 1, without gaps, per run."""
    at: float
    """Seconds since the epoch."""
    kind: Kind
    body: Mapping[str, Any]
    turn: int | None = None
    call: int | None = None
    """The number of a model request or tool call within its turn."""
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is to become a record."""

    kind: Kind
    body: Mapping[str, Any]
    turn: int | None = None
    call: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that drives a run."""

    pid: int
    host: str
    started: float
    """When the process started, so that a reused pid is not taken for it."""
    space: str = ""
    """The pid namespace that `pid` means something in; empty where the system has none, or does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run in a listing."""

    run_id: str
    state: RunState
    question: str
    """Its first 200 characters."""
    team: str
    started: float
    ended: float | None = None
    owner: Owner | None = None
    heartbeat: float | None = None
    cancel_requested: str | None = None
    """The reason, once some process has asked the owner to stop."""
    cost_usd: float = 0.0
    """US dollars of its replies so far, as far as prices are known; once it is finished, its total.

    The total has what was set aside for requests that were cut off, as a budget counts them.
    """
    user: str = ""
    """Whose run it is, where several share a server; empty: the operator's own."""
    digest: str = ""
    """What was asked, as its caller digests it: a run that is asked the same again has the same one."""
    delivered: bool = False
    """Whether its result has been handed to a caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What runs without records cost on one day."""

    day: float
    """When it began, UTC: seconds since the epoch."""
    user: str
    """Whose runs they were; empty: the operator's own."""
    usd: float


class RunLog(Protocol):
    """The pen for one run: held by the process that drives it."""

    @property
    def run_id(self) -> str:
        """The run written to."""
        ...

    async def append(
        self,
        kind: Kind,
        body: Mapping[str, Any],
        *,
        turn: int | None = None,
        call: int | None = None,
    ) -> Record:
        """Write one record; it is in the log when this returns.

        `CallReplied`, `AnswerGiven` and `Finished` survive power loss from then on, all others a kill -9.

        Raises:
            JournalError: it could not be written.
            RunTaken: another process has taken the run over; nothing of this pen's is written any more.
        """
        ...

    async def append_all(self, entries: Sequence[Entry]) -> Sequence[Record]:
        """Write several records, one behind the other and all or none; they are in the log when this returns.

        All survive what the most precious of them does. `Finished` may only be the last.

        Raises:
            JournalError: they could not be written.
            RunTaken: another process has taken the run over; nothing of this pen's is written any more.
        """
        ...

    async def activity(self, agent: str, tail: str) -> None:
        """Show other processes what an agent is doing now; not logged, may be dropped."""
        ...

    async def cancel_requested(self) -> str | None:
        """The reason some process gave for stopping this run; None while nobody asked.

        A run that another process has taken over is to stop here, too.
        """
        ...

    async def wait_cancel(self) -> str:
        """Wait until some process asks to stop this run or takes it over, and return the reason."""
        ...

    async def leave(self) -> None:
        """Let go of the run unfinished: it shows as interrupted, and any process may take it over.

        Nothing happens where it is finished, was taken over, or its journal is closed.
        """
        ...


class Journal(Protocol):
    """A store of runs. One per state folder, shared by processes."""

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
    ) -> RunLog:
        """Create a run of a user's: its row and its `RunStarted` record with `body`.

        `digest` tells what was asked, for `same`; one without it is never found there. With `join` of several
        that begin the same at once, in any process, one succeeds.

        Raises:
            AlreadyAsked: with `join`: `same` has a run of that digest. Nothing was written.
            JournalError: it could not be written, or there is such a run.
        """
        ...

    async def take_over(self, run_id: str, *, body: Mapping[str, Any]) -> RunLog:
        """Become the driver of an interrupted run, with a `Notice` record of `body` that says so.

        Of several that try at once one succeeds. A wish to stop the run from before is forgotten. Whoever
        drove it, and was only asleep, can't write to it any more.

        Raises:
            RunNotFound: no such run.
            RunTaken: it is driven, and its driver lives.
            RunOver: it is finished.
            JournalError: it could not be written, or `body` is not JSON.
        """
        ...

    async def same(self, digest: str, *, user: str | None = None) -> RunRow | None:
        """The newest run of that digest that can serve a caller who asks the same, if there is one.

        That is one which is driven and which nobody wants stopped, or one which ended with an answer
        (`completed`, `partial`) that was not delivered. Of one user's runs; None: of the operator's own.
        """
        ...

    async def deliver(self, run_id: str) -> None:
        """Keep that a run's result has been handed to a caller. It may be said again.

        Raises:
            RunNotFound: no such run.
        """
        ...

    async def interrupted(
        self, *, since: float, limit: int = 100, user: str | None = None
    ) -> Sequence[RunRow]:
        """The interrupted runs whose heart beat after `since`, oldest first, for going on with them.

        Those that somebody wants stopped are left out. With `user` those of one user; else everybody's.
        """
        ...

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[Record]:
        """A run's records in order, from `after` (exclusive).

        Raises:
            RunNotFound: no such run.
            RecordDamaged: a record asked for can't be read; a `limit` that ends before it reads the rest.
            JournalError: the store can't be read at all.
        """
        ...

    async def row(self, run_id: str) -> RunRow:
        """A run's row, with `interrupted` worked out from its owner.

        Raises:
            RunNotFound: no such run.
        """
        ...

    async def rows(
        self, *, limit: int = 20, before: float | None = None, user: str | None = None
    ) -> Sequence[RunRow]:
        """The latest runs, newest first; `before` is the `started` of the last row seen.

        With `user` those of one user; else everybody's.
        """
        ...

    async def spent(self, since: float, *, user: str | None = None) -> float:
        """US dollars of all runs begun since then (seconds since the epoch), whoever drove them.

        With what they lost by being stopped or interrupted, and with what was noted for days, UTC, that had
        not ended by then. With `user` of the runs of one user.
        """
        ...

    async def note_spent(self, usd: float, *, user: str = "", at: float | None = None) -> None:
        """Have `spent` count an amount of a run that is not kept here, and nothing else of that run.

        Args:
            usd: US dollars; nothing is kept of none.
            user: whose run it was; empty: the operator's own.
            at: when the run began; None: now. Kept is the day, UTC.

        Raises:
            JournalError: it could not be written.
        """
        ...

    async def noted(self, since: float, *, user: str | None = None) -> Sequence[Noted]:
        """What was noted for days, UTC, that had not ended by then, newest first; with `user` of that one."""
        ...

    async def activities(self, run_id: str) -> Mapping[str, str]:
        """What each agent of a live run is doing now."""
        ...

    async def request_cancel(self, run_id: str, reason: str) -> None:
        """Ask the owner to stop; it sees this within a second.

        An interrupted run that somebody wants stopped is not gone on with by itself.

        Raises:
            RunNotFound: no such run.
        """
        ...

    async def prune(self, *, older_than_days: float = 30.0) -> Sequence[str]:
        """Delete the runs that are over for longer than that, and give the space back.

        A finished run's age counts from its end, an interrupted one's from its last heartbeat; running ones
        stay. Returns the deleted runs' ids.
        """
        ...

    async def aclose(self) -> None:
        """Flush and let go, within a second. Runs still open show as interrupted.

        Raises:
            JournalError: what was acknowledged is safe, but the store could not be closed properly.
        """
        ...
