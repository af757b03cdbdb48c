"""The team's tools as AG2 takes them. Their arguments are parsed by nobody but the team."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack
from types import ModuleType
from typing import Any, Protocol

from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec

__all__ = ["Desk", "TeamTools"]


class Desk(Protocol):
    """Where a turn's calls are taken."""

    async def call(self, call: ToolCall) -> ToolResult:
        """Run a call of the team's; does not return when it ends the turn."""
        ...

    def observe(self, call: ToolCall) -> None:
        """The agent uses a tool of its own."""
        ...


class TeamTools:
    """All of the team's tools, in the shape of one AG2 `Tool`.

    Calls of names that nobody knows come here too, so that they are answered and counted as everywhere.
    `show` is told each result: AG2 carries no pictures.
    """

    name = "team"
    declared_in_code = True

    def __init__(
        self,
        specs: Iterable[ToolSpec],
        desk: Desk,
        *,
        events: ModuleType,
        final: ModuleType,
        own: str,
        show: Callable[[ToolResult], None],
    ) -> None:
        self._desk = desk
        self._events = events
        self._own = own
        self._show = show
        self._schemas = [
            final.FunctionToolSchema(
                function=final.FunctionDefinition(
                    name=spec.name, description=spec.description, parameters=dict(spec.parameters)
                )
            )
            for spec in specs
        ]

    async def schemas(self, context: object) -> Sequence[Any]:
        """The definitions."""
        del context
        return self._schemas

    def register(
        self, stack: ExitStack | AsyncExitStack, context: Any, *, middleware: Iterable[object] = ()
    ) -> None:
        """Take the calls of a turn, before AG2 looks at them."""
        del middleware

        async def take(event: Any) -> Any:
            call = ToolCall(id=event.id, name=event.name, arguments=event.arguments)
            if event.name == self._own:
                self._desk.observe(call)
                return event
            result = await self._desk.call(call)
            self._show(result)
            await context.send(self._events.ToolResultEvent.from_call(event, result=result.content))
            return None

        stack.enter_context(context.stream.where(self._events.ToolCallEvent).sub_scope(take, interrupt=True))
