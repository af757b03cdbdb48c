"""The Messages API as it speaks, for the tests of that dialect."""

from __future__ import annotations

import json
from typing import Any

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.claude import Options, connect
from massgen_mcp.backends.pool import Pool
from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.messages import Message, Request, ToolSpec
from massgen_mcp.secrets import Secrets
from tests.backends.chats import deltas_of
from tests.backends.wire import Wire, http_json, make_context, sse, wire

__all__ = [
    "CACHED",
    "HELLO",
    "KEY",
    "MODEL",
    "REQUEST",
    "VOTE",
    "block",
    "called",
    "event",
    "message",
    "open_claude",
    "refusal",
    "sent_with",
    "start",
    "stop",
    "text",
    "thought",
    "written",
]

KEY = "sk-ant-api03-0123456789abcdefghij"
MODEL = "claude-sonnet-4-6"
REQUEST = Request(
    messages=(Message(role="system", text="Be brief."), Message(role="user", text="Say hello."))
)
VOTE = ToolSpec(
    name="vote",
    description="Vote.",
    parameters={"type": "object", "properties": {"answer": {"type": "string"}}},
)


CACHED = {"cache_control": {"type": "ephemeral"}}


def text(words: str, **more: Any) -> dict[str, Any]:
    """A block of text, as one sends it."""
    return {"type": "text", "text": words, **more}


def event(kind: str, **fields: Any) -> bytes:
    """One event, named as the API names it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def start(**usage: Any) -> bytes:
    """The event that a message begins with."""
    usage = {"input_tokens": 12, "output_tokens": 1, **usage}
    opened = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-as-served"}
    return event("message_start", message={**opened, "content": [], "stop_reason": None, "usage": usage})


def block(index: int, begun: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    """A block from its beginning to its end."""
    return b"".join(
        [
            event("content_block_start", index=index, content_block=begun),
            *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
            event("content_block_stop", index=index),
        ]
    )


def written(index: int, *pieces: str) -> bytes:
    """A block of text."""
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return block(index, {"type": "text", "text": ""}, *deltas)


def thought(index: int, text: str, signature: str) -> bytes:
    """A block of thinking."""
    deltas = [{"type": "thinking_delta", "thinking": text}] if text else []
    signed = {"type": "signature_delta", "signature": signature}
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, signed)


def called(index: int, name: str, *pieces: str, id: str = "toolu_1", kind: str = "tool_use") -> bytes:  # noqa: A002 - the API's word
    """A block that calls a tool, its arguments in pieces."""
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block(index, {"type": kind, "id": id, "name": name, "input": {}}, *deltas)


def stop(reason: str | None = "end_turn", *, delta: dict[str, Any] | None = None, **usage: Any) -> bytes:
    """The two events that a message ends with."""
    last = {"stop_reason": reason, "stop_sequence": None, **(delta or {})}
    usage = {"output_tokens": 5, **usage}
    return event("message_delta", delta=last, usage=usage) + event("message_stop")


def message(*events: bytes, **options: Any) -> bytes:
    """A response of these events."""
    return sse(*events, done=False, **options)


HELLO = message(start(), written(0, "Hello."), stop())


def refusal(words: str, status: int = 400, kind: str = "invalid_request_error", **headers: str) -> bytes:
    """An error as the API gives it."""
    error = {"type": kind, "message": words}
    return http_json(status, {"type": "error", "error": error, "request_id": "req_1"}, **headers)


async def open_claude(
    server: Wire | str,
    pool: Pool,
    *,
    secrets: Secrets | None = None,
    clock: Clock | None = None,
    **options: Any,
) -> ModelBackend:
    """A backend talking to the server."""
    url = server if isinstance(server, str) else server.url
    block = {"type": "claude", "model": MODEL, "base_url": url, "api_key": KEY, **options}
    context = make_context("claude", pool, secrets=secrets, clock=clock or SystemClock())
    return await connect(Options.model_validate(block), context)


async def sent_with(pool: Pool, request: Request = REQUEST, **options: Any) -> dict[str, Any]:
    """The body of a request made with those options, without what every request has."""
    async with wire(HELLO) as server:
        await deltas_of(await open_claude(server, pool, **options), request)
    body: dict[str, Any] = server.requests[0].json
    always = {"model", "messages", "system", "stream"}
    return {name: body[name] for name in body if name not in always}
