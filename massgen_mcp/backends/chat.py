"""Chat completions: every server and provider that speaks OpenAI's older API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from massgen_mcp.backends.account import Account, find_account
from massgen_mcp.backends.body import body_of
from massgen_mcp.backends.chat_parameters import Parameters, refused_by
from massgen_mcp.backends.chat_reading import Reading, chunk_of
from massgen_mcp.backends.chat_wire import to_messages, to_response_format, to_tool_choice, to_tools
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.http_model import MOST_REFUSALS, HttpModel, Tally, may_do_without
from massgen_mcp.backends.openai_sdk import explain, open_client, sdk_errors
from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.reasoning import Effort, Reasoning, Verbosity
from massgen_mcp.backends.sdk import load
from massgen_mcp.backends.seeing import blind
from massgen_mcp.backends.servers import find_address, find_model
from massgen_mcp.backends.urls import host_of
from massgen_mcp.backends.whole import is_whole
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream

__all__ = ["Backend", "Options", "connect"]

_QUIRKS: dict[str, frozenset[str]] = {
    "zai": frozenset({"tool_choice"}),  # GLM knows `auto` alone
}
_OPENROUTER = "openrouter.ai"
_DEEP = frozenset({"high", "xhigh", "max"})
_SAMPLING = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stop",
    "verbosity",
    "parallel_tool_calls",
    "top_k",
    "top_a",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "repeat_penalty",
    "length_penalty",
    "min_tokens",
    "ignore_eos",
    "separate_reasoning",
    "chat_template_kwargs",
    "thinking",
)

_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]


class Options(BaseOptions):
    """The backend block of every type that speaks chat completions.

    Sampling keys that are not OpenAI's own go into the request's body as they are.
    """

    port: Annotated[int, Field(gt=0, lt=65536)] | None = None
    """Of a server on this machine, instead of `base_url`."""
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    top_a: _Share | None = None
    min_p: _Share | None = None
    typical_p: _Share | None = None
    repetition_penalty: _Positive | None = None
    repeat_penalty: _Positive | None = None
    length_penalty: float | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    ignore_eos: bool | None = None
    separate_reasoning: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    """As GLM and DeepSeek take it: `{type: enabled}`."""
    reasoning: Reasoning | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    parallel_tool_calls: bool | None = None
    echo_reasoning: bool = False
    """Give the model's reasoning back to it inside a tool loop, where a server wants that."""

    @property
    def effort(self) -> Effort | None:
        """How deeply to think, however it was written."""
        return self.reasoning_effort or (self.reasoning.effort if self.reasoning else None)


class Backend(HttpModel):
    """One model behind chat completions."""

    def __init__(
        self,
        context: BackendContext,
        account: Account,
        *,
        options: Options,
        client: AsyncOpenAI,
        errors: tuple[type[Exception], ...],
    ) -> None:
        super().__init__(context, account)
        self._options = options
        self._client = client
        self._errors = errors
        self._quirks = _QUIRKS.get(context.info.type, frozenset())
        self._search = options.enable_web_search
        self._openrouter = str(client.base_url.host) == _OPENROUTER

    @property
    def deep(self) -> bool:
        """Whether the model was told to reason at length."""
        return self._options.effort in _DEEP

    async def _attempt(self, request: Request, tally: Tally) -> AsyncGenerator[Delta]:
        stream = await self._open(request, tally)
        reading = Reading(self._failures, turn=len(request.messages))
        try:
            async with stream, aclosing(self._chunks(stream)) as chunks:
                async for chunk in chunks:
                    for delta in reading.feed(chunk):
                        yield delta
            reply = reading.reply(
                terminated=body_of(stream.response).done or is_whole(stream.response, self._failures),
                requests=tally.sent,
                warnings=tuple(tally.notes),
            )
        except self._errors as error:
            raise explain(error, self._failures) from None
        yield reply

    async def _open(self, request: Request, tally: Tally) -> AsyncStream[object]:
        """Send the request, without what the model refuses."""
        body = self._body(request)
        for left in reversed(range(MOST_REFUSALS)):
            parameters = Parameters(self._wanted(request), self._refused | self._quirks)
            tally.sent += 1
            try:
                stream = await self._post(body | parameters.body(self._options.extra_body))
            except self._errors as error:
                failure = explain(error, self._failures)
                name = self._refusal(error, failure, parameters)
                if name is None or not left:
                    raise failure from None
                self._refused.add(name)
            else:
                tally.note(self._told(name for name in parameters.left_out if name not in self._quirks))
                return stream
        raise AssertionError

    async def _post(self, body: dict[str, Any]) -> AsyncStream[object]:
        """The stream as JSON values.

        The SDK's method of its own for this walks the whole body by its types, and builds a model of every
        chunk, which takes half of a turn's CPU; what is sent and what is checked is ours.
        """
        sdk = await load("openai")
        stream: AsyncStream[object] = await self._client.post(
            "/chat/completions",
            body=body,
            cast_to=object,
            options={"security": {"bearer_auth": True}},
            stream=True,
            stream_cls=sdk.AsyncStream[object],
        )
        return stream

    def _body(self, request: Request) -> dict[str, Any]:
        seen = request if self.info.image_input else blind(request)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": to_messages(seen, echo_reasoning=self._options.echo_reasoning),
            "stream": True,
        }
        if request.tools:
            body["tools"] = to_tools(request.tools)
        return body

    def _wanted(self, request: Request) -> dict[str, Any]:
        options = self._options
        wanted = {name: getattr(options, name) for name in _SAMPLING}
        wanted["stream_options"] = {"include_usage": True}
        wanted["max_tokens"] = request.max_tokens or options.max_tokens
        if self._openrouter and options.reasoning is not None:
            wanted["reasoning"] = options.reasoning.model_dump(exclude_none=True)
        else:
            wanted["reasoning_effort"] = options.effort
        if request.tools and request.tool_choice is not None:
            wanted["tool_choice"] = to_tool_choice(request.tool_choice)
        if request.schema is not None:
            wanted["response_format"] = to_response_format(request.schema)
        if self._search:
            wanted["plugins"] = [{"id": "web"}]
        return wanted

    def _refusal(self, error: Exception, failure: BackendError, parameters: Parameters) -> str | None:
        """The parameter that a refusal is about."""
        if not may_do_without(error, failure):
            return None
        param: object = getattr(error, "param", None)
        return refused_by(parameters.names, param if isinstance(param, str) else None, str(error))

    async def _chunks(self, stream: AsyncStream[object]) -> AsyncGenerator[object]:
        """The chunks as they come; one alone where the whole reply came in one piece."""
        if is_whole(stream.response, self._failures):
            yield chunk_of(await stream.response.aread(), self._failures)
            return
        async for chunk in stream:
            yield chunk


async def connect(options: Options, context: BackendContext) -> Backend:
    """A backend ready to be asked.

    Raises:
        BackendError: the address may not be used, a key or a model is missing, or no server answers.
    """
    base_url = await find_address(options, context)
    account = await find_account(options, context, base_url, by_host=False)
    failures = account.failures
    if options.enable_web_search and host_of(base_url) != _OPENROUTER:
        what = f"{failures.title} has no web search over chat completions"
        raise failures.make("bad_request", what, remedy="Remove enable_web_search.", connected=False)
    client = await open_client(context.pool, account, options.extra_headers)
    if not account.model:
        account = account.asking(await find_model(context, base_url, account.key))
    return Backend(context, account, options=options, client=client, errors=await sdk_errors())
