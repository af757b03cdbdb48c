"""generateContent as Google says it, for the tests of that dialect."""

from __future__ import annotations

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
    "ASKED",
    "HELLO",
    "KEY",
    "REQUEST",
    "TOOLS",
    "USAGE",
    "VOTE",
    "VOTE_DECLARED",
    "call",
    "chunk",
    "deltas_of",
    "last",
    "open_model",
    "refusal",
    "reply_of",
    "said",
    "stream",
]

KEY = "AIzaSyTest-0123456789abcdefghijklmnopqrs"
REQUEST = Request(
    messages=(Message(role="system", text="Be brief."), Message(role="user", text="Say hello."))
)
ASKED: dict[str, Any] = {
    "contents": [{"role": "user", "parts": [{"text": "Say hello."}]}],
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
}
"""That request as it is sent; what it sets beside that is added."""
VOTE = ToolSpec(
    name="vote",
    description="Vote.",
    parameters={"type": "object", "properties": {"answer": {"type": "string"}}},
)
VOTE_DECLARED: dict[str, Any] = {
    "name": "vote",
    "description": "Vote.",
    "parametersJsonSchema": {"type": "object", "properties": {"answer": {"type": "string"}}},
}
TOOLS = Request(messages=REQUEST.messages, tools=(VOTE,))
USAGE: dict[str, Any] = {
    "promptTokenCount": 36,
    "cachedContentTokenCount": 10,
    "candidatesTokenCount": 23,
    "thoughtsTokenCount": 64,
    "toolUsePromptTokenCount": 5,
    "totalTokenCount": 128,
}


def chunk(*parts: object, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk of a reply."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate | fields], "modelVersion": "gemini-3.8-flash-001", "responseId": "r"}


def last(*parts: object, finish: str = "STOP", **fields: Any) -> dict[str, Any]:
    """The chunk that ends a reply."""
    return chunk(*parts, finish=finish, **fields) | {"usageMetadata": USAGE}


def call(name: str = "vote", args: object = None, **fields: Any) -> dict[str, Any]:
    """The part of a function call."""
    return {"functionCall": {"name": name, "args": {"answer": "agent1.1"} if args is None else args}} | fields


def stream(*events: object, end: bool = True) -> bytes:
    """A response of events, as Google sends it: without `[DONE]`."""
    return sse(*events, done=False, end=end)


def said(*parts: object) -> bytes:
    """A complete reply of these parts."""
    return stream(last(*parts))


HELLO = said({"text": "Hello."})


def refusal(
    words: str, code: int = 400, status: str = "INVALID_ARGUMENT", details: list[Any] | None = None
) -> dict[str, Any]:
    """What a refused request is told."""
    error: dict[str, Any] = {"code": code, "message": words, "status": status}
    return {"error": error | ({"details": details} if details is not None else {})}


async def open_model(
    server: Wire | str,
    pool: Pool,
    *,
    secrets: Secrets | None = None,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> ModelBackend:
    """A backend talking to the server, through the seam that every backend comes through."""
    url = server if isinstance(server, str) else server.url.removesuffix("/v1")
    given = {"type": "gemini", "base_url": url, "api_key": KEY, **options}
    context = make_context("gemini", pool, secrets=secrets, clock=clock or SystemClock(), environ=environ)
    return await opened(options_class(BACKENDS["gemini"]).model_validate(given), context)


async def deltas_of(backend: ModelBackend, request: Request = REQUEST) -> list[Delta]:
    """All deltas of one attempt."""
    async with backend.stream(request) as deltas:
        return [delta async for delta in deltas]


async def reply_of(backend: ModelBackend, request: Request = REQUEST, **options: Any) -> Reply:
    """One reply through the retry layer, on the machine's clock."""
    return await ask(backend, request, clock=SystemClock(), random=Random(1), **options)
