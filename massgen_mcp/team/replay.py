"""A run's past: what its journal holds, used again in the order it was written.

A run that is taken up again is executed anew, with what it got then in place of the world: a journalled reply
is not requested again, a finished tool call not made again, and the engine is told the same events. Each
record is used when its turn in that order has come, so that agents hear of each other when they did. What
was begun and has no outcome was under way when the process died.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from massgen_mcp.engine import AnswerGiven, ToolLoopEntered, Turn, VoteCast
from massgen_mcp.errors import ReplayRefused
from massgen_mcp.journal.records import Record
from massgen_mcp.team.reading import LAST, PastEvent, Step, events_of, split, steps_of, under_way

__all__ = [
    "FELL_BACK",
    "NEWS",
    "NothingKnown",
    "Past",
    "PastTurn",
]

NEWS: Final = "NewsTold"
"""The notice that a turn has told its agent of new answers."""
FELL_BACK: Final = "FellBack"
"""The notice that another model has taken over for an agent: `agent`, `model`, and in `kind` why."""

_REPEATED = frozenset({"answer", "vote"})
"""Ends of turns whose conversation goes on; any other turn leaves no trace in it."""
_GIVEN = frozenset({"AnswerGiven", "VoteCast"})


class NothingKnown(Exception):
    """A turn that is over asks for more than the journal holds of it."""


@dataclass(slots=True, kw_only=True)
class PastTurn:
    """What the journal holds of one turn; of a new one nothing."""

    past: Past
    id: int
    started: Record | None = None
    ended: Record | None = None
    """Its `TurnEnded`."""
    told: frozenset[str] = frozenset()
    """Names of the events that it has told the engine."""
    given: AnswerGiven | VoteCast | None = None
    """The answer or vote it ended in."""
    inside: tuple[Step, ...] = ()
    """Tool calls that an agent runtime made within its turn."""
    steps: deque[Step] = field(default_factory=deque[Step])
    """What is still to be used."""
    news: dict[int, int] = field(default_factory=dict[int, int])
    """The number of each call after which its agent was told of new answers -> the record that says so."""
    heard: dict[int, int] = field(default_factory=dict[int, int])
    """The number of each request within which an agent runtime was told of them -> the last such record."""
    fell_back: deque[Record] = field(default_factory=deque[Record])
    """Its notices of a model that took over; once used again they are taken out."""
    last: int = 0
    """The highest number given to a call."""
    done: anyio.Event = field(default_factory=anyio.Event)
    """Set when it has been executed again."""

    @property
    def how(self) -> str:
        """What it ended in; empty while it had not."""
        return "" if self.ended is None else str(self.ended.body.get("how", ""))

    @property
    def over(self) -> bool:
        """Whether the engine has been told what it ended in, or has stopped it."""
        return bool(self.how or self.told & _GIVEN)

    @property
    def repeated(self) -> bool:
        """Whether it is executed again: to go on, or for the conversation it leaves."""
        return not self.how or self.how in _REPEATED

    @property
    def begun(self) -> bool:
        """Whether its agent had begun to work."""
        return self.last > 0

    def next(self, *, tool: bool) -> Step | None:
        """The next thing that was begun, if it is of that kind.

        Raises:
            ReplayRefused: it is of the other kind.
        """
        if not self.steps:
            return None
        if self.steps[0].is_tool is not tool:
            raise self.past.differs(f"turn {self.id} goes another way")
        return self.steps.popleft()

    @property
    def again(self) -> int | None:
        """The record of an agent runtime's turn that is run once more; None where there is none."""
        last = self.steps[-1] if self.steps else None
        return None if last is None or last.is_tool or last.outcome else last.started.seq

    async def told_news(self, call: int) -> bool:
        """Whether its agent was told of new answers after that call; true once all that was known then is."""
        if call not in self.news:
            return False
        await self.past.use(self.news[call])
        return True

    async def hears_news(self) -> bool:
        """Whether its agent, a runtime, was told of new answers within what it did next."""
        step = next((step for step in self.steps if step.outcome is not None), None)
        if step is None or step.number not in self.heard:
            return False
        await self.past.use(self.heard[step.number])
        return True

    async def outcome(self, step: Step) -> Record | None:
        """What came of it, when its turn in the order has come; None: it was under way at the end."""
        if step.outcome is not None:
            await self.past.use(step.outcome.seq)
        return step.outcome

    def open_requests(self) -> tuple[Step, ...]:
        """Those still to be used whose outcome nobody will know."""
        return tuple(step for step in self.steps if not step.is_tool and step.outcome is None)

    def leave(self) -> None:
        """It is executed no further: nothing waits for what is left of it."""
        if self.past.refused:
            return  # and nothing goes on from here
        outcomes = {step.outcome.seq for step in self.steps if step.outcome is not None}
        self.past.drop(outcomes | {*self.news.values(), *self.heard.values()})
        self.steps.clear()
        self.done.set()


