"""Whatever goes wrong behind the Responses API ends in one of our errors, and a part is never a whole."""

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
from tests.backends.chats import hurried_reply_of
from tests.backends.responses_events import (
    BUSY,
    CREATED,
    HELLO,
    KEY,
    REQUEST,
    call,
    completed,
    deltas_of,
    done,
    event,
    message,
    open_model,
    refusal,
    reply_of,
    response,
    said,
    stream,
    text_delta,
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
    sse,
    sse_head,
    wire,
)

pytestmark = pytest.mark.anyio

HALF = stream(CREATED, text_delta("Hel"), end=False)


async def failure(pool: Pool, *actions: Action, **options: Any) -> BackendError:
    """What one attempt ends in."""
    async with wire(actions) as server:
        backend = await open_model(server, pool, **options)
        with pytest.raises(BackendError) as caught:
            await deltas_of(backend)
    return caught.value


def ended(status: str, *items: object, **fields: Any) -> dict[str, Any]:
    return event(f"response.{status}", response=response(*items, status=status, **fields))


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (401, refusal("Bad key.", code="invalid_api_key"), "auth", False),
        (403, refusal("Not for your country."), "auth", False),
        (404, refusal("No such model", code="model_not_found"), "not_found", False),
        (400, refusal("Too long.", "input", "context_length_exceeded"), "context", False),
        (400, refusal("Your prompt was flagged.", None, "invalid_prompt"), "refusal", False),
        (400, refusal("No biology.", None, "bio_policy"), "refusal", False),
        (400, refusal("Invalid schema for function 'vote'", "tools[0].parameters"), "bad_request", False),
        (429, refusal("Slow down.", code="rate_limit_exceeded"), "rate_limit", True),
        (429, refusal("No credit.", code="insufficient_quota"), "quota", False),
        (500, refusal("Oops."), "overloaded", True),
        (503, {"code": "busy", "error": "xAI is at capacity"}, "overloaded", True),
    ],
)
async def test_each_status_has_its_kind(
    pool: Pool,
    status: int,
    body: dict[str, Any],
    kind: FailureKind,
    retryable: bool,  # noqa: FBT001 - a row of the table
) -> None:
    error = await failure(pool, http_json(status, body, retry_after="3"))
    assert (error.kind, error.retryable, error.connected, error.requests) == (kind, retryable, True, 1)
    if error.kind != "refusal":
        assert error.retry_after == 3.0
    assert str(error).endswith(error.remedy)


async def test_the_text_says_who_what_and_what_to_do(pool: Pool) -> None:
    error = await failure(pool, http_json(401, refusal("That key is no good.")))
    host = str(error).partition(" ")[0]
    assert host.startswith("127.0.0.1:")
    assert str(error) == (
        f"{host} refused the key in the backend block (401): That key is no good. "
        "Set a valid key, or give `api_key` in the backend block."
    )


