"""The Messages API over a real socket through the real SDK: what comes of what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.messages import (
    Message,
    ReasoningDelta,
    Reply,
    TextDelta,
    ToolCall,
)
from massgen_mcp.usage import Usage
from tests.backends.chats import deltas_of, reply_of
from tests.backends.claudes import (
    CACHED,
    HELLO,
    KEY,
    REQUEST,
    block,
    called,
    event,
    message,
    open_claude,
    start,
    stop,
    text,
    thought,
    written,
)
from tests.backends.wire import http_json, wire

pytestmark = pytest.mark.anyio


async def test_text_streams_and_ends_in_one_reply(pool: Pool) -> None:
    async with wire(message(start(), event("ping"), written(0, "Hel", "lo."), stop())) as server:
        deltas = await deltas_of(await open_claude(server, pool), REQUEST)
    blocks = [text("Hello.")]
    assert deltas == [
        TextDelta(text="Hel"),
        TextDelta(text="lo."),
        Reply(
            text="Hello.",
            model="claude-as-served",
            usage=Usage(requests=1, input=12, output=5),
            native={"type": "claude", "blocks": blocks},
        ),
    ]


async def test_the_request_is_exactly_this(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await open_claude(server, pool, extra_headers={"x-team": "a"}), REQUEST)
    sent = server.requests[0]
    assert (sent.method, sent.target) == ("POST", "/v1/messages")
    assert sent.json == {
        "model": "claude-sonnet-4-6",
        "max_tokens": 32_000,
        "system": [text("Be brief.", **CACHED)],
        "messages": [{"role": "user", "content": [text("Say hello.", **CACHED)]}],
        "stream": True,
    }
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["anthropic-version"] == "2026-10-21"
    assert sent.headers["x-team"] == "a"
    assert sent.headers["accept-encoding"] == "gzip, deflate"


async def test_the_environment_adds_nothing_to_a_request(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "AUTH_TOKEN", "PROFILE", "WEBHOOK_SIGNING_KEY", "IDENTITY_TOKEN"):
        monkeypatch.setenv(f"ANTHROPIC_{name}", "environment-key-1234")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://elsewhere.example")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-environment: environment")
    async with wire(HELLO) as server:
        await deltas_of(await open_claude(server, pool), REQUEST)
    assert "environment" not in server.requests[0].raw.decode().lower()


async def test_thinking_is_told_as_it_comes(pool: Pool) -> None:
    whole = block(1, {"type": "thinking", "thinking": "At once.", "signature": "x"})
    async with wire(message(start(), thought(0, "Well.", "y"), whole, written(2, "4"), stop())) as server:
        deltas = await deltas_of(await open_claude(server, pool), REQUEST)
    assert deltas[:-1] == [ReasoningDelta(text="Well."), ReasoningDelta(text="At once."), TextDelta(text="4")]


async def test_parallel_calls_are_put_together_by_their_index(pool: Pool) -> None:
    def piece(index: int, json: str) -> bytes:
        delta = {"type": "input_json_delta", "partial_json": json}
        return event("content_block_delta", index=index, delta=delta)

    def begin(index: int, name: str) -> bytes:
        begun: dict[str, Any] = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
        return event("content_block_start", index=index, content_block=begun)

    events = [begin(0, "one"), begin(1, "two"), piece(1, '{"y"'), piece(0, '{"x"'), piece(1, ": 2}")]
    async with wire(message(start(), *events, piece(0, ": 1}"), stop("tool_use"))) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert reply.calls == (
        ToolCall(id="toolu_0", name="one", arguments='{"x": 1}'),
        ToolCall(id="toolu_1", name="two", arguments='{"y": 2}'),
    )


async def test_blocks_that_all_have_the_same_index_are_told_apart(pool: Pool) -> None:
    events = [written(0, "One."), called(0, "one", '{"x": 1}', id="a"), called(0, "two", "{}", id="b")]
    async with wire(message(start(), *events, stop("tool_use"))) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert reply.text == "One."
    assert [(call.id, call.arguments) for call in reply.calls] == [("a", '{"x": 1}'), ("b", "{}")]


async def test_a_call_without_arguments_or_with_all_at_once_is_read(pool: Pool) -> None:
    whole = {"type": "tool_use", "id": "b", "name": "two", "input": {"x": [1]}}
    events = [called(0, "one", "", id="a"), block(1, whole)]
    async with wire(message(start(), *events, stop("end_turn"))) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert [call.arguments for call in reply.calls] == ["{}", '{"x": [1]}']
    assert reply.finish == "tool_calls"


async def test_what_streams_is_what_the_reply_says(pool: Pool) -> None:
    events = [thought(0, "a", "s"), written(1, "One. ", "Two."), thought(2, "b", "t"), written(3, "Three.")]
    async with wire(message(start(), *events, stop())) as server:
        *streamed, reply = await deltas_of(await open_claude(server, pool), REQUEST)
    said = "".join(delta.text for delta in streamed if isinstance(delta, TextDelta))
    assert isinstance(reply, Reply)
    assert said == reply.text == "One. Two.\n\nThree."


async def test_a_paused_reply_goes_on_until_it_is_whole(pool: Pool) -> None:
    searching = called(1, "web_search", '{"query": "x"}', id="srvtoolu_1", kind="server_tool_use")
    paused = message(start(input_tokens=100), written(0, "I search."), searching, stop("pause_turn"))
    found = block(0, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []})
    again = message(start(input_tokens=200), found, stop("pause_turn", output_tokens=7))
    last = message(start(input_tokens=300), written(0, "Found."), stop(output_tokens=9))
    async with wire(paused, again, last) as server:
        reply = await reply_of(await open_claude(server, pool, enable_web_search=True), REQUEST)
    assert (reply.text, reply.attempts) == ("I search.\n\nFound.", 1)
    assert reply.usage == Usage(requests=3, input=600, output=21)
    first, second, third = (sent.json["messages"] for sent in server.requests)
    assert [turn["role"] for turn in first] == ["user"]
    assert [each["type"] for each in second[-1]["content"]] == ["text", "server_tool_use"]
    assert [each["type"] for each in third[-1]["content"]] == [
        "text",
        "server_tool_use",
        "web_search_tool_result",
    ]
    assert second[:-1] == third[:-1] == first
    assert [each["type"] for each in reply.native["blocks"]] == [
        "text",
        "server_tool_use",
        "web_search_tool_result",
        "text",
    ]


async def test_a_pause_with_a_call_of_ours_waits_for_its_result(pool: Pool) -> None:
    async with wire(message(start(), called(0, "vote", "{}"), stop("pause_turn"))) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert (len(reply.calls), reply.finish, reply.warnings) == (1, "tool_calls", ())


@pytest.mark.parametrize(
    ("begun", "ended", "expected"),
    [
        (
            {"input_tokens": 10, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30},
            {"output_tokens": 50},
            Usage(requests=1, input=100, output=50, cached=60, cache_write=30),
        ),
        # Sums so far, which replace; a null or a zero says nothing.
        (
            {"input_tokens": 10, "cache_read_input_tokens": None},
            {"input_tokens": 25, "output_tokens": 9, "output_tokens_details": None},
            Usage(requests=1, input=25, output=9),
        ),
        (
            {"input_tokens": 10},
            {"input_tokens": 0, "output_tokens": 3},
            Usage(requests=1, input=10, output=3),
        ),
        (
            {"input_tokens": "many", "output_tokens": True},
            {"output_tokens": 4, "server_tool_use": {"web_search_requests": 2}},
            Usage(requests=1, output=4, searches=2),
        ),
    ],
)
async def test_usage_includes_what_the_cache_gave_and_took(
    pool: Pool, begun: dict[str, Any], ended: dict[str, Any], expected: Usage
) -> None:
    async with wire(message(start(**begun), written(0, "x"), stop(**ended))) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert reply.usage == expected
    assert reply.warnings == ()


async def test_a_reply_without_usage_says_so(pool: Pool) -> None:
    opened = event("message_start", message={"model": "m", "usage": None})
    ended = event("message_delta", delta={"stop_reason": "end_turn"}) + event("message_stop")
    async with wire(message(opened, written(0, "x"), ended)) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert reply.usage == Usage(requests=1)
    assert [warning.partition(" did ")[2] for warning in reply.warnings] == ["not say what the request used."]


async def test_one_json_object_is_asked_for_by_a_tool(pool: Pool) -> None:
    schema: dict[str, Any] = {
        "properties": {"action": {"type": "string"}},
        "required": ["action"],
        "anyOf": [{}],
    }
    given = message(start(), called(0, "reply", '{"action"', ': "vote"}'), stop("tool_use"))
    async with wire(given, HELLO) as server:
        backend = await open_claude(server, pool)
        request = replace(REQUEST, schema=schema)
        reply = await reply_of(backend, request)
        turns = (*REQUEST.messages, reply.message(), Message(role="user", text="Again."))
        second = await reply_of(backend, replace(request, messages=turns))
    sent = server.requests[0].json
    taken = {
        "type": "object",
        "properties": {"action": {"type": "string"}},
        "required": ["action"],
    }
    assert [tool["input_schema"] for tool in sent["tools"]] == [taken]
    assert sent["tool_choice"] == {"type": "tool", "name": "reply"}
    assert (reply.text, reply.calls, reply.finish) == ('{"action": "vote"}', (), "stop")
    assert server.requests[1].json["messages"][1]["content"] == [text('{"action": "vote"}')]
    assert second.text == "Hello."


async def test_an_unknown_end_is_taken_with_a_warning(pool: Pool) -> None:
    async with wire(message(start(), written(0, "x"), stop("because"))) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert reply.text == "x"
    assert reply.warnings == ("The reply ended for a reason that is not known: 'because'.",)


@pytest.mark.parametrize("reason", ["end_turn", "stop_sequence", "tool_use"])
async def test_a_known_end_needs_no_warning(pool: Pool, reason: str) -> None:
    async with wire(message(start(), written(0, "x"), stop(reason))) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert (reply.text, reply.finish, reply.warnings) == ("x", "stop", ())


async def test_events_without_names_comments_and_odd_line_ends_are_understood(pool: Pool) -> None:
    named = start() + event("novel_event", x=1) + written(0, "one", " two") + stop()
    bare = b"".join(line + b"\r\n" for line in named.split(b"\n") if not line.startswith(b"event:"))
    odd = b': keep-alive\r\n\r\ndata: {"type":"ping"}\r\n\r\ndata: 5\r\n\r\n' + bare + b"data: [DONE]\r\n\r\n"
    async with wire(message(odd)) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert (reply.text, reply.usage.input, reply.warnings) == ("one two", 12, ())


async def test_a_gateway_that_does_not_stream_is_understood(pool: Pool) -> None:
    call = {"type": "tool_use", "id": "a", "name": "vote", "input": {"answer": "b"}}
    body = {
        "type": "message",
        "model": "m-2",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, text("Whole."), call],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 2},
        "container": {"id": "c"},
    }
    async with wire(http_json(200, body)) as server:
        deltas = await deltas_of(await open_claude(server, pool), REQUEST)
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert deltas[:-1] == [ReasoningDelta(text="hm"), TextDelta(text="Whole.")]
    assert (reply.text, reply.model, reply.usage) == ("Whole.", "m-2", Usage(requests=1, input=3, output=2))
    assert reply.calls == (ToolCall(id="a", name="vote", arguments='{"answer": "b"}'),)
    assert reply.native == {"type": "claude", "blocks": body["content"], "container": "c"}


async def test_one_connection_serves_many_requests(pool: Pool) -> None:
    async with wire(HELLO, HELLO, HELLO) as server:
        backend = await open_claude(server, pool)
        for _ in range(3):
            await reply_of(backend, REQUEST)
        await backend.aclose()
        connections = server.connections
    assert connections == 1


async def test_leaving_without_reading_is_no_failure(pool: Pool) -> None:
    async with wire(HELLO) as server:
        backend = await open_claude(server, pool)
        async with backend.stream(REQUEST) as deltas:
            assert await anext(aiter(deltas)) == TextDelta(text="Hello.")


async def test_no_warning_of_the_package_gets_through(pool: Pool) -> None:
    # Warnings are errors here, and the package has one for this model's age and one for its budget.
    async with wire(HELLO, HELLO) as server:
        await reply_of(await open_claude(server, pool, model="claude-sonnet-4-20250514"), REQUEST)
        await reply_of(
            await open_claude(server, pool, model="claude-opus-4-6", thinking_budget=2000), REQUEST
        )
    assert server.requests[1].json["thinking"] == {"type": "enabled", "budget_tokens": 2000}