class Past:
    """What a run's journal holds."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self._run_id = records[0].run_id if records else ""
        self._turns: dict[int, PastTurn] = {}
        self._stops: set[int] = set()
        self._used_up = anyio.Event()
        self._moved = anyio.Event()
        self._told: int | None = None
        self.refused = False
        """Whether it can't be used: then nothing more of it is."""
        for record in records:
            self._read(record)
        steps = steps_of(records)
        news = [record for record in records if record.body.get("event") == NEWS]
        events = events_of(records)
        for turn_id, turn in self._turns.items():
            top, turn.inside = split(steps.get(turn_id, ()))
            turn.steps = deque(top if turn.repeated else ())
            _sort_news(turn, [record for record in news if record.turn == turn_id], top)
            mine = [item.event for item in events if getattr(item.event, "turn", None) == turn_id]
            turn.told = frozenset(type(event).__name__ for event in mine)
            turn.given = next((event for event in mine if isinstance(event, AnswerGiven | VoteCast)), None)
            if not turn.repeated:
                turn.inside = tuple(steps.get(turn_id, ()))
                turn.done.set()
        self._events = deque(events)
        outcomes = (step.outcome for turn in self._turns.values() for step in turn.steps)
        order = [outcome.seq for outcome in outcomes if outcome is not None]
        for turn in self._turns.values():
            order += [*turn.news.values(), *turn.heard.values()] if turn.repeated else ()
        self._order = deque(sorted(order + [item.at for item in events if item.at < LAST]))
        self._skipped: set[int] = set()
        self._unmet = set(self._turns)
        self.notices = frozenset(type(item.event).__name__ for item in events)
        """Names of all events that the engine was told."""
        self._settle()

    def _read(self, record: Record) -> None:
        if record.turn is None:
            return
        turn = self._turns.setdefault(record.turn, PastTurn(past=self, id=record.turn))
        if record.kind == "TurnStarted":
            turn.started = record
        elif record.kind == "TurnEnded":
            turn.ended = record
        elif record.kind in {"CallStarted", "ToolStarted"}:
            turn.last = max(turn.last, record.call or 0)
        elif record.body.get("event") == FELL_BACK:
            turn.fell_back.append(record)

    def differs(self, how: str) -> ReplayRefused:
        """Why the run can't be taken up again. From here on it stands still."""
        self.refused = True
        return ReplayRefused(
            f"Run {self._run_id} can't be taken up where it stopped: {how} than when it began, since the "
            "team, its tools or this program have changed meanwhile. Nothing more was spent. What it has is "
            f'kept: ask a follow-up with continue_run="{self._run_id}".'
        )

    # Turns.

    def turn(self, turn: Turn) -> PastTurn:
        """What there is of a turn that the engine starts now.

        Raises:
            ReplayRefused: it started another one.
        """
        found = self._turns.get(turn.id)
        if found is None or found.started is None:
            if self._events:
                raise self.differs(f"turn {turn.id} was not begun")
            return found or PastTurn(past=self, id=turn.id)
        body = found.started.body
        same = body.get("agent") == turn.agent and body.get("kind") == str(turn.kind)
        if not same or list(body.get("shown", ())) != list(turn.shown):
            raise self.differs(f"turn {turn.id} is another")
        self._unmet.discard(turn.id)
        return found

    def ended(self, turn: int) -> Mapping[str, Any]:
        """How a turn ended, as it was written down; empty for one that had not."""
        found = self._turns.get(turn)
        return {} if found is None or found.ended is None else found.ended.body

    def stopped(self, turn: int) -> bool:
        """Whether that turn, which the engine stops now, was stopped then.

        Raises:
            ReplayRefused: it went on.
        """
        if self.ended(turn).get("how") == "stopped":
            return True
        if self._events:
            raise self.differs(f"turn {turn} was not stopped")
        return False

    # The order.

    async def use(self, seq: int) -> None:
        """Wait until everything before that record has been used. From here on it has been, too."""
        while self._order and self._order[0] < seq:
            await self._moved.wait()
        self._move(seq)

    def drop(self, seqs: Iterable[int]) -> None:
        """Nobody will use these."""
        self._skipped |= set(seqs)
        self._settle()

    def _move(self, seq: int) -> None:
        if self._order and self._order[0] == seq:
            self._order.popleft()
        self._settle()

    def _settle(self) -> None:
        if self.refused:
            return
        while self._order and self._order[0] in self._skipped:
            self._order.popleft()
        moved, self._moved = self._moved, anyio.Event()
        moved.set()
        if not self._order and not self._events:
            self._used_up.set()

    async def over(self) -> None:
        """Wait until all of it has been used: from then on the run is live again."""
        await self._used_up.wait()

    @property
    def is_over(self) -> bool:
        """Whether the run is live."""
        return self._used_up.is_set()

    # Events.

    async def next_event(self) -> PastEvent | None:
        """What the engine was told next, once it is its turn; None: it was told no more.

        An event counts as used when the next one is asked for: by then it has been dealt with.

        Raises:
            ReplayRefused: the engine did not start the turn that it came from.
        """
        if self._told is not None:
            told, self._told = self._told, None
            self._move(told)
        if not self._events:
            if self._unmet and self._turns:
                self._check_met()
            return None
        item = self._events[0]
        source = getattr(item.event, "turn", None)
        if source in self._unmet:
            raise self.differs(f"turn {source} was never begun")
        while self._order and self._order[0] < item.at:
            await self._moved.wait()
        if source is not None and not isinstance(item.event, ToolLoopEntered):
            await self._turns[source].done.wait()
        self._events.popleft()
        if item.at < LAST:
            self._told = item.at
        else:
            self._settle()
        return item

    def _check_met(self) -> None:
        unmet = {turn for turn in self._unmet if self._turns[turn].started is not None}
        self._unmet.clear()
        if unmet:
            raise self.differs(f"turn {min(unmet)} was never begun")


def _sort_news(turn: PastTurn, news: Sequence[Record], top: Sequence[Step]) -> None:
    """What was told between two steps, and what within one: of a cut off one it is told again."""
    for record in news:
        last = next((step for step in reversed(top) if step.started.seq < record.seq), None)
        if last is None or not under_way(last, record.seq):
            turn.news[record.call or 0] = record.seq
        elif last.outcome is not None:
            turn.heard[last.number] = record.seq
