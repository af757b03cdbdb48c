"""200 schedules of whole runs with all five ports scripted: clock, model, tools, journal, chance.

Each seed makes another team, with other delays, failures, slips, tools, limits and cancellations. Whatever
happens, a run ends once, keeps its books, and can be replayed from its journal alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast

import anyio
import pytest

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import ScriptedClock
from massgen_mcp.engine import (
    Abstained,
    AgentFailed,
    AnswerGiven,
    AnsweringClosed,
    Board,
    BudgetStopped,
    CancelRequested,
    Event,
    Finish,
    Member,
    RoundDeadline,
    RunDeadline,
    Settings,
    ToolLoopEntered,
    VoteCast,
    strategy,
)
from massgen_mcp.errors import BackendError
from massgen_mcp.journal import MemoryJournal, Record, RunLog
from massgen_mcp.messages import Delta, Reply, Request, TextDelta, ToolCall, ToolResult, ToolSpec
from massgen_mcp.team import AgentSpec, Ended, EventLog, Limits, Ports, TeamRun, TeamSpec
from massgen_mcp.tools.toolset import NoTools, Toolset
from massgen_mcp.usage import CostSource, Usage
from tests.teams import workshop_of

# What a run does, others cover: here it is done 200 times.
pytestmark = [pytest.mark.anyio, pytest.mark.no_cover]

SCHEDULES, BLOCKS = 200, 4
ROW = BackendInfo(type="scripted", title="Scripted", vendor="test", module="scripted", hidden=True)
LOOK = ToolSpec(
    name="look", description="Look something up.", parameters={"type": "object", "properties": {}}
)


class Model:
    """A model that does something else each time, by the schedule's chance."""

    def __init__(self, agent: str, clock: ScriptedClock, chance: Random) -> None:
        self.info = ROW
        self.model = f"{agent}-model"
        self.sent = 0
        self.at_once = 0
        self._clock = clock
        self._chance = chance

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        self.sent += 1
        self.at_once += 1
        assert self.at_once == 1
        try:
            yield self._deltas(request)
        finally:
            self.at_once -= 1

    async def _deltas(self, request: Request) -> AsyncIterator[Delta]:
        await self._clock.sleep(self._chance.expovariate(1 / 8))
        yield TextDelta(text="thinking ")
        await self._clock.sleep(self._chance.expovariate(1 / 8))
        if self._chance.random() < 0.12:
            kind = self._chance.choice(["auth", "overloaded", "rate_limit", "network", "protocol"])
            retryable = kind != "auth"
            raise BackendError(f"scripted {kind}", kind=cast("Any", kind), retryable=retryable)
        yield self._reply(request)

    def _reply(self, request: Request) -> Reply:
        usage = Usage(requests=1, input=100, output=20)
        shown = [label for label, _, _ in request.brief.answers] if request.brief else []
        act = self._chance.random()
        if act < 0.1:
            return Reply(text=f"Answer: {self._chance.randint(1, 3)}", usage=usage)
        if act < 0.2:
            return Reply(calls=(call("look", {}),), usage=usage)
        if act < 0.27:
            return Reply(calls=(ToolCall(id="x", name="vote", arguments="{"),), usage=usage)
        if shown and act < 0.85:
            label = self._chance.choice([*shown, "agent9.9"])
            return Reply(calls=(call("vote", {"answer": label, "reason": "r", "add": shown}),), usage=usage)
        value = self._chance.randint(1, 4)
        return Reply(
            calls=(call("new_answer", {"content": f"It is {value}.", "conclusion": str(value)}),), usage=usage
        )

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


class Tools(NoTools):
    """One tool that takes its time."""

    specs: tuple[ToolSpec, ...] = (LOOK,)

    def __init__(self, clock: ScriptedClock, chance: Random) -> None:
        self._clock = clock
        self._chance = chance

    def idempotent(self, name: str) -> bool:
        return name == "look"

    async def call(self, call: ToolCall) -> ToolResult:
        await self._clock.sleep(self._chance.uniform(0, 20))
        return ToolResult(call_id=call.id, content="seen", is_error=self._chance.random() < 0.2)


class OnePrice:
    async def cost(
        self, info: BackendInfo, options: Options, usage: Usage, *, served: str = ""
    ) -> tuple[float | None, CostSource]:
        del info, options, served
        return usage.tokens / 100_000, "table"


def call(name: str, arguments: object) -> ToolCall:
    return ToolCall(id=f"{name}-1", name=name, arguments=json.dumps(arguments))


