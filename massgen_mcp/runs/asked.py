"""Callers who ask: what they get, and how those who ask the same at once are kept from paying twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio

from massgen_mcp.runs.ask import Ask
from massgen_mcp.runs.handle import RunHandle

__all__ = ["Asked", "Asking", "without_secrets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The run that answers a question."""

    run_id: str
    handle: RunHandle | None = None
    """None: another process drives it, or it is over and this one does not hold it."""
    attached: bool = False
    """It was asked for before."""


class Asking:
    """One at a time of those who ask the same."""

    def __init__(self) -> None:
        self._locks: dict[str, anyio.Lock] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, digest: str) -> AsyncGenerator[None]:
        """Whoever asks the same waits until the block is left."""
        lock = self._locks.setdefault(digest, anyio.Lock())
        self._users[digest] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[digest] -= 1
            if not self._users[digest]:
                del self._users[digest], self._locks[digest]


def without_secrets(ask: Ask, redact: Callable[[str], str]) -> Ask:
    """The question as it is kept: what no journal may hold, no model is told either."""
    return replace(ask, question=redact(ask.question), context=redact(ask.context))
