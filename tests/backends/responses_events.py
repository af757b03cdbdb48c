"""The Responses API as a server says it, for the tests of that dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS, options_class
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.messages import Delta, Message, Reply, Request, ToolSpec
from massgen_mcp.secrets import Secrets
from tests.backends.wire import Wire, make_context, opened, sse

__all__ = [
    "BUSY",
    "CREATED",
    "HELLO",
    "KEY",
    "REQUEST",
    "USAGE",
    "VOTE",
    "block",
    "call",
    "completed",
    "deltas_of",
    "done",
    "event",
    "message",
    "open_model",
    "refusal",
    "reply_of",
    "response",
    "said",
    "stream",
    "text_delta",
]

KEY = "sk-test-0123456789abcdefghij"
REQUEST = Request(
    messages=(Message(role="system", text="Be brief."), Message(role="user", text="Say hello."))
)
VOTE = ToolSpec(
    name="vote",
    description="Vote.",
    parameters={"type": "object", "properties": {"answer": {"type": "string"}}},
)
USAGE: dict[str, Any] = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 4},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 123,
}
BUSY: dict[str, Any] = {"code": "server_error", "message": "The model is busy."}


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """One event."""
    return {"type": kind, "sequence_number": 0, **fields}


def block(value: Mapping[str, Any]) -> bytes:
    """An event as it goes over the wire: its type stands before it, too."""
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


def message(text: str = "Hello.", **fields: Any) -> dict[str, Any]:
    """An item holding a text."""
    part: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
        **fields,
    }


def call(arguments: object = '{"answer":"agent1.1"}', **fields: Any) -> dict[str, Any]:
    """An item holding a tool call."""
    return {
        "id": "fc_1",
        "type": "function_call",
        "status": "completed",
        "arguments": arguments,
        "call_id": "call_1",
        "name": "vote",
        **fields,
    }


def done(item: object, index: int = 0) -> dict[str, Any]:
    """The event that ends an item."""
    return event("response.output_item.done", output_index=index, item=item)


def text_delta(text: str) -> dict[str, Any]:
    """The event of a piece of text."""
    return event("response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=text)


def response(*items: object, status: str = "completed", **fields: Any) -> dict[str, Any]:
    """The response object of the last event."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "gpt-6.1-terra-2026-09-01",
        "output": list(items),
        "usage": USAGE,
        **fields,
    }


def completed(*items: object, **fields: Any) -> dict[str, Any]:
    """The event that ends a reply well."""
    return event("response.completed", response=response(*items, **fields))


CREATED = event("response.created", response=response(status="in_progress", usage=None))


def stream(*events: dict[str, Any], end: bool = True) -> bytes:
    """A response of events, as OpenAI sends it: without `[DONE]`."""
    return sse(*(block(each) for each in events), done=False, end=end)


def said(*items: dict[str, Any]) -> bytes:
    """A complete reply of these items."""
    ends = [done(item, index) for index, item in enumerate(items)]
    return stream(CREATED, *ends, completed(*items))


HELLO = said(message())


def refusal(words: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """What a 400 says."""
    return {"error": {"message": words, "type": "invalid_request_error", "param": param, "code": code}}


async def open_model(
    server: Wire | str,
    pool: Pool,
    type: str = "openai",  # noqa: A002 - the word of the team file
    *,
    secrets: Secrets | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> ModelBackend:
    """A backend of that type talking to the server, through the seam that every backend comes through."""
    url = server if isinstance(server, str) else server.url
    given = {"type": type, "base_url": url, "api_key": KEY, **options}
    context = make_context(type, pool, secrets=secrets, clock=clock or SystemClock(), environ=environ)
    return await opened(options_class(BACKENDS[type]).model_validate(given), context)


async def deltas_of(backend: ModelBackend, request: Request = REQUEST) -> list[Delta]:
    """All deltas of one attempt."""
    async with backend.stream(request) as deltas:
        return [delta async for delta in deltas]


async def reply_of(backend: ModelBackend, request: Request = REQUEST, **options: Any) -> Reply:
    """One reply through the retry layer, on the machine's clock."""
    return await ask(backend, request, clock=SystemClock(), random=Random(1), **options)
