"""Turns of agents that own their loop: the team's tools are called from inside, one reply ends the turn."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

import anyio
import pytest

from massgen_mcp.backends.base import Backend, TurnTools
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import SystemClock
from massgen_mcp.engine import Settings
from massgen_mcp.errors import BackendError
from massgen_mcp.journal import MemoryJournal
from massgen_mcp.messages import (
    Delta,
    ObservedCall,
    Reply,
    Request,
    Spent,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from massgen_mcp.team import AgentSpec, Ended, EventLog, Limits, Ports, TeamRun, TeamSpec
from massgen_mcp.tools.toolset import NoTools, Toolset
from massgen_mcp.usage import Usage
from tests.teams import workshop_of

pytestmark = pytest.mark.anyio
ROW = BackendInfo(
    type="test", title="Test", vendor="test", module="scripted", kind="runtime", key_optional=True
)


@dataclass(frozen=True)
class Gate:
    """Set what others wait for, then wait for something."""

    opens: anyio.Event = field(default_factory=anyio.Event)
    waits: anyio.Event | None = None


VOTE = ToolCall(id="", name="vote", arguments="")
"""A vote for the first label that is valid then."""
Step: TypeAlias = ToolCall | tuple[ToolCall, ...] | str | ObservedCall | Spent | BackendError | Gate
_numbers = iter(range(10_000))


def call(name: str, **arguments: object) -> ToolCall:
    return ToolCall(id=f"c{next(_numbers)}", name=name, arguments=json.dumps(arguments))


def answer(text: str) -> ToolCall:
    return call("new_answer", content=text, conclusion=text)


def text_of(ended: Ended) -> str:
    assert ended.outcome.answer is not None
    return ended.outcome.answer.content


class Runtime:
    """Plays one list of steps a turn: calls, words, tools of its own, failures."""

    info = ROW
    model = "runtime"
    session = "session-1"

    def __init__(self, turns: Sequence[Sequence[Step]]) -> None:
        self._turns = list(turns)
        self.requests: list[Request] = []
        self.results: list[ToolResult] = []
        self.closed = False
        self.stops = True
        """Whether it stops as soon as its turn is over."""
        self.breaks = False
        """Whether it can't be closed."""

    @asynccontextmanager
    async def run_turn(self, request: Request, tools: TurnTools) -> AsyncGenerator[AsyncIterator[Delta]]:
        self.requests.append(request)
        label = re.search(r"Valid labels(?: now)?: (agent\d\.\d)", request.messages[-1].text)
        vote = call("vote", answer=label[1] if label else "", reason="right")
        yield self._play([vote if step is VOTE else step for step in self._turns.pop(0)], tools)

    async def _play(self, steps: Sequence[Step], tools: TurnTools) -> AsyncIterator[Delta]:
        text = ""
        for step in steps:
            match step:
                case str():
                    text = step
                    yield TextDelta(text=step)
                case ObservedCall() | Spent():
                    yield step
                case _:
                    await self._do(step, tools)
            if tools.ended_by is not None and self.stops:
                break
        calls = (tools.ended_by,) if tools.ended_by else ()
        yield Reply(text=text, calls=calls, usage=Usage(requests=3, input=100, output=10), native={"did": 1})

    async def _do(
        self, step: ToolCall | tuple[ToolCall, ...] | BackendError | Gate, tools: TurnTools
    ) -> None:
        match step:
            case ToolCall():
                await self._call(tools, step)
            case tuple():
                async with anyio.create_task_group() as tasks:
                    for one in step:
                        tasks.start_soon(self._call, tools, one)
            case BackendError():
                raise step
            case Gate():
                step.opens.set()
                if step.waits is not None:
                    await step.waits.wait()

    async def _call(self, tools: TurnTools, call: ToolCall) -> None:
        self.results.append(await tools.call(call))

    async def aclose(self) -> None:
        self.closed = True
        if self.breaks:
            raise RuntimeError("can't be closed")


class Look(NoTools):
    specs = (ToolSpec(name="look", description="Look.", parameters={"type": "object"}),)

    async def call(self, call: ToolCall) -> ToolResult:
        return ToolResult(call_id=call.id, content="seen")


