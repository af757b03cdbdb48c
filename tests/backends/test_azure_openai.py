"""Azure OpenAI: two routes, one endpoint, and whose word counts."""

from __future__ import annotations

from typing import Any

import pytest

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS, options_class
from massgen_mcp.backends.retry import Paced
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Reply, Request, TextDelta
from tests.backends.chats import HELLO as CHAT_HELLO, USAGE as CHAT_USAGE, chunk, finish
from tests.backends.responses_events import HELLO, KEY, REQUEST, VOTE, deltas_of, refusal, reply_of
from tests.backends.wire import Stall, Wire, http_json, make_context, opened, sse, sse_head, wire

pytestmark = pytest.mark.anyio

CHAT = "2024-02-15-preview"
INPUT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
ALWAYS = {"input": INPUT, "stream": True, "store": False, "include": ["reasoning.encrypted_content"]}


def resource(server: Wire) -> str:
    return server.url.removesuffix("/v1")


async def open_azure(pool: Pool, environ: dict[str, str] | None = None, **block: Any) -> ModelBackend:
    options = options_class(BACKENDS["azure_openai"]).model_validate({"type": "azure_openai", **block})
    return await opened(options, make_context("azure_openai", pool, environ=environ, clock=SystemClock()))


def surroundings(server: Wire, **more: str) -> dict[str, str]:
    return {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": f"{resource(server)}/", **more}


async def test_the_guide_s_block_asks_the_deployment_s_chat(pool: Pool) -> None:
    async with wire(CHAT_HELLO) as server:
        backend = await open_azure(
            pool,
            surroundings(server, AZURE_OPENAI_API_VERSION="2023-01-01"),
            model="gpt-4",
            deployment_name="my-gpt4-deployment",
            api_version=CHAT,
        )
        deltas = await deltas_of(backend)
    sent = server.requests[0]
    assert sent.method == "POST"
    assert sent.target == f"/openai/deployments/my-gpt4-deployment/chat/completions?api-version={CHAT}"
    assert sent.headers["api-key"] == KEY
    assert "authorization" not in sent.headers
    assert sent.json == {
        "model": "my-gpt4-deployment",
        "messages": INPUT,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert backend.model == "my-gpt4-deployment"
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert (deltas[0], reply.text, reply.usage.input) == (TextDelta(text="Hello."), "Hello.", 12)


@pytest.mark.parametrize("version", [None, "v1", "preview", "latest"])
async def test_the_v1_api_is_asked_by_responses(pool: Pool, version: str | None) -> None:
    async with wire(HELLO) as server:
        backend = await open_azure(
            pool,
            surroundings(server),
            model="gpt-6.1-terra",
            deployment_name="my-deployment",
            api_version=version,
            enable_web_search=True,
            enable_code_interpreter=True,
            reasoning={"effort": "high"},
        )
        await deltas_of(backend)
    sent = server.requests[0]
    query = "?api-version=preview" if version == "preview" else ""
    assert (sent.method, sent.target) == ("POST", f"/openai/v1/responses{query}")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json == ALWAYS | {
        "model": "my-deployment",
        "tools": [{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}],
        "reasoning": {"effort": "high"},
    }
    assert isinstance(backend, Paced)
    assert backend.deep


async def test_the_file_wins_over_the_environment(pool: Pool) -> None:
    async with wire(HELLO) as server:
        backend = await open_azure(
            pool,
            {
                "AZURE_OPENAI_API_KEY": "key-of-the-environment",
                "AZURE_OPENAI_ENDPOINT": "https://other.openai.azure.com",
                "AZURE_OPENAI_API_VERSION": CHAT,
            },
            model="d",
            api_version="v1",
            azure_endpoint=resource(server),
            api_key=KEY,
        )
        await deltas_of(backend)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[0].json["model"] == "d"


async def test_the_environment_s_version_holds_where_the_file_has_none(pool: Pool) -> None:
    async with wire(CHAT_HELLO) as server:
        environ = surroundings(server, AZURE_OPENAI_API_VERSION=CHAT, OPENAI_API_VERSION="2020-01-01")
        await deltas_of(await open_azure(pool, environ, model="d"))
    assert server.requests[0].target.endswith(f"?api-version={CHAT}")


async def test_an_empty_version_in_the_environment_is_none(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await open_azure(pool, surroundings(server, AZURE_OPENAI_API_VERSION=""), model="d"))
    assert server.requests[0].target == "/openai/v1/responses"


async def test_the_environment_of_the_process_adds_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "OPENAI_API_VERSION",
        "AZURE_OPENAI_AD_TOKEN",
        "OPENAI_API_KEY",
    )
    for name in names:
        monkeypatch.setenv(name, "process-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-process: process-environment")
    async with wire(CHAT_HELLO) as server:
        await deltas_of(await open_azure(pool, surroundings(server), model="d", api_version=CHAT))
    assert b"process-environment" not in server.requests[0].raw


@pytest.mark.parametrize(
    "path",
    ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/", "/openai/deployments/x?api-version=y"],
)
async def test_an_endpoint_may_be_copied_with_any_of_its_paths(pool: Pool, path: str) -> None:
    async with wire(HELLO, CHAT_HELLO) as server:
        for version in ("v1", CHAT):
            environ = {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": resource(server) + path}
            await deltas_of(await open_azure(pool, environ, model="d", api_version=version))
    first, second = (sent.target.partition("?")[0] for sent in server.requests)
    assert (first, second) == ("/openai/v1/responses", "/openai/deployments/d/chat/completions")


async def test_a_gateway_s_own_path_stays(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(
            await open_azure(pool, base_url=f"{resource(server)}/openai-gate/team", api_key=KEY, model="d")
        )
    assert server.requests[0].target == "/openai-gate/team/openai/v1/responses"


async def test_a_deployment_is_one_part_of_the_path(pool: Pool) -> None:
    async with wire(CHAT_HELLO) as server:
        await deltas_of(await open_azure(pool, surroundings(server), model="../x?y", api_version=CHAT))
    assert server.requests[0].target == f"/openai/deployments/..%2Fx%3Fy/chat/completions?api-version={CHAT}"


async def test_parameters_tools_and_headers_go_to_the_deployment(pool: Pool) -> None:
    async with wire(CHAT_HELLO) as server:
        backend = await open_azure(
            pool,
            surroundings(server),
            deployment_name="d",
            api_version=CHAT,
            temperature=0,
            top_p=0.5,
            max_tokens=50,
            text={"verbosity": "low"},
            reasoning={"effort": "high", "summary": "auto"},
            parallel_tool_calls=False,
            extra_body={"user": "me"},
            extra_headers={"x-team": "a"},
        )
        await deltas_of(backend, Request(messages=REQUEST.messages, tools=(VOTE,), tool_choice="vote"))
    sent = server.requests[0]
    fields = {name: sent.json[name] for name in sent.json if name not in {"model", "messages", "stream"}}
    assert fields == {
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "top_p": 0.5,
        "max_tokens": 50,
        "verbosity": "low",
        "reasoning_effort": "high",
        "parallel_tool_calls": False,
        "user": "me",
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "vote",
                    "description": "Vote.",
                    "parameters": {"type": "object", "properties": {"answer": {"type": "string"}}},
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "vote"}},
    }
    assert sent.headers["x-team"] == "a"
    assert isinstance(backend, Paced)
    assert backend.deep


async def test_what_the_deployment_refuses_is_learnt_as_for_every_chat(pool: Pool) -> None:
    stop = "Unrecognized request argument supplied: stream_options"
    more = "Unsupported parameter: 'max_tokens' is not supported with this model."
    async with wire(
        http_json(400, refusal(stop)), http_json(400, refusal(more, "max_tokens")), CHAT_HELLO
    ) as server:
        backend = await open_azure(pool, surroundings(server), model="d", api_version=CHAT, max_tokens=9)
        assert (await reply_of(backend)).text == "Hello."
    last = server.requests[2].json
    assert ("stream_options" in last, "max_tokens" in last, last["max_completion_tokens"]) == (
        False,
        False,
        9,
    )


async def test_azure_s_filter_reports_do_not_disturb_a_reply(pool: Pool) -> None:
    filters = {"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "model": "", "id": ""}
    async with wire(sse(filters, chunk(content="Hello."), finish(), CHAT_USAGE)) as server:
        backend = await open_azure(pool, surroundings(server), model="d", api_version=CHAT)
        assert (await reply_of(backend)).text == "Hello."


async def test_azure_s_filter_is_a_refusal_on_both_routes(pool: Pool) -> None:
    words = refusal("The response was filtered due to the prompt.", "prompt", "content_filter")
    async with wire(http_json(400, words), http_json(400, words)) as server:
        for version in ("v1", CHAT):
            backend = await open_azure(pool, surroundings(server), model="d", api_version=version)
            with pytest.raises(BackendError) as caught:
                await reply_of(backend)
            assert (caught.value.kind, caught.value.requests) == ("refusal", 1)


@pytest.mark.parametrize("flag", ["enable_web_search", "enable_code_interpreter", "enable_code_execution"])
async def test_a_deployment_s_chat_has_no_built_in_tools_and_says_so(pool: Pool, flag: str) -> None:
    with pytest.raises(BackendError) as caught:
        await open_azure(
            pool,
            {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com", "AZURE_OPENAI_API_KEY": KEY},
            model="d",
            api_version=CHAT,
            **{flag: True},
        )
    assert str(caught.value) == (
        "Chat completions of an Azure deployment have no built-in tools. "
        "Use `api_version: v1`, or remove enable_web_search and enable_code_interpreter."
    )
    assert (caught.value.kind, caught.value.connected) == ("bad_request", False)


async def test_the_key_goes_to_azure_and_to_the_environment_s_endpoint_alone(pool: Pool) -> None:
    environ = {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": "https://gate.company.example"}
    for version in ("v1", CHAT):
        await open_azure(pool, environ, model="d", api_version=version)
        await open_azure(
            pool, environ, model="d", api_version=version, base_url="https://mine.openai.azure.com"
        )
        with pytest.raises(BackendError, match=r"elsewhere\.example is not one of the hosts") as caught:
            await open_azure(
                pool, environ, model="d", api_version=version, base_url="https://elsewhere.example"
            )
        assert (caught.value.kind, caught.value.connected) == ("auth", False)


@pytest.mark.parametrize("version", ["v1", CHAT])
async def test_without_a_key_one_is_told_which_to_set(pool: Pool, version: str) -> None:
    with pytest.raises(BackendError, match="Azure OpenAI needs a key, and none is set"):
        await open_azure(pool, model="d", api_version=version, azure_endpoint="https://mine.openai.azure.com")


@pytest.mark.parametrize(
    ("block", "environ", "words"),
    [
        (
            {"model": "d"},
            {},
            "No Azure resource is named. Set AZURE_OPENAI_ENDPOINT, or give `azure_endpoint`.",
        ),
        ({"model": "d"}, {"AZURE_OPENAI_ENDPOINT": " "}, "No Azure resource is named."),
        (
            {"model": "d"},
            {"AZURE_OPENAI_ENDPOINT": "http://169.254.169.254"},
            "Correct AZURE_OPENAI_ENDPOINT.",
        ),
        (
            {"model": "d"},
            {"AZURE_OPENAI_ENDPOINT": "mine.openai.azure.com"},
            "Correct AZURE_OPENAI_ENDPOINT.",
        ),
        ({}, {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com"}, "No deployment is named"),
    ],
)
async def test_what_is_missing_is_told(
    pool: Pool, block: dict[str, str], environ: dict[str, str], words: str
) -> None:
    with pytest.raises(BackendError) as caught:
        await open_azure(pool, {"AZURE_OPENAI_API_KEY": KEY, **environ}, **block)
    assert words in str(caught.value)
    assert (caught.value.kind, caught.value.connected) == ("bad_request", False)


async def test_cancelling_closes_the_deployment_s_connection(pool: Pool) -> None:
    async with wire([sse_head(), Stall()]) as server:
        backend = await open_azure(pool, surroundings(server), model="d", api_version=CHAT)
        with pytest.raises(BackendError, match="had not finished"):
            await reply_of(backend, timeout=0.2)
        await server.requests[0].left.wait()


async def test_a_key_that_azure_echoes_is_not_shown(pool: Pool) -> None:
    words = refusal(f"Access denied due to invalid subscription key {KEY}.", code="401")
    async with wire(http_json(401, words), http_json(401, words)) as server:
        for version in ("v1", CHAT):
            backend = await open_azure(pool, surroundings(server), model="d", api_version=version)
            with pytest.raises(BackendError) as caught:
                await reply_of(backend)
            assert caught.value.kind == "auth"
            assert "AZURE_OPENAI_API_KEY" in str(caught.value)
            assert KEY[:8] not in str(caught.value)
