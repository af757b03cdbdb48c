"""What every store holds to, wherever it keeps its records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast, get_args

from massgen_mcp.errors import JournalError, RunNotFound
from massgen_mcp.journal.codec import Redact
from massgen_mcp.journal.records import Kind, RunState
from massgen_mcp.text import shorten

__all__ = ["DAY", "TAIL", "already_there", "cost_of", "final_state", "finished", "headline", "not_found"]

DAY = 86_400.0
"""Seconds."""

TAIL = 2_000
"""Characters of an agent's activity that are kept: its end."""

_HEADLINE = 200
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


def cost_of(kind: Kind, body: Mapping[str, Any]) -> float | None:
    """The US dollars a record adds to its run, or for `Finished` the run's total; None where it says none."""
    usage: object = body.get("usage") if kind in {"CallReplied", "Finished"} else None
    cost: object = cast("Mapping[str, object]", usage).get("cost_usd") if isinstance(usage, Mapping) else None
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        return None
    return float(cost) if math.isfinite(cost) and cost >= 0 else None


def already_there(run_id: str) -> JournalError:
    """Why a run can't begin."""
    return JournalError(f"There is already a run {run_id!r}.")


def finished(run_id: str) -> JournalError:
    """Why a record can't be written."""
    return JournalError(f"Run {run_id!r} is finished; nothing can follow.")


def not_found(run_id: str) -> RunNotFound:
    """Why a run can't be read."""
    return RunNotFound(f"There is no run {run_id!r}. `massgen-mcp runs list` shows those there are.")
