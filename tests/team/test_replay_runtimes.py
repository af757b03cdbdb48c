"""Runs of agents that own their loop, gone on with by another process: what is done again is a turn."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias, cast

import anyio
import anyio.lowlevel
import pytest

from massgen_mcp.backends.base import Backend, TurnTools
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import SystemClock
from massgen_mcp.engine import Settings
from massgen_mcp.errors import BackendError
from massgen_mcp.journal import Record
from massgen_mcp.messages import Delta, Reply, Request, Spent, ToolCall, ToolResult, ToolSpec
from massgen_mcp.team import AgentSpec, Ended, EventLog, Limits, Ports, TeamRun, TeamSpec
from massgen_mcp.tools.toolset import NoTools, Situation, Toolset
from massgen_mcp.usage import Usage
from tests.team.replays import ListLog
from tests.teams import workshop_of

pytestmark = pytest.mark.anyio
ROW = BackendInfo(
    type="test", title="Test", vendor="test", module="scripted", kind="runtime", key_optional=True
)
LOOK = ToolSpec(name="look", description="Look.", parameters={"type": "object"})
VOTE = ToolCall(id="v", name="vote", arguments="")
"""A vote for the first label that is valid then."""


@dataclass(frozen=True)
class Opens:
    """Lets go on who waits for it."""

    event: anyio.Event


Step: TypeAlias = ToolCall | Spent | BackendError | anyio.Event | Opens
Script: TypeAlias = Mapping[str, Sequence[Step]]
"""What a runtime does in a turn of each kind; `vote2` is one that is shown a second answer of somebody's."""


def call(name: str, call_id: str = "c", /, **arguments: object) -> ToolCall:
    return ToolCall(id=call_id, name=name, arguments=json.dumps(arguments))


def answer(text: str) -> ToolCall:
    return call("new_answer", content=text, conclusion=text)


class Runtime:
    info = ROW
    model = "runtime"
    session = "session-1"

    def __init__(self, script: Script) -> None:
        self._script = script
        self.turns: list[str] = []
        self.told: list[str] = []

    @asynccontextmanager
    async def run_turn(self, request: Request, tools: TurnTools) -> AsyncGenerator[AsyncIterator[Delta]]:
        assert request.brief is not None
        kind = request.brief.kind
        self.turns.append(kind)
        again = any(label.endswith(".2") for label, _, _ in request.brief.answers)
        yield self._play(request, self._script["vote2" if again and kind == "vote" else kind], tools)

    async def _play(self, request: Request, steps: Sequence[Step], tools: TurnTools) -> AsyncIterator[Delta]:
        labels = request.messages[-1].text
        for step in steps:
            match step:
                case ToolCall():
                    found = re.findall(r"Valid labels(?: now)?: (agent\d\.\d)", labels)
                    vote = call("vote", answer=found[-1] if found else "", reason="right")
                    result = await tools.call(vote if step is VOTE else step)
                    self.told.append(result.content)
                    labels += result.content
                case Spent():
                    yield step
                case BackendError():
                    raise step
                case anyio.Event():
                    await step.wait()
                case Opens(event=event):
                    event.set()
        calls = (tools.ended_by,) if tools.ended_by else ()
        yield Reply(calls=calls, usage=Usage(requests=3, input=100, output=10), native={"did": 1})

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


class Look(NoTools):
    specs = (LOOK,)

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.situations: list[Situation] = []

    async def begin(self, situation: Situation) -> None:
        self.situations.append(situation)

    async def snapshot(self, *, empty: bool = False) -> str:
        return "before" if empty else "after"

    async def call(self, call: ToolCall) -> ToolResult:
        self.calls.append(call)
        return ToolResult(call_id=call.id, content="seen")


@dataclass
class Life:
    """One process's part of a run."""

    ended: Ended
    team: TeamRun
    runtimes: Mapping[str, Runtime]
    tools: Mapping[str, Look]
    records: Sequence[Record]

    @property
    def turns(self) -> dict[str, list[str]]:
        """The turns that were run, of agents that ran one."""
        return {agent: runtime.turns for agent, runtime in self.runtimes.items() if runtime.turns}

    @property
    def text(self) -> str:
        answer = self.ended.outcome.answer
        return "" if answer is None else answer.content


@dataclass
class Stage:
    """A team of runtimes, each with its script."""

    scripts: Mapping[str, Script]
    limits: Limits = field(default_factory=Limits)
    strategy: str = "auto"

    async def live(self, past: Sequence[Record] = ()) -> Life:
        runtimes = {agent: Runtime(script) for agent, script in self.scripts.items()}
        tools = {agent: Look() for agent in self.scripts}
        log = ListLog(SystemClock(), list(past))

        async def open_backend(spec: AgentSpec, tools: Toolset) -> Backend:
            del tools
            await anyio.lowlevel.checkpoint()
            return cast("Backend", runtimes[spec.id])

        if past:
            await log.append("Notice", {"event": "Resumed"})
        else:
            await log.append("RunStarted", {})
        spec = TeamSpec(
            question="How many?",
            tag="data-0123456789abcdef",
            agents=tuple(AgentSpec(id=agent, info=ROW, options=Options(type="test")) for agent in runtimes),
            strategy=self.strategy,
            settings=Settings(seed=1),
            limits=self.limits,
        )
        ports = Ports(
            clock=SystemClock(), random=Random(1), open_backend=open_backend, open_workshop=workshop_of(tools)
        )
        records = list(log.records) if past else []
        team = TeamRun(spec, ports=ports, prices=Prices(), log=EventLog(log), past=records)
        with anyio.fail_after(10):
            ended = await team.drive()
        return Life(ended=ended, team=team, runtimes=runtimes, tools=tools, records=log.records)


