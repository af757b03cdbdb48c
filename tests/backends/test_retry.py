"""The retry layer, on a clock that moves only when everybody waits."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.info import BackendInfo, TimeLimits
from massgen_mcp.backends.limits import RequestLimits, request_limits
from massgen_mcp.backends.pause import SharedPause
from massgen_mcp.backends.registry import public_backends
from massgen_mcp.backends.retry import MAX_ATTEMPTS, ask
from massgen_mcp.backends.scripted import Backend, Step
from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import (
    Delta,
    Message,
    ReasoningDelta,
    Reply,
    Request,
    Restarted,
    TextDelta,
    ToolCall,
)
from massgen_mcp.usage import Usage

pytestmark = pytest.mark.anyio

ROW = BackendInfo(type="test", title="Testy", vendor="test", module="scripted")
REQUEST = Request(messages=(Message(role="user", text="hi"),))
GOOD = Step(text="all is well", usage=Usage(requests=1, input=7, output=3))


class World:
    """A scripted backend, its clock, and what was heard of it."""

    def __init__(self, *steps: Step, row: BackendInfo = ROW) -> None:
        self.clock = ScriptedClock()
        self.backend = Backend(steps, info=row, clock=self.clock)
        self.heard: list[Delta] = []

    async def ask(self, *, seed: int = 7, **options: Any) -> Reply:
        return await ask(
            self.backend,
            REQUEST,
            clock=self.clock,
            random=Random(seed),
            listen=self.heard.append,
            **options,
        )

    async def fail(self, **options: Any) -> BackendError:
        with pytest.raises(BackendError) as caught:
            await self.ask(**options)
        return caught.value

    @property
    def restarts(self) -> list[Restarted]:
        return [delta for delta in self.heard if isinstance(delta, Restarted)]


@asynccontextmanager
async def world(*steps: Step, row: BackendInfo = ROW) -> AsyncGenerator[World]:
    made = World(*steps, row=row)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(made.clock.run)
            yield made
            tasks.cancel_scope.cancel()


def failing(kind: FailureKind = "overloaded", *, text: str = "", **options: Any) -> Step:
    options.setdefault("retryable", True)
    return Step(text=text, error=BackendError(f"{kind}!", kind=kind, **options))


async def test_a_good_reply_comes_with_its_attempts_and_its_seconds() -> None:
    async with world(replace(GOOD, delay=1.5, pace=0.25, reasoning="hm")) as w:
        reply = await w.ask()
    assert (reply.text, reply.attempts, reply.seconds) == ("all is well", 1, 2.0)
    assert reply.usage == Usage(requests=1, input=7, output=3)
    assert w.heard == [ReasoningDelta(text="hm"), *(TextDelta(text=t) for t in ("all", " is", " well"))]
    assert w.backend.closed == 1


async def test_a_busy_provider_is_asked_again_after_growing_random_waits() -> None:
    async with world(*[failing()] * 4, GOOD) as w:
        reply = await w.ask()
        assert (reply.attempts, reply.usage.requests, reply.usage.input) == (5, 5, 7)
        assert [restart.attempt for restart in w.restarts] == [2, 3, 4, 5]
        assert 0 < w.clock.monotonic() <= 0.5 + 1 + 2 + 4


async def test_after_five_tries_the_failure_is_final_and_counted() -> None:
    async with world(*[failing()] * 9) as w:
        error = await w.fail()
    assert (error.kind, error.attempts, error.requests) == ("overloaded", MAX_ATTEMPTS, MAX_ATTEMPTS)
    assert len(w.backend.requests) == MAX_ATTEMPTS
    assert len(w.restarts) == MAX_ATTEMPTS - 1


async def test_waits_differ_between_agents() -> None:
    ends = set[float]()
    for seed in range(5):
        async with world(failing(), GOOD) as w:
            await w.ask(seed=seed)
            ends.add(w.clock.monotonic())
    assert len(ends) == 5


@pytest.mark.parametrize(("asked", "waited"), [(3.0, 3.0), (60.0, 60.0), (7200.0, 60.0)])
async def test_what_the_provider_asks_to_wait_is_waited_up_to_a_minute(asked: float, waited: float) -> None:
    async with world(failing("rate_limit", retry_after=asked), GOOD) as w:
        reply = await w.ask()
        assert w.clock.monotonic() == waited
    assert w.restarts == [Restarted(attempt=2, why="rate limit")]
    assert reply.seconds == waited


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    async with world(failing("rate_limit", retry_after=30.0), GOOD) as w:
        error = await w.fail(deadline=20.0)
        assert w.clock.monotonic() == 0
    assert (error.kind, error.attempts) == ("rate_limit", 1)


@pytest.mark.parametrize(
    "kind", ["auth", "bad_request", "not_found", "context", "quota", "refusal", "length"]
)
async def test_what_can_not_get_better_is_not_tried_again(kind: FailureKind) -> None:
    async with world(failing(kind, retryable=False), GOOD) as w:
        error = await w.fail()
        assert w.clock.monotonic() == 0
    assert (error.kind, error.attempts, error.requests) == (kind, 1, 1)


async def test_a_connection_that_was_never_made_is_tried_once_more_at_once() -> None:
    refused = failing("network", connected=False, max_attempts=2)
    async with world(refused, refused, GOOD) as w:
        error = await w.fail()
        assert w.clock.monotonic() <= 0.1
    assert (error.attempts, error.requests) == (2, 0)


async def test_attempts_that_never_connected_are_no_requests() -> None:
    async with world(failing("network", connected=False), GOOD) as w:
        reply = await w.ask()
    assert (reply.attempts, reply.usage.requests) == (2, 1)


async def test_what_streamed_before_a_break_is_declared_void_and_the_request_is_sent_whole_again() -> None:
    async with world(failing("network", text="half an"), GOOD) as w:
        reply = await w.ask()
    assert reply.text == "all is well"
    assert w.heard[:3] == [
        TextDelta(text="half"),
        TextDelta(text=" an"),
        Restarted(attempt=2, why="network"),
    ]
    assert w.backend.requests == [REQUEST, REQUEST]
    assert w.backend.closed == 2


@pytest.mark.parametrize("step", [Step(), Step(text="  \n"), Step(text="half", ending="early")])
async def test_an_empty_or_missing_reply_is_asked_for_once_more(step: Step) -> None:
    async with world(step, GOOD) as w:
        assert (await w.ask()).attempts == 2
    async with world(step, step, GOOD) as w:
        error = await w.fail()
    assert (error.kind, error.attempts) == ("protocol", 2)
    assert "Testy" in str(error)


async def test_a_tool_call_without_text_is_a_reply() -> None:
    call = ToolCall(id="1", name="vote", arguments="{}")
    async with world(Step(calls=(call,))) as w:
        reply = await w.ask()
    assert (reply.calls, reply.finish) == ((call,), "tool_calls")


async def test_one_rate_limit_holds_back_everybody_on_that_key() -> None:
    async with world(failing("rate_limit", retry_after=20.0), GOOD, GOOD) as w:
        pause = SharedPause()
        began: list[float] = []

        async def late() -> None:
            await w.clock.sleep(5)
            await w.ask(pause=pause)
            began.append(w.clock.monotonic())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late)
            await w.ask(pause=pause)
        assert len(w.backend.requests) == 3
        assert 20.0 <= began[0] <= 20.5


async def test_who_is_held_back_past_the_deadline_fails_without_a_request() -> None:
    pause = SharedPause()
    pause.hold(50.0)
    pause.hold(10.0)
    async with world(GOOD) as w:
        error = await w.fail(pause=pause, deadline=30.0)
    assert (error.kind, error.attempts, error.requests) == ("rate_limit", 0, 0)
    assert w.backend.requests == []


async def test_silence_before_the_first_byte_ends_an_attempt_and_is_tried_once_more() -> None:
    async with world(Step(ending="stall"), Step(delay=130.0, text="x"), GOOD) as w:
        error = await w.fail()
        assert 240.0 <= w.clock.monotonic() <= 241.0
    assert (error.kind, error.attempts, error.requests) == ("timeout", 2, 2)
    assert str(error) == "Testy sent nothing for 120 s."
    assert w.backend.closed == 2


async def test_silence_in_the_middle_ends_an_attempt() -> None:
    async with world(Step(text="so far", ending="stall"), GOOD) as w:
        reply = await w.ask(limits=RequestLimits(first_byte=5, idle=9))
        assert 9.0 <= w.clock.monotonic() <= 10.0
    assert reply.attempts == 2
    assert w.restarts == [Restarted(attempt=2, why="timeout")]


async def test_a_slow_but_living_stream_is_left_alone() -> None:
    async with world(Step(text="a b c d e f", pace=100.0)) as w:
        reply = await w.ask()
        assert w.clock.monotonic() == 500.0
    assert reply.text == "a b c d e f"


async def test_the_timeout_of_the_team_file_ends_even_a_living_stream_for_good() -> None:
    async with world(Step(text="a b c d e f", pace=20.0), GOOD) as w:
        error = await w.fail(timeout=60.0)
        assert w.clock.monotonic() == 60.0
    assert (error.kind, error.attempts, error.remedy) == ("timeout", 1, "Raise `timeout`, or ask for less.")
    assert "60 s" in str(error)


async def test_nothing_is_awaited_beyond_the_deadline() -> None:
    async with world(Step(ending="stall"), GOOD) as w:
        error = await w.fail(deadline=33.0)
        assert w.clock.monotonic() == 33.0
    assert (error.kind, error.attempts) == ("timeout", 1)
    assert "time of the run" in str(error)


async def test_nothing_is_sent_when_the_time_is_over_already() -> None:
    async with world(GOOD) as w:
        error = await w.fail(deadline=0.0)
    assert (error.kind, error.attempts, error.requests, w.backend.requests) == ("timeout", 0, 0, [])


async def test_cancelling_leaves_the_stream_and_passes_through() -> None:
    async with world(Step(text="one", ending="stall")) as w:
        with anyio.move_on_after(0.01) as scope:
            await w.ask(limits=RequestLimits())
        assert scope.cancelled_caught
    assert w.backend.closed == 1


async def test_a_mistake_of_ours_is_not_taken_for_a_provider_s_failure() -> None:
    async with world(GOOD) as w:

        def broken(delta: Delta) -> None:
            raise KeyError(str(delta))

        with pytest.raises(KeyError):
            await ask(w.backend, REQUEST, clock=w.clock, random=Random(1), listen=broken)


def test_deep_reasoning_is_given_more_silence() -> None:
    row = replace(ROW, limits=TimeLimits(first_byte=100, idle=50, deep_idle=300))
    assert request_limits(row) == RequestLimits(first_byte=100, idle=50)
    assert request_limits(row, deep=True, timeout=9) == RequestLimits(first_byte=300, idle=300, total=9)


def test_a_local_server_may_load_a_model_first_and_a_runtime_work_for_long() -> None:
    granted = {
        "hosted": (RequestLimits(first_byte=120, idle=120), RequestLimits(first_byte=300, idle=300)),
        "local": (RequestLimits(first_byte=600, idle=300), RequestLimits(first_byte=600, idle=300)),
        "runtime": (RequestLimits(first_byte=600, idle=600), RequestLimits(first_byte=600, idle=600)),
    }
    for row in public_backends():
        kind = "runtime" if row.kind == "runtime" else "local" if row.local else "hosted"
        assert (request_limits(row), request_limits(row, deep=True)) == granted[kind], row.type


async def test_a_backend_may_bring_its_own_pause_and_depth() -> None:
    class Deep(Backend):
        pause = SharedPause()
        deep = True

    clock = ScriptedClock()
    backend = Deep([Step(ending="stall"), GOOD], info=ROW, clock=clock)
    backend.pause.hold(1.0)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.run)
            assert (await ask(backend, REQUEST, clock=clock, random=Random(1))).attempts == 2
            tasks.cancel_scope.cancel()
    assert clock.monotonic() > 301.0
