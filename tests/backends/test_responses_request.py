"""What is sent to the Responses API, field by field, and how conversations go back to it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Image, Message, Request, ToolCall, ToolResult
from tests.backends.responses_events import (
    HELLO,
    KEY,
    REQUEST,
    VOTE,
    call,
    deltas_of,
    message,
    open_model,
    reply_of,
    said,
)
from tests.backends.wire import wire

pytestmark = pytest.mark.anyio

INPUT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
ALWAYS = {"input": INPUT, "stream": True, "store": False, "include": ["reasoning.encrypted_content"]}
PICTURE = Image(mime="image/png", data=b"\x89PNG")
PAPER = Image(mime="application/pdf", data=b"%PDF-1.7")


async def sent_with(
    pool: Pool,
    type: str = "openai",  # noqa: A002 - the word of the team file
    request: Request = REQUEST,
    **options: Any,
) -> dict[str, Any]:
    """The body of a request made with those options."""
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, type, **options), request)
    body: dict[str, Any] = server.requests[0].json
    return body


async def input_of(pool: Pool, *messages: Message) -> list[dict[str, Any]]:
    body = await sent_with(pool, request=Request(messages=messages))
    items: list[dict[str, Any]] = body["input"]
    return items


async def test_the_guide_s_basic_block_is_sent_as_this(pool: Pool) -> None:
    body = await sent_with(pool, model="gpt-5-nano", enable_web_search=True, enable_code_interpreter=True)
    assert body == ALWAYS | {
        "model": "gpt-5-nano",
        "tools": [
            {"type": "web_search"},
            {"type": "code_interpreter", "container": {"type": "auto"}},
        ],
    }


async def test_the_guide_s_reasoning_block_is_sent_as_this(pool: Pool) -> None:
    body = await sent_with(
        pool,
        model="gpt-5-nano",
        text={"verbosity": "medium"},
        reasoning={"effort": "high", "summary": "auto"},
    )
    assert body == ALWAYS | {
        "model": "gpt-5-nano",
        "text": {"verbosity": "medium"},
        "reasoning": {"effort": "high", "summary": "auto"},
    }


async def test_the_guide_s_common_parameters_are_sent_as_this(pool: Pool) -> None:
    body = await sent_with(pool, model="gpt-5-nano", temperature=0.7, max_tokens=4096, top_p=1.0, timeout=60)
    assert body == ALWAYS | {
        "model": "gpt-5-nano",
        "temperature": 0.7,
        "max_output_tokens": 4096,
        "top_p": 1.0,
    }


async def test_the_rest_of_a_block_goes_where_it_belongs(pool: Pool) -> None:
    body = await sent_with(
        pool,
        model="m",
        temperature=0,
        service_tier="flex",
        parallel_tool_calls=False,
        reasoning={"effort": "xhigh", "mode": "pro", "context": "all_turns"},
        enable_code_execution=True,
        extra_body={"metadata": {"team": "a"}, "include": ["web_search_call.action.sources"]},
    )
    assert body == ALWAYS | {
        "model": "m",
        "temperature": 0,
        "service_tier": "flex",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "xhigh", "mode": "pro", "context": "all_turns"},
        "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
        "metadata": {"team": "a"},
        "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
    }


async def test_the_extra_body_wins_over_everything_else(pool: Pool) -> None:
    body = await sent_with(pool, model="m", temperature=0.2, extra_body={"temperature": 0.9, "store": True})
    assert body == ALWAYS | {"model": "m", "temperature": 0.9, "store": True}


async def test_tools_a_forced_one_and_a_form_are_sent_as_this(pool: Pool) -> None:
    form = {"type": "object", "properties": {"a": {"type": "integer"}}}
    request = Request(
        messages=REQUEST.messages, tools=(VOTE,), tool_choice="vote", schema=form, max_tokens=77
    )
    body = await sent_with(
        pool, request=request, model="m", max_tokens=500, enable_web_search=True, text={"verbosity": "low"}
    )
    assert body == ALWAYS | {
        "model": "m",
        "max_output_tokens": 77,
        "tools": [
            {
                "type": "function",
                "name": "vote",
                "description": "Vote.",
                "parameters": {"type": "object", "properties": {"answer": {"type": "string"}}},
                "strict": False,
            },
            {"type": "web_search"},
        ],
        "tool_choice": {"type": "function", "name": "vote"},
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "reply", "schema": form, "strict": True},
        },
    }


async def test_any_tool_may_be_required(pool: Pool) -> None:
    request = Request(messages=REQUEST.messages, tools=(VOTE,), tool_choice="required")
    body = await sent_with(pool, request=request, model="m")
    assert body["tool_choice"] == "required"


async def test_a_choice_without_tools_is_not_sent(pool: Pool) -> None:
    body = await sent_with(pool, request=Request(messages=REQUEST.messages, tool_choice="vote"), model="m")
    assert body == ALWAYS | {"model": "m"}


async def test_the_key_the_model_and_the_headers_are_the_file_s(pool: Pool) -> None:
    async with wire(HELLO) as server:
        backend = await open_model(
            server, pool, organization="org-1", project="proj-1", extra_headers={"x-team": "a"}
        )
        await deltas_of(backend)
    sent = server.requests[0]
    assert (sent.method, sent.target) == ("POST", "/v1/responses")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["openai-organization"] == "org-1"
    assert sent.headers["openai-project"] == "proj-1"
    assert sent.headers["x-team"] == "a"
    assert sent.json["model"] == BACKENDS["openai"].default_model == backend.model


async def test_the_environment_adds_nothing_to_a_request(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "BASE_URL"):
        monkeypatch.setenv(f"OPENAI_{name}", "https://environment.example")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-environment: environment")
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool))
    assert b"environment" not in server.requests[0].raw.lower()


async def test_pictures_and_papers_go_by_value(pool: Pool) -> None:
    png = f"data:image/png;base64,{base64.b64encode(PICTURE.data).decode()}"
    pdf = f"data:application/pdf;base64,{base64.b64encode(PAPER.data).decode()}"
    items = await input_of(
        pool,
        Message(role="user", text="Look.", images=(PICTURE, PAPER)),
        Message(role="user", images=(PICTURE,)),
    )
    picture = {"type": "input_image", "image_url": png, "detail": "auto"}
    assert items == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look."},
                picture,
                {"type": "input_file", "filename": "document2.pdf", "file_data": pdf},
            ],
        },
        {"role": "user", "content": [picture]},
    ]


async def test_results_of_tools_follow_their_calls_and_what_they_show_follows_them(pool: Pool) -> None:
    items = await input_of(
        pool,
        Message(
            role="assistant",
            text="Let me see.",
            calls=(ToolCall(id="c1", name="look", arguments='{"at": 1}'),),
        ),
        Message(
            role="tool",
            results=(
                ToolResult(call_id="c1", content="seen"),
                ToolResult(call_id="c2", content="", is_error=True),
            ),
            images=(PICTURE,),
        ),
    )
    *others, shown = items
    assert others == [
        {"role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "seen"},
        {"type": "function_call_output", "call_id": "c2", "output": ""},
    ]
    assert (shown["role"], shown["content"][0]["type"]) == ("user", "input_image")


async def test_every_item_of_a_turn_goes_back_as_it_came(pool: Pool) -> None:
    turn: list[dict[str, Any]] = [
        {
            "id": "rs_1",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "gAAAAABopaque==",
        },
        {
            "id": "ws_1",
            "type": "web_search_call",
            "status": "completed",
            "action": {"type": "search", "query": "x", "future": [1, None, {"a": 1.5}]},
        },
        {
            "id": "ci_1",
            "type": "code_interpreter_call",
            "status": "completed",
            "code": "1+1",
            "container_id": "cntr_1",
            "outputs": None,
        },
        {"id": "new_1", "type": "brand_new_call", "async": True, "payload": {"x": None, "ü": "\u2028"}},
        message("On it.", phase="commentary"),
        call('{"answer": "agent1.1", '),
    ]
    async with wire(said(*turn), HELLO) as server:
        backend = await open_model(server, pool)
        reply = await reply_of(backend)
        result = Message(role="tool", results=(ToolResult(call_id="call_1", content="not JSON"),))
        await reply_of(backend, Request(messages=(*REQUEST.messages, reply.message(), result)))
    output = {"type": "function_call_output", "call_id": "call_1", "output": "not JSON"}
    assert server.requests[1].json["input"] == [*INPUT, *turn, output]
    assert reply.calls == (ToolCall(id="call_1", name="vote", arguments='{"answer": "agent1.1", '),)


@pytest.mark.parametrize(
    ("thought", "echoed"),
    [
        ({"encrypted_content": "g", "status": None, "content": None}, {"encrypted_content": "g"}),
        ({"encrypted_content": "g", "status": "completed"}, {"encrypted_content": "g"}),
        (
            {"content": [{"type": "reasoning_text", "text": "x"}]},
            {"content": [{"type": "reasoning_text", "text": "x"}]},
        ),
        ({"encrypted_content": None}, None),
        ({"encrypted_content": ""}, None),
        ({}, None),
    ],
)
async def test_reasoning_goes_back_in_the_form_that_is_taken_or_not_at_all(
    pool: Pool, thought: dict[str, Any], echoed: dict[str, Any] | None
) -> None:
    base: dict[str, Any] = {"id": "rs_1", "type": "reasoning", "summary": []}
    native = {"type": "openai", "items": [base | thought, message()]}
    items = await input_of(pool, Message(role="assistant", text="Hello.", native=native))
    assert items == [*([base | echoed] if echoed else []), message()]


@pytest.mark.parametrize("native", [{"type": "grok", "items": [message()]}, {"items": 3}, ["x"], "x", {}])
async def test_items_of_another_backend_are_rebuilt_from_what_they_said(pool: Pool, native: object) -> None:
    items = await input_of(pool, Message(role="assistant", text="Mine.", native=native))
    assert items == [{"role": "assistant", "content": "Mine."}]


async def test_the_vendor_s_key_stays_with_the_vendor(pool: Pool) -> None:
    with pytest.raises(BackendError, match="not one of the hosts that the key of OpenAI may be sent to"):
        await open_model("https://proxy.example/v1", pool, environ={"OPENAI_API_KEY": KEY}, api_key=None)


async def test_the_vendor_s_key_does_not_go_to_a_proxy_on_this_machine(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, environ={"OPENAI_API_KEY": KEY}, api_key=None))
    assert server.requests[0].headers["authorization"] == "Bearer EMPTY"


async def test_without_a_key_one_is_told_which_to_set(pool: Pool) -> None:
    with pytest.raises(BackendError, match="Set OPENAI_API_KEY") as caught:
        await open_model("https://api.openai.com/v1", pool, api_key=None)
    assert (caught.value.kind, caught.value.connected) == ("auth", False)


async def test_an_address_that_may_not_be_talked_to_is_refused(pool: Pool) -> None:
    with pytest.raises(ValueError, match="this address can't be used"):
        await open_model("http://169.254.169.254/v1", pool)
