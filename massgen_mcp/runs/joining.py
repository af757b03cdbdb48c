"""Which run answers a question that was asked before: one that is joined, taken up, or followed up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from massgen_mcp.errors import RequestRefused, RunNotFound, RunOver, RunTaken
from massgen_mcp.journal import Journal, read_intact
from massgen_mcp.runs.ask import Ask
from massgen_mcp.runs.asked import Asked, Asking
from massgen_mcp.runs.handle import RunHandle
from massgen_mcp.runs.past import take_up_call
from massgen_mcp.runs.session import FollowUp, follow_up
from massgen_mcp.runs.users import User

__all__ = ["Joining"]

_ANSWERED = frozenset({"completed", "partial"})
_UNFINISHED = frozenset({"running", "interrupted"})
_CENT = 0.01
"""US dollars worth mentioning."""


@dataclass(frozen=True, kw_only=True)
class Joining:
    """The runs that a caller's question may lead to, of this process and any other on the state folder."""

    handles: Mapping[str, RunHandle]
    """Those of this process, as they come and go."""
    journal: Callable[[], Awaitable[Journal]]
    journal_of: Callable[[str], Awaitable[Journal]]
    """Where a run of this process is kept."""
    resume: Callable[[str], Awaitable[RunHandle]]
    _taking_up: Asking = field(default_factory=Asking)

    async def same(self, digest: str) -> Asked | None:
        """A run of the same question: live, or over with an answer that nobody has collected.

        Raises:
            JournalError: the journal can't be read.
        """
        for handle in [*self.handles.values()][::-1]:
            if handle.digest == digest and _can_join(handle) and not await _is_gone(handle):
                return Asked(run_id=handle.run_id, handle=handle, attached=True)
        row = await (await self.journal()).same(digest)
        if row is None or row.run_id in self.handles:  # which is known better here than there
            return None
        return Asked(run_id=row.run_id, attached=True)

    async def left(self, digest: str, *, since: float, user: User | None) -> str:
        """What to say of an interrupted run of the same question to who pays for another one; else empty.

        Raises:
            JournalError: the journal can't be read.
        """
        name = user.name if user else ""
        rows = await (await self.journal()).interrupted(since=since, user=name or None)
        found = next((row for row in rows[::-1] if row.digest == digest and row.user == name), None)
        if found is None:
            return ""
        cost = f", after ${found.cost_usd:.2f}" if found.cost_usd >= _CENT else ""
        return (
            f"The same question was interrupted before{cost}, in run {found.run_id}. To go on with that one "
            f"instead of paying for all of it again: {take_up_call(found.run_id)}"
        )

    async def gone_on(self, ask: Ask, digests: Mapping[str, str]) -> Asked | None:
        """The run that is to be continued itself, where it is not over and nothing new is asked.

        None: a follow-up begins.

        Args:
            ask: the question.
            digests: of its files and images, by name.

        Raises:
            RequestRefused: it is still at work on something else, or can't go on as it is asked to.
            RunNotFound: there is no such run.
            ReplayRefused, ConfigError: it can't be taken up again.
            JournalError: its records can't be read.
        """
        run_id = ask.continue_run
        journal = await self.journal_of(run_id)
        row = await journal.row(run_id)
        asks = bool(ask.question.strip())
        if row.state not in _UNFINISHED:
            return None if asks else self._itself(run_id)
        others = _differing(ask, digests, (await journal.read(run_id, limit=1))[0].body)
        if not others:
            return self._itself(run_id) if row.state == "running" else await self._taken_up(run_id)
        if row.state == "running":
            raise RequestRefused(
                f'Run {run_id} is at work. Wait for it with get_run(run_id="{run_id}", wait_seconds=45), '
                "then ask the follow-up. Nothing was spent."
            )
        if not asks:
            names = ", ".join(f"`{name}`" for name in others)
            raise RequestRefused(
                f"Run {run_id} was interrupted, and goes on as it was asked. Leave out {names}, or put the "
                "follow-up into `question`. Nothing was spent."
            )
        return None

    def _itself(self, run_id: str) -> Asked:
        return Asked(run_id=run_id, handle=self.handles.get(run_id), attached=True)

    async def _taken_up(self, run_id: str) -> Asked:
        """An interrupted run in motion again, here or where somebody else was faster."""
        async with self._taking_up.of(run_id):
            try:
                return Asked(run_id=run_id, handle=await self.resume(run_id))
            except (RunTaken, RunOver):
                return self._itself(run_id)

    async def followed(self, run_id: str, redact: Callable[[str], str]) -> FollowUp:
        """What is carried over from a run.

        Raises:
            RequestRefused: it has no answer to go on from.
            RunNotFound: there is no such run.
            JournalError: its records can't be read.
        """
        records, damage = await read_intact(await self.journal_of(run_id), run_id)
        follow = follow_up(records, redact)
        return follow if damage is None else replace(follow, warnings=(str(damage),))

    async def held_elsewhere(self, run_id: str) -> RequestRefused:
        """Why a run can't be had by who wants to drive it."""
        state = (await (await self.journal()).row(run_id)).state
        words = (
            f'is at work in another process. Wait for it with get_run(run_id="{run_id}", wait_seconds=45).'
            if state == "running"
            else f"is over ({state}): get_run returns its result."
        )
        return RequestRefused(f"Run {run_id} {words} Nothing was spent.")


def _can_join(handle: RunHandle) -> bool:
    result = handle.result
    if result is None:
        return not handle.stopping
    return bool(result.answer and result.status in _ANSWERED)


async def _is_gone(handle: RunHandle) -> bool:
    """Whether any process has handed out its result, or wants it stopped."""
    if handle.delivered:
        return True
    try:
        row = await handle.journal.row(handle.run_id)
    except RunNotFound:  # deleted meanwhile
        return True
    return row.delivered or (handle.result is None and row.cancel_requested is not None)


def _differing(ask: Ask, digests: Mapping[str, str], body: Mapping[str, Any]) -> list[str]:
    """The arguments that ask for something else than a run was asked; what is left out is the same.

    Args:
        ask: the question that is to go on with the run.
        digests: of its files and images, by name.
        body: of the run's first record.
    """
    asked, given = body.get("asked", {}), body.get("attached", {})
    others = {
        "question": bool(ask.question.strip()) and ask.question != body.get("question"),
        "team": bool(ask.team) and ask.team not in {asked.get("team"), body.get("team")},
        "agents": bool(ask.agents) and list(ask.agents) != asked.get("agents"),
        "strategy": bool(ask.strategy) and ask.strategy != body.get("strategy"),
        "context": bool(ask.context.strip()) and ask.context != body.get("context"),
        "files": bool(digests) and sorted(digests.values()) != sorted(given.values()),
    }
    return [name for name, other in others.items() if other]
