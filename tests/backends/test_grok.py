"""xAI's Grok: the guide's block, its own tools, and what differs from OpenAI's Responses API."""

from __future__ import annotations

from typing import Any

import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Request
from massgen_mcp.usage import Usage
from tests.backends.responses_events import (
    CREATED,
    HELLO,
    KEY,
    REQUEST,
    VOTE,
    call,
    completed,
    deltas_of,
    done,
    message,
    open_model,
    reply_of,
    said,
    stream,
)
from tests.backends.wire import http_json, wire

pytestmark = pytest.mark.anyio

INPUT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
ALWAYS = {"input": INPUT, "stream": True, "store": False, "include": ["reasoning.encrypted_content"]}


async def sent_with(pool: Pool, request: Request = REQUEST, **options: Any) -> dict[str, Any]:
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, "grok", **options), request)
    body: dict[str, Any] = server.requests[0].json
    return body


async def test_the_guide_s_block_is_sent_as_this(pool: Pool) -> None:
    body = await sent_with(pool, model="grok-3-mini", enable_web_search=True)
    assert body == ALWAYS | {"model": "grok-3-mini", "tools": [{"type": "web_search"}]}


@pytest.mark.parametrize("name", ["enable_code_execution", "enable_code_interpreter"])
async def test_all_its_own_tools_stand_beside_functions(pool: Pool, name: str) -> None:
    request = Request(messages=REQUEST.messages, tools=(VOTE,), tool_choice="vote")
    body = await sent_with(
        pool,
        request,
        model="grok-4.7",
        enable_web_search=True,
        enable_x_search=True,
        reasoning={"effort": "none"},
        max_tokens=9,
        **{name: True},
    )
    function = {
        "type": "function",
        "name": "vote",
        "description": "Vote.",
        "parameters": {"type": "object", "properties": {"answer": {"type": "string"}}},
        "strict": False,
    }
    assert body == ALWAYS | {
        "model": "grok-4.7",
        "tools": [function, {"type": "web_search"}, {"type": "x_search"}, {"type": "code_interpreter"}],
        "tool_choice": {"type": "function", "name": "vote"},
        "reasoning": {"effort": "none"},
        "max_output_tokens": 9,
    }


async def test_the_address_the_key_and_the_model_are_xai_s_own(pool: Pool) -> None:
    backend = await open_model(
        "https://api.x.ai/v1", pool, "grok", base_url=None, api_key=None, environ={"XAI_API_KEY": KEY}
    )
    assert backend.model == BACKENDS["grok"].default_model
    with pytest.raises(BackendError, match="Set XAI_API_KEY"):
        await open_model("", pool, "grok", base_url=None, api_key=None, environ={"OPENAI_API_KEY": KEY})
    with pytest.raises(BackendError, match="not one of the hosts"):
        await open_model("https://x.ai.example/v1", pool, "grok", api_key=None, environ={"XAI_API_KEY": KEY})


async def test_its_searches_go_back_and_its_own_price_counts(pool: Pool) -> None:
    search = {
        "id": "ctc_1",
        "type": "custom_tool_call",
        "name": "x_keyword_search",
        "input": "{}",
        "status": "completed",
    }
    usage = {
        "input_tokens": 9212,
        "input_tokens_details": {"cached_tokens": 3072},
        "output_tokens": 3417,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12629,
        "cost_in_usd_ticks": 318_319_000,
    }
    first = stream(CREATED, done(search), done(message(), 1), completed(search, message(), usage=usage))
    async with wire(first, said(call())) as server:
        backend = await open_model(server, pool, "grok", enable_x_search=True)
        reply = await reply_of(backend)
        await reply_of(backend, Request(messages=(*REQUEST.messages, reply.message())))
    assert server.requests[1].json["input"] == [*INPUT, search, message()]
    assert reply.native == {"type": "grok", "items": [search, message()]}
    assert reply.usage == Usage(
        requests=1, input=9212, output=3417, cached=3072, cost_usd=0.0318319, cost_source="provider"
    )


async def test_a_refusal_in_xai_s_words_is_understood(pool: Pool) -> None:
    words = {
        "code": "Client specified an invalid argument",
        "error": "Argument not supported: reasoningEffort",
    }
    async with wire(http_json(400, words), HELLO) as server:
        backend = await open_model(server, pool, "grok", model="grok-4", reasoning={"effort": "high"})
        reply = await reply_of(backend)
    assert "reasoning" not in server.requests[1].json
    assert "does not take reasoning.effort for grok-4" in reply.warnings[0]


async def test_another_vendor_s_thoughts_are_not_sent_to_it(pool: Pool) -> None:
    thought: dict[str, Any] = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "g"}
    native = {"type": "openai", "items": [thought, message()]}
    turn = Message(role="assistant", text="Hello.", native=native)
    body = await sent_with(pool, Request(messages=(turn,)))
    assert body["input"] == [{"role": "assistant", "content": "Hello."}]
