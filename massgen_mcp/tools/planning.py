"""Planning mode: what has effects is described, not done, until the presenter's turn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec
from massgen_mcp.text import shorten

__all__ = ["PLANNING_GUIDANCE", "PlannedCall", "PlannedSource", "ToolSource"]

PLANNING_GUIDANCE = (
    "Planning mode: tools that change something outside of your workspace, or might, are not run until the "
    "final answer is presented. Calling one only records what you plan; its result says so. Read and look "
    "things up as usual, and say in your answer which of these calls should be made, in which order and with "
    "which arguments."
)
"""What every agent of such a team is told, once."""

_SHOWN = 500
_MOST = 100


class ToolSource(Protocol):
    """Tools of one kind, as several of them make up an agent's toolset."""

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The definitions, constant for a run."""
        ...

    def idempotent(self, name: str) -> bool:
        """Whether a call of that tool may be repeated."""
        ...

    def side_effects(self, name: str) -> bool:
        """Whether a call may change something outside of the agent's own workspace."""
        ...

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call. Failures are results with `is_error`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """A call that was described instead of made."""

    name: str
    arguments: str
    """JSON, as the model wrote it."""


class PlannedSource:
    """A source whose tools with effects wait for the presenter's turn.

    Args:
        source: the tools.
        harmless: names that run at any time although their source is not sure, by the operator's word.
        held: names that wait although their source calls them harmless.
    """

    def __init__(
        self, source: ToolSource, *, harmless: Collection[str] = (), held: Collection[str] = ()
    ) -> None:
        self._source = source
        self._harmless = frozenset(harmless)
        self._held = frozenset(held)
        self._presents = False
        self._planned: list[PlannedCall] = []

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The source's own: the same in every turn."""
        return self._source.specs

    @property
    def planned(self) -> tuple[PlannedCall, ...]:
        """What was described so far, each call once."""
        return tuple(self._planned)

    def idempotent(self, name: str) -> bool:
        """As the source says; describing it again changes nothing either."""
        return self.waits(name) or self._source.idempotent(name)

    def side_effects(self, name: str) -> bool:
        """As the operator says, else as the source does."""
        if name in self._held:
            return True
        return name not in self._harmless and self._source.side_effects(name)

    def waits(self, name: str) -> bool:
        """Whether a call of that tool would be described now, not made."""
        return not self._presents and self.side_effects(name)

    def begin(self, *, presents: bool) -> None:
        """A turn begins."""
        self._presents = presents

    async def call(self, call: ToolCall) -> ToolResult:
        """Make the call, or describe it."""
        if call.name not in {spec.name for spec in self.specs} or not self.waits(call.name):
            return await self._source.call(call)
        planned = PlannedCall(name=call.name, arguments=call.arguments)
        if planned not in self._planned and len(self._planned) < _MOST:
            self._planned.append(planned)
        return ToolResult(
            call_id=call.id,
            content=(
                f"Planned: {call.name} with {shorten(call.arguments or '{}', _SHOWN)}. It was not run: in "
                "planning mode it will run in the final turn, when the presenter calls it. There is no "
                "result now, so go on without one, and say in your answer that it should be called."
            ),
        )
