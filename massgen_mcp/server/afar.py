"""Waiting for a run that another process drives: its records are read as they come."""

from __future__ import annotations

from massgen_mcp.clock import Clock
from massgen_mcp.journal import read_intact
from massgen_mcp.runs import RunResult, Runs
from massgen_mcp.runs.lines import Lines
from massgen_mcp.server.progress import HEARTBEAT, PACE, Send

__all__ = ["wait_afar"]

_LOOK = 0.25
"""Seconds between two looks at the journal."""


async def wait_afar(
    runs: Runs,
    run_id: str,
    seconds: float | None,
    send: Send,
    *,
    clock: Clock,
) -> RunResult:
    """The result of the run as soon as it is over, or how far it is when `seconds` have passed.

    Args:
        runs: what its caller may see.
        run_id: the run.
        seconds: how long to wait at most; None: to the end.
        send: takes what there is to report: at most a message a second, one at least every ten.
        clock: where time comes from.

    Raises:
        RunNotFound: there is no such run.
        JournalError: it can't be read.
    """
    journal = await runs.journal_of(run_id)
    began = clock.monotonic()
    lines = Lines(redact=runs.secrets.redact)
    seen, count, spoke, newest = 0, 0, began - PACE, ""
    while True:
        # The state first, so that the records of a run that is over are all read.
        state = (await journal.row(run_id)).state
        # Of a damaged run what can be read; its result says so.
        for record in (await read_intact(journal, run_id, after=seen))[0]:
            seen = record.seq
            newest = lines.line(record) or newest
        now = clock.monotonic()
        if now - spoke >= HEARTBEAT:
            newest = newest or lines.heartbeat(clock.now())
        if newest and now - spoke >= PACE:
            count, spoke = count + 1, now
            await send(float(count), newest)
            newest = ""
        if state != "running" or (seconds is not None and now - began >= seconds):
            return await runs.result(run_id)
        await clock.sleep(_LOOK)
