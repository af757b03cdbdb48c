"""What every store holds to, wherever it keeps its records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from massgen_mcp.errors import JournalError, RunNotFound, RunOver, RunTaken
from massgen_mcp.journal.codec import Redact
from massgen_mcp.journal.records import Entry, Kind, RunState
from massgen_mcp.text import shorten

__all__ = [
    "ANSWERED",
    "DAY",
    "DELETED",
    "TAIL",
    "TAKEN",
    "already_there",
    "cost_of",
    "driven",
    "ending",
    "final_state",
    "finished",
    "headline",
    "left",
    "lost",
    "lost_cost_of",
    "midnight",
    "not_found",
    "over",
]

DAY = 86_400.0
"""Seconds."""

TAIL = 2_000
"""Characters of an agent's activity that are kept: its end."""

ANSWERED: frozenset[RunState] = frozenset({"completed", "partial"})
"""How a run with an answer ends."""

TAKEN = "another process has taken this run over"
DELETED = "this run was deleted"
"""Why a driver has to stop at once."""

_HEADLINE = 200
_PAID: frozenset[Kind] = frozenset({"CallReplied", "CallFailed", "ToolFinished", "Finished"})
"""What may say what it cost. A failed request may have been answered in part; a tool may ask a model."""
_FINAL = frozenset(get_args(RunState)) - {"running", "interrupted"}


def headline(question: str, redact: Redact) -> str:
    """A question as a listing shows it. Redacted first: half a secret is not recognised."""
    return shorten(redact(question), _HEADLINE)


def final_state(body: Mapping[str, Any]) -> RunState:
    """How a `Finished` record says that its run ended.

    Raises:
        JournalError: it does not say.
    """
    status = body.get("status")
    if status not in _FINAL:
        raise JournalError(f"A Finished record needs a status of {sorted(_FINAL)}, not {status!r}.")
    return cast("RunState", status)


def ending(entries: Sequence[Entry]) -> RunState | None:
    """How the last of several records ends their run; None if it does not.

    Raises:
        JournalError: its end does not say how, or more is to follow it.
    """
    if any(entry.kind == "Finished" for entry in entries[:-1]):
        raise JournalError("A Finished record is the last of its run; nothing can follow.")
    return final_state(entries[-1].body) if entries and entries[-1].kind == "Finished" else None


def cost_of(kind: Kind, body: Mapping[str, Any]) -> float | None:
    """The US dollars a record adds to its run, or for `Finished` the run's total; None where it says none."""
    return _usd(body.get("usage")) if kind in _PAID else None


def lost_cost_of(kind: Kind, body: Mapping[str, Any]) -> float:
    """The US dollars that `Finished` says were set aside for requests that were cut off, beside its total."""
    usage: object = body.get("usage") if kind == "Finished" else None
    return (
        _usd(cast("Mapping[str, object]", usage).get("lost") if isinstance(usage, Mapping) else None) or 0.0
    )


def _usd(usage: object) -> float | None:
    cost: object = cast("Mapping[str, object]", usage).get("cost_usd") if isinstance(usage, Mapping) else None
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        return None
    return float(cost) if math.isfinite(cost) and cost >= 0 else None


def midnight(at: float) -> float:
    """When the day of that moment began, UTC."""
    return at - at % DAY


def already_there(run_id: str) -> JournalError:
    """Why a run can't begin."""
    return JournalError(f"There is already a run {run_id!r}.")


def finished(run_id: str) -> JournalError:
    """Why a record can't be written."""
    return JournalError(f"Run {run_id!r} is finished; nothing can follow.")


def not_found(run_id: str) -> RunNotFound:
    """Why a run can't be read."""
    return RunNotFound(f"There is no run {run_id!r}. get_run without arguments lists those there are.")


def left(run_id: str) -> JournalError:
    """Why a record can't be written by a pen that let go."""
    return JournalError(f"Run {run_id!r} was let go of; take it over to write to it.")


def lost(run_id: str, pid: int, host: str) -> RunTaken:
    """Why a record can't be written by a pen that lost its run."""
    return RunTaken(
        f"Run {run_id} was taken over by process {pid} on {host}; nothing more is written to it from here."
    )


def driven(run_id: str, pid: int, host: str) -> RunTaken:
    """Why a run can't be taken over: it is alive."""
    return RunTaken(
        f"Run {run_id} is driven by process {pid} on {host} and alive; wait for it with get_run, or stop it "
        "with cancel_run."
    )


def over(run_id: str, state: str) -> RunOver:
    """Why a run can't be taken over: it is finished."""
    return RunOver(f"Run {run_id} is over ({state}): get_run returns its result.")
