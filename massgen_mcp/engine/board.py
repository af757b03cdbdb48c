"""The board: everything known about a run at one moment, as frozen values.

Time, money and chance come in from outside; there is none in the engine.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias

__all__ = [
    "AgentId",
    "Answer",
    "AnswerId",
    "Board",
    "Member",
    "Presentation",
    "Settings",
    "Status",
    "StoppedBy",
    "Turn",
    "TurnId",
    "TurnKind",
    "Vote",
]

AgentId: TypeAlias = str
AnswerId: TypeAlias = str
"""An agent's id and the revision: `gemini.2`. Others are shown `Board.label`: `agent1.2`."""
TurnId: TypeAlias = int
"""Unique within a run, counted from 1."""

Presentation: TypeAlias = Literal["winner", "synthesize", "reuse"]
Status: TypeAlias = Literal["completed", "partial", "failed", "cancelled"]
StoppedBy: TypeAlias = Literal["decided", "deadline", "budget", "cancelled"]


class TurnKind(StrEnum):
    """What an agent is asked to do in a turn."""

    ANSWER = "answer"  # blind: sees no other answer
    VOTE = "vote"  # sees all answers; votes, or answers again where `Turn.may_answer`
    PRESENT = "present"  # the winner writes the final text
    SYNTHESIZE = "synthesize"  # one agent writes a text that states the disagreement


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An agent as the engine knows it. The order of members is the config's order."""

    id: AgentId
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a strategy may be told. See the coordination page of the documentation."""

    seed: int = 0
    """What all chance of a run comes from. In a team's settings 0 means another one for each run."""
    quorum: int | None = None
    """Equal conclusions that end a run without a vote; None: all live agents, at least two."""
    exclude_self: bool | None = None
    """Whether a vote for one's own answer is refused; None: from three live agents on."""
    merge_equal: bool = True
    min_agents: int = 1
    presentation: Presentation = "winner"
    present_always: bool = False
    """A presenter's turn is needed even when an answer could be returned as it stands: it writes files."""
    presenter: AgentId | None = None
    max_answers: int = 2
    """Answers one agent may give in all; the first is one of them."""
    max_answers_global: int | None = None
    lead: int | None = None
    """How many answers one agent may be ahead of the live one with fewest; None: any number."""
    novelty: float | None = None
    """The share of words that a new answer in a vote turn may have in common with one shown; None: all."""
    tell_news: bool = True
    """Whether agents inside a tool loop read of new answers; else they vote again when they are done."""
    max_news: int | None = None
    """New answers that one turn is told of; it is stopped, as others are, when more come in."""
    max_rounds: int | None = None
    """Rounds of answers and votes; in the last one nobody answers again."""
    skip_voting: bool = False
    dissent: bool = True
    """Whether the outcome names the answers that did not win."""

    @property
    def votes(self) -> bool:
        """Whether there is a ballot at all."""
        return not self.skip_voting and self.max_rounds != 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One agent's answer, at one revision."""

    id: AnswerId
    agent: AgentId
    revision: int
    content: str
    conclusion: str = ""
    """The bottom line in one short phrase; empty when the agent gave none."""
    turn: TurnId = 0
    snapshot: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One agent's choice among the answers it was shown."""

    voter: AgentId
    answer: AnswerId
    reason: str = ""
    add: tuple[AnswerId, ...] = ()
    """Answers holding correct points that the chosen one lacks."""
    ballot: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One agent at work, from `StartTurn` to what it ended in."""

    id: TurnId
    agent: AgentId
    kind: TurnKind
    ballot: int = 0
    """Which ballot a vote of this turn belongs to; 0 before any."""
    shown: tuple[AnswerId, ...] = ()
    """The answers this turn sees, in the order shown to this reader; to a presenter the chosen one first."""
    votable: tuple[AnswerId, ...] = ()
    may_answer: bool = False
    """Whether a vote turn may hand in a new answer instead."""
    in_tools: bool = False
    """The agent has begun to use tools, so it is told of news instead of being stopped."""
    told: int = 0
    """New answers it was told of."""


def _nothing() -> Mapping[AgentId, Turn]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Everything known about a run at one moment."""

    members: tuple[Member, ...]
    settings: Settings
    labels: Mapping[AgentId, str]
    """`agent1`, `agent2`, ... from one seeded shuffle per run; the same for every reader and the result."""
    answers: tuple[Answer, ...] = ()
    """In the order given, all revisions."""
    votes: tuple[Vote, ...] = ()
    """All ballots; those of the current one have `ballot == self.ballot`."""
    ballot: int = 0
    round: int = 0
    turns: Mapping[AgentId, Turn] = field(default_factory=_nothing)
    """The running turn of each working agent."""
    failed: Mapping[AgentId, str] = field(default_factory=lambda: MappingProxyType(dict[AgentId, str]()))
    """Agents that are out, with the cause."""
    failures: Mapping[AgentId, int] = field(default_factory=lambda: MappingProxyType(dict[AgentId, int]()))
    """Slips and failures of each agent, for ties."""
    abstained: frozenset[AgentId] = frozenset()
    """Agents that handed in no valid vote on the current ballot."""
    closed: bool = False
    """No new answers are taken."""
    stopped_by: StoppedBy = "decided"
    last_turn: TurnId = 0
    phase: str = ""
    """The strategy's own word for where it is."""
    chosen: AnswerId | None = None
    """The answer that won, once that is decided: a presenter works from it; returned where none can."""
    rule: str = ""
    """Why that one: see `Outcome.rule`."""
    finished: bool = False
    saved: int = 0

    @classmethod
    def begin(cls, members: Sequence[Member], settings: Settings) -> Board:
        """An empty board, with labels shuffled by the run's seed."""
        names = [f"agent{number}" for number in range(1, len(members) + 1)]
        random.Random(settings.seed).shuffle(names)  # noqa: S311 - anonymity among agents, not secrecy
        labels = {member.id: name for member, name in zip(members, names, strict=True)}
        return cls(members=tuple(members), settings=settings, labels=MappingProxyType(labels))

    def label(self, answer: Answer) -> str:
        """An answer's public name: `agent2.1`."""
        return f"{self.labels[answer.agent]}.{answer.revision}"

    def answer(self, answer_id: AnswerId) -> Answer:
        """The answer of that id.

        Raises:
            KeyError: there is none.
        """
        for answer in self.answers:
            if answer.id == answer_id:
                return answer
        raise KeyError(answer_id)

    def latest(self, agent: AgentId) -> Answer | None:
        """An agent's newest answer."""
        return next((answer for answer in reversed(self.answers) if answer.agent == agent), None)

    @property
    def live(self) -> tuple[AgentId, ...]:
        """Agents that have not failed, in config order."""
        return tuple(member.id for member in self.members if member.id not in self.failed)

    @property
    def current(self) -> tuple[Answer, ...]:
        """The newest answer of each agent that has one (failed agents included), in config order."""
        newest = {answer.agent: answer for answer in self.answers}
        return tuple(newest[member.id] for member in self.members if member.id in newest)
