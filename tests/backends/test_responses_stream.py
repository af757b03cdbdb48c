"""A reply of the Responses API: what streams, what it becomes, and what a model is not asked for again."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from massgen_mcp.backends.limits import request_limits
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.responses_parameters import refused_by
from massgen_mcp.backends.retry import Paced
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, ReasoningDelta, Reply, Request, TextDelta, ToolCall
from massgen_mcp.usage import Usage
from tests.backends.responses_events import (
    CREATED,
    HELLO,
    REQUEST,
    USAGE,
    VOTE,
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
from tests.backends.wire import Stall, http, http_json, wire

pytestmark = pytest.mark.anyio


async def reply_to(pool: Pool, *events: dict[str, Any], **options: Any) -> Reply:
    """The reply that comes of a stream of these events."""
    async with wire(stream(*events)) as server:
        *_, reply = await deltas_of(await open_model(server, pool, **options))
    assert isinstance(reply, Reply)
    return reply


async def test_text_and_thoughts_stream_and_end_in_one_reply(pool: Pool) -> None:
    thought: dict[str, Any] = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "g"}
    part = "response.reasoning_summary_part.added"
    events = [
        CREATED,
        event("response.in_progress", response=response(status="in_progress")),
        event("response.output_item.added", output_index=0, item=thought),
        event(part, summary_index=0),
        event("response.reasoning_summary_text.delta", delta="First."),
        event(part, summary_index=1),
        event("response.reasoning_summary_text.delta", delta="Then."),
        event("response.reasoning_text.delta", delta="Hm"),
        done(thought),
        event("response.output_item.added", output_index=1, item=message("", content=[])),
        text_delta("Hel"),
        text_delta(""),
        text_delta("lo."),
        event("response.something.new", delta="?"),
        done(message(), 1),
        completed(thought, message()),
    ]
    async with wire(stream(*events)) as server:
        deltas = await deltas_of(await open_model(server, pool))
    assert deltas == [
        ReasoningDelta(text="First."),
        ReasoningDelta(text="\n\n"),
        ReasoningDelta(text="Then."),
        ReasoningDelta(text="Hm"),
        TextDelta(text="Hel"),
        TextDelta(text="lo."),
        Reply(
            text="Hello.",
            model="gpt-6.1-terra-2026-09-01",
            usage=Usage(requests=1, input=36, output=87, cached=10, cache_write=4, reasoning=64),
            native={"type": "openai", "items": [thought, message()]},
        ),
    ]


async def test_calls_keep_their_arguments_letter_by_letter(pool: Pool) -> None:
    raw = '{"answer" :\t"agent1.1", "answer": 1e400}'
    two = call("", id="fc_2", call_id="call_2", name="look")
    reply = await reply_to(pool, CREATED, done(call(raw), 0), done(two, 1), completed(call(raw), two))
    assert reply.calls == (
        ToolCall(id="call_1", name="vote", arguments=raw),
        ToolCall(id="call_2", name="look", arguments=""),
    )
    assert (reply.text, reply.finish) == ("", "tool_calls")


async def test_arguments_sent_as_an_object_are_made_a_text(pool: Pool) -> None:
    reply = await reply_to(pool, CREATED, done(call({"answer": "a"})), completed())
    assert reply.calls[0].arguments == '{"answer": "a"}'


async def test_items_come_from_where_each_was_done_else_from_the_end(pool: Pool) -> None:
    first, second = message("One."), message("Two.", id="msg_2")
    only_done = await reply_to(pool, done(second, 1), done(first, 0), completed())
    only_end = await reply_to(pool, completed(first, second))
    more_at_the_end = await reply_to(pool, done(first, 0), completed(first, second))
    all_at_zero = await reply_to(pool, done(first, 0), done(second, 0), completed())
    for reply in (only_done, only_end, more_at_the_end, all_at_zero):
        assert reply.text == "One.\n\nTwo."
        assert reply.native["items"] == [first, second]


async def test_remarks_on_the_way_are_not_the_answer(pool: Pool) -> None:
    remark, answer = message("Let me look.", phase="commentary"), message("4", phase="final_answer")
    both = await reply_to(pool, completed(remark, answer))
    assert both.text == "4"
    alone = await reply_to(pool, completed(remark, call()))
    assert (alone.text, len(alone.calls)) == ("Let me look.", 1)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage(requests=1)),
        ({}, Usage(requests=1)),
        (
            USAGE | {"input_tokens_details": None, "output_tokens_details": None},
            Usage(requests=1, input=36, output=87),
        ),
        ({"input_tokens": "many", "output_tokens": -1, "total_tokens": True}, Usage(requests=1)),
        (
            {
                "input_tokens": 32,
                "output_tokens": 9,
                "output_tokens_details": {"reasoning_tokens": 94},
                "total_tokens": 135,
            },
            Usage(requests=1, input=32, output=103, reasoning=94),
        ),
        (
            {"input_tokens": 9, "output_tokens": 1, "cost_in_usd_ticks": 318_319_000},
            Usage(requests=1, input=9, output=1, cost_usd=0.0318319, cost_source="provider"),
        ),
        ({"input_tokens": 9, "cost_in_usd_ticks": "much"}, Usage(requests=1, input=9)),
    ],
)
async def test_usage_is_read_as_far_as_it_is_there(pool: Pool, usage: object, expected: Usage) -> None:
    reply = await reply_to(pool, completed(message(), usage=usage))
    assert reply.usage == expected
    assert [words for words in reply.warnings if "did not say what the request used" in words] == [
        *reply.warnings
    ]
    assert bool(reply.warnings) is not bool(usage)


async def test_a_reply_in_one_piece_is_taken(pool: Pool) -> None:
    async with wire(http_json(200, response(message(), call()))) as server:
        deltas = await deltas_of(await open_model(server, pool))
    [reply] = deltas
    assert isinstance(reply, Reply)
    assert (reply.text, reply.calls[0].name, reply.usage.input) == ("Hello.", "vote", 36)


async def test_the_connection_is_used_again(pool: Pool) -> None:
    async with wire(HELLO, HELLO, HELLO) as server:
        backend = await open_model(server, pool)
        for _ in range(3):
            await deltas_of(backend)
        assert len(server.requests) == 3
        assert server.connections == 1


async def test_what_comes_after_the_end_changes_nothing(pool: Pool) -> None:
    late = [text_delta("!"), event("error", code="server_error", message="Too late.")]
    reply = await reply_to(pool, CREATED, done(message()), completed(message()), *late)
    assert reply.text == "Hello."


async def test_a_server_that_holds_the_line_after_the_end_is_not_waited_for(pool: Pool) -> None:
    held = stream(CREATED, done(message()), completed(message()), end=False)
    async with wire([held, Stall()]) as server:
        with anyio.fail_after(4):
            *_, reply = await deltas_of(await open_model(server, pool))
            await server.requests[0].left.wait()
    assert isinstance(reply, Reply)


async def test_a_parameter_the_model_refuses_is_left_out_with_a_warning_and_for_good(pool: Pool) -> None:
    words = "Unsupported parameter: 'temperature' is not supported with this model."
    async with wire(http_json(400, refusal(words, "temperature")), HELLO, HELLO) as server:
        backend = await open_model(server, pool, model="m", temperature=0.7, top_p=0.9)
        first = await reply_of(backend)
        again = await open_model(server, pool, model="m", temperature=0.3)
        second = await reply_of(again)
    assert [("temperature" in sent.json, "top_p" in sent.json) for sent in server.requests] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    [warning] = first.warnings
    assert "does not take temperature for m; left out." in warning
    assert second.warnings == first.warnings
    assert (first.attempts, first.usage.requests, second.usage.requests) == (1, 2, 1)


async def test_each_refused_field_of_a_field_goes_alone(pool: Pool) -> None:
    async with wire(
        http_json(400, refusal("no", "reasoning.summary", "unsupported_value")),
        http_json(400, refusal("no", "text.verbosity")),
        HELLO,
    ) as server:
        backend = await open_model(
            server,
            pool,
            reasoning={"effort": "high", "summary": "auto"},
            text={"verbosity": "low"},
        )
        reply = await reply_of(backend)
    last = server.requests[2].json
    assert last["reasoning"] == {"effort": "high"}
    assert "text" not in last
    assert ["reasoning.summary" in reply.warnings[0], "text.verbosity" in reply.warnings[1]] == [True, True]


async def test_a_model_without_encrypted_reasoning_is_asked_without_and_nobody_is_told(pool: Pool) -> None:
    words = "Encrypted content is not supported with this model."
    async with wire(http_json(400, refusal(words, "include")), HELLO, HELLO) as server:
        backend = await open_model(server, pool, model="gpt-4o")
        reply = await reply_of(backend)
        await reply_of(backend)
    assert ["include" in sent.json for sent in server.requests] == [True, False, False]
    assert all(sent.json["store"] is False for sent in server.requests)
    assert reply.warnings == ()


@pytest.mark.parametrize(
    "answer",
    [
        http_json(400, refusal("The encrypted content gAAA... could not be verified.")),
        http_json(400, refusal("No.", "input", "invalid_encrypted_content")),
        http_json(
            404,
            refusal("Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."),
        ),
    ],
)
async def test_reasoning_the_provider_no_longer_reads_is_left_out(pool: Pool, answer: bytes) -> None:
    old: dict[str, Any] = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "old"}
    new = old | {"id": "rs_2", "encrypted_content": "new"}
    native = {"type": "openai", "items": [old, message()]}
    turn = Message(role="assistant", text="Hello.", native=native)
    async with wire(answer, said(new, message()), HELLO) as server:
        backend = await open_model(server, pool)
        request = Request(messages=(turn,))
        reply = await reply_of(backend, request)
        await reply_of(backend, Request(messages=(turn, reply.message())))
    assert "no longer reads" in reply.warnings[0]
    assert reply.usage.requests == 2
    assert server.requests[1].json["input"] == [message()]
    assert server.requests[2].json["input"] == [message(), new, message()]


async def test_every_request_counts_when_one_is_refused_and_the_next_breaks(pool: Pool) -> None:
    async with wire(http_json(400, refusal("no", "temperature")), stream(CREATED)) as server:
        backend = await open_model(server, pool, temperature=1)
        with pytest.raises(BackendError) as caught:
            await deltas_of(backend)
    assert (caught.value.kind, caught.value.requests) == ("protocol", 2)


async def test_stale_reasoning_that_was_never_sent_is_an_error(pool: Pool) -> None:
    async with wire(http_json(400, refusal("No.", "input", "invalid_encrypted_content"))) as server:
        with pytest.raises(BackendError) as caught:
            await reply_of(await open_model(server, pool))
    assert caught.value.kind == "bad_request"


@pytest.mark.parametrize(
    "param", ["max_output_tokens", "text.format", "store", "service_tier", "input[0].role"]
)
async def test_what_bounds_cost_or_form_is_never_left_out(pool: Pool, param: str) -> None:
    async with wire(http_json(400, refusal(f"temperature and {param} are wrong", param))) as server:
        backend = await open_model(server, pool, max_tokens=1, temperature=1, service_tier="flex")
        with pytest.raises(BackendError) as caught:
            await reply_of(backend, Request(messages=REQUEST.messages, schema={"type": "object"}))
    assert caught.value.kind == "bad_request"
    assert len(server.requests) == 1


async def test_a_model_that_refuses_all_is_given_up(pool: Pool) -> None:
    names = ["temperature", "top_p", "reasoning.effort", "reasoning.summary", "include", "tool_choice"]
    async with wire(*(http_json(400, refusal("no", name)) for name in names)) as server:
        backend = await open_model(
            server, pool, temperature=1, top_p=1, reasoning={"effort": "low", "summary": "auto"}
        )
        request = Request(messages=REQUEST.messages, tools=(VOTE,), tool_choice="vote")
        with pytest.raises(BackendError) as caught:
            await reply_of(backend, request)
    assert (len(server.requests), caught.value.requests, caught.value.kind) == (6, 6, "bad_request")


@pytest.mark.parametrize(
    ("words", "param", "name"),
    [
        ("", "temperature", "temperature"),
        ("", "reasoning.effort", "reasoning.effort"),
        ("", "reasoning", "reasoning.effort"),
        ("", "include[0]", "include"),
        ("Argument not supported on this model: reasoningEffort", None, "reasoning.effort"),
        ("`top_p` and temperature can't both be given", None, "temperature"),
        ("this model has no top_p", "", "top_p"),
        ("temperature is fine", "tools[0].parameters", None),
        ("the temperatures are wrong", None, None),
        ("no", None, None),
        ("no", "max_output_tokens", None),
    ],
)
def test_a_refusal_names_what_it_is_about(words: str, param: str | None, name: str | None) -> None:
    sent = ("temperature", "top_p", "reasoning.effort", "reasoning.summary", "include", "max_output_tokens")
    assert refused_by(sent, param, words) == name


async def test_a_model_told_to_think_long_may_be_silent_for_longer(pool: Pool) -> None:
    url = "http://127.0.0.1:9/v1"
    quick = await open_model(url, pool, reasoning={"effort": "low"})
    deep = await open_model(url, pool, reasoning={"effort": "xhigh"})
    plain = await open_model(url, pool)
    for backend in (quick, deep, plain):
        assert isinstance(backend, Paced)
    assert [backend.deep for backend in (quick, deep, plain) if isinstance(backend, Paced)] == [
        False,
        True,
        False,
    ]
    assert request_limits(deep.info, deep=True).idle == deep.info.limits.deep_idle


async def test_who_share_a_key_share_its_pause(pool: Pool) -> None:
    async with wire(http(429, b"", retry_after="1")) as server:
        one, two = await open_model(server, pool), await open_model(server, pool)
        other = await open_model(server, pool, api_key="another-key-1234567")
    assert isinstance(one, Paced)
    assert isinstance(two, Paced)
    assert isinstance(other, Paced)
    assert one.pause is two.pause
    assert other.pause is not one.pause
    await one.aclose()
