"""A stream of chat completions put together into one reply, believed only when it is whole.

The SDK builds its objects without checking them, so every field is looked at before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from massgen_mcp.backends.chat_wire import NATIVE
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.prices import reported_cost
from massgen_mcp.messages import Delta, ReasoningDelta, Reply, TextDelta, ToolCall
from massgen_mcp.usage import Usage

__all__ = ["Reading", "chunk_of", "read_usage"]

_COMPLETE = frozenset({"stop", "tool_calls", "function_call", "eos", "end_turn", "stop_sequence"})
_CUT = frozenset({"length", "max_tokens", "model_length"})
_DECLINED = frozenset({"content_filter", "refusal", "safety", "sensitive"})
_FAILED = frozenset({"error", "network_error"})
_REASONING = (NATIVE, "reasoning")


@dataclass(slots=True)
class _Call:
    """A tool call as far as it has come."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


class Reading:
    """What has come of one reply."""

    def __init__(self, failures: Failures, *, turn: int) -> None:
        self._failures = failures
        self._turn = turn
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._finish: str | None = None
        self._model = ""
        self._usage: object = None
        self._native = False

    def feed(self, chunk: object) -> Iterator[Delta]:
        """The text and reasoning of the next chunk."""
        usage: object = getattr(chunk, "usage", None)
        if usage is not None:
            self._usage = usage
        model: object = getattr(chunk, "model", None)
        if not self._model and isinstance(model, str):
            self._model = model
        for choice in _items(getattr(chunk, "choices", None)):
            if getattr(choice, "index", 0) in {0, None}:
                yield from self._choice(choice)

    def _choice(self, choice: object) -> Iterator[Delta]:
        error: object = _extra(choice).get("error")
        if error:
            raise self._failures.reported(error)
        finish: object = getattr(choice, "finish_reason", None)
        if isinstance(finish, str) and finish:
            self._finish = finish.lower()
        delta: object = getattr(choice, "delta", None)
        if delta is None:
            return
        if reasoning := self._reasoning_of(delta):
            self._reasoning.append(reasoning)
            yield ReasoningDelta(text=reasoning)
        if text := _text(getattr(delta, "content", None)):
            self._text.append(text)
            yield TextDelta(text=text)
        if refusal := _text(getattr(delta, "refusal", None)):
            self._refusal.append(refusal)
        for part in _items(getattr(delta, "tool_calls", None)):
            self._call(part)

    def _reasoning_of(self, delta: object) -> str:
        extra = _extra(delta)
        for name in _REASONING:
            value = extra.get(name)
            if isinstance(value, str) and value:
                self._native = self._native or name == NATIVE
                return value
        return ""

    def _call(self, part: object) -> None:
        """Add to the call of that index. Servers repeat id and name, or send the arguments as an object."""
        function: object = getattr(part, "function", None)
        name = _text(getattr(function, "name", None))
        call_id = _text(getattr(part, "id", None))
        index: object = getattr(part, "index", None)
        place = index if isinstance(index, int) else max(len(self._calls) - (not name), 0)
        known = self._calls.get(place)
        if known is not None and name and call_id and known.id not in {"", call_id}:
            # Some servers give every parallel call the index 0.
            place = max(self._calls) + 1
        call = self._calls.setdefault(place, _Call())
        call.id = call.id or call_id
        call.name = call.name or name
        arguments: object = getattr(function, "arguments", None)
        if isinstance(arguments, str):
            call.arguments.append(arguments)
        elif arguments is not None:
            call.arguments.append(json.dumps(arguments))

    def reply(self, *, terminated: bool, requests: int, warnings: tuple[str, ...]) -> Reply:
        """The whole reply.

        Args:
            terminated: whether the stream said by itself that it was over.
            requests: how many the provider was sent for it.
            warnings: what was left out to get it.

        Raises:
            BackendError: it is not whole, was cut, or is a refusal.
        """
        self._check(terminated)
        text = "".join(self._text)
        calls = tuple(self._tool_calls())
        if self._refusal and not text and not calls:
            raise self._failures.declined("".join(self._refusal))
        if self._finish not in _COMPLETE:
            warnings = (*warnings, f"The reply ended for a reason that is not known: {self._finish!r}.")
        if self._usage is None:
            warnings = (*warnings, f"{self._failures.title} did not say what the request used.")
        return Reply(
            text=text,
            calls=calls,
            finish="tool_calls" if calls else "stop",
            model=self._model,
            usage=read_usage(self._usage, requests=requests),
            native={NATIVE: "".join(self._reasoning)} if self._native else None,
            warnings=warnings,
        )

    def _check(self, terminated: bool) -> None:  # noqa: FBT001 - passed on
        finish, failures = self._finish, self._failures
        if finish is None:
            raise failures.broken("it ended without a finish_reason")
        if finish in _CUT:
            raise failures.cut()
        if finish in _DECLINED:
            raise failures.declined("".join(self._refusal))
        if finish in _FAILED:
            raise failures.reported({"message": "the model stopped with an error", "code": 502})
        if not terminated:
            raise failures.broken("its stream ended without [DONE]")

    def _tool_calls(self) -> Iterator[ToolCall]:
        for place, call in sorted(self._calls.items()):
            if not call.name:
                raise self._failures.broken("a tool call has no name")
            # Ids must differ within a conversation, so the turn is part of a made-up one.
            made_up = f"call_{self._turn}_{place}"
            yield ToolCall(id=call.id or made_up, name=call.name, arguments="".join(call.arguments))


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _extra(value: object) -> dict[str, Any]:
    extra: object = getattr(value, "model_extra", None)
    return cast("dict[str, Any]", extra) if isinstance(extra, dict) else {}


