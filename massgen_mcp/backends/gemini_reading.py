"""A stream of generateContent put together into one turn, believed only when it says that it is over.

Chunks are JSON values as they came: what they hold is looked at before it is used, and parts of kinds not
known here survive.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

import httpx2

from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.gemini_failures import reported
from massgen_mcp.backends.gemini_parameters import is_old
from massgen_mcp.backends.gemini_wire import Item
from massgen_mcp.backends.whole import is_whole
from massgen_mcp.messages import Delta, ReasoningDelta, TextDelta, ToolCall
from massgen_mcp.usage import Usage

__all__ = ["Reading", "Turn", "chunks_of", "read_usage"]

_COMPLETE = "STOP"
_CUT = frozenset({"MAX_TOKENS", "CONTINUATION"})
_DECLINED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
        "MODEL_ARMOR",
    }
)
_FAILED = frozenset(
    {
        "FINISH_REASON_UNSPECIFIED",
        "OTHER",
        "IMAGE_OTHER",
        "NO_IMAGE",
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
    }
)
_UNSIGNED = "MISSING_THOUGHT_SIGNATURE"
_SLIPS = 2
"""Tries of a request whose reply the model itself made a mess of."""
_SAYS_NOTHING = frozenset({b"", b"[DONE]"})
_FIELDS = frozenset({b"event", b"id", b"retry"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One complete turn of a model."""

    parts: tuple[Item, ...]
    """As they came, over all chunks."""
    text: str
    calls: tuple[ToolCall, ...]
    model: str
    usage: Usage
    sources: tuple[tuple[str, str], ...]
    """Title and address of what a search found."""
    notes: tuple[str, ...]

    @property
    def content(self) -> Item:
        """As it goes back to the model."""
        return {"role": "model", "parts": list(self.parts)}


class Reading:
    """What has come of one turn.

    Args:
        failures: makes its errors.
        turn: its place in the conversation; ids of calls that come without one are made of it.
    """

    def __init__(self, failures: Failures, *, turn: int) -> None:
        self._failures = failures
        self._turn = turn
        self._parts: list[Item] = []
        self._finish = ""
        self._words = ""
        self._model = ""
        self._usage: Item = {}
        self._sources: dict[str, str] = {}
        self._queries: dict[str, None] = {}

    def feed(self, chunk: object) -> Iterator[Delta]:
        """The text and reasoning of the next chunk.

        Raises:
            BackendError: it is an error, or ends the turn without completing it.
        """
        if not isinstance(chunk, dict):
            raise self._failures.broken("a part of it is not a JSON object")
        fields = cast("Item", chunk)
        if fields.get("error"):
            raise reported(fields, self._failures)
        self._model = _text(fields.get("modelVersion")) or self._model
        self._usage |= _mapping(fields.get("usageMetadata"))
        feedback = _mapping(fields.get("promptFeedback"))
        if blocked := _text(feedback.get("blockReason")):
            raise self._failures.declined(_text(feedback.get("blockReasonMessage")) or blocked)
        for candidate in _items(fields.get("candidates"))[:1]:
            yield from self._candidate(candidate)

    def _candidate(self, candidate: Item) -> Iterator[Delta]:
        self._finish = _text(candidate.get("finishReason")).upper() or self._finish
        self._words = _text(candidate.get("finishMessage")) or self._words
        grounding = _mapping(candidate.get("groundingMetadata"))
        self._queries |= dict.fromkeys(_texts(grounding.get("webSearchQueries")))
        for found in _items(grounding.get("groundingChunks")):
            page = _mapping(found.get("web"))
            if address := _text(page.get("uri")):
                self._sources.setdefault(address, _text(page.get("title")))
        for part in _items(_mapping(candidate.get("content")).get("parts")):
            text = _text(part.get("text"))
            if not text and part.keys() <= {"text", "thought"}:
                continue  # It says nothing, and the model would not take it back.
            self._parts.append(part)
            if text:
                yield ReasoningDelta(text=text) if part.get("thought") else TextDelta(text=text)

    def turn(self) -> Turn:
        """The whole turn.

        Raises:
            BackendError: it is not whole, was cut, or is a refusal.
        """
        self._check()
        notes: list[str] = []
        if self._finish != _COMPLETE:
            notes.append(f"The reply ended for a reason that is not known: {self._finish!r}.")
        if not self._usage:
            notes.append(f"{self._failures.title} did not say what the request used.")
        texts = (_text(part.get("text")) for part in self._parts if not part.get("thought"))
        return Turn(
            parts=tuple(self._parts),
            text="".join(texts),
            calls=tuple(self._calls()),
            model=self._model,
            usage=read_usage(self._usage, searches=self._searches),
            sources=tuple((title, address) for address, title in self._sources.items()),
            notes=tuple(notes),
        )

    @property
    def _searches(self) -> int:
        """How many searches are billed: each of them, or one for a prompt that led to any."""
        return min(len(self._queries), 1) if is_old(self._failures.model) else len(self._queries)

    def _check(self) -> None:
        finish, failures = self._finish, self._failures
        said = f"{finish}: {self._words}" if self._words else finish
        if not finish:
            raise failures.broken("it ended without a finishReason")
        if finish in _CUT:
            raise failures.cut()
        if finish in _DECLINED:
            raise failures.declined(said)
        if finish == _UNSIGNED:
            raise failures.broken(said, retryable=False)
        if finish in _FAILED:
            raise failures.broken(f"the model stopped with {said}", max_attempts=_SLIPS)

    def _calls(self) -> Iterator[ToolCall]:
        calls = (_mapping(part["functionCall"]) for part in self._parts if "functionCall" in part)
        for place, call in enumerate(calls):
            name, arguments = _text(call.get("name")), call.get("args")
            if not name:
                raise self._failures.broken("a tool call has no name")
            # Ids must differ within a conversation, so the turn is part of a made-up one.
            call_id = _text(call.get("id")) or f"call_{self._turn}_{place}"
            text = (
                arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
            )
            yield ToolCall(id=call_id, name=name, arguments=text)


