"""The port for what an agent may call beside the workflow tools."""

from __future__ import annotations

from typing import Protocol

from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec

__all__ = ["NoTools", "Toolset"]


class Toolset(Protocol):
    """The tools of one agent."""

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The definitions, constant for a run."""
        ...

    def idempotent(self, name: str) -> bool:
        """Whether a call of that tool may be repeated after a crash."""
        ...

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call. Failures are results with `is_error`; only cancellation raises."""
        ...


class NoTools:
    """The toolset of an agent without tools."""

    specs: tuple[ToolSpec, ...] = ()

    def idempotent(self, name: str) -> bool:
        """No tool, so nothing to repeat."""
        del name
        return False

    async def call(self, call: ToolCall) -> ToolResult:
        """There is no tool to run; say so."""
        return ToolResult(call_id=call.id, content=f"There is no tool named {call.name!r}.", is_error=True)
