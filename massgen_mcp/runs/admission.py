"""Whether a run may begin: what is left of the day for all who use a state folder, and for its user.

A day is one of UTC, and a run belongs to the day it began in. What a live run may still spend counts as
spent, whichever process drives it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import anyio

from massgen_mcp.clock import Clock
from massgen_mcp.errors import JournalError, RequestRefused
from massgen_mcp.journal import Journal, MemoryJournal, RunRow
from massgen_mcp.runs.ask import Allowance, Ask
from massgen_mcp.runs.handle import RunHandle
from massgen_mcp.runs.media import wants_media
from massgen_mcp.runs.users import User, allowed
from massgen_mcp.runs.world import ResolvedTeam

__all__ = ["Admission", "Books"]

_logger = logging.getLogger(__name__)

_DAY = 86_400.0
_LONGEST_RUN = 2 * _DAY
"""No live run is looked for behind one that began earlier."""
_PAGE = 200
_NOTE_SECONDS = 5.0
_LOCK = "admission.lock"
_PATIENCE_SECONDS = 10.0
_AGAIN_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What some runs have spent today, and may still spend: everybody's, or one user's."""

    journal: Callable[[], Awaitable[Journal]]
    """Where they are kept, those of other processes included."""
    handles: Callable[[], Collection[RunHandle]]
    """Those of this process, live or over."""
    clock: Clock

    def live(self) -> list[RunHandle]:
        """Runs of this process that are not over."""
        return [handle for handle in self.handles() if handle.result is None]

    async def spent_today(self) -> float:
        """US dollars of the runs that began today, UTC, in motion or over, kept or not.

        Raises:
            JournalError: the journal can't be read.
        """
        now = self.clock.now()
        journal = await self.journal()
        journals = [handle.journal for handle in self.handles() if not handle.noted]
        unkept = [place for place in journals if isinstance(place, MemoryJournal) and place is not journal]
        return round(sum([await place.spent(now - now % _DAY) for place in (journal, *unkept)]), 6)

    async def note(self, handle: RunHandle) -> None:
        """Have what a run cost that is not kept count beyond this process; until then it counts in here."""
        if handle.noted or not isinstance(handle.journal, MemoryJournal):
            return
        with anyio.move_on_after(_NOTE_SECONDS, shield=True):
            try:
                journal = await self.journal()
                if journal is handle.journal:
                    return
                row = await handle.journal.row(handle.run_id)
                await journal.note_spent(row.cost_usd, at=row.started)
                handle.noted = True
            except JournalError as error:
                _logger.warning("what run %s cost is not noted: %s", handle.run_id, error)

    async def running(self) -> int:
        """How many runs are in motion, whichever process drives them.

        Raises:
            JournalError: the journal can't be read.
        """
        known = {handle.run_id for handle in self.handles()}
        others = [row for row in await self._live_rows() if row.run_id not in known]
        return len(others) + len(self.live())

    async def committed(self) -> float:
        """US dollars that live runs may still spend, as far as their limits are known.

        Raises:
            JournalError: the journal can't be read.
        """
        mine = {handle.run_id: handle for handle in self.live()}
        over = {handle.run_id for handle in self.handles()} - set(mine)
        total = 0.0
        for row in await self._live_rows():
            if row.run_id in over:
                continue
            handle = mine.pop(row.run_id, None)
            limit = await self._limit(row) if handle is None else handle.run.spec.limits.usd
            total += _left(limit, row.cost_usd)
        for handle in mine.values():  # kept nowhere
            total += _left(handle.run.spec.limits.usd, handle.run.budget.spent.cost_usd)
        return total

    async def _live_rows(self) -> list[RunRow]:
        journal, since = await self.journal(), self.clock.now() - _LONGEST_RUN
        found: list[RunRow] = []
        before: float | None = None
        while rows := await journal.rows(limit=_PAGE, before=before):
            found += [row for row in rows if row.state == "running"]
            before = rows[-1].started
            if before < since:
                break
        return found

    async def _limit(self, row: RunRow) -> float | None:
        """The limit that a run of another process began with."""
        try:
            records = await (await self.journal()).read(row.run_id, limit=1)
        except JournalError:  # damaged, or gone by now
            return None
        limits = records[0].body.get("limits") if records else None
        usd = cast("Mapping[str, Any]", limits).get("usd") if isinstance(limits, Mapping) else None
        return float(usd) if isinstance(usd, int | float) else None


def _left(limit: float | None, spent: float | None) -> float:
    return 0.0 if limit is None else max(0.0, limit - (spent or 0.0))


