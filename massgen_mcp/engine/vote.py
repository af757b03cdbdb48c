"""`vote`: blind answers, then ballots on which an agent may improve instead of voting; the winner presents.

2n + 1 turns for n agents that answer once and vote once.
"""

from __future__ import annotations

from massgen_mcp.engine.ballot import count, is_decided
from massgen_mcp.engine.commands import Strategy
from massgen_mcp.engine.move import Move
from massgen_mcp.engine.rounds import Rounds

__all__ = ["STRATEGY", "Voting"]


class Voting(Rounds):
    """MassGen's protocol: a new answer opens a new ballot, until all have voted on the same one."""

    name = "vote"

    def answered(self, move: Move) -> None:
        """Open the first ballot when all have answered or are out."""
        if move.board.turns:
            return
        if move.board.settings.votes:
            move.open_ballot(improvements=True)
        else:
            self._decide(move)

    def voted(self, move: Move) -> None:
        """Open a new ballot for a new answer; end when all have voted or nothing can change any more."""
        board = move.board
        if move.brought_answer:
            move.open_ballot(improvements=True)
        elif move.late in board.live and board.stopped_by != "budget":
            move.ask_again(move.late, improvements=True)
        elif not board.turns or is_decided(board, count(board)):
            move.save_turns()
            self._decide(move)

    def _decide(self, move: Move) -> None:
        tally = count(move.board)
        leader = tally.standings[0].answers[0]
        move.decide(leader, "ballot" if tally.votes else "unvoted", present=True)


STRATEGY: Strategy = Voting()
