"""What each round, turn and request of a run may use of its budget, and how long a turn may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from massgen_mcp.team.budget import Budget, Share
from massgen_mcp.usage import Usage

__all__ = ["Shares", "TurnBudgets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What each part of a run may use."""

    request: Share = field(default_factory=Share)
    turn: Share = field(default_factory=Share)
    round: Share = field(default_factory=Share)


class TurnBudgets:
    """The budgets of a run's turns, each a part of its round's, which is a part of the run's."""

    def __init__(self, run: Budget, shares: Shares) -> None:
        self._run = run
        self._shares = shares
        self._rounds: dict[int, Budget] = {}
        self._turns: dict[str, Budget] = {}

    def begin(self, agent: str, number: int, *, own_loop: bool) -> Budget:
        """The budget of the turn that an agent begins in round `number`.

        `own_loop`: it makes its requests by itself, so that none of them can be held to `per_request`.
        """
        if number not in self._rounds:
            self._rounds[number] = self._run.part("round", self._shares.round)
        each = None if own_loop else self._shares.request
        self._turns[agent] = self._rounds[number].part("turn", self._shares.turn, each=each)
        return self._turns[agent]

    def charge(self, agent: str, usage: Usage) -> None:
        """Count what a tool of an agent's used of a provider: in its turn, its round and the run."""
        self._turns.get(agent, self._run).charge(usage)
