"""One agent's tools in a run: files, shell, functions, servers; filtered, and held back by planning mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread

from massgen_mcp.config.agent_tools import OWN_PREFIXES
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec
from massgen_mcp.tools.downstream.tools import DownstreamTools
from massgen_mcp.tools.filters import Candidate, NameLists, choose
from massgen_mcp.tools.toolset import Situation
from massgen_mcp.workspace.apply import Baseline, baseline, keep_baseline
from massgen_mcp.workspace.areas import Areas
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.run_folder import RunFolder

__all__ = ["NOT_SHOWN", "Bench", "Planning", "Source", "Work"]

NOT_SHOWN = "what it changed in the project before a restart is not shown"
_NOTES = 5
"""Files that are named when they could not be kept with an answer."""
_WRITE_NOW = "You may write to project/ now: make the changes there, not only in your answer."
_RUN_NOW = "Tools that were only planned before run now: make the calls that are needed."
_GROUPS = tuple(prefix.removeprefix("mcp__").removesuffix("__") for prefix in OWN_PREFIXES)


class Source(Protocol):
    """Tools of one kind."""

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The definitions, constant for a run."""
        ...

    def idempotent(self, name: str) -> bool:
        """Whether a call may be repeated after a crash."""
        ...

    def side_effects(self, name: str) -> bool:
        """Whether a call changes something beyond the agent's own workspace."""
        ...

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call. Failures are results with `is_error`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """Planning mode: what changes something waits for the presenter's turn."""

    words: str = ""
    """The operator's own instruction."""


@dataclass(slots=True, kw_only=True)
class Work:
    """The agent's files, where it has some."""

    folder: RunFolder
    areas: Areas
    label: str
    """What the agent is called in the run's folders."""
    before: Baseline | None = None
    """The project before the presenter's turn; there already where an earlier process began that turn."""
    lost: bool = False
    """Whether an earlier process's can't be had, as has been said."""


