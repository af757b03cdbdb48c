"""What generateContent is sent: the guide's blocks, the conversation, and less of what a model refuses."""

from __future__ import annotations

import base64
from importlib.util import find_spec
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.gemini import Options, address_of
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.backends.retry import Paced
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Image, Message, Reply, Request, ToolCall, ToolResult, ToolSpec
from tests.backends.gemini_replies import (
    ASKED,
    HELLO,
    KEY,
    REQUEST,
    TOOLS,
    VOTE,
    VOTE_DECLARED,
    call,
    deltas_of,
    last,
    open_model,
    refusal,
    reply_of,
    said,
    stream,
)
from tests.backends.wire import Action, Until, http_json, make_context, wire

pytestmark = pytest.mark.anyio

EMPTY: dict[str, Any] = {"generationConfig": {}}
FUNCTIONS: dict[str, Any] = {"tools": [{"functionDeclarations": [VOTE_DECLARED]}]}
SEARCHING: dict[str, Any] = {"tools": [{"googleSearch": {}}, {"codeExecution": {}}]}


async def sent_with(pool: Pool, request: Request = REQUEST, **options: Any) -> dict[str, Any]:
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, **options), request)
    body: dict[str, Any] = server.requests[0].json
    return body


# The guide's blocks.


async def test_the_guide_s_basic_block_is_sent_as_this(pool: Pool) -> None:
    block: dict[str, Any] = {
        "model": "gemini-2.5-flash",
        "enable_web_search": True,
        "enable_code_execution": True,
    }
    assert await sent_with(pool, **block) == ASKED | EMPTY | SEARCHING


async def test_the_guide_s_safety_settings_are_sent_as_this(pool: Pool) -> None:
    block: dict[str, Any] = {
        "model": "gemini-2.5-pro",
        "safety_settings": {
            "HARM_CATEGORY_HARASSMENT": "BLOCK_MEDIUM_AND_ABOVE",
            "HARM_CATEGORY_HATE_SPEECH": "BLOCK_MEDIUM_AND_ABOVE",
        },
    }
    assert await sent_with(pool, **block) == ASKED | EMPTY | {
        "safetySettings": [
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_MEDIUM_AND_ABOVE"},
            {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_MEDIUM_AND_ABOVE"},
        ]
    }


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-thinking"])
async def test_the_guide_s_models_are_asked_for_by_their_exact_names(pool: Pool, model: str) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, model=model))
    sent = server.requests[0]
    name = model.removesuffix("-thinking")
    assert (sent.method, sent.target) == ("POST", f"/v1beta/models/{name}:streamGenerateContent?alt=sse")
    assert sent.json == ASKED | EMPTY


async def test_the_guide_s_sampling_and_every_other_key_reach_the_wire(pool: Pool) -> None:
    body = await sent_with(
        pool,
        temperature=0.7,
        max_tokens=4096,
        top_p=1.0,
        top_k=40,
        seed=7,
        stop_sequences=("END",),
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        thinking_level="high",
        include_thoughts=True,
        timeout=60,
    )
    assert body == ASKED | {
        "generationConfig": {
            "temperature": 0.7,
            "topP": 1.0,
            "topK": 40,
            "seed": 7,
            "stopSequences": ["END"],
            "presencePenalty": 0.5,
            "frequencyPenalty": -0.5,
            "maxOutputTokens": 4096,
            "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
        }
    }


async def test_a_temperature_of_zero_is_a_temperature(pool: Pool) -> None:
    assert (await sent_with(pool, temperature=0.0))["generationConfig"] == {"temperature": 0.0}


async def test_a_request_s_own_limit_comes_before_the_block_s(pool: Pool) -> None:
    request = Request(messages=REQUEST.messages, max_tokens=99)
    assert (await sent_with(pool, request, max_tokens=5))["generationConfig"] == {"maxOutputTokens": 99}


