"""Chat completions over a real socket through the real SDK: what is sent, and what comes of what is said."""

from __future__ import annotations

import base64
import json

import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.messages import (
    Image,
    Message,
    ReasoningDelta,
    Reply,
    Request,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
    parse_arguments,
)
from massgen_mcp.usage import Usage
from tests.backends.chats import HELLO, KEY, REQUEST, USAGE, chunk, deltas_of, finish, open_chat, reply_of
from tests.backends.wire import http_json, sse, wire

pytestmark = pytest.mark.anyio

VOTE = ToolSpec(
    name="vote",
    description="Vote.",
    parameters={"type": "object", "properties": {"answer": {"type": "string"}}},
)


def calling(index: int | None = 0, **fields: object) -> dict[str, object]:
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    part = {"type": "function", "function": function, **fields}
    return chunk(tool_calls=[part if index is None else {"index": index, **part}])


async def test_text_streams_and_ends_in_one_reply(pool: Pool) -> None:
    events = [
        chunk(role="assistant", content=""),
        chunk(content="Hel"),
        chunk(content="lo."),
        finish(),
        USAGE,
    ]
    async with wire(sse(*events)) as server:
        deltas = await deltas_of(await open_chat(server, pool))
    assert deltas == [
        TextDelta(text="Hel"),
        TextDelta(text="lo."),
        Reply(text="Hello.", model="m-2026-01-01", usage=Usage(requests=1, input=12, output=5)),
    ]


async def test_the_request_is_exactly_this(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await open_chat(server, pool, extra_headers={"x-team": "a"}))
    sent = server.requests[0]
    assert (sent.method, sent.target) == ("POST", "/v1/chat/completions")
    assert sent.json == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say hello."},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["x-team"] == "a"
    assert sent.headers["accept-encoding"] == "gzip, deflate"


async def test_the_environment_adds_nothing_to_a_request(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment-key-1234")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-key-1234")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-environment: environment")
    async with wire(HELLO) as server:
        await deltas_of(await open_chat(server, pool))
    raw = server.requests[0].raw.decode().lower()
    assert "environment" not in raw
    assert "sk-admin" not in raw


async def test_reasoning_streams_apart_from_the_text(pool: Pool) -> None:
    events = [
        chunk(reasoning_content="Well, "),
        chunk(reasoning_content="so."),
        chunk(content="4"),
        finish(),
        USAGE,
    ]
    async with wire(sse(*events)) as server:
        *streamed, reply = await deltas_of(await open_chat(server, pool))
    assert streamed == [ReasoningDelta(text="Well, "), ReasoningDelta(text="so."), TextDelta(text="4")]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.native) == ("4", {"reasoning_content": "Well, so."})


async def test_reasoning_goes_back_only_where_the_file_asks_for_it(pool: Pool) -> None:
    native = {"reasoning_content": "hm"}
    request = Request(messages=(*REQUEST.messages, Message(role="assistant", text="4", native=native)))
    foreign = Request(messages=(Message(role="assistant", text="4", native=[{"type": "reasoning"}]),))
    async with wire(HELLO, HELLO, HELLO) as server:
        await deltas_of(await open_chat(server, pool), request)
        echoing = await open_chat(server, pool, echo_reasoning=True)
        await deltas_of(echoing, request)
        await deltas_of(echoing, foreign)
    plain, echoed, other = (sent.json["messages"][-1] for sent in server.requests)
    assert plain == other == {"role": "assistant", "content": "4"}
    assert echoed == {"role": "assistant", "content": "4", "reasoning_content": "hm"}


async def test_a_tool_call_makes_the_round_trip(pool: Pool) -> None:
    arguments = json.dumps({"answer": "agent1.1", "reason": 'it "works"'})
    events = [
        calling(id="call_9", name="vote", arguments=""),
        calling(arguments=arguments[:10]),
        calling(arguments=arguments[10:]),
        finish("tool_calls"),
        USAGE,
    ]
    request = Request(messages=REQUEST.messages, tools=(VOTE,), tool_choice="vote")
    async with wire(sse(*events), HELLO) as server:
        backend = await open_chat(server, pool)
        reply = await reply_of(backend, request)
        result = Message(role="tool", results=(ToolResult(call_id="call_9", content="Recorded."),))
        await reply_of(backend, Request(messages=(*request.messages, reply.message(), result), tools=(VOTE,)))
    call = ToolCall(id="call_9", name="vote", arguments=arguments)
    assert (reply.text, reply.calls, reply.finish) == ("", (call,), "tool_calls")
    assert parse_arguments(call)["answer"] == "agent1.1"
    first, second = (sent.json for sent in server.requests)
    function = {"name": "vote", "description": "Vote.", "parameters": dict(VOTE.parameters)}
    assert first["tools"] == second["tools"] == [{"type": "function", "function": function}]
    assert first["tool_choice"] == {"type": "function", "function": {"name": "vote"}}
    assert "tool_choice" not in second
    assert second["messages"][-2:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "call_9", "type": "function", "function": {"name": "vote", "arguments": arguments}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_9", "content": "Recorded."},
    ]


