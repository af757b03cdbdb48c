"""Whatever goes wrong with the Messages API ends in one of our errors, and never shows a key."""

from __future__ import annotations

import json
import traceback
from random import Random
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import Delta, Restarted, TextDelta
from massgen_mcp.secrets import Secrets
from tests.backends.chats import deltas_of, hurried_reply_of, reply_of
from tests.backends.claudes import (
    HELLO,
    KEY,
    REQUEST,
    called,
    event,
    message,
    open_claude,
    refusal,
    start,
    stop,
    written,
)
from tests.backends.wire import (
    Action,
    Cut,
    Reset,
    Stall,
    Until,
    closed_port,
    http,
    http_json,
    part,
    sse_head,
    wire,
)

pytestmark = pytest.mark.anyio

HALF = sse_head() + part(start()) + part(written(0, "Hel"))


async def failure(pool: Pool, *actions: Action, **options: Any) -> BackendError:
    """What one attempt ends in."""
    async with wire(actions) as server:
        backend = await open_claude(server, pool, **options)
        with pytest.raises(BackendError) as caught:
            await deltas_of(backend, REQUEST)
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind_said", "words", "kind", "retryable"),
    [
        (401, "authentication_error", "invalid x-api-key", "auth", False),
        (402, "billing_error", "No credit.", "quota", False),
        (400, "invalid_request_error", "Your credit balance is too low to access the API.", "quota", False),
        (403, "permission_error", "Not for your workspace.", "auth", False),
        (404, "not_found_error", "model: claude-nobody", "not_found", False),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
            "context",
            False,
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease",
            "context",
            False,
        ),
        (413, "request_too_large", "Request exceeds the maximum size", "context", False),
        (400, "invalid_request_error", "messages: must not be empty", "bad_request", False),
        (429, "rate_limit_error", "Slow down.", "rate_limit", True),
        (500, "api_error", "Internal server error", "overloaded", True),
        (504, "timeout_error", "Took too long.", "overloaded", True),
        (529, "overloaded_error", "Overloaded", "overloaded", True),
    ],
)
async def test_each_status_has_its_kind(
    pool: Pool,
    status: int,
    kind_said: str,
    words: str,
    kind: FailureKind,
    retryable: bool,  # noqa: FBT001 - a row of the table
) -> None:
    error = await failure(pool, refusal(words, status, kind_said))
    assert (error.kind, error.retryable, error.connected, error.requests) == (kind, retryable, True, 1)
    assert str(status) in str(error)
    assert str(error).endswith(error.remedy)
    assert error.remedy


@pytest.mark.parametrize("code", ["contract_spend_limit_reached", "enforced_spend_limit_reached"])
async def test_a_spending_limit_is_no_rate_limit(pool: Pool, code: str) -> None:
    said = {"type": "rate_limit_error", "message": "Limit reached.", "details": {"error_code": code}}
    error = await failure(pool, http_json(429, {"type": "error", "error": said}))
    assert (error.kind, error.retryable) == ("quota", False)


async def test_the_text_says_who_what_and_what_to_do(pool: Pool) -> None:
    async with wire(refusal("invalid x-api-key", 401, "authentication_error")) as server:
        with pytest.raises(BackendError) as caught:
            await reply_of(await open_claude(server, pool), REQUEST)
    assert str(caught.value) == (
        f"127.0.0.1:{server.port} refused the key in the backend block (401): invalid x-api-key. "
        "Set a valid key, or give `api_key` in the backend block."
    )


async def test_what_the_provider_asks_to_wait_is_read(pool: Pool) -> None:
    limited = await failure(pool, refusal("Slow down.", 429, "rate_limit_error", retry_after="7"))
    final = await failure(pool, refusal("Oops.", 500, "api_error", x_should_retry="false"))
    assert (limited.retry_after, final.retryable) == (7.0, False)


