"""A run at the table: agents are named by letters, events are told in one word, the last step is kept."""

from __future__ import annotations

from typing import Any

from massgen_mcp.engine import (
    Abstained,
    AgentFailed,
    AgentId,
    Answer,
    AnswerGiven,
    Board,
    Command,
    Event,
    Finish,
    Member,
    Notify,
    Outcome,
    Settings,
    StartTurn,
    StopTurn,
    ToolLoopEntered,
    Turn,
    VoteCast,
    strategy,
)

__all__ = ["Table", "text"]


class Table:
    """One run of a strategy, from its start."""

    def __init__(
        self, name: str, agents: str, *, weights: dict[str, float] | None = None, **settings: Any
    ) -> None:
        members = [Member(id=agent, weight=(weights or {}).get(agent, 1.0)) for agent in agents]
        self.strategy = strategy(name)
        self.step = self.strategy.start(Board.begin(members, Settings(**settings)))
        self.started = len(self.starts)

    def tell(self, *events: Event) -> Table:
        """Let these happen, one after the other."""
        for event in events:
            self.step = self.strategy.receive(self.step.board, event)
            self.started += len(self.starts)
        return self

    def answer(self, agent: AgentId, conclusion: str, content: str = "") -> Table:
        """The agent's running turn hands in an answer; unless given, its text is like no other."""
        turn = self.turns[agent]
        return self.tell(
            AnswerGiven(
                agent=agent,
                turn=turn.id,
                content=content or f"{agent} in turn {turn.id} says {conclusion}",
                conclusion=conclusion,
            )
        )

    def answers(self, **conclusions: str) -> Table:
        """Answers of several agents, in this order."""
        for agent, conclusion in conclusions.items():
            self.answer(agent, conclusion)
        return self

    def vote(self, agent: AgentId, wanted: str, *, add: str = "", reason: str = "") -> Table:
        """The agent's running turn votes for the current answer of `wanted`; `add` names agents too."""
        return self.tell(
            VoteCast(
                agent=agent,
                turn=self.turns[agent].id,
                answer=self.current(wanted).id,
                reason=reason,
                add=tuple(self.current(other).id for other in add),
            )
        )

    def votes(self, **wanted: str) -> Table:
        """Votes of several agents, in this order."""
        for agent, other in wanted.items():
            self.vote(agent, other)
        return self

    def abstain(self, *agents: AgentId) -> Table:
        """The agents' running turns come to nothing."""
        for agent in agents:
            self.tell(Abstained(agent=agent, turn=self.turns[agent].id, why="plain text"))
        return self

    def fail(self, *agents: AgentId) -> Table:
        """The agents' running turns fail."""
        for agent in agents:
            self.tell(AgentFailed(agent=agent, turn=self.turns[agent].id, error="no connection"))
        return self

    def use_tools(self, agent: AgentId) -> Table:
        """The agent's running turn begins to use tools."""
        return self.tell(ToolLoopEntered(agent=agent, turn=self.turns[agent].id))

    @property
    def board(self) -> Board:
        return self.step.board

    @property
    def commands(self) -> tuple[Command, ...]:
        """What the last event led to."""
        return self.step.commands

    @property
    def turns(self) -> dict[AgentId, Turn]:
        """The running turns."""
        return dict(self.board.turns)

    @property
    def starts(self) -> list[Turn]:
        """Turns that the last event started."""
        return [command.turn for command in self.commands if isinstance(command, StartTurn)]

    @property
    def stops(self) -> list[AgentId]:
        """Agents whose turns the last event stopped."""
        return [command.agent for command in self.commands if isinstance(command, StopTurn)]

    @property
    def notices(self) -> list[Notify]:
        return [command for command in self.commands if isinstance(command, Notify)]

    @property
    def outcome(self) -> Outcome:
        """How it ended, with the last event."""
        (found,) = [command.outcome for command in self.commands if isinstance(command, Finish)]
        assert self.commands[-1] == Finish(outcome=found)
        return found

    def current(self, agent: AgentId) -> Answer:
        found = self.board.latest(agent)
        assert found is not None
        return found

    def started_kinds(self) -> list[tuple[AgentId, str]]:
        """Who was put to what by the last event."""
        return [(turn.agent, turn.kind.value) for turn in self.starts]


def text(outcome: Outcome) -> str:
    """The text an outcome returns."""
    assert outcome.answer is not None
    return outcome.answer.content
