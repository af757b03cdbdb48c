"""A model behind generateContent, whoever serves it."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.gemini_failures import refusal_words
from massgen_mcp.backends.gemini_parameters import (
    CHOICE,
    Parameters,
    generation_of,
    is_old,
    merged,
    refused_by,
    thinks_deeply,
)
from massgen_mcp.backends.gemini_reading import Reading, Turn, chunks_of
from massgen_mcp.backends.gemini_schema import to_narrow
from massgen_mcp.backends.gemini_sdk import ERRORS, Client, Refused, explain
from massgen_mcp.backends.gemini_search import BuiltIn, functions_for
from massgen_mcp.backends.gemini_wire import (
    Item,
    function_response,
    native_of,
    to_choice,
    to_contents,
    to_functions,
    to_system,
)
from massgen_mcp.backends.http_model import MOST_REFUSALS, HttpModel, Tally, may_do_without
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Reply, Request, ToolCall

if TYPE_CHECKING:
    from massgen_mcp.backends.gemini import Options

__all__ = ["Backend"]

_MOST_SEARCHES = 5
"""Requests with Google's own tools that one reply may lead to, where they run beside it."""

_TOGETHER = "toolConfig.includeServerSideToolInvocations"
_FUNCTION_SCHEMA = "parametersJsonSchema"
_REPLY_SCHEMA = "generationConfig.responseJsonSchema"
_NOT_TOGETHER = re.compile(
    r"include_?server_?side_?tool_?invocations|tool use with function calling|"
    r"built-?in tools.{0,40}function|multiple tools are supported only",
    re.IGNORECASE,
)
_WIDE_SCHEMA = re.compile(
    r"parameters_?json_?schema|function_?declarations\[\d+\]\.?parameters", re.IGNORECASE
)
_WIDE_REPLY = re.compile(r"response_?json_?schema", re.IGNORECASE)
_OF_THE_ACCOUNT = frozenset({"labels", "servicetier", "store"})
"""Fields of `extra_body` that hold for every request, also those that are ours."""
_TOLD = frozenset({"bad_request", "context", "length", "protocol", "refusal"})
"""Failures of such a request that the model is told of; others would fail every one."""