async def test_parallel_calls_are_put_together_by_their_index(pool: Pool) -> None:
    events = [
        calling(1, id="b", name="two", arguments='{"y"'),
        calling(0, id="a", name="one", arguments='{"x"'),
        calling(1, arguments=": 2}"),
        calling(0, arguments=": 1}"),
        finish("tool_calls"),
        USAGE,
    ]
    async with wire(sse(*events)) as server:
        reply = await reply_of(await open_chat(server, pool))
    assert reply.calls == (
        ToolCall(id="a", name="one", arguments='{"x": 1}'),
        ToolCall(id="b", name="two", arguments='{"y": 2}'),
    )


async def test_sloppy_servers_calls_are_told_apart(pool: Pool) -> None:
    events = [
        calling(0, id="a", name="one", arguments="{}"),
        calling(0, id="b", name="two", arguments="{}"),  # every call has the index 0
        calling(0, id="c", name="three", arguments={"x": [1]}),  # arguments as an object
        calling(7, id="d", name="four", arguments='{"a":'),
        calling(7, id="d", name="four", arguments="1}"),  # id and name repeated
        calling(None, name="five", arguments='{"b":'),  # neither index nor id
        calling(None, arguments="2}"),
        finish("stop"),  # although there are calls
        USAGE,
    ]
    async with wire(sse(*events)) as server:
        reply = await reply_of(await open_chat(server, pool))
    assert [(call.name, call.arguments) for call in reply.calls] == [
        ("one", "{}"),
        ("two", "{}"),
        ("three", '{"x": [1]}'),
        ("five", '{"b":2}'),
        ("four", '{"a":1}'),
    ]
    assert len({call.id for call in reply.calls}) == 5
    assert reply.finish == "tool_calls"


async def test_broken_arguments_are_kept_as_they_came_and_read_strictly(pool: Pool) -> None:
    events = [calling(id="a", name="vote", arguments='{"answer": "untermin'), finish("tool_calls"), USAGE]
    async with wire(sse(*events)) as server:
        reply = await reply_of(await open_chat(server, pool))
    assert reply.calls[0].arguments == '{"answer": "untermin'
    with pytest.raises(ValueError, match="Unterminated string"):
        parse_arguments(reply.calls[0])


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 7},
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(requests=1, input=100, output=50, cached=60, cache_write=7, reasoning=30),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": None,
                "prompt_tokens_details": None,
                "completion_tokens_details": None,
            },
            Usage(requests=1, input=9),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "cost": 0.0125},
            Usage(requests=1, input=9, output=2, cost_usd=0.0125, cost_source="provider"),
        ),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}, Usage(requests=1, input=9, cached=4)),
        ({"prompt_tokens": "many", "completion_tokens": -3, "cost": True}, Usage(requests=1)),
        ({"cost": 0}, Usage(requests=1, cost_usd=0.0, cost_source="provider")),
        ({"cost": float("nan")}, Usage(requests=1)),
        ({"cost": float("inf")}, Usage(requests=1)),
        ({"cost": -0.1}, Usage(requests=1)),
        ({"cost": 1_000.01}, Usage(requests=1)),
        ({"cost": 10**400}, Usage(requests=1)),
    ],
)
async def test_usage_is_read_with_whatever_details_are_there(
    pool: Pool, usage: dict[str, object], expected: Usage
) -> None:
    async with wire(sse(chunk(content="x"), finish(), {**USAGE, "usage": usage})) as server:
        reply = await reply_of(await open_chat(server, pool))
    assert reply.usage == expected
    assert reply.warnings == ()