@pytest.mark.parametrize(
    ("last", "kind", "words"),
    [
        (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length", "max_tokens"),
        (ended("incomplete", incomplete_details={"reason": "content_filter"}), "refusal", "content filter"),
        (
            ended("incomplete", incomplete_details={"reason": "steered"}),
            "protocol",
            "stopped early (steered)",
        ),
        (ended("incomplete"), "protocol", "no reason given"),
        (ended("cancelled"), "protocol", "cancelled"),
        (ended("failed", error=BUSY), "overloaded", "The model is busy."),
        (ended("failed"), "overloaded", "out of order"),
        (ended("failed", error={"code": "rate_limit_exceeded", "message": "Slow."}), "rate_limit", "Slow."),
        (ended("failed", error={"code": "insufficient_quota", "message": "Pay."}), "quota", "Pay."),
        (ended("failed", error={"code": "invalid_prompt", "message": "Flagged."}), "refusal", "Flagged."),
        (ended("failed", error={"code": "bio_policy", "message": "No."}), "refusal", "No."),
        (ended("failed", error={"code": "misalignment_policy_violation"}), "refusal", "misalignment"),
        (ended("failed", error={"code": "invalid_image", "message": "Blank."}), "bad_request", "Blank."),
        (ended("failed", error={"code": "context_length_exceeded", "message": "Long."}), "context", "Long."),
        (event("error", code="server_error", message="Oops.", param=None), "overloaded", "Oops."),
        (event("error", code="rate_limit_exceeded", message="Slow."), "rate_limit", "Slow."),
        (event("error", error={"code": "invalid_prompt", "message": "Flagged."}), "refusal", "Flagged."),
        (event("error", error={"type": "overloaded_error", "message": "Busy."}), "overloaded", "Busy."),
        (event("error"), "overloaded", "out of order"),
        (completed(message("Hel"), status="incomplete"), "protocol", "stopped early"),
        (
            completed(message("Hel"), incomplete_details={"reason": "max_output_tokens"}),
            "length",
            "max_tokens",
        ),
        (completed(message("Hel"), error=BUSY), "overloaded", "The model is busy."),
        (completed(message("Hel"), status="failed"), "overloaded", "out of order"),
    ],
)
async def test_a_reply_that_did_not_end_well_is_no_answer(
    pool: Pool, last: dict[str, Any], kind: FailureKind, words: str
) -> None:
    error = await failure(pool, stream(CREATED, text_delta("Hel"), done(message("Hel")), last))
    assert error.kind == kind
    assert words in str(error)
    whole = last.get("response", {})
    if whole.get("error") or whole.get("incomplete_details"):
        in_one_piece = await failure(pool, http_json(200, whole))
        assert in_one_piece.kind == kind


async def test_a_refusal_is_told_in_the_model_s_words(pool: Pool) -> None:
    item = message(content=[{"type": "refusal", "refusal": "I can't help with that."}])
    delta = event("response.refusal.delta", delta="I can't help with that.")
    error = await failure(pool, stream(CREATED, delta, done(item), completed(item)))
    assert (error.kind, error.retryable) == ("refusal", False)
    assert "I can't help with that." in str(error)


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ([http(200, b"<html>login</html>", "text/html")], "it is text/html"),
        ([http(200, b"", "")], "it is of no type"),
        ([http(200, b"", "text/event-stream")], "without response.completed"),
        ([sse()], "without response.completed"),
        ([stream(CREATED)], "without response.completed"),
        ([stream(CREATED, text_delta("Hel"), done(message()))], "without response.completed"),
        ([sse({"choices": []}, {}, 5, "text", [], done=True)], "without response.completed"),
        ([sse(None, done=False)], "without response.completed"),
        ([sse(b"data: {broken\n\n")], "not JSON"),
        ([sse(b"data: \xff\xfe\n\n")], "not JSON"),
        ([sse(b"data: " + b"[" * 100_000 + b"\n\n")], "not JSON"),
        ([http(200, b"not json", "application/json")], "not JSON"),
        ([http(200, b"[]", "application/json")], "not a response"),
        ([http(200, b'{"object":"response","status":"in_progress"}', "application/json")], "not a response"),
        ([said(call(name=None))], "no name or no id"),
        ([said(call(call_id=""))], "no name or no id"),
        ([said(call(status="incomplete"))], "is incomplete"),
        (
            [
                stream(
                    event("response.output_item.added", item=call("")),
                    done(message(), 1),
                    completed(message()),
                )
            ],
            "begun and never finished",
        ),
        (
            [stream(event("response.output_item.added", item=message("")), completed())],
            "begun and never finished",
        ),
    ],
)
async def test_bytes_that_are_no_whole_reply_are_never_an_answer(
    pool: Pool, actions: list[Action], words: str
) -> None:
    error = await failure(pool, *actions)
    assert (error.kind, error.retryable) == ("protocol", True)
    assert words in str(error)


async def test_an_empty_reply_is_tried_once_more(pool: Pool) -> None:
    async with wire(stream(CREATED, completed()), HELLO) as server:
        reply = await reply_of(await open_model(server, pool))
    assert (reply.text, reply.attempts) == ("Hello.", 2)


@pytest.mark.parametrize("end", [Cut(), Reset()])
async def test_a_connection_lost_in_the_middle_is_tried_again_from_the_start(pool: Pool, end: Action) -> None:
    heard: list[Delta] = []
    async with wire([HALF, end], [end], HELLO) as server:
        reply = await hurried_reply_of(await open_model(server, pool), listen=heard.append)
    assert (reply.text, reply.attempts, reply.usage.requests) == ("Hello.", 3, 3)
    assert TextDelta(text="Hel") in heard
    assert [delta.attempt for delta in heard if isinstance(delta, Restarted)] == [2, 3]
    assert len({sent.body for sent in server.requests}) == 1


async def test_a_connection_lost_after_the_end_costs_nothing(pool: Pool) -> None:
    whole = stream(CREATED, done(message()), completed(message()), end=False)
    async with wire([whole, Reset()], HELLO) as server:
        reply = await reply_of(await open_model(server, pool))
    assert (reply.text, reply.attempts) == ("Hello.", 1)


async def test_a_rate_limit_inside_the_stream_holds_back_and_is_tried_again(pool: Pool) -> None:
    limited = stream(CREATED, event("error", code="rate_limit_exceeded", message="Slow."))
    clock = ScriptedClock()
    async with wire(limited, HELLO) as server:
        backend = await open_model(server, pool, clock=clock)
        replies: list[str] = []

        async def run() -> None:
            replies.append((await ask(backend, REQUEST, clock=clock, random=Random(1))).text)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                while not replies:
                    await clock.advance(1.0)
                    await anyio.sleep(0.005)  # the bytes are on their way through a socket
    assert replies == ["Hello."]