class Backend(HttpModel):
    """One model behind generateContent.

    Each request carries the conversation with the model's own parts as they came. Google's search and code
    execution stand beside our functions where the model allows that; else they are functions themselves,
    and a call of one is answered here, by a second request.
    """

    def __init__(
        self,
        context: BackendContext,
        account: Account,
        *,
        options: Options,
        tools: Sequence[BuiltIn],
        client: Client,
    ) -> None:
        super().__init__(context, account)
        self._options = options
        self._tools = tools
        self._client = client
        self._old = is_old(account.model)

    @property
    def deep(self) -> bool:
        """Whether the model was told to reason at length."""
        return thinks_deeply(self._options, self.model)

    async def _attempt(self, request: Request, tally: Tally) -> AsyncGenerator[Delta]:
        """The model's turns until one is for the agent; those before it were searches."""
        contents = to_contents(request, signed=not self._old)
        begun = len(contents)
        while True:
            reading = Reading(self._failures, turn=len(contents))
            async with AsyncExitStack() as stack:
                response, ours = await self._open(request, contents, tally, stack)
                async with aclosing(self._read(response, reading)) as deltas:
                    async for delta in deltas:
                        yield delta
            turn = reading.turn()
            tally.usage += turn.usage
            tally.note(turn.notes)
            contents.append(turn.content)
            answered = [
                await self._answer(call, ours[call.name], turn, tally)
                for call in turn.calls
                if call.name in ours
            ]
            if not answered or len(answered) < len(turn.calls):
                calls = tuple(call for call in turn.calls if call.name not in ours)
                yield self._reply(turn, calls, native_of(contents[begun:], answered), tally)
                return
            contents.append({"role": "user", "parts": answered})

    def _reply(self, turn: Turn, calls: tuple[ToolCall, ...], native: Item, tally: Tally) -> Reply:
        return Reply(
            text=turn.text,
            calls=calls,
            finish="tool_calls" if calls else "stop",
            model=turn.model,
            usage=replace(tally.usage, requests=tally.sent),
            native=native,
            warnings=tuple(tally.notes),
        )

    async def _read(self, response: httpx2.Response, reading: Reading) -> AsyncGenerator[Delta]:
        try:
            async with aclosing(chunks_of(response, self._failures)) as chunks:
                async for chunk in chunks:
                    for delta in reading.feed(chunk):
                        yield delta
        except ERRORS as error:
            raise explain(error, self._failures) from None

    # One request.

    async def _open(
        self, request: Request, contents: Sequence[Item], tally: Tally, stack: AsyncExitStack
    ) -> tuple[httpx2.Response, Mapping[str, BuiltIn]]:
        """Send the request, without what is refused. Also: the functions in it that are ours to run."""
        for left in reversed(range(MOST_REFUSALS)):
            known = frozenset(self._refused)  # others that ask the same model learn at the same time
            ours = self._ours(request, tally)
            parameters = Parameters(self._wanted(request), known)
            body = {"contents": list(contents), **self._tools_of(request, ours), **parameters.fields()}
            if system := to_system(request):
                body["systemInstruction"] = system
            try:
                response = await self._send(merged(body, self._options.extra_body), tally, stack)
            except ERRORS as error:
                failure = explain(error, self._failures)
                learned = self._learn(error, failure, parameters)
                if learned is None or learned in known or not left:
                    raise failure from None
                self._refused.add(learned)
            else:
                tally.note(self._left_out(request, parameters))
                return response, ours
        raise AssertionError

    async def _send(self, body: Item, tally: Tally, stack: AsyncExitStack) -> httpx2.Response:
        tally.sent += 1
        return await stack.enter_async_context(self._client.generate(self.model, body))

    def _together(self, request: Request) -> bool:
        """Whether Google's tools stand in the request itself."""
        if not self._tools or self._formed(request):
            return False
        return not request.tools or (not self._old and _TOGETHER not in self._refused)

    def _formed(self, request: Request) -> bool:
        """Whether the reply has a form that the model keeps to without tools of its own alone."""
        return self._old and request.schema is not None

    def _ours(self, request: Request, tally: Tally) -> Mapping[str, BuiltIn]:
        """Google's tools by the names of the functions that stand for them, where they have to be that."""
        if not request.tools or self._together(request) or tally.searches >= _MOST_SEARCHES:
            return {}
        return functions_for(self._tools, {tool.name for tool in request.tools})

    def _tools_of(self, request: Request, ours: Mapping[str, BuiltIn]) -> Item:
        functions = to_functions(
            [*request.tools, *(tool.spec for tool in ours.values())],
            narrow=_FUNCTION_SCHEMA in self._refused,
        )
        tools: list[Item] = [dict(tool.item) for tool in self._tools] if self._together(request) else []
        tools += [{"functionDeclarations": functions}] if functions else []
        return {"tools": tools} if tools else {}

    def _wanted(self, request: Request) -> dict[str, Any]:
        options = self._options
        wanted = generation_of(options, self.model)
        wanted["generationConfig.maxOutputTokens"] = request.max_tokens or options.max_tokens
        wanted["safetySettings"] = self._safety()
        if request.schema is not None:
            wanted["generationConfig.responseMimeType"] = "application/json"
            wanted[_REPLY_SCHEMA] = dict(request.schema)
            if _REPLY_SCHEMA in self._refused:
                wanted["generationConfig.responseSchema"] = to_narrow(request.schema)
        if request.tools and request.tool_choice is not None:
            wanted[CHOICE] = to_choice(request.tool_choice)
        if request.tools and self._together(request):
            wanted[_TOGETHER] = True
        return wanted

    def _safety(self) -> list[Item] | None:
        return [setting.model_dump() for setting in self._options.safety_settings] or None

    def _learn(self, error: Exception, failure: BackendError, parameters: Parameters) -> str | None:
        """What to do without from now on; None when a refusal is final."""
        if not isinstance(error, Refused) or not may_do_without(error, failure):
            return None
        words = refusal_words(error.body)
        if _TOGETHER in parameters.names and _NOT_TOGETHER.search(words):
            return _TOGETHER
        if _WIDE_SCHEMA.search(words):
            return _FUNCTION_SCHEMA
        if _REPLY_SCHEMA in parameters.names and _WIDE_REPLY.search(words):
            return _REPLY_SCHEMA
        return refused_by(parameters.names, words)

    def _left_out(self, request: Request, parameters: Parameters) -> tuple[str, ...]:
        title, model = self._failures.title, self.model
        notes = self._told(parameters.left_out)
        if self._tools and self._formed(request):
            notes += (f"{model} can't search or run code while the form of its reply is given.",)
        if _FUNCTION_SCHEMA in self._refused:
            notes += (f"{title} takes simple schemas alone for {model}; the tools are described in those.",)
        return notes

    # Google's own tools, where they have to run beside.

    async def _answer(self, call: ToolCall, tool: BuiltIn, turn: Turn, tally: Tally) -> Item:
        """The part that answers a call of one of Google's tools."""
        given = any(part.get("functionCall", {}).get("id") == call.id for part in turn.parts)
        call_id = call.id if given else None
        tally.searches += 1
        try:
            found = await self._search(tool, tool.ask(call), tally)
        except ValueError as error:
            return function_response(call.name, str(error), call_id=call_id, is_error=True)
        except BackendError as failure:
            if failure.kind not in _TOLD:
                raise
            return function_response(call.name, str(failure), call_id=call_id, is_error=True)
        return function_response(call.name, found or "Nothing was found.", call_id=call_id)

    async def _search(self, tool: BuiltIn, contents: list[Item], tally: Tally) -> str:
        if tally.searches > _MOST_SEARCHES:
            raise ValueError(f"not more than {_MOST_SEARCHES} of these calls at a time")
        body: Item = {"contents": contents, "tools": [dict(tool.item)]}
        if safety := self._safety():
            body["safetySettings"] = safety
        extra = {
            name: value
            for name, value in self._options.extra_body.items()
            if name.replace("_", "").lower() in _OF_THE_ACCOUNT
        }
        reading = Reading(self._failures, turn=0)
        async with AsyncExitStack() as stack:
            try:
                response = await self._send(merged(body, extra), tally, stack)
            except ERRORS as error:
                raise explain(error, self._failures) from None
            async with aclosing(self._read(response, reading)) as deltas:
                async for _ in deltas:
                    pass
        turn = reading.turn()
        tally.usage += turn.usage
        return tool.result(turn)
