"""Whatever goes wrong with a provider ends in one of our errors: what, why, what to do, and never a key."""

from __future__ import annotations

import gzip
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
from tests.backends.chats import (
    HELLO,
    KEY,
    REQUEST,
    USAGE,
    chunk,
    deltas_of,
    finish,
    hurried_reply_of,
    open_chat,
    reply_of,
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

HALF = sse_head() + part(b"data: " + json.dumps(chunk(content="Hel")).encode() + b"\n\n")


async def failure(pool: Pool, *actions: Action, **options: Any) -> BackendError:
    """What one attempt ends in."""
    async with wire(actions) as server:
        backend = await open_chat(server, pool, **options)
        with pytest.raises(BackendError) as caught:
            await deltas_of(backend)
    return caught.value


def said(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "retryable"),
    [
        (401, said("Bad key.", code="invalid_api_key"), "auth", False),
        (402, said("No money."), "quota", False),
        (403, said("Not for your country."), "auth", False),
        (403, said("Blocked by content_filter", code="content_filter"), "refusal", False),
        (404, said("No such model", code="model_not_found"), "not_found", False),
        (410, said("Gone."), "not_found", False),
        (400, said("The model `m` does not exist", code="model_not_found"), "not_found", False),
        (400, said("Too long.", code="context_length_exceeded"), "context", False),
        (400, said("This model's maximum context length is 10 tokens, max_tokens too"), "context", False),
        (413, said("Payload"), "context", False),
        (400, said("`messages` must not be empty"), "bad_request", False),
        (422, {"detail": [{"msg": "field required", "loc": ["body"]}]}, "bad_request", False),
        (405, said("Not like this."), "bad_request", False),
        (408, said("Slow."), "overloaded", True),
        (409, said("Conflict."), "overloaded", True),
        (429, said("Slow down.", type="rate_limit_error"), "rate_limit", True),
        (429, said("You exceeded your current quota", code="insufficient_quota"), "quota", False),
        (500, said("Oops."), "overloaded", True),
        (501, said("Never."), "bad_request", False),
        (503, said("Busy."), "overloaded", True),
        (529, said("Overloaded.", type="overloaded_error"), "overloaded", True),
    ],
)
async def test_each_status_has_its_kind(
    pool: Pool,
    status: int,
    body: dict[str, Any],
    kind: FailureKind,
    retryable: bool,  # noqa: FBT001 - a row of the table
) -> None:
    error = await failure(pool, http_json(status, body))
    assert (error.kind, error.retryable, error.connected, error.requests) == (kind, retryable, True, 1)
    assert str(status) in str(error)
    assert error.remedy
    assert str(error).endswith(error.remedy)


async def test_the_text_says_who_what_and_what_to_do(pool: Pool) -> None:
    error = await failure(pool, http_json(401, said("That key is no good.")), type="groq")
    assert str(error) == (
        "Groq refused the key in the backend block (401): That key is no good. "
        "Set a valid key, or give `api_key` in the backend block."
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after": "Fri, 20 Jun 2025 15:06:40 GMT"}, 5200.0),
        ({"retry_after": "Fri, 20 Jun 2025 00:00:00"}, 0.0),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
async def test_what_the_provider_asks_to_wait_is_read(
    pool: Pool, headers: dict[str, str], seconds: float | None
) -> None:
    clock = ScriptedClock(start=1_750_426_800.0)
    error = await failure(pool, http_json(429, said("Slow down."), **headers), clock=clock)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "wish", "retryable"),
    [(500, "false", False), (400, "true", True), (401, "true", False), (503, "true", True)],
)
async def test_a_provider_may_say_whether_to_try_again(
    pool: Pool,
    status: int,
    wish: str,
    retryable: bool,  # noqa: FBT001 - a row of the table
) -> None:
    error = await failure(pool, http_json(status, said("x"), x_should_retry=wish))
    assert error.retryable is retryable


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><body><h1>502 Bad\nGateway</h1></body></html>", "502 Bad Gateway"),
        (b'{"message": "top"}', "top"),
        (b'{"error": "plain"}', "plain"),
        (b'[{"error": {"message": "listed"}}]', "listed"),
        (b'{"detail": "fastapi"}', "fastapi"),
        (b"", ""),
        (b"{" * 2000, "{{{"),
        (b'{"error":' * 50 + b"1" + b"}" * 50, ""),
    ],
)
async def test_the_provider_s_words_are_found_in_whatever_it_sends(
    pool: Pool, body: bytes, words: str
) -> None:
    error = await failure(
        pool, http(502, body, "application/json" if body.startswith((b"{", b"[")) else "text/html")
    )
    assert words in str(error)
    assert len(str(error)) < 700


async def test_long_words_are_cut_and_hidden_characters_shown(pool: Pool) -> None:
    error = await failure(pool, http_json(500, said("\x1b[31m" + "long " * 500)))
    assert "␛[31m" in str(error)
    assert "…" in str(error)
    assert len(str(error)) < 700


