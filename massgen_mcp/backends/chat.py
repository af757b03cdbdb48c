"""Chat completions: every server and provider that speaks OpenAI's older API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from massgen_mcp.backends.body import body_of
from massgen_mcp.backends.chat_parameters import Parameters, refused_by
from massgen_mcp.backends.chat_reading import Reading, chunk_of
from massgen_mcp.backends.chat_wire import to_messages, to_response_format, to_tool_choice, to_tools
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.keys import find_key
from massgen_mcp.backends.openai_sdk import explain, open_client, sdk_errors
from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.pause import SharedPause
from massgen_mcp.backends.reasoning import Effort, Reasoning, Verbosity
from massgen_mcp.backends.sdk import load
from massgen_mcp.backends.seeing import blind
from massgen_mcp.backends.servers import find_address, find_model, find_title
from massgen_mcp.backends.urls import host_of, is_loopback
from massgen_mcp.backends.whole import is_whole
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Request

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream

__all__ = ["Backend", "Options", "connect"]

_UNPROCESSABLE = (400, 422)
_MOST_REFUSALS = 6
"""Parameters that one request may lose before it is given up."""

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


class Backend:
    """One model behind chat completions, asked over the official SDK and the shared pool."""

    def __init__(
        self,
        *,
        options: Options,
        info: BackendInfo,
        model: str,
        client: AsyncOpenAI,
        failures: Failures,
        pause: SharedPause,
        refused: set[str],
        errors: tuple[type[Exception], ...],
    ) -> None:
        self._options = options
        self._info = info
        self._model = model
        self._client = client
        self._failures = failures
        self._pause = pause
        self._refused = refused
        self._errors = errors
        self._quirks = _QUIRKS.get(info.type, frozenset())
        self._search = options.enable_web_search
        self._openrouter = str(client.base_url.host) == _OPENROUTER

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
        """Whether the model was told to reason at length."""
        return self._options.effort in _DEEP

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt; parameters a model refuses are left out within it."""
        async with aclosing(self._deltas(request)) as deltas:
            yield deltas

    async def aclose(self) -> None:
        """Nothing is this backend's alone: the client's connections are the pool's."""

    async def _deltas(self, request: Request) -> AsyncGenerator[Delta]:
        stream, parameters, requests = await self._open(request)
        reading = Reading(self._failures, turn=len(request.messages))
        try:
            async with stream, aclosing(self._chunks(stream)) as chunks:
                async for chunk in chunks:
                    for delta in reading.feed(chunk):
                        yield delta
            reply = reading.reply(
                terminated=body_of(stream.response).done or is_whole(stream.response, self._failures),
                requests=requests,
                warnings=self._warnings(parameters),
            )
        except (BackendError, *self._errors) as error:
            failure = error if isinstance(error, BackendError) else explain(error, self._failures)
            failure.requests += requests - 1
            raise failure from None
        yield reply

    async def _open(self, request: Request) -> tuple[AsyncStream[object], Parameters, int]:
        """Send the request, without what the model refuses. Also: what was sent, and how many requests."""
        body = self._body(request)
        for sent in range(1, _MOST_REFUSALS + 1):
            parameters = Parameters(self._wanted(request), self._refused | self._quirks)
            try:
                stream = await self._post(body | parameters.body(self._options.extra_body))
            except self._errors as error:
                failure = explain(error, self._failures)
                failure.requests += sent - 1
                name = self._refusal(error, failure, parameters)
                if name is None or sent == _MOST_REFUSALS:
                    raise failure from None
                self._refused.add(name)
            else:
                return stream, parameters, sent
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
            "model": self._model,
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
        if failure.kind != "bad_request" or getattr(error, "status_code", None) not in _UNPROCESSABLE:
            return None
        param: object = getattr(error, "param", None)
        return refused_by(parameters.names, param if isinstance(param, str) else None, str(error))

    def _warnings(self, parameters: Parameters) -> tuple[str, ...]:
        told = (name for name in parameters.left_out if name not in self._quirks)
        return tuple(
            f"{self._failures.title} does not take {name} for {self._model}; left out." for name in told
        )

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
    key, source = find_key(options, context, base_url)
    info = context.info
    failures = Failures(
        title=await find_title(context, base_url, key),
        model=options.model or info.default_model or "",
        key=source,
        secrets=context.secrets,
        clock=context.clock,
        local=info.local or is_loopback(host_of(base_url)),
    )
    if options.enable_web_search and host_of(base_url) != _OPENROUTER:
        what = f"{failures.title} has no web search over chat completions"
        raise failures.make("bad_request", what, remedy="Remove enable_web_search.", connected=False)
    client = await open_client(
        context.pool, api_key=key, base_url=base_url, headers=options.extra_headers, failures=failures
    )
    model = failures.model or await find_model(context, base_url, key)
    model = info.aliases.get(model, model)
    return Backend(
        options=options,
        info=info,
        model=model,
        client=client,
        failures=replace(failures, model=model),
        pause=context.pool.pause(base_url, key),
        refused=context.pool.refused_parameters(base_url, model),
        errors=await sdk_errors(),
    )
