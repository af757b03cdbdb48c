"""How often a turn has gone wrong, by kind, and when that was once too often."""

from __future__ import annotations

from dataclasses import dataclass

from massgen_mcp.team.workflow import Slip

__all__ = ["Slips"]

_MOST = 3
"""Calls in a row that can't be taken before the turn ends."""


@dataclass(slots=True)
class Slips:
    """The slips of one turn. Each method counts one and says whether the turn is over with it."""

    calls: int = 0
    """In a row: a call that was taken ends the row."""
    votes: int = 0
    plain: int = 0

    def text_instead_of_vote(self) -> bool:
        """Plain text, where a vote was asked for."""
        self.plain += 1
        return self.plain > 1

    def refused(self, slip: Slip) -> bool:
        """A call of a workflow tool that can't be taken."""
        over = self.ends_with(slip)
        self.calls += 1
        self.votes += slip.vote
        return over

    def ends_with(self, slip: Slip) -> bool:
        """Whether that would be the one too many."""
        return self.calls + 1 >= _MOST or (slip.vote and self.votes > 0)

    def strays(self, *, taken: bool) -> bool:
        """Calls of other tools; `taken`: one of them is there."""
        self.calls = 0 if taken else self.calls + 1
        return self.calls >= _MOST
