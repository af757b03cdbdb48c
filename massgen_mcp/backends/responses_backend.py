"""A model behind the Responses API, whoever serves it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio

from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.openai_sdk import explain
from massgen_mcp.backends.pause import SharedPause
from massgen_mcp.backends.responses_options import ResponsesOptions
from massgen_mcp.backends.responses_parameters import ENCRYPTED, Parameters, refused_by
from massgen_mcp.backends.responses_reading import Reading, event_of, failure_of, is_refusal
from massgen_mcp.backends.responses_wire import (
    Item,
    items_of,
    to_format,
    to_input,
    to_tool_choice,
    to_tools,
)
from massgen_mcp.backends.signs import words_of
from massgen_mcp.backends.whole import is_whole
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream

__all__ = ["Backend", "Place"]

_UNPROCESSABLE = (400, 422)
_MOST_REFUSALS = 6
"""Parameters that one request may lose before it is given up."""
_DRAIN = 0.5
"""Seconds for the end of a body after the last event, so that the connection can be used again."""
_DEEP = frozenset({"high", "xhigh", "max"})
_STALE = re.compile(
    r"encrypted content .{0,200}could not be|items are not persisted", re.IGNORECASE | re.DOTALL
)
_NOT_ASKED_FOR = frozenset({"include"})
"""Parameters no team file sets, so that nobody is told when a model does without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and how a model is asked."""

    base_url: str
    model: str
    tools: Sequence[Item] = ()
    """The provider's own tools."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Those that this provider alone takes."""
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    """What follows the `?` of the address."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Backend:
    """One model behind the Responses API, asked over the official SDK and the shared pool.

    Nothing is stored at the provider: each request carries the conversation, with the provider's own items,
    encrypted reasoning among them, as they came.
    """

    def __init__(
        self,
        *,
        options: ResponsesOptions,
        info: BackendInfo,
        place: Place,
        client: AsyncOpenAI,
        failures: Failures,
        pause: SharedPause,
        refused: set[str],
        errors: tuple[type[Exception], ...],
        events: type[AsyncStream[object]],
    ) -> None:
        self._options = options
        self._info = info
        self._place = place
        self._client = client
        self._failures = failures
        self._pause = pause
        self._refused = refused
        self._errors = errors
        self._events = events
        self._stale: set[str] = set()

    @property
    def info(self) -> BackendInfo:
        """The backend's row."""
        return self._info

    @property
    def model(self) -> str:
        """The model asked for."""
        return self._place.model

    @property
    def pause(self) -> SharedPause:
        """The pause shared by all who use this key at this address."""
        return self._pause

    @property
    def deep(self) -> bool:
        """Whether the model was told to reason at length."""
        reasoning = self._options.reasoning
        return reasoning is not None and reasoning.effort in _DEEP

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt; parameters a model refuses are left out within it."""
        async with aclosing(self._deltas(request)) as deltas:
            yield deltas

    async def aclose(self) -> None:
        """Nothing is this backend's alone: the client's connections are the pool's."""

    async def _deltas(self, request: Request) -> AsyncGenerator[Delta]:
        stream, requests, warnings = await self._open(request)
        reading = Reading(self._failures, owner=self._info.type)
        try:
            async with stream, aclosing(self._events_of(stream)) as events:
                async for event in events:
                    for delta in reading.feed(event):
                        yield delta
                    if reading.complete:
                        break
                await self._drain(stream)
            reply = reading.reply(requests=requests, warnings=warnings)
        except BackendError as failure:
            failure.requests += requests - 1
            raise
        yield reply

    async def _events_of(self, stream: AsyncStream[object]) -> AsyncGenerator[object]:
        """The events as they come; one alone where the whole reply came in one piece."""
        try:
            if is_whole(stream.response, self._failures):
                yield event_of(await stream.response.aread(), self._failures)
            else:
                while (event := await anext(stream, None)) is not None:
                    yield event
        except self._errors as error:
            raise self._explain(error) from None

    async def _drain(self, stream: AsyncStream[object]) -> None:
        with anyio.move_on_after(_DRAIN), suppress(*self._errors):
            while await anext(stream, None) is not None:
                pass

    async def _open(self, request: Request) -> tuple[AsyncStream[object], int, tuple[str, ...]]:
        """Send the request, without what is refused. Also: how many requests that took, and what to tell."""
        create = cast("Any", self._client.responses.with_raw_response.create)
        warnings: tuple[str, ...] = ()
        for sent in range(1, _MOST_REFUSALS + 1):
            parameters = Parameters(self._wanted(request), self._refused)
            body = {**self._body(request), **parameters.body(self._options.extra_body)}
            try:
                # As `extra_body`, since the SDK takes each item of `input` given to it through forty types,
                # which blocks the loop for most of a second in a long conversation; and its events as they
                # came, since its types lose the kind of items they do not know.
                raw = await create(stream=True, extra_body=body, extra_query=self._place.query)
            except self._errors as error:
                failure = self._explain(error)
                failure.requests += sent - 1
                learned = self._learn(error, failure, parameters, request)
                if learned is None or sent == _MOST_REFUSALS:
                    raise failure from None
                warnings += learned
            else:
                return raw.parse(to=self._events), sent, (*warnings, *self._left_out(parameters))
        raise AssertionError

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._place.model,
            "input": to_input(request, self._info.type, stale=self._stale),
            "store": False,
        }
        if tools := [*to_tools(request.tools), *self._place.tools]:
            body["tools"] = tools
        return body

    def _wanted(self, request: Request) -> dict[str, Any]:
        options = self._options
        wanted: dict[str, Any] = {
            "include": [ENCRYPTED],
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_output_tokens": request.max_tokens or options.max_tokens,
            "parallel_tool_calls": options.parallel_tool_calls,
            **self._place.parameters,
        }
        if options.reasoning is not None:
            reasoning = options.reasoning.model_dump(exclude_none=True)
            wanted |= {f"reasoning.{name}": value for name, value in reasoning.items()}
        if options.text is not None:
            wanted["text.verbosity"] = options.text.verbosity
        if request.schema is not None:
            wanted["text.format"] = to_format(request.schema)
        if request.tools and request.tool_choice is not None:
            wanted["tool_choice"] = to_tool_choice(request.tool_choice)
        return wanted

    def _learn(
        self, error: Exception, failure: BackendError, parameters: Parameters, request: Request
    ) -> tuple[str, ...] | None:
        """What to leave out from now on, and what to tell about it; None when a refusal is final."""
        words = words_of(getattr(error, "body", None)) or str(error)
        if getattr(error, "code", None) == "invalid_encrypted_content" or _STALE.search(words):
            thoughts = self._thoughts(request) - self._stale
            self._stale |= thoughts
            told = f"{self._failures.title} no longer reads {self.model}'s earlier reasoning; left out."
            return (told,) if thoughts else None
        if failure.kind != "bad_request" or getattr(error, "status_code", None) not in _UNPROCESSABLE:
            return None
        param: object = getattr(error, "param", None)
        name = refused_by(parameters.names, param if isinstance(param, str) else None, words)
        if name is None:
            return None
        self._refused.add(name)
        return ()

    def _thoughts(self, request: Request) -> set[str]:
        items = (item for message in request.messages for item in items_of(message, self._info.type))
        return {item["id"] for item in items if item.get("type") == "reasoning" and item.get("id")}

    def _left_out(self, parameters: Parameters) -> tuple[str, ...]:
        told = (name for name in parameters.left_out if name not in _NOT_ASKED_FOR)
        return tuple(
            f"{self._failures.title} does not take {name} for {self.model}; left out." for name in told
        )

    def _explain(self, error: Exception) -> BackendError:
        """One of the SDK's errors as ours. Raised `from None`: the other holds unredacted words."""
        body: object = getattr(error, "body", None)
        if body and getattr(error, "status_code", None) is None:
            return failure_of(body, self._failures)
        failure = explain(error, self._failures)
        if failure.kind == "bad_request" and is_refusal(getattr(error, "code", None)):
            return self._failures.declined(words_of(body))
        return failure
