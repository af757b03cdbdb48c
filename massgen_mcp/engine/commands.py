"""Commands: what to do. A strategy answers an event with a step: a new board and the commands that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from massgen_mcp.engine.board import AgentId, AnswerId, Board, Turn, TurnId
from massgen_mcp.engine.events import Event
from massgen_mcp.engine.outcome import Outcome

__all__ = [
    "Command",
    "Finish",
    "Notify",
    "StartTurn",
    "Step",
    "StopTurn",
    "Strategy",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTurn:
    """Put an agent to work."""

    turn: Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTurn:
    """What this turn is doing is no longer wanted; whatever it still reports is dropped."""

    agent: AgentId
    turn: TurnId


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Tell an agent inside a tool loop, with its next tool result, that these answers are new.

    Its turn now belongs to `ballot` and shows `shown`.
    """

    agent: AgentId
    turn: TurnId
    ballot: int
    new: tuple[AnswerId, ...]
    shown: tuple[AnswerId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The run is over. The last command of every run, exactly once."""

    outcome: Outcome


Command: TypeAlias = StartTurn | StopTurn | Notify | Finish


@dataclass(frozen=True, slots=True)
class Step:
    """What a strategy makes of an event."""

    board: Board
    commands: tuple[Command, ...] = ()


class Strategy(Protocol):
    """One way for a team to reach an answer. Pure: the same board and event give the same step."""

    name: str

    def start(self, board: Board) -> Step:
        """The first commands of a run."""
        ...

    def receive(self, board: Board, event: Event) -> Step:
        """What follows from an event; one from a turn that is not running changes nothing."""
        ...