@pytest.mark.parametrize("echo", [KEY, KEY[:14] + "********ghij", f"Bearer {KEY}"])
async def test_a_key_appears_nowhere(pool: Pool, echo: str) -> None:
    secrets = Secrets()
    async with wire(http_json(401, said(f"Incorrect API key provided: {echo}."))) as server:
        backend = await open_chat(server, pool, secrets=secrets)
        with pytest.raises(BackendError) as caught:
            await deltas_of(backend)
    error = caught.value
    shown = [
        str(error),
        repr(error),
        error.remedy,
        repr(vars(error)),
        repr(backend),
        repr(pool),
        repr(secrets),
    ]
    for text in shown:
        assert KEY[:8] not in text
    assert "[api_key]" in str(error) or "[redacted]" in str(error)


async def test_the_key_is_not_in_the_traceback_of_our_error(pool: Pool) -> None:
    echoed = [http_json(401, said(f"No {KEY}.")), http(500, KEY.encode()), sse({"error": {"message": KEY}})]
    for response in echoed:
        error = await failure(pool, response)
        assert KEY not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ([http(200, b"<html>login</html>", "text/html")], "it is text/html"),
        ([http(200, b"", "")], "it is of no type"),
        ([http(200, b"", "text/event-stream")], "without a finish_reason"),
        ([sse()], "without a finish_reason"),
        ([sse(USAGE, USAGE)], "without a finish_reason"),
        ([sse({"choices": []}, {"choices": None}, {}, [], 5, "text")], "without a finish_reason"),
        ([sse(chunk(content="Hel"))], "without a finish_reason"),
        ([sse({"choices": [{"index": 0, "delta": None}, 7, None]})], "without a finish_reason"),
        ([sse(chunk(content="Hello"), finish(), USAGE, done=False)], "without [DONE]"),
        ([sse(b"data: {broken\n\n")], "not JSON"),
        ([sse(b"data: \xff\xfe\n\n")], "not JSON"),
        ([sse(b"data: " + b"[" * 100_000 + b"\n\n")], "not JSON"),
        ([sse(chunk(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]), finish())], "has no name"),
        ([http(200, b"not json", "application/json")], "not JSON"),
        ([http(200, b"[]", "application/json")], "not a JSON object"),
        ([http(200, b"{}", "application/json")], "without a finish_reason"),
    ],
)
async def test_bytes_that_are_no_whole_reply_are_never_an_answer(
    pool: Pool, actions: list[Action], words: str
) -> None:
    error = await failure(pool, *actions)
    assert (error.kind, error.retryable) == ("protocol", True)
    assert words in str(error)


async def test_a_page_instead_of_a_reply_is_asked_for_twice_only(pool: Pool) -> None:
    page = http(200, b"<html>login</html>", "text/html")
    async with wire(page, page, HELLO) as server:
        with pytest.raises(BackendError, match="it is text/html") as caught:
            await reply_of(await open_chat(server, pool))
    assert (caught.value.attempts, len(server.requests)) == (2, 2)


@pytest.mark.parametrize(
    ("reported", "kind"),
    [
        ({"message": "Slow down", "code": 429}, "rate_limit"),
        ({"message": "Busy", "type": "overloaded_error"}, "overloaded"),
        ({"message": "Prompt is too long"}, "context"),
        ({"message": "No", "type": "invalid_request_error"}, "bad_request"),
        ({"message": "Who?", "code": "401"}, "auth"),
        ({"message": "Something"}, "overloaded"),
        ("just words", "overloaded"),
        ({"code": "insufficient_quota"}, "quota"),
    ],
)
async def test_an_error_inside_a_success_is_still_an_error(
    pool: Pool, reported: object, kind: FailureKind
) -> None:
    in_stream = await failure(pool, sse(chunk(content="Hel"), {"error": reported}))
    in_body = await failure(pool, http_json(200, {"error": reported}))
    in_event = await failure(
        pool, sse(b"event: error\ndata: " + json.dumps({"error": reported}).encode() + b"\n\n")
    )
    choice = {"index": 0, "delta": dict[str, str](), "error": reported}
    in_choice = await failure(pool, sse({"choices": [choice]}))
    assert {error.kind for error in (in_stream, in_body, in_event, in_choice)} == {kind}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("length", "length"),
        ("content_filter", "refusal"),
        ("model_length", "length"),
        ("error", "overloaded"),
    ],
)
async def test_a_reply_that_did_not_end_well_is_no_answer(pool: Pool, reason: str, kind: FailureKind) -> None:
    error = await failure(pool, sse(chunk(content="Half an ans"), finish(reason), USAGE))
    assert error.kind == kind


async def test_a_refusal_is_told_in_the_model_s_words(pool: Pool) -> None:
    error = await failure(pool, sse(chunk(refusal="I can't "), chunk(refusal="help."), finish(), USAGE))
    assert (error.kind, error.retryable) == ("refusal", False)
    assert "I can't help." in str(error)


