"""An assistant's turn goes back to the Messages API as it came."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.messages import (
    Image,
    Message,
    Reply,
    Request,
    ToolCall,
    ToolResult,
    parse_arguments,
)
from tests.backends.chats import deltas_of, reply_of
from tests.backends.claudes import (
    CACHED,
    HELLO,
    REQUEST,
    VOTE,
    block,
    called,
    message,
    open_claude,
    start,
    stop,
    text,
    thought,
    written,
)
from tests.backends.wire import Wire, wire

pytestmark = pytest.mark.anyio


async def echo(server: Wire, pool: Pool, *results: ToolResult, **options: Any) -> tuple[Reply, Any]:
    """A reply, and the messages of the request that goes on from it."""
    backend = await open_claude(server, pool, **options)
    request = replace(REQUEST, tools=(VOTE,))
    reply = await reply_of(backend, request)
    after = Message(role="tool", results=results) if results else Message(role="user", text="Go on.")
    journalled = json.loads(json.dumps(reply.native))
    turn = Message(role="assistant", text=reply.text, calls=reply.calls, native=journalled)
    await reply_of(backend, replace(request, messages=(*REQUEST.messages, turn, after)))
    return reply, server.requests[-1].json


async def test_thinking_streams_apart_from_the_text_and_goes_back_signed(pool: Pool) -> None:
    first = message(
        start(),
        thought(0, "Well, so.", "c2ln"),
        block(1, {"type": "redacted_thinking", "data": "ZGFyaw=="}),
        thought(2, "", "ZW1wdHk="),  # a newer model shows nothing of it
        written(3, "4"),
        stop(output_tokens=30, output_tokens_details={"thinking_tokens": 20}),
    )
    async with wire(first, HELLO) as server:
        reply, sent = await echo(server, pool)
    assert (reply.text, reply.usage.output, reply.usage.reasoning) == ("4", 30, 20)
    assert sent["messages"][1] == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Well, so.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZGFyaw=="},
            {"type": "thinking", "thinking": "", "signature": "ZW1wdHk="},
            text("4"),
        ],
    }


async def test_a_tool_call_makes_the_round_trip(pool: Pool) -> None:
    arguments = '{"answer": "agent1.1",  "reason": "it \\"works\\""}'
    first = message(
        start(),
        written(0, "I vote."),
        called(1, "vote", "", arguments[:10], arguments[10:], id="toolu_9"),
        stop("tool_use"),
    )
    async with wire(first, HELLO) as server:
        reply, sent = await echo(server, pool, ToolResult(call_id="toolu_9", content="Recorded."))
    call = ToolCall(id="toolu_9", name="vote", arguments=arguments)
    assert (reply.text, reply.calls, reply.finish) == ("I vote.", (call,), "tool_calls")
    tool = {"name": "vote", "description": "Vote.", "input_schema": dict(VOTE.parameters)}
    assert sent["tools"] == [tool]
    used = {"type": "tool_use", "id": "toolu_9", "name": "vote", "input": parse_arguments(call)}
    result = {"type": "tool_result", "tool_use_id": "toolu_9", "content": "Recorded.", **CACHED}
    assert sent["messages"][1:] == [
        {"role": "assistant", "content": [text("I vote."), used]},
        {"role": "user", "content": [result]},
    ]


@pytest.mark.parametrize(
    "arguments", ['{"answer": "untermin', '{"a": 1, "a": 2}', "[1]", '{"a": NaN}', "not JSON"]
)
async def test_broken_arguments_are_kept_as_they_came_and_go_back_empty(pool: Pool, arguments: str) -> None:
    broken = message(start(), called(0, "vote", arguments), stop("tool_use"))
    async with wire(broken, HELLO) as server:
        reply, sent = await echo(server, pool, ToolResult(call_id="toolu_1", content="No.", is_error=True))
    assert reply.calls[0].arguments == arguments
    with pytest.raises(ValueError, match=r"\w"):
        parse_arguments(reply.calls[0])
    assert sent["messages"][1]["content"][0]["input"] == {}
    assert sent["messages"][2]["content"][0]["is_error"] is True


async def test_a_character_cut_in_half_is_put_together_again(pool: Pool) -> None:
    smile = "\N{GRINNING FACE}".encode("utf-16-be")
    high, low = (smile[at : at + 2].decode("utf-16-be", "surrogatepass") for at in (0, 2))
    events = [
        written(0, f"a{high}", f"{low}b{high}"),
        called(1, "vote", f'{{"answer": "{high}', f'{low}"}}', id="a"),
        called(2, "vote", '{"answer": "\\ud83d", "more": 1e999}', id="b"),
    ]
    results = [ToolResult(call_id=each, content="ok") for each in ("a", "b")]
    async with wire(message(start(), *events, stop("tool_use")), HELLO) as server:
        reply, sent = await echo(server, pool, *results)
    assert reply.text == "a\N{GRINNING FACE}b\N{REPLACEMENT CHARACTER}"
    said, *calls = sent["messages"][1]["content"]
    assert said["text"] == reply.text
    assert [call["input"] for call in calls] == [{"answer": "\N{GRINNING FACE}"}, {}]


async def test_server_tools_citations_and_unknown_blocks_go_back_as_they_came(pool: Pool) -> None:
    results = [{"type": "web_search_result", "url": "https://a.example", "encrypted_content": "RU5D"}]
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": results}
    cited = {"type": "web_search_result_location", "url": "https://a.example", "encrypted_index": "SQ=="}
    novel = {"type": "brand_new_block", "note": "a", "deep": {"list": [1, None]}, "input": "kept"}
    events = [
        written(0, "I search."),
        called(1, "web_search", '{"query": "x"}', id="srvtoolu_1", kind="server_tool_use"),
        block(2, found),
        written(3, "It is "),
        block(
            4,
            {"type": "text", "text": "", "citations": None},
            {"type": "citations_delta", "citation": cited},
            {"type": "text_delta", "text": "so"},
        ),
        written(5, "."),
        block(6, novel, {"type": "brand_new_delta", "note": "b", "count": 3}),
    ]
    async with wire(message(start(), *events, stop()), HELLO) as server:
        reply, sent = await echo(server, pool, enable_web_search=True)
    assert reply.text == "I search.\n\nIt is so."
    assert reply.calls == ()
    searched = {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": {"query": "x"},
    }
    assert sent["messages"][1]["content"] == [
        text("I search."),
        searched,
        found,
        text("It is "),
        text("so", citations=[cited]),
        text("."),
        {**novel, "note": "ab"},
    ]


async def test_another_backend_s_turns_are_rebuilt(pool: Pool) -> None:
    call = ToolCall(id="call:1/x", name="vote", arguments='{"answer": "a"}')
    turns = (
        Message(role="assistant", text="Well.", calls=(call,), native={"type": "openai", "items": [1]}),
        Message(role="tool", results=(ToolResult(call_id="call:1/x", content=" "),)),
        Message(role="assistant", text=" ", native={"type": "claude", "blocks": None}),
        Message(role="assistant", text="", native=[]),
        Message(role="user", text="And?"),
    )
    async with wire(HELLO) as server:
        request = replace(REQUEST, messages=(*REQUEST.messages, *turns))
        await deltas_of(await open_claude(server, pool), request)
    used = {"type": "tool_use", "id": "call_1_x", "name": "vote", "input": {"answer": "a"}}
    result = {"type": "tool_result", "tool_use_id": "call_1_x", "content": "(nothing)", **CACHED}
    assert server.requests[0].json["messages"][1:] == [
        {"role": "assistant", "content": [text("Well."), used]},
        {"role": "user", "content": [result]},
        {"role": "user", "content": [text("And?", **CACHED)]},
    ]


async def test_an_empty_text_is_never_sent_back(pool: Pool) -> None:
    first = message(start(), written(0), called(1, "vote", "{}"), stop("tool_use"))
    async with wire(first, HELLO) as server:
        _, sent = await echo(server, pool, ToolResult(call_id="toolu_1", content="ok"))
    assert [each["type"] for each in sent["messages"][1]["content"]] == ["tool_use"]


async def test_results_come_first_and_together_then_what_is_shown(pool: Pool) -> None:
    picture, document = Image(mime="image/png", data=b"\x89PNG"), Image(mime="application/pdf", data=b"%PDF")
    turns = (
        Message(
            role="tool", results=(ToolResult(call_id="a", content="1"),), images=(picture,), text="Look."
        ),
        Message(role="tool", results=(ToolResult(call_id="b", content="2"),)),
        Message(role="user", text="Read.", images=(document,)),
    )
    async with wire(HELLO) as server:
        await deltas_of(await open_claude(server, pool), Request(messages=turns))
    encoded = base64.b64encode(b"\x89PNG").decode()
    source = {"type": "base64", "media_type": "image/png", "data": encoded}
    (only,) = server.requests[0].json["messages"]
    first, second, shown, look, read, last = only["content"]
    assert [each["tool_use_id"] for each in (first, second)] == ["a", "b"]
    assert (shown, look) == ({"type": "image", "source": source}, text("Look."))
    assert (read["type"], read["source"]["media_type"]) == ("document", "application/pdf")
    assert last == text("Read.", **CACHED)


async def test_code_goes_on_in_the_container_it_ran_in(pool: Pool) -> None:
    ran = {"id": "container_7", "expires_at": "2026-11-22T00:00:00Z"}
    paused = message(start(), written(0, "a"), stop("pause_turn", delta={"container": ran}))
    async with wire(paused, HELLO, HELLO, HELLO) as server:
        _, sent = await echo(server, pool, enable_code_execution=True)
        turn = Message(
            role="assistant", text="a", native={"type": "claude", "blocks": [], "container": "container_7"}
        )
        elsewhere = await open_claude(server, pool)
        await reply_of(elsewhere, replace(REQUEST, messages=(*REQUEST.messages, turn, *REQUEST.messages)))
    containers = [request.json.get("container") for request in server.requests]
    assert containers == [None, "container_7", "container_7", None]
    assert sent["container"] == "container_7"
