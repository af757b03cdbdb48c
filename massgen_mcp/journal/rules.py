"""What every store holds to, wherever it keeps its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from massgen_mcp.errors import JournalError, RunNotFound
from massgen_mcp.journal.codec import Redact
from massgen_mcp.journal.records import RunState
from massgen_mcp.text import shorten

__all__ = ["DAY", "TAIL", "already_there", "final_state", "finished", "headline", "not_found"]

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


def already_there(run_id: str) -> JournalError:
    """Why a run can't begin."""
    return JournalError(f"There is already a run {run_id!r}.")


def finished(run_id: str) -> JournalError:
    """Why a record can't be written."""
    return JournalError(f"Run {run_id!r} is finished; nothing can follow.")


def not_found(run_id: str) -> RunNotFound:
    """Why a run can't be read."""
    return RunNotFound(f"There is no run {run_id!r}. `massgen-mcp runs list` shows those there are.")