async def test_a_reply_without_usage_says_so(pool: Pool) -> None:
    async with wire(sse(chunk(content="x"), finish())) as server:
        reply = await reply_of(await open_chat(server, pool))
    assert reply.usage == Usage(requests=1)
    assert [warning.partition(" did ")[2] for warning in reply.warnings] == ["not say what the request used."]


async def test_pictures_and_documents_go_along(pool: Pool) -> None:
    picture, document = Image(mime="image/png", data=b"\x89PNG"), Image(mime="application/pdf", data=b"%PDF")
    request = Request(
        messages=(
            Message(role="user", text="Look.", images=(picture, document)),
            Message(role="tool", results=(ToolResult(call_id="1", content="shot"),), images=(picture,)),
        )
    )
    async with wire(HELLO) as server:
        await deltas_of(await open_chat(server, pool), request)
    encoded = base64.b64encode(b"\x89PNG").decode()
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
    user, tool, after = server.requests[0].json["messages"]
    assert user["content"][:2] == [{"type": "text", "text": "Look."}, shown]
    assert user["content"][2]["file"]["file_data"].startswith("data:application/pdf;base64,")
    assert tool == {"role": "tool", "tool_call_id": "1", "content": "shot"}
    assert after == {"role": "user", "content": [shown]}


async def test_a_schema_constrains_the_reply(pool: Pool) -> None:
    schema = {"type": "object", "properties": {"action": {"type": "string"}}, "required": ["action"]}
    async with wire(HELLO) as server:
        await deltas_of(await open_chat(server, pool), Request(messages=REQUEST.messages, schema=schema))
    assert server.requests[0].json["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": schema, "strict": True},
    }


async def test_keep_alives_comments_and_odd_line_ends_are_no_content(pool: Pool) -> None:
    blocks = [
        b": OPENROUTER PROCESSING\r\n\r\n",
        b'data:{"choices":[{"index":0,"delta":{"content":"a [DONE] b"}}]}\r\n\r\n',
        b"event: ping\ndata: {}\n\n",
        b'data: {"choices":[{"index":1,"delta":{"content":"another choice"}},{"index":0}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"STOP"}],"usage":{"prompt_tokens":1}}\n\n',
        b"data:[DO",
        b"NE]\n\n",
    ]
    async with wire(sse(*blocks, done=False)) as server:
        reply = await reply_of(await open_chat(server, pool))
    assert (reply.text, reply.warnings) == ("a [DONE] b", ())


async def test_text_in_parts_and_an_unknown_end_are_taken_with_a_warning(pool: Pool) -> None:
    parts = [{"type": "text", "text": "two "}, {"type": "text", "text": "parts"}, {"type": "other"}]
    async with wire(sse(chunk(content=parts), finish("because"), USAGE)) as server:
        reply = await reply_of(await open_chat(server, pool))
    assert reply.text == "two parts"
    assert reply.warnings == ("The reply ended for a reason that is not known: 'because'.",)


async def test_a_gateway_that_does_not_stream_is_understood(pool: Pool) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "vote", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Whole.", "tool_calls": [call]}
    body = {
        "id": "1",
        "model": "m-2",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    async with wire(http_json(200, body)) as server:
        deltas = await deltas_of(await open_chat(server, pool))
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.model, reply.usage.input) == ("Whole.", "m-2", 3)
    assert reply.calls == (ToolCall(id="a", name="vote", arguments="{}"),)
    assert deltas[0] == TextDelta(text="Whole.")


async def test_one_connection_serves_many_requests(pool: Pool) -> None:
    async with wire(HELLO, HELLO, HELLO) as server:
        backend = await open_chat(server, pool)
        for _ in range(3):
            await reply_of(backend)
        await backend.aclose()
        ports = server.connections
    assert ports == 1


async def test_a_backend_says_what_it_is(pool: Pool) -> None:
    async with wire() as server:
        backend = await open_chat(server, pool, reasoning={"effort": "high"})
        shallow = await open_chat(server, pool)
    assert (backend.info.type, backend.model, backend.deep, shallow.deep) == (
        "chatcompletion",
        "m",
        True,
        False,
    )
    assert backend.pause is shallow.pause
    assert KEY not in repr(backend)


async def test_leaving_without_reading_is_no_failure(pool: Pool) -> None:
    async with wire(HELLO) as server:
        backend = await open_chat(server, pool)
        async with backend.stream(REQUEST) as deltas:
            assert await anext(aiter(deltas)) == TextDelta(text="Hello.")