async def chunks_of(response: httpx2.Response, failures: Failures) -> AsyncGenerator[object]:
    """The chunks of a response, as JSON values; one alone where a gateway answers in one piece.

    Raises:
        BackendError: it is something else than a stream or a reply.
        ValueError: a part of it is not JSON.
    """
    events = _whole(response) if is_whole(response, failures) else _events(response)
    async with aclosing(events):
        async for event in events:
            if event.strip() not in _SAYS_NOTHING:
                for chunk in _listed(json.loads(event)):
                    yield chunk


async def _whole(response: httpx2.Response) -> AsyncGenerator[bytes]:
    yield await response.aread()


async def _events(response: httpx2.Response) -> AsyncGenerator[bytes]:
    """The data of each event; at the end also what came without the form of one, as errors do."""
    data: list[bytes] = []
    stray: list[bytes] = []
    async for line in _lines(response):
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value)
        elif not line and data:
            yield b"\n".join(data)
            data.clear()
        elif name and name not in _FIELDS:
            stray.append(line)
    for rest in (data, stray):
        if rest:
            yield b"\n".join(rest)


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


async def _lines(response: httpx2.Response) -> AsyncGenerator[bytes]:
    """Lines as they end in a stream of events, where a text may hold other separators."""
    held: list[bytes] = []
    async for block in response.aiter_bytes():
        *ended, rest = block.split(b"\n")
        for end in ended:
            yield b"".join((*held, end)).removesuffix(b"\r")
            held.clear()
        held.append(rest)
    yield b"".join(held).removesuffix(b"\r")


def read_usage(counts: Item, *, searches: int = 0) -> Usage:
    """What a request used; every count may be missing. Google counts thinking beside the reply."""
    read = _number(counts.get("promptTokenCount")) + _number(counts.get("toolUsePromptTokenCount"))
    thought = _number(counts.get("thoughtsTokenCount"))
    written = _number(counts.get("candidatesTokenCount")) + thought
    return Usage(
        requests=1,
        input=read,
        output=max(written, _number(counts.get("totalTokenCount")) - read),
        cached=_number(counts.get("cachedContentTokenCount")),
        reasoning=thought,
        searches=searches,
    )


def _mapping(value: object) -> Item:
    return cast("Item", value) if isinstance(value, dict) else {}


def _items(value: object) -> list[Item]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Item", item) for item in items if isinstance(item, dict)]


def _texts(value: object) -> list[str]:
    return (
        [text for text in cast("list[object]", value) if isinstance(text, str)]
        if isinstance(value, list)
        else []
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