@pytest.mark.parametrize(
    ("model", "options", "thinking"),
    [
        ("gemini-2.5-flash", {"thinking_budget": 0}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"thinking_budget": -1}, {"thinkingBudget": -1}),
        ("gemini-2.5-flash", {"reasoning": {"effort": "high"}}, {"thinkingBudget": 24576}),
        ("gemini-2.5-flash", {"reasoning": {"effort": "none"}}, {"thinkingBudget": 0}),
        (
            "gemini-2.5-pro",
            {"reasoning": {"max_tokens": 500, "summary": "auto"}},
            {"thinkingBudget": 500, "includeThoughts": True},
        ),
        ("gemini-3.8-flash", {"reasoning": {"effort": "max"}}, {"thinkingLevel": "XHIGH"}),
        ("gemini-3.8-flash", {"reasoning": {"summary": "auto"}}, {"includeThoughts": True}),
        ("gemini-3.8-flash", {"thinking_level": "low", "include_thoughts": False}, None),
    ],
)
async def test_thinking_is_asked_for_as_the_model_s_generation_takes_it(
    pool: Pool, model: str, options: dict[str, Any], thinking: dict[str, Any] | None
) -> None:
    body = await sent_with(pool, model=model, **options)
    expected = {"thinkingLevel": "LOW", "includeThoughts": False} if thinking is None else thinking
    assert body["generationConfig"] == {"thinkingConfig": expected}


@pytest.mark.parametrize(
    ("options", "deep"),
    [
        ({}, False),
        ({"thinking_level": "high"}, True),
        ({"model": "gemini-2.5-pro", "thinking_budget": 32768}, True),
        ({"model": "gemini-2.5-pro", "thinking_budget": -1}, False),
        ({"reasoning": {"effort": "low"}}, False),
    ],
)
async def test_a_model_told_to_think_at_length_is_given_more_time(
    pool: Pool,
    options: dict[str, Any],
    deep: bool,  # noqa: FBT001 - a row of the table
) -> None:
    backend = await open_model("http://127.0.0.1:1", pool, **options)
    assert isinstance(backend, Paced)
    assert backend.deep is deep


async def test_the_file_s_own_fields_win_in_either_spelling(pool: Pool) -> None:
    extra = {"generation_config": {"topP": 0.1, "mediaResolution": "LOW"}, "serviceTier": "flex"}
    body = await sent_with(pool, temperature=0.3, top_p=0.9, extra_body=extra)
    assert body == ASKED | {
        "generationConfig": {"temperature": 0.3, "topP": 0.1, "mediaResolution": "LOW"},
        "serviceTier": "flex",
    }


# Functions.


async def test_functions_are_described_by_their_json_schema(pool: Pool) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"path": {"oneOf": [{"const": "a"}, {"$ref": "#/$defs/Deep"}]}},
        "$defs": {"Deep": {"type": "object", "properties": {}, "additionalProperties": False}},
        "required": ["path"],
        "additionalProperties": False,
    }
    tools = (
        ToolSpec(name="read", description="Read.", parameters=schema),
        ToolSpec(name="now", description="The time.", parameters={"type": "object", "properties": {}}),
        ToolSpec(name="any", description="x", parameters={"type": "object", "additionalProperties": True}),
    )
    body = await sent_with(pool, Request(messages=REQUEST.messages, tools=tools))
    deep = {"type": "object", "additionalProperties": False}
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "read",
                    "description": "Read.",
                    "parametersJsonSchema": schema | {"$defs": {"Deep": deep}},
                },
                {"name": "now", "description": "The time."},
                {
                    "name": "any",
                    "description": "x",
                    "parametersJsonSchema": {"type": "object", "additionalProperties": True},
                },
            ]
        }
    ]
    assert "toolConfig" not in body


@pytest.mark.parametrize(
    ("choice", "config"),
    [("required", {"mode": "ANY"}), ("vote", {"mode": "ANY", "allowedFunctionNames": ["vote"]})],
)
async def test_a_call_can_be_forced(pool: Pool, choice: str, config: dict[str, Any]) -> None:
    request = Request(messages=REQUEST.messages, tools=(VOTE,), tool_choice=choice)
    body = await sent_with(pool, request)
    assert body == ASKED | EMPTY | FUNCTIONS | {"toolConfig": {"functionCallingConfig": config}}


async def test_a_reply_can_be_bound_to_a_schema(pool: Pool) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    body = await sent_with(pool, Request(messages=REQUEST.messages, schema=schema))
    assert body["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }


# The conversation.


async def test_pictures_documents_and_sound_go_as_parts(pool: Pool) -> None:
    shown = tuple(
        Image(mime=mime, data=b"\xff\x00") for mime in ("image/png", "application/pdf", "audio/mp3")
    )
    messages = (Message(role="user", text="Look.", images=shown), Message(role="user", images=shown[:1]))
    body = await sent_with(pool, Request(messages=messages))
    data = base64.b64encode(b"\xff\x00").decode()
    parts = [{"inlineData": {"mimeType": image.mime, "data": data}} for image in shown]
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "Look."}, *parts]},
        {"role": "user", "parts": parts[:1]},
    ]
    assert "systemInstruction" not in body


