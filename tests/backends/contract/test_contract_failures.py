"""Whatever goes wrong with a provider, every backend says the same of it: one body for all of them.

Each failure is what is left after as many tries as make sense, so that these tests also hold that nobody
below the one retry layer tries again.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import anyio
import pytest

from massgen_mcp.backends.limits import RequestLimits
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.retry import MAX_ATTEMPTS, ask
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import Delta, Restarted, TextDelta
from tests.backends.contract.dialect import SENTENCE, Dialect
from tests.backends.contract.seats import KEY, REQUEST, Seat, beside, deltas_of, reply_of, seats
from tests.backends.wire import Action, Cut, Hurried, Reset, Stall, closed_port, http, wire

pytestmark = [pytest.mark.anyio, seats()]

WORDS = f"{SENTENCE} about {KEY}"
"""What the provider says each time: a sentence, and the key, as careless ones do."""
HTML = b"<html><title>Please log in</title></html>"


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What becomes of a situation."""

    kind: FailureKind
    tries: int = 1
    """How often it is asked in all; more than once means that it is `retryable`."""
    words: str = ""
    """What the error has to say."""


Situation = Callable[[Dialect], Sequence[Action]]


def fault(name: str) -> Situation:
    return lambda dialect: [dialect.faults(WORDS)[name].response()]


