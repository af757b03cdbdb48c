"""One user's part of a shared server: their own runs, the teams they may ask, what they may spend.

Everything that runs do passes a journal and the teams. A user's journal holds their runs alone, so whatever
is built on it, listing, waiting, cancelling, going on with a run, knows of no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from massgen_mcp.errors import RequestRefused
from massgen_mcp.journal import Journal, Noted, Record, RunLog, RunRow
from massgen_mcp.journal.rules import not_found
from massgen_mcp.runs.ask import Allowance, Ask
from massgen_mcp.runs.world import ResolvedTeam, Teams

__all__ = ["User", "UserJournal", "UserTeams", "allowed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who asks, and within which limits; None: none beyond those of everybody."""

    name: str
    teams: tuple[str, ...] | None = None
    """Those that may be asked, the first where a question names none."""
    usd_per_day: float | None = None
    """US dollars of the runs begun in one day, UTC."""
    runs: int | None = None
    """In motion at once."""


class UserTeams:
    """The teams that a user may ask. A `Teams`."""

    def __init__(self, teams: Teams, user: User) -> None:
        self._teams = teams
        self._allowed = user.teams

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        """The team a question is for.

        Raises:
            ConfigError: its file can't be used.
            RequestRefused: there is no such team, or this user may not ask it.
        """
        if self._allowed is not None:
            if ask.agents:
                raise RequestRefused(
                    f"`agents` is not open to you: your token is for {_listed(self._allowed)}. Name one of "
                    "these as `team`. Nothing was spent."
                )
            ask = replace(ask, team=ask.team or self._allowed[0])
            self._check(ask.team)
            return replace(await self._teams.resolve(ask), named=ask.team)
        return await self._teams.resolve(ask)

    async def catalogue(self, backend: str | None = None, task: str | None = None) -> dict[str, Any]:
        """Backends and this user's teams, ready or why not.

        Raises:
            RequestRefused: no such backend or task.
        """
        found = await self._teams.catalogue(backend, task)
        if self._allowed is None:
            return found
        if "teams" in found:
            found["teams"] = [row for row in found["teams"] if row.get("name") in self._allowed]
        if "default_team" in found:
            found["default_team"] = {"name": self._allowed[0], "why": "the first that your token is for"}
        return {key: value for key, value in found.items() if key != "found_not_trusted"}

    async def matrix(self) -> dict[str, Any]:
        """Every backend with everything its row says."""
        return await self._teams.matrix()

    async def validate(self, config: str) -> dict[str, Any]:
        """Problems of a config given as YAML text, or by the name of a team of this user's.

        Raises:
            RequestRefused: this user may not see that team.
        """
        found = await self._teams.validate(config)
        if found.get("source", "inline") != "inline":
            self._check(config.strip())
        return found

    def names(self) -> list[str]:
        """Names of teams that this user may ask."""
        return [name for name in self._teams.names() if self._allowed is None or name in self._allowed]

    async def show(self, name: str) -> str:
        """What a team's file resolves to, as text, without secrets.

        Raises:
            RequestRefused: there is no such team, or it is not one of this user's.
        """
        self._check(name)
        return await self._teams.show(name)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a team file."""
        return self._teams.schema()

    def _check(self, name: str | None) -> None:
        if self._allowed is not None and name not in self._allowed:
            raise RequestRefused(
                f'Team "{name}" is not open to you: your token is for {_listed(self._allowed)}. '
                "Nothing was spent."
            )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


class UserJournal:
    """The runs of one user in a journal that many share. A `Journal`; another user's run is not in it."""

    def __init__(self, journal: Journal, user: str) -> None:
        self._journal = journal
        self._user = user

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
        """Create a run of this user's, whatever `user` says.

        Raises:
            AlreadyAsked: with `join`: this user has a run of that digest that `same` gives.
        """
        del user
        return await self._journal.begin(
            run_id, question=question, team=team, body=body, user=self._user, digest=digest, join=join
        )

    async def take_over(self, run_id: str, *, body: Mapping[str, Any]) -> RunLog:
        """Become the driver of an interrupted run of this user's.

        Raises:
            RunNotFound: this user has no such run.
            RunTaken: it is driven, and its driver lives.
            RunOver: it is finished.
        """
        await self.row(run_id)
        return await self._journal.take_over(run_id, body=body)

    async def same(self, digest: str, *, user: str | None = None) -> RunRow | None:
        """The newest run of this user's that can serve the same question, whatever `user` says."""
        del user
        return await self._journal.same(digest, user=self._user)

    async def deliver(self, run_id: str) -> None:
        """Keep that a run's result has been handed to a caller.

        Raises:
            RunNotFound: this user has no such run.
        """
        await self.row(run_id)
        await self._journal.deliver(run_id)

    async def interrupted(
        self, *, since: float, limit: int = 100, user: str | None = None
    ) -> Sequence[RunRow]:
        """This user's interrupted runs, whatever `user` says."""
        del user
        return await self._journal.interrupted(since=since, limit=limit, user=self._user)

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[Record]:
        """A run's records in order.

        Raises:
            RunNotFound: this user has no such run.
            RecordDamaged: a record asked for can't be read.
        """
        await self.row(run_id)
        return await self._journal.read(run_id, after=after, limit=limit)

    async def row(self, run_id: str) -> RunRow:
        """A run's row.

        Raises:
            RunNotFound: this user has no such run.
        """
        row = await self._journal.row(run_id)
        if row.user != self._user:
            raise not_found(run_id)
        return row

    async def rows(
        self, *, limit: int = 20, before: float | None = None, user: str | None = None
    ) -> Sequence[RunRow]:
        """The latest runs of this user, newest first, whatever `user` says."""
        del user
        return await self._journal.rows(limit=limit, before=before, user=self._user)

    async def spent(self, since: float, *, user: str | None = None) -> float:
        """US dollars of this user's runs begun since then, whatever `user` says."""
        del user
        return await self._journal.spent(since, user=self._user)

    async def note_spent(self, usd: float, *, user: str = "", at: float | None = None) -> None:
        """Have `spent` count an amount of a run of this user's that is not kept, whatever `user` says."""
        del user
        await self._journal.note_spent(usd, user=self._user, at=at)

    async def noted(self, since: float, *, user: str | None = None) -> Sequence[Noted]:
        """What was noted of this user's runs, whatever `user` says."""
        del user
        return await self._journal.noted(since, user=self._user)

    async def activities(self, run_id: str) -> Mapping[str, str]:
        """What each agent of a live run is doing now.

        Raises:
            RunNotFound: this user has no such run.
        """
        await self.row(run_id)
        return await self._journal.activities(run_id)

    async def request_cancel(self, run_id: str, reason: str) -> None:
        """Ask the owner to stop.

        Raises:
            RunNotFound: this user has no such run.
        """
        await self.row(run_id)
        await self._journal.request_cancel(run_id, reason)

    async def prune(self, *, older_than_days: float = 30.0) -> Sequence[str]:
        """Refused: what is kept, and for how long, is the operator's.

        Raises:
            RequestRefused: always.
        """
        raise RequestRefused(f"Only the operator deletes runs (older than {older_than_days:g} days).")

    async def aclose(self) -> None:
        """Nothing: the journal stays open for the others."""


def allowed(user: User, ask: Ask, *, running: int, spent: float, committed: float, free: bool = False) -> Ask:
    """The question with what its run may spend today.

    Args:
        user: who asks.
        ask: the question.
        running: runs of theirs in motion.
        spent: US dollars of their runs that began today.
        committed: US dollars that those in motion may still spend.
        free: whether its team costs nothing: then money does not refuse it.

    Raises:
        RequestRefused: no further run fits. Nothing was spent.
    """
    if user.runs is not None and running >= user.runs:
        raise RequestRefused(
            f"You have {running} runs in motion, as many as your token allows. Wait for one with get_run, or "
            "stop one with cancel_run. Nothing was spent."
        )
    if user.usd_per_day is None:
        return ask
    left = user.usd_per_day - spent - committed
    if left <= 0 and not free:
        held = f", and ${committed:.2f} are set aside for runs in motion" if committed else ""
        raise RequestRefused(
            f"Your token's ${user.usd_per_day:.2f} a day are used up: ${spent:.2f} went to the runs of "
            f"today{held}. The day ends at midnight UTC; the operator can raise the limit. "
            "Nothing was spent."
        )
    return replace(ask, budget=ask.budget.within(Allowance(usd=max(0.0, left))))
