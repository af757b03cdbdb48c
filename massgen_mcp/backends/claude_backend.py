"""A model behind Anthropic's Messages API, whoever serves it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx2

from massgen_mcp.backends.claude_parameters import Parameters, is_deep
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
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.openai_sdk import explain
from massgen_mcp.backends.pause import SharedPause
from massgen_mcp.backends.signs import words_of
from massgen_mcp.backends.whole import is_whole
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Request

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic, AsyncStream

    from massgen_mcp.backends.claude import Options

__all__ = ["Backend"]

_MOST_REFUSALS = 6
"""Parameters that one request may lose before it is given up."""
_MOST_PAUSES = 5
"""Times that one reply may be paused and asked to go on."""
_DRAIN = 1.0
"""Seconds for the end of a body after the last event, so that the connection can be used again."""
_OLDER_VERSION = {"anthropic-version": "2023-06-01"}
"""The one that still has sampling parameters."""
_UNPROCESSABLE = frozenset({400, 422})
_ABSENT = frozenset({400, 404, 410, 422})
_MOST_OUTPUT = re.compile(r"max_tokens: \d+ > (\d+), which is the maximum")
_STALE = re.compile(r"(?=.*\bthinking)(?=.*\b(?:block|signature))", re.DOTALL)
"""How a refusal reads that is about thinking given back, not about thinking asked for."""


@dataclass(slots=True)
class _Tally:
    """What one attempt at a reply has taken so far."""

    sent: int = 0
    notes: dict[str, None] = field(default_factory=dict[str, None])

    def note(self, notes: Sequence[str]) -> None:
        self.notes |= dict.fromkeys(notes)


class Backend:
    """One model behind the Messages API, asked over the official SDK and the shared pool.

    Each request carries the conversation with the provider's own blocks as they came, and marks up to where
    it may be cached. A reply that the provider pauses is asked for until it is whole.
    """

    def __init__(
        self,
        *,
        options: Options,
        info: BackendInfo,
        model: str,
        tools: Sequence[Mapping[str, Any]],
        client: AsyncAnthropic,
        failures: Failures,
        pause: SharedPause,
        refused: set[str],
        errors: tuple[type[Exception], ...],
        events: type[AsyncStream[object]],
    ) -> None:
        self._options = options
        self._info = info
        self._model = model
        self._tools = tools
        self._client = client
        self._failures = failures
        self._pause = pause
        self._refused = refused
        self._errors = errors
        self._events = events
        self._most: int | None = None
        self._gone: set[str] = set()
        self._stale: set[str] = set()

    @property
    def info(self) -> BackendInfo:
        """The backend's row."""
        return self._info

    @property
    def model(self) -> str:
        """The model asked for."""
        return self._model

    @property
    def pause(self) -> SharedPause:
        """The pause shared by all who use this key at this address."""
        return self._pause

    @property
    def deep(self) -> bool:
        """Whether the model reasons at length."""
        return is_deep(self._options, self._model)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt; what a model refuses is left out, what it pauses goes on."""
        async with aclosing(self._deltas(request)) as deltas:
            yield deltas

    async def aclose(self) -> None:
        """Nothing is this backend's alone: the client's connections are the pool's."""

    async def _deltas(self, request: Request) -> AsyncGenerator[Delta]:
        tally = _Tally()
        try:
            async with aclosing(self._read(request, tally)) as deltas:
                async for delta in deltas:
                    yield delta
        except BackendError as failure:
            # The last request is counted by the failure itself, if it reached the provider.
            failure.requests += tally.sent - 1
            raise

    async def _read(self, request: Request, tally: _Tally) -> AsyncGenerator[Delta]:
        reading = Reading(self._failures, owner=self._info.type)
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
        with anyio.move_on_after(_DRAIN), suppress(*self._errors):
            async for _ in events:
                pass

    async def _open(self, request: Request, reading: Reading, tally: _Tally) -> AsyncStream[object]:
        """Send the request, without what is refused."""
        post = cast("Any", self._client.post)
        for left in reversed(range(_MOST_REFUSALS)):
            parameters = Parameters(
                self._options,
                request,
                model=self._model,
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
        owner = self._info.type
        body: dict[str, Any] = {"model": self._model}
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
        if failure.kind != "bad_request" or status not in _UNPROCESSABLE:
            return None
        if _STALE.match(words) and (thoughts := _thoughts(body)):
            self._stale |= thoughts
            return (f"{self._failures.title} no longer takes {self._model}'s earlier thinking; left out.",)
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
