"""Our messages in the dialect of chat completions."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, cast

from massgen_mcp.backends.seeing import shown_later
from massgen_mcp.messages import Image, Message, Request, ToolSpec

__all__ = ["NATIVE", "to_messages", "to_response_format", "to_tool_choice", "to_tools"]

NATIVE = "reasoning_content"
"""The provider's own item of an assistant's turn that some servers want back inside a tool loop."""

_PDF = "application/pdf"


def to_messages(request: Request, *, echo_reasoning: bool = False) -> list[dict[str, Any]]:
    """The conversation; reasoning goes back only where the server wants it."""
    return [entry for message in request.messages for entry in _entries(message, echo_reasoning)]


def _entries(message: Message, echo_reasoning: bool) -> Iterator[dict[str, Any]]:  # noqa: FBT001 - passed on
    match message.role:
        case "system":
            yield {"role": "system", "content": message.text}
        case "user":
            yield {"role": "user", "content": _content(message.text, message.images)}
        case "assistant":
            yield _assistant(message, echo_reasoning)
        case "tool":
            for result in message.results:
                yield {"role": "tool", "tool_call_id": result.call_id, "content": result.content}
            for heading, images in shown_later(message):
                yield {"role": "user", "content": _content(heading, images)}
            if message.images or message.text:
                # A tool's message holds text alone, so what a tool shows follows as the user's.
                yield {"role": "user", "content": _content(message.text, message.images)}


def _assistant(message: Message, echo_reasoning: bool) -> dict[str, Any]:  # noqa: FBT001 - passed on
    # An absent or null content breaks chat templates that add to it.
    entry: dict[str, Any] = {"role": "assistant", "content": message.text}
    if message.calls:
        entry["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    native: object = message.native
    if echo_reasoning and isinstance(native, dict):
        reasoning = cast("dict[str, object]", native).get(NATIVE)
        if isinstance(reasoning, str):
            entry[NATIVE] = reasoning
    return entry


def _content(text: str, images: tuple[Image, ...]) -> str | list[dict[str, Any]]:
    if not images:
        return text
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return [*parts, *(_part(number, image) for number, image in enumerate(images, 1))]


def _part(number: int, image: Image) -> dict[str, Any]:
    address = f"data:{image.mime};base64,{base64.b64encode(image.data).decode()}"
    if image.mime == _PDF:
        return {"type": "file", "file": {"filename": f"document{number}.pdf", "file_data": address}}
    return {"type": "image_url", "image_url": {"url": address}}


def to_tools(tools: tuple[ToolSpec, ...]) -> list[dict[str, Any]]:
    """The functions a model may call."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
        }
        for tool in tools
    ]


def to_tool_choice(choice: str) -> str | dict[str, Any]:
    """`required`, or one function by its name."""
    return choice if choice == "required" else {"type": "function", "function": {"name": choice}}


def to_response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """One JSON object of that form."""
    return {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": dict(schema), "strict": True},
    }
