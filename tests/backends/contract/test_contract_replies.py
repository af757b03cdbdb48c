"""What every backend makes of a reply, and what it sends to get one: one body for all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import options_class
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import (
    Message,
    ReasoningDelta,
    Reply,
    Request,
    TextDelta,
    ToolCall,
    ToolResult,
    parse_arguments,
)
from tests.backends.contract.dialect import COUNTED
from tests.backends.contract.seats import REQUEST, TOOLS, VOTE, Seat, beside, deltas_of, reply_of, seats
from tests.backends.wire import Cut, wire

pytestmark = [pytest.mark.anyio, seats()]

VALUES: dict[str, Any] = {"temperature": 0.0, "top_p": 0.5, "max_tokens": 3000, "seed": 7}


def after(reply: Reply, *results: ToolResult) -> Request:
    """What goes on from a reply, after its record has been written and read again."""
    native = json.loads(json.dumps(reply.native))
    told = Message(role="tool", results=results) if results else Message(role="user", text="Go on.")
    return replace(TOOLS, messages=(*REQUEST.messages, replace(reply.message(), native=native), told))


async def test_text_streams_in_the_pieces_it_comes_in(pool: Pool, seat: Seat) -> None:
    async with wire(seat.dialect.said("Hel", "lo", "."), beside=beside) as server:
        *streamed, reply = await deltas_of(await seat.open(server, pool))
    assert streamed == [TextDelta(text=piece) for piece in ("Hel", "lo", ".")]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.calls, reply.finish, reply.usage.requests) == ("Hello.", (), "stop", 1)
    assert reply.model


async def test_reasoning_streams_apart_from_the_text(pool: Pool, seat: Seat) -> None:
    async with wire(seat.dialect.said("4", reasoning=("Well, ", "so.")), beside=beside) as server:
        *streamed, reply = await deltas_of(await seat.open(server, pool))
    thoughts = [delta.text for delta in streamed if isinstance(delta, ReasoningDelta)]
    assert thoughts == ["Well, ", "so."]
    assert [delta.text for delta in streamed if isinstance(delta, TextDelta)] == ["4"]
    assert isinstance(reply, Reply)
    assert reply.text == "4"


async def test_a_tool_call_makes_the_round_trip(pool: Pool, seat: Seat) -> None:
    call = ToolCall(id="c1", name="vote", arguments=json.dumps({"answer": 'it "works"'}))
    async with wire(seat.dialect.called(call), seat.dialect.said("Done."), beside=beside) as server:
        backend = await seat.open(server, pool)
        reply = await reply_of(backend, TOOLS)
        last = await reply_of(backend, after(reply, ToolResult(call_id="c1", content="Recorded.")))
    assert (reply.text, reply.finish) == ("", "tool_calls")
    assert [(each.id, each.name) for each in reply.calls] == [("c1", "vote")]
    assert parse_arguments(reply.calls[0]) == {"answer": 'it "works"'}
    assert seat.dialect.results(server.requests[1].json) == [("c1", "Recorded.")]
    assert (last.text, last.calls) == ("Done.", ())


async def test_results_of_parallel_calls_go_back_together(pool: Pool, seat: Seat) -> None:
    calls = [ToolCall(id=f"c{number}", name="vote", arguments=f'{{"answer": {number}}}') for number in (1, 2)]
    async with wire(seat.dialect.called(*calls), seat.dialect.said("Done."), beside=beside) as server:
        backend = await seat.open(server, pool)
        reply = await reply_of(backend, TOOLS)
        results = [ToolResult(call_id=call.id, content=f"result of {call.id}") for call in reply.calls]
        await reply_of(backend, after(reply, *results))
    assert [parse_arguments(call) for call in reply.calls] == [{"answer": 1}, {"answer": 2}]
    found = seat.dialect.results(server.requests[1].json)
    assert found == [("c1", "result of c1"), ("c2", "result of c2")]


async def test_broken_arguments_are_kept_as_they_came_and_read_strictly(pool: Pool, seat: Seat) -> None:
    broken = ToolCall(id="c1", name="vote", arguments='{"answer": "untermin')
    async with wire(seat.dialect.called(broken), seat.dialect.said("Done."), beside=beside) as server:
        backend = await seat.open(server, pool)
        reply = await reply_of(backend, TOOLS)
        await reply_of(backend, after(reply, ToolResult(call_id="c1", content="error: not JSON")))
    assert reply.calls[0].arguments == broken.arguments
    with pytest.raises(ValueError, match="Unterminated string"):
        parse_arguments(reply.calls[0])
    assert seat.dialect.results(server.requests[1].json) == [("c1", "error: not JSON")]


async def test_a_turn_s_own_items_go_back_verbatim_those_nobody_knows_as_well(pool: Pool, seat: Seat) -> None:
    said, items = seat.dialect.native()
    async with wire(said, seat.dialect.said("Done."), beside=beside) as server:
        backend = await seat.open(server, pool)
        reply = await reply_of(backend, TOOLS)
        await reply_of(backend, after(reply, ToolResult(call_id="c1", content="Recorded.")))
    assert (reply.text, [call.id for call in reply.calls]) == ("I vote.", ["c1"])
    assert seat.dialect.echoed(server.requests[1].json) == items


async def test_another_backend_s_items_are_not_sent(pool: Pool, seat: Seat) -> None:
    foreign = {"type": "somebody", "items": [{"x": 1}], "blocks": [{"x": 1}], "contents": [{"x": 1}]}
    call = ToolCall(id="c1", name="vote", arguments='{"answer": "a"}')
    turn = Message(role="assistant", text="I vote.", calls=(call,), native=foreign)
    result = Message(role="tool", results=(ToolResult(call_id="c1", content="Recorded."),))
    request = replace(TOOLS, messages=(*REQUEST.messages, turn, result))
    async with wire(seat.dialect.said("Done."), beside=beside) as server:
        await reply_of(await seat.open(server, pool), request)
    sent = server.requests[0].json
    assert '"x"' not in json.dumps(seat.dialect.echoed(sent))
    assert "I vote." in json.dumps(seat.dialect.echoed(sent))
    assert seat.dialect.results(sent) == [("c1", "Recorded.")]


async def test_usage_is_counted_in_one_way(pool: Pool, seat: Seat) -> None:
    async with wire(seat.dialect.counted(), beside=beside) as server:
        reply = await reply_of(await seat.open(server, pool))
    written = reply.usage.cache_write
    assert replace(reply.usage, cache_write=0) == COUNTED
    assert reply.usage.cached + written <= reply.usage.input
    assert reply.usage.reasoning <= reply.usage.output
    assert reply.warnings == ()


async def test_a_call_can_be_forced(pool: Pool, seat: Seat) -> None:
    choices = [None, "required", "vote"]
    async with wire(*[seat.dialect.said("x")] * 3, beside=beside) as server:
        backend = await seat.open(server, pool)
        for choice in choices:
            await reply_of(backend, replace(TOOLS, tool_choice=choice))
    sent = [seat.dialect.forced(request.json) for request in server.requests]
    assert sent == (choices if seat.forces else [None] * 3)


async def test_every_sampling_key_of_the_row_reaches_the_wire(pool: Pool, seat: Seat) -> None:
    fields = options_class(seat.row).model_fields
    for key in seat.row.sampling:
        value = VALUES.get(key, True if fields[key].annotation == bool | None else 1)
        async with wire(seat.dialect.said("x"), beside=beside) as server:
            reply = await reply_of(await seat.open(server, pool, **{key: value}))
        assert seat.dialect.parameter(server.requests[0].json, key) == value
        assert reply.warnings == ()


async def test_a_limit_of_the_request_wins_over_the_block_s(pool: Pool, seat: Seat) -> None:
    async with wire(seat.dialect.said("x"), beside=beside) as server:
        backend = await seat.open(server, pool, max_tokens=3000)
        await reply_of(backend, replace(REQUEST, max_tokens=2000))
    assert seat.dialect.parameter(server.requests[0].json, "max_tokens") == 2000


async def test_a_parameter_that_is_refused_is_left_out_told_and_remembered(pool: Pool, seat: Seat) -> None:
    said = seat.dialect.said("Hello.")
    async with wire(seat.dialect.refusing("temperature"), said, said, beside=beside) as server:
        first = await reply_of(await seat.open(server, pool, temperature=0.5))
        second = await reply_of(await seat.open(server, pool, temperature=0.5))
    sent = [seat.dialect.parameter(request.json, "temperature") for request in server.requests]
    assert sent == [0.5, None, None]
    assert (first.text, first.attempts, first.usage.requests) == ("Hello.", 1, 2)
    assert second.usage.requests == 1
    for reply in (first, second):
        assert [warning.count("temperature") for warning in reply.warnings] == [1]


async def test_a_refused_request_counts_also_when_the_next_one_breaks(pool: Pool, seat: Seat) -> None:
    script = [seat.dialect.refusing("temperature")], [seat.dialect.begun(), Cut()]
    async with wire(*script, beside=beside) as server:
        backend = await seat.open(server, pool, temperature=0.5)
        with pytest.raises(BackendError) as caught:
            await deltas_of(backend)
    assert (caught.value.kind, caught.value.requests, len(server.requests)) == ("network", 2, 2)


async def test_what_can_be_used_again_is(pool: Pool, seat: Seat) -> None:
    async with wire(*[seat.dialect.said("x")] * 3, beside=beside) as server:
        backend = await seat.open(server, pool)
        for _ in range(3):
            await reply_of(backend)
    assert server.connections == 1
    assert VOTE.name not in json.dumps(server.requests[0].json)