class Schedule:
    """One seed's world."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.clock = ScriptedClock()
        self.journal = MemoryJournal(clock=self.clock)
        self.models: dict[str, Model] = {}
        pick = self.chance
        self.settings = Settings(
            seed=seed,
            quorum=pick.choice([None, None, 2]),
            exclude_self=pick.choice([None, True, False]),
            min_agents=pick.choice([1, 1, 2]),
            presentation=pick.choice(["winner", "reuse", "synthesize"]),
            present_always=pick.random() < 0.2,
            max_answers=pick.choice([1, 2, 3]),
            skip_voting=pick.random() < 0.1,
        )
        self.limits = Limits(
            seconds=pick.choice([30.0, 120.0, 600.0]),
            first_round_seconds=pick.choice([None, 25.0]),
            round_seconds=pick.choice([None, 25.0]),
            tokens=pick.choice([None, 20_000, 200_000]),
            requests=pick.choice([None, 4, 30]),
            usd=pick.choice([None, 0.2, 5.0]),
        )
        self.spec = TeamSpec(
            question="How many?",
            agents=tuple(
                AgentSpec(
                    id=name,
                    info=ROW,
                    options=Options(type="scripted"),
                )
                for name in "abcde"[: pick.randint(1, 5)]
            ),
            strategy=pick.choice(["auto", "vote"]),
            settings=self.settings,
            limits=self.limits,
        )
        self.cancel_after = pick.choice([None, None, None, 10.0, 40.0])

    async def open_backend(self, spec: AgentSpec, tools: Toolset) -> Backend:
        await self.clock.sleep(self.chance.uniform(0, 1))
        if self.chance.random() < 0.05:
            raise BackendError("its package is missing", kind="unavailable", connected=False)
        model = self.models[spec.id] = Model(spec.id, self.clock, self.chance)
        return model

    async def run(self) -> tuple[Ended, TeamRun, list[Record]]:
        log: RunLog = await self.journal.begin("run", question="How many?", team="t", body={})
        ports = Ports(
            clock=self.clock,
            random=self.chance,
            open_backend=self.open_backend,
            open_workshop=workshop_of(
                {agent.id: Tools(self.clock, self.chance) for agent in self.spec.agents}
            ),
        )
        run = TeamRun(self.spec, ports=ports, prices=cast("Prices", OnePrice()), log=EventLog(log))
        ended: Ended | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.clock.run)
            if self.cancel_after is not None:
                tasks.start_soon(self._cancel, run)
            ended = await run.drive()
            tasks.cancel_scope.cancel()
        assert ended is not None
        return ended, run, list(await self.journal.read("run"))

    async def _cancel(self, run: TeamRun) -> None:
        await self.clock.sleep(self.cancel_after or 0)
        run.cancel("scripted")


def replayed(schedule: Schedule, records: list[Record]) -> Iterator[object]:
    """What the engine says to the journal's events, and to nothing else."""
    way = strategy(schedule.spec.strategy)
    members = [Member(id=agent.id, weight=agent.weight) for agent in schedule.spec.agents]
    step = way.start(Board.begin(members, schedule.settings))
    yield from step.commands
    for event in events_of(records):
        step = way.receive(step.board, event)
        yield from step.commands


def events_of(records: list[Record]) -> Iterator[Event]:
    notices: dict[str, type[Any]] = {
        kind.__name__: kind
        for kind in (
            RoundDeadline,
            AnsweringClosed,
            RunDeadline,
            BudgetStopped,
            CancelRequested,
            ToolLoopEntered,
        )
    }
    for record in records:
        body, turn = record.body, record.turn or 0
        match record.kind:
            case "AnswerGiven":
                yield AnswerGiven(
                    agent=body["agent"], turn=turn, content=body["content"], conclusion=body["conclusion"]
                )
            case "VoteCast":
                add = tuple(body["add"])
                yield VoteCast(
                    agent=body["agent"], turn=turn, answer=body["answer"], reason=body["reason"], add=add
                )
            case "TurnEnded" if body["how"] == "abstained":
                yield Abstained(agent=body["agent"], turn=turn, why=body["why"])
            case "TurnEnded" if body["how"] == "failed":
                yield AgentFailed(agent=body["agent"], turn=turn, error=body["why"])
            case "Notice" if not body.get("late") and body["event"] not in ("NewsTold", "FellBack"):
                given = {key: value for key, value in body.items() if key not in ("event", "late")}
                yield notices[body["event"]](**given)
            case _:
                pass


@pytest.mark.parametrize("block", range(BLOCKS))
async def test_schedules_end_once_keep_their_books_and_replay_to_the_same_outcome(block: int):
    seen: Counter[str] = Counter()
    for seed in range(block, SCHEDULES, BLOCKS):
        schedule = Schedule(seed)
        with anyio.fail_after(30):
            ended, run, records = await schedule.run()
        seen.update([ended.outcome.status, ended.outcome.stopped_by, ended.outcome.rule])
        check(schedule, ended, run, records)
    for word in ("completed", "partial", "failed", "cancelled", "deadline", "ballot"):
        assert seen[word], word


def check(schedule: Schedule, ended: Ended, run: TeamRun, records: list[Record]) -> None:
    outcome, seed = ended.outcome, schedule.settings.seed
    finishes = [command for command in replayed(schedule, records) if isinstance(command, Finish)]
    assert finishes == [Finish(outcome=outcome)], seed

    begun = Counter((record.turn, record.call) for record in records if record.kind == "CallStarted")
    closed = Counter(
        (record.turn, record.call) for record in records if record.kind in ("CallReplied", "CallFailed")
    )
    assert max(begun.values(), default=1) == 1, seed
    assert not closed - begun, seed

    sent = sum(model.sent for model in schedule.models.values())
    counted = sum(seat.usage.requests + seat.lost.requests for seat in run.seats.values())
    assert sent <= counted, seed
    if schedule.limits.requests is not None:
        assert sent <= schedule.limits.requests, seed
    if schedule.limits.usd is not None:
        assert (run.budget.spent.cost_usd or 0.0) <= schedule.limits.usd + 1e-9, seed
    assert ended.seconds <= schedule.limits.seconds + 1, seed
    assert all(model.at_once == 0 for model in schedule.models.values()), seed
    assert outcome.answer is not None or outcome.why, seed
