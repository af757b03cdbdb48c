"""A turn, a round or a request that comes to its limit ends, and the team goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.base import Backend, TurnTools
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.scripted import Backend as Model, Step
from massgen_mcp.clock import Clock, ScriptedClock
from massgen_mcp.engine import Settings
from massgen_mcp.errors import BackendError
from massgen_mcp.journal import MemoryJournal
from massgen_mcp.messages import Delta, Reply, Request, ToolCall
from massgen_mcp.team import AgentSpec, Ended, EventLog, Limits, Ports, TeamRun, TeamSpec
from massgen_mcp.team.budget import Share
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.shares import Shares
from massgen_mcp.tools.toolset import Toolset
from massgen_mcp.usage import Usage

pytestmark = pytest.mark.anyio

ROW = BackendInfo(type="test", title="Test", vendor="test", module="test", free=True)
RUNTIME = BackendInfo(type="loop", title="Loop", vendor="test", module="test", free=True, kind="runtime")
HOUR = 3_600.0


def step(name: str, delay: float = 0.0, **arguments: Any) -> Step:
    return Step(calls=(ToolCall(id="call", name=name, arguments=json.dumps(arguments)),), delay=delay)


def answer(content: str, delay: float = 0.0) -> Step:
    return step("new_answer", delay, content=content, conclusion=content)


def vote(label: str, delay: float = 0.0) -> Step:
    return step("vote", delay, answer=label, reason="right")


class Runtime:
    """Hands in an answer, then goes on for longer than its turn may take."""

    info = RUNTIME
    model = "loop"
    session = ""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @asynccontextmanager
    async def run_turn(self, request: Request, tools: TurnTools) -> AsyncGenerator[AsyncIterator[Delta]]:
        del request
        yield self._play(tools)

    async def _play(self, tools: TurnTools) -> AsyncIterator[Delta]:
        await tools.call(answer("4").calls[0])
        await self._clock.sleep(100)
        assert tools.ended_by is not None
        yield Reply(calls=(tools.ended_by,), finish="tool_calls", usage=Usage(requests=9, input=9))

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


async def run(
    limits: Limits, **agents: Sequence[Step] | None
) -> tuple[Ended, Mapping[str, Seat], MemoryJournal]:
    """A run of these agents, each with its replies; None for an agent runtime. Time is scripted."""
    clock, journal = ScriptedClock(), MemoryJournal()

    async def open_backend(spec: AgentSpec, tools: Toolset) -> Backend:
        del tools
        await anyio.lowlevel.checkpoint()
        steps = agents[spec.id]
        return Runtime(clock) if steps is None else Model(steps, info=ROW, clock=clock)

    spec = TeamSpec(
        question="How many?",
        agents=tuple(
            AgentSpec(id=name, info=RUNTIME if steps is None else ROW, options=Options(type="test"))
            for name, steps in agents.items()
        ),
        strategy="auto",
        settings=Settings(seed=4),
        limits=limits,
    )
    log = EventLog(await journal.begin("run", question="q", team="t", body={}))
    ports = Ports(clock=clock, random=Random(1), open_backend=open_backend)
    team = TeamRun(spec, ports=ports, prices=Prices(), log=log)
    over: list[Ended] = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.run)
            over.append(await team.drive())
            tasks.cancel_scope.cancel()
    return over[0], team.seats, journal


def within(**shares: Share) -> Limits:
    return Limits(seconds=10 * HOUR, shares=Shares(**shares))


async def test_an_answer_that_takes_too_long_fails_and_the_others_decide():
    limits = within(turn=Share(seconds=60))
    ended, seats, journal = await run(limits, a=[answer("4")], b=[answer("5", HOUR)], c=[answer("4")])
    assert (ended.outcome.winner, ended.outcome.stopped_by, ended.outcome.status) == (
        "a",
        "decided",
        "partial",
    )
    assert ended.seconds == 60
    assert (seats["b"].state, seats["b"].error_kind) == ("failed", "timeout")
    assert seats["b"].error == "Its turn had not ended after 60 s (`budget.per_turn.seconds`)."
    assert seats["b"].lost.requests == 1
    (end,) = [record.body for record in await journal.read("run") if record.body.get("how") == "failed"]
    assert end["why"] == seats["b"].error


async def test_a_vote_that_takes_too_long_is_an_abstention():
    limits = within(turn=Share(seconds=60))
    agents = {
        "a": [answer("4"), vote("agent2.1")],
        "b": [answer("5"), vote("agent2.1", HOUR)],
        "c": [answer("6"), vote("agent2.1")],
    }
    ended, seats, _ = await run(limits, **agents)
    abstained = [name for name, seat in seats.items() if seat.state == "abstained"]
    assert "b" in abstained
    assert "budget.per_turn.seconds" in seats["b"].error
    assert ended.outcome.answer is not None
    assert not ended.board.failed


async def test_a_turn_in_time_ends_as_ever():
    ended, _, _ = await run(within(turn=Share(seconds=60)), a=[answer("4", 59)], b=[answer("4")])
    assert (ended.outcome.status, ended.seconds) == ("completed", 59)


async def test_a_runtime_that_has_handed_in_by_then_has_answered():
    ended, seats, _ = await run(within(turn=Share(seconds=60)), a=None, b=[answer("4")])
    assert (ended.outcome.status, ended.outcome.stopped_by) == ("completed", "decided")
    assert (seats["a"].state, ended.seconds) == ("answered", 100)


async def test_a_turn_without_money_ends_and_the_run_does_not():
    limits = within(turn=Share(requests=1))
    two = [step("no_such_tool"), answer("5")]
    ended, seats, _ = await run(limits, a=[answer("4")], b=two, c=[answer("4")])
    assert (ended.outcome.winner, ended.outcome.stopped_by) == ("a", "decided")
    assert seats["b"].state == "abstained"
    assert seats["b"].error.startswith(
        "The turn's budget of 1 requests (`budget.per_turn.requests`) is used up"
    )


async def test_a_round_that_is_used_up_ends_with_what_there_is_and_the_next_goes_on():
    limits = within(round=Share(requests=2))
    agents = {
        "a": [answer("4"), vote("agent1.1"), answer("4, since it is even")],
        "b": [answer("5"), vote("agent1.1"), answer("5, since it is odd")],
        "c": [answer("6"), vote("agent1.1")],
    }
    ended, seats, _ = await run(limits, **agents)
    assert ended.outcome.stopped_by == "decided"
    assert len(ended.board.current) == 2
    assert len(ended.outcome.votes) <= 2
    assert ended.outcome.answer is not None
    assert "The round's budget of 2 requests (`budget.per_round.requests`)" in seats["c"].error


async def test_a_request_is_not_tried_again_where_one_try_is_all_it_may_use():
    failure = BackendError("Busy.", kind="overloaded", retryable=True)
    limits = within(request=Share(requests=1))
    _, seats, _ = await run(limits, a=[Step(error=failure), answer("4")], b=[answer("4")])
    assert (seats["a"].state, seats["a"].attempts) == ("failed", 1)


async def test_the_runs_own_budget_still_ends_the_run():
    limits = Limits(requests=1, shares=Shares(turn=Share(requests=5)))
    ended, _, _ = await run(limits, a=[answer("4")], b=[answer("5")])
    assert ended.outcome.stopped_by == "budget"
    assert ended.outcome.answer is not None
