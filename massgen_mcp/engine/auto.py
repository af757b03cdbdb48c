"""`auto`: stop when the blind answers agree; else one vote; else the leader's author once more.

n, 2n or at most 2n + 1 turns for n agents.
"""

from __future__ import annotations

from massgen_mcp.engine.ballot import count, is_clear, wanted_addition
from massgen_mcp.engine.commands import Strategy
from massgen_mcp.engine.conclusions import group_answers
from massgen_mcp.engine.move import Move
from massgen_mcp.engine.rounds import Rounds

__all__ = ["STRATEGY", "Auto"]


class Auto(Rounds):
    """The default strategy."""

    name = "auto"

    def answered(self, move: Move) -> None:
        """End on agreement, and before all have answered on a quorum; else open the one ballot."""
        board, settings = move.board, move.board.settings
        groups = group_answers(board.current, merge=settings.merge_equal)
        quorum = max(2, settings.quorum or len(board.members) + 1)
        reached = [group for group in groups if len(group) >= quorum]
        if len(groups) == 1 and not board.turns:
            move.decide(groups[0][0], "agreement")
        elif reached:
            move.save_turns()
            move.decide(reached[0][0], "quorum")
        elif not board.turns:
            if settings.votes:
                move.open_ballot(improvements=False)
            else:
                self._decide(move)

    def voted(self, move: Move) -> None:
        """End when everybody has voted or is out."""
        if not move.board.turns:
            self._decide(move)

    def _decide(self, move: Move) -> None:
        """A clear choice is returned as it stands; two agents that split get a synthesis."""
        board = move.board
        tally = count(board)
        leader = tally.standings[0].answers[0]
        split = len(board.live) == 2 and tally.margin(leader.id) == 0  # noqa: PLR2004 - a pair
        present = not is_clear(board, tally) or wanted_addition(tally) is not None
        move.decide(leader, "ballot" if tally.votes else "unvoted", present=present, split=split)


STRATEGY: Strategy = Auto()