class Stage:
    def __init__(
        self, *, limits: Limits | None = None, strategy: str = "auto", **agents: Sequence[Sequence[Step]]
    ) -> None:
        self.runtimes = {name: Runtime(turns) for name, turns in agents.items()}
        self.limits = limits or Limits()
        self.strategy = strategy
        self.journal = MemoryJournal()
        self.shown: list[tuple[str, str]] = []

    async def _open(self, spec: AgentSpec, tools: Toolset) -> Backend:
        return self.runtimes[spec.id]

    async def run(self) -> Ended:
        spec = TeamSpec(
            question="How many?",
            agents=tuple(
                AgentSpec(id=name, info=ROW, options=Options(type="test")) for name in self.runtimes
            ),
            strategy=self.strategy,
            settings=Settings(seed=1),
            limits=self.limits,
        )
        ports = Ports(
            clock=SystemClock(),
            random=Random(1),
            open_backend=self._open,
            open_workshop=workshop_of({name: Look() for name in self.runtimes}),
        )
        log = EventLog(await self.journal.begin("run", question="q", team="t", body={}))
        log.watch_activity = lambda agent, tail: self.shown.append((agent, tail))
        self.team = TeamRun(spec, ports=ports, prices=Prices(), log=log)
        with anyio.fail_after(10):
            return await self.team.drive()

    async def kinds(self) -> list[str]:
        return [record.kind for record in await self.journal.read("run")]


async def test_a_runtime_hands_in_its_answer_from_inside_its_loop():
    stage = Stage(a=[[call("look", at="x"), answer("4"), answer("5")]])
    ended = await stage.run()
    assert text_of(ended) == "4"
    runtime = stage.runtimes["a"]
    seen, recorded = (result.content for result in runtime.results)
    assert re.fullmatch(r"<data-(\w{20})>\nseen\n</data-\1>", seen)
    assert recorded == "Recorded. Your turn is over: stop now."
    assert runtime.closed
    assert stage.team.seats["a"].usage.requests == 3
    kinds = await stage.kinds()
    kinds.remove("Notice")
    assert kinds == [
        "RunStarted", "TurnStarted", "CallStarted", "ToolStarted", "ToolFinished", "CallReplied",
        "AnswerGiven", "TurnEnded",
    ]  # fmt: skip


async def test_the_session_is_written_down_before_the_turn_is_paid_for():
    stage = Stage(a=[[answer("4")]])
    await stage.run()
    started = next(record for record in await stage.journal.read("run") if record.kind == "CallStarted")
    assert started.body["session"] == "session-1"


async def test_plain_text_of_a_runtime_is_its_answer():
    stage = Stage(a=[["It is 4."]])
    assert text_of(await stage.run()) == "It is 4."


async def test_what_a_runtime_does_by_itself_is_shown():
    stage = Stage(a=[[ObservedCall(name="Bash", detail="ls"), answer("4")]])
    await stage.run()
    assert ("a", "[Bash: ls] ") in stage.shown


async def test_runtimes_that_disagree_vote_in_the_session_they_answered_in():
    stage = Stage(
        a=[[answer("4")], [VOTE], [answer("4, since 2 and 2 are 4")]],
        b=[[answer("5")], [VOTE], [answer("4, as they said")]],
    )
    ended = await stage.run()
    assert text_of(ended) in {"4", "5"}
    for runtime in stage.runtimes.values():
        first, second = runtime.requests[:2]
        assert second.messages[: len(first.messages)] == first.messages
        assert "Valid labels" in second.messages[-1].text


async def test_a_vote_for_nothing_is_told_once_and_then_ends_the_turn():
    wrong = call("vote", answer="agent9.9", reason="?")
    stage = Stage(
        a=[[answer("4")], [wrong, wrong, wrong]],
        b=[[answer("5")], [VOTE]],
        c=[[answer("6")], [VOTE]],
    )
    ended = await stage.run()
    assert text_of(ended)
    told = [result.content for result in stage.runtimes["a"].results[1:]]
    assert len(told) == 2
    assert all("Valid labels" in words for words in told)
    assert stage.team.seats["a"].state == "abstained"


async def test_text_instead_of_a_vote_is_reminded_once():
    stage = Stage(
        a=[[answer("4")], ["I like it."], [VOTE], [answer("4!")]],
        b=[[answer("5")], [VOTE], [answer("4!!")]],
    )
    await stage.run()
    assert "Your last message handed in nothing" in stage.runtimes["a"].requests[2].messages[-1].text


async def test_calls_without_end_end_the_turn():
    stage = Stage(a=[[call("look", at="x") for _ in range(200)]])
    ended = await stage.run()
    assert ended.outcome.answer is None
    assert "the same tool call 8 times" in stage.team.seats["a"].error


async def test_a_failed_turn_is_tried_again_as_a_whole():
    failure = BackendError("busy", kind="overloaded", retryable=True)
    stage = Stage(a=[["half", failure], [answer("4")]])
    ended = await stage.run()
    assert text_of(ended) == "4"
    assert stage.team.seats["a"].retries == 1


async def test_a_turn_that_uses_more_than_there_is_stops_on_its_way():
    spent = Spent(usage=Usage(requests=9, input=50_000, output=100))
    stage = Stage(limits=Limits(tokens=20_000), a=[[spent, answer("4")]])
    ended = await stage.run()
    assert ended.outcome.stopped_by == "budget"
    assert "20,000 tokens is used up" in stage.team.seats["a"].error
    assert stage.team.seats["a"].lost.tokens == 50_100