@dataclass(slots=True, kw_only=True)
class Bench:
    """The toolset of one agent. `ready` it before use."""

    agent: str
    own: Sequence[Source] = ()
    """Our tools: files, shell, functions, media."""
    servers: DownstreamTools | None = None
    work: Work | None = None
    lists: NameLists = field(default_factory=NameLists)
    optional_filters: bool = False
    elsewhere: Callable[[str], bool] = lambda _: False
    planning: Planning | None = None
    guidance: str = ""
    redact: Callable[[str], str] = str
    """Takes the process's own secrets out of what tools give to a model."""
    readable: tuple[Path, ...] = ()
    confine: Sequence[Callable[[Confinement], None]] = ()
    """Told where programs live from now on, at the beginning of a turn."""
    notes: list[str] = field(default_factory=list[str])
    specs: tuple[ToolSpec, ...] = ()
    _sources: Mapping[str, Source] = field(default_factory=dict[str, Source])
    _ready: bool = False
    _readying: anyio.Lock = field(default_factory=anyio.Lock)
    _presents: bool = False

    @property
    def workspace(self) -> Path | None:
        """The agent's own folder."""
        return self.work.areas.workspace.host if self.work else None

    @property
    def presenting(self) -> str:
        """What the presenter is told beside its task."""
        project = self.work.areas.project if self.work else ()
        parts = [_WRITE_NOW] if any(not area.refusal for area in project) else []
        if self.planning is not None and self.specs:
            parts.append(_RUN_NOW)
        return " ".join(parts)

    @property
    def hidden(self) -> tuple[Path, ...]:
        """What keeps keys in the project."""
        return self.work.areas.keys if self.work else ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be had."""
        return (*self.notes, *(self.servers.warnings if self.servers else ()))

    async def ready(self) -> None:
        """Wait for the servers, then settle which tools there are.

        Raises:
            BackendError: a filter refuses what is not there.
        """
        async with self._readying:
            if self._ready:
                return
            if self.servers is not None:
                await self.servers.ready()
            self._choose()
            self._ready = True

    def _choose(self) -> None:
        every: dict[str, Source] = {spec.name: source for source in self.own for spec in source.specs}
        candidates = [Candidate(name=name, groups=_GROUPS, writes=None) for name in every]
        if self.servers is not None:
            candidates += self.servers.candidates
        choice = choose(
            candidates,
            self.lists,
            of_servers=self.servers.server_lists if self.servers else None,
            down=self.servers.down if self.servers else (),
            optional=self.optional_filters,
            elsewhere=self.elsewhere,
        )
        errors = [str(problem) for problem in choice.problems if problem.severity == "error"]
        if errors:
            raise BackendError(" ".join(errors), kind="unavailable", connected=False)
        self.notes += [str(problem) for problem in choice.problems]
        kept = frozenset(choice.names)
        specs = [spec for source in self.own for spec in source.specs if spec.name in kept]
        if self.servers is not None:
            self.servers.keep(kept)
            specs += self.servers.specs
            every |= {spec.name: self.servers for spec in self.servers.specs}
        self.specs = tuple(specs)
        self._sources = {spec.name: every[spec.name] for spec in specs}

    def idempotent(self, name: str) -> bool:
        """Whether a call of that tool may be repeated after a crash."""
        source = self._sources.get(name)
        return source is not None and source.idempotent(name)

    async def begin(self, situation: Situation) -> None:
        """A turn begins: the answers it may look into, and whether it may write to the project.

        Raises:
            BackendError: a folder is gone, or the disk fails.
        """
        self._presents = situation.presents
        if self.work is None:
            return
        try:
            for note in await anyio.to_thread.run_sync(_arrange, self.work, situation):
                self._note(note)
        except (PathRefused, OSError) as error:
            words = f"Its folders can't be had for this turn: {error}"
            raise BackendError(words, kind="unavailable", connected=False) from error
        confinement = self.confinement()
        for tell in self.confine:
            tell(confinement)

    def confinement(self) -> Confinement:
        """Where programs of this agent live in the present turn."""
        if self.work is None:
            raise AssertionError("only an agent with a folder runs programs")
        return self.work.areas.confinement(guarded=self.work.before.guarded if self.work.before else ())

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call; in planning mode one with side effects waits for the presenter's turn."""
        source = self._sources.get(call.name)
        if source is None:
            return ToolResult(call_id=call.id, content=f"There is no tool {call.name!r}.", is_error=True)
        if self.planning is not None and not self._presents and source.side_effects(call.name):
            words = (
                f"Planned, not run: {call.name} changes something, so it waits for the final turn. Say in "
                "your answer what it should be called with and what you expect of it."
            )
            return ToolResult(call_id=call.id, content=words)
        result = await source.call(call)
        return replace(result, content=self.redact(result.content))

    async def snapshot(self, *, empty: bool = False) -> str:
        """The workspace as it is now."""
        work = self.work
        if work is None:
            return ""
        try:
            taken = await anyio.to_thread.run_sync(work.folder.snapshots.take, work.areas.workspace.root)
        except (PathRefused, OSError) as error:
            self._note(f"its files could not be kept with its answer: {error}")
            return ""
        if empty:
            return taken.id
        for note in taken.notes[:_NOTES]:
            self._note(f"{note.path} is not kept: {note.why}")
        if len(taken.notes) > _NOTES:
            self._note(f"{len(taken.notes) - _NOTES:,} more of its files are not kept")
        return taken.id if taken.files else ""

    def _note(self, words: str) -> None:
        if words not in self.notes:
            self.notes.append(words)


def _arrange(work: Work, situation: Situation) -> list[str]:
    """Make an agent's folders what they are to be for a turn. Returns what can't be."""
    if situation.start:
        work.folder.snapshots.restore(situation.start, work.areas.workspace.root)
    work.areas.begin(presents=situation.presents, shown=work.folder.shown(situation.shown))
    if situation.presents and work.before is None and any(not area.refusal for area in work.areas.project):
        late = work.lost or situation.resumed
        before = replace(baseline(work.areas, work.folder.snapshots), late=late)
        # Kept before the presenter can change anything: what it changes then is shown, come what may.
        keep_baseline(before, work.areas, work.folder.kept, work.label)
        work.before = before
        return [NOT_SHOWN] if late and not work.lost else []
    return []