async def test_a_refused_connection_was_never_a_request(pool: Pool) -> None:
    backend = await open_model(f"http://127.0.0.1:{closed_port()}/v1", pool)
    with pytest.raises(BackendError) as caught:
        await reply_of(backend)
    error = caught.value
    assert (error.kind, error.attempts, error.requests) == ("network", 2, 0)
    assert error.remedy == "Start the server, or correct `base_url`."


@pytest.mark.parametrize("echo", [KEY, KEY[:14] + "********ghij", f"Bearer {KEY}"])
async def test_a_key_appears_nowhere(pool: Pool, echo: str) -> None:
    secrets = Secrets()
    words = f"Incorrect API key provided: {echo}."
    answers = [
        http_json(401, refusal(words)),
        http(500, words.encode()),
        stream(CREATED, event("error", code="x", message=words)),
        stream(CREATED, ended("failed", error={"code": "invalid_prompt", "message": words})),
        http_json(200, {"error": {"message": words}}),
    ]
    async with wire(*answers) as server:
        backend = await open_model(server, pool, secrets=secrets)
        for _ in answers:
            with pytest.raises(BackendError) as caught:
                await deltas_of(backend)
            error = caught.value
            shown = [str(error), repr(error), error.remedy, repr(vars(error)), repr(backend)]
            assert all(KEY[:8] not in text for text in shown)
            assert KEY not in "".join(traceback.format_exception(error))


async def test_a_stall_ends_at_the_limit_and_its_connection_is_closed(pool: Pool) -> None:
    clock = ScriptedClock()
    streamed = anyio.Event()
    replies: list[str] = []

    def listen(delta: Delta) -> None:
        if isinstance(delta, TextDelta):
            streamed.set()

    async with wire([HALF, Stall()], HELLO) as server:
        backend = await open_model(server, pool, clock=clock)

        async def run() -> None:
            reply = await ask(backend, REQUEST, clock=clock, random=Random(1), listen=listen)
            replies.append(reply.text)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await streamed.wait()
                await clock.advance(119.0)
                assert not server.requests[0].left.is_set()
                await clock.advance(2.0)
                await server.requests[0].left.wait()
                await clock.advance(2.0)
    assert replies == ["Hello."]


async def test_tool_arguments_and_searches_are_signs_of_life(pool: Pool) -> None:
    clock = ScriptedClock()
    pings = [anyio.Event() for _ in range(3)]
    signs = [
        event("response.web_search_call.searching", item_id="ws_1", output_index=0),
        event("response.function_call_arguments.delta", delta='{"answer', output_index=1),
    ]
    actions: list[Action] = [sse_head()]
    for ping, sign in zip(pings, signs, strict=False):
        actions += [Until(ping), part(b"data: " + json.dumps(sign).encode() + b"\n\n")]
    actions += [Until(pings[2]), stream(done(call()), completed(call()))[len(sse_head()) :]]
    async with wire(actions) as server:
        backend = await open_model(server, pool, clock=clock)
        finished = anyio.Event()

        async def run() -> None:
            reply = await ask(backend, REQUEST, clock=clock, random=Random(1))
            assert reply.attempts == 1
            finished.set()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await server.request()
                for ping in pings:
                    await clock.advance(100.0)
                    ping.set()
                    await anyio.sleep(0.02)  # the bytes are on their way through a socket
                await finished.wait()


async def test_cancelling_closes_the_connection(pool: Pool) -> None:
    async with wire([HALF, Stall()]) as server:
        backend = await open_model(server, pool)
        begun = anyio.Event()

        async def read() -> None:
            async with backend.stream(REQUEST) as deltas:
                async for _ in deltas:
                    begun.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await begun.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await server.requests[0].left.wait()


async def test_leaving_early_closes_the_connection(pool: Pool) -> None:
    async with wire([HALF, Stall()]) as server:
        backend = await open_model(server, pool)
        async with backend.stream(REQUEST) as deltas:
            async for delta in deltas:
                assert delta == TextDelta(text="Hel")
                break
        with anyio.fail_after(5):
            await server.requests[0].left.wait()


async def test_a_redirect_is_not_followed_and_the_prompt_stays_here(pool: Pool) -> None:
    async with wire(HELLO) as elsewhere:
        error = await failure(pool, http(307, b"", location=f"{elsewhere.url}/responses"))
        assert elsewhere.requests == []
    assert (error.kind, error.retryable) == ("bad_request", False)


async def test_a_reply_larger_than_the_limit_is_cut_off(anyio_backend: str) -> None:
    small = Pool(proxies={}, max_bytes=50_000)
    try:
        error = await failure(small, stream(CREATED, text_delta("x" * 200_000), completed(message())))
    finally:
        await small.aclose()
    assert (error.kind, error.retryable) == ("protocol", False)
    assert "larger than" in str(error)
