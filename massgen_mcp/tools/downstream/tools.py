"""The tools of an agent's downstream servers, as one source of its toolset."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec, parse_arguments
from massgen_mcp.text import shorten, visible
from massgen_mcp.tools.downstream.connection import RUN_OVER, Connection
from massgen_mcp.tools.downstream.definitions import Definition
from massgen_mcp.tools.downstream.denied import sandbox_hint
from massgen_mcp.tools.downstream.entry import Entry, Outside
from massgen_mcp.tools.downstream.failures import CallFailed, ServerOff
from massgen_mcp.tools.downstream.names import name_tools
from massgen_mcp.tools.downstream.results import shape_result
from massgen_mcp.tools.filters import Candidate, Choice, NameLists, choose

__all__ = ["DownstreamTools", "SharedServers"]

_MAX_DEPTH = 64
"""Of arguments: what no server needs would only be a way to make one fail."""
_TOLD = 120
_TOLD_EVERY = 1.0
"""Seconds between two lines of progress of one call."""


class _Group:
    """A task group as long as a block, for connections that live in it."""

    def __init__(self) -> None:
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._opened(self._tasks)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._tasks is None:
            raise AssertionError("left without having been entered")
        self._tasks.cancel_scope.cancel()
        if isinstance(error, Exception):
            # The group would wrap what went wrong in the block, which has nothing to do with it.
            await self._tasks.__aexit__(None, None, None)
            return False
        return await self._tasks.__aexit__(kind, error, trace)

    def _opened(self, tasks: TaskGroup) -> None:
        """The block was entered."""


class SharedServers(_Group):
    """Connections that all agents of a run use together: to servers whose entry says that it is stateless."""

    def __init__(self, outside: Outside) -> None:
        super().__init__()
        self._outside = outside
        self._connections: dict[Entry, Connection] = {}

    def connection(self, entry: Entry) -> Connection:
        """The one to that server, begun when first asked for."""
        if self._tasks is None:
            raise RuntimeError("enter the block first")
        if entry not in self._connections:
            self._connections[entry] = Connection(entry, self._outside)
            self._tasks.start_soon(self._connections[entry].run)
        return self._connections[entry]


@dataclass(frozen=True, slots=True)
class _Tool:
    connection: Connection
    definition: Definition
    name: str

    @property
    def side_effects(self) -> bool:
        said = dict(self.connection.entry.side_effects).get(self.definition.tool)
        return self.definition.read_only is not True if said is None else said


class DownstreamTools(_Group):
    """The tools of one agent's servers, open for one run.

    Entering the block begins to connect to all servers at once and waits for none. `ready` waits for what
    they offer; before that there are no `specs`. A server that does not start is off for the run and named
    in `warnings`; the others go on. Leaving the block ends every connection and every process.

    Args:
        entries: the servers. Names are unique.
        outside: what surrounds them.
        shared: the run's connections to stateless servers; without it they are this agent's own, too.
        reserved: names that no tool may have: those of the workflow and of our own tools.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        outside: Outside,
        *,
        shared: SharedServers | None = None,
        reserved: Collection[str] = (),
    ) -> None:
        super().__init__()
        self._entries = tuple(entries)
        self._outside = outside
        self._shared = shared
        self._reserved = frozenset(reserved)
        self._connections: list[Connection] = []
        self._tools: dict[str, _Tool] | None = None
        self._kept: frozenset[str] | None = None
        self._notes: list[str] = []

    def _opened(self, tasks: TaskGroup) -> None:
        for entry in self._entries:
            if entry.stateless and self._shared is not None:
                self._connections.append(self._shared.connection(entry))
            else:
                connection = Connection(entry, self._outside)
                self._connections.append(connection)
                tasks.start_soon(connection.run)

    async def ready(self) -> None:
        """Wait until every server has said what it offers, or is off."""
        for connection in self._connections:
            await connection.ready()
        if self._tools is None:
            self._tools = dict(self._named())

    def _named(self) -> Iterator[tuple[str, _Tool]]:
        found = [(one, tool) for one in self._connections for tool in one.listing.tools]
        names = name_tools([(one.entry.name, tool.tool) for one, tool in found], self._reserved)
        for one, tool in found:
            name = names.get((one.entry.name, tool.tool))
            if name is None:
                self._notes.append(f"{one.entry.name}: the tool {tool.tool!r} is left out: its name is taken")
            else:
                yield name, _Tool(one, tool, name)

    def _all(self) -> dict[str, _Tool]:
        if self._tools is None:
            raise RuntimeError("the servers have not said yet what they offer: await ready() first")
        return self._tools

    def _offered(self) -> dict[str, _Tool]:
        return {name: tool for name, tool in self._all().items() if self._kept is None or name in self._kept}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The definitions, constant for the run, in the order of the servers and their lists."""
        return tuple(
            ToolSpec(name=name, description=_described(tool), parameters=tool.definition.parameters)
            for name, tool in self._offered().items()
        )

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All tools of servers that are up, for filtering."""
        return tuple(
            Candidate(
                name=name,
                bare=tool.definition.tool,
                server=tool.connection.entry.name,
                writes=None if tool.definition.read_only is None else not tool.definition.read_only,
            )
            for name, tool in self._all().items()
        )

    @property
    def down(self) -> frozenset[str]:
        """Servers that never said what they offer."""
        return frozenset(one.entry.name for one in self._connections if one.off and not one.listing.tools)

    @property
    def server_lists(self) -> dict[str, NameLists]:
        """The filters of the entries themselves."""
        return {entry.name: entry.lists for entry in self._entries}

    def keep(self, names: Iterable[str]) -> None:
        """From now on there are only these tools."""
        self._kept = frozenset(names)

    def choose(
        self,
        lists: NameLists | None = None,
        own: Sequence[Candidate] = (),
        *,
        optional: bool = False,
        elsewhere: Callable[[str], bool] = lambda _: False,
    ) -> Choice:
        """Filter these tools together with an agent's own ones, and keep what is left."""
        choice = choose(
            [*own, *self.candidates],
            lists or NameLists(),
            of_servers=self.server_lists,
            down=self.down,
            optional=optional,
            elsewhere=elsewhere,
        )
        self.keep(choice.names)
        return choice

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be had and what was odd, so far."""
        return (*self._notes, *(line for one in self._connections for line in _warnings(one)))

    def idempotent(self, name: str) -> bool:
        """Whether a call may be repeated after a crash, by what the server says of the tool."""
        tool = self._all().get(name)
        return tool is not None and tool.definition.repeatable

    def side_effects(self, name: str) -> bool:
        """Whether a call changes something: unless the server says it only reads, or the operator does."""
        tool = self._all().get(name)
        return tool is None or tool.side_effects

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call. Failures are results with `is_error`; only cancellation raises."""
        await self.ready()
        tool = self._offered().get(call.name)
        if tool is None:
            return _error(call, self._unknown(call.name))
        try:
            arguments = parse_arguments(call)
        except ValueError as error:
            return _error(call, f"{call.name}: {error}")
        if _is_deep(arguments):
            return _error(call, f"{call.name}: the arguments are nested deeper than {_MAX_DEPTH}")
        server = tool.connection.entry.name
        try:
            raw = await tool.connection.call(
                tool.definition.tool,
                arguments,
                repeatable=tool.definition.repeatable,
                progress=_Teller(self._outside.tell, call.name),
            )
        except ServerOff as off:
            return _error(call, f"{call.name}: the server {server!r} is off for this run: {self._fit(off)}")
        except CallFailed as failed:
            return _error(call, f"{call.name}: {self._fit(failed)}")
        result = await shape_result(call.id, call.name, raw, tool.definition, self._outside)
        hint = sandbox_hint(result.content, tool.connection.confinement) if result.is_error else ""
        return _error(call, f"{result.content}\n[{hint}]") if hint else result

    def _fit(self, error: Exception) -> str:
        return shorten(visible(self._outside.redact(str(error))), 2000)

    def _unknown(self, name: str) -> str:
        offered = self._offered()
        same = [one for one, tool in offered.items() if tool.definition.tool == name]
        near = same or difflib.get_close_matches(name[:_TOLD], list(offered), n=3) or list(offered)[:10]
        known = f" Did you mean {' or '.join(near)}?" if near else ""
        return f"There is no tool named {shorten(visible(name), 100)!r}.{known}"


