"""What is kept no longer: runs that have been over for long, with the folders of their agents' files.

Tried when a server begins and whenever a run does, and done at most once a day over all processes on a state
folder, in the background. Nobody who asks a team learns of a failure here: the log says it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from massgen_mcp.clock import Clock
from massgen_mcp.errors import JournalError, MassgenError, RunNotFound
from massgen_mcp.journal import Journal
from massgen_mcp.journal.folder import FILE
from massgen_mcp.journal.rules import DAY
from massgen_mcp.workspace.kept_folder import KEPT
from massgen_mcp.workspace.run_folder import RUNS, RunFolder, old_folders, sweep

__all__ = ["STAMP", "Retention", "prune"]

STAMP = "tidied"
"""The file that says when it was last done."""

_AGAIN = 3_600.0
"""Seconds until a process looks again."""
_logger = logging.getLogger(__name__)


class Retention:
    """Deletes what the operator wants kept no longer.

    Args:
        state: the state folder; None: there is none, and nothing to do.
        keep_days: how long runs are kept once they are over; None: until someone deletes them.
        clock: where time comes from.
        journal: opens the journal of all runs.
    """

    def __init__(
        self,
        *,
        state: Path | None,
        keep_days: float | None,
        clock: Clock,
        journal: Callable[[], Awaitable[Journal]],
    ) -> None:
        self._state = state
        self._keep_days = keep_days
        self._clock = clock
        self._journal = journal
        self._next = 0.0

    async def tidy(self) -> None:
        """Delete what is due. Never raises; what could not be deleted is tried again in an hour."""
        now = self._clock.now()
        state, days = self._state, self._keep_days
        if state is None or days is None or now < self._next:
            return
        self._next = now + _AGAIN
        try:
            if await anyio.to_thread.run_sync(_is_due, state, now):
                journal, before = await self._journal(), now - days * DAY
                deleted = [*await prune(journal, state, days, now=now)]
                deleted += await _remove_strangers(journal, state, before)
                await anyio.to_thread.run_sync(_stamp, state, now)
                if deleted:
                    _logger.info("deleted %d runs that were over for %g days", len(deleted), days)
        except (MassgenError, OSError) as error:
            _logger.warning("what is older than %g days could not be deleted: %s", days, error)

    async def sweep(self) -> None:
        """Remove what a removal that was cut short has left. Never raises."""
        if self._state is None:
            return
        try:
            await anyio.to_thread.run_sync(sweep, self._state)
        except (MassgenError, OSError) as error:
            _logger.warning("half removed folders of runs are left: %s", error)


async def prune(journal: Journal, state: Path | None, days: float, *, now: float) -> Sequence[str]:
    """Delete the runs that have been over for so long, with their files. Returns their ids.

    Raises:
        JournalError: the journal can't be written.
    """
    try:
        deleted = await journal.prune(older_than_days=days)
    except JournalError:
        # On a full disk not even a deletion can be written: the files go first.
        if state is None or not await _make_room(journal, state, now - days * DAY):
            raise
        deleted = await journal.prune(older_than_days=days)
    if state is not None:
        for run_id in deleted:
            await anyio.to_thread.run_sync(RunFolder.remove, state, run_id)
        await anyio.to_thread.run_sync(sweep, state)
    return deleted


async def _remove_strangers(journal: Journal, state: Path, before: float) -> Sequence[str]:
    """Remove old folders of runs that no journal has: theirs was off, or has been moved away."""
    strangers: list[str] = []
    for run_id in await anyio.to_thread.run_sync(old_folders, state, before):
        try:
            await journal.row(run_id)
        except RunNotFound:
            await anyio.to_thread.run_sync(RunFolder.remove, state, run_id)
            strangers.append(run_id)
    return strangers


async def _make_room(journal: Journal, state: Path, before: float) -> bool:
    """Remove the folders of runs that were over by then; their records stay. Whether there were any."""
    removed = False
    for run_id in await anyio.to_thread.run_sync(old_folders, state, before):
        try:
            row = await journal.row(run_id)
        except RunNotFound:
            continue
        over = row.ended or row.heartbeat
        if row.state != "running" and over is not None and over < before:
            await anyio.to_thread.run_sync(RunFolder.remove, state, run_id)
            removed = True
    return removed


def _is_due(state: Path, now: float) -> bool:
    if not any(((state / FILE).exists(), (state / RUNS).is_dir(), (state / KEPT).is_dir())):
        return False  # nothing was ever kept, and no folder is made for that
    try:
        last = float((state / STAMP).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return True
    return not 0 <= now - last < DAY  # a clock that was set back must not put it off for long


def _stamp(state: Path, now: float) -> None:
    part = state / f".{STAMP}-{os.getpid()}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{now:.0f}\n")
    part.replace(state / STAMP)