SITUATIONS: Mapping[str, tuple[Situation, Fate]] = {
    "401": (fault("auth"), Fate(kind="auth", words=SENTENCE)),
    "403": (fault("forbidden"), Fate(kind="auth", words=SENTENCE)),
    "404": (fault("not_found"), Fate(kind="not_found", words=SENTENCE)),
    "429": (fault("rate_limit"), Fate(kind="rate_limit", tries=MAX_ATTEMPTS, words=SENTENCE)),
    "no quota": (fault("quota"), Fate(kind="quota", words=SENTENCE)),
    "500": (fault("broken"), Fate(kind="overloaded", tries=MAX_ATTEMPTS, words=SENTENCE)),
    "503": (fault("busy"), Fate(kind="overloaded", tries=MAX_ATTEMPTS, words=SENTENCE)),
    "too long": (fault("context"), Fate(kind="context", words=SENTENCE)),
    "bad parameter": (fault("bad_request"), Fate(kind="bad_request", words=SENTENCE)),
    "refusal": (lambda dialect: [dialect.declined(WORDS)], Fate(kind="refusal", words=SENTENCE)),
    "cut at the limit": (lambda dialect: [dialect.cut_off()], Fate(kind="length")),
    "error in a success": (
        lambda dialect: [dialect.reported(WORDS)],
        Fate(kind="overloaded", tries=MAX_ATTEMPTS, words=SENTENCE),
    ),
    "page": (lambda _: [http(200, HTML, "text/html")], Fate(kind="protocol", tries=2, words="text/html")),
    "nothing": (
        lambda _: [http(200, b"", "text/event-stream")],
        Fate(kind="protocol", tries=MAX_ATTEMPTS),
    ),
    "garbage": (
        lambda _: [http(200, b"{not json", "application/json")],
        Fate(kind="protocol", tries=MAX_ATTEMPTS, words="not JSON"),
    ),
    "no reply": (
        lambda _: [http(200, b"[]", "application/json")],
        Fate(kind="protocol", tries=MAX_ATTEMPTS),
    ),
    "broken event": (
        lambda dialect: dialect.broken(),
        Fate(kind="protocol", tries=MAX_ATTEMPTS, words="not JSON"),
    ),
    "early end": (lambda dialect: [dialect.early()], Fate(kind="protocol", tries=MAX_ATTEMPTS)),
    "cut": (lambda dialect: [dialect.begun(), Cut()], Fate(kind="network", tries=MAX_ATTEMPTS)),
    "reset": (lambda dialect: [dialect.begun(), Reset()], Fate(kind="network", tries=MAX_ATTEMPTS)),
    "hung up": (lambda _: [Cut()], Fate(kind="network", tries=MAX_ATTEMPTS)),
    "redirect": (
        lambda _: [http(307, b"", location="https://elsewhere.example/v1/x")],
        Fate(kind="bad_request", words="elsewhere.example"),
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_each_failure_has_its_kind_its_tries_and_its_remedy(
    pool: Pool, seat: Seat, situation: str
) -> None:
    script, fate = SITUATIONS[situation]
    clock = Hurried()
    async with wire(*[script(seat.dialect)] * (MAX_ATTEMPTS + 1), beside=beside) as server:
        backend = await seat.open(server, pool)
        with pytest.raises(BackendError) as caught:
            await ask(backend, REQUEST, clock=clock, random=Random(1), limits=RequestLimits())
    error = caught.value
    assert (error.kind, error.retryable) == (fate.kind, fate.tries > 1)
    assert (error.attempts, error.requests, len(server.requests)) == (fate.tries, fate.tries, fate.tries)
    assert len({request.body for request in server.requests}) == 1
    assert fate.words in str(error)
    assert error.remedy
    assert str(error).endswith(error.remedy)
    assert KEY not in shown(error)
    if situation == "429":
        assert error.retry_after == 2
        assert min(clock.waits) >= 2


def shown(error: BackendError) -> str:
    """Everything of an error that anybody could see."""
    return "\n".join([str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)])


async def test_a_complete_reply_that_says_nothing_is_no_answer(pool: Pool, seat: Seat) -> None:
    async with wire(*[seat.dialect.empty()] * MAX_ATTEMPTS, beside=beside) as server:
        backend = await seat.open(server, pool)
        with pytest.raises(BackendError) as caught:
            await reply_of(backend)
    assert (caught.value.kind, caught.value.retryable) == ("protocol", True)
    assert caught.value.attempts == len(server.requests)


async def test_an_openai_policy_code_is_a_refusal(pool: Pool, seat: Seat) -> None:
    refused = seat.dialect.faults(WORDS).get("policy")
    if refused is None:
        return
    async with wire(refused.response(), beside=beside) as server:
        with pytest.raises(BackendError) as caught:
            await reply_of(await seat.open(server, pool))
    assert (caught.value.kind, caught.value.retryable) == ("refusal", False)


async def test_nobody_there_is_told_after_two_quick_tries(pool: Pool, seat: Seat) -> None:
    backend = await seat.open(f"http://127.0.0.1:{closed_port()}/v1", pool)
    with pytest.raises(BackendError) as caught:
        await reply_of(backend)
    error = caught.value
    assert (error.kind, error.connected, error.attempts, error.requests) == ("network", False, 2, 0)
    assert "connection refused" in str(error)
    assert error.remedy


async def test_what_streamed_before_a_break_is_void_and_the_whole_is_asked_again(
    pool: Pool, seat: Seat
) -> None:
    heard: list[Delta] = []
    script = [seat.dialect.begun(), Cut()], [seat.dialect.said("Hello.")]
    async with wire(*script, beside=beside) as server:
        reply = await reply_of(await seat.open(server, pool), listen=heard.append)
    assert (reply.text, reply.attempts, reply.usage.requests) == ("Hello.", 2, 2)
    assert heard == [TextDelta(text="Hel"), Restarted(attempt=2, why="network"), TextDelta(text="Hello.")]
    assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_takes_neither_prompt_nor_key_elsewhere(pool: Pool, seat: Seat, status: int) -> None:
    async with wire(seat.dialect.said("x")) as elsewhere:
        moved = http(status, b"", location=f"{elsewhere.url}/moved")
        async with wire(moved, beside=beside) as server:
            with pytest.raises(BackendError, match=f"redirects to .*{status}"):
                await reply_of(await seat.open(server, pool))
    assert elsewhere.connections == 0


async def test_cancelling_closes_the_connection(pool: Pool, seat: Seat) -> None:
    async with wire([seat.dialect.begun(), Stall()], beside=beside) as server:
        backend = await seat.open(server, pool)
        begun = anyio.Event()

        async def listen() -> None:
            async with backend.stream(REQUEST) as deltas:
                async for _ in deltas:
                    begun.set()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                await begun.wait()
                tasks.cancel_scope.cancel()
            await server.requests[0].left.wait()


async def test_leaving_a_stream_closes_the_connection(pool: Pool, seat: Seat) -> None:
    async with wire([seat.dialect.begun(), Stall()], beside=beside) as server:
        backend = await seat.open(server, pool)
        async with backend.stream(REQUEST) as deltas:
            assert await anext(deltas) == TextDelta(text="Hel")
        with anyio.fail_after(5):
            await server.requests[0].left.wait()


async def test_the_key_is_in_the_header_it_belongs_in_and_nowhere_else(
    pool: Pool, seat: Seat, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with wire(seat.dialect.said("Hello."), beside=beside) as server:
        backend = await seat.open(server, pool)
        *_, reply = await deltas_of(backend)
    sent = server.requests[0]
    holding = {name for name, value in sent.headers.items() if KEY in value}
    assert holding
    assert holding <= seat.dialect.key_headers
    assert KEY not in sent.target
    assert KEY not in sent.body.decode()
    for text in (repr(backend), repr(reply), repr(pool), repr(vars(backend)), caplog.text):
        assert KEY not in text
