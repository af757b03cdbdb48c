"""A model behind the Responses API, whoever serves it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.http_model import DRAIN, MOST_REFUSALS, HttpModel, Tally, may_do_without
from massgen_mcp.backends.openai_sdk import explain
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


class Backend(HttpModel):
    """One model behind the Responses API.

    Nothing is stored at the provider: each request carries the conversation, with the provider's own items,
    encrypted reasoning among them, as they came.
    """

    def __init__(
        self,
        context: BackendContext,
        account: Account,
        *,
        options: ResponsesOptions,
        place: Place,
        client: AsyncOpenAI,
        errors: tuple[type[Exception], ...],
        events: type[AsyncStream[object]],
    ) -> None:
        super().__init__(context, account)
        self._options = options
        self._place = place
        self._client = client
        self._errors = errors
        self._events = events
        self._stale: set[str] = set()

    @property
    def deep(self) -> bool:
        """Whether the model was told to reason at length."""
        reasoning = self._options.reasoning
        return reasoning is not None and reasoning.effort in _DEEP

    async def _attempt(self, request: Request, tally: Tally) -> AsyncGenerator[Delta]:
        stream = await self._open(request, tally)
        reading = Reading(self._failures, owner=self.info.type)
        async with stream, aclosing(self._events_of(stream)) as events:
            async for event in events:
                for delta in reading.feed(event):
                    yield delta
                if reading.complete:
                    break
            await self._drain(stream)
        yield reading.reply(requests=tally.sent, warnings=tuple(tally.notes))

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
        with anyio.move_on_after(DRAIN), suppress(*self._errors):
            while await anext(stream, None) is not None:
                pass

    async def _open(self, request: Request, tally: Tally) -> AsyncStream[object]:
        """Send the request, without what is refused."""
        create = cast("Any", self._client.responses.with_raw_response.create)
        for left in reversed(range(MOST_REFUSALS)):
            parameters = Parameters(self._wanted(request), self._refused)
            body = {**self._body(request), **parameters.body(self._options.extra_body)}
            tally.sent += 1
            try:
                # As `extra_body`, since the SDK takes each item of `input` given to it through forty types,
                # which blocks the loop for most of a second in a long conversation; and its events as they
                # came, since its types lose the kind of items they do not know.
                raw = await create(stream=True, extra_body=body, extra_query=self._place.query)
            except self._errors as error:
                failure = self._explain(error)
                learned = self._learn(error, failure, parameters, request)
                if learned is None or not left:
                    raise failure from None
                tally.note(learned)
            else:
                tally.note(self._told(name for name in parameters.left_out if name not in _NOT_ASKED_FOR))
                return raw.parse(to=self._events)
        raise AssertionError

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "input": to_input(request, self.info.type, stale=self._stale),
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
        if not may_do_without(error, failure):
            return None
        param: object = getattr(error, "param", None)
        name = refused_by(parameters.names, param if isinstance(param, str) else None, words)
        if name is None:
            return None
        self._refused.add(name)
        return ()

    def _thoughts(self, request: Request) -> set[str]:
        items = (item for message in request.messages for item in items_of(message, self.info.type))
        return {item["id"] for item in items if item.get("type") == "reasoning" and item.get("id")}

    def _explain(self, error: Exception) -> BackendError:
        """One of the SDK's errors as ours. Raised `from None`: the other holds unredacted words."""
        body: object = getattr(error, "body", None)
        if body and getattr(error, "status_code", None) is None:
            return failure_of(body, self._failures)
        failure = explain(error, self._failures)
        if failure.kind == "bad_request" and is_refusal(getattr(error, "code", None)):
            return self._failures.declined(words_of(body))
        return failure
