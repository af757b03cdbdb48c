"""Chat completions as a server says them, for the tests of that dialect."""

from __future__ import annotations

from random import Random
from typing import Any

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.chat import Backend, Options, connect
from massgen_mcp.backends.limits import RequestLimits
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.messages import Delta, Message, Reply, Request
from massgen_mcp.secrets import Secrets
from tests.backends.wire import Hurried, Wire, make_context, sse

__all__ = [
    "HELLO",
    "KEY",
    "REQUEST",
    "USAGE",
    "chunk",
    "deltas_of",
    "finish",
    "hurried_reply_of",
    "open_chat",
    "reply_of",
]

KEY = "sk-test-0123456789abcdefghij"
REQUEST = Request(
    messages=(Message(role="system", text="Be brief."), Message(role="user", text="Say hello."))
)


def chunk(*, finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    """One chunk holding a delta."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m-2026-01-01",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def finish(reason: str = "stop") -> dict[str, Any]:
    """The chunk that ends a reply."""
    return chunk(finish_reason=reason)


USAGE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m-2026-01-01",
    "choices": [],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}
HELLO = sse(chunk(role="assistant", content=""), chunk(content="Hello."), finish(), USAGE)


async def open_chat(
    server: Wire | str,
    pool: Pool,
    type: str = "chatcompletion",  # noqa: A002 - the word of the team file
    *,
    secrets: Secrets | None = None,
    clock: Clock | None = None,
    **options: Any,
) -> Backend:
    """A backend of that type talking to the server."""
    url = server if isinstance(server, str) else server.url
    block = {"type": type, "model": "m", "base_url": url, "api_key": KEY, **options}
    context = make_context(type, pool, secrets=secrets, clock=clock or SystemClock())
    return await connect(Options.model_validate(block), context)


async def deltas_of(backend: ModelBackend, request: Request = REQUEST) -> list[Delta]:
    """All deltas of one attempt."""
    async with backend.stream(request) as deltas:
        return [delta async for delta in deltas]


async def hurried_reply_of(backend: ModelBackend, request: Request = REQUEST, **options: Any) -> Reply:
    """One reply through the retry layer, whose waits pass at once."""
    clock, limits = Hurried(), RequestLimits()
    return await ask(backend, request, clock=clock, random=Random(1), limits=limits, **options)


async def reply_of(backend: ModelBackend, request: Request = REQUEST, **options: Any) -> Reply:
    """One reply through the retry layer, on the machine's clock."""
    return await ask(backend, request, clock=SystemClock(), random=Random(1), **options)
