"""Seeded walks over both strategies: whatever agents, clocks and networks do, a run keeps its promises."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache

import pytest

from massgen_mcp.engine import (
    Abstained,
    AgentFailed,
    AnswerGiven,
    AnsweringClosed,
    Board,
    BudgetStopped,
    CancelRequested,
    Command,
    Event,
    Finish,
    Member,
    Notify,
    Outcome,
    RoundDeadline,
    RunDeadline,
    Settings,
    StartTurn,
    StopTurn,
    ToolLoopEntered,
    Turn,
    TurnKind,
    VoteCast,
    strategy,
)

# What the engine does, the tables of the other files cover.
pytestmark = pytest.mark.no_cover

WALKS = 250
both = pytest.mark.parametrize("name", ["auto", "vote"])


@dataclass
class Walk:
    """One run with a will of its own, and what is known of it from its commands alone."""

    name: str
    seed: int
    events: list[Event] = field(default_factory=list[Event])
    steps: list[tuple[Command, ...]] = field(default_factory=list[tuple[Command, ...]])
    running: dict[str, Turn] = field(default_factory=dict[str, Turn])
    past: list[Turn] = field(default_factory=list[Turn])
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    noise: int = 0
    """Late, duplicate and failed events."""

    def __post_init__(self) -> None:
        self.random = seeded(f"{self.name}/{self.seed}")
        self.strategy = strategy(self.name)
        self.opening = self.board = opening_board(self.random)

    def run(self) -> None:
        """From the start to the end, and a little beyond."""
        step = self.strategy.start(self.board)
        self.obey(step.board, step.commands)
        while not self.outcomes:
            self.tell(self.next_event())
        for _ in range(3):
            before = self.board
            event = late_event(self.random, self.past)
            assert self.strategy.receive(before, event).board is before
            assert self.strategy.receive(before, event).commands == ()

    def tell(self, event: Event) -> None:
        self.events.append(event)
        turn = self.running.get(getattr(event, "agent", ""))
        stale = turn is None or turn.id != getattr(event, "turn", 0)
        before, step = self.board, self.strategy.receive(self.board, event)
        if isinstance(event, AnswerGiven | VoteCast | Abstained | AgentFailed | ToolLoopEntered):
            self.noise += stale or isinstance(event, AgentFailed)
            if stale:
                assert step.board is before
                assert step.commands == ()
            elif not isinstance(event, ToolLoopEntered):
                del self.running[event.agent]
        self.check_votes(before, step.board)
        self.obey(step.board, step.commands)

    def obey(self, board: Board, commands: tuple[Command, ...]) -> None:
        """Do what a pump would, and check that it can be done."""
        for command in commands:
            assert not self.outcomes, "a command after Finish"
            match command:
                case StartTurn(turn=turn):
                    self.start(board, turn)
                case StopTurn(agent=agent, turn=turn):
                    assert self.running.pop(agent).id == turn
                case Notify(agent=agent, turn=turn, shown=shown, new=new):
                    assert self.running[agent].id == turn
                    assert set(new) <= set(shown)
                    self.running[agent] = board.turns[agent]
                case Finish(outcome=outcome):
                    self.outcomes.append(outcome)
        self.steps.append(commands)
        self.board = board
        assert board.finished == bool(self.outcomes)
        assert bool(self.running) != board.finished
        assert {agent: turn.id for agent, turn in self.running.items()} == {
            agent: turn.id for agent, turn in board.turns.items()
        }

    def start(self, board: Board, turn: Turn) -> None:
        assert turn.agent not in board.failed
        assert turn.agent not in self.running
        assert turn.id == len(self.past) + 1
        assert set(turn.votable) <= set(turn.shown)
        assert bool(turn.votable) == (turn.kind is TurnKind.VOTE)
        shown = () if turn.kind is TurnKind.ANSWER else (answer.id for answer in board.current)
        assert sorted(turn.shown) == sorted(shown)
        self.running[turn.agent] = turn
        self.past.append(turn)

    def check_votes(self, before: Board, after: Board) -> None:
        for vote in after.votes[len(before.votes) :]:
            turn = before.turns[vote.voter]
            assert vote.answer in turn.votable
            assert vote.ballot == turn.ballot
            # Who is not told of new answers may still vote on those it was shown.
            assert turn.ballot == before.ballot or not before.settings.tell_news
            assert {*vote.add} <= {*turn.shown}
        ballots = [(vote.voter, vote.ballot) for vote in after.votes]
        assert len(set(ballots)) == len(ballots)

    def next_event(self) -> Event:
        lot = self.random.random()
        if lot < 0.38:
            running = {turn.id for turn in self.running.values()}
            return late_event(self.random, [turn for turn in self.past if turn.id not in running])
        if lot < 0.46 and self.events:
            return self.random.choice(self.events[-4:])
        if lot < 0.48:
            return self.random.choice(
                [RoundDeadline(round=self.random.randint(0, 4)), AnsweringClosed(), BudgetStopped()]
            )
        if lot < 0.484:
            return self.random.choice([RunDeadline(), CancelRequested()])
        turn = self.board.turns[self.random.choice(sorted(self.running))]
        return event_of(self.random, turn, self.board)


def seeded(purpose: str) -> random.Random:
    return random.Random(purpose)


def opening_board(chance: random.Random) -> Board:
    """Any team with any settings."""
    members = [Member(id=name, weight=chance.choice([1, 1, 1, 0.5, 3])) for name in "abcdef"]
    size = chance.choice([1, 2, 3, 4, 5, 6, 6, 6, 6])
    return Board.begin(
        members[:size],
        Settings(
            seed=chance.randrange(1000),
            quorum=chance.choice([None, None, None, 2, 3]),
            exclude_self=chance.choice([None, None, True, False]),
            merge_equal=chance.random() < 0.8,
            min_agents=chance.choice([1, 1, 1, min(2, size)]),
            presentation=chance.choice(["winner", "winner", "reuse", "synthesize"]),
            present_always=chance.random() < 0.2,
            presenter=chance.choice([None, None, "a", "d"]),
            max_answers=chance.choice([1, 2, 3, 4]),
            max_answers_global=chance.choice([None, None, 5, 9]),
            lead=chance.choice([None, None, 1, 2]),
            tell_news=chance.random() < 0.7,
            max_news=chance.choice([None, None, 1, 2]),
            max_rounds=chance.choice([None, None, None, 2, 3]),
            dissent=chance.random() < 0.8,
            skip_voting=chance.random() < 0.05,
        ),
    )


def event_of(chance: random.Random, turn: Turn, board: Board) -> Event:
    """What a running turn may report: now and then it slips, fails or repeats a peer."""
    agent, lot = turn.agent, chance.random()
    if lot < 0.05:
        return AgentFailed(agent=agent, turn=turn.id, error="down")
    if lot < 0.10:
        return Abstained(agent=agent, turn=turn.id, why="text")
    if lot < 0.40 and not turn.in_tools:
        return ToolLoopEntered(agent=agent, turn=turn.id)
    if turn.kind is TurnKind.VOTE and lot < 0.80:
        answer = chance.choice(turn.votable if lot < 0.75 else turn.shown)
        return VoteCast(agent=agent, turn=turn.id, answer=answer, add=tuple(chance.sample(turn.shown, 1)))
    known = [answer.content for answer in board.current] or ["first"]
    content = chance.choice(known) if lot > 0.95 else f"{agent} {turn.id}"
    return AnswerGiven(agent=agent, turn=turn.id, content=content, conclusion=chance.choice("stuvwxyz"))


def late_event(chance: random.Random, over: list[Turn]) -> Event:
    """A report of some turn that is over, or never was."""
    never = Turn(id=999, agent="a", kind=TurnKind.VOTE)
    turn = chance.choice([*over, never])
    agent, number = turn.agent, turn.id
    return chance.choice(
        [
            AnswerGiven(agent=agent, turn=number, content="late", conclusion="x"),
            VoteCast(agent=agent, turn=number, answer="a.1"),
            Abstained(agent=agent, turn=number, why="late"),
            AgentFailed(agent=agent, turn=number, error="late"),
            ToolLoopEntered(agent=agent, turn=number),
        ]
    )


@cache
def walks(name: str) -> list[Walk]:
    found: list[Walk] = []
    for seed in range(WALKS):
        walk = Walk(name, seed)
        try:
            walk.run()
        except Exception as error:
            error.add_note(f"{name}, seed {seed}: {walk.events}")
            raise
        found.append(walk)
    return found


@both
def test_every_walk_ends_in_exactly_one_outcome(name: str) -> None:
    found = walks(name)
    for walk in found:
        (outcome,) = walk.outcomes
        check_outcome(walk, outcome)
    events = sum(len(walk.events) for walk in found)
    assert events / len(found) >= 15
    assert sum(walk.noise for walk in found) / events >= 0.10
    assert {walk.outcomes[0].status for walk in found} == {"completed", "partial", "failed", "cancelled"}
    assert {walk.outcomes[0].stopped_by for walk in found} == {"decided", "deadline", "budget", "cancelled"}


def check_outcome(walk: Walk, outcome: Outcome) -> None:
    board = walk.board
    assert (outcome.answer is None) == (not board.answers), "the best answer so far always comes back"
    assert (outcome.answer is None) <= bool(outcome.why)
    if outcome.answer:
        assert outcome.answer in board.answers
        assert outcome.rule
        assert outcome.winner in {member.id for member in board.members}
        assert outcome.status != "failed"
        assert outcome.answer.id not in outcome.dissent
    if outcome.status == "completed":
        assert not board.failed
        assert outcome.stopped_by == "decided"
    assert (outcome.status == "cancelled") == (outcome.stopped_by == "cancelled")
    assert outcome.stopped_by == board.stopped_by


@both
def test_the_number_of_turns_is_bounded(name: str) -> None:
    for walk in walks(name):
        size, turns = len(walk.board.members), len(walk.past)
        if name == "auto":
            assert turns <= 2 * size + 1
        else:
            ballots = 1 + size * walk.board.settings.max_answers
            assert turns <= size + ballots * size + 1
            if walk.board.ballot <= 1:
                assert turns <= 2 * size + 1


@both
def test_a_run_can_be_replayed_from_its_events(name: str) -> None:
    for walk in walks(name):
        again = strategy(name)
        step = again.start(walk.opening)
        steps = [step.commands]
        for event in walk.events:
            step = again.receive(step.board, event)
            steps.append(step.commands)
        assert steps == walk.steps
        assert step.board == walk.board


@both
def test_the_order_in_which_votes_come_in_does_not_change_the_winner(name: str) -> None:
    for seed in range(WALKS // 2):
        chance = seeded(f"order/{name}/{seed}")
        board = answered_board(name, chance)
        if board.finished:
            continue
        reports = [event_of_ballot(chance, turn) for turn in board.turns.values()]
        winners = {chosen(name, board, order) for order in orders(chance, reports)}
        assert len(winners) == 1, (seed, reports)


def answered_board(name: str, chance: random.Random) -> Board:
    """Two to six agents that have answered; finished where they agreed."""
    agents = "abcdef"[: chance.randint(2, 6)]
    members = [Member(id=agent, weight=chance.choice([1, 1, 0.1, 0.2, 2])) for agent in agents]
    again = strategy(name)
    step = again.start(Board.begin(members, Settings(seed=chance.randrange(99), max_answers=1)))
    for turn in list(step.board.turns.values()):
        said = chance.choice("xyz")
        event = AnswerGiven(agent=turn.agent, turn=turn.id, content=turn.agent, conclusion=said)
        step = again.receive(step.board, event)
    return step.board


def event_of_ballot(chance: random.Random, turn: Turn) -> Event:
    lot = chance.random()
    if lot < 0.1:
        return AgentFailed(agent=turn.agent, turn=turn.id, error="down")
    if lot < 0.2:
        return Abstained(agent=turn.agent, turn=turn.id, why="text")
    return VoteCast(agent=turn.agent, turn=turn.id, answer=chance.choice(sorted(turn.votable)))


def orders(chance: random.Random, reports: list[Event]) -> list[list[Event]]:
    return [reports, reports[::-1], *(chance.sample(reports, len(reports)) for _ in range(4))]


def chosen(name: str, board: Board, reports: list[Event]) -> str | None:
    again = strategy(name)
    for event in reports:
        board = again.receive(board, event).board
    return board.chosen


def test_the_order_of_blind_answers_does_not_change_the_outcome() -> None:
    auto = strategy("auto")
    for seed in range(WALKS // 2):
        chance = seeded(f"answers/{seed}")
        step = auto.start(Board.begin([Member(id=agent) for agent in "abcd"], Settings(seed=seed)))
        given: list[Event] = [
            AnswerGiven(agent=turn.agent, turn=turn.id, content=turn.agent, conclusion=chance.choice("xy"))
            for turn in step.board.turns.values()
        ]
        ends: list[tuple[Command, ...]] = []
        for order in orders(chance, given):
            board, commands = step.board, step.commands
            for event in order:
                board, commands = (after := auto.receive(board, event)).board, after.commands
            ends.append(commands)
        assert all(commands == ends[0] for commands in ends)
