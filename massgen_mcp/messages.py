"""What travels between an agent and its model: messages, tool calls, requests, deltas, replies.

Values only. Every backend translates between these and its provider's dialect.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, cast

from massgen_mcp.usage import Usage

__all__ = [
    "Brief",
    "Delta",
    "Finish",
    "Image",
    "Message",
    "ObservedCall",
    "ReasoningDelta",
    "Reply",
    "Request",
    "Restarted",
    "Role",
    "Spent",
    "TextDelta",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "parse_arguments",
]

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
Finish: TypeAlias = Literal["stop", "tool_calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A function a model may call. `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A model's wish to call a function; `arguments` is its JSON text as received."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture or PDF shown to a model, by value."""

    mime: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call came back with, as the model will read it."""

    call_id: str
    content: str
    is_error: bool = False
    images: tuple[Image, ...] = ()
    """Shown with it, to a model that sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One entry of a conversation.

    `native` holds the provider's own items of an assistant turn (JSON values), echoed verbatim by the
    backend that made them and ignored by every other.
    """

    role: Role
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    images: tuple[Image, ...] = ()
    native: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a request is about, in parts: for models that continue text rather than follow a conversation."""

    kind: Literal["answer", "vote", "present"]
    question: str
    answers: tuple[tuple[str, str, str], ...] = ()
    """Label, conclusion and content of each answer shown, in the order shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One model request, before a provider's dialect.

    `tool_choice` is None (the model decides), "required", or the name of a tool. `schema` constrains the
    reply to one JSON object, on backends whose row says `json_schema`.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str | None = None
    schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    brief: Brief | None = None

    def digest(self) -> str:
        """SHA-256 of the request in canonical JSON: equal requests have equal digests, across processes."""
        value = {
            "messages": [_plain(message) for message in self.messages],
            "tools": [[tool.name, tool.description, tool.parameters] for tool in self.tools],
            "tool_choice": self.tool_choice,
            "schema": self.schema,
            "max_tokens": self.max_tokens,
            "brief": self.brief and [self.brief.kind, self.brief.question, self.brief.answers],
        }
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(message: Message) -> list[Any]:
    return [
        message.role,
        message.text,
        [[call.id, call.name, call.arguments] for call in message.calls],
        [_plain_result(result) for result in message.results],
        _digests(message.images),
        message.native,
    ]


def _plain_result(result: ToolResult) -> list[Any]:
    plain = [result.call_id, result.content, result.is_error]
    # Left out where there are none, so that digests in older journals still hold.
    return [*plain, _digests(result.images)] if result.images else plain


def _digests(images: tuple[Image, ...]) -> list[list[str]]:
    return [[image.mime, hashlib.sha256(image.data).hexdigest()] for image in images]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One complete model reply. It exists only if the provider said that it was complete."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: Finish = "stop"
    model: str = ""
    """The model as the provider says it was served."""
    usage: Usage = field(default_factory=Usage)
    native: Any = None
    """The provider's own items, JSON values, for `Message.native`."""
    attempts: int = 1
    """Tries made, those that never connected included; filled in by the retry layer."""
    seconds: float = 0.0
    """From the first attempt to the last byte; filled in by the retry layer."""
    warnings: tuple[str, ...] = ()
    """What the backend dropped or changed to get this reply."""

    def message(self) -> Message:
        """This reply as the assistant's entry of the conversation."""
        return Message(role="assistant", text=self.text, calls=self.calls, native=self.native)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """A piece of the reply's text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta:
    """A piece of the model's reasoning, where the provider shows it."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedCall:
    """An agent runtime uses a tool of its own: nothing for us to run, something to show."""

    name: str
    detail: str = ""
    """What it is used on, in a few words: a command, a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What an agent runtime's turn has used so far, so that a budget can stop it on its way."""

    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """The request is sent again: what streamed before is void."""

    attempt: int
    why: str


Delta: TypeAlias = TextDelta | ReasoningDelta | ObservedCall | Spent | Restarted | Reply
"""A stream of deltas ends in exactly one `Reply`, or raises `BackendError`."""


def parse_arguments(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as an object, read strictly: no repair, no duplicate keys, no NaN.

    Raises:
        ValueError: with the parser's words, for the model to read.
    """
    try:
        value: object = json.loads(
            call.arguments or "{}", object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise ValueError("the arguments are nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"the arguments must be a JSON object, not {type(value).__name__}")  # noqa: TRY004 - one error type for the model's mistakes
    return cast("dict[str, Any]", value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("the arguments name the same key twice")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
