"""AG2's events in our messages, and our replies in AG2's events."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from massgen_mcp.messages import Image, Message, Reply, ToolCall, ToolResult, ToolSpec

__all__ = ["Conversation", "text_of", "to_response", "to_specs"]

_STOPPED = "The turn ended here."
"""The result of a call that has none: it ended the turn, or the turn was stopped."""


class Conversation:
    """Reads a history of AG2 as messages that every provider takes: each call has its result.

    A history that a stopped turn left behind is whole again by that.
    """

    def __init__(self, events: ModuleType) -> None:
        self._events = events
        self._replies: dict[int, tuple[Any, Reply]] = {}
        self._images: dict[str, tuple[Image, ...]] = {}

    def remember(self, response: Any, reply: Reply) -> None:
        """Where a response came from, for what AG2 does not keep: the provider's own items."""
        self._replies[id(response)] = (response, reply)

    def show(self, result: ToolResult) -> None:
        """The pictures of a result, which AG2 does not keep either."""
        if result.images:
            self._images[result.call_id] = result.images

    def messages(self, prompt: Iterable[str], history: Iterable[Any]) -> tuple[Message, ...]:
        """The whole conversation."""
        system = "\n\n".join(part for part in prompt if part)
        reading = _Reading([Message(role="system", text=system)] if system else [])
        for event in history:
            self._read(event, reading)
        reading.close()
        return tuple(reading.messages)

    def _read(self, event: Any, reading: _Reading) -> None:
        events = self._events
        if isinstance(event, events.ModelRequest):
            reading.close()
            reading.messages.append(Message(role="user", text=_joined(event.parts, "\n\n")))
        elif isinstance(event, events.ModelResponse):
            reading.close()
            reading.open(self._assistant(event))
        elif isinstance(event, events.ToolResultsEvent):
            reading.results |= {found.parent_id: self._result(found) for found in event.results}
            reading.close()
        elif isinstance(event, events.ToolResultEvent):
            reading.results[event.parent_id] = self._result(event)

    def _assistant(self, response: Any) -> Message:
        known = self._replies.get(id(response))
        if known is not None:
            return known[1].message()
        calls = tuple(
            ToolCall(id=call.id, name=call.name, arguments=call.arguments)
            for call in response.tool_calls.calls
        )
        return Message(role="assistant", text=response.content or "", calls=calls)

    def _result(self, event: Any) -> ToolResult:
        failed = isinstance(event, self._events.ToolErrorEvent)
        return ToolResult(
            call_id=event.parent_id,
            content=text_of(self._events, event),
            is_error=failed,
            images=self._images.get(event.parent_id, ()),
        )


class _Reading:
    """Messages so far, and the calls that wait for their results."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self.results: dict[str, ToolResult] = {}
        self._calls: tuple[ToolCall, ...] = ()

    def open(self, message: Message) -> None:
        self.messages.append(message)
        self._calls = message.calls

    def close(self) -> None:
        """Answer all calls, with what has come."""
        if self._calls:
            found = (
                self.results.get(call.id, ToolResult(call_id=call.id, content=_STOPPED))
                for call in self._calls
            )
            self.messages.append(Message(role="tool", results=tuple(found)))
        self._calls = ()
        self.results = {}


def text_of(events: ModuleType, event: Any) -> str:
    """What a tool came back with; of an error its words alone, not where in the code it happened."""
    if isinstance(event, events.ToolErrorEvent):
        return f"{type(event.error).__name__}: {event.error}"
    return _joined(event.result.parts)


def _joined(parts: Iterable[Any], between: str = "\n") -> str:
    texts = (getattr(part, "content", getattr(part, "data", "")) for part in parts)
    return between.join(text if isinstance(text, str) else str(text) for text in texts)


def to_response(events: ModuleType, reply: Reply) -> Any:
    """A reply as AG2 takes it."""
    calls = [
        events.ToolCallEvent(id=call.id, name=call.name, arguments=call.arguments or "{}")
        for call in reply.calls
    ]
    return events.ModelResponse(
        message=events.ModelMessage(reply.text) if reply.text else None,
        tool_calls=events.ToolCallsEvent(calls),
        usage=events.Usage(
            prompt_tokens=reply.usage.input,
            completion_tokens=reply.usage.output,
            total_tokens=reply.usage.tokens,
            cache_read_input_tokens=reply.usage.cached,
            thinking_tokens=reply.usage.reasoning,
        ),
        model=reply.model,
        finish_reason=reply.finish,
    )


def to_specs(schemas: Iterable[Any]) -> tuple[ToolSpec, ...]:
    """AG2's functions as ours."""
    functions = (schema.function for schema in schemas)
    return tuple(
        ToolSpec(name=each.name, description=each.description, parameters=each.parameters)
        for each in functions
    )