class Admission:
    """Lets runs begin, one at a time, so that no two spend the same money."""

    def __init__(self, books: Books, *, usd_per_day: float | None = None, state: Path | None = None) -> None:
        """Of one process.

        Args:
            books: of everybody.
            usd_per_day: what all runs that begin in one day may spend.
            state: the state folder, where other processes hear that a run is about to begin.
        """
        self._books = books
        self._usd_per_day = usd_per_day
        self._state = state
        self._one = anyio.Lock()

    @asynccontextmanager
    async def admitted(
        self, ask: Ask, team: ResolvedTeam, *, user: User | None = None, theirs: Books | None = None
    ) -> AsyncGenerator[tuple[Ask, ResolvedTeam]]:
        """The question within what may be spent today; its run has to be journalled inside the block.

        The team comes back with a warning where its limit was lowered.

        Args:
            ask: the question.
            team: who is to answer.
            user: who asks; None: the operator.
            theirs: that user's books.

        Raises:
            RequestRefused: no further run fits. Nothing was spent.
        """
        counted = user is not None and (user.usd_per_day is not None or user.runs is not None)
        if self._usd_per_day is None and not counted:
            yield ask, team
            return
        async with self._one, self._alone():
            usual = team.allowance.within(ask.budget).usd
            free = _is_free(team)
            words: list[str] = []
            if user is not None:
                ask = await _of_user(user, theirs or self._books, ask, free=free)
                words += _lowered(usual, ask, team, "your token's", user.usd_per_day)
            if self._usd_per_day is not None:
                before = team.allowance.within(ask.budget).usd
                ask = await self._of_day(self._usd_per_day, ask, free=free)
                after = _lowered(before, ask, team, "the day's", self._usd_per_day)
                words = after or words
            if words and not free:
                team = replace(team, warnings=(*team.warnings, *words))
            yield ask, team

    async def _of_day(self, limit: float, ask: Ask, *, free: bool) -> Ask:
        spent, committed = await self._books.spent_today(), await self._books.committed()
        left = limit - spent - committed
        if left <= 0 and not free:
            held = f", and ${committed:.2f} are set aside for runs in motion" if committed else ""
            raise RequestRefused(
                f"The ${limit:.2f} that all runs here may spend a day are used up: ${spent:.2f} went to the "
                f"runs of today{held}. The day ends at midnight UTC; the operator can raise "
                "MASSGEN_MCP_MAX_USD_PER_DAY. Nothing was spent."
            )
        return replace(ask, budget=ask.budget.within(Allowance(usd=max(0.0, left))))

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None]:
        """No other process on the state folder lets a run begin meanwhile, where its file system has locks.

        Raises:
            RequestRefused: others take too long.
        """
        if self._state is None:
            yield
            return
        await self._books.journal()  # makes the folder
        descriptor = _open_lock(self._state)
        try:
            clock = self._books.clock
            end = clock.monotonic() + _PATIENCE_SECONDS
            while not _taken(descriptor):
                if clock.monotonic() >= end:
                    raise RequestRefused(
                        f"Another process has been about to begin a run for {_PATIENCE_SECONDS:g} s, and "
                        "runs and their money are counted one at a time. Ask again. Nothing was spent."
                    )
                await clock.sleep(_AGAIN_SECONDS)
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)  # and with it the lock


async def _of_user(user: User, books: Books, ask: Ask, *, free: bool) -> Ask:
    spent = committed = 0.0
    if user.usd_per_day is not None:
        spent, committed = await books.spent_today(), await books.committed()
    running = 0 if user.runs is None else await books.running()
    return allowed(user, ask, running=running, spent=spent, committed=committed, free=free)


def _is_free(team: ResolvedTeam) -> bool:
    """Whether neither its models nor the tools for media, which ask models elsewhere, can cost anything."""
    media = any(wants_media(tools) for tools in team.equipment.tools.values())
    return not media and all(agent.info.free and agent.options.price is None for agent in team.agents)


def _lowered(
    before: float | None, ask: Ask, team: ResolvedTeam, whose: str, limit: float | None
) -> list[str]:
    now = team.allowance.within(ask.budget).usd
    if limit is None or now is None or (before is not None and now >= before):
        return []
    usual = "" if before is None else f" instead of ${before:.2f}"
    return [f"This run may use ${now:.2f} at most{usual}: no more is left of {whose} ${limit:.2f}."]


def _open_lock(state: Path) -> int | None:
    if sys.platform == "win32":
        return None
    try:
        return os.open(state / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:  # a folder that can't be written: the journal says so
        return None


def _taken(descriptor: int | None) -> bool:
    """Whether the lock is held now, or there can be none."""
    if sys.platform == "win32" or descriptor is None:
        return True
    import fcntl  # noqa: PLC0415 - there is none on Windows

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