@pytest.mark.parametrize("end", [Cut(), Reset()])
async def test_a_connection_lost_in_the_middle_is_tried_again_from_the_start(pool: Pool, end: Action) -> None:
    heard: list[Delta] = []
    async with wire([HALF, end], [end], HELLO) as server:
        reply = await hurried_reply_of(await open_chat(server, pool), listen=heard.append)
    assert (reply.text, reply.attempts, reply.usage.requests) == ("Hello.", 3, 3)
    assert TextDelta(text="Hel") in heard
    assert [delta.attempt for delta in heard if isinstance(delta, Restarted)] == [2, 3]
    bodies = {sent.body for sent in server.requests}
    assert len(bodies) == 1


async def test_a_refused_connection_was_never_a_request(pool: Pool) -> None:
    backend = await open_chat(f"http://127.0.0.1:{closed_port()}/v1", pool)
    with pytest.raises(BackendError) as caught:
        await reply_of(backend)
    error = caught.value
    assert (error.kind, error.attempts, error.requests) == ("network", 2, 0)
    assert "connection refused" in str(error)
    assert error.remedy == "Start the server, or correct `base_url`."


async def test_a_stall_ends_at_the_limit_and_its_connection_is_closed(pool: Pool) -> None:
    clock = ScriptedClock()
    streamed = anyio.Event()

    def listen(delta: Delta) -> None:
        if isinstance(delta, TextDelta):
            streamed.set()

    async with wire([HALF, Stall()], HELLO) as server:
        backend = await open_chat(server, pool, clock=clock)
        replies: list[str] = []

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


async def test_tool_arguments_and_keep_alives_are_signs_of_life(pool: Pool) -> None:
    clock = ScriptedClock()
    pings = [anyio.Event() for _ in range(3)]
    call = chunk(tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}])
    actions: list[Action] = [
        sse_head(),
        Until(pings[0]),
        part(b": keep-alive\n\n"),
        Until(pings[1]),
        part(b"data: " + json.dumps(call).encode() + b"\n\n"),
        Until(pings[2]),
        sse(chunk(tool_calls=[{"index": 0, "function": {"arguments": "}"}}]), finish())[len(sse_head()) :],
    ]
    async with wire(actions) as server:
        backend = await open_chat(server, pool, clock=clock)
        done = anyio.Event()

        async def run() -> None:
            reply = await ask(backend, REQUEST, clock=clock, random=Random(1))
            assert reply.attempts == 1
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


async def test_cancelling_closes_the_connection(pool: Pool) -> None:
    async with wire([HALF, Stall()]) as server:
        backend = await open_chat(server, pool)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deltas_of, backend)
            await server.request()
            await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await server.requests[0].left.wait()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_and_the_prompt_stays_here(pool: Pool, status: int) -> None:
    async with wire(HELLO) as elsewhere:
        error = await failure(pool, http(status, b"", location=f"{elsewhere.url}/chat/completions"))
        assert elsewhere.requests == []
    assert (error.kind, error.retryable) == ("bad_request", False)
    assert "127.0.0.1" in str(error)
    assert "`base_url`" in error.remedy


@pytest.mark.parametrize("location", ["/elsewhere", "https://0177.0.0.1/", ""])
async def test_a_redirect_to_nowhere_is_told_as_well(pool: Pool, location: str) -> None:
    error = await failure(pool, http(307, b"", location=location))
    assert "redirects to another" in str(error)


async def test_a_reply_larger_than_the_limit_is_cut_off(anyio_backend: str, pool: Pool) -> None:
    small = Pool(proxies={}, max_bytes=50_000)
    try:
        error = await failure(small, sse(chunk(content="x" * 200_000), finish(), USAGE))
    finally:
        await small.aclose()
    assert (error.kind, error.retryable) == ("protocol", False)
    assert "larger than" in str(error)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_packed_reply_is_unpacked_and_measured_after_that(pool: Pool, encoding: str) -> None:
    events = b"".join(
        b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in (chunk(content="Hello."), finish(), USAGE)
    )
    plain = events + b"data: [DONE]\n\n"
    packed = {"gzip": gzip.compress, "deflate": __import__("zlib").compress}[encoding]
    bomb = gzip.compress(b"data: " + b"x" * 20_000_000)
    good = http(200, packed(plain), "text/event-stream", content_encoding=encoding)
    async with wire(good, http(200, bomb, "text/event-stream", content_encoding="gzip")) as server:
        backend = await open_chat(server, pool)
        assert (await reply_of(backend)).text == "Hello."
        with pytest.raises(BackendError, match="larger than 8 MiB"):
            await deltas_of(backend)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"x", "br"), (b"not gzip", "gzip"), (gzip.compress(b"data: x" * 99, mtime=0)[:20], "gzip")],
    ids=["unknown", "not packed", "cut short"],
)
async def test_a_body_packed_wrongly_is_no_reply(pool: Pool, body: bytes, encoding: str) -> None:
    error = await failure(pool, http(200, body, "text/event-stream", content_encoding=encoding))
    assert error.kind in {"protocol", "network"}
