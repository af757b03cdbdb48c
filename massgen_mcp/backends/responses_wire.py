"""Our messages in the dialect of the Responses API.

Nothing is stored at the provider, so every request carries the whole conversation. An assistant's turn goes
back as the provider's own items, reasoning included, exactly as they came.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias, cast

from massgen_mcp.backends.seeing import shown_later
from massgen_mcp.messages import Image, Message, Request, ToolSpec

__all__ = ["Item", "items_of", "native_of", "to_format", "to_input", "to_tool_choice", "to_tools"]

Item: TypeAlias = dict[str, Any]
"""One JSON object of a conversation: a message, a call, its output, a thought, or a kind not known here."""

_PDF = "application/pdf"
_TEXT_OUTPUT = frozenset({"grok"})
"""Backends whose documentation knows of text alone as a function's output."""


def native_of(owner: str, items: list[Item]) -> dict[str, Any]:
    """The items of a reply, marked with the backend type that made them: no other can read its reasoning."""
    return {"type": owner, "items": items}


def items_of(message: Message, owner: str) -> list[Item]:
    """The provider's own items of an assistant's turn; empty where another backend made it."""
    native: object = message.native
    if not isinstance(native, dict):
        return []
    fields = cast("dict[str, object]", native)
    items = fields.get("items")
    return cast("list[Item]", items) if fields.get("type") == owner and isinstance(items, list) else []


def to_input(request: Request, owner: str, *, stale: Collection[str] = ()) -> list[Item]:
    """The conversation.

    Args:
        request: holds it.
        owner: the backend type whose own items are echoed.
        stale: ids of reasoning items that the provider no longer reads.
    """
    return [item for message in request.messages for item in _entries(message, owner, stale)]


def _entries(message: Message, owner: str, stale: Collection[str]) -> Iterator[Item]:
    match message.role:
        case "system":
            # Not as `instructions`, which xAI has refused.
            yield {"role": "system", "content": message.text}
        case "user":
            yield {"role": "user", "content": _content(message.text, message.images)}
        case "assistant":
            items = items_of(message, owner)
            yield from _echoed(items, stale) if items else _rebuilt(message)
        case "tool":
            for result in message.results:
                inside = result.images if owner not in _TEXT_OUTPUT else ()
                output = _content(result.content, inside)
                yield {"type": "function_call_output", "call_id": result.call_id, "output": output}
            for heading, images in shown_later(message) if owner in _TEXT_OUTPUT else ():
                yield {"role": "user", "content": _content(heading, images)}
            if message.images or message.text:
                # No call's own output, so it follows as the user's.
                yield {"role": "user", "content": _content(message.text, message.images)}


def _echoed(items: list[Item], stale: Collection[str]) -> Iterator[Item]:
    for item in items:
        if item.get("type") != "reasoning":
            yield item
        elif item.get("id") not in stale and (item.get("encrypted_content") or item.get("content")):
            # Reasoning that came without its content can't be looked up, since nothing is stored, and is
            # refused; so are its `status` and fields that are null.
            yield {name: value for name, value in item.items() if name != "status" and value is not None}


def _rebuilt(message: Message) -> Iterator[Item]:
    if message.text:
        yield {"role": "assistant", "content": message.text}
    for call in message.calls:
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _content(text: str, images: tuple[Image, ...]) -> str | list[Item]:
    if not images:
        return text
    parts: list[Item] = [{"type": "input_text", "text": text}] if text else []
    return [*parts, *(_part(number, image) for number, image in enumerate(images, 1))]


def _part(number: int, image: Image) -> Item:
    address = f"data:{image.mime};base64,{base64.b64encode(image.data).decode()}"
    if image.mime == _PDF:
        return {"type": "input_file", "filename": f"document{number}.pdf", "file_data": address}
    return {"type": "input_image", "image_url": address, "detail": "auto"}


def to_tools(tools: tuple[ToolSpec, ...]) -> list[Item]:
    """The functions a model may call.

    An absent `strict` means a strict reading, which refuses most schemas with optional properties.
    """
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
            "strict": False,
        }
        for tool in tools
    ]


def to_tool_choice(choice: str) -> str | Item:
    """`required`, or one function by its name."""
    return choice if choice == "required" else {"type": "function", "name": choice}


def to_format(schema: Mapping[str, Any]) -> Item:
    """One JSON object of that form."""
    return {"type": "json_schema", "name": "reply", "schema": dict(schema), "strict": True}
