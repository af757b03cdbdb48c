"""A model that has taken over keeps its agent's seat, whatever became of the turn it took over in."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

import anyio
import pytest

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import Clock, ScriptedClock
from massgen_mcp.engine import Settings, Turn, TurnKind
from massgen_mcp.errors import BackendError
from massgen_mcp.journal import Record
from massgen_mcp.messages import Reply, Request, ToolCall
from massgen_mcp.team import AgentSpec, EventLog, Ports
from massgen_mcp.team.budget import Budget
from massgen_mcp.team.calls import Caller
from massgen_mcp.team.reading import Step
from massgen_mcp.team.replay import Past, PastTurn
from massgen_mcp.team.seat import Seat
from massgen_mcp.tools.toolset import Toolset
from massgen_mcp.usage import Usage
from tests.team.replays import Life, ListLog, World

pytestmark = pytest.mark.anyio


def seen(request: Request) -> dict[str, str]:
    """The answers shown, content -> label."""
    assert request.brief is not None
    return {content: label for label, _, content in request.brief.answers}


@dataclass
class Story:
    """`a`'s model can't vote, `spare` takes over; then `b` answers again, so that both vote once more."""

    how: Literal["stopped", "abstained"]
    """What becomes of the turn in which it takes over."""
    asked: list[tuple[str, Request]] = field(default_factory=list[tuple[str, Request]])

    async def meet(self, model: str, request: Request, clock: Clock) -> None:
        assert request.brief is not None
        self.asked.append((model, request))
        if request.brief.kind == "answer" or "six" in seen(request):
            return
        if model == "a-model":
            raise BackendError("There is no such model.", kind="not_found")
        if model == "b-model" or self.how == "stopped":
            await clock.sleep(80 if model == "b-model" else 110)

    def reply(self, agent: str, request: Request, chance: Random) -> Reply:
        del chance
        assert request.brief is not None
        usage = Usage(requests=1, input=9, output=1)
        again = agent == "b" and request.brief.kind == "vote" and "six" not in seen(request)
        if request.brief.kind == "answer" or again:
            text = "six" if again else "four" if agent == "a" else "five"
            name, done = "new_answer", {"content": text, "conclusion": text}
        elif "six" in seen(request):
            name, done = "vote", {"answer": seen(request)["six"], "reason": "right"}
        else:
            return Reply(text="I can't tell.", usage=usage)
        call = ToolCall(id=f"{name} {len(request.messages)}", name=name, arguments=json.dumps(done))
        return Reply(calls=(call,), usage=usage, native={"of": agent})

    def world(self) -> World:
        world = World(0, plain=True)
        row = replace(world.rows["a"], workflow="tools")
        world.rows, world.tooled, world.slow_begin = {"a": row, "b": row}, frozenset(), 0.0
        world.reply, world.meet = self.reply, self.meet
        settings = Settings(seed=1, presentation="reuse", max_answers=2, exclude_self=False)
        agents = tuple(
            replace(world.spec.agents[0], id=name, info=row, fallbacks=("spare",) if name == "a" else ())
            for name in "ab"
        )
        world.spec = replace(world.spec, agents=agents, settings=settings, strategy="vote")
        return world

    async def live(self, past: Sequence[Record] = ()) -> Life:
        with anyio.fail_after(20):
            life = await self.world().live(past)
        if life.error is not None:
            raise life.error
        return life


def fallen(life: Life) -> list[Record]:
    return [record for record in life.records if record.body.get("event") == "FellBack"]


@pytest.mark.parametrize("how", ["stopped", "abstained"])
async def test_a_run_that_goes_on_from_any_record_does_not_ask_the_first_model_again(
    how: Literal["stopped", "abstained"],
):
    whole = await Story(how).live()
    (notice,) = fallen(whole)
    assert notice.body == {"event": "FellBack", "agent": "a", "model": "spare", "kind": "not_found"}
    ends = {record.turn: record.body["how"] for record in whole.records if record.kind == "TurnEnded"}
    assert ends[notice.turn] == how
    (failed,) = (record.seq for record in whole.records if record.kind == "CallFailed")
    for cut in range(1, len(whole.records) + 1):
        story = Story(how)
        life = await story.live(whole.records[:cut])
        voting = [model for model, request in story.asked if request.brief and request.brief.kind == "vote"]
        assert voting.count("a-model") == (1 if cut < failed else 0), cut
        assert life.outcome == whole.outcome
        assert len(fallen(life)) == 1, cut
        assert life.run is not None
        seat = life.run.seats["a"]
        assert (seat.fallen, seat.spec.options.model) == (1, "spare")
        assert [words for words in seat.warnings if "took over" in words] == [
            "Scripted could not answer (not_found); spare took over"
        ]


@pytest.mark.parametrize("how", ["stopped", "abstained"])
async def test_what_the_first_model_left_behind_is_never_shown_to_the_next(
    how: Literal["stopped", "abstained"],
):
    story = Story(how)
    await story.live()
    requests = [request for model, request in story.asked if model == "spare"]
    assert len(requests) > 1
    assert [message.native for request in requests for message in request.messages if message.native] == []


@pytest.mark.parametrize(("seconds", "takes_over"), [(99.0, True), (100.0, False)])
async def test_nobody_takes_over_once_the_time_of_the_run_is_over(seconds: float, *, takes_over: bool):
    world, clock = Story("stopped").world(), ScriptedClock()
    log = ListLog(clock)
    seat = Seat(spec=world.spec.agents[0], label="agent1")
    caller = Caller(
        log=EventLog(log),
        budget=Budget(),
        ports=Ports(clock=clock, random=Random(0), open_backend=opened),
        prices=Prices(),
        deadline=clock.monotonic() + 100,
        past=PastTurn(past=Past(), id=1),
    )
    turn = Turn(id=1, agent="a", kind=TurnKind.ANSWER)
    late = BackendError("Nothing came in time.", kind="timeout")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.run)
        await clock.sleep(seconds)
        assert await caller.fall_back(seat, turn, late) is takes_over
        tasks.cancel_scope.cancel()
    assert (seat.fallen, len(log.records), len(seat.warnings)) == ((1, 1, 1) if takes_over else (0, 0, 0))


async def opened(spec: AgentSpec, tools: Toolset) -> Backend:
    """Nothing is asked here."""
    raise AssertionError((spec, tools))


async def test_a_request_of_before_counts_as_lost_although_its_turn_is_stopped_ahead_of_it():
    clock = ScriptedClock()
    seat = Seat(spec=Story("stopped").world().spec.agents[0], label="agent1")
    body = {"agent": "a", "digest": "d", "reserved_tokens": 70, "reserved_usd": 0.02}
    begun = Record(run_id="r", seq=3, at=0.0, kind="CallStarted", body=body, turn=1, call=1)
    past = PastTurn(past=Past(), id=1, steps=deque([Step(started=begun)]), last=1)
    budget = Budget()
    caller = Caller(
        log=EventLog(ListLog(clock)),
        budget=budget,
        ports=Ports(clock=clock, random=Random(0), open_backend=opened),
        prices=Prices(),
        deadline=100,
        past=past,
    )
    caller.leave(seat)
    caller.leave(seat)
    assert (seat.lost.requests, seat.lost.tokens, seat.lost.cost_usd, seat.attempts) == (1, 70, 0.02, 1)
    assert past.done.is_set()