async def test_a_turn_goes_back_as_the_very_parts_it_came_in(pool: Pool) -> None:
    parts: list[dict[str, Any]] = [
        {"text": "Hm.", "thought": True},
        {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "s1"}, "thoughtSignature": "c2ln+/=="},
        {"brandNew": {"kind": [1, {"deep": None}]}, "thoughtSignature": "bmV3"},
        {"text": "I "},
        {"text": "vote."},
        call(thoughtSignature="Zmlyc3Q="),
        call(args={"answer": "agent2.1"}),
        {"text": "", "thoughtSignature": "bGFzdA=="},
    ]
    parts[5]["functionCall"]["id"] = "fc_1"
    reply_chunks = [*(chunk_of(part) for part in parts), last({"text": ""})]
    async with wire(stream(*reply_chunks), HELLO) as server:
        backend = await open_model(server, pool)
        reply = await reply_of(backend, TOOLS)
        results = (
            ToolResult(call_id=reply.calls[1].id, content="no such label", is_error=True),
            ToolResult(call_id="fc_1", content="taken"),
            ToolResult(call_id="unheard of", content="x"),
        )
        shown = Message(role="tool", results=results, images=(Image(mime="image/png", data=b"p"),))
        await reply_of(backend, Request(messages=(*REQUEST.messages, reply.message(), shown), tools=(VOTE,)))
    assert server.requests[1].json["contents"] == [
        *ASKED["contents"],
        {"role": "model", "parts": parts},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "fc_1", "name": "vote", "response": {"output": "taken"}}},
                {"functionResponse": {"name": "vote", "response": {"error": "no such label"}}},
            ],
        },
        {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "cA=="}}]},
    ]
    assert [each.id for each in reply.calls] == ["fc_1", "call_1_1"]
    assert reply.text == "I vote."


def chunk_of(part: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": [part]}}]}


@pytest.mark.parametrize(
    ("model", "signature"),
    [("gemini-3.8-flash", {"thoughtSignature": "skip_thought_signature_validator"}), ("gemini-2.5-pro", {})],
)
async def test_another_backend_s_turn_is_told_in_its_words(
    pool: Pool, model: str, signature: dict[str, Any]
) -> None:
    calls = (
        ToolCall(id="c1", name="vote", arguments='{"answer":"a"}'),
        ToolCall(id="c2", name="vote", arguments="{not json"),
    )
    messages = (
        Message(role="assistant", text="Well.", calls=calls, native={"type": "openai", "items": [1]}),
        Message(role="tool", results=(ToolResult(call_id="c1", content="ok"),)),
        Message(role="assistant", native={"type": "gemini", "contents": "odd"}),
        Message(role="assistant", text="Done.", native=7),
    )
    body = await sent_with(pool, Request(messages=messages), model=model)
    first = {"id": "c1", "name": "vote", "args": {"answer": "a"}}
    second = {"id": "c2", "name": "vote", "args": {"arguments": "{not json"}}
    assert body["contents"] == [
        {
            "role": "model",
            "parts": [{"text": "Well."}, {"functionCall": first} | signature, {"functionCall": second}],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "c1", "name": "vote", "response": {"output": "ok"}}}],
        },
        {"role": "model", "parts": [{"text": "Done."}]},
    ]


# Key and address.


async def test_the_key_goes_into_one_header_and_nowhere_else(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, extra_headers={"X-Team": "blue"}))
    sent = server.requests[0]
    assert sent.headers["x-goog-api-key"] == KEY
    assert sent.headers["x-team"] == "blue"
    assert sent.raw.count(KEY.encode()) == 1
    assert KEY not in sent.target
    assert "x-server-timeout" not in sent.headers


async def test_a_key_from_the_environment_stays_with_the_vendor(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"GOOGLE_API_KEY": "google-key-0123456789", "GEMINI_API_KEY": "gemini-key-0123456789"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)  # where the package looks
    backend = await open_model("", pool, base_url=None, api_key=None, environ=environ)
    assert backend.model == BACKENDS["gemini"].default_model
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, api_key=None, environ=environ))
    assert server.requests[0].headers["x-goog-api-key"] == "EMPTY"
    assert b"-key-0123456789" not in server.requests[0].raw
    with pytest.raises(BackendError, match="not one of the hosts that the key of Google Gemini"):
        await open_model("https://gemini.example", pool, api_key=None, environ=environ)


