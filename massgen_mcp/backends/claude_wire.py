"""Our messages in the dialect of the Messages API.

An assistant's turn goes back as the provider's own blocks, thinking and its signatures included, exactly as
they came: newer models refuse a conversation in which they were changed.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias, cast

from massgen_mcp.backends.seeing import shown_by
from massgen_mcp.messages import Image, Message, Request, ToolCall, ToolResult, ToolSpec, parse_arguments

__all__ = [
    "REPLY",
    "Block",
    "blocks_of",
    "container_of",
    "input_of",
    "mark_stable",
    "native_of",
    "thought_of",
    "to_messages",
    "to_system",
    "to_tool_choice",
    "to_tools",
]

Block: TypeAlias = dict[str, Any]
"""One JSON object of a message's content: text, a thought, a call, a result, or a kind not known here."""

REPLY = "reply"
"""The tool that a request for one JSON object makes the model call."""

_PDF = "application/pdf"
_EPHEMERAL = {"type": "ephemeral"}
_NOT_OBJECTS = frozenset({"allOf", "anyOf", "oneOf"})
_ID = re.compile(r"[^A-Za-z0-9_-]")
_NOTHING = "(nothing)"


# The provider's own blocks.


def native_of(owner: str, blocks: Sequence[Block], container: str | None) -> dict[str, Any]:
    """The blocks of a reply, marked with the backend type that made them, and where its code ran."""
    native = {"type": owner, "blocks": list(blocks)}
    return native if container is None else {**native, "container": container}


def blocks_of(message: Message, owner: str) -> list[Block]:
    """The provider's own blocks of an assistant's turn; empty where another backend made it."""
    blocks = _native(message, owner).get("blocks")
    return cast("list[Block]", blocks) if isinstance(blocks, list) else []


def container_of(request: Request, owner: str) -> str | None:
    """Where the conversation's code ran last, so that its files are found again."""
    found = (_native(message, owner).get("container") for message in reversed(request.messages))
    return next((name for name in found if isinstance(name, str)), None)


def _native(message: Message, owner: str) -> dict[str, object]:
    native: object = message.native
    fields = cast("dict[str, object]", native) if isinstance(native, dict) else {}
    return fields if fields.get("type") == owner else {}


def thought_of(block: Block) -> str | None:
    """What tells a block of thinking from others; None for all other kinds."""
    match block.get("type"):
        case "thinking":
            return str(block.get("signature"))
        case "redacted_thinking":
            return str(block.get("data"))
        case _:
            return None


# The conversation.


def to_system(request: Request) -> list[Block]:
    """The system text, which stands apart from the messages."""
    return [
        block for message in request.messages if message.role == "system" for block in _text(message.text)
    ]


def to_messages(
    request: Request, owner: str, *, begun: Sequence[Block] = (), stale: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The conversation.

    Args:
        request: holds it.
        owner: the backend type whose own blocks are echoed.
        begun: what has come of a reply that the provider paused, for it to go on.
        stale: thoughts that the provider no longer takes.
    """
    turns = (message for message in request.messages if message.role != "system")
    messages: list[dict[str, Any]] = []
    # What follows one another on one side is one message: results must come first in it, and all together.
    for ours, together in groupby(turns, key=lambda message: message.role != "assistant"):
        group = list(together)
        content = _said_to_it(group) if ours else _said_by_it(group, owner, stale)
        if content:
            messages.append({"role": "user" if ours else "assistant", "content": content})
    if begun:
        messages.append({"role": "assistant", "content": list(_echoed(begun, stale))})
    return messages


def _said_to_it(group: Sequence[Message]) -> list[Block]:
    results = [_result(result) for message in group for result in message.results]
    return results + [
        block
        for message in group
        for block in (
            *_of_errors(message),
            *(_media(image) for image in message.images),
            *_text(message.text),
        )
    ]


def _of_errors(message: Message) -> Iterator[Block]:
    """What failed calls show: an error's content may be text alone."""
    for result in message.results:
        if result.is_error and result.images:
            yield from _text(shown_by(result))
            yield from map(_media, result.images)


def _said_by_it(group: Iterable[Message], owner: str, stale: Collection[str]) -> list[Block]:
    return [
        block
        for message in group
        for block in _echoed(blocks_of(message, owner) or list(_rebuilt(message)), stale)
    ]


def _echoed(blocks: Iterable[Block], stale: Collection[str]) -> Iterator[Block]:
    for block in blocks:
        # A model may send an empty text, but nobody may send it one.
        if not (block.get("type") == "text" and not block.get("text")) and thought_of(block) not in stale:
            yield block


def _rebuilt(message: Message) -> Iterator[Block]:
    yield from _text(message.text)
    for call in message.calls:
        yield {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": input_of(call)}


def input_of(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as the API wants them back; empty where they can't be read, or not be written."""
    try:
        value = parse_arguments(call)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return {}
    return value


def _text(text: str) -> list[Block]:
    # An empty text is refused, one of white space alone as well.
    return [{"type": "text", "text": text}] if text.strip() else []


def _result(result: ToolResult) -> Block:
    block: Block = {
        "type": "tool_result",
        "tool_use_id": _id(result.call_id),
        "content": result.content if result.content.strip() else _NOTHING,
    }
    if result.images and not result.is_error:
        block["content"] = [*_text(result.content), *map(_media, result.images)]
    return {**block, "is_error": True} if result.is_error else block


def _id(call_id: str) -> str:
    """An id with the characters that the API allows; its own stay as they are."""
    return _ID.sub("_", call_id)


def _media(image: Image) -> Block:
    data = base64.b64encode(image.data).decode()
    kind = "document" if image.mime == _PDF else "image"
    return {"type": kind, "source": {"type": "base64", "media_type": image.mime, "data": data}}


# Tools.


def to_tools(request: Request) -> list[Block]:
    """The functions a model may call."""
    tools = [_tool(spec) for spec in request.tools]
    if request.schema is not None:
        spec = ToolSpec(name=REPLY, description="Give your reply.", parameters=request.schema)
        tools.append(_tool(spec))
    return tools


def _tool(spec: ToolSpec) -> Block:
    # A schema must be an object's, and alternatives at its top are refused.
    schema = {name: value for name, value in spec.parameters.items() if name not in _NOT_OBJECTS}
    return {
        "name": spec.name,
        "description": spec.description,
        "input_schema": {**schema, "type": "object"},
    }


def to_tool_choice(request: Request) -> Block | None:
    """Which tool the model must call; None where it may decide."""
    if request.schema is not None:
        return {"type": "tool", "name": REPLY}
    if not request.tools or request.tool_choice is None:
        return None
    return (
        {"type": "any"}
        if request.tool_choice == "required"
        else {"type": "tool", "name": request.tool_choice}
    )


def mark_stable(body: dict[str, Any]) -> None:
    """Mark up to where the provider may cache: tools and system text, and the last two messages to it.

    The last one is where the next request of this conversation goes on, the one before is where the last
    request ended, which is how its cache is found however much the model has said since.
    """
    heads: list[list[Block]] = [body.get("system") or body.get("tools") or []]
    ours: list[list[Block]] = [
        message["content"] for message in body["messages"] if message["role"] == "user"
    ]
    for blocks in (*heads, *ours[-2:]):
        if blocks:
            blocks[-1]["cache_control"] = _EPHEMERAL
