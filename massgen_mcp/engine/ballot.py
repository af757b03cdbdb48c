"""Counting a ballot: groups of equal answers, their weights, who leads, and whether that can still change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum

from massgen_mcp.engine.board import AgentId, Answer, AnswerId, Board, Vote
from massgen_mcp.engine.conclusions import group_answers

__all__ = ["Standing", "Tally", "count", "is_clear", "is_decided", "wanted_addition"]

_CLEAR_MARGIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One group of equal answers in a count, its own leader first."""

    answers: tuple[Answer, ...]
    weight: float
    """What the votes for any of its answers weigh together."""
    voters: frozenset[AgentId]

    @property
    def authors(self) -> frozenset[AgentId]:
        """Whose answers these are."""
        return frozenset(answer.agent for answer in self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The current answers and votes, counted. Best group first; none before any answer."""

    standings: tuple[Standing, ...]
    votes: tuple[Vote, ...]

    @property
    def leader(self) -> Answer | None:
        """The answer with most votes in the group with most; of equals, see `count`."""
        return self.standings[0].answers[0] if self.standings else None

    def margin(self, answer: AnswerId) -> float:
        """What the votes for an answer's group weigh above those for the best other group."""
        own = max(standing.weight for standing in self.standings if _has(standing.answers, answer))
        others = [standing.weight for standing in self.standings if not _has(standing.answers, answer)]
        return round(own - max(others, default=0.0), 9)


def count(board: Board) -> Tally:
    """The current ballot, by plurality of groups.

    Of equal groups or answers the one leads whose author failed less often, then config order; while there
    is no vote at all, the largest group. Nothing depends on the order in which votes came in.
    """
    votes = tuple(vote for vote in board.votes if vote.ballot == board.ballot)
    places = {member.id: place for place, member in enumerate(board.members)}

    def rank(answer: Answer) -> tuple[float, int, int]:
        own = _weight(board, (vote.voter for vote in votes if vote.answer == answer.id))
        return -own, board.failures.get(answer.agent, 0), places[answer.agent]

    def standing(group: Iterable[Answer]) -> Standing:
        answers = tuple(sorted(group, key=rank))
        voters = frozenset(vote.voter for vote in votes if _has(answers, vote.answer))
        return Standing(answers=answers, weight=_weight(board, voters), voters=voters)

    def order(found: Standing) -> tuple[float, int, int, int]:
        _, failures, place = rank(found.answers[0])
        return -found.weight, 0 if votes else -len(found.answers), failures, place

    groups = group_answers(board.current, merge=board.settings.merge_equal)
    return Tally(standings=tuple(sorted(map(standing, groups), key=order)), votes=votes)


def is_clear(board: Board, tally: Tally) -> bool:
    """Whether all live agents but the leading group's authors chose it, or it leads by two votes."""
    leader = tally.standings[0]
    margin = tally.margin(leader.answers[0].id)
    others = set(board.live) - leader.authors
    return margin >= _CLEAR_MARGIN or (margin > 0 and others <= leader.voters)


def wanted_addition(tally: Tally) -> AnswerId | None:
    """The answer, other than the leader, that at least half of the votes name as holding what is lacking."""
    leader = tally.standings[0].answers[0].id
    named = Counter(extra for vote in tally.votes for extra in {*vote.add} - {leader})
    extra, times = min(named.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
    return extra if times and 2 * times >= len(tally.votes) else None


def is_decided(board: Board, tally: Tally) -> bool:
    """Whether no running turn can hand in an answer or a vote that makes another answer win.

    A lead must hold against all outstanding votes without a tie: ties are broken by failures, which an
    outstanding turn can still add. A turn on an older ballot is followed by one on this.
    """
    if any(turn.may_answer or turn.ballot != board.ballot for turn in board.turns.values()):
        return False
    first, *rest = tally.standings
    best, *equal = first.answers
    return all(first.weight > other.weight + _outstanding(board, other.answers) for other in rest) and all(
        _own(board, tally, best) > _own(board, tally, other) + _outstanding(board, (other,))
        for other in equal
    )


def _has(answers: Iterable[Answer], wanted: AnswerId) -> bool:
    return any(answer.id == wanted for answer in answers)


def _weight(board: Board, voters: Iterable[AgentId]) -> float:
    """Exact to nine digits, so that it does not depend on the order of adding."""
    weights = {member.id: member.weight for member in board.members}
    return round(fsum(weights[voter] for voter in voters), 9)


def _own(board: Board, tally: Tally, answer: Answer) -> float:
    return _weight(board, (vote.voter for vote in tally.votes if vote.answer == answer.id))


def _outstanding(board: Board, answers: Iterable[Answer]) -> float:
    """What the running turns may still give to these answers."""
    ids = {answer.id for answer in answers}
    return _weight(board, (agent for agent, turn in board.turns.items() if ids & {*turn.votable}))