def _text(value: object) -> str:
    """A text, also where a server sends it as a list of parts."""
    if isinstance(value, str):
        return value
    parts = [cast("dict[str, object]", part) for part in _items(value) if isinstance(part, dict)]
    return "".join(str(part["text"]) for part in parts if isinstance(part.get("text"), str))


def read_usage(usage: object, *, requests: int = 1) -> Usage:
    """What a request used, as chat completions report it; every detail may be missing."""
    extra = _extra(usage)
    put_in: object = getattr(usage, "prompt_tokens_details", None)
    put_out: object = getattr(usage, "completion_tokens_details", None)
    cached = _count(put_in, "cached_tokens") or _number(extra.get("prompt_cache_hit_tokens"))
    cost = reported_cost(extra.get("cost"))
    return Usage(
        requests=requests,
        input=_count(usage, "prompt_tokens"),
        output=_count(usage, "completion_tokens"),
        cached=cached or _number(extra.get("cached_tokens")),
        cache_write=_count(put_in, "cache_write_tokens"),
        reasoning=_count(put_out, "reasoning_tokens"),
        cost_usd=cost,
        cost_source="unknown" if cost is None else "provider",
    )


def _count(value: object, name: str) -> int:
    return _number(getattr(value, name, None))


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def chunk_of(data: bytes, failures: Failures) -> dict[str, Any]:
    """A reply that came in one piece, as the fields of one chunk.

    Raises:
        BackendError: it is an error, or nothing that could be a reply.
    """
    value: object = json.loads(data)
    if not isinstance(value, dict):
        raise failures.broken("it is not a JSON object")
    fields = cast("dict[str, Any]", value)
    if fields.get("error"):
        raise failures.reported(fields["error"])
    choices = [_streamed(cast("dict[str, Any]", choice)) for choice in _items(fields.get("choices"))]
    return {**fields, "choices": choices}


def _streamed(choice: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = choice.get("message") or {}
    calls = [
        {**cast("dict[str, Any]", call), "index": place}
        for place, call in enumerate(_items(message.get("tool_calls")))
    ]
    return {**choice, "delta": {**message, "tool_calls": calls}}
