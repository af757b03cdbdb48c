"""What a question would cost, before it is asked.

A typical question is assumed, and one request for each turn: 1,500 tokens in and 1,000 out for a blind
answer; who reads all answers takes in 2,000 tokens and 1,000 for each of them, and a vote is 200 tokens. A
turn takes 20 to 40 seconds. Tool calls, files and long reasoning make more of it: the most that can be spent
is in the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.usage import Usage

__all__ = [
    "ASSUMES",
    "Course",
    "Members",
    "Turns",
    "course_of",
    "expected",
    "expected_seconds",
    "expected_usd",
]

ASSUMES = (
    "1,500 tokens of question and prompt, answers of 1,000, one request a turn of 20 to 40 s; tools, files "
    "and long reasoning use more"
)
_ANSWER = Usage(requests=1, input=1_500, output=1_000)
_TURN_SECONDS = (20, 40)

Members: TypeAlias = Sequence[tuple[str, BackendInfo, Options]]
"""Id, row and backend block of each agent that takes part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """What a run is made of."""

    answers: int = 1
    """Of each agent, the first of them blind."""
    votes: int = 0
    """Of each agent."""
    writers: int = 0
    """Turns of one agent alone: a presenter, a comparator."""

    def requests(self, agents: int) -> int:
        """How many model requests they are."""
        return agents * (self.answers + self.votes) + self.writers

    @property
    def in_sequence(self) -> int:
        """How many come one after the other."""
        return self.answers + self.votes + self.writers


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The shortest and the longest that a typical run takes."""

    least: Turns
    most: Turns


_ANSWERED = Turns()
_VOTED = Turns(votes=1)
_PRESENTED = Turns(votes=1, writers=1)
_COURSES: Mapping[str, Course] = MappingProxyType(
    {
        "auto": Course(least=_ANSWERED, most=_PRESENTED),
        # At most there is one ballot more, since somebody has handed in a better answer.
        "vote": Course(least=_PRESENTED, most=Turns(votes=2, writers=1)),
        "synthesize": Course(least=Turns(writers=2), most=Turns(writers=2)),
        "refine": Course(least=Turns(answers=2), most=Turns(answers=2, votes=1)),
        "best_of": Course(least=_ANSWERED, most=_VOTED),
        "verify": Course(least=_ANSWERED, most=_VOTED),
        "review": Course(least=Turns(writers=1), most=Turns(writers=1)),
        "cascade": Course(least=Turns(answers=0, writers=1), most=_ANSWERED),
        "decompose": Course(least=Turns(writers=2), most=Turns(writers=2)),
    }
)


def course_of(strategy: str, agents: int, *, presents: bool | None = None, votes: bool = True) -> Course:
    """What a typical run of so many agents does; one agent alone answers, and that is all.

    Args:
        strategy: its name.
        agents: how many take part.
        presents: whether somebody always writes at the end, or nobody does; None: as the strategy has it.
        votes: whether there is a vote.
    """

    def fitted(turns: Turns) -> Turns:
        writers = turns.writers
        if presents is not None:
            writers = max(1, writers) if presents else 0
        return replace(turns, votes=turns.votes if votes else 0, writers=writers)

    course = _COURSES[strategy] if agents > 1 else Course(least=_ANSWERED, most=_ANSWERED)
    if agents == 1 and not presents:
        return course
    return Course(least=fitted(course.least), most=fitted(course.most))


async def expected(members: Members, course: Course, prices: Prices) -> dict[str, Any]:
    """What a typical question needs: each figure as the least and the most.

    An agent's own part is without what only one of all writes. Those whose price is not known are named in
    `no_price`, and are in no figure of dollars.
    """
    count, ends = len(members), (course.least, course.most)
    rows: list[dict[str, Any]] = []
    total, writers = [0.0, 0.0], list[float]()
    no_price: list[str] = []
    for name, info, options in members:
        costs = [(await prices.cost(info, options, _part(turns, count)))[0] for turns in ends]
        writing, _ = await prices.cost(info, options, _reading(count, output=_ANSWER.output))
        known = [cost for cost in costs if cost is not None]
        if writing is None or len(known) < len(ends):
            no_price.append(name)
            continue
        rows.append({"id": name, "usd": [_rounded(cost) for cost in known]})
        total = [sum(pair) for pair in zip(total, known, strict=True)]
        writers.append(writing)
    used = [_whole(turns, count).tokens for turns in ends]
    found: dict[str, Any] = {
        "requests": [turns.requests(count) for turns in ends],
        "tokens": used,
        "seconds": expected_seconds(course),
    }
    if rows:
        least = total[0] + course.least.writers * min(writers)
        most = total[1] + course.most.writers * max(writers)
        found |= {"usd": [_rounded(least), _rounded(most)], "agents": rows}
    return found | ({"no_price": no_price} if no_price else {}) | {"assumes": ASSUMES}


def expected_seconds(course: Course) -> list[int]:
    """How long a typical run takes."""
    short, long = _TURN_SECONDS
    return [short * course.least.in_sequence, long * course.most.in_sequence]


async def expected_usd(agents: Iterable[tuple[BackendInfo, Options]], prices: Prices) -> float | None:
    """US dollars for a typical question with one ballot; None as soon as one price is not known."""
    members = list(agents)
    turns = _VOTED if len(members) > 1 else _ANSWERED
    total = 0.0
    for info, options in members:
        cost, _ = await prices.cost(info, options, _part(turns, len(members)))
        if cost is None:
            return None
        total += cost
    return round(total, 4)


def _part(turns: Turns, agents: int) -> Usage:
    """What each agent uses."""
    parts = [_ANSWER if number == 0 else _reading(agents, output=1_000) for number in range(turns.answers)]
    parts += [_reading(agents, output=200)] * turns.votes
    return sum(parts, Usage())


def _whole(turns: Turns, agents: int) -> Usage:
    """What all use together."""
    parts = [_part(turns, agents)] * agents
    parts += [_reading(agents, output=_ANSWER.output)] * turns.writers
    return sum(parts, Usage())


def _reading(agents: int, *, output: int) -> Usage:
    """Of a turn that begins with the answers of all."""
    return Usage(requests=1, input=2_000 + 1_000 * agents, output=output)


def _rounded(usd: float) -> float:
    return round(usd, 4)