class _Teller:
    """Progress of one call, upwards: at most a line a second."""

    def __init__(self, tell: Callable[[str], None], name: str) -> None:
        self._tell = tell
        self._name = name
        self._next = 0.0

    def __call__(self, progress: float, total: float | None, words: str) -> None:
        now = anyio.current_time()
        if now < self._next:
            return
        self._next = now + _TOLD_EVERY
        amount = f"{progress:g}/{total:g}" if total else f"{progress:g}"
        text = " ".join(visible(words).split()) or amount
        self._tell(shorten(f"{self._name}: {text}", _TOLD))


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        inner = [cast("dict[str, object]", one).values() for one in level if isinstance(one, dict)]
        lists = [cast("list[object]", one) for one in level if isinstance(one, list)]
        level = [item for part in (*inner, *lists) for item in part]
    return bool(level)


def _described(tool: _Tool) -> str:
    """The server's description, as its own words."""
    words = tool.definition.description
    server = f"the MCP server {tool.connection.entry.name!r}"
    return f"[Tool of {server}, in its own words] {words}" if words else f"[Tool of {server}]"


def _error(call: ToolCall, words: str) -> ToolResult:
    return ToolResult(call_id=call.id, content=words, is_error=True)


def _warnings(connection: Connection) -> Iterator[str]:
    name = f"MCP server {connection.entry.name}"
    if connection.off and connection.off != RUN_OVER:
        yield f"{name} is off: {connection.off}"
    elif not connection.listing.tools and not connection.off:
        yield f"{name} offers no tools"
    yield from (f"{name}: {note}" for note in connection.listing.notes)
    yield from (f"{name}: the tool {tool!r} is off: {why}" for tool, why in connection.changed.items())
    if odd := ", ".join(connection.counts):
        yield f"{name} sent {odd}; they were ignored"
