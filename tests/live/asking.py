"""One question to each real provider, or what would be sent to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

from massgen_mcp.backends.base import AgentRuntime, Backend, RuntimeTurn
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.open import open_backend
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import options_class, public_backends
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Reply, Request, ToolCall, ToolResult
from massgen_mcp.runs.default_team import loaded_models
from massgen_mcp.secrets import Secrets

__all__ = ["ANSWER", "ROWS", "NotReady", "answer_of", "dry_run"]

ANSWER = "42"
_QUESTION = Request(
    messages=(Message(role="user", text="What is 17 + 25? Reply with the number alone."),), max_tokens=2_000
)
_SECONDS = 120.0
_ENDPOINT, _DEPLOYMENT = "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT"
_NOT_HERE = frozenset({"chatcompletion", "inference", "local"})
"""The first two are an address without a provider; the last has tests of its own, on its own weights."""

ROWS = tuple(info for info in public_backends() if info.executes and info.type not in _NOT_HERE)


class NotReady(Exception):
    """This backend can't be asked here; the text says what is missing."""


def _model(info: BackendInfo, environ: Mapping[str, str]) -> str | None:
    """What to ask for: the row's own model, unless a variable names another."""
    named = environ.get(f"MASSGEN_MCP_LIVE_MODEL_{info.type.upper()}")
    return named or (environ.get(_DEPLOYMENT) if info.type == "azure_openai" else None) or info.default_model


def _context(info: BackendInfo, environ: Mapping[str, str], pool: Pool) -> BackendContext:
    key = next((environ[name] for name in info.env if environ.get(name)), None)
    return BackendContext(
        info=info, pool=pool, secrets=Secrets(), clock=SystemClock(), environ=environ, api_key=key
    )


async def _open(info: BackendInfo, context: BackendContext, model: str | None) -> Backend:
    block: dict[str, Any] = {"type": info.type} | ({"model": model} if model else {})
    return await open_backend(options_class(info).model_validate(block), context)


class _NoTools:
    """A runtime's turn without tools."""

    ended_by: ToolCall | None = None

    async def call(self, call: ToolCall) -> ToolResult:
        return ToolResult(call_id=call.id, content="There are no tools.", is_error=True)


# For real.


async def answer_of(info: BackendInfo, environ: Mapping[str, str]) -> Reply:
    """The reply of the real provider; one request, which costs money.

    Raises:
        NotReady: its key, its server or a model's name is missing.
        BackendError: it did not answer.
    """
    pool = Pool()
    try:
        await _check(info, environ, pool)
        backend = await _open(info, _context(info, environ, pool), _model(info, environ))
        model = RuntimeTurn(backend, _NoTools()) if isinstance(backend, AgentRuntime) else backend
        try:
            return await ask(model, _QUESTION, clock=SystemClock(), random=Random(), timeout=_SECONDS)
        finally:
            await backend.aclose()
    finally:
        await pool.aclose()


async def _check(info: BackendInfo, environ: Mapping[str, str], pool: Pool) -> None:
    if info.local:
        if not await loaded_models(info, pool):
            raise NotReady(f"no server with a loaded model at {info.base_url}")
        return
    if not any(environ.get(name) for name in info.env):
        raise NotReady(f"no key: {' or '.join(info.env)} is not set")
    if info.type == "azure_openai" and not environ.get(_ENDPOINT):
        raise NotReady(f"{_ENDPOINT} is not set")
    if info.kind == "model" and _model(info, environ) is None:
        name = _DEPLOYMENT if info.type == "azure_openai" else f"MASSGEN_MCP_LIVE_MODEL_{info.type.upper()}"
        raise NotReady(f"no model: {name} is not set")


# What would be sent.


@dataclass
class _Nobody(httpx2.AsyncBaseTransport):
    """A network that keeps what it is given and sends nothing."""

    kept: list[httpx2.Request] = field(default_factory=list[httpx2.Request])

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.kept.append(request)
        raise httpx2.ConnectError("a dry run sends nothing", request=request)


class _DryPool(Pool):
    """A pool whose client reaches nobody."""

    def __init__(self, network: _Nobody) -> None:
        super().__init__(proxies={})
        self._network = network

    async def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=self._network)


async def dry_run(info: BackendInfo, environ: Mapping[str, str]) -> str:
    """What one question would send, without any key; nothing is sent, no program is started."""
    if info.kind == "runtime":
        words = "\n".join(message.text for message in _QUESTION.messages)
        return f"{info.type}: its own program would be asked, with model {_model(info, environ)!r}:\n{words}"
    network = _Nobody()
    made_up = {name: environ.get(name) or f"dry-run-key-of-{info.type}" for name in info.env[:1]}
    azure = {_ENDPOINT: environ.get(_ENDPOINT) or "https://dry-run.openai.azure.com"}
    context = _context(info, {**environ, **made_up, **azure}, _DryPool(network))
    backend = await _open(info, context, _model(info, environ) or "a-model")
    assert not isinstance(backend, AgentRuntime)
    try:
        async with backend.stream(_QUESTION) as deltas:
            async for _ in deltas:
                pass
    except BackendError:
        if not network.kept:
            raise
    return context.secrets.redact("\n".join(_shown(request) for request in network.kept))


def _shown(request: httpx2.Request) -> str:
    head = [f"{request.method} {request.url}"]
    head += [f"{name}: {value}" for name, value in request.headers.items() if _tells(name)]
    body = json.dumps(json.loads(request.content), indent=2) if request.content else ""
    return "\n".join([*head, "", body])


def _tells(header: str) -> bool:
    """Whether a header is more than transport."""
    name = header.lower()
    transport = {"accept-encoding", "connection", "content-length", "host", "user-agent"}
    return name not in transport and not name.startswith("x-stainless")
