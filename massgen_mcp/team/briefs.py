"""What an agent is told at the start of a turn, and what the turn may end in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from massgen_mcp.engine import Answer, AnswerId, Board, Turn, TurnKind
from massgen_mcp.messages import Brief, Message
from massgen_mcp.team.prompts import (
    ShownAnswer,
    answer_system,
    present_text,
    question_text,
    synthesis_text,
    vote_text,
)
from massgen_mcp.team.scrutiny import how_to_judge
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.spec import Attached, Earlier
from massgen_mcp.team.workflow import Wanted
from massgen_mcp.text import shorten

__all__ = ["Matter", "TurnBrief", "brief_turn", "handed_on", "shown_answers", "wanted_vote"]

_HINT = 200
"""Characters of an earlier question or answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """What the run is about, the same in every turn."""

    question: str
    context: str
    tag: str
    """The run's random fence."""
    attached: Attached = field(default_factory=Attached)
    earlier: Earlier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnBrief:
    """The conversation a turn begins with."""

    messages: tuple[Message, ...]
    wanted: Wanted
    labels: Mapping[str, AnswerId]
    """Every label shown -> the answer it stands for."""
    brief: Brief
    """The same for models without a chat template."""


def brief_turn(seat: Seat, turn: Turn, board: Board, matter: Matter) -> TurnBrief:
    """The conversation, the valid labels and the wanted end of a turn."""
    answers = [board.answer(answer_id) for answer_id in turn.shown]
    labels = {board.label(answer): answer.id for answer in answers}
    voting = turn.kind is TurnKind.VOTE
    wanted = wanted_vote(turn, board) if voting else Wanted(answer=True, others=tuple(labels))
    messages = [*seat.conversation] or _opening(seat, matter)
    if turn.kind is not TurnKind.ANSWER:
        messages.append(Message(role="user", text=_task(seat, turn, board, answers, wanted, matter)))
    kind = "vote" if voting else "answer" if turn.kind is TurnKind.ANSWER else "present"
    brief = Brief(
        kind=kind,
        question=_in_brief(matter),
        answers=tuple((board.label(answer), answer.conclusion, answer.content) for answer in answers),
    )
    return TurnBrief(messages=tuple(messages), wanted=wanted, labels=labels, brief=brief)


def wanted_vote(turn: Turn, board: Board) -> Wanted:
    """What a vote turn may end in, by what it shows now."""
    answers = [board.answer(answer_id) for answer_id in turn.shown]
    votable = tuple(board.label(answer) for answer in answers if answer.id in turn.votable)
    novelty = board.settings.novelty
    return Wanted(
        answer=turn.may_answer,
        labels=votable,
        others=tuple(board.label(answer) for answer in answers if answer.id not in turn.votable),
        taken=() if novelty is None else tuple((board.label(item), item.content) for item in answers),
        novelty=1.0 if novelty is None else novelty,
    )


def shown_answers(board: Board, answers: Sequence[Answer], reader: str) -> list[ShownAnswer]:
    """Answers as one reader sees them, its own marked."""
    return [
        ShownAnswer(label=board.label(answer), content=answer.content, own=answer.agent == reader)
        for answer in answers
    ]


def handed_on(turn: Turn, board: Board) -> tuple[str, str]:
    """Label and snapshot of the answer whose files a turn goes on from; empty for the agent's own.

    A presenter works on what the chosen answer's author made. Of a split neither side is preferred.
    """
    merges = turn.kind is TurnKind.SYNTHESIZE and board.settings.presentation == "synthesize"
    if board.chosen is None or not (merges or turn.kind is TurnKind.PRESENT):
        return "", ""
    chosen = board.answer(board.chosen)
    return board.label(chosen), "" if chosen.agent == turn.agent else chosen.snapshot or ""


def _in_brief(matter: Matter) -> str:
    """The question for a model that continues text; what it follows on is only hinted at."""
    if matter.earlier is None or not matter.earlier.exchanges:
        return matter.question
    last = matter.earlier.exchanges[-1]
    hint = f"{shorten(last.question, _HINT)} {shorten(last.answer, _HINT)}"
    return f"{' '.join(hint.split())}\n{matter.question}"


def _opening(seat: Seat, matter: Matter) -> list[Message]:
    system = answer_system(seat.spec.system_message, seat.spec.info.workflow)
    attached, earlier = matter.attached, matter.earlier
    images = attached.images if seat.spec.info.image_input else ()
    question = question_text(
        matter.question,
        matter.context,
        matter.tag,
        files=attached.texts.get(seat.spec.id, ""),
        images=len(images),
        earlier=earlier.exchanges if earlier else (),
        own=earlier.own.get(seat.spec.id, "") if earlier else "",
    )
    return [Message(role="system", text=system), Message(role="user", text=question, images=images)]


def _task(
    seat: Seat, turn: Turn, board: Board, answers: Sequence[Answer], wanted: Wanted, matter: Matter
) -> str:
    shown = shown_answers(board, answers, turn.agent)
    if turn.kind is TurnKind.VOTE:
        judge, improve = how_to_judge(seat.spec.scrutiny, turn.ballot)
        return vote_text(
            shown,
            wanted.labels,
            matter.tag,
            may_answer=turn.may_answer,
            judge=judge,
            improve=improve,
        )
    if turn.kind is TurnKind.SYNTHESIZE:
        split = board.settings.presentation != "synthesize"
        return synthesis_text(shown, matter.tag, split=split)
    ballot = [vote for vote in board.votes if vote.ballot == board.ballot]
    chosen = answers[0]
    reasons = [vote.reason for vote in ballot if vote.reason]
    add = sorted(
        {board.label(board.answer(extra)) for vote in ballot for extra in vote.add} - {board.label(chosen)}
    )
    unseen = [item for item, answer in zip(shown, answers, strict=True) if answer.id not in seat.seen]
    return present_text(unseen, reasons, board.label(chosen), add, matter.tag)
