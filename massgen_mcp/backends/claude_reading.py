"""A stream of message events put together into one reply, believed only when it says that it is complete.

Events are JSON values as they came. The blocks of a message are kept as they are, kinds not known here
included, since they go back verbatim; the arguments of a call are kept as the text they came as.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from massgen_mcp.backends.claude_wire import REPLY, Block, input_of, native_of
from massgen_mcp.backends.failures import Failures
from massgen_mcp.messages import Delta, ReasoningDelta, Reply, TextDelta, ToolCall
from massgen_mcp.usage import Usage

__all__ = ["Reading", "events_of"]

_COMPLETE = frozenset({"end_turn", "tool_use", "stop_sequence", "pause_turn"})
_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
_THOUGHT = "thinking_tokens"
_SEARCHES = "web_search_requests"
_GAP = "\n\n"


@dataclass(slots=True)
class _Open:
    """A block as far as it has come."""

    block: Block
    pieces: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    arguments: list[str] = field(default_factory=list[str])

    def add(self, delta: dict[str, Any]) -> None:
        """Take the next piece. Kinds not known here are put together as all known ones are."""
        match delta.get("type"):
            case "input_json_delta":
                self.arguments.append(_text(delta.get("partial_json")))
            case "citations_delta":
                self.block["citations"] = [*_list(self.block.get("citations")), delta.get("citation")]
            case _:
                for name, value in delta.items():
                    if name != "type" and isinstance(value, str):
                        self.pieces.setdefault(name, []).append(value)

    def close(self) -> tuple[Block, ToolCall | None]:
        """The whole block, and the call where it is one of our tools."""
        block = self.block
        for name, pieces in self.pieces.items():
            block[name] = _joined([_text(block.get(name)), *pieces])
        ours = block.get("type") == "tool_use"
        if not ours and not self.arguments:
            return block, None
        arguments = _joined(self.arguments) or json.dumps(block.get("input") or {})
        call = ToolCall(id=_text(block.get("id")), name=_text(block.get("name")), arguments=arguments)
        block["input"] = input_of(call)
        return block, call if ours else None


class Reading:
    """What has come of one reply, over all the messages it took.

    Args:
        failures: makes its errors.
        owner: the backend type that its blocks belong to.
    """

    def __init__(self, failures: Failures, *, owner: str) -> None:
        self._failures = failures
        self._owner = owner
        self.blocks: list[Block] = []
        """Whole blocks of the messages that are complete."""
        self.container: str | None = None
        """Where its code ran, once the provider has said so."""
        self.complete = False
        """Whether the provider has said that the message is complete."""
        self._open: list[_Open] = []
        self._at: dict[str, _Open] = {}
        self._calls: list[ToolCall] = []
        self._text: list[str] = []
        self._apart = False
        self._counts: dict[str, int] = {}
        self._usage = Usage()
        self._model = ""
        self._stop: dict[str, Any] = {}

    @property
    def paused(self) -> bool:
        """Whether the provider wants to be asked to go on."""
        return self.complete and self._stop.get("stop_reason") == "pause_turn" and not self._calls

    def resume(self) -> None:
        """Read the message in which a paused reply goes on."""
        self.complete = False
        self._stop = {}

    def feed(self, event: object) -> Iterator[Delta]:
        """The text and thinking of the next event.

        Raises:
            BackendError: it is an error.
        """
        fields = _mapping(event)
        match fields.get("type"):
            case "message_start":
                message = _mapping(fields.get("message"))
                self._model = self._model or _text(message.get("model"))
                self._note(message, message)
            case "content_block_start":
                yield from self._begin(fields)
            case "content_block_delta":
                yield from self._add(fields)
            case "message_delta":
                self._stop = _mapping(fields.get("delta"))
                self._note(fields, self._stop)
            case "message_stop":
                self._close()
            case "error":
                raise self._failures.reported(fields.get("error") or fields)
            case _:
                pass

    def _note(self, counted: dict[str, Any], described: dict[str, Any]) -> None:
        """Take usage, which is the sum so far in each event that has it, and the container."""
        usage = _mapping(counted.get("usage"))
        found = {name: usage.get(name) for name in _COUNTS}
        found[_THOUGHT] = _mapping(usage.get("output_tokens_details")).get(_THOUGHT)
        found[_SEARCHES] = _mapping(usage.get("server_tool_use")).get(_SEARCHES)
        for name, value in found.items():
            if isinstance(value, int) and not isinstance(value, bool):
                self._counts[name] = max(value, self._counts.get(name, 0))
        container = _text(_mapping(described.get("container")).get("id"))
        self.container = container or self.container

    def _begin(self, fields: dict[str, Any]) -> Iterator[Delta]:
        block = dict(_mapping(fields.get("content_block")))
        # In the order they begin: some gateways give every block the same index.
        opened = self._at[str(fields.get("index"))] = _Open(block)
        self._open.append(opened)
        if block.get("type") == "text":
            yield from self._say(block.get("text"))
            return
        self._apart = bool(self._text)
        if block.get("type") == "thinking":
            yield from _thinking(block.get("thinking"))

    def _add(self, fields: dict[str, Any]) -> Iterator[Delta]:
        delta = _mapping(fields.get("delta"))
        opened = self._at.get(str(fields.get("index")))
        if opened is None:
            raise self._failures.broken("a part of it belongs to no block")
        opened.add(delta)
        match delta.get("type"):
            case "text_delta":
                yield from self._say(delta.get("text"))
            case "thinking_delta":
                yield from _thinking(delta.get("thinking"))
            case _:
                pass

    def _say(self, value: object) -> Iterator[Delta]:
        """Text. What a search or other work comes between is set apart; cited text comes in many blocks."""
        text = _text(value)
        if text and self._apart:
            text, self._apart = _GAP + text, False
        if text:
            self._text.append(text)
            yield TextDelta(text=text)

    def _close(self) -> None:
        for opened in self._open:
            block, call = opened.close()
            self.blocks.append(block)
            if call is not None:
                self._calls.append(call)
        self._open, self._at = [], {}
        self._usage += _usage(self._counts)
        self._counts = {}
        self._apart = bool(self._text)
        self.complete = True

    def reply(self, *, requests: int, warnings: tuple[str, ...], constrained: bool = False) -> Reply:
        """The whole reply.

        Args:
            requests: how many the provider was sent for it.
            constrained: whether one JSON object was asked for, by way of a tool.
            warnings: what was left out or changed to get it.

        Raises:
            BackendError: it is not whole, was cut, or is a refusal.
        """
        reason = self._check()
        if reason not in _COMPLETE:
            warnings = (*warnings, f"The reply ended for a reason that is not known: {reason!r}.")
        if not self._usage.tokens:
            warnings = (*warnings, f"{self._failures.title} did not say what the request used.")
        text, calls = _joined(self._text), tuple(self._calls)
        native: object = native_of(self._owner, self.blocks, self.container)
        if constrained and (objects := [call.arguments for call in calls if call.name == REPLY]):
            # Its call is never answered, so it goes back as the text it stands for.
            text, calls, native = objects[0], (), None
        return Reply(
            text=text,
            calls=calls,
            finish="tool_calls" if calls else "stop",
            model=self._model,
            usage=self._usage + Usage(requests=requests),
            native=native,
            warnings=warnings,
        )

    def _check(self) -> str:
        """Why the provider says that it stopped, where what came of it is whole."""
        if not self.complete:
            raise self._failures.broken("its stream ended without message_stop")
        details = _mapping(self._stop.get("stop_details"))
        match self._stop.get("stop_reason"):
            case "max_tokens":
                raise self._failures.cut()
            case "refusal":
                raise self._failures.declined(_text(details.get("explanation") or details.get("category")))
            case "model_context_window_exceeded":
                raise self._failures.make(
                    "context",
                    f"The conversation has filled the context window of {self._failures.model!r}",
                    remedy="Give less context, or use a model with a larger window.",
                )
            case str() as reason if reason:
                if any(not call.id or not call.name for call in self._calls):
                    raise self._failures.broken("a tool call has no name or no id")
                return reason
            case _:
                raise self._failures.broken("it ended without a stop_reason")


def _thinking(value: object) -> Iterator[Delta]:
    if text := _text(value):
        yield ReasoningDelta(text=text)


def _usage(counts: dict[str, int]) -> Usage:
    """What one message used. Its `input_tokens` leave out what was read from the cache or written to it."""
    new, cached, written, output = (counts.get(name, 0) for name in _COUNTS)
    return Usage(
        input=new + cached + written,
        output=output,
        cached=cached,
        cache_write=written,
        reasoning=counts.get(_THOUGHT, 0),
        searches=counts.get(_SEARCHES, 0),
    )


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _joined(pieces: list[str]) -> str:
    """The pieces as one text. Halves of a character, as some gateways cut it, are put together again."""
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def events_of(data: bytes, failures: Failures) -> Iterator[dict[str, Any]]:
    """A message that came in one piece, as the events of a stream.

    Raises:
        BackendError: it is an error, or nothing that could be a message.
    """
    message = _mapping(json.loads(data))
    if message.get("error"):
        raise failures.reported(message["error"])
    content = message.get("content")
    if not isinstance(content, list):
        raise failures.broken("it is not a message")
    yield {"type": "message_start", "message": message}
    for index, block in enumerate(cast("list[object]", content)):
        yield {"type": "content_block_start", "index": index, "content_block": block}
    yield {"type": "message_delta", "delta": message}
    yield {"type": "message_stop"}
