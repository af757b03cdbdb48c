"""A stream of chat completions put together into one reply, believed only when it is whole.

Nobody has checked the JSON values that come, so every field is looked at before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from massgen_mcp.backends.chat_wire import NATIVE
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.prices import reported_cost
from massgen_mcp.messages import Delta, ReasoningDelta, Reply, TextDelta, ToolCall
from massgen_mcp.usage import Usage

__all__ = ["Reading", "chunk_of", "read_usage"]

_Fields: TypeAlias = dict[str, Any]

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
        fields = _fields(chunk)
        usage = fields.get("usage")
        if usage is not None:
            self._usage = usage
        model = fields.get("model")
        if not self._model and isinstance(model, str):
            self._model = model
        for item in _items(fields.get("choices")):
            choice = _fields(item)
            if choice.get("index") in {0, None}:
                yield from self._choice(choice)

    def _choice(self, choice: _Fields) -> Iterator[Delta]:
        if error := choice.get("error"):
            raise self._failures.reported(error)
        finish = choice.get("finish_reason")
        if isinstance(finish, str) and finish:
            self._finish = finish.lower()
        delta = _fields(choice.get("delta"))
        if reasoning := self._reasoning_of(delta):
            self._reasoning.append(reasoning)
            yield ReasoningDelta(text=reasoning)
        if (content := delta.get("content")) and (text := _text(content)):
            self._text.append(text)
            yield TextDelta(text=text)
        if (refused := delta.get("refusal")) and (refusal := _text(refused)):
            self._refusal.append(refusal)
        for part in _items(delta.get("tool_calls")):
            self._call(_fields(part))

    def _reasoning_of(self, delta: _Fields) -> str:
        for name in _REASONING:
            value = delta.get(name)
            if isinstance(value, str) and value:
                self._native = self._native or name == NATIVE
                return value
        return ""

    def _call(self, part: _Fields) -> None:
        """Add to the call of that index. Servers repeat id and name, or send the arguments as an object."""
        function = _fields(part.get("function"))
        name = _text(function.get("name"))
        call_id = _text(part.get("id"))
        index = part.get("index")
        place = index if isinstance(index, int) else max(len(self._calls) - (not name), 0)
        known = self._calls.get(place)
        if known is not None and name and call_id and known.id not in {"", call_id}:
            # Some servers give every parallel call the index 0.
            place = max(self._calls) + 1
        call = self._calls.setdefault(place, _Call())
        call.id = call.id or call_id
        call.name = call.name or name
        arguments = function.get("arguments")
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


def _fields(value: object) -> _Fields:
    return cast("_Fields", value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """A text, also where a server sends it as a list of parts."""
    if isinstance(value, str):
        return value
    parts = [cast("dict[str, object]", part) for part in _items(value) if isinstance(part, dict)]
    return "".join(str(part["text"]) for part in parts if isinstance(part.get("text"), str))


def read_usage(usage: object, *, requests: int = 1) -> Usage:
    """What a request used, as chat completions report it; every detail may be missing."""
    fields = _fields(usage)
    put_in = _fields(fields.get("prompt_tokens_details"))
    put_out = _fields(fields.get("completion_tokens_details"))
    cached = _number(put_in.get("cached_tokens")) or _number(fields.get("prompt_cache_hit_tokens"))
    cost = reported_cost(fields.get("cost"))
    return Usage(
        requests=requests,
        input=_number(fields.get("prompt_tokens")),
        output=_number(fields.get("completion_tokens")),
        cached=cached or _number(fields.get("cached_tokens")),
        cache_write=_number(put_in.get("cache_write_tokens")),
        reasoning=_number(put_out.get("reasoning_tokens")),
        cost_usd=cost,
        cost_source="unknown" if cost is None else "provider",
    )


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