@pytest.mark.parametrize(
    ("options", "version"),
    [({}, "v1"), ({"model": "gemini-flash-latest"}, "v1beta"), ({"api_version": "v1alpha"}, "v1alpha")],
)
async def test_the_vendor_is_spoken_to_in_the_package_s_version(
    pool: Pool, options: dict[str, Any], version: str
) -> None:
    given = Options.model_validate({"type": "gemini"} | options)
    address = "https://generativelanguage.googleapis.com/"
    assert address_of(given, make_context("gemini", pool)) == (address, version)


async def test_a_missing_key_names_both_variables(pool: Pool) -> None:
    with pytest.raises(
        BackendError, match="Set GOOGLE_API_KEY or GEMINI_API_KEY, or give `api_key`"
    ) as caught:
        await open_model("", pool, base_url=None, api_key=None)
    assert (caught.value.kind, caught.value.connected) == ("auth", False)


@pytest.mark.parametrize(
    ("path", "options", "target"),
    [
        ("", {}, "/v1beta/models/gemini-x"),
        ("/", {}, "/v1beta/models/gemini-x"),
        ("/v1", {}, "/v1/models/gemini-x"),
        ("/v1alpha/", {}, "/v1alpha/models/gemini-x"),
        ("/proxy/v1beta", {}, "/proxy/v1beta/models/gemini-x"),
        ("/proxy/v1beta", {"api_version": "v1"}, "/proxy/v1/models/gemini-x"),
        ("", {"model": "tunedModels/t-1"}, "/v1beta/tunedModels/t-1"),
    ],
)
async def test_the_address_may_end_in_a_version(
    pool: Pool, path: str, options: dict[str, Any], target: str
) -> None:
    async with wire(HELLO) as server:
        url = f"http://127.0.0.1:{server.port}{path}"
        given: dict[str, Any] = {"model": "gemini-x"} | options
        await deltas_of(await open_model(url, pool, **given))
    assert server.requests[0].target == f"{target}:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("model", ["../v1/files", "gemini?x=1", "gemini-2.5-flash&key=1", "a b"])
async def test_a_model_s_name_can_t_lead_elsewhere(pool: Pool, model: str) -> None:
    with pytest.raises(BackendError, match="is no model's name") as caught:
        await open_model("http://127.0.0.1:1", pool, model=model)
    assert (caught.value.kind, caught.value.connected) == ("not_found", False)


async def test_the_package_takes_nothing_from_the_environment(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "true",
        "GOOGLE_CLOUD_PROJECT": "somebody-s",
        "GOOGLE_GEMINI_BASE_URL": "https://elsewhere.example",
        "GOOGLE_GENAI_API_VERSION": "v9",
        "GOOGLE_GENAI_CLIENT_MODE": "replay",
        "GOOGLE_GENAI_REPLAYS_DIRECTORY": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, model="gemini-x"))
    assert server.requests[0].target == "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"


