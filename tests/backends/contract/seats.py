"""Every backend that the registry lists, each way it can be asked, and how it is opened onto a test's server.

A row finds its wire format by its module, so that one more preset of a format needs nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.limits import RequestLimits
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import options_class, public_backends
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import SystemClock
from massgen_mcp.messages import Delta, Message, Reply, Request, ToolSpec
from tests.backends.contract.anthropic_messages import MessagesDialect
from tests.backends.contract.dialect import Dialect
from tests.backends.contract.google_generate import GenerateDialect
from tests.backends.contract.openai_chat import ChatDialect
from tests.backends.contract.openai_responses import ResponsesDialect
from tests.backends.wire import Hurried, Recorded, Wire, http_json, make_context, opened

__all__ = [
    "ELSEWHERE",
    "KEY",
    "REQUEST",
    "SEATS",
    "SPOKEN",
    "TOOLS",
    "VOTE",
    "Seat",
    "Way",
    "beside",
    "deltas_of",
    "reply_of",
    "seats",
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
TOOLS = Request(messages=REQUEST.messages, tools=(VOTE,))


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way a module asks: the wire format, and what the backend block says to get it."""

    dialect: Dialect
    name: str = ""
    block: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rooted: bool = False
    """The address is given without `/v1`."""


_CHAT = ChatDialect()
_RESPONSES = ResponsesDialect()

SPOKEN: Mapping[str, tuple[Way, ...]] = {
    "openai": (Way(dialect=_RESPONSES),),
    "grok": (Way(dialect=_RESPONSES),),
    "claude": (Way(dialect=MessagesDialect(), rooted=True),),
    "gemini": (Way(dialect=GenerateDialect(), rooted=True),),
    "azure_openai": (
        Way(dialect=_RESPONSES, name="v1", rooted=True),
        Way(dialect=_CHAT, name="deployment", block={"api_version": "2024-02-15-preview"}, rooted=True),
    ),
    "chat": (Way(dialect=_CHAT),),
    "lmstudio": (Way(dialect=_CHAT),),
    "ollama": (Way(dialect=_CHAT),),
}
"""What each module of `massgen_mcp.backends` speaks."""

ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "local": (
        "tests/local/test_local_backend.py",
        "it speaks JSON lines with a process of its own, which has neither keys nor statuses nor tools",
    ),
}
"""Rows that these promises do not fit: where they are tested instead, and why."""

_ASKED = re.compile(r"/(?:chat/completions|responses|messages)$|:streamGenerateContent$")
_FORCES_NOTHING = frozenset({"zai"})
"""GLM knows `auto` alone, so that forcing a call is left to the next prompt."""


def beside(request: Recorded) -> bytes | None:
    """Local servers are looked at before they are asked: which models they have, which are loaded."""
    if _ASKED.search(request.target.partition("?")[0]):
        return None
    return http_json(200, {"object": "list", "data": [{"id": "m", "object": "model", "state": "loaded"}]})


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A row, asked in one way."""

    row: BackendInfo
    way: Way

    def __str__(self) -> str:
        return f"{self.row.type}-{self.way.name}" if self.way.name else self.row.type

    @property
    def dialect(self) -> Dialect:
        """What it speaks."""
        return self.way.dialect

    @property
    def forces(self) -> bool:
        """Whether a call can be forced."""
        return self.row.type not in _FORCES_NOTHING

    async def open(self, server: Wire | str, pool: Pool, **options: Any) -> ModelBackend:
        """The backend, through the seam that every backend comes through."""
        url = server if isinstance(server, str) else server.url
        given = {
            "type": self.row.type,
            "model": self.row.default_model or "m",
            "base_url": url.removesuffix("/v1") if self.way.rooted else url,
            "api_key": KEY,
            **self.way.block,
            **options,
        }
        context = make_context(self.row.type, pool, clock=SystemClock())
        return await opened(options_class(self.row).model_validate(given), context)


async def deltas_of(backend: ModelBackend, request: Request = REQUEST) -> list[Delta]:
    """All deltas of one attempt."""
    async with backend.stream(request) as deltas:
        return [delta async for delta in deltas]


async def reply_of(backend: ModelBackend, request: Request = REQUEST, **options: Any) -> Reply:
    """One reply through the retry layer, which waits for nothing."""
    return await ask(backend, request, clock=Hurried(), random=Random(1), limits=RequestLimits(), **options)


SEATS = tuple(
    Seat(row=row, way=way)
    for row in public_backends()
    if row.kind == "model"
    for way in SPOKEN.get(row.module, ())
)


def seats(chosen: Callable[[Seat], object] = bool) -> pytest.MarkDecorator:
    """Runs a test for each seat; the lines that a module's first seat covers are not counted again."""
    first = {(seat.row.module, seat.way.name): seat for seat in reversed(SEATS)}
    params = [
        pytest.param(seat, id=str(seat), marks=[pytest.mark.no_cover] if seat not in first.values() else [])
        for seat in SEATS
        if chosen(seat)
    ]
    return pytest.mark.parametrize("seat", params)
