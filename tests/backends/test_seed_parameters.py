"""Every parameter that MassGen's guides show, on every backend it applies to: where it stands on the wire.

From the YAML on, through the vendors' own packages, to a server on loopback. `system_prompt`,
`permission_mode` and the other keys of agent runtimes are tested with those; the keys of tools and workspaces
are no part of a model request.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.open import open_backend
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import SystemClock
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_text
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Reply, Request
from massgen_mcp.secrets import Secrets
from tests.backends import chats, claudes, gemini_replies, responses_events
from tests.backends.wire import Recorded, Stall, Wire, http_json, sse_head, wire

pytestmark = pytest.mark.anyio

KEY = "sk-test-0123456789abcdefghij"
ENVIRONMENT = Environment.of({"SEED_KEY": KEY})
REQUEST = Request(messages=(Message(role="user", text="Say hello."),))
OTHERS = ("ollama",)
"""Local servers that take the same keys, in the same places."""
CHAT_VERSION = "2024-02-15-preview"


@dataclass(frozen=True)
class Seat:
    """A backend as these tests meet it."""

    type: str
    hello: bytes
    refuse: Callable[[str, str], bytes]
    """A refusal (400) of a field, by its name on the wire and in words."""
    path: str = "/v1"
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    model: str = "m"


def _openai_refuses(name: str, words: str) -> bytes:
    return http_json(400, responses_events.refusal(words, param=name, code="unsupported_parameter"))


def _wordy(name: str, words: str) -> bytes:
    return http_json(400, {"error": {"message": words, "type": "invalid_request_error"}})


def _gemini_refuses(name: str, words: str) -> bytes:
    return http_json(400, gemini_replies.refusal(words))


def _responses(type: str, **more: Any) -> Seat:  # noqa: A002 - the word of the team file
    return Seat(type, responses_events.HELLO, _openai_refuses, **more)


def _chat(type: str, **more: Any) -> Seat:  # noqa: A002 - the word of the team file
    return Seat(type, chats.HELLO, _wordy, **more)


SEATS: dict[str, Seat] = {
    "openai": _responses("openai"),
    "grok": _responses("grok"),
    "azure_v1": _responses("azure_openai", path="", more={"api_version": "v1"}),
    "azure_chat": Seat(
        "azure_openai", chats.HELLO, _openai_refuses, path="", more={"api_version": CHAT_VERSION}
    ),
    "claude": Seat(
        "claude", claudes.HELLO, lambda _, words: claudes.refusal(words), path="", model=claudes.MODEL
    ),
    "gemini": Seat("gemini", gemini_replies.HELLO, _gemini_refuses, path="", model="gemini-2.5-flash"),
    "zai": _chat("zai"),
    "chatcompletion": _chat("chatcompletion"),
    "cerebras": _chat("cerebras"),
    "together": _chat("together"),
    "fireworks": _chat("fireworks"),
    "groq": _chat("groq"),
    "openrouter": _chat("openrouter"),
    "moonshot": _chat("moonshot"),
    "nebius": _chat("nebius"),
    "poe": _chat("poe"),
    "lmstudio": _chat("lmstudio"),
    "inference": _chat("inference"),
    "vllm": _chat("vllm"),
    "sglang": _chat("sglang"),
    **{name: _chat(name) for name in OTHERS},
}
RESPONSES = ("openai", "grok", "azure_v1")
OWN_SERVERS = ("lmstudio", "inference", "vllm", "sglang")
HOSTED_CHAT = (
    "zai",
    "chatcompletion",
    "cerebras",
    "together",
    "fireworks",
    "groq",
    "openrouter",
    "moonshot",
    "nebius",
    "poe",
)
CHAT = (*HOSTED_CHAT, *OWN_SERVERS)


TRACED = (*RESPONSES[:1], "azure_v1", "azure_chat", "claude", "gemini", "chatcompletion", "lmstudio", *OTHERS)
"""One of each adapter: what it covers, the other rows of the same adapter need not count again."""


def each(names: Iterable[str] = SEATS) -> list[Any]:
    """These backends, as parameters."""
    return [pytest.param(name, marks=[] if name in TRACED else [pytest.mark.no_cover]) for name in names]


@dataclass(frozen=True)
class Place:
    """Where a parameter stands: a path into the body, and what is there."""

    path: tuple[str, ...]
    value: Any


def at(path: str, value: Any) -> Place:
    return Place(tuple(path.split(".")), value)


@dataclass(frozen=True)
class Row:
    """One parameter as the guides write it, and its place on each backend that has it."""

    name: str
    block: Mapping[str, Any]
    places: Mapping[str, Place]


def everywhere(seats: Sequence[str], place: Place) -> dict[str, Place]:
    return dict.fromkeys(seats, place)


def sampling(name: str, value: float, camel: str) -> dict[str, Place]:
    plain = everywhere((*RESPONSES, "azure_chat", *CHAT, *OTHERS, "claude"), at(name, value))
    return {**plain, "gemini": at(f"generationConfig.{camel}", value)}


CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
CLAUDE_CODE_TOOL = {"type": "code_execution_20250825", "name": "code_execution"}
SAFETY = {
    "HARM_CATEGORY_HARASSMENT": "BLOCK_MEDIUM_AND_ABOVE",
    "HARM_CATEGORY_HATE_SPEECH": "BLOCK_MEDIUM_AND_ABOVE",
}
WITH_CODE = {
    "openai": at("tools", [CODE]),
    "azure_v1": at("tools", [CODE]),
    "grok": at("tools", [{"type": "code_interpreter"}]),
    "claude": at("tools", [CLAUDE_CODE_TOOL | claudes.CACHED]),
    "gemini": at("tools", [{"codeExecution": {}}]),
}

ROWS = (
    Row("temperature", {"temperature": 0.7}, sampling("temperature", 0.7, "temperature")),
    Row("temperature-zero", {"temperature": 0}, sampling("temperature", 0, "temperature")),
    Row("top_p", {"top_p": 1.0}, sampling("top_p", 1.0, "topP")),
    Row(
        "max_tokens",
        {"max_tokens": 4096},
        {
            **everywhere(RESPONSES, at("max_output_tokens", 4096)),
            **everywhere((*CHAT, "azure_chat", *OTHERS, "claude"), at("max_tokens", 4096)),
            "gemini": at("generationConfig.maxOutputTokens", 4096),
        },
    ),
    Row(
        "model",
        {"model": "meta-llama/Llama-3.1-8B-Instruct"},
        everywhere((*RESPONSES, *CHAT, *OTHERS, "claude"), at("model", "meta-llama/Llama-3.1-8B-Instruct")),
    ),
    Row(
        "deployment_name",
        {"model": "gpt-4", "deployment_name": "my-gpt4-deployment"},
        everywhere(("azure_v1", "azure_chat"), at("model", "my-gpt4-deployment")),
    ),
    Row(
        "enable_web_search",
        {"enable_web_search": True},
        {
            **everywhere(RESPONSES, at("tools", [{"type": "web_search"}])),
            "claude": at("tools", [{"type": "web_search_20250305", "name": "web_search"} | claudes.CACHED]),
            "gemini": at("tools", [{"googleSearch": {}}]),
        },
    ),
    Row("enable_code_execution", {"enable_code_execution": True}, WITH_CODE),
    Row("enable_code_interpreter", {"enable_code_interpreter": True}, WITH_CODE),
    Row(
        "text.verbosity",
        {"text": {"verbosity": "medium"}},
        {**everywhere(RESPONSES, at("text.verbosity", "medium")), "azure_chat": at("verbosity", "medium")},
    ),
    Row(
        "reasoning.effort",
        {"reasoning": {"effort": "high"}},
        {
            **everywhere(RESPONSES, at("reasoning.effort", "high")),
            **everywhere((*CHAT, "azure_chat", *OTHERS), at("reasoning_effort", "high")),
            "claude": at("output_config.effort", "high"),
            "gemini": at("generationConfig.thinkingConfig.thinkingBudget", 24576),
        },
    ),
    Row(
        "reasoning.summary",
        {"reasoning": {"summary": "auto"}},
        {
            **everywhere(RESPONSES, at("reasoning.summary", "auto")),
            "gemini": at("generationConfig.thinkingConfig.includeThoughts", True),
        },
    ),
    Row(
        "safety_settings",
        {"safety_settings": SAFETY},
        {
            "gemini": at(
                "safetySettings",
                [{"category": kind, "threshold": threshold} for kind, threshold in SAFETY.items()],
            )
        },
    ),
    Row(
        "top_k",
        {"top_k": 50},
        {
            **everywhere((*CHAT, "claude"), at("top_k", 50)),
            "gemini": at("generationConfig.topK", 50),
        },
    ),
    Row("repetition_penalty", {"repetition_penalty": 1.1}, everywhere(CHAT, at("repetition_penalty", 1.1))),
    Row("separate_reasoning", {"separate_reasoning": True}, everywhere(CHAT, at("separate_reasoning", True))),
    Row(
        "max_thinking_tokens",
        {"max_thinking_tokens": 10_000},
        {"claude": at("thinking", {"type": "enabled", "budget_tokens": 10_000})},
    ),
)


def loaded(seat: Seat, server: Wire, block: Mapping[str, Any]) -> Loaded:
    """A team file with that backend block."""
    own = {
        "type": seat.type,
        "model": seat.model,
        "base_url": server.url.removesuffix("/v1") + seat.path,
        "api_key": "${SEED_KEY}",
        **seat.more,
        **block,
    }
    # JSON is YAML.
    text = json.dumps({"agents": [{"id": "a", "backend": {k: v for k, v in own.items() if v is not None}}]})
    return load_text(text, environment=ENVIRONMENT, origin="file", name="seed")


async def opened(seat: Seat, server: Wire, pool: Pool, block: Mapping[str, Any]) -> ModelBackend:
    team = loaded(seat, server, block)
    assert team.team is not None, team.problems
    assert team.unavailable == ()
    (agent,) = team.team.agents
    context = BackendContext(
        info=BACKENDS[seat.type],
        pool=pool,
        secrets=Secrets(),
        clock=SystemClock(),
        environ={},
    )
    backend = await open_backend(agent.backend, context)
    assert hasattr(backend, "stream")
    return backend  # pyright: ignore[reportReturnType] - none of these is an agent runtime


async def reply_of(backend: ModelBackend, **options: Any) -> Reply:
    return await ask(backend, REQUEST, clock=SystemClock(), random=Random(1), **options)


def found(sent: Recorded, place: Place) -> Any:
    """What stands there; `<absent>` when nothing does."""
    value: Any = sent.json
    for name in place.path:
        if name not in value:
            return "<absent>"
        value = value[name]
    return value


def asked(server: Wire) -> list[Recorded]:
    """The requests for a reply, without a look at what the server is."""
    return [sent for sent in server.requests if sent.method == "POST"]


@asynccontextmanager
async def serving(seat: Seat, *replies: bytes) -> AsyncGenerator[Wire]:
    """A server with these replies; one of unknown make is asked for its models each time it is opened."""
    looked = [http_json(200, {"object": "list", "data": []})] if seat.type == "inference" else []
    script = [part for reply in replies for part in (*looked, reply)]
    async with wire(*script) as server:
        yield server


@pytest.mark.parametrize("name", each())
async def test_every_parameter_stands_where_its_provider_looks_for_it(pool: Pool, name: str) -> None:
    seat = SEATS[name]
    rows = [row for row in ROWS if name in row.places]
    stand: dict[str, Any] = {}
    async with serving(seat, *[seat.hello] * len(rows)) as server:
        for row in rows:
            reply = await reply_of(await opened(seat, server, pool, row.block))
            stand[row.name] = found(asked(server)[-1], row.places[name])
            assert (reply.text, reply.warnings) == ("Hello.", ()), row.name
    assert stand == {row.name: row.places[name].value for row in rows}


@pytest.mark.parametrize("name", each())
async def test_what_the_file_does_not_set_is_not_sent(pool: Pool, name: str) -> None:
    """Above all no temperature of 0.7, which many models refuse."""
    seat = SEATS[name]
    async with serving(seat, seat.hello) as server:
        await reply_of(await opened(seat, server, pool, {}))
    (sent,) = asked(server)
    always = {"model", "messages", "input", "contents", "stream", "stream_options", "store", "include"}
    needed = {"max_tokens"} if name == "claude" else set[str]()
    assert {key for key, value in sent.json.items() if value != {}} <= always | needed


@pytest.mark.parametrize("name", each())
async def test_the_key_of_the_block_goes_into_the_header_of_its_provider(pool: Pool, name: str) -> None:
    seat = SEATS[name]
    header, value = {
        "azure_chat": ("api-key", KEY),
        "gemini": ("x-goog-api-key", KEY),
    }.get(name, ("authorization", f"Bearer {KEY}"))
    async with serving(seat, seat.hello) as server:
        await reply_of(await opened(seat, server, pool, {}))
    (sent,) = asked(server)
    assert sent.headers[header] == value
    assert KEY not in sent.target
    assert KEY.encode() not in sent.body


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("openai", "/v1/responses"),
        ("grok", "/v1/responses"),
        ("azure_v1", "/openai/v1/responses"),
        ("azure_chat", f"/openai/deployments/m/chat/completions?api-version={CHAT_VERSION}"),
        ("claude", "/v1/messages"),
        ("gemini", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        *((name, "/v1/chat/completions") for name in (*CHAT, *OTHERS)),
    ],
)
async def test_base_url_and_api_version_make_the_address(pool: Pool, name: str, target: str) -> None:
    seat = SEATS[name]
    async with serving(seat, seat.hello) as server:
        await reply_of(await opened(seat, server, pool, {}))
    assert asked(server)[0].target == target


@pytest.mark.parametrize("name", [*OWN_SERVERS, "chatcompletion", *OTHERS])
async def test_port_is_a_server_on_this_machine(pool: Pool, name: str) -> None:
    seat = SEATS[name]
    async with serving(seat, seat.hello) as server:
        await reply_of(await opened(seat, server, pool, {"base_url": None, "port": server.port}))
    assert asked(server)[0].target == "/v1/chat/completions"


@pytest.mark.parametrize("name", ["openai", "azure_chat", "claude", "gemini", "vllm"])
async def test_timeout_is_our_own_limit_for_a_whole_request(pool: Pool, name: str) -> None:
    """The vendors' packages mean the time between two bytes by it, and Gemini's counts milliseconds."""
    seat = SEATS[name]
    async with wire([sse_head(), Stall()]) as server:
        backend = await opened(seat, server, pool, {"timeout": 0.2})
        with pytest.raises(BackendError, match=r"after 0\.2 s, the `timeout` of the backend block") as caught:
            await reply_of(backend, timeout=0.2)
    assert (caught.value.kind, caught.value.attempts) == ("timeout", 1)


# What a model refuses.

REFUSED = {
    "temperature": (
        "temperature",
        "Unsupported parameter: 'temperature' is not supported with this model.",
        (*RESPONSES, "azure_chat", *CHAT, *OTHERS, "claude", "gemini"),
    ),
    "top_p": (
        "top_p",
        "Unsupported parameter: 'top_p' is not supported with this model.",
        (*RESPONSES, "azure_chat", *CHAT, *OTHERS, "claude", "gemini"),
    ),
    "text.verbosity": (
        "text.verbosity",
        "Unsupported value: 'verbosity' is not supported with this model.",
        (*RESPONSES, "azure_chat"),
    ),
    "reasoning.effort": (
        "reasoning.effort",
        "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
        RESPONSES,
    ),
    "reasoning.summary": (
        "reasoning.summary",
        "Unsupported parameter: 'reasoning.summary' is not supported with this model.",
        RESPONSES,
    ),
    "top_k": ("top_k", "top_k: Extra inputs are not permitted.", (*CHAT, "claude", "gemini")),
    "repetition_penalty": (
        "repetition_penalty",
        "Unrecognized request argument supplied: repetition_penalty",
        CHAT,
    ),
    "separate_reasoning": ("separate_reasoning", "property 'separate_reasoning' is unsupported", CHAT),
}
EFFORT = {
    **dict.fromkeys(
        (*CHAT, "azure_chat", *OTHERS), "Unrecognized request argument supplied: reasoning_effort"
    ),
    "claude": "This model does not support the effort parameter.",
    "gemini": "Thinking budget is not supported for this model.",
}
BY_NAME = {row.name: row for row in ROWS}


def refusals_of(name: str) -> list[tuple[Row, str, str]]:
    """A parameter, its name on the wire, and how it is refused."""
    rows = [
        (BY_NAME[parameter], field_name, words)
        for parameter, (field_name, words, names) in REFUSED.items()
        if name in names
    ]
    effort = [(BY_NAME["reasoning.effort"], "reasoning_effort", EFFORT[name])] if name in EFFORT else []
    return [*rows, *effort]


@pytest.mark.parametrize("name", each())
async def test_what_a_model_refuses_is_dropped_once_said_and_remembered(pool: Pool, name: str) -> None:
    seat = SEATS[name]
    looks = seat.type == "inference"
    for row, field_name, words in refusals_of(name):
        place = row.places[name]
        models = [http_json(200, {"data": []})] if looks else []
        script = (*models, seat.refuse(field_name, words), seat.hello, *models, seat.hello)
        async with wire(*script) as server:
            first = await reply_of(await opened(seat, server, pool, row.block))
            second = await reply_of(await opened(seat, server, pool, row.block))
        values = [found(sent, place) for sent in asked(server)]
        assert values == [place.value, "<absent>", "<absent>"], row.name
        assert (first.usage.requests, second.usage.requests) == (2, 1), row.name
        for reply in (first, second):
            (warning,) = reply.warnings
            assert warning.endswith("left out.")
            assert _squeezed(place.path[-1])[:5] in _squeezed(warning)


def _squeezed(words: str) -> str:
    return words.lower().replace("_", "")


async def test_a_thinking_budget_that_a_model_refuses_becomes_thinking_as_it_likes(pool: Pool) -> None:
    seat, row = SEATS["claude"], BY_NAME["max_thinking_tokens"]
    words = '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".'
    async with wire(seat.refuse("", words), seat.hello, seat.hello) as server:
        first = await reply_of(await opened(seat, server, pool, row.block))
        second = await reply_of(await opened(seat, server, pool, row.block))
    thinking = [sent.json["thinking"]["type"] for sent in server.requests]
    assert thinking == ["enabled", "adaptive", "adaptive"]
    assert first.warnings == second.warnings
    assert "does not take thinking enabled" in first.warnings[0]


@pytest.mark.parametrize("name", each(["azure_chat", *CHAT]))
async def test_max_tokens_goes_by_its_newer_name_where_a_model_wants_that(pool: Pool, name: str) -> None:
    seat = SEATS[name]
    words = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
    )
    models = [http_json(200, {"data": []})] if seat.type == "inference" else []
    async with wire(*models, seat.refuse("max_tokens", words), seat.hello) as server:
        reply = await reply_of(await opened(seat, server, pool, {"max_tokens": 4096}))
    sent = asked(server)[1].json
    assert ("max_tokens" in sent, sent["max_completion_tokens"]) == (False, 4096)
    assert reply.warnings == ()


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("openai", {"max_tokens": 4096}),
        ("claude", {"max_tokens": 4096}),
        ("gemini", {"max_tokens": 4096}),
        ("gemini", {"safety_settings": SAFETY}),
    ],
)
async def test_what_bounds_cost_or_harm_is_never_dropped(
    pool: Pool, name: str, block: dict[str, Any]
) -> None:
    seat = SEATS[name]
    wanted = {"openai": "max_output_tokens", "claude": "max_tokens", "gemini": "maxOutputTokens"}[name]
    words = "safety_settings is not supported" if "safety_settings" in block else f"{wanted} is not supported"
    async with wire(seat.refuse(wanted, words)) as server:
        with pytest.raises(BackendError, match="is not supported"):
            await reply_of(await opened(seat, server, pool, block))
    assert len(server.requests) == 1


# What a backend does not have.


@pytest.mark.parametrize("flag", ["enable_web_search", "enable_code_execution", "enable_code_interpreter"])
@pytest.mark.parametrize(
    "name",
    each(name for name in SEATS if name not in (*RESPONSES, "claude", "gemini", "openrouter")),
)
async def test_a_built_in_tool_that_is_not_there_is_refused_before_any_request(name: str, flag: str) -> None:
    async with wire() as server:
        (problem,) = loaded(SEATS[name], server, {flag: True}).errors
    assert problem.path == f"agents[0].backend.{flag}"
    assert server.requests == []