async def test_the_package_itself_never_tries_again(pool: Pool) -> None:
    async with wire(refusal("Overloaded", 529, "overloaded_error"), HELLO) as server:
        with pytest.raises(BackendError):
            await deltas_of(await open_claude(server, pool), REQUEST)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ([http(200, b"<html>login</html>", "text/html")], "it is text/html"),
        ([http(200, b"", "")], "it is of no type"),
        ([http(200, b"", "text/event-stream")], "without message_stop"),
        ([message()], "without message_stop"),
        ([message(start(), written(0, "Hel"))], "without message_stop"),
        (
            [message(start(), written(0, "Hello."), stop().partition(b"event: message_stop")[0])],
            "message_stop",
        ),
        ([message(start(), written(0, "Hello."), event("message_stop"))], "without a stop_reason"),
        ([message(start(), written(0, "Hello."), stop(None))], "without a stop_reason"),
        ([message(event("message_stop"))], "without a stop_reason"),
        ([message(b"event: message_start\ndata: {broken\n\n")], "not JSON"),
        ([message(b"event: message_start\ndata: \xff\xfe\n\n")], "not JSON"),
        ([message(b"event: x\ndata: " + b"[" * 100_000 + b"\n\n")], "not JSON"),
        ([message(b"data: 5\n\ndata: []\n\ndata: {}\n\n")], "without message_stop"),
        ([message(event("content_block_delta", index=3, delta={}))], "belongs to no block"),
        ([message(start(), called(0, "", "{}"), stop("tool_use"))], "has no name"),
        ([message(start(), called(0, "vote", "{}", id=""), stop("tool_use"))], "has no name or no id"),
        ([http(200, b"not json", "application/json")], "not JSON"),
        ([http(200, b"[]", "application/json")], "not a message"),
        ([http(200, b'{"content": "Hello."}', "application/json")], "not a message"),
        ([http(200, b'{"content": []}', "application/json")], "without a stop_reason"),
    ],
)
async def test_bytes_that_are_no_whole_reply_are_never_an_answer(
    pool: Pool, actions: list[Action], words: str
) -> None:
    error = await failure(pool, *actions)
    assert (error.kind, error.retryable, error.requests) == ("protocol", True, 1)
    assert words in str(error)


@pytest.mark.parametrize(
    ("reported", "kind"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "overloaded"),
        ({"type": "api_error", "message": "Internal"}, "overloaded"),
        ({"type": "rate_limit_error", "message": "Slow down"}, "rate_limit"),
        ({"type": "invalid_request_error", "message": "prompt is too long"}, "context"),
        ({"type": "invalid_request_error", "message": "No"}, "bad_request"),
        ({"type": "authentication_error", "message": "Who?"}, "auth"),
        ("just words", "overloaded"),
    ],
)
async def test_an_error_inside_a_success_is_still_an_error(
    pool: Pool, reported: object, kind: FailureKind
) -> None:
    in_stream = await failure(pool, message(start(), written(0, "Hel"), event("error", error=reported)))
    in_body = await failure(pool, http_json(200, {"type": "error", "error": reported}))
    assert (in_stream.kind, in_body.kind) == (kind, kind)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("max_tokens", "length"), ("refusal", "refusal"), ("model_context_window_exceeded", "context")],
)
async def test_a_reply_that_did_not_end_well_is_no_answer(pool: Pool, reason: str, kind: FailureKind) -> None:
    events = [written(0, "Half an ans"), called(1, "vote", '{"answer": "untermin'), stop(reason)]
    error = await failure(pool, message(start(), *events))
    assert (error.kind, error.retryable) == (kind, False)
    assert str(error).endswith(error.remedy)


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"type": "refusal", "category": "cyber", "explanation": "It is malware."}, "It is malware."),
        ({"type": "refusal", "category": "bio", "explanation": None}, "bio"),
        (None, "declined to answer"),
    ],
)
async def test_a_refusal_is_told_in_the_provider_s_words(pool: Pool, details: object, words: str) -> None:
    error = await failure(pool, message(start(), stop("refusal", delta={"stop_details": details})))
    assert (error.kind, error.retryable) == ("refusal", False)
    assert words in str(error)