def place_of(records: Sequence[Record], kind: str, number: int = 1) -> int:
    """How many records there are up to the so-many-th of a kind."""
    return [record.seq for record in records if record.kind == kind][number - 1]


ALONE = Stage({"a": {"answer": [call("look", at="x"), call("look", at="y"), answer("4")]}})


async def test_a_turn_that_was_cut_off_is_run_again_from_the_snapshot_it_began_with():
    whole = await ALONE.live()
    life = await ALONE.live(whole.records[: place_of(whole.records, "ToolFinished", 1)])
    assert (life.text, life.turns) == ("4", {"a": ["answer"]})
    assert [json.loads(made.arguments)["at"] for made in life.tools["a"].calls] == ["x", "y"]
    assert life.tools["a"].situations[0] == Situation(start="before", resumed=True)
    seat = life.team.seats["a"]
    assert "its turn was under way when the process ended, and ran again from its beginning" in seat.warnings
    assert (seat.lost.requests, seat.usage.requests, seat.tool_calls) == (1, 3, 3)


async def test_what_a_cut_off_turn_did_does_not_count_as_repeated_when_it_is_done_again():
    same = [call("look", at="x")] * 4
    stage = Stage({"a": {"answer": [*same, answer("4")]}})
    whole = await stage.live()
    life = await stage.live(whole.records[: place_of(whole.records, "ToolFinished", 4)])
    assert life.text == "4"
    assert all("\nseen\n</data-" in words for words in life.runtimes["a"].told[:4])


async def test_a_turn_that_had_ended_is_not_run_again():
    whole = await ALONE.live()
    for kind in ("CallReplied", "AnswerGiven", "TurnEnded"):
        life = await ALONE.live(whole.records[: place_of(whole.records, kind)])
        assert (life.text, life.turns) == ("4", {})
        assert life.tools["a"].calls == []
        seat = life.team.seats["a"]
        assert (seat.lost.requests, seat.usage.requests, seat.tool_calls) == (0, 3, 2)


FAILURE = BackendError("it broke while it stopped", kind="network")
TWO = Stage(
    {
        "a": {
            "answer": [call("look", at="x"), answer("4"), FAILURE],
            "vote": [VOTE],
            "present": [answer("4.")],
        },
        "b": {"answer": [answer("5")], "vote": [VOTE, FAILURE], "present": [answer("5.")]},
    },
)


async def test_what_was_handed_in_before_a_failure_stands_wherever_the_run_was_cut_off():
    whole = await TWO.live()
    assert [record.body["handed_in"]["name"] for record in whole.records if record.kind == "CallFailed"] == [
        "new_answer",
        "vote",
    ]
    turns = sum(len(turns) for turns in whole.turns.values())
    for cut in range(1, len(whole.records) + 1):
        past = whole.records[:cut]
        life = await TWO.live(past)
        assert (life.text, life.ended.outcome.winner) == (whole.text, whole.ended.outcome.winner), cut
        done = sum(record.kind in {"CallReplied", "CallFailed"} for record in past)
        assert sum(len(turns) for turns in life.turns.values()) == turns - done, cut


async def test_what_was_handed_in_before_the_budget_was_used_up_stands_after_a_restart():
    spent = Spent(usage=Usage(requests=2, input=50_000, output=100))
    stage = Stage({"a": {"answer": [answer("4"), spent]}}, limits=Limits(tokens=20_000))
    whole = await stage.live()
    assert whole.text == "4"
    life = await stage.live(whole.records[: place_of(whole.records, "CallFailed")])
    assert (life.text, life.turns) == ("4", {})
    assert life.team.seats["a"].usage.tokens == whole.team.seats["a"].usage.tokens == 50_100


async def test_a_runtime_that_was_told_of_news_in_its_turn_is_not_asked_again():
    looking, new_ballot = anyio.Event(), anyio.Event()
    stage = Stage(
        {
            "a": {
                "answer": [answer("4")],
                "vote": [looking, answer("5")],
                "vote2": [Opens(new_ballot), VOTE],
                "present": [answer("end")],
            },
            "b": {
                "answer": [answer("6")],
                "vote": [call("look", at="x"), Opens(looking), new_ballot, VOTE, VOTE],
            },
            "c": {"answer": [answer("7")], "vote": [anyio.Event(), VOTE], "vote2": [VOTE]},
        },
        strategy="vote",
    )
    whole = await stage.live()
    assert whole.text == "end"
    assert "New answers have come in." in whole.runtimes["b"].told[2]
    assert [record.body["event"] for record in whole.records if record.call and record.kind == "Notice"] == [
        "NewsTold"
    ]
    told = next(record.seq for record in whole.records if record.body.get("event") == "NewsTold")
    replied = next(
        record.seq
        for record in whole.records
        if record.seq > told and record.kind == "CallReplied" and record.body["agent"] == "b"
    )
    for cut in range(replied, len(whole.records) + 1):
        life = await stage.live(whole.records[:cut])
        assert life.text == "end", cut
        assert "b" not in life.turns, cut
