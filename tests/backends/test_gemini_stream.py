"""How a stream of generateContent becomes a reply, and when it does not."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import Delta, ReasoningDelta, Reply, Request, TextDelta, ToolCall
from massgen_mcp.usage import Usage
from tests.backends.gemini_replies import (
    HELLO,
    KEY,
    REQUEST,
    TOOLS,
    USAGE,
    call,
    chunk,
    deltas_of,
    last,
    open_model,
    reply_of,
    said,
    stream,
)
from tests.backends.wire import Stall, Until, http, http_json, part, sse, sse_head, wire

pytestmark = pytest.mark.anyio

HELLO_PARTS: dict[str, Any] = {
    "type": "gemini",
    "contents": [{"role": "model", "parts": [{"text": "Hello."}]}],
}


def event(value: object) -> bytes:
    return part(b"data: " + json.dumps(value).encode() + b"\r\n\r\n")


async def test_text_and_reasoning_stream_and_end_in_the_reply(pool: Pool) -> None:
    answer = stream(
        chunk({"text": "Let me ", "thought": True}),
        chunk({"text": "see.", "thought": True}, {"text": "Hel"}),
        chunk({"text": "lo.", "thoughtSignature": "c2ln"}),
        last({"text": ""}),
    )
    async with wire(answer) as server:
        deltas = await deltas_of(await open_model(server, pool))
    assert deltas[:-1] == [
        ReasoningDelta(text="Let me "),
        ReasoningDelta(text="see."),
        TextDelta(text="Hel"),
        TextDelta(text="lo."),
    ]
    parts: list[dict[str, Any]] = [
        {"text": "Let me ", "thought": True},
        {"text": "see.", "thought": True},
        {"text": "Hel"},
        {"text": "lo.", "thoughtSignature": "c2ln"},
    ]
    assert deltas[-1] == Reply(
        text="Hello.",
        model="gemini-3.8-flash-001",
        usage=Usage(requests=1, input=41, output=87, cached=10, reasoning=64),
        native={"type": "gemini", "contents": [{"role": "model", "parts": parts}]},
    )


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ([USAGE], Usage(requests=1, input=41, output=87, cached=10, reasoning=64)),
        ([{"promptTokenCount": 3}], Usage(requests=1, input=3)),
        ([{"promptTokenCount": 3, "totalTokenCount": 9}], Usage(requests=1, input=3, output=6)),
        (
            [{"promptTokenCount": 3, "thoughtsTokenCount": 4}, {"candidatesTokenCount": 2}],
            Usage(requests=1, input=3, output=6, reasoning=4),
        ),
        (
            [{"promptTokenCount": 3, "candidatesTokenCount": 1}, {"candidatesTokenCount": 8}],
            Usage(requests=1, input=3, output=8),
        ),
        ([{"promptTokenCount": None, "candidatesTokenCount": True, "x": -1}], Usage(requests=1)),
    ],
)
async def test_usage_is_read_whatever_is_missing(
    pool: Pool, counts: list[dict[str, Any]], usage: Usage
) -> None:
    chunks = [chunk({"text": "Hi"}) | {"usageMetadata": count} for count in counts]
    async with wire(stream(*chunks, chunk(finish="STOP"))) as server:
        reply = await reply_of(await open_model(server, pool))
    assert (reply.usage, reply.warnings) == (usage, ())


async def test_a_reply_without_usage_says_so(pool: Pool) -> None:
    async with wire(stream(chunk({"text": "Hi"}, finish="STOP"))) as server:
        reply = await reply_of(await open_model(server, pool))
    assert reply.warnings == (f"127.0.0.1:{server.port} did not say what the request used.",)
    assert reply.usage == Usage(requests=1)


@pytest.mark.parametrize(
    ("args", "arguments"),
    [
        ({"answer": "é", "n": [1]}, '{"answer": "é", "n": [1]}'),
        ({}, "{}"),
        ('{"answer": "a"', '{"answer": "a"'),
        ([1], "[1]"),
    ],
)
async def test_calls_come_whole_with_an_id(pool: Pool, args: object, arguments: str) -> None:
    first, second = call(args=args), call("other", {})
    first["functionCall"]["id"] = "fc_7"
    del second["functionCall"]["args"]
    async with wire(stream(chunk({"text": "So: "}, first), chunk(second), last())) as server:
        reply = await reply_of(await open_model(server, pool), TOOLS)
    assert reply.calls == (
        ToolCall(id="fc_7", name="vote", arguments=arguments),
        ToolCall(id="call_1_1", name="other", arguments="{}"),
    )
    assert (reply.text, reply.finish) == ("So: ", "tool_calls")


async def test_made_up_ids_differ_from_turn_to_turn(pool: Pool) -> None:
    async with wire(said(call()), said(call())) as server:
        backend = await open_model(server, pool)
        first = await reply_of(backend, TOOLS)
        messages = (*TOOLS.messages, first.message())
        second = await reply_of(backend, Request(messages=messages, tools=TOOLS.tools))
    assert first.calls[0].id != second.calls[0].id


ODD = [
    pytest.param(sse(last({"text": "Hello."})), id="with [DONE]"),
    pytest.param(http_json(200, last({"text": "Hello."})), id="in one piece"),
    pytest.param(http_json(200, [chunk({"text": "Hel"}), last({"text": "lo."})]), id="as a list"),
    pytest.param(
        stream(b": keep-alive\n\nevent: x\nid: 1\nretry: 5\ndata: \n\n\n", last({"text": "Hello."})),
        id="with comments and fields",
    ),
    pytest.param(
        sse_head() + event(chunk({"text": "Hel"})) + event(last({"text": "lo."})) + part(b""), id="CRLF"
    ),
    pytest.param(
        sse_head() + part(b"data:" + json.dumps(last({"text": "Hello."})).encode()) + part(b""),
        id="without the last empty line",
    ),
    pytest.param(
        sse_head("text/event-stream;charset=utf-8")
        + part(b'data: {"candidates": [{"finishReason": "stop",\ndata: "content": {"parts":')
        + part(b' [{"text": "Hello."}]}}]}\r')
        + part(b"\n\r\n")
        + part(b""),
        id="over several lines and reads",
    ),
]


@pytest.mark.parametrize("answer", ODD)
async def test_other_forms_of_a_complete_reply_are_read(pool: Pool, answer: bytes) -> None:
    async with wire(answer) as server:
        reply = await reply_of(await open_model(server, pool))
    assert reply.text == "Hello."


async def test_separators_inside_a_text_are_text(pool: Pool) -> None:
    text = "a\u2028b\u0085c\x0bd"
    body = json.dumps(last({"text": text}), ensure_ascii=False).encode()
    async with wire(stream(b"data: " + body + b"\n\n")) as server:
        assert (await reply_of(await open_model(server, pool))).text == text


async def test_only_the_first_candidate_counts(pool: Pool) -> None:
    both = last({"text": "Hello."})
    both["candidates"].append({"index": 1, "content": {"parts": [{"text": "No."}]}, "finishReason": "SAFETY"})
    async with wire(stream(both)) as server:
        reply = await reply_of(await open_model(server, pool))
    assert (reply.text, reply.native) == ("Hello.", HELLO_PARTS)


async def test_values_of_other_kinds_than_expected_are_passed_over(pool: Pool) -> None:
    odd: list[Any] = [
        {"candidates": "none", "usageMetadata": 5, "modelVersion": 3, "promptFeedback": []},
        {"candidates": [7, {"content": [], "finishReason": 1, "groundingMetadata": {"groundingChunks": 1}}]},
        {"candidates": [{"content": {"parts": ["x", {"text": 9}, {"text": ""}]}}]},
    ]
    async with wire(stream(*odd, last({"text": "Hello."}))) as server:
        reply = await reply_of(await open_model(server, pool))
    assert reply.text == "Hello."


async def test_an_unknown_end_is_told(pool: Pool) -> None:
    async with wire(stream(last({"text": "Hello."}, finish="FUNCTION_CALL"))) as server:
        reply = await reply_of(await open_model(server, pool))
    assert reply.warnings == ("The reply ended for a reason that is not known: 'FUNCTION_CALL'.",)


@pytest.mark.parametrize(
    ("finish", "kind", "tries"),
    [
        ("MAX_TOKENS", "length", 1),
        ("CONTINUATION", "length", 1),
        ("SAFETY", "refusal", 1),
        ("PROHIBITED_CONTENT", "refusal", 1),
        ("RECITATION", "refusal", 1),
        ("SPII", "refusal", 1),
        ("BLOCKLIST", "refusal", 1),
        ("LANGUAGE", "refusal", 1),
        ("MISSING_THOUGHT_SIGNATURE", "protocol", 1),
        ("MALFORMED_FUNCTION_CALL", "protocol", 2),
        ("UNEXPECTED_TOOL_CALL", "protocol", 2),
        ("TOO_MANY_TOOL_CALLS", "protocol", 2),
        ("MALFORMED_RESPONSE", "protocol", 2),
        ("OTHER", "protocol", 2),
    ],
)
async def test_an_end_that_is_no_end_is_an_error(
    pool: Pool, finish: str, kind: FailureKind, tries: int
) -> None:
    ended = stream(last({"text": "Hal"}, call(), finish=finish, finishMessage="Because."))
    async with wire(*[ended] * tries) as server:
        with pytest.raises(BackendError) as caught:
            await reply_of(await open_model(server, pool))
    error = caught.value
    assert (error.kind, error.attempts, error.requests) == (kind, tries, tries)
    assert ("Because." in str(error)) is (kind != "length")


async def test_a_turn_the_model_made_a_mess_of_is_asked_for_again(pool: Pool) -> None:
    mess = stream(last(finish="MALFORMED_FUNCTION_CALL", finishMessage="Malformed function call: print("))
    async with wire(mess, HELLO) as server:
        reply = await reply_of(await open_model(server, pool))
    assert (reply.text, reply.attempts, reply.usage.requests) == ("Hello.", 2, 2)


@pytest.mark.parametrize(
    ("feedback", "words"),
    [
        ({"blockReason": "PROHIBITED_CONTENT"}, "PROHIBITED_CONTENT"),
        ({"blockReason": "SAFETY", "blockReasonMessage": "Not this."}, "Not this"),
    ],
)
async def test_a_blocked_prompt_is_a_refusal(pool: Pool, feedback: dict[str, Any], words: str) -> None:
    blocked = {"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 9}}
    async with wire(stream(blocked)) as server:
        with pytest.raises(BackendError, match=f"declined to answer: {words}") as caught:
            await reply_of(await open_model(server, pool))
    assert (caught.value.kind, caught.value.retryable) == ("refusal", False)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (stream(chunk({"text": "Hel"})), "it ended without a finishReason"),
        (stream(), "it ended without a finishReason"),
        (http(200, b"", "text/event-stream"), "it ended without a finishReason"),
        (http(200, b"<html>login</html>", "text/html"), "it is text/html, not a stream of events"),
        (http(200, b"<html>login</html>", "text/event-stream"), "a part of it is not JSON"),
        (http(200, b"Hello.", ""), "it is of no type, not a stream of events"),
        (http(200, b"{", "application/json"), "a part of it is not JSON"),
        (http(200, b'"Hello."', "application/json"), "a part of it is not a JSON object"),
        (stream(b"data: {nope}\n\n"), "a part of it is not JSON"),
        (stream(b"data: \xff\n\n"), "a part of it is not JSON"),
        (stream(b"data: " + b"[" * 200_000 + b"\n\n"), "a part of it is not JSON"),
        (stream(b'data: {"candidates": [{"content"'), "a part of it is not JSON"),
        (stream(b"data: [3]\n\n"), "a part of it is not a JSON object"),
        (stream(last(call(name=""))), "a tool call has no name"),
        (stream(last({"functionCall": "vote"})), "a tool call has no name"),
    ],
)
async def test_what_is_no_complete_reply_is_none(pool: Pool, answer: bytes, words: str) -> None:
    async with wire(answer) as server:
        with pytest.raises(BackendError, match=words) as caught:
            await deltas_of(await open_model(server, pool))
    assert (caught.value.kind, caught.value.retryable) == ("protocol", True)


async def test_an_empty_reply_is_asked_for_once_more(pool: Pool) -> None:
    async with wire(stream(last({"text": ""})), stream(last())) as server:
        with pytest.raises(BackendError, match="sent an empty reply") as caught:
            await reply_of(await open_model(server, pool))
    assert (caught.value.attempts, len(server.requests)) == (2, 2)


# Connections.


async def test_one_connection_serves_request_after_request(pool: Pool) -> None:
    async with wire(HELLO, HELLO, HELLO) as server:
        backend = await open_model(server, pool)
        for _ in range(3):
            await reply_of(backend)
        await backend.aclose()
    assert server.connections == 1


async def test_deltas_come_as_they_are_said(pool: Pool) -> None:
    heard = anyio.Event()
    script = [
        sse_head(),
        event(chunk({"text": "Hel"})),
        Until(heard),
        event(last({"text": "lo."})),
        part(b""),
    ]
    async with wire(script) as server:
        backend = await open_model(server, pool)
        deltas: list[Delta] = []
        with anyio.fail_after(5):
            async with backend.stream(REQUEST) as coming:
                async for delta in coming:
                    deltas.append(delta)
                    heard.set()
    assert deltas[:2] == [TextDelta(text="Hel"), TextDelta(text="lo.")]


async def test_leaving_the_block_closes_the_connection(pool: Pool) -> None:
    async with wire([sse_head(), event(chunk({"text": "Hel"})), Stall()]) as server:
        backend = await open_model(server, pool)
        async with backend.stream(REQUEST) as deltas:
            assert await anext(deltas) == TextDelta(text="Hel")
        with anyio.fail_after(5):
            await server.requests[0].left.wait()


@pytest.mark.parametrize("begun", [True, False])
async def test_cancelling_closes_the_connection(
    pool: Pool,
    begun: bool,  # noqa: FBT001 - a row of the table
) -> None:
    said_so_far = [sse_head(), event(chunk({"text": "Hel"}))] if begun else []
    async with wire([*said_so_far, Stall()]) as server:
        backend = await open_model(server, pool)
        heard = anyio.Event()

        async def read() -> None:
            async with backend.stream(REQUEST) as deltas:
                async for _ in deltas:
                    heard.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await server.request()
            if begun:
                await heard.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await server.requests[0].left.wait()


async def test_streams_of_one_backend_do_not_mix(pool: Pool) -> None:
    first_heard = anyio.Event()
    slow = [sse_head(), event(chunk({"text": "slow"})), Until(first_heard), event(last()), part(b"")]
    replies: dict[str, str] = {}
    async with wire(slow, said({"text": "fast"})) as server:
        backend = await open_model(server, pool)

        async def read(name: str) -> None:
            replies[name] = (await reply_of(backend)).text

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, "slow")
            await server.request()
            await read("fast")
            first_heard.set()
    assert replies == {"slow": "slow", "fast": "fast"}


async def test_the_key_is_in_no_reply(pool: Pool) -> None:
    async with wire(HELLO) as server:
        backend = await open_model(server, pool)
        deltas = await deltas_of(backend)
    assert KEY not in repr((deltas, backend, vars(backend)["_failures"]))