async def test_a_reply_paused_without_end_is_given_up(pool: Pool) -> None:
    paused = message(start(), written(0, "a"), stop("pause_turn"))
    async with wire(*[paused] * 7) as server:
        with pytest.raises(BackendError, match="paused 6 times") as caught:
            await reply_of(await open_claude(server, pool), REQUEST)
    assert (caught.value.kind, caught.value.retryable) == ("protocol", False)
    assert (caught.value.attempts, caught.value.requests, len(server.requests)) == (1, 6, 6)


async def test_all_requests_of_an_attempt_are_counted_when_the_last_fails(pool: Pool) -> None:
    paused = message(start(), written(0, "a"), stop("pause_turn"))
    refused = refusal("temperature: Extra inputs are not permitted")
    exchanges = [refused, paused, message(start(), written(0, "b"), stop("max_tokens"))]
    async with wire(*exchanges) as server:
        with pytest.raises(BackendError) as caught:
            await reply_of(await open_claude(server, pool, temperature=1.0), REQUEST)
    assert (caught.value.kind, caught.value.attempts, caught.value.requests) == ("length", 1, 3)


async def test_an_empty_reply_is_asked_for_once_more(pool: Pool) -> None:
    empty = message(start(), stop())
    async with wire(empty, HELLO) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert (reply.text, reply.attempts, reply.usage.requests) == ("Hello.", 2, 2)


@pytest.mark.parametrize("end", [Cut(), Reset()])
async def test_a_connection_lost_in_the_middle_is_tried_again_from_the_start(pool: Pool, end: Action) -> None:
    heard: list[Delta] = []
    async with wire([HALF, end], [end], HELLO) as server:
        reply = await hurried_reply_of(await open_claude(server, pool), REQUEST, listen=heard.append)
    assert (reply.text, reply.attempts, reply.usage.requests) == ("Hello.", 3, 3)
    assert TextDelta(text="Hel") in heard
    assert [delta.attempt for delta in heard if isinstance(delta, Restarted)] == [2, 3]
    assert len({sent.body for sent in server.requests}) == 1


async def test_a_connection_kept_open_after_the_last_event_holds_nothing_up(pool: Pool) -> None:
    open_end = message(start(), written(0, "Hello."), stop(), end=False)
    async with wire([open_end, Stall()]) as server:
        with anyio.fail_after(5):
            reply = await reply_of(await open_claude(server, pool), REQUEST)
            await server.requests[0].left.wait()
    assert reply.text == "Hello."


async def test_what_comes_after_the_last_event_changes_nothing(pool: Pool) -> None:
    garbage = event("ping") + b"event: x\ndata: {broken\n\n"
    async with wire(message(start(), written(0, "Hello."), stop(), garbage), [HALF, Cut()]) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert reply.text == "Hello."


async def test_a_refused_connection_was_never_a_request(pool: Pool) -> None:
    backend = await open_claude(f"http://127.0.0.1:{closed_port()}", pool)
    with pytest.raises(BackendError) as caught:
        await reply_of(backend, REQUEST)
    error = caught.value
    assert (error.kind, error.attempts, error.requests) == ("network", 2, 0)
    assert "connection refused" in str(error)


