"""What the agent of one turn has been shown, and what its turn may end in. News may change both."""

from __future__ import annotations

from dataclasses import replace

from massgen_mcp.engine import AnswerId, Board, Notify, Turn, TurnKind
from massgen_mcp.team.briefs import TurnBrief, shown_answers, wanted_vote
from massgen_mcp.team.prompts import news_text

__all__ = ["View"]


class View:
    """The answers as one reader knows them: by labels."""

    def __init__(self, turn: Turn, board: Board, start: TurnBrief, tag: str) -> None:
        self._board = board
        self._shown = turn.shown
        self._labels = dict(start.labels)
        self._tag = tag
        self.wanted = start.wanted
        """What the turn may end in now."""
        self.offered = start.wanted
        """The same as of the newest record: the next request is built of that, in a replay too."""
        self.news = ""
        """What is to be told of new answers; empty for nothing."""
        self._new: tuple[AnswerId, ...] = ()
        """Those answers."""

    def update(self, command: Notify, board: Board) -> None:
        """Answers have come in, of which the agent is to read."""
        self._board, self._shown = board, command.shown
        answers = [board.answer(answer_id) for answer_id in command.shown]
        self._labels |= {board.label(answer): answer.id for answer in answers}
        turn = board.turns[command.agent]
        self.wanted = wanted_vote(turn, board)
        # What came in before and was not told yet is news still.
        self._new = tuple(item for item in command.shown if item in (*self._new, *command.new))
        new = [board.answer(answer_id) for answer_id in self._new]
        self.news = news_text(shown_answers(board, new, command.agent), self.wanted.labels, self._tag)

    def follow(self, turn: Turn) -> None:
        """Answering may have closed: then the turn can only end in a vote."""
        if turn.kind is TurnKind.VOTE and not turn.may_answer:
            self.wanted = replace(self.wanted, answer=False)

    def offer(self) -> None:
        """Something was written down: what is wanted now holds for the next request."""
        self.offered = self.wanted

    def take_news(self) -> str:
        """All that has come in until now: from here on the agent has read of it."""
        words, self.news, self._new = self.news, "", ()
        return words

    def answer(self, label: str) -> AnswerId:
        """Which answer a label stands for, one that was shown earlier too."""
        return self._labels[label]

    @property
    def seen(self) -> frozenset[AnswerId]:
        """All answers that were shown."""
        return frozenset(self._labels.values())

    @property
    def snapshots(self) -> dict[str, str]:
        """Label -> snapshot of each answer that may be looked into now."""
        answers = [self._board.answer(answer_id) for answer_id in self._shown]
        return {self._board.label(answer): answer.snapshot for answer in answers if answer.snapshot}
