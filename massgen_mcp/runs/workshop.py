"""The workshop of a run: a bench of tools for each agent, over folders, servers and processes they share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
from anyio import CapacityLimiter

from massgen_mcp.engine import AgentId
from massgen_mcp.errors import BackendError
from massgen_mcp.runs.bench import Bench
from massgen_mcp.runs.fitting import Fitter, Machine
from massgen_mcp.runs.made import MOST_FILES, forget_files, keep_changes, keep_files
from massgen_mcp.team.spec import (
    AgentSpec,
    ChangedFile,
    Charge,
    Made,
    MadeFile,
    TeamSpec,
    Tell,
    Workshop,
    no_tools,
)
from massgen_mcp.tools.toolset import NoTools, Toolset
from massgen_mcp.workspace.apply import applied
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.run_folder import RunFolder

__all__ = ["Machine", "open_workshop"]


@asynccontextmanager
async def open_workshop(
    machine: Machine, run_id: str, spec: TeamSpec, tell: Tell, charge: Charge
) -> AsyncGenerator[Workshop]:
    """The tools of a run's agents, for the time of the block. Afterwards nothing of them runs any more.

    Benches are set up side by side while the run goes on. One that can't be had is its agent's failure.

    Raises:
        BackendError: the run's folders can't be made.
    """
    if not any(_needs_bench(agent, spec) for agent in spec.agents):
        async with no_tools(run_id, spec, tell, charge) as nothing:
            yield nothing
        return
    async with AsyncExitStack() as stack:
        folder = _open_folder(machine, run_id, spec)
        stack.callback(folder.close)
        try:
            await anyio.to_thread.run_sync(_tidy, folder)
        except (PathRefused, OSError) as error:
            raise BackendError(f"The run's folder can't be tidied: {error}", kind="unavailable") from error
        fitter = Fitter(machine, spec, folder, tell, charge)
        await fitter.prepare(stack)
        room = _Room(fitter, spec.agents, folder, redact=machine.secrets.redact)
        async with anyio.create_task_group() as keepers:
            for agent in spec.agents:
                keepers.start_soon(room.keep, agent)
            try:
                yield room
            finally:
                room.close()


def _needs_bench(agent: AgentSpec, spec: TeamSpec) -> bool:
    equipment = spec.equipment
    return agent.info.kind == "runtime" or agent.id in equipment.tools or agent.id in equipment.contexts


def _open_folder(machine: Machine, run_id: str, spec: TeamSpec) -> RunFolder:
    try:
        return RunFolder(
            machine.state_dir,
            run_id,
            snapshot_storage=spec.equipment.snapshot_storage,
            temporary=spec.equipment.temporary,
            secrets=machine.secrets,
        )
    except (PathRefused, OSError) as error:
        raise BackendError(f"The run's folder can't be made: {error}", kind="unavailable") from error


def _tidy(folder: RunFolder) -> None:
    """Clear away what another process, which died in this run, has left half done."""
    folder.tidy()
    forget_files(folder)


@dataclass(slots=True)
class _Desk:
    """Where one agent's bench is, or why there is none."""

    settled: anyio.Event = field(default_factory=anyio.Event)
    bench: Bench | None = None
    failure: Exception | None = None


class _Room:
    """An open workshop."""

    def __init__(
        self,
        fitter: Fitter,
        agents: Iterable[AgentSpec],
        folder: RunFolder,
        *,
        redact: Callable[[str], str],
    ) -> None:
        self._fitter = fitter
        self._folder = folder
        self._redact = redact
        self._desks: Mapping[AgentId, _Desk] = {agent.id: _Desk() for agent in agents}
        self._closing = anyio.Event()

    async def keep(self, agent: AgentSpec) -> None:
        """Set up an agent's bench, and clear it away when the workshop closes."""
        desk = self._desks[agent.id]
        async with AsyncExitStack() as stack:
            try:
                desk.bench = await self._fitter.bench(agent, stack)
            except Exception as error:  # noqa: BLE001 - raised again in the agent's own turn, which is its edge
                desk.failure = error
            desk.settled.set()
            await self._closing.wait()

    def close(self) -> None:
        """Let the benches be cleared away."""
        self._closing.set()

    async def toolset(self, agent: AgentId) -> Toolset:
        """That agent's bench, once its servers are up."""
        desk = self._desks.get(agent)
        if desk is None:
            return NoTools()
        await desk.settled.wait()
        if desk.failure is not None:
            raise desk.failure
        if desk.bench is None:
            raise AssertionError("a settled desk has a bench or a failure")
        await desk.bench.ready()
        return desk.bench

    async def made(self, snapshot: str | None) -> Made:
        """The files of the answer's snapshot, and what is different in the project."""
        return await anyio.to_thread.run_sync(self._made, snapshot, limiter=CapacityLimiter(1))

    def _made(self, snapshot: str | None) -> Made:
        warnings: list[str] = []
        changes: dict[str, ChangedFile] = {}
        # Each by itself: what can't be read must not hide the rest, least of all changes to the project.
        for desk in self._desks.values():
            if desk.bench is not None:
                with _telling(warnings, "What was changed in the project"):
                    changes |= {change.path: change for change in _changed(desk.bench, warnings)}
        with _telling(warnings, "The diffs of what was changed"):
            keep_changes(self._folder, changes.values(), redact=self._redact)
        files: list[MadeFile] = []
        if snapshot:
            with _telling(warnings, "What was made"):
                files += keep_files(self._folder, snapshot)
        if len(files) > MOST_FILES:
            top = str(files[0].local_path).removesuffix(files[0].path)
            warnings.append(f"Only {MOST_FILES} of {len(files):,} files are listed; all are in {top}.")
        return Made(
            files=tuple(files[:MOST_FILES]), changes=tuple(changes.values()), warnings=tuple(warnings)
        )


@contextmanager
def _telling(warnings: list[str], what: str) -> Generator[None]:
    """A failure within is a warning."""
    try:
        yield
    except (PathRefused, OSError, ValueError) as error:
        warnings.append(f"{what} could not be read or kept whole: {error}")


def _changed(bench: Bench, warnings: list[str]) -> tuple[ChangedFile, ...]:
    """What the agent has changed in the project, by the names that people call it."""
    work = bench.work
    if work is None or work.before is None:
        return ()
    found = applied(work.areas, work.folder.snapshots, work.before)
    warnings += found.warnings
    return tuple(
        ChangedFile(
            path=change.path.removeprefix("project/"),
            added=change.added,
            removed=change.removed,
            diff=change.diff,
        )
        for change in found.changes
    )
