"""A model behind Anthropic's Messages API, whoever serves it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx2

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.claude_parameters import Parameters, is_deep, thinking_of
from massgen_mcp.backends.claude_reading import Reading, events_of
from massgen_mcp.backends.claude_wire import (
    Block,
    container_of,
    mark_stable,
    thought_of,
    to_messages,
    to_system,
    to_tools,
)
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.http_model import DRAIN, MOST_REFUSALS, HttpModel, Tally, may_do_without
from massgen_mcp.backends.openai_sdk import explain
from massgen_mcp.backends.signs import words_of
from massgen_mcp.backends.whole import is_whole
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Request

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic, AsyncStream

    from massgen_mcp.backends.claude import Options

__all__ = ["Backend"]

_MOST_PAUSES = 5
"""Times that one reply may be paused and asked to go on."""
_OLDER_VERSION = {"anthropic-version": "2023-06-01"}
"""The one that still has sampling parameters."""
_ABSENT = frozenset({400, 404, 410, 422})
_MOST_OUTPUT = re.compile(r"max_tokens: \d+ > (\d+), which is the maximum")
_STALE = re.compile(r"(?=.*\bthinking)(?=.*\b(?:block|signature))", re.DOTALL)
"""How a refusal reads that is about thinking given back, not about thinking asked for."""


class Backend(HttpModel):
    """One model behind the Messages API.

    Each request carries the conversation with the provider's own blocks as they came, and marks up to where
    it may be cached. A reply that the provider pauses is asked for until it is whole.
    """

    def __init__(
        self,
        context: BackendContext,
        account: Account,
        *,
        options: Options,
        tools: Sequence[Mapping[str, Any]],
        client: AsyncAnthropic,
        errors: tuple[type[Exception], ...],
        events: type[AsyncStream[object]],
    ) -> None:
        # What goes with thinking is not what goes without.
        thinks = thinking_of(options, account.model)
        super().__init__(context, account, memory=f"{account.model} thinking" if thinks else "")
        self._options = options
        self._tools = tools
        self._client = client
        self._errors = errors
        self._events = events
        self._most: int | None = None
        self._gone: set[str] = set()
        self._stale: set[str] = set()

    @property
    def deep(self) -> bool:
        """Whether the model reasons at length."""
        return is_deep(self._options, self.model)

    async def _attempt(self, request: Request, tally: Tally) -> AsyncGenerator[Delta]:
        reading = Reading(self._failures, owner=self.info.type)
        for _ in range(_MOST_PAUSES + 1):
            reading.resume()
            stream = await self._open(request, reading, tally)
            try:
                async with stream, aclosing(self._parts(stream.response)) as events:
                    async for event in events:
                        for delta in reading.feed(event):
                            yield delta
                        if reading.complete:
                            break
                    await self._drain(events)
            except self._errors as error:
                raise explain(error, self._failures) from None
            if not reading.paused:
                yield reading.reply(
                    requests=tally.sent, warnings=tuple(tally.notes), constrained=request.schema is not None
                )
                return
        what = f"it was paused {_MOST_PAUSES + 1} times and is not whole"
        raise self._failures.broken(what, retryable=False)

    async def _parts(self, response: httpx2.Response) -> AsyncGenerator[object]:
        """The events of a response, as JSON values.

        Read below the SDK's own reading, which passes over events without a name and types the others.
        """
        if is_whole(response, self._failures):
            for event in events_of(await response.aread(), self._failures):
                yield event
            return
        async for part in self._events.raw_events(response):
            if part.data and part.data != "[DONE]":
                yield json.loads(part.data)

    async def _drain(self, events: AsyncIterator[object]) -> None:
        with anyio.move_on_after(DRAIN), suppress(*self._errors):
            async for _ in events:
                pass

    async def _open(self, request: Request, reading: Reading, tally: Tally) -> AsyncStream[object]:
        """Send the request, without what is refused."""
        post = cast("Any", self._client.post)
        for left in reversed(range(MOST_REFUSALS)):
            parameters = Parameters(
                self._options,
                request,
                model=self.model,
                title=self._failures.title,
                refused=self._refused,
                most=self._most,
            )
            body = self._body(request, parameters, reading)
            # Agents of one model share what it refuses: another may learn the same while this is under way.
            known = frozenset(self._refused)
            tally.sent += 1
            try:
                # Not by `messages.create`, which warns of models by their age and has no place for sampling.
                stream: AsyncStream[object] = await post(
                    "/v1/messages",
                    cast_to=object,
                    body=body,
                    options={"headers": self._headers(parameters)},
                    stream=True,
                    stream_cls=self._events,
                )
            except self._errors as error:
                failure = explain(error, self._failures)
                learned = self._learn(error, failure, parameters, body, known)
                if learned is None or not left:
                    raise failure from None
                tally.note(learned)
            else:
                tally.note(parameters.notes)
                return stream
        raise AssertionError

    def _body(self, request: Request, parameters: Parameters, reading: Reading) -> dict[str, Any]:
        owner = self.info.type
        body: dict[str, Any] = {"model": self.model}
        if system := to_system(request):
            body["system"] = system
        if tools := [*to_tools(request), *(dict(tool) for tool in self._tools)]:
            body["tools"] = tools
        body["messages"] = to_messages(request, owner, begun=reading.blocks, stale=self._stale)
        if "cache_control" not in self._refused:
            mark_stable(body)
        container = reading.container or container_of(request, owner)
        if container is not None and container not in self._gone and self._runs_code:
            body["container"] = container
        return {**body, **parameters.body(), "stream": True, **self._options.extra_body}

    @property
    def _runs_code(self) -> bool:
        return any(tool.get("name") == "code_execution" for tool in self._tools)

    def _headers(self, parameters: Parameters) -> dict[str, str]:
        named = any(name.lower() in _OLDER_VERSION for name in self._options.extra_headers)
        return dict(_OLDER_VERSION) if parameters.samples and not named else {}

    def _learn(
        self,
        error: Exception,
        failure: BackendError,
        parameters: Parameters,
        body: Mapping[str, Any],
        known: frozenset[str],
    ) -> tuple[str, ...] | None:
        """Take from a refusal what to do without, and say what to tell about it; None when it is final."""
        words = words_of(getattr(error, "body", None)) or str(error)
        status = getattr(error, "status_code", None)
        container: object = body.get("container")
        if status in _ABSENT and isinstance(container, str) and "container" in words.lower():
            self._gone.add(container)
            return (f"{self._failures.title} no longer has the files of earlier code; it starts anew.",)
        if not may_do_without(error, failure):
            return None
        if _STALE.match(words) and (thoughts := _thoughts(body)):
            self._stale |= thoughts
            return (f"{self._failures.title} no longer takes {self.model}'s earlier thinking; left out.",)
        if (limit := _MOST_OUTPUT.search(words)) is not None and self._most is None:
            self._most = int(limit[1])
            return ()
        name = parameters.refusal(words)
        if name is None or name in known:
            return None
        self._refused.add(name)
        return ()


def _thoughts(body: Mapping[str, Any]) -> set[str]:
    """The thoughts that a request gives back."""
    blocks: list[Block] = [block for message in body["messages"] for block in message["content"]]
    return {thought for block in blocks if (thought := thought_of(block)) is not None}