async def test_what_a_failed_turn_used_is_counted():
    spent = Spent(usage=Usage(requests=2, input=900, output=100))
    failure = BackendError("it died", kind="network")
    stage = Stage(a=[[spent, failure]])
    await stage.run()
    used = stage.team.seats["a"].usage
    assert (used.requests, used.tokens) == (2, 1_000)


async def test_an_answer_that_was_handed_in_stands_although_the_runtime_fails_then():
    failure = BackendError("it broke while it stopped", kind="network", retryable=True)
    stage = Stage(a=[[answer("4"), failure]])
    stage.runtimes["a"].stops = False
    ended = await stage.run()
    assert (text_of(ended), ended.outcome.status) == ("4", "completed")
    assert len(stage.runtimes["a"].requests) == 1


async def test_an_answer_that_was_handed_in_stands_although_the_budget_is_used_up_then():
    spent = Spent(usage=Usage(requests=2, input=50_000, output=100))
    stage = Stage(limits=Limits(tokens=20_000), a=[[answer("4"), spent]])
    stage.runtimes["a"].stops = False
    assert text_of(await stage.run()) == "4"


async def test_of_calls_in_parallel_the_answer_stands_although_others_end_after_it():
    looks = [call("look", at="x") for _ in range(9)]
    stage = Stage(a=[[(*looks[:8], answer("4"), looks[8])]])
    assert text_of(await stage.run()) == "4"


async def test_runtimes_side_by_side_cannot_overdraw_together():
    half = Spent(usage=Usage(requests=2, input=15_000, output=100))
    begun, ended = anyio.Event(), anyio.Event()
    stage = Stage(
        limits=Limits(tokens=20_000),
        a=[[half, Gate(opens=begun, waits=ended), answer("4")]],
        b=[[Gate(waits=begun), half, Gate(opens=ended), answer("4")]],
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage.run)
        await begun.wait()
        with anyio.fail_after(10), stage.team.log.listen() as records:
            async for record in records:
                if record.kind == "TurnEnded":
                    break
        tasks.cancel_scope.cancel()
    assert "is used up" in stage.team.seats["b"].error


async def test_a_runtime_is_held_to_the_limit_of_requests_on_its_way():
    stage = Stage(
        limits=Limits(requests=5), a=[[Spent(usage=Usage(requests=6, input=60, output=6)), answer("4")]]
    )
    ended = await stage.run()
    assert ended.outcome.stopped_by == "budget"
    assert "5 requests is used up" in stage.team.seats["a"].error
    assert stage.team.seats["a"].lost.requests == 6


async def test_a_runtime_in_the_middle_of_its_own_tools_is_told_of_new_answers_instead_of_stopped():
    at_work, new_ballot, improving = anyio.Event(), anyio.Event(), anyio.Event()
    stage = Stage(
        strategy="vote",
        a=[
            [answer("4")],
            [Gate(waits=at_work), answer("5")],
            [Gate(opens=new_ballot), VOTE],
            [answer("end")],
        ],
        b=[
            [answer("6")],
            [ObservedCall(name="Bash", detail="ls"), Gate(opens=at_work, waits=new_ballot), VOTE, VOTE],
        ],
        c=[[answer("7")], [Gate(waits=improving), VOTE], [VOTE]],
    )
    ended = await stage.run()
    assert text_of(ended) == "end"
    assert len(stage.runtimes["b"].requests) == 2
    told = [result.content for result in stage.runtimes["b"].results]
    assert "Not recorded." in told[1]
    assert "New answers have come in." in told[1]


async def test_a_vote_overtaken_by_news_is_asked_for_again_with_the_tools_of_a_new_turn():
    at_work, voted, new_ballot = anyio.Event(), anyio.Event(), anyio.Event()
    late = [call("look", at="x"), VOTE, Gate(opens=at_work, waits=new_ballot)]
    stage = Stage(
        strategy="vote",
        a=[
            [answer("4")],
            [Gate(waits=at_work), answer("5")],
            [Gate(opens=new_ballot), VOTE],
            [answer("end")],
        ],
        b=[[answer("6")], late, [VOTE]],
        c=[[answer("7")], [Gate(waits=voted), VOTE], [VOTE]],
    )
    stage.runtimes["b"].stops = False
    assert text_of(await stage.run()) == "end"
    assert "New answers have come in." in stage.runtimes["b"].requests[2].messages[-1].text
    assert stage.runtimes["b"].results[-1].content.startswith("Recorded.")


async def test_a_runtime_that_cannot_be_closed_costs_neither_the_answer_nor_the_end_of_others():
    stage = Stage(a=[[answer("4")]], b=[[answer("4")]])
    stage.runtimes["a"].breaks = True
    assert text_of(await stage.run()) == "4"
    assert stage.runtimes["b"].closed
