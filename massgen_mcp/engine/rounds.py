"""A run of rounds: blind answers, then ballots, then perhaps a presenter.

What all such strategies share is here: old news is dropped, failures and deadlines are met, a team too small
to go on ends. A strategy says what follows from answers and from votes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import assert_never

from massgen_mcp.engine.board import Answer, Board, Turn, TurnKind
from massgen_mcp.engine.commands import Step
from massgen_mcp.engine.events import (
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
from massgen_mcp.engine.move import Move, Phase

__all__ = ["Rounds"]


class Rounds(ABC):
    """A strategy in rounds. Each event is recorded, then the phase's hook says what follows."""

    name: str

    @abstractmethod
    def answered(self, move: Move) -> None:
        """Something happened in the first round; turns may still run. If none does, there are two answers."""

    @abstractmethod
    def voted(self, move: Move) -> None:
        """Something happened on the ballot; turns may still run."""

    def start(self, board: Board) -> Step:
        """Ask all agents at once."""
        move = Move(board)
        if not self._too_few(move):
            move.ask_all()
        return move.step()

    def receive(self, board: Board, event: Event) -> Step:
        """What follows from an event; old news, and anything after the end, changes nothing."""
        move = Move(board)
        if not board.finished and self._record(move, event) and not move.board.finished:
            self._go_on(move)
        return move.step()

    def _record(self, move: Move, event: Event) -> bool:
        """Put an event on the board; False when nothing follows from it."""
        match event:
            case RunDeadline():
                move.finish_best(stopped_by="deadline", why="The run's time is over.")
            case CancelRequested(reason=reason):
                why = f"The run was cancelled: {reason}" if reason else "The run was cancelled."
                move.finish_best(stopped_by="cancelled", why=why)
            case BudgetStopped():
                move.put(stopped_by="budget")
                move.stop_improving()
            case AnsweringClosed():
                move.put(closed=True)
                move.stop_improving()
            case RoundDeadline(round=number):
                if number != move.board.round:
                    return False
                move.cut_turns()
            case AnswerGiven() | VoteCast() | Abstained() | AgentFailed() | ToolLoopEntered():
                turn = move.board.turns.get(event.agent)
                if turn is None or turn.id != event.turn:
                    return False
                self._record_of_turn(move, turn, event)
            case _:
                assert_never(event)
        return True

    def _record_of_turn(
        self,
        move: Move,
        turn: Turn,
        event: AnswerGiven | VoteCast | Abstained | AgentFailed | ToolLoopEntered,
    ) -> None:
        if isinstance(event, ToolLoopEntered):
            move.set_turn(replace(turn, in_tools=True))
            return
        move.end_turn(turn)
        match event:
            case AnswerGiven():
                if turn.kind in {TurnKind.PRESENT, TurnKind.SYNTHESIZE}:
                    move.finish_presented(turn, event)
                else:
                    move.record_answer(turn, event)
            case VoteCast():
                move.record_vote(turn, event)
            case Abstained():
                move.record_abstention(turn)
            case AgentFailed(agent=agent, error=error):
                move.record_failure(agent, error)
            case _:
                assert_never(event)

    def _go_on(self, move: Move) -> None:
        if self._too_few(move):
            return
        phase = Phase(move.board.phase)
        match phase:
            case Phase.ANSWERS:
                self._after_answers(move)
            case Phase.BALLOT:
                self._after_votes(move)
            case Phase.PRESENTATION:
                if not move.board.turns:
                    move.finish_best()
            case _:
                assert_never(phase)

    def _after_answers(self, move: Move) -> None:
        # While there is no answer at all, closing would only throw away the first one.
        if move.board.closed and move.board.answers:
            move.cut_turns()
        board = move.board
        if board.turns or len(board.answers) > 1:
            self.answered(move)
        elif board.answers:
            move.decide(board.answers[0], "single_agent" if len(board.members) == 1 else "only_answer")
        else:
            move.finish_best(why="No agent answered.")

    def _after_votes(self, move: Move) -> None:
        alone = _only_voice(move.board)
        if alone is None:
            self.voted(move)
        else:
            move.decide(alone, "only_answer")

    def _too_few(self, move: Move) -> bool:
        board = move.board
        needed = max(1, board.settings.min_agents)
        if len(board.live) < needed:
            left = f"{len(board.live)} of {len(board.members)} agents left"
            few = f"Too few agents: {left}, `min_agents` is {board.settings.min_agents}."
            move.finish_best(why=few if board.live else "No agent could answer.")
        return move.board.finished


def _only_voice(board: Board) -> Answer | None:
    """The answer of the last live agent, once a ballot has ended without any vote."""
    live = board.live
    voted = any(vote.ballot == board.ballot for vote in board.votes)
    return None if len(live) != 1 or board.turns or voted else board.latest(live[0])