async def test_pings_and_arguments_are_signs_of_life(pool: Pool) -> None:
    clock = ScriptedClock()
    pings = [anyio.Event() for _ in range(3)]
    call = called(0, "vote", '{"answer"', ': "a"}')
    actions: list[Action] = [
        sse_head(),
        Until(pings[0]),
        part(event("ping")),
        Until(pings[1]),
        part(start() + call[:300]),
        Until(pings[2]),
        part(call[300:] + stop("tool_use")) + part(b""),
    ]
    async with wire(actions) as server:
        backend = await open_claude(server, pool, clock=clock)
        done = anyio.Event()

        async def run() -> None:
            reply = await ask(backend, REQUEST, clock=clock, random=Random(1))
            assert (reply.attempts, len(reply.calls)) == (1, 1)
            done.set()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await server.request()
                for ping in pings:
                    await clock.advance(100.0)
                    ping.set()
                    await anyio.sleep(0.02)  # the bytes are on their way through a socket
                await done.wait()


async def test_a_stall_ends_at_the_limit_and_its_connection_is_closed(pool: Pool) -> None:
    clock = ScriptedClock()
    streamed = anyio.Event()

    def listen(delta: Delta) -> None:
        if isinstance(delta, TextDelta):
            streamed.set()

    async with wire([HALF, Stall()], HELLO) as server:
        backend = await open_claude(server, pool, clock=clock)
        replies: list[str] = []

        async def run() -> None:
            reply = await ask(backend, REQUEST, clock=clock, random=Random(1), listen=listen)
            replies.append(reply.text)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await streamed.wait()
                await clock.advance(121.0)
                await server.requests[0].left.wait()
                await clock.advance(2.0)
    assert replies == ["Hello."]


async def test_cancelling_closes_the_connection(pool: Pool) -> None:
    paused = message(start(), written(0, "a"), stop("pause_turn"))
    async with wire([HALF, Stall()], paused, [HALF, Stall()]) as server:
        backend = await open_claude(server, pool)
        for number in (1, 3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(deltas_of, backend, REQUEST)
                await server.request(number)
                await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            with anyio.fail_after(5):
                await server.requests[number - 1].left.wait()


@pytest.mark.parametrize("status", [301, 307])
async def test_a_redirect_is_not_followed_and_the_prompt_stays_here(pool: Pool, status: int) -> None:
    async with wire(HELLO) as elsewhere:
        error = await failure(pool, http(status, b"", location=f"{elsewhere.url}/messages"))
        assert elsewhere.requests == []
    assert (error.kind, error.retryable) == ("bad_request", False)
    assert "`base_url`" in error.remedy


async def test_a_reply_larger_than_the_limit_is_cut_off(anyio_backend: str) -> None:
    small = Pool(proxies={}, max_bytes=50_000)
    try:
        error = await failure(small, message(start(), written(0, "x" * 200_000), stop()))
    finally:
        await small.aclose()
    assert (error.kind, error.retryable) == ("protocol", False)
    assert "larger than" in str(error)


@pytest.mark.parametrize("echo", [KEY, KEY[:16] + "********ghij", f"Bearer {KEY}"])
async def test_a_key_appears_nowhere(pool: Pool, echo: str) -> None:
    secrets = Secrets()
    words = f"invalid x-api-key: {echo}."
    async with wire(refusal(words, 401, "authentication_error")) as server:
        backend = await open_claude(server, pool, secrets=secrets)
        with pytest.raises(BackendError) as caught:
            await deltas_of(backend, REQUEST)
    error = caught.value
    shown = [str(error), repr(error), error.remedy, repr(vars(error)), repr(backend), repr(secrets)]
    for text in shown:
        assert KEY[:12] not in text
    assert "[api_key]" in str(error) or "[redacted]" in str(error)


async def test_the_key_is_not_in_the_traceback_of_our_error(pool: Pool) -> None:
    echoed: list[bytes] = [
        refusal(f"No {KEY}.", 401, "authentication_error"),
        http(500, KEY.encode()),
        message(event("error", error={"type": "api_error", "message": KEY})),
        message(b"event: x\ndata: {" + json.dumps(KEY).encode() + b"\n\n"),
    ]
    for response in echoed:
        error = await failure(pool, response)
        assert KEY not in "".join(traceback.format_exception(error))
