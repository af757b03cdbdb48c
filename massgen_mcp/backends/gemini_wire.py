"""Our messages in the dialect of generateContent.

A model's turn goes back as the very parts it came in, signatures of its thoughts included.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from massgen_mcp.backends.gemini_schema import has_parameters, to_narrow, without_empty_properties
from massgen_mcp.backends.seeing import shown_later
from massgen_mcp.messages import Image, Message, Request, ToolCall, ToolResult, ToolSpec

__all__ = [
    "OWNER",
    "Item",
    "function_response",
    "native_of",
    "to_choice",
    "to_contents",
    "to_functions",
    "to_system",
]

Item: TypeAlias = dict[str, Any]
"""One JSON object of a conversation: a content, or a part of one."""

OWNER = "gemini"
"""The backend type that a turn's own parts belong to: no other can read its thoughts."""

_UNSIGNED = "skip_thought_signature_validator"
"""What the vendor takes instead of the signature of a call that one of its models did not make."""


def native_of(contents: Sequence[Item], answered: Sequence[Item] = ()) -> Item:
    """A reply's own contents.

    Args:
        contents: as they came; between them the answers that were given on the way.
        answered: answers to calls of the last content that were ours to run.
    """
    native: Item = {"type": OWNER, "contents": list(contents)}
    return {**native, "answered": list(answered)} if answered else native


def to_system(request: Request) -> Item | None:
    """The instructions, which stand beside the conversation."""
    parts = [{"text": message.text} for message in request.messages if message.role == "system"]
    return {"parts": parts} if parts else None


def to_contents(request: Request, *, signed: bool) -> list[Item]:
    """The conversation.

    Args:
        request: holds it.
        signed: whether the model wants every call that is given back to be signed.
    """
    writer = _Writer(signed=signed)
    for message in request.messages:
        writer.add(message)
    return writer.contents


@dataclass(frozen=True, slots=True)
class _Known:
    """A call that a result may be about."""

    place: int
    name: str
    id: str | None
    """As the model gave it; None where it gave none, and must not be given one."""


class _Writer:
    def __init__(self, *, signed: bool) -> None:
        self.contents: list[Item] = []
        self._signed = signed
        self._calls: dict[str, _Known] = {}
        self._answered: list[Item] = []

    def add(self, message: Message) -> None:
        match message.role:
            case "system":
                pass
            case "user":
                self._close()
                self._say("user", _parts(message.text, message.images))
            case "assistant":
                self._close()
                self._assistant(message)
            case "tool":
                self._results(message.results)
                # Only the newest models take pictures in a function's response, so what it shows follows it.
                for heading, images in shown_later(message):
                    self._say("user", _parts(heading, images))
                if message.images or message.text:
                    self._say("user", _parts(message.text, message.images))

    def _say(self, role: str, parts: list[Item]) -> None:
        self.contents.append({"role": role, "parts": parts})

    def _close(self) -> None:
        if self._answered:
            self._say("user", self._answered)
            self._answered = []

    def _assistant(self, message: Message) -> None:
        native = _native(message)
        if native is None:
            self._rebuild(message)
            return
        self.contents += cast("list[Item]", native["contents"])
        self._answered = list(cast("list[Item]", native.get("answered", [])))
        given = [part["functionCall"].get("id") for part in _last_parts(native) if "functionCall" in part]
        for call in message.calls:
            self._know(call, call.id if call.id in given else None)

    def _rebuild(self, message: Message) -> None:
        parts: list[Item] = [{"text": message.text}] if message.text else []
        for place, call in enumerate(message.calls):
            part: Item = {"functionCall": {"id": call.id, "name": call.name, "args": _arguments(call)}}
            if self._signed and place == 0:
                part["thoughtSignature"] = _UNSIGNED
            parts.append(part)
            self._know(call, call.id)
        if parts:
            self._say("model", parts)

    def _know(self, call: ToolCall, given: str | None) -> None:
        self._calls[call.id] = _Known(len(self._calls), call.name, given)

    def _results(self, results: tuple[ToolResult, ...]) -> None:
        """All results of a turn in one content, in the order of the calls: some are matched by that alone."""
        known = [(self._calls[result.call_id], result) for result in results if result.call_id in self._calls]
        known.sort(key=lambda pair: pair[0].place)
        self._answered += [
            function_response(call.name, result.content, call_id=call.id, is_error=result.is_error)
            for call, result in known
        ]
        self._close()


def _native(message: Message) -> Item | None:
    """The contents that this backend kept of a turn; None where another made it."""
    native: object = message.native
    if not isinstance(native, dict):
        return None
    fields = cast("Item", native)
    return fields if fields.get("type") == OWNER and isinstance(fields.get("contents"), list) else None


def _last_parts(native: Item) -> list[Item]:
    contents = cast("list[Item]", native["contents"])
    return cast("list[Item]", contents[-1].get("parts", [])) if contents else []


def _arguments(call: ToolCall) -> Item:
    try:
        value: object = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    return cast("Item", value) if isinstance(value, dict) else {"arguments": call.arguments}


def _parts(text: str, images: tuple[Image, ...]) -> list[Item]:
    parts: list[Item] = [{"text": text}] if text or not images else []
    data = ((image.mime, base64.b64encode(image.data).decode()) for image in images)
    return [*parts, *({"inlineData": {"mimeType": mime, "data": text}} for mime, text in data)]


def function_response(name: str, content: str, *, call_id: str | None, is_error: bool = False) -> Item:
    """The part that answers a call."""
    response: Item = {"name": name, "response": {"error" if is_error else "output": content}}
    return {"functionResponse": {"id": call_id, **response} if call_id else response}


def to_functions(tools: Sequence[ToolSpec], *, narrow: bool) -> list[Item]:
    """The functions a model may call.

    Args:
        tools: what they are.
        narrow: whether to describe their parameters in the older form.
    """
    return [_function(tool, narrow=narrow) for tool in tools]


def _function(tool: ToolSpec, *, narrow: bool) -> Item:
    declared: Item = {"name": tool.name, "description": tool.description}
    schema = without_empty_properties(tool.parameters)
    if not has_parameters(schema):
        return declared
    return declared | ({"parameters": to_narrow(schema)} if narrow else {"parametersJsonSchema": schema})


def to_choice(choice: str) -> Mapping[str, Any]:
    """Some function (`required`), or one by its name."""
    return {"mode": "ANY"} if choice == "required" else {"mode": "ANY", "allowedFunctionNames": [choice]}
