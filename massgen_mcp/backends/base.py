"""The ports a backend fills: a model gives one reply, an agent runtime runs a whole turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, runtime_checkable

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.messages import Delta, Request, ToolCall, ToolResult

__all__ = ["AgentRuntime", "Backend", "ModelBackend", "RuntimeTurn", "TurnTools"]


class ModelBackend(Protocol):
    """One model of one provider. The agent loop above it owns tools, turns and retries.

    `stream` makes one attempt. Its deltas end in exactly one `Reply`, complete as the provider said, or the
    iteration raises `BackendError`. Leaving the block closes the connection, however one leaves.
    """

    @property
    def info(self) -> BackendInfo:
        """The backend's row."""
        ...

    @property
    def model(self) -> str:
        """The model asked for."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt at a reply."""
        ...

    async def aclose(self) -> None:
        """Let go of what this backend alone holds; shared pools stay open."""
        ...


class TurnTools(Protocol):
    """The team's side of a runtime's turn: what runs the calls of `request.tools`.

    Calls may come in parallel. Failures are results with `is_error`; only cancellation raises.
    """

    @property
    def ended_by(self) -> ToolCall | None:
        """The call that ended the turn, once one has: the runtime stops and replies with just that call."""
        ...

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call."""
        ...


@runtime_checkable
class AgentRuntime(Protocol):
    """An agent that owns its loop: one `run_turn` is as many model requests and tool calls as it likes.

    One object serves one agent for one run and remembers what it was told: of `request.messages` it sends
    the user's entries that its session does not hold yet, the last one in any case. The deltas end in exactly
    one `Reply`, with the usage of the whole turn: `calls` holds `tools.ended_by` alone, or nothing, and
    `native` what it did by itself. `Spent` on the way lets a budget stop it. An error after a tool was used
    is not `retryable`. Leaving the block stops the turn, and the session can still be continued.
    """

    @property
    def info(self) -> BackendInfo:
        """The backend's row."""
        ...

    @property
    def model(self) -> str:
        """The model asked for; empty where the runtime chooses."""
        ...

    @property
    def session(self) -> str | None:
        """The vendor's id of the conversation, where it is known before the first turn."""
        ...

    def run_turn(
        self, request: Request, tools: TurnTools
    ) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt at a turn."""
        ...

    async def aclose(self) -> None:
        """End the session's processes; they are gone when this returns."""
        ...


Backend: TypeAlias = ModelBackend | AgentRuntime


class RuntimeTurn:
    """A runtime's turn in the shape of a model's reply: one retry layer, one price, one log for both."""

    def __init__(self, runtime: AgentRuntime, tools: TurnTools) -> None:
        self._runtime = runtime
        self._tools = tools

    @property
    def info(self) -> BackendInfo:
        """The runtime's row."""
        return self._runtime.info

    @property
    def model(self) -> str:
        """The model asked for."""
        return self._runtime.model

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt at the turn."""
        return self._runtime.run_turn(request, self._tools)

    async def aclose(self) -> None:
        """The runtime outlives its turns; whoever opened it closes it."""
