"""What all models behind a provider's API have in common, whatever they speak."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Request
from massgen_mcp.usage import Usage

__all__ = ["DRAIN", "MOST_REFUSALS", "HttpModel", "Tally", "may_do_without"]

DRAIN = 0.5
"""Seconds for the end of a body after the last event, so that its connection can be used again."""
MOST_REFUSALS = 6
"""Requests that one attempt may take until the provider refuses none of their parameters."""
_UNPROCESSABLE = frozenset({400, 422})


@dataclass(slots=True)
class Tally:
    """What one attempt at a reply has taken so far."""

    sent: int = 0
    """Requests."""
    searches: int = 0
    """Those of them that searched, beside the conversation."""
    usage: Usage = field(default_factory=Usage)
    """Of all replies before the last."""
    notes: dict[str, None] = field(default_factory=dict[str, None])

    def note(self, notes: Iterable[str]) -> None:
        """Tell of these, each once."""
        self.notes |= dict.fromkeys(notes)


class HttpModel(ABC):
    """One model at one account, asked over the official package and the shared pool.

    Args:
        context: what the outside gives.
        account: whom it asks.
        memory: by what name the parameters it refuses are remembered, where not by the model's.
    """

    def __init__(self, context: BackendContext, account: Account, *, memory: str = "") -> None:
        self.info = context.info
        """The backend's row."""
        self.model = account.model
        """The model asked for."""
        self._failures = account.failures
        self.pause = context.pool.pause(account.base_url, account.key)
        """The pause shared by all who use this key at this address."""
        self._refused = context.pool.refused_parameters(account.base_url, memory or account.model)

    @property
    @abstractmethod
    def deep(self) -> bool:
        """Whether the model reasons at length."""

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt; parameters that the model refuses are left out within it."""
        async with aclosing(self._deltas(request)) as deltas:
            yield deltas

    async def aclose(self) -> None:  # noqa: B027 - not a gap to fill
        """Nothing is this backend's alone: the client's connections are the pool's."""

    async def _deltas(self, request: Request) -> AsyncGenerator[Delta]:
        tally = Tally()
        try:
            async with aclosing(self._attempt(request, tally)) as deltas:
                async for delta in deltas:
                    yield delta
        except BackendError as failure:
            # The last request is counted by the failure itself, if it reached the provider.
            failure.requests += tally.sent - 1
            raise

    @abstractmethod
    def _attempt(self, request: Request, tally: Tally) -> AsyncGenerator[Delta]:
        """All requests of one attempt, counted in the tally."""

    def _told(self, left_out: Iterable[str]) -> tuple[str, ...]:
        """What is said of parameters that were left out."""
        title, model = self._failures.title, self.model
        return tuple(f"{title} does not take {name} for {model}; left out." for name in left_out)


def may_do_without(error: Exception, failure: BackendError) -> bool:
    """Whether a failed request may be taken without something in it."""
    return failure.kind == "bad_request" and getattr(error, "status_code", None) in _UNPROCESSABLE
