"""What can be done to a board: the steps that strategies are made of."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from massgen_mcp.engine.ballot import count
from massgen_mcp.engine.board import (
    AgentId,
    Answer,
    AnswerId,
    Board,
    StoppedBy,
    Turn,
    TurnKind,
    Vote,
)
from massgen_mcp.engine.commands import Command, Finish, Notify, StartTurn, Step, StopTurn
from massgen_mcp.engine.conclusions import conclusion_of
from massgen_mcp.engine.events import AnswerGiven, VoteCast
from massgen_mcp.engine.outcome import outcome_of

__all__ = ["Move", "Phase"]

Value = TypeVar("Value")


class Phase(StrEnum):
    """Where a run of rounds is."""

    ANSWERS = "answers"
    BALLOT = "ballot"
    PRESENTATION = "presentation"


class Move:
    """What follows from one event, while it is worked out: the board so far and the commands.

    It lives no longer than one call of a strategy, so strategies stay pure.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.late: AgentId | None = None
        """Whose vote turn has ended on a ballot that is not the current one any more."""
        self._before = board
        self._cut = False
        self._commands: list[Command] = []

    def step(self) -> Step:
        """The board and the commands it has come to."""
        return Step(self.board, tuple(self._commands))

    def put(self, **changes: Any) -> None:
        """Put other values on the board."""
        self.board = replace(self.board, **changes)

    @property
    def brought_answer(self) -> bool:
        """Whether the event brought a new answer."""
        return len(self.board.answers) > len(self._before.answers)

    # What a turn ended in.

    def end_turn(self, turn: Turn) -> None:
        """Take a turn off the board; nothing more is heard of it."""
        if turn.kind is TurnKind.VOTE and turn.ballot != self.board.ballot:
            self.late = turn.agent
        self._take_off(turn)

    def _take_off(self, turn: Turn) -> None:
        left = {agent: found for agent, found in self.board.turns.items() if agent != turn.agent}
        self.put(turns=MappingProxyType(left))

    def set_turn(self, turn: Turn) -> None:
        """Put a turn on the board, or change what it may do."""
        self.put(turns=_with(self.board.turns, turn.agent, turn))

    def record_answer(self, turn: Turn, event: AnswerGiven) -> None:
        """Add an answer. In a vote turn a known text is a vote for it, one not asked for an abstention."""
        answer = self._answer(turn, event)
        text = answer.content.strip()
        same = [found.id for found in self.board.current if found.content.strip() == text]
        if turn.kind is TurnKind.VOTE and same:
            chosen = next((found for found in same if found in turn.votable), same[0])
            self.record_vote(turn, VoteCast(agent=turn.agent, turn=turn.id, answer=chosen))
        elif turn.may_answer:
            self.put(answers=(*self.board.answers, answer))
        else:
            self.record_abstention(turn)

    def record_vote(self, turn: Turn, event: VoteCast) -> None:
        """Add a vote to the ballot its turn belongs to; an invalid one is an abstention."""
        if event.answer not in turn.votable:
            self.record_abstention(turn)
            return
        add = tuple(extra for extra in event.add if extra in turn.shown and extra != event.answer)
        vote = Vote(voter=turn.agent, answer=event.answer, reason=event.reason, add=add, ballot=turn.ballot)
        self.put(votes=(*self.board.votes, vote))

    def record_abstention(self, turn: Turn) -> None:
        """Nothing came of a turn; the agent stays live."""
        if turn.kind is TurnKind.VOTE:
            self.put(abstained=self.board.abstained | {turn.agent})
        self._count_failure(turn.agent)

    def record_failure(self, agent: AgentId, error: str) -> None:
        """The agent is out; its answers stay."""
        self.put(failed=_with(self.board.failed, agent, error))
        self._count_failure(agent)

    def stop_improving(self) -> None:
        """Running vote turns may vote, but not answer any more."""
        for turn in self.board.turns.values():
            if turn.kind is TurnKind.VOTE:
                self.set_turn(replace(turn, may_answer=False))

    def _answer(self, turn: Turn, event: AnswerGiven) -> Answer:
        latest = self.board.latest(turn.agent)
        revision = latest.revision + 1 if latest else 1
        return Answer(
            id=f"{turn.agent}.{revision}",
            agent=turn.agent,
            revision=revision,
            content=event.content,
            conclusion=event.conclusion or conclusion_of(event.content),
            turn=turn.id,
            snapshot=event.snapshot,
        )

    def _count_failure(self, agent: AgentId) -> None:
        self.put(failures=_with(self.board.failures, agent, self.board.failures.get(agent, 0) + 1))

    # Turns to stop and to start.

    def cut_turns(self) -> None:
        """Stop what is running, since its time is over. Its agents stay live, and may vote later."""
        for turn in self.board.turns.values():
            self._cut = True
            if turn.kind is TurnKind.VOTE:
                self.put(abstained=self.board.abstained | {turn.agent})
        self._stop_all()

    def save_turns(self) -> None:
        """Stop what is running, since it can't change the outcome."""
        self.put(saved=self.board.saved + len(self.board.turns))
        self._stop_all()

    def ask_all(self) -> None:
        """The first round: everybody answers blind."""
        self.put(phase=Phase.ANSWERS, round=1)
        for agent in self.board.live:
            self._start(Turn(id=0, agent=agent, kind=TurnKind.ANSWER, may_answer=True))

    def open_ballot(self, *, improvements: bool) -> None:
        """Let each live agent vote on the current answers, an agent without an answer of its own too.

        Vote turns of an older ballot are stopped; one whose agent is using tools is moved and told, or left
        alone where the settings say so. With `improvements`, an agent may answer again while its allowance
        and the run's last. Without budget for the turns the run ends with the best answer so far.
        """
        if self._out_of_budget():
            return
        board = self.board
        self.put(phase=Phase.BALLOT, ballot=board.ballot + 1, round=board.round + 1, abstained=frozenset())
        for agent in board.live:
            turn = self._vote_turn(agent, improvements=improvements)
            running = board.turns.get(agent)
            if running is None:
                self._start(turn)
            elif not running.in_tools:
                self._stop(running)
                self._start(turn)
            elif board.settings.tell_news:
                self._tell(running, turn)

    def ask_again(self, agent: AgentId, *, improvements: bool) -> None:
        """Let an agent vote on the current ballot that has been working on an older one."""
        self.put(abstained=self.board.abstained - {agent})
        self._start(self._vote_turn(agent, improvements=improvements))

    def _tell(self, running: Turn, turn: Turn) -> None:
        """Move a running turn to what `turn` would show, or start it anew when it was told enough."""
        new = tuple(answer for answer in turn.shown if answer not in running.shown)
        told, most = running.told + len(new), self.board.settings.max_news
        if most is not None and told > most:
            self._stop(running)
            self._start(turn)
            return
        self.set_turn(replace(turn, id=running.id, in_tools=True, told=told))
        self._commands.append(
            Notify(agent=running.agent, turn=running.id, ballot=turn.ballot, new=new, shown=turn.shown)
        )

    def decide(self, chosen: Answer, rule: str, *, present: bool = False, split: bool = False) -> None:
        """Settle on an answer: return it, or let a presenter work on it where that is wanted.

        `present` is the strategy's wish and yields to `presentation: reuse`; `split` makes it a synthesis of
        a disagreement. What runs must have been stopped before.
        """
        self.put(chosen=chosen.id, rule=rule)
        settings = self.board.settings
        merging = settings.presentation == "synthesize" and len(self.board.current) > 1
        wanted = settings.present_always or merging or (present and settings.presentation == "winner")
        writer = self._writer(chosen, split=split) if wanted else None
        if writer is None:
            self.finish_best()
        elif not self._out_of_budget():
            self.put(phase=Phase.PRESENTATION, round=self.board.round + 1)
            shown = self._shuffled(writer)
            if not split:
                shown = (chosen.id, *(answer for answer in shown if answer != chosen.id))
            kind = TurnKind.SYNTHESIZE if split or merging else TurnKind.PRESENT
            ballot = self.board.ballot
            self._start(Turn(id=0, agent=writer, kind=kind, ballot=ballot, shown=shown, may_answer=True))

    def _writer(self, chosen: Answer, *, split: bool) -> AgentId | None:
        """The settings' presenter, else the chosen answer's author, or for a split one of all by seed.

        Nobody else takes the author's place, unless a presenter is needed for its own sake.
        """
        live, settings = self.board.live, self.board.settings
        author = self._random("writer").choice(live) if split else chosen.agent
        wanted = (settings.presenter, author, *(live if settings.present_always else ()))
        return next((agent for agent in wanted if agent in live), None)

    def _vote_turn(self, agent: AgentId, *, improvements: bool) -> Turn:
        board, settings = self.board, self.board.settings
        several = len(board.live) > 2  # noqa: PLR2004 - two compare with self allowed
        exclude = several if settings.exclude_self is None else settings.exclude_self
        own = [answer.id for answer in board.answers if answer.agent == agent]
        shown = self._shuffled(agent)
        return Turn(
            id=0,
            agent=agent,
            kind=TurnKind.VOTE,
            ballot=board.ballot,
            shown=shown,
            votable=tuple(answer for answer in shown if not (exclude and answer in own)),
            may_answer=improvements and not board.closed and self._may_improve(agent, len(own)),
        )

    def _may_improve(self, agent: AgentId, given: int) -> bool:
        """Whether its allowance, the run's, the last round and the slowest of the others allow an answer."""
        board, settings = self.board, self.board.settings
        others = [
            sum(answer.agent == other for answer in board.answers) for other in board.live if other != agent
        ]
        return (
            given < settings.max_answers
            and (settings.max_answers_global is None or len(board.answers) < settings.max_answers_global)
            and (settings.max_rounds is None or board.round < settings.max_rounds)
            and (settings.lead is None or given + 1 - min(others, default=given) <= settings.lead)
        )

    def _shuffled(self, reader: AgentId) -> tuple[AnswerId, ...]:
        """The current answers in an order that depends on seed, reader and ballot only."""
        found = [answer.id for answer in self.board.current]
        self._random(f"{reader}/{self.board.ballot}").shuffle(found)
        return tuple(found)

    def _random(self, purpose: str) -> random.Random:
        return random.Random(f"{self.board.settings.seed}/{purpose}")  # noqa: S311 - fairness, not secrecy

    def _start(self, turn: Turn) -> None:
        """Start a turn, under the next number."""
        turn = replace(turn, id=self.board.last_turn + 1)
        self.put(last_turn=turn.id, turns=_with(self.board.turns, turn.agent, turn))
        self._commands.append(StartTurn(turn=turn))

    def _stop(self, turn: Turn) -> None:
        self._take_off(turn)
        self._commands.append(StopTurn(agent=turn.agent, turn=turn.id))

    def _stop_all(self) -> None:
        for turn in self.board.turns.values():
            self._stop(turn)

    def _out_of_budget(self) -> bool:
        """End where no turn may start any more. What ran has ended by then, or has been stopped."""
        if self.board.stopped_by == "budget":
            self.finish_best(why="The run's budget is used up.")
        return self.board.finished

    # The end.

    def finish_best(self, *, stopped_by: StoppedBy | None = None, why: str = "") -> None:
        """End with the best answer so far: the chosen one, else whichever leads now.

        `why` says what is missing; a run that has a reason to give is not complete.
        """
        board = self.board
        if board.chosen is None:
            leader = count(board).leader
            self._finish(leader, leader, "best_so_far" if leader else "", stopped_by=stopped_by, why=why)
        else:
            chosen = board.answer(board.chosen)
            unpresented = "No presenter's text came." if board.phase == Phase.PRESENTATION else ""
            self._finish(chosen, chosen, board.rule, stopped_by=stopped_by, why=why or unpresented)

    def finish_presented(self, turn: Turn, event: AnswerGiven) -> None:
        """End with a presenter's text. Counts and groups stay those of the answers it was shown."""
        board = self.board
        final, rule = self._answer(turn, event), "presented" if turn.kind is TurnKind.PRESENT else "synthesis"
        chosen = next(answer for answer in board.answers if answer.id == board.chosen)
        self._finish(chosen, final, rule)
        self.put(answers=(*board.answers, final))

    def _finish(
        self,
        chosen: Answer | None,
        answer: Answer | None,
        rule: str,
        *,
        stopped_by: StoppedBy | None = None,
        why: str = "",
    ) -> None:
        stopped_by = stopped_by or ("deadline" if self._cut else self.board.stopped_by)
        self.put(stopped_by=stopped_by)
        outcome = outcome_of(self.board, chosen, answer, rule, why=why)
        self._stop_all()
        self.put(finished=True)
        self._commands.append(Finish(outcome=outcome))


def _with(mapping: Mapping[str, Value], key: str, value: Value) -> Mapping[str, Value]:
    return MappingProxyType({**mapping, key: value})
