"""The port for what an agent may call beside the workflow tools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec

__all__ = ["NoTools", "Situation", "Toolset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a turn means for an agent's tools."""

    presents: bool = False
    """The presenter's turn: the only one that may write to the project and run what planning held back."""
    shown: Mapping[str, str] = field(default_factory=dict[str, str])
    """Label of an answer it may look at -> the snapshot that was taken with it."""
    start: str = ""
    """The snapshot its own workspace becomes before the turn; empty leaves the workspace as it is."""
    resumed: bool = False
    """The turn was begun before, by a process that died in it."""


class Toolset(Protocol):
    """The tools of one agent, open for one run."""

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The definitions, constant for a run."""
        ...

    @property
    def guidance(self) -> str:
        """What the agent is told of its tools as a whole, in our own words; empty for nothing."""
        ...

    @property
    def presenting(self) -> str:
        """What it is told of them in the presenter's turn; empty for nothing."""
        ...

    @property
    def hidden(self) -> tuple[Path, ...]:
        """What its programs must not see of the folders they read."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be had, such as a server that did not start, for the result."""
        ...

    @property
    def workspace(self) -> Path | None:
        """The agent's own folder, where it has one."""
        ...

    @property
    def readable(self) -> tuple[Path, ...]:
        """Folders that programs of the agent may read besides."""
        ...

    def idempotent(self, name: str) -> bool:
        """Whether a call of that tool may be repeated after a crash."""
        ...

    async def begin(self, situation: Situation) -> None:
        """A turn begins."""
        ...

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call. Failures are results with `is_error`; only cancellation raises."""
        ...

    async def snapshot(self, *, empty: bool = False) -> str:
        """Keep the workspace as it is now, under the name returned; empty where there is nothing to keep.

        Args:
            empty: a workspace without files counts, too: to come back to it with `Situation.start`.
        """
        ...


class NoTools:
    """The toolset of an agent without tools."""

    specs: tuple[ToolSpec, ...] = ()
    guidance = ""
    presenting = ""
    hidden: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    workspace: Path | None = None
    readable: tuple[Path, ...] = ()

    def idempotent(self, name: str) -> bool:
        """No tool, so nothing to repeat."""
        del name
        return False

    async def begin(self, situation: Situation) -> None:
        """Nothing changes."""

    async def call(self, call: ToolCall) -> ToolResult:
        """There is no tool to run; say so."""
        return ToolResult(call_id=call.id, content=f"There is no tool named {call.name!r}.", is_error=True)

    async def snapshot(self, *, empty: bool = False) -> str:
        """There is no workspace."""
        del empty
        return ""
