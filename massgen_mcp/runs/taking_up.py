"""What a server does for runs whose processes are gone: it goes on with them, a few times at most."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from massgen_mcp.errors import JournalError, MassgenError, ReplayRefused, RunOver, RunTaken
from massgen_mcp.journal import RESUMED, Journal, RunRow

__all__ = ["take_up_interrupted"]

_logger = logging.getLogger(__name__)
_MOST_RESUMES = 3
"""How often a server goes on with the same run by itself."""


async def take_up_interrupted(
    journal: Callable[[], Awaitable[Journal]],
    *,
    since: float,
    mine: Callable[[RunRow], bool],
    resume: Callable[[RunRow], Awaitable[object]],
) -> None:
    """Go on with the interrupted runs of this server. One that can't go on stays; the log says why.

    Args:
        journal: the journal of the state folder.
        since: runs that were not alive after then, in seconds since the epoch, are left alone.
        mine: whether a run is this server's to go on with.
        resume: takes one up.
    """
    try:
        rows = await (await journal()).interrupted(since=since)
    except JournalError as error:
        _logger.warning("no run was taken up again: %s", error)
        return
    for row in filter(mine, rows):
        try:
            await _check_worn(await journal(), row.run_id)
            await resume(row)
        except (RunTaken, RunOver) as error:  # another server was faster
            _logger.info("run %s was not taken up here: %s", row.run_id, error)
        except MassgenError as error:
            _logger.warning("run %s was not taken up again: %s", row.run_id, error)


async def _check_worn(journal: Journal, run_id: str) -> None:
    """Whether a run may be the cause of its processes' end.

    Raises:
        ReplayRefused: it has been taken up often enough.
    """
    records = await journal.read(run_id)
    if sum(record.body.get("event") == RESUMED for record in records) >= _MOST_RESUMES:
        raise ReplayRefused(
            f"it was taken up {_MOST_RESUMES} times and its process ended each time. To try once more: "
            f"massgen-mcp runs resume {run_id}"
        )