async def test_the_package_may_be_told_to_use_another_library_and_still_uses_ours(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", "httpx")
    async with wire(HELLO) as server:
        if find_spec("httpx") is None:
            with pytest.raises(BackendError, match="Unset GOOGLE_GENAI_HTTP_CLIENT") as caught:
                await open_model(server, pool)
            assert caught.value.kind == "unavailable"
        else:
            assert (await reply_of(await open_model(server, pool))).text == "Hello."


# What a model refuses.

VIOLATION = {
    "@type": "type.googleapis.com/google.rpc.BadRequest",
    "fieldViolations": [{"field": "generation_config.top_k", "description": "Out of range."}],
}


@pytest.mark.parametrize(
    ("options", "told", "name"),
    [
        ({"temperature": 0.5}, refusal("temperature must be 1.0 for this model."), "temperature"),
        ({"top_p": 0.5}, refusal("Invalid value at 'generation_config.top_p'"), "top_p"),
        ({"top_k": 5}, refusal("Request contains an invalid argument.", details=[VIOLATION]), "top_k"),
        ({"seed": 5}, refusal("Unknown name \"seed\" at 'generation_config': Cannot find field."), "seed"),
        ({"presence_penalty": 1.0}, refusal("Penalty is not enabled for this model"), "presence_penalty"),
        ({"frequency_penalty": 1.0}, refusal("Penalty is not enabled for this model"), "frequency_penalty"),
        ({"thinking_level": "xhigh"}, refusal("Thinking level is not supported."), "thinking_level"),
        ({"thinking_budget": 9}, refusal("Budget 9 is invalid. It only works from 128."), "thinking_budget"),
        ({"thinking_level": "low"}, refusal("Thinking is not supported by this model"), "thinking_level"),
        ({"include_thoughts": True}, refusal("Thinking is not enabled."), "include_thoughts"),
    ],
)
async def test_a_parameter_a_model_refuses_is_left_out_once_told_and_remembered(
    pool: Pool, options: dict[str, Any], told: dict[str, Any], name: str
) -> None:
    async with wire(http_json(400, told), HELLO, HELLO) as server:
        backend = await open_model(server, pool, model="gemini-x", **options)
        first = await reply_of(backend)
        again = await reply_of(await open_model(server, pool, model="gemini-x", **options))
    note = f"127.0.0.1:{server.port} does not take {name} for gemini-x; left out."
    assert server.requests[1].json == server.requests[2].json == ASKED | EMPTY
    assert (first.warnings, again.warnings) == ((note,), (note,))
    assert (first.usage.requests, again.usage.requests) == (2, 1)


async def test_agents_of_one_model_learn_of_a_refusal_at_the_same_time(pool: Pool) -> None:
    both_came = anyio.Event()
    told: list[Action] = [Until(both_came), http_json(400, refusal("temperature must be 1.0"))]
    replies: list[Reply] = []
    async with wire(told, told, HELLO, HELLO) as server:

        async def read() -> None:
            backend = await open_model(server, pool, model="gemini-x", temperature=0.5)
            replies.append(await reply_of(backend))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(read)
            await server.request(2)
            both_came.set()
    assert [reply.usage.requests for reply in replies] == [2, 2]


async def test_a_forced_call_that_is_refused_is_not_forced(pool: Pool) -> None:
    told = refusal("Function calling config is set without function_declarations.")
    request = Request(messages=REQUEST.messages, tools=(VOTE,), tool_choice="vote")
    async with wire(http_json(400, told), said(call())) as server:
        reply = await reply_of(await open_model(server, pool), request)
    assert server.requests[1].json == ASKED | EMPTY | FUNCTIONS
    assert "does not take a forced tool call" in reply.warnings[0]


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 5},
        {"safety_settings": {"HARM_CATEGORY_CIVIC_INTEGRITY": "BLOCK_NONE"}},
        {"stop_sequences": ("END",)},
    ],
)
async def test_what_bounds_cost_or_safety_is_never_left_out(pool: Pool, options: dict[str, Any]) -> None:
    told = refusal("max_output_tokens, safety_settings[0] and stop_sequences are all wrong")
    async with wire(http_json(400, told)) as server:
        with pytest.raises(BackendError) as caught:
            await reply_of(await open_model(server, pool, **options))
    assert (caught.value.kind, caught.value.requests, len(server.requests)) == ("bad_request", 1, 1)


async def test_a_refusal_that_stays_is_given_up(pool: Pool) -> None:
    told = http_json(400, refusal("temperature is out of range"))
    async with wire(told, told) as server:
        with pytest.raises(BackendError) as caught:
            await reply_of(await open_model(server, pool, temperature=1.5))
    assert (caught.value.kind, caught.value.requests, len(server.requests)) == ("bad_request", 2, 2)


@pytest.mark.parametrize(
    "words",
    [
        "Unknown name \"parametersJsonSchema\" at 'tools[0].function_declarations[0]': Cannot find field.",
        "GenerateContentRequest.tools[0].function_declarations[0].parameters_json_schema: too deep",
    ],
)
async def test_a_gateway_without_json_schema_is_given_the_older_form(pool: Pool, words: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": ["integer", "null"], "multipleOf": 2}}}
    tool = ToolSpec(name="count", description="Count.", parameters=schema)
    async with wire(http_json(400, refusal(words)), HELLO) as server:
        backend = await open_model(server, pool)
        reply = await reply_of(backend, Request(messages=REQUEST.messages, tools=(tool,)))
    declared = {
        "name": "count",
        "description": "Count.",
        "parameters": {
            "type": "object",
            "properties": {"n": {"type": "integer", "nullable": True}},
        },
    }
    assert server.requests[1].json["tools"] == [{"functionDeclarations": [declared]}]
    assert "takes simple schemas alone" in reply.warnings[0]


async def test_a_gateway_without_schemas_of_replies_is_given_the_older_form(pool: Pool) -> None:
    told = refusal("Unknown name \"responseJsonSchema\" at 'generation_config': Cannot find field.")
    schema = {"type": "object", "properties": {"a": {"const": "x"}}, "additionalProperties": False}
    async with wire(http_json(400, told), HELLO) as server:
        await reply_of(await open_model(server, pool), Request(messages=REQUEST.messages, schema=schema))
    assert server.requests[1].json["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseSchema": {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"]}}},
    }
