"""A GGUF model inside this installation: no key, no server, nothing leaves the machine."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, assert_never

from pydantic import Field, model_validator

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.demo_model import DEMO_MODEL, NOTICE, Weights, prepare
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.local_engine import (
    Done,
    Engine,
    EngineSpec,
    Event,
    Facts,
    Working,
    Written,
    lease,
    release,
)
from massgen_mcp.backends.local_plan import Plan, plan_chat, plan_completion
from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.pulse import PULSE
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import Delta, Reply, Request, Restarted, TextDelta
from massgen_mcp.usage import Usage
from massgen_mcp.workspace.children import own_environment

__all__ = ["GGUF_VARIABLE", "LocalBackend", "Options", "connect"]

GGUF_VARIABLE = "MASSGEN_MCP_GGUF"
_CHILD = ("-P", "-m", "massgen_mcp.backends.local_child")
_DEMO_CONTEXT = 1024
_MOST_TOKENS = 2048
_SEEDS = 0x7FFF_FFFF
_TRIES = 2
_UNUSED = ("api_key", "base_url", "extra_headers")

_File = Annotated[str, Field(min_length=1, max_length=4096)]


class Options(BaseOptions):
    """The backend block of `type: local`."""

    path: _File | None = None
    """A GGUF file; absent: the one named in MASSGEN_MCP_GGUF, else the demo model."""
    model_path: _File | None = None
    """Another name of the same."""
    context_size: Annotated[int, Field(ge=512, le=1_048_576)] | None = None
    """Tokens for each agent; absent: what the model was trained for, at most 4096."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """More than the cores that are free makes it many times slower."""
    slots: Annotated[int, Field(ge=1, le=32)] = 3
    """Requests worked on at once; others wait."""
    seed: Annotated[int, Field(ge=0, le=_SEEDS)] | None = None
    """Absent: another one for each agent."""
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Options:
        if used := [name for name in _UNUSED if getattr(self, name)]:
            raise ValueError(f"local runs in this installation and takes no {', '.join(used)}")
        if self.path and self.model_path and self.path != self.model_path:
            raise ValueError("path and model_path are two names of one setting; give one")
        return self


class LocalBackend:
    """One agent's view of the embedded model. Agents with the same file and settings share one process."""

    def __init__(
        self,
        options: Options,
        *,
        info: BackendInfo,
        engine: Engine,
        seed: int,
        is_demo: bool = False,
        notice: str = "",
    ) -> None:
        self.info = info
        self.model = options.model or engine.spec.path.stem
        self.is_demo = is_demo
        """Whether these are the demo weights, whose answers are not for use."""
        self._options = options
        self.engine = engine
        """The process it runs in."""
        self.notice = notice
        """A licence notice that is due; its first reply carries it as a warning."""
        self._seed = seed
        self._closed = False

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt at a reply; one that was cut is asked for once more, shorter."""
        async with aclosing(self._deltas(request)) as deltas:
            yield deltas

    async def aclose(self) -> None:
        """Leave the shared process; the last to leave ends it."""
        if not self._closed:
            self._closed = True
            await release(self.engine)

    async def _deltas(self, request: Request) -> AsyncGenerator[Delta]:
        if any(message.images for message in request.messages):
            raise self._failure("bad_request", "can't see images")
        facts = await self.engine.facts()
        usage, attempt = Usage(), 0
        while True:
            attempt += 1
            plan, draft = self._plan(request, facts, short=attempt > 1), _Draft()
            async with self.engine.call(plan.kind, self._body(plan)) as events:
                async for event in events:
                    piece = draft.take(event)
                    if piece and plan.streams:
                        yield TextDelta(text=piece)
            usage += draft.usage
            if not draft.cut:
                reply = self._reply(plan, draft.text, request, facts, usage)
                if not plan.streams:
                    yield TextDelta(text=reply.text)
                yield reply
                return
            if attempt == _TRIES or not plan.shortens:
                remedy = "Raise max_tokens or context_size."
                raise self._failure("length", "was cut at its limit of tokens", remedy)
            yield Restarted(attempt=attempt + 1, why="the reply was cut; a shorter one is asked for")

    def _plan(self, request: Request, facts: Facts, *, short: bool) -> Plan:
        if not facts.template:
            return plan_completion(request, short=short)
        wanted = self._options.max_tokens or request.max_tokens or _MOST_TOKENS
        return plan_chat(request, tokens=min(wanted, facts.context // 2), short=short)

    def _body(self, plan: Plan) -> Mapping[str, Any]:
        options = self._options
        given = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "top_k": options.top_k,
            "min_p": options.min_p,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        return {**options.extra_body, **plan.body, **chosen, "seed": self._seed}

    def _reply(self, plan: Plan, text: str, request: Request, facts: Facts, usage: Usage) -> Reply:
        try:
            text = plan.read(text)
        except (ValueError, KeyError) as error:
            raise self._failure("protocol", "did not keep to the form asked for", retryable=True) from error
        if not text.strip():
            raise self._failure("protocol", "gave an empty reply", retryable=True)
        warnings = [self.notice] if self.notice else []
        self.notice = ""
        if request.tools:
            warnings.append("local: the embedded model was not offered any tool.")
        model = self.model if self.is_demo else facts.name or self.model
        return Reply(text=text, model=model, usage=usage, warnings=tuple(warnings))

    def _failure(
        self, kind: FailureKind, what: str, remedy: str = "", *, retryable: bool = False
    ) -> BackendError:
        return BackendError(
            f"local: the embedded model {self.model} {what}. {remedy}".rstrip(),
            kind=kind,
            remedy=remedy,
            retryable=retryable,
            max_attempts=2 if retryable else None,
        )


async def connect(
    options: Options,
    context: BackendContext,
    *,
    python: str = sys.executable,
    command: tuple[str, ...] = _CHILD,
    weights: Weights = DEMO_MODEL,
) -> LocalBackend:
    """Find the model: the block's `path`, else MASSGEN_MCP_GGUF, else the demo weights. It is not loaded yet.

    Args:
        options: the backend block.
        context: the outside.
        python: the Python that runs the model's process.
        command: its arguments.
        weights: of the demo model.

    Raises:
        BackendError: there is no such file, or no demo model here.
    """
    demo = None
    given = options.path or options.model_path
    if named := given or context.environ.get(GGUF_VARIABLE, "").strip():
        path = _existing(named, "path" if given else GGUF_VARIABLE)
    else:
        demo = await prepare(context.cache_dir, weights)
        path = demo.path
    spec = EngineSpec(
        path=path,
        context=options.context_size or (_DEMO_CONTEXT if demo else None),
        threads=options.threads,
        slots=options.slots,
        command=(python, *command),
        environ=tuple(sorted(own_environment(context.environ).items())),
    )
    return LocalBackend(
        options,
        info=context.info,
        engine=lease(spec),
        seed=(context.seed if options.seed is None else options.seed) & _SEEDS,
        is_demo=demo is not None,
        notice=NOTICE if demo and demo.first_use else "",
    )


def _existing(named: str, where: str) -> Path:
    try:
        path = Path(named).expanduser().absolute()
        if path.is_file():
            return path
        why = "it is a folder" if path.is_dir() else "there is none"
    except (OSError, RuntimeError) as error:  # no right to look there, or nobody's home folder
        why = str(error).rstrip(".")
    remedy = f"Name a GGUF file in {where}."
    what = f"local: {named!r} is no file that can be used: {why}"
    raise BackendError(f"{what}. {remedy}", kind="not_found", remedy=remedy, connected=False)


class _Draft:
    """What came of one try."""

    def __init__(self) -> None:
        self.text = ""
        self.usage = Usage(requests=1, cost_usd=0.0, cost_source="free")
        self.cut = False
        """Whether it ended at a limit."""

    def take(self, event: Event) -> str:
        """The text that an event adds. Each tells the watchdog of this request that its model is alive."""
        if pulse := PULSE.get():
            pulse.beat()
        match event:
            case Written(text=text):
                self.text += text
                return text
            case Done(finish=finish, input=read, output=wrote, cached=cached):
                self.usage = replace(self.usage, input=read, output=wrote, cached=cached)
                self.cut = finish == "length"
            case Working():
                pass
            case _:
                assert_never(event)
        return ""
