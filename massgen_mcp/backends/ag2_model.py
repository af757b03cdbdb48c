"""AG2's port for a model, filled by our own adapters: what AG2 asks for, asked through our retry layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import ModuleType
from typing import Any

from massgen_mcp.backends.ag2_wire import Conversation, to_response, to_specs
from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import Clock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Reply, Request
from massgen_mcp.usage import Usage

__all__ = ["MAX_REQUESTS", "Entry", "Model", "Models"]

MAX_REQUESTS = 100
"""Model requests of one turn."""
_OURS_TO_ANSWER = frozenset({"refusal", "length", "context"})
"""Failures that another model is not asked about: they are an answer to this question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of `config_list`, open."""

    backend: ModelBackend
    vendor: BackendInfo | None
    """The row of who serves it, for its price; None for other servers."""
    timeout: float | None


class Models:
    """The models of an agent, best first: where one fails, the next is asked, and stays."""

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        events: ModuleType,
        clock: Clock,
        random: Random,
        prices: Prices | None,
    ) -> None:
        self.conversation = Conversation(events)
        self._entries = list(entries)
        self._events = events
        self._clock = clock
        self._random = random
        self._prices = prices

    @property
    def name(self) -> str:
        """The model asked first."""
        return self._entries[0].backend.model

    async def ask(
        self, request: Request, *, listen: Callable[[Delta], None], may_retry: Callable[[], bool]
    ) -> Reply:
        """A reply with its cost, where that is known.

        Raises:
            BackendError: none of the models gave one; the last one's failure, with all requests made.
        """
        lost: list[tuple[str, BackendError]] = []
        while True:
            entry = self._entries[0]
            try:
                reply = await ask(
                    entry.backend,
                    request,
                    clock=self._clock,
                    random=self._random,
                    listen=listen,
                    timeout=entry.timeout,
                    may_send=lambda _: may_retry(),
                )
            except BackendError as error:
                error.requests += sum(failure.requests for _, failure in lost)
                if len(self._entries) == 1 or error.kind in _OURS_TO_ANSWER:
                    raise
                lost.append((entry.backend.model, error))
                del self._entries[0]
                continue
            return await self._settled(entry, reply, lost)

    async def _settled(self, entry: Entry, reply: Reply, lost: list[tuple[str, BackendError]]) -> Reply:
        """With what it cost, and what it took to get it."""
        warnings = tuple(f"{model!r} failed, {reply.model!r} went on: {error}" for model, error in lost)
        requests = reply.usage.requests + sum(error.requests for _, error in lost)
        usage = replace(await self._priced(entry, reply), requests=requests)
        return replace(reply, usage=usage, warnings=(*warnings, *reply.warnings))

    async def _priced(self, entry: Entry, reply: Reply) -> Usage:
        usage = reply.usage
        if usage.cost_usd is not None or self._prices is None or entry.vendor is None:
            return usage
        asked = Options(type=entry.vendor.type, model=entry.backend.model)
        cost, source = await self._prices.cost(entry.vendor, asked, usage, served=reply.model)
        return replace(usage, cost_usd=cost, cost_source=source)

    async def aclose(self) -> None:
        """Let go of the models."""
        for entry in self._entries:
            await entry.backend.aclose()


class Model:
    """What AG2 takes for a model's configuration and for its client, for one turn.

    Args:
        models: who is asked.
        events: AG2's module of that name.
        listen: told what streams.
        replied: told each reply of the turn.
        may_retry: whether a request is sent again here, since the turn as a whole can't be.
        tool_choice: of the turn's request.
        max_tokens: of the turn's request.
    """

    provider = "openai"
    """The dialect of what goes over the wire."""

    def __init__(
        self,
        models: Models,
        *,
        events: ModuleType,
        listen: Callable[[Delta], None],
        replied: Callable[[Reply], None],
        may_retry: Callable[[], bool],
        tool_choice: str | None,
        max_tokens: int | None,
    ) -> None:
        self._models = models
        self._events = events
        self._listen = listen
        self._may_retry = may_retry
        self._tool_choice = tool_choice
        self._max_tokens = max_tokens
        self._requests = 0
        self._replied = replied

    @property
    def model(self) -> str:
        """The model asked first."""
        return self._models.name

    def copy(self) -> Model:
        """Itself: there is nothing to override."""
        return self

    def create(self) -> Model:
        """Itself: it is its own client."""
        return self

    async def __call__(
        self,
        messages: Sequence[Any],
        context: Any,
        *,
        tools: Iterable[Any],
        response_schema: object,
        serializer: object,
    ) -> Any:
        """One reply to the conversation so far."""
        del response_schema, serializer
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            what = f"The agent made {MAX_REQUESTS} model requests in one turn without finishing."
            raise BackendError(what, kind="protocol")
        conversation = self._models.conversation
        request = Request(
            messages=conversation.messages(context.prompt, messages),
            tools=to_specs(tools),
            tool_choice=self._tool_choice,
            max_tokens=self._max_tokens,
        )
        reply = await self._models.ask(request, listen=self._listen, may_retry=self._may_retry)
        self._replied(reply)
        response = to_response(self._events, reply)
        conversation.remember(response, reply)
        return response
