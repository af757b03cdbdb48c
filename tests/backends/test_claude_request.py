"""What a block of `type: claude` becomes on the wire."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from massgen_mcp.backends.claude import Options, connect
from massgen_mcp.backends.claude_backend import Backend
from massgen_mcp.backends.claude_models import generation, most_output
from massgen_mcp.backends.open import open_backend
from massgen_mcp.backends.pool import Pool
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Request, ToolResult
from massgen_mcp.secrets import Secrets
from tests.backends.chats import deltas_of, reply_of
from tests.backends.claudes import (
    HELLO,
    KEY,
    MODEL,
    REQUEST,
    VOTE,
    called,
    message,
    open_claude,
    refusal,
    sent_with,
    start,
    stop,
    thought,
)
from tests.backends.wire import make_context, wire

pytestmark = pytest.mark.anyio

MARK = {"type": "ephemeral"}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CODE = {"type": "code_execution_20250825", "name": "code_execution"}


# Blocks as the guides show them.


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            """
            type: "claude"
            model: "claude-sonnet-4"
            enable_web_search: true
            enable_code_interpreter: true
            """,
            {"model": "claude-sonnet-4-20250514", "tools": [SEARCH, CODE]},
        ),
        (
            """
            type: "claude"
            model: "claude-sonnet-4"
            """,
            {"model": "claude-sonnet-4-20250514"},
        ),
        (
            """
            type: claude
            model: claude-haiku-4-5-20251001
            enable_code_execution: true
            temperature: 0.7
            max_tokens: 2000
            """,
            {
                "model": "claude-haiku-4-5-20251001",
                "max_tokens": 2000,
                "temperature": 0.7,
                "tools": [CODE],
            },
        ),
        ("type: claude", {"model": "claude-sonnet-5-5", "max_tokens": 64_000}),
        (
            """
            type: claude
            model: claude-3-5-sonnet-latest
            """,
            {"model": "claude-3-5-sonnet-latest", "max_tokens": 8192},
        ),
    ],
)
async def test_the_guides_blocks_become_exactly_these_requests(
    pool: Pool, block: str, expected: dict[str, Any]
) -> None:
    async with wire(HELLO) as server:
        given = {**yaml.safe_load(block), "base_url": server.url, "api_key": KEY}
        await deltas_of(await connect(Options.model_validate(given), make_context("claude", pool)), REQUEST)
    assert server.requests[0].json == {
        "max_tokens": 32_000,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Say hello.", "cache_control": MARK}]}
        ],
        "stream": True,
        **expected,
    }


async def test_all_keys_of_a_block_reach_the_wire(pool: Pool) -> None:
    sent = await sent_with(
        pool,
        temperature=0,
        top_p=0.9,
        top_k=5,
        max_tokens=900,
        stop_sequences=("END", "STOP"),
        service_tier="standard_only",
        effort="medium",
        extra_body={"metadata": {"user_id": "u"}, "top_k": 7},
    )
    assert sent == {
        "temperature": 0,
        "top_p": 0.9,
        "top_k": 7,
        "max_tokens": 900,
        "stop_sequences": ["END", "STOP"],
        "service_tier": "standard_only",
        "output_config": {"effort": "medium"},
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "u"},
    }


async def test_what_is_not_set_is_not_sent(pool: Pool) -> None:
    assert await sent_with(pool) == {"max_tokens": 32_000}


async def test_a_tool_is_chosen_by_its_name(pool: Pool) -> None:
    request = replace(REQUEST, tools=(VOTE,))
    assert "tool_choice" not in await sent_with(pool, request)
    assert "tool_choice" not in await sent_with(pool, replace(REQUEST, tool_choice="required"))
    forced = await sent_with(pool, replace(request, tool_choice="vote"))
    assert forced["tool_choice"] == {"type": "tool", "name": "vote"}
    any_of_them = await sent_with(pool, replace(request, tool_choice="required"))
    assert any_of_them["tool_choice"] == {"type": "any"}


async def test_built_in_tools_stand_beside_ours(pool: Pool) -> None:
    request = replace(REQUEST, tools=(VOTE,))
    both = await sent_with(pool, request, enable_web_search=True, enable_code_execution=True)
    assert [tool["name"] for tool in both["tools"]] == ["vote", "web_search", "code_execution"]


# How long a reply may be.


async def test_the_request_s_own_limit_wins(pool: Pool) -> None:
    sent = await sent_with(pool, replace(REQUEST, max_tokens=9), max_tokens=50)
    assert sent["max_tokens"] == 9


async def test_a_limit_above_the_model_s_is_lowered_to_it(pool: Pool) -> None:
    words = f"max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for {MODEL}"
    async with wire(refusal(words), HELLO, HELLO) as server:
        backend = await open_claude(server, pool, max_tokens=100_000)
        first, second = await reply_of(backend, REQUEST), await reply_of(backend, REQUEST)
    assert [sent.json["max_tokens"] for sent in server.requests] == [100_000, 64_000, 64_000]
    told = f"max_tokens is lowered to 64000, the most that {MODEL} takes."
    assert first.warnings == second.warnings == (told,)


async def test_our_own_limit_is_lowered_without_a_word(pool: Pool) -> None:
    words = "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens for my-model"
    async with wire(refusal(words), HELLO) as server:
        reply = await reply_of(await open_claude(server, pool, model="my-model"), REQUEST)
    assert [sent.json["max_tokens"] for sent in server.requests] == [8192, 4096]
    assert reply.warnings == ()


@pytest.mark.parametrize(
    ("model", "born", "most"),
    [
        ("claude-sonnet-5-5", (5, 5), 128_000),
        ("claude-opus-4-6", (4, 6), 128_000),
        ("anthropic/claude-sonnet-4.5", (4, 5), 64_000),
        ("claude-haiku-4-5-20251001", (4, 5), 64_000),
        ("claude-opus-4-1-20250805", (4, 1), 32_000),
        ("claude-sonnet-4-20250514", (4, 0), 32_000),
        ("claude-3-7-sonnet-latest", (3, 7), 64_000),
        ("claude-3-5-haiku-20241022", (3, 5), 8192),
        ("claude-3-haiku-20240307", (3, 0), 4096),
        ("claude-2.1", (2, 1), 4096),
        ("claude-mythos-preview", (99, 0), 128_000),
        ("qwen3", (0, 0), 8192),
    ],
)
def test_a_model_s_name_says_how_long_a_reply_may_be(model: str, born: tuple[int, int], most: int) -> None:
    assert (generation(model), most_output(model)) == (born, most)


# The cache.


def marks(body: dict[str, Any]) -> list[str]:
    """Where a request may be cached up to."""
    found = [f"tools.{tool['name']}" for tool in body.get("tools", ()) if "cache_control" in tool]
    found += ["system" for each in body.get("system", ()) if "cache_control" in each]
    for number, turn in enumerate(body["messages"]):
        contents = enumerate(turn["content"])
        found += [f"{number}.{place}" for place, each in contents if "cache_control" in each]
    return found


async def test_tools_and_system_and_the_last_two_messages_may_be_cached(pool: Pool) -> None:
    call = message(start(), thought(0, "hm", "s"), called(1, "vote", "{}"), stop("tool_use"))
    request = replace(REQUEST, tools=(VOTE,))
    turns = list(REQUEST.messages)
    async with wire(call, call, call, HELLO) as server:
        backend = await open_claude(server, pool)
        for _ in range(4):
            reply = await reply_of(backend, replace(request, messages=tuple(turns)))
            result = ToolResult(call_id="toolu_1", content="ok")
            turns += [reply.message(), Message(role="tool", results=(result,))]
    bodies = [sent.json for sent in server.requests]
    assert [marks(body) for body in bodies] == [
        ["system", "0.0"],
        ["system", "0.0", "2.0"],
        ["system", "2.0", "4.0"],
        ["system", "4.0", "6.0"],
    ]
    plain = [
        json.dumps(body["messages"]).replace(f', "cache_control": {json.dumps(MARK)}', "") for body in bodies
    ]
    for shorter, longer in pairwise(plain):
        assert longer.startswith(shorter[:-1])


async def test_tools_alone_may_be_cached_where_there_is_no_system_text(pool: Pool) -> None:
    async with wire(HELLO) as server:
        request = Request(messages=(Message(role="user", text="Hi."),), tools=(VOTE,))
        await deltas_of(await open_claude(server, pool, enable_web_search=True), request)
    assert marks(server.requests[0].json) == ["tools.web_search", "0.0"]


async def test_a_gateway_without_a_cache_is_asked_without(pool: Pool) -> None:
    words = "system.0.cache_control: Extra inputs are not permitted"
    async with wire(refusal(words, 422), HELLO) as server:
        reply = await reply_of(await open_claude(server, pool), REQUEST)
    assert "cache_control" not in json.dumps(server.requests[1].json)
    assert reply.warnings == ()


# Where the address and the key come from.


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/messages"])
async def test_an_address_is_understood_with_and_without_its_version(pool: Pool, path: str) -> None:
    async with wire(HELLO, HELLO) as server:
        root = f"http://127.0.0.1:{server.port}"
        await deltas_of(await open_claude(f"{root}{path}", pool), REQUEST)
        await deltas_of(await open_claude(f"{root}/proxy{path}", pool), REQUEST)
    assert [sent.target for sent in server.requests] == ["/v1/messages", "/proxy/v1/messages"]


async def test_the_vendor_s_own_address_is_the_default(pool: Pool) -> None:
    secrets = Secrets()
    context = make_context("claude", pool, secrets=secrets, environ={"ANTHROPIC_API_KEY": KEY})
    backend = await open_backend(Options(type="claude"), context)
    assert isinstance(backend, Backend)
    client = backend._client  # pyright: ignore[reportPrivateUsage] - nothing is sent
    assert str(client.base_url) == "https://api.anthropic.com"
    assert "x-api-key" not in {name.lower() for name in client.default_headers}
    assert backend.model == "claude-sonnet-5-5"
    assert secrets.redact(f"{KEY}!") == "[ANTHROPIC_API_KEY]!"


async def test_the_vendor_s_key_goes_to_its_hosts_alone(pool: Pool) -> None:
    environ = {"ANTHROPIC_API_KEY": KEY}
    async with wire(HELLO, HELLO) as server:
        options = Options(type="claude", model="m", base_url=server.url)
        await deltas_of(await connect(options, make_context("claude", pool, environ=environ)), REQUEST)
        await deltas_of(await open_claude(server, pool, api_key="gateway-key-1234"), REQUEST)
    first, second = (sent.headers for sent in server.requests)
    assert (first["authorization"], first["x-api-key"]) == ("Bearer EMPTY", "EMPTY")
    assert (second["authorization"], second["x-api-key"]) == ("Bearer gateway-key-1234", "gateway-key-1234")
    elsewhere = Options(type="claude", base_url="https://proxy.example")
    with pytest.raises(BackendError, match="not one of the hosts") as caught:
        await connect(elsewhere, make_context("claude", pool, environ=environ))
    assert (caught.value.kind, caught.value.connected) == ("auth", False)


async def test_a_missing_key_is_told_before_anything_is_sent(pool: Pool) -> None:
    with pytest.raises(BackendError, match="Set ANTHROPIC_API_KEY, or give `api_key`") as caught:
        await connect(Options(type="claude"), make_context("claude", pool))
    assert (caught.value.kind, caught.value.connected) == ("auth", False)


async def test_an_address_that_may_not_be_used_is_refused_before_anything_is_sent(pool: Pool) -> None:
    options = Options.model_construct(
        type="claude", base_url="https://169.254.169.254", api_key=SecretStr(KEY)
    )
    with pytest.raises(BackendError, match="link-local or metadata") as caught:
        await connect(options, make_context("claude", pool))
    assert caught.value.connected is False
