"""The edge of a run in motion: whatever ends it, its callers get a result, and the journal keeps it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from massgen_mcp.engine import CancelRequested, Finish, Outcome, strategy
from massgen_mcp.errors import JournalError, MassgenError, ReplayRefused, RunTaken
from massgen_mcp.journal import summarise
from massgen_mcp.runs.handle import RunHandle
from massgen_mcp.runs.past import result_of_record, with_warning
from massgen_mcp.runs.places import Places, load_of
from massgen_mcp.runs.result import RunResult
from massgen_mcp.runs.shape import change_rows, finished_result
from massgen_mcp.telemetry import run_span

__all__ = ["drive", "finished_body"]

_logger = logging.getLogger(__name__)


async def drive(handle: RunHandle, places: Places, *, note: Callable[[RunHandle], Awaitable[None]]) -> None:
    """Drive the run once there is a place for it, and tell everybody who waits what came of it.

    However it ends, `note` is called before they are told: to note what it cost, where nothing else does.
    """
    try:
        result = await _result(handle, places)
    except RunTaken as error:
        # Another process has it now, and says how it ends.
        result = _stopped(handle, str(error), following=f'get_run(run_id="{handle.run_id}", wait_seconds=45)')
    finally:
        await note(handle)
    handle.finish(result)
    handle.run.log.close()


async def _result(handle: RunHandle, places: Places) -> RunResult:
    try:
        return await _in_turn(handle, places)
    except RunTaken:
        raise
    except ReplayRefused as error:
        # Nothing was added to its records: whoever mends what has changed can still take it up.
        return await _left(handle, _stopped(handle, str(error)))
    except MassgenError as error:
        return await _kept(handle, _broken(handle, str(error)))
    except Exception:
        # A defect of ours must not take down the server and the runs beside this one.
        _logger.exception("run %s broke", handle.run_id)
        why = "a defect in massgen-mcp; its log on stderr has the details"
        return await _kept(handle, _broken(handle, why))


async def _in_turn(handle: RunHandle, places: Places) -> RunResult:
    """Drive the run once there is a place for it; one that is cancelled while it queues never begins."""
    run = handle.run
    begun = False

    def queued(words: str) -> None:
        handle.queued = words

    async with AsyncExitStack() as stack:
        with handle.queue:
            await stack.enter_async_context(places.place(load_of(run.spec.agents), queued))
            begun = True
        if not begun:
            return await _never_begun(handle)
        with run_span(run_id=handle.run_id, team=handle.team.name, strategy=run.spec.strategy):
            ended = await run.drive()
    result = finished_result(run, ended, team=handle.team, warnings=handle.warnings)
    return await _kept(handle, result, snapshot=ended.snapshot)


async def _never_begun(handle: RunHandle) -> RunResult:
    """It was cancelled before it began, or went on: it has what an earlier process has come to."""
    handle.queued = ""
    row = replace(await handle.journal.row(handle.run_id), state="cancelled")
    summary = summarise(await handle.journal.read(handle.run_id), state="cancelled")
    found = result_of_record(row, summary) if summary.resumed else handle.status()
    stopped = found.model_copy(
        update={"status": "cancelled", "stopped_by": "cancelled", "next": "", "phase": "", "done": ""}
    )
    return await _kept(handle, stopped)


def _broken(handle: RunHandle, why: str) -> RunResult:
    """The run can't go on although its agents could: say so with everything it has."""
    outcome, made = _outcome_so_far(handle), handle.remains.made
    best = outcome.answer if outcome else None
    return handle.status().model_copy(
        update={
            "status": "partial" if best else "failed",
            "answer": best.content if best else "",
            "winner": (outcome.winner if outcome else None) or "",
            "error": f"The run was stopped: {why}",
            "changes": change_rows(handle.run_id, made.changes),
            "warnings": [*handle.warnings, *made.warnings],
            "next": "",
            "phase": "",
        }
    )


def _outcome_so_far(handle: RunHandle) -> Outcome | None:
    """What the run has come to, or would have ended with, had it been cancelled when it broke."""
    run = handle.run
    if run.outcome is not None:
        return run.outcome
    step = strategy(run.spec.strategy).receive(run.board, CancelRequested(reason="it broke"))
    return next((command.outcome for command in step.commands if isinstance(command, Finish)), None)


def _stopped(handle: RunHandle, why: str, *, following: str = "") -> RunResult:
    """The run does not go on here, and has not ended."""
    return handle.status().model_copy(
        update={"status": "interrupted", "error": why, "next": following, "phase": "", "done": ""}
    )


async def _kept(handle: RunHandle, result: RunResult, *, snapshot: str = "") -> RunResult:
    """The result, in the journal. One that can't be kept is still given to who waits for it."""
    body = finished_body(result) | ({"snapshot": snapshot} if snapshot else {})
    try:
        await handle.run.log.append("Finished", body)
    except RunTaken:
        raise
    except MassgenError as error:  # the journal fails, or the run was deleted
        return with_warning(result, f"This result could not be kept: {error}")
    return result


async def _left(handle: RunHandle, result: RunResult) -> RunResult:
    """The result of a run that any process may go on with from now on."""
    try:
        await handle.run.log.leave()
    except JournalError as error:
        return with_warning(result, f"It can be taken up only once this process has ended: {error}")
    return result


def finished_body(result: RunResult) -> dict[str, Any]:
    """The last record of a run."""
    data = result.model_dump(mode="json", exclude={"attached"})
    keys = ("status", "stopped_by", "winner", "answer", "warnings", "usage")
    return {key: data[key] for key in keys} | {
        "rule": result.agreement.rule if result.agreement else "",
        "result": data,
    }
