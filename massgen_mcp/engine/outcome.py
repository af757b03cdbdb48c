"""How a run ended."""

from __future__ import annotations

from dataclasses import dataclass

from massgen_mcp.engine.ballot import Tally, count
from massgen_mcp.engine.board import AgentId, Answer, AnswerId, Board, Status, StoppedBy, Vote

__all__ = ["Outcome", "outcome_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    status: Status
    stopped_by: StoppedBy = "decided"
    answer: Answer | None = None
    """The text to return; None when no agent answered."""
    winner: AgentId | None = None
    """Whose answer won; for a synthesis, its writer."""
    rule: str = ""
    """Why this answer: `agreement`, `quorum`, `ballot`, `presented`, `synthesis`, `only_answer`,
    `single_agent`, `best_so_far`, `unvoted` (no vote was cast: the largest group, then config order)."""
    margin: float = 0.0
    """Weight of the winning group's votes above the runner-up's."""
    votes: tuple[Vote, ...] = ()
    """The votes of the ballot that decided."""
    merged: tuple[tuple[AnswerId, ...], ...] = ()
    """Groups of two or more answers with equal conclusions."""
    dissent: tuple[AnswerId, ...] = ()
    """The latest answers of other groups than the winner's."""
    saved: int = 0
    """Turns that were stopped or never started since they could not change the outcome."""
    why: str = ""
    """One sentence for a person, needed when `answer` is None."""


def outcome_of(board: Board, chosen: Answer | None, answer: Answer | None, rule: str, *, why: str) -> Outcome:
    """What a run comes to.

    Args:
        board: as it is when the run ends, before a presenter's text is on it: so counts and groups are those
            of the answers that were voted on.
        chosen: the answer that won.
        answer: the text to return, of a presenter or the chosen one itself.
        rule: see `Outcome.rule`.
        why: what is missing; a run that has a reason to give is not complete.
    """
    tally = count(board)
    groups = [tuple(found.id for found in standing.answers) for standing in tally.standings]
    winner = answer if rule == "synthesis" else chosen
    return Outcome(
        status=_status(board, answer, why),
        stopped_by=board.stopped_by,
        answer=answer,
        winner=winner.agent if winner else None,
        rule=rule,
        margin=tally.margin(chosen.id) if chosen else 0.0,
        votes=tally.votes,
        merged=tuple(group for group in groups if len(group) > 1),
        dissent=_dissent(tally, chosen, writer=winner.agent if winner and rule == "synthesis" else None)
        if board.settings.dissent
        else (),
        saved=board.saved,
        why=why,
    )


def _dissent(tally: Tally, chosen: Answer | None, *, writer: AgentId | None) -> tuple[AnswerId, ...]:
    """Who differs from the answer that won; not the writer of a synthesis, who has said so in it."""
    return tuple(
        found.id
        for standing in tally.standings
        if chosen and chosen not in standing.answers
        for found in standing.answers
        if found.agent != writer
    )


def _status(board: Board, answer: Answer | None, why: str) -> Status:
    if board.stopped_by == "cancelled":
        return "cancelled"
    if answer is None:
        return "failed"
    whole = len(board.current) == len(board.members) and not board.failed
    return "completed" if whole and board.stopped_by == "decided" and not why else "partial"
