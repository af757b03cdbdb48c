"""What a backend block becomes: parameters, addresses, keys, models."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from massgen_mcp.backends.chat import Options, connect
from massgen_mcp.backends.chat_parameters import refused_by
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.reasoning import Reasoning
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Request, ToolSpec
from massgen_mcp.secrets import Secrets
from tests.backends.chats import HELLO, KEY, REQUEST, deltas_of, open_chat, reply_of
from tests.backends.wire import Wire, closed_port, http, http_json, make_context, wire

pytestmark = pytest.mark.anyio

SERVED = {"object": "list", "data": [{"id": "llama-8b", "owned_by": "vllm"}, {"id": "other"}, {"id": 7}, "x"]}


def refusal(message: str, param: str | None = None, status: int = 400) -> bytes:
    return http_json(status, {"error": {"message": message, "type": "invalid_request_error", "param": param}})


async def sent_with(pool: Pool, type: str = "chatcompletion", **options: Any) -> dict[str, Any]:  # noqa: A002 - the word of the team file
    """The body of a request made with those options, without what every request has."""
    async with wire(HELLO) as server:
        await deltas_of(await open_chat(server, pool, type, **options))
    body: dict[str, Any] = server.requests[0].json
    return {
        name: body[name] for name in body if name not in {"model", "messages", "stream", "stream_options"}
    }


async def test_sampling_keys_of_every_server_reach_the_wire(pool: Pool) -> None:
    block: dict[str, Any] = {
        "temperature": 0,
        "top_p": 0.9,
        "max_tokens": 50,
        "seed": 0,
        "stop": ["END"],
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "top_k": 50,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "separate_reasoning": True,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert await sent_with(pool, **block) == block


async def test_what_is_not_set_is_not_sent(pool: Pool) -> None:
    assert await sent_with(pool) == {}


async def test_effort_is_sent_flat_and_as_an_object_to_openrouter(pool: Pool) -> None:
    assert await sent_with(pool, reasoning={"effort": "high"}) == {"reasoning_effort": "high"}
    assert await sent_with(pool, reasoning_effort="low", verbosity="low") == {
        "reasoning_effort": "low",
        "verbosity": "low",
    }
    options = Options(type="openrouter", reasoning=Reasoning(effort="high", max_tokens=99))
    backend = await connect(options, make_context("openrouter", pool, environ={"OPENROUTER_API_KEY": KEY}))
    # OpenRouter itself can't be asked here.
    wanted = backend._wanted(REQUEST)  # pyright: ignore[reportPrivateUsage]
    assert wanted["reasoning"] == {"effort": "high", "max_tokens": 99}


async def test_the_extra_body_wins_over_everything_else(pool: Pool) -> None:
    sent = await sent_with(
        pool, top_k=5, temperature=0.1, extra_body={"top_k": 7, "provider": {"sort": "price"}}
    )
    assert sent == {"temperature": 0.1, "top_k": 7, "provider": {"sort": "price"}}


async def test_the_request_s_own_limit_wins(pool: Pool) -> None:
    async with wire(HELLO) as server:
        backend = await open_chat(server, pool, max_tokens=50)
        await deltas_of(backend, Request(messages=REQUEST.messages, max_tokens=9))
    assert server.requests[0].json["max_tokens"] == 9


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="top_kk"):
        Options.model_validate({"type": "vllm", "top_kk": 3})


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("Unsupported value: 'temperature' does not support 0.3 with this model.", "temperature"),
        ("Unsupported value: 'temperature' does not support 0.3 with this model.", None),
        ("temperature is not supported with this model", None),
        ("[{'type': 'extra_forbidden', 'loc': ('body', 'temperature')}]", None),
        ("Unrecognized request argument supplied: temperature", None),
    ],
)
async def test_what_a_model_refuses_is_left_out_once_and_remembered(
    pool: Pool, message: str, param: str | None
) -> None:
    async with wire(refusal(message, param), HELLO, HELLO, HELLO) as server:
        backend = await open_chat(server, pool, temperature=0.3, top_p=0.5)
        first, second = await reply_of(backend), await reply_of(backend)
        twin = await open_chat(server, pool, temperature=0.3)
        third = await reply_of(twin)
    sent = [request.json.get("temperature") for request in server.requests]
    assert sent == [0.3, None, None, None]
    assert [request.json.get("top_p") for request in server.requests] == [0.5, 0.5, 0.5, None]
    assert (first.attempts, first.usage.requests, second.usage.requests) == (1, 2, 1)
    words = f"127.0.0.1:{server.port} does not take temperature for m; left out."
    assert first.warnings == second.warnings == third.warnings == (words,)


async def test_a_gateway_without_stream_options_is_asked_without(pool: Pool) -> None:
    async with wire(refusal("Extra inputs are not permitted: stream_options", status=422), HELLO) as server:
        reply = await reply_of(await open_chat(server, pool))
    assert "stream_options" not in server.requests[1].json
    assert ["stream_options" in warning for warning in reply.warnings] == [True]


async def test_the_output_limit_goes_by_the_name_the_model_wants(pool: Pool) -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    async with wire(refusal(words, "max_tokens"), HELLO) as server:
        reply = await reply_of(await open_chat(server, pool, max_tokens=50))
    second = server.requests[1].json
    assert (second["max_completion_tokens"], "max_tokens" in second) == (50, False)
    assert reply.warnings == ()


async def test_a_refusal_about_something_else_is_a_failure(pool: Pool) -> None:
    async with wire(refusal("Invalid message role; please stop", "messages")) as server:
        backend = await open_chat(server, pool, stop="END", temperature=1)
        with pytest.raises(BackendError) as caught:
            await reply_of(backend)
    assert (caught.value.kind, caught.value.requests, len(server.requests)) == ("bad_request", 1, 1)


async def test_a_model_that_refuses_everything_is_given_up(pool: Pool) -> None:
    names = ["temperature", "top_p", "min_p", "top_k", "seed", "stop", "verbosity"]
    async with wire(*[refusal("no", name) for name in names]) as server:
        block: dict[str, Any] = {"temperature": 1, "top_p": 1, "min_p": 0.1, "top_k": 1, "seed": 1}
        block |= {"stop": "x", "verbosity": "low"}
        backend = await open_chat(server, pool, **block)
        with pytest.raises(BackendError) as caught:
            await reply_of(backend)
    assert (caught.value.kind, caught.value.requests, len(server.requests)) == ("bad_request", 6, 6)


@pytest.mark.parametrize(
    ("param", "words", "name"),
    [
        ("reasoning.effort", "", "reasoning"),
        (None, "please stop doing this, no reasoning", None),
        (None, "`stop` is not supported", "stop"),
        (None, "unknown parameter: seed", "seed"),
        ("messages[0].role", "bad", None),
    ],
)
def test_ordinary_words_are_not_taken_for_parameters(param: str | None, words: str, name: str | None) -> None:
    assert refused_by({"reasoning", "stop", "seed"}, param, words) == name


async def test_glm_is_never_told_which_tool_to_choose(pool: Pool) -> None:
    tool = ToolSpec(name="vote", description="", parameters={"type": "object"})
    request = Request(messages=REQUEST.messages, tools=(tool,), tool_choice="required")
    async with wire(HELLO, HELLO) as server:
        reply = await reply_of(await open_chat(server, pool, "zai"), request)
        await reply_of(await open_chat(server, pool), request)
    glm, other = (sent.json for sent in server.requests)
    assert "tool_choice" not in glm
    assert other["tool_choice"] == "required"
    assert reply.warnings == ()


async def test_openrouter_searches_the_web_and_others_say_that_they_do_not(pool: Pool) -> None:
    context = make_context("openrouter", pool, environ={"OPENROUTER_API_KEY": KEY})
    backend = await connect(Options(type="openrouter", enable_web_search=True), context)
    wanted = backend._wanted(REQUEST)  # pyright: ignore[reportPrivateUsage] - OpenRouter can't be asked here
    assert wanted["plugins"] == [{"id": "web"}]
    with pytest.raises(BackendError, match="Remove enable_web_search"):
        await open_chat("http://localhost:1/v1", pool, enable_web_search=True)


# Where the address and the key come from.


async def test_a_preset_knows_its_address_and_its_key(pool: Pool) -> None:
    secrets = Secrets()
    context = make_context("cerebras", pool, secrets=secrets, environ={"CEREBRAS_API_KEY": KEY})
    backend = await connect(Options(type="cerebras"), context)
    assert str(backend._client.base_url) == "https://api.cerebras.ai/v1/"  # pyright: ignore[reportPrivateUsage] - nothing is sent
    assert (backend._client.api_key, backend.model) == (KEY, "gpt-oss-120b")  # pyright: ignore[reportPrivateUsage]
    assert secrets.redact(f"{KEY}!") == "[CEREBRAS_API_KEY]!"


async def test_a_port_is_a_server_on_this_machine(pool: Pool) -> None:
    async with wire(HELLO) as server:
        backend = await connect(
            Options(type="lmstudio", model="m", port=server.port), make_context("lmstudio", pool)
        )
        await deltas_of(backend)
    assert server.requests[0].headers["authorization"] == "Bearer EMPTY"
    assert server.requests[0].target == "/v1/chat/completions"


async def test_an_address_without_a_path_means_v1(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await open_chat(f"http://127.0.0.1:{server.port}", pool))
    assert server.requests[0].target == "/v1/chat/completions"


async def test_one_s_own_server_is_asked_for_its_model_and_its_name(pool: Pool) -> None:
    async with wire(http_json(200, SERVED), http_json(200, SERVED), http(500)) as server:
        context = make_context("inference", pool)
        backend = await connect(Options(type="inference", base_url=server.url), context)
        with pytest.raises(BackendError, match=r"vLLM at 127\.0\.0\.1:\d+ is overloaded"):
            await deltas_of(backend)
    assert backend.model == "llama-8b"
    assert {sent.target for sent in server.requests[:2]} == {"/v1/models"}


@pytest.mark.parametrize(
    "answer", [http(404), http(200, b"<html>", "text/html"), http_json(200, []), http_json(200, {"data": 5})]
)
async def test_a_server_that_does_not_say_its_models_needs_one_named(pool: Pool, answer: bytes) -> None:
    async with wire(answer) as server:
        with pytest.raises(BackendError, match="Name a `model`"):
            await connect(Options(type="vllm", base_url=server.url), make_context("vllm", pool))


async def test_a_hosted_provider_is_never_asked_which_model_to_take(pool: Pool) -> None:
    with pytest.raises(BackendError, match=r"No model is named for Nebius AI Studio\. Name a `model`"):
        await connect(Options(type="nebius"), make_context("nebius", pool, environ={"NEBIUS_API_KEY": KEY}))


async def test_an_own_server_is_found_by_the_ports_such_servers_have(pool: Pool) -> None:
    # Neither of the two ports is open on a test machine; which are tried stands in the error.
    with pytest.raises(BackendError, match=r"ports 8000 and 30000 .* Give `base_url`"):
        await connect(Options(type="inference"), make_context("inference", pool))


async def test_a_compatible_api_needs_an_address(pool: Pool) -> None:
    with pytest.raises(BackendError, match=r"needs an address\. Give `base_url`"):
        await connect(Options(type="chatcompletion"), make_context("chatcompletion", pool))


async def _key_sent(
    pool: Pool, server: Wire, kind: str, options: dict[str, Any], environ: dict[str, str]
) -> str:
    block = {"type": kind, "model": "m", "base_url": server.url, **options}
    await deltas_of(await connect(Options.model_validate(block), make_context(kind, pool, environ=environ)))
    return server.requests[-1].headers["authorization"].removeprefix("Bearer ")


async def test_keys_go_where_they_belong_and_nowhere_else(pool: Pool) -> None:
    async with wire(HELLO, HELLO, HELLO) as server:
        # A vendor's key never leaves for another host, not even this machine.
        assert await _key_sent(pool, server, "groq", {}, {"GROQ_API_KEY": KEY}) == "EMPTY"
        # The key of one's own server does go to this machine.
        assert await _key_sent(pool, server, "vllm", {}, {"VLLM_API_KEY": KEY}) == KEY
        # The block's own key goes where the block points.
        assert await _key_sent(pool, server, "groq", {"api_key": KEY}, {"GROQ_API_KEY": "other"}) == KEY


async def test_a_vendor_s_key_is_found_by_the_host_of_the_address(pool: Pool) -> None:
    options = Options(type="chatcompletion", model="m", base_url="https://api.cerebras.ai/v1")
    context = make_context("chatcompletion", pool, environ={"CEREBRAS_API_KEY": KEY})
    backend = await connect(options, context)
    assert backend._client.api_key == KEY  # pyright: ignore[reportPrivateUsage] - nothing is sent
    with pytest.raises(BackendError, match="Set CEREBRAS_API_KEY, or give `api_key`"):
        await connect(options, make_context("chatcompletion", pool))


async def test_a_vendor_s_key_is_refused_to_a_strange_host(pool: Pool) -> None:
    options = Options(type="groq", model="m", base_url="https://proxy.example/v1")
    with pytest.raises(BackendError, match="not one of the hosts") as caught:
        await connect(options, make_context("groq", pool, environ={"GROQ_API_KEY": KEY}))
    assert (caught.value.kind, caught.value.connected) == ("auth", False)


async def test_an_own_gateway_without_a_key_is_sent_the_placeholder(pool: Pool) -> None:
    options = Options(type="chatcompletion", model="m", base_url="https://gateway.example/v1")
    backend = await connect(options, make_context("chatcompletion", pool))
    assert backend._client.api_key == "EMPTY"  # pyright: ignore[reportPrivateUsage] - nothing is sent


async def test_a_known_host_is_called_by_its_name(pool: Pool) -> None:
    options = Options(type="chatcompletion", model="m", base_url=f"http://localhost:{closed_port()}/v1")
    backend = await connect(options, make_context("chatcompletion", pool))
    with pytest.raises(BackendError, match="No connection to localhost:"):
        await deltas_of(backend, Request(messages=(Message(role="user", text="x"),)))


async def test_an_address_that_may_not_be_used_is_refused_before_anything_is_sent(pool: Pool) -> None:
    options = Options.model_construct(type="chatcompletion", model="m", base_url="https://169.254.169.254/v1")
    with pytest.raises(BackendError, match="link-local or metadata") as caught:
        await connect(options, make_context("chatcompletion", pool))
    assert caught.value.connected is False
