"""Events: what happened. Those of a turn name it; one from a stopped turn changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from massgen_mcp.engine.board import AgentId, AnswerId, TurnId

__all__ = [
    "Abstained",
    "AgentFailed",
    "AnswerGiven",
    "AnsweringClosed",
    "BudgetStopped",
    "CancelRequested",
    "Event",
    "RoundDeadline",
    "RunDeadline",
    "ToolLoopEntered",
    "VoteCast",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerGiven:
    """A turn ended in an answer (of any kind of turn: a presenter's text is one too)."""

    agent: AgentId
    turn: TurnId
    content: str
    conclusion: str = ""
    snapshot: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCast:
    """A turn ended in a vote; `answer` was checked against the turn's votable answers."""

    agent: AgentId
    turn: TurnId
    answer: AnswerId
    reason: str = ""
    add: tuple[AnswerId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstained:
    """A vote turn ended without a valid vote. The agent stays live."""

    agent: AgentId
    turn: TurnId
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFailed:
    """A turn can't be finished (provider failure, limit of the turn). The agent is out; its answers stay."""

    agent: AgentId
    turn: TurnId
    error: str
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLoopEntered:
    """The turn's agent has made its first call of a tool that is not a workflow tool."""

    agent: AgentId
    turn: TurnId


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDeadline:
    """The time of round `round` is over: go on with what exists."""

    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringClosed:
    """The run's deadline is near: no new answers; vote on what exists or return it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDeadline:
    """The run's time is over: finish now with the best answer so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStopped:
    """No money, tokens or requests are left for another turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """A person or host wants the run to stop now."""

    reason: str = ""


Event: TypeAlias = (
    AnswerGiven
    | VoteCast
    | Abstained
    | AgentFailed
    | ToolLoopEntered
    | RoundDeadline
    | AnsweringClosed
    | RunDeadline
    | BudgetStopped
    | CancelRequested
)
