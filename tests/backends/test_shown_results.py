"""Pictures that tools give, in every dialect."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from massgen_mcp.backends.local_plan import plan_chat
from massgen_mcp.backends.pool import Pool
from massgen_mcp.messages import Image, Message, Request, ToolCall, ToolResult
from tests.backends import chats, claudes, gemini_replies, responses_events
from tests.backends.wire import wire

pytestmark = pytest.mark.anyio

PICTURE, PAPER = Image(mime="image/png", data=b"\x89PNG"), Image(mime="application/pdf", data=b"%PDF")
DATA = base64.b64encode(PICTURE.data).decode()
PNG = f"data:image/png;base64,{DATA}"
PDF = f"data:application/pdf;base64,{base64.b64encode(PAPER.data).decode()}"
CALLS = (
    ToolCall(id="c1", name="look", arguments="{}"),
    ToolCall(id="c2", name="draw", arguments="{}"),
)
RESULTS = (
    ToolResult(call_id="c1", content="seen", images=(PICTURE, PAPER)),
    ToolResult(call_id="c2", content="half of it", is_error=True, images=(PICTURE,)),
)
REQUEST = Request(
    messages=(
        Message(role="user", text="Look."),
        Message(role="assistant", calls=CALLS),
        Message(role="tool", results=RESULTS),
    )
)


async def input_of(pool: Pool, type: str) -> list[dict[str, Any]]:  # noqa: A002 - the word of the team file
    async with wire(responses_events.HELLO) as server:
        backend = await responses_events.open_model(server, pool, type)
        await responses_events.deltas_of(backend, REQUEST)
    items: list[dict[str, Any]] = server.requests[0].json["input"]
    return items[3:]


async def test_responses_take_them_inside_a_functions_output(pool: Pool) -> None:
    picture = {"type": "input_image", "image_url": PNG, "detail": "auto"}
    assert await input_of(pool, "openai") == [
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [
                {"type": "input_text", "text": "seen"},
                picture,
                {"type": "input_file", "filename": "document2.pdf", "file_data": PDF},
            ],
        },
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "half of it"}, picture],
        },
    ]


async def test_grok_gets_text_as_output_and_the_pictures_after_it(pool: Pool) -> None:
    first, second, *shown = await input_of(pool, "grok")
    assert [first["output"], second["output"]] == ["seen", "half of it"]
    assert [entry["content"][0]["text"] for entry in shown] == [
        "Shown by the tool call c1:",
        "Shown by the tool call c2:",
    ]
    assert shown[1]["content"][1] == {"type": "input_image", "image_url": PNG, "detail": "auto"}


async def test_claude_takes_them_inside_a_result_those_of_errors_after_all_results(pool: Pool) -> None:
    async with wire(claudes.HELLO) as server:
        await chats.deltas_of(await claudes.open_claude(server, pool), REQUEST)
    content = server.requests[0].json["messages"][-1]["content"]
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
    content[-1].pop("cache_control", None)
    assert content[0]["content"][:2] == [{"type": "text", "text": "seen"}, picture]
    assert content[0]["content"][2]["type"] == "document"
    assert content[1] == {
        "type": "tool_result",
        "tool_use_id": "c2",
        "content": "half of it",
        "is_error": True,
    }
    assert content[2:] == [{"type": "text", "text": "Shown by the tool call c2:"}, picture]


async def test_gemini_takes_them_after_the_responses(pool: Pool) -> None:
    async with wire(gemini_replies.HELLO) as server:
        await gemini_replies.deltas_of(await gemini_replies.open_model(server, pool), REQUEST)
    responses, first, second = server.requests[0].json["contents"][-3:]
    assert [list(part) for part in responses["parts"]] == [["functionResponse"]] * 2
    assert first == {
        "role": "user",
        "parts": [
            {"text": "Shown by the tool call c1:"},
            {"inlineData": {"mimeType": "image/png", "data": DATA}},
            {"inlineData": {"mimeType": "application/pdf", "data": base64.b64encode(b"%PDF").decode()}},
        ],
    }
    assert second["parts"][0] == {"text": "Shown by the tool call c2:"}


async def messages_of(pool: Pool, type: str) -> list[dict[str, Any]]:  # noqa: A002 - the word of the team file
    async with wire(chats.HELLO) as server:
        await chats.deltas_of(await chats.open_chat(server, pool, type), REQUEST)
    messages: list[dict[str, Any]] = server.requests[0].json["messages"]
    return messages[2:]


async def test_a_chat_model_that_sees_gets_them_as_the_users(pool: Pool) -> None:
    first, second, *shown = await messages_of(pool, "azure_openai")
    assert [first["content"], second["content"]] == ["seen", "half of it"]
    assert shown[1] == {
        "role": "user",
        "content": [
            {"type": "text", "text": "Shown by the tool call c2:"},
            {"type": "image_url", "image_url": {"url": PNG}},
        ],
    }


async def test_a_chat_model_that_may_not_see_is_told_of_them(pool: Pool) -> None:
    first, second = await messages_of(pool, "groq")
    assert first["content"].startswith("seen\n[Here came 2 pictures, which you can't be shown.")
    assert "a picture" in second["content"]


def test_the_embedded_model_is_told_of_them() -> None:
    plan = plan_chat(REQUEST, short=False, tokens=100)
    assert "Here came 2 pictures" in str(plan.body["messages"])


def test_a_picture_changes_a_requests_digest() -> None:
    bare = tuple(ToolResult(call_id=r.call_id, content=r.content, is_error=r.is_error) for r in RESULTS)
    other = Request(messages=(*REQUEST.messages[:2], Message(role="tool", results=bare)))
    changed = (ToolResult(call_id="c1", content="seen", images=(PAPER,)), *RESULTS[1:])
    third = Request(messages=(*REQUEST.messages[:2], Message(role="tool", results=changed)))
    assert len({REQUEST.digest(), other.digest(), third.digest()}) == 3
