"""What a run's records say: what its turns began and what came of it, and what its engine was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from massgen_mcp.engine import (
    Abstained,
    AgentFailed,
    AnswerGiven,
    AnsweringClosed,
    BudgetStopped,
    CancelRequested,
    Event,
    RoundDeadline,
    RunDeadline,
    ToolLoopEntered,
    VoteCast,
)
from massgen_mcp.journal.records import Record
from massgen_mcp.journal.summary import RESUMED

__all__ = ["LAST", "PastEvent", "Step", "events_of", "seconds_used", "split", "steps_of", "under_way"]

LAST: Final = 2**62
"""Where an event belongs that was told while the process died: after everything else."""
_OUTCOMES = frozenset({"CallReplied", "CallFailed", "ToolFinished"})
_NOTICES: Mapping[str, type[Event]] = {
    event.__name__: event
    for event in (
        ToolLoopEntered,
        RoundDeadline,
        AnsweringClosed,
        RunDeadline,
        BudgetStopped,
        CancelRequested,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One model request or tool call that was begun."""

    started: Record
    outcome: Record | None = None

    @property
    def number(self) -> int:
        """Its number within the turn."""
        return self.started.call or 0

    @property
    def is_tool(self) -> bool:
        """Whether a tool was called."""
        return self.started.kind == "ToolStarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEvent:
    """What the engine was told."""

    at: int
    """Its place in the order."""
    event: Event
    whole: bool = True
    """False where the process died while the event was written down."""


def steps_of(records: Sequence[Record]) -> dict[int, list[Step]]:
    """What each turn began, in order, with what came of it."""
    found: dict[int, list[Step]] = {}
    places: dict[tuple[int, int], int] = {}
    for record in records:
        if record.turn is None or record.call is None:
            continue
        steps = found.setdefault(record.turn, [])
        if record.kind in {"CallStarted", "ToolStarted"}:
            places[record.turn, record.call] = len(steps)
            steps.append(Step(started=record))
        elif record.kind in _OUTCOMES and (record.turn, record.call) in places:
            place = places[record.turn, record.call]
            steps[place] = Step(started=steps[place].started, outcome=record)
    return found


def split(steps: Sequence[Step]) -> tuple[list[Step], tuple[Step, ...]]:
    """A turn's own steps, and those that an agent runtime took within one of them."""
    top: list[Step] = []
    inside: list[Step] = []
    for step in steps:
        last = next((item for item in reversed(top) if not item.is_tool), None)
        within = step.is_tool and last is not None and under_way(last, step.started.seq)
        (inside if within else top).append(step)
    return top, tuple(inside)


def under_way(step: Step, seq: int) -> bool:
    """Whether it had no outcome yet when that record was written."""
    return step.outcome is None or step.outcome.seq > seq


def events_of(records: Sequence[Record]) -> list[PastEvent]:
    """What the engine was told, each at the record after which it was."""
    found: list[PastEvent] = []
    open_events: dict[int, Event] = {}
    for record in records:
        body = record.body
        if record.kind in {"AnswerGiven", "VoteCast"} and record.turn is not None:
            open_events[record.turn] = _given(record.kind, record.turn, body)
        elif record.kind == "TurnEnded" and record.turn is not None:
            event = open_events.pop(record.turn, None) or _ended(record.turn, body)
            if event is not None:
                found.append(PastEvent(at=record.seq, event=event))
        elif record.kind == "Notice" and not body.get("late"):
            kind = _NOTICES.get(str(body.get("event")))
            if kind is not None:
                values = {key: value for key, value in body.items() if key in kind.__dataclass_fields__}
                found.append(PastEvent(at=record.seq, event=kind(**values)))
    found += [PastEvent(at=LAST, event=event, whole=False) for event in open_events.values()]
    return found


def _given(kind: str, turn: int, body: Mapping[str, Any]) -> Event:
    if kind == "AnswerGiven":
        return AnswerGiven(
            agent=body["agent"],
            turn=turn,
            content=body["content"],
            conclusion=body.get("conclusion", ""),
            snapshot=body.get("snapshot"),
        )
    return VoteCast(
        agent=body["agent"],
        turn=turn,
        answer=body["answer"],
        reason=body.get("reason", ""),
        add=tuple(body.get("add", ())),
    )


def _ended(turn: int, body: Mapping[str, Any]) -> Event | None:
    why = body.get("why", "")
    match body.get("how"):
        case "abstained":
            return Abstained(agent=body["agent"], turn=turn, why=why)
        case "failed":
            return AgentFailed(agent=body["agent"], turn=turn, error=why, kind=body.get("kind", ""))
        case _:
            return None


def seconds_used(records: Sequence[Record]) -> float:
    """How long a run was in motion until its last record, the time in which nobody drove it left out."""
    used = 0.0
    began = records[0].at if records else 0.0
    for before, record in pairwise(records):
        if record.kind == "Notice" and record.body.get("event") == RESUMED:
            used += max(0.0, before.at - began)
            began = record.at
    return used + (max(0.0, records[-1].at - began) if records else 0.0)
