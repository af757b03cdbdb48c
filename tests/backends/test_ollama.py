"""Ollama as its server speaks: what it streams, what it hears, what it lists, what it lacks."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.ollama import Options, connect
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.backends.retry import Paced
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_text
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import ReasoningDelta, Reply, Request, TextDelta, ToolCall, ToolSpec
from massgen_mcp.runs.default_team import loaded_models
from massgen_mcp.runs.local_servers import local_servers
from massgen_mcp.usage import Usage
from tests.backends.chats import REQUEST, deltas_of, reply_of
from tests.backends.wire import Wire, http, http_json, make_context, part, wire

pytestmark = pytest.mark.anyio

HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream\r\n"
    b"Date: Sat, 21 Nov 2026 09:00:00 GMT\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
CHUNK = (
    b'data: {"id":"chatcmpl-417","object":"chat.completion.chunk","created":1795251600,"model":"qwen3:8b",'
    b'"system_fingerprint":"fp_ollama","choices":[%s]%s}\n\n'
)
USED = b',"usage":{"prompt_tokens":171,"completion_tokens":38,"total_tokens":209}'
DONE = b"data: [DONE]\n\n"


def streamed(*choices: bytes) -> bytes:
    """A reply of these choices, its usage and its end."""
    chunks = [CHUNK % (choice, b"") for choice in choices]
    return HEAD + b"".join(part(line) for line in (*chunks, CHUNK % (b"", USED), DONE, b""))


CALLING = streamed(
    b'{"index":0,"delta":{"role":"assistant","content":"","reasoning":"The first"},"finish_reason":null}',
    b'{"index":0,"delta":{"content":"","reasoning":" is right."},"finish_reason":null}',
    b'{"index":0,"delta":{"content":"I vote."},"finish_reason":null}',
    b'{"index":0,"delta":{"content":"","tool_calls":[{"id":"call_k3j9x0aa","index":0,"type":"function",'
    b'"function":{"name":"vote","arguments":"{\\"answer\\":\\"agent1.1\\"}"}}]},"finish_reason":null}',
    b'{"index":0,"delta":{},"finish_reason":"tool_calls"}',
)
HELLO = streamed(
    b'{"index":0,"delta":{"role":"assistant","content":"Hello."},"finish_reason":null}',
    b'{"index":0,"delta":{},"finish_reason":"stop"}',
)
JSON = "application/json; charset=utf-8"
PS = (
    b'{"models":[{"name":"qwen3:8b","model":"qwen3:8b","size":6654289920,"digest":"500a1f067a9f","details":'
    b'{"parent_model":"","format":"gguf","family":"qwen3","families":["qwen3"],"parameter_size":"8.2B",'
    b'"quantization_level":"Q4_K_M"},"expires_at":"2026-11-21T09:05:00.123456789Z","size_vram":6654289920,'
    b'"context_length":4096}]}'
)
ON_DISK = (
    b'{"object":"list","data":[{"id":"gpt-oss:120b-cloud","object":"model","created":1795000000,'
    b'"owned_by":"library"},{"id":"qwen3:8b","object":"model","created":1795000000,"owned_by":"library"}]}\n'
)
MISSING = (
    b'{"error":{"message":"model \'qwen3:8b\' not found",'
    b'"type":"not_found_error","param":null,"code":null}}\n'
)


async def open_ollama(server: Wire, pool: Pool, **options: Any) -> ModelBackend:
    """A backend talking to the server."""
    block = {"type": "ollama", "model": "qwen3:8b", "base_url": server.url, **options}
    return await connect(Options.model_validate(block), make_context("ollama", pool))


def team_of(block: str) -> Loaded:
    """What becomes of a team file with that backend block."""
    return load_text(
        f"agent: {{id: a, backend: {{type: ollama, {block}}}}}",
        environment=Environment.of({}),
        origin="inline",
        name="inline",
        today=date(2026, 11, 21),
    )


async def test_reasoning_text_a_tool_call_and_usage_arrive(pool: Pool) -> None:
    vote = ToolSpec(name="vote", description="Vote.", parameters={"type": "object", "properties": {}})
    async with wire(CALLING) as server:
        backend = await open_ollama(server, pool)
        request = Request(messages=REQUEST.messages, tools=(vote,), tool_choice="required")
        *streaming, reply = await deltas_of(backend, request)
    assert streaming == [
        ReasoningDelta(text="The first"),
        ReasoningDelta(text=" is right."),
        TextDelta(text="I vote."),
    ]
    assert reply == Reply(
        text="I vote.",
        calls=(ToolCall(id="call_k3j9x0aa", name="vote", arguments='{"answer":"agent1.1"}'),),
        finish="tool_calls",
        model="qwen3:8b",
        usage=Usage(requests=1, input=171, output=38),
    )


async def test_the_request_holds_what_ollama_hears(pool: Pool) -> None:
    heard: dict[str, Any] = {
        "temperature": 0.2,
        "top_p": 0.9,
        "max_tokens": 50,
        "seed": 7,
        "stop": ["END"],
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
    }
    async with wire(HELLO) as server:
        backend = await open_ollama(server, pool, **heard, reasoning={"effort": "high"})
        assert isinstance(backend, Paced)
        assert (backend.deep, backend.model, backend.info) == (True, "qwen3:8b", BACKENDS["ollama"])
        assert (await reply_of(backend)).text == "Hello."
        await backend.aclose()
    sent = server.requests[0]
    assert (sent.method, sent.target) == ("POST", "/v1/chat/completions")
    assert sent.json == {
        "model": "qwen3:8b",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say hello."},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "high",
        **heard,
    }


async def test_a_model_that_is_not_there_is_to_be_pulled(pool: Pool) -> None:
    async with wire(http(404, MISSING, JSON)) as server:
        backend = await open_ollama(server, pool)
        with pytest.raises(BackendError) as caught:
            await reply_of(backend)
    error = caught.value
    assert (error.kind, error.retryable, error.attempts) == ("not_found", False, 1)
    assert error.remedy == "Fetch it: `ollama pull qwen3:8b`; if it is there, check `base_url`."
    assert str(error) == (
        "Ollama has no model 'qwen3:8b' at this address (404): model 'qwen3:8b' not found. "
        "Fetch it: `ollama pull qwen3:8b`; if it is there, check `base_url`."
    )


async def test_another_failure_keeps_its_own_remedy(pool: Pool) -> None:
    words = (
        b'{"error":{"message":"registry.ollama.ai/library/gemma3:1b does not support tools",'
        b'"type":"invalid_request_error","param":null,"code":null}}\n'
    )
    async with wire(http(400, words, JSON)) as server:
        with pytest.raises(BackendError, match="does not support tools") as caught:
            await reply_of(await open_ollama(server, pool))
    assert (caught.value.kind, "pull" in str(caught.value)) == ("bad_request", False)


async def test_what_is_loaded_is_asked_of_ollama_s_own_api_and_what_is_on_disk_is_not_it(pool: Pool) -> None:
    async with wire(
        http(200, PS, JSON), http(200, b'{"models":[]}', JSON), http(200, ON_DISK, JSON)
    ) as server:
        row = replace(BACKENDS["ollama"], base_url=server.url)
        assert await loaded_models(row, pool) == ["qwen3:8b"]
        assert await loaded_models(row, pool) == []
        assert await loaded_models(replace(row, loaded_path="models"), pool) == [
            "gpt-oss:120b-cloud",
            "qwen3:8b",
        ]
    assert [sent.target for sent in server.requests] == ["/api/ps", "/api/ps", "/v1/models"]


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "qwen3:cloud", "QWEN3:Cloud", "me/x:8b-cloud"])
async def test_a_model_of_ollama_s_cloud_is_not_local(pool: Pool, model: str) -> None:
    async with wire() as server:
        with pytest.raises(BackendError, match="runs on Ollama's own machines") as caught:
            await open_ollama(server, pool, model=model)
    assert (caught.value.connected, server.requests) == (False, [])


async def test_nor_is_one_that_the_server_lists_first(pool: Pool) -> None:
    async with wire(http(200, ON_DISK, JSON)) as server:
        with pytest.raises(BackendError, match="gpt-oss:120b-cloud"):
            await open_ollama(server, pool, model=None)


@pytest.mark.parametrize("model", ["my-cloud", "my-cloud:8b", "host:5000/x-cloud"])
async def test_a_cloud_in_a_name_alone_is_none(pool: Pool, model: str) -> None:
    async with wire() as server:
        assert (await open_ollama(server, pool, model=model)).model == model


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("num_ctx: 8192", "set PARAMETER num_ctx in a Modelfile"),
        ("top_k: 40", "set PARAMETER top_k in a Modelfile"),
        ("min_p: 0.05", "set PARAMETER min_p in a Modelfile"),
        ("repeat_penalty: 1.1", "set PARAMETER repeat_penalty in a Modelfile"),
        ("repetition_penalty: 1.1", "set PARAMETER repeat_penalty in a Modelfile"),
        ("keep_alive: 10m", "set OLLAMA_KEEP_ALIVE"),
        ("think: false", "write reasoning_effort"),
        ("num_predict: 99", "write max_tokens"),
        ("options: {num_ctx: 8192}", "write its keys beside `type`"),
    ],
)
def test_a_key_that_ollama_would_pass_over_is_refused_with_the_reason(key: str, instead: str) -> None:
    (problem,) = team_of(f"model: m, {key}").errors
    assert problem.path == "agent.backend"
    assert f"Ollama's chat completions don't hear {key.partition(':')[0]}: {instead}" in problem.message


def test_it_needs_no_key_and_may_be_part_of_a_private_team() -> None:
    assert team_of("model: qwen3:8b").problems == ()
    text = (Path(__file__).parents[2] / "configs/backends/ollama.yaml").read_text()
    loaded = load_text(
        f"private: true\n{text}",
        environment=Environment.of({}),
        origin="inline",
        name="inline",
        today=date(2026, 11, 21),
    )
    assert loaded.problems == ()


async def test_servers_are_asked_for_memory_and_disk_and_cloud_models_do_not_count(pool: Pool) -> None:
    memory = {"models": [{"name": "qwen3:8b"}]}
    disk = {"data": [{"id": "qwen3:8b"}, {"id": "gemma3:1b"}, {"id": "gpt-oss:120b-cloud"}]}
    await pool.client()  # what takes time by itself must not come out of the moment that a server has
    async with wire(http_json(200, memory), http_json(200, disk)) as server:
        row = replace(BACKENDS["ollama"], base_url=server.url)
        found = await local_servers(pool, [row])
    assert sorted(sent.target for sent in server.requests) == ["/api/ps", "/v1/models"]
    assert "gpt-oss:120b-cloud" not in found["ollama"].models
