"""A backend that reads its replies from a list: for tests, simulations and demonstrations without a model."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

import anyio
from pydantic import BaseModel, ConfigDict, Field

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.clock import Clock
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import Delta, ReasoningDelta, Reply, Request, TextDelta, ToolCall
from massgen_mcp.usage import Usage

__all__ = ["Backend", "Options", "Step", "connect"]

Ending: TypeAlias = Literal["complete", "stall", "early"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the backend does with one request: wait, stream, then end as told."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    error: BackendError | None = None
    """Raised after whatever has streamed by then."""
    delay: float = 0.0
    """Seconds on the clock before the first delta."""
    pace: float = 0.0
    """Seconds on the clock between two words."""
    ending: Ending = "complete"
    """`stall` never ends, `early` ends without a reply."""
    usage: Usage = field(default_factory=lambda: Usage(requests=1, input=100, output=50))


class Backend:
    """One scripted model. `requests` holds all that was asked, `closed` counts the streams that were left."""

    def __init__(
        self,
        steps: Sequence[Step],
        *,
        info: BackendInfo,
        clock: Clock,
        model: str = "scripted",
        loop: bool = False,
    ) -> None:
        self._steps = steps
        self.info = info
        """The backend's row."""
        self._clock = clock
        self.model = model
        """The model asked for."""
        self._loop = loop
        self.requests: list[Request] = []
        self.closed = 0

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Play the next step."""
        number = len(self.requests)
        self.requests.append(request)
        if number >= len(self._steps) and not self._loop:
            raise BackendError(
                f"The script of {self.model!r} has {len(self._steps)} replies, and one more was asked for.",
                kind="protocol",
            )
        try:
            async with aclosing(self._play(self._steps[number % len(self._steps)])) as deltas:
                yield deltas
        finally:
            self.closed += 1

    async def _play(self, step: Step) -> AsyncGenerator[Delta]:
        await self._clock.sleep(step.delay)
        if step.reasoning:
            yield ReasoningDelta(text=step.reasoning)
        for number, word in enumerate(step.text.split(" ") if step.text else ()):
            if number:
                await self._clock.sleep(step.pace)
            yield TextDelta(text=f" {word}" if number else word)
        if step.error is not None:
            raise _anew(step.error)
        if step.ending == "stall":
            await anyio.sleep_forever()
        if step.ending == "complete":
            yield Reply(
                text=step.text,
                calls=step.calls,
                finish="tool_calls" if step.calls else "stop",
                model=self.model,
                usage=step.usage,
            )

    async def aclose(self) -> None:
        """Nothing is held."""


def _anew(error: BackendError) -> BackendError:
    """The same failure as a new object: the retry layer writes its counts on the one it raises."""
    return BackendError(
        str(error),
        kind=error.kind,
        retryable=error.retryable,
        retry_after=error.retry_after,
        remedy=error.remedy,
        connected=error.connected,
        max_attempts=error.max_attempts,
    )


class _Call(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any])


class _Failure(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FailureKind
    message: str = "The script says so."
    retryable: bool = False


class ScriptedReply(BaseModel):
    """One reply in a team file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = ""
    calls: tuple[_Call, ...] = ()
    error: _Failure | None = None
    delay: Annotated[float, Field(ge=0)] = 0.0

    def step(self, number: int) -> Step:
        """What the backend does for it."""
        calls = tuple(
            ToolCall(id=f"call_{number}_{place}", name=call.name, arguments=json.dumps(call.arguments))
            for place, call in enumerate(self.calls)
        )
        failure = self.error
        error = failure and BackendError(failure.message, kind=failure.kind, retryable=failure.retryable)
        return Step(text=self.text, calls=calls, error=error, delay=self.delay)


class Options(BaseOptions):
    """The backend block of `type: scripted`."""

    replies: tuple[ScriptedReply | str, ...] = ()
    loop: bool = False
    """Begin again when the replies are used up."""


async def connect(options: Options, context: BackendContext) -> Backend:
    """A backend that gives the replies of the team file."""
    steps = [
        Step(text=reply) if isinstance(reply, str) else reply.step(number)
        for number, reply in enumerate(options.replies)
    ]
    return Backend(
        steps,
        info=context.info,
        clock=context.clock,
        model=options.model or "scripted",
        loop=options.loop and bool(steps),
    )
