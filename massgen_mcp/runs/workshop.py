"""The workshop of a run: a bench of tools for each agent, over folders, servers and processes they share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread
from anyio import CapacityLimiter

from massgen_mcp.backends.info import BackendInfo, Capability, Support
from massgen_mcp.clock import Clock
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.check_custom import custom_functions
from massgen_mcp.config.servers import McpServer
from massgen_mcp.engine import AgentId, Board, Member
from massgen_mcp.errors import BackendError, MassgenError
from massgen_mcp.runs.bench import Bench, Planning, Source, Work
from massgen_mcp.runs.made import keep_changes, keep_files
from massgen_mcp.runs.media import Studio, wants_media
from massgen_mcp.secrets import Secrets
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
from massgen_mcp.team.workflow import WORKFLOW_TOOLS
from massgen_mcp.tools.custom.tools import CustomTools
from massgen_mcp.tools.downstream.entry import Entry, Outside, PackageCache
from massgen_mcp.tools.downstream.tools import DownstreamTools, SharedServers
from massgen_mcp.tools.files import FileTools
from massgen_mcp.tools.filters import NameLists
from massgen_mcp.tools.media.tools import MediaTools
from massgen_mcp.tools.shell import Shell, ShellLauncher, ShellSettings
from massgen_mcp.tools.toolset import NoTools, Toolset
from massgen_mcp.usage import Usage
from massgen_mcp.workspace.apply import applied
from massgen_mcp.workspace.areas import Areas
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.docker import DOCKER_IMAGE, Docker, find_docker
from massgen_mcp.workspace.run_command import MOST_SECONDS, USUAL_SECONDS
from massgen_mcp.workspace.run_folder import RunFolder
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox

__all__ = ["Machine", "open_workshop"]

_CWD = "${cwd}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a workshop finds on this machine."""

    state_dir: Path
    environ: Mapping[str, str]
    secrets: Secrets
    clock: Clock
    packages: PackageCache
    studio: Studio


@asynccontextmanager
async def open_workshop(
    machine: Machine, run_id: str, spec: TeamSpec, tell: Tell, charge: Charge
) -> AsyncGenerator[Workshop]:
    """The tools of a run's agents, for the time of the block. Afterwards nothing of them runs any more.

    Raises:
        BackendError: the run's folders can't be made.
    """
    if not any(_needs_bench(agent, spec) for agent in spec.agents):
        async with no_tools(run_id, spec, tell, charge) as nothing:
            yield nothing
        return
    async with AsyncExitStack() as stack:
        try:
            folder = RunFolder(
                machine.state_dir,
                run_id,
                snapshot_storage=spec.equipment.snapshot_storage,
                temporary=spec.equipment.temporary,
                secrets=machine.secrets,
            )
        except PathRefused as error:
            raise BackendError(f"The run's folder can't be made: {error}", kind="unavailable") from error
        stack.callback(folder.close)
        fitter = _Fitter(machine, spec, folder, stack, tell, charge)
        await fitter.prepare()
        yield _Room({agent.id: await fitter.bench(agent) for agent in spec.agents}, folder)


def _needs_bench(agent: AgentSpec, spec: TeamSpec) -> bool:
    equipment = spec.equipment
    return agent.info.kind == "runtime" or agent.id in equipment.tools or agent.id in equipment.contexts


class _Room:
    """An open workshop."""

    def __init__(self, benches: Mapping[AgentId, Bench], folder: RunFolder) -> None:
        self._benches = benches
        self._folder = folder

    async def toolset(self, agent: AgentId) -> Toolset:
        """That agent's bench, once its servers are up."""
        bench = self._benches.get(agent)
        if bench is None:
            return NoTools()
        await bench.ready()
        return bench

    async def made(self, snapshot: str | None) -> Made:
        """The files of the answer's snapshot, and what is different in the project."""
        return await anyio.to_thread.run_sync(self._made, snapshot, limiter=CapacityLimiter(1))

    def _made(self, snapshot: str | None) -> Made:
        warnings: list[str] = []
        files: tuple[MadeFile, ...] = ()
        changes: list[ChangedFile] = []
        try:
            if snapshot:
                files = keep_files(self._folder, snapshot)
            for bench in self._benches.values():
                if bench.work is not None and bench.work.before is not None:
                    found = applied(bench.work.areas, self._folder.snapshots, bench.work.before)
                    warnings += found.warnings
                    changes += [
                        ChangedFile(
                            path=change.path.removeprefix("project/"),
                            added=change.added,
                            removed=change.removed,
                            diff=change.diff,
                        )
                        for change in found.changes
                    ]
            keep_changes(self._folder, changes)
        except (PathRefused, OSError) as error:
            warnings.append(f"What was made could not be read whole: {error}")
        return Made(files=files, changes=tuple(changes), warnings=tuple(warnings))


class _Fitter:
    """Sets up the benches of a run."""

    def __init__(
        self,
        machine: Machine,
        spec: TeamSpec,
        folder: RunFolder,
        stack: AsyncExitStack,
        tell: Tell,
        charge: Charge,
    ) -> None:
        self._machine = machine
        self._spec = spec
        self._folder = folder
        self._stack = stack
        self._tell = tell
        self._charge = charge
        self._sandbox: Sandbox | None = None
        self._no_sandbox = ""
        members = [Member(id=agent.id, weight=agent.weight) for agent in spec.agents]
        self._labels = Board.begin(members, spec.settings).labels

    async def prepare(self) -> None:
        """What the benches share."""
        try:
            self._sandbox = await find_sandbox(self._machine.environ)
        except SandboxUnavailable as error:
            self._no_sandbox = str(error)
        outside = self._outside("shared", lambda text: self._tell(self._spec.agents[0].id, text), None)
        self._shared = await self._stack.enter_async_context(SharedServers(outside))

    async def bench(self, agent: AgentSpec) -> Bench:
        """The bench of one agent; its servers start, and are not waited for."""
        equipment = self._spec.equipment
        tools = equipment.tools.get(agent.id, AgentTools())
        tell = partial(self._tell, agent.id)
        work = self._work(agent, tools)
        own: list[Source] = []
        bench = Bench(
            agent=agent.id,
            own=own,
            work=work,
            lists=NameLists(allowed=tools.allowed_tools, refused=tools.refused),
            optional_filters=tools.optional_filters,
            elsewhere=_native(agent.info),
            redact=self._machine.secrets.redact,
            planning=Planning(words=equipment.planning_words) if equipment.planning else None,
        )
        if work is not None:
            await self._fit_work(bench, own, agent, tools, work, tell)
        if tools.mcp_servers:
            bench.servers = await self._servers(agent, tools.mcp_servers, bench, own, tell)
        if bench.planning is not None and (own or tools.mcp_servers):
            bench.guidance = _joined(bench.guidance, bench.planning.words or _PLANNING)
        return bench

    def _work(self, agent: AgentSpec, tools: AgentTools) -> Work | None:
        contexts = self._spec.equipment.contexts.get(agent.id, ())
        runs_programs = tools.enable_mcp_command_line or tools.custom_tools or agent.info.kind == "runtime"
        if not (tools.cwd or contexts or runs_programs or wants_media(tools)):
            return None
        name = tools.cwd if tools.cwd and not Path(tools.cwd).is_absolute() else "workspace"
        try:
            workspace = self._folder.workspace(self._labels[agent.id], name)
            areas = Areas(workspace, contexts)
        except PathRefused as error:
            raise BackendError(f"{agent.id} can't have its folder: {error}", kind="unavailable") from error
        self._stack.callback(areas.close)
        return Work(folder=self._folder, areas=areas)

    async def _fit_work(
        self,
        bench: Bench,
        own: list[Source],
        agent: AgentSpec,
        tools: AgentTools,
        work: Work,
        tell: Callable[[str], None],
    ) -> None:
        """Everything that works on the agent's files."""
        bench.readable = (self._folder.temporary, *(area.host for area in work.areas.project))
        native_files = _built_in(agent.info, Capability.FILESYSTEM)
        if not native_files and not tools.exclude_file_operation_mcps and _wants_files(tools, work):
            files = FileTools(work.areas)
            own.append(files)
            bench.guidance = files.guidance
        if tools.enable_mcp_command_line and not _built_in(agent.info, Capability.SHELL):
            shell = await self._shell(bench, agent, tools)
            own.append(shell)
            bench.guidance = _joined(bench.guidance, shell.guidance, _IN_COMMANDS)
        if wants_media(tools):
            own.append(self._media(bench, agent, tools, work))
        if tools.custom_tools:
            custom = await self._custom(bench, agent, tools, work, tell)
            own.append(custom)
            bench.confine = (*bench.confine, custom.begin)

    async def _shell(self, bench: Bench, agent: AgentSpec, tools: AgentTools) -> Shell:
        network = tools.command_line_execution_mode == "docker" and (
            tools.command_line_docker_network_mode != "none"
        )
        variables = {"ANSWERS": str(self._folder.temporary)}
        if bench.work is not None and bench.work.areas.project:
            variables["PROJECT"] = str(bench.work.areas.project[0].host)
        shell = Shell(
            await self._launcher(tools, agent),
            bench.confinement,
            ShellSettings(
                seconds=min(tools.command_line_timeout or USUAL_SECONDS, MOST_SECONDS),
                allowed=tools.command_line_allowed_commands,
                blocked=tools.command_line_blocked_commands,
                network=network,
            ),
            environ=variables,
        )
        bench.notes += shell.warnings
        return shell

    def _media(self, bench: Bench, agent: AgentSpec, tools: AgentTools, work: Work) -> MediaTools:
        async def paid(name: str, usage: Usage) -> None:
            del name
            self._charge(agent.id, usage)

        found, opened = self._machine.studio.fit(
            agent,
            tools,
            work.areas,
            sandbox=self._sandbox,
            paid=paid,
            private=self._spec.equipment.private,
        )
        self._stack.push_async_callback(opened.aclose)
        bench.notes += found.warnings
        return found

    async def _custom(
        self, bench: Bench, agent: AgentSpec, tools: AgentTools, work: Work, tell: Callable[[str], None]
    ) -> CustomTools:
        beside = self._spec.equipment.beside or Path.cwd()
        custom = CustomTools(
            custom_functions(tools, beside=beside, approved=self._spec.equipment.approved),
            sandbox=await self._confiner(tools, agent),
            confinement=work.areas.confinement(),
            agent_id=self._labels[agent.id],
            team_folder=self._spec.equipment.beside,
            taken=[tool.name for tool in WORKFLOW_TOOLS],
            tell=tell,
            redact=self._machine.secrets.redact,
        )
        bench.notes += custom.warnings
        return await self._stack.enter_async_context(custom)

    async def _launcher(self, tools: AgentTools, agent: AgentSpec) -> ShellLauncher:
        if tools.command_line_execution_mode != "docker":
            return await self._confiner(tools, agent)
        wanted = Docker(
            program="docker",
            image=tools.command_line_docker_image or DOCKER_IMAGE,
            environ=self._machine.environ,
            memory=tools.command_line_docker_memory_limit or "",
            cpus=tools.command_line_docker_cpu_limit,
            network=tools.command_line_docker_network_mode,
            variables=("ANSWERS", "PROJECT"),
        )
        try:
            return await find_docker(wanted)
        except MassgenError as error:
            raise BackendError(f"{agent.id}: {error}", kind="unavailable") from error

    async def _confiner(self, tools: AgentTools, agent: AgentSpec) -> Sandbox:
        if tools.sandbox == "off":
            return await find_sandbox(self._machine.environ, mode="off")
        if self._sandbox is None:
            raise BackendError(f"{agent.id}: {self._no_sandbox}", kind="unavailable")
        return self._sandbox

    async def _servers(
        self,
        agent: AgentSpec,
        servers: Sequence[McpServer],
        bench: Bench,
        own: Sequence[Source],
        tell: Callable[[str], None],
    ) -> DownstreamTools:
        reserved = {tool.name for tool in WORKFLOW_TOOLS} | {
            spec.name for source in own for spec in source.specs
        }
        workspace = bench.workspace
        beside = self._spec.equipment.beside
        downstream = DownstreamTools(
            [_entry(server, workspace=workspace, beside=beside) for server in servers],
            self._outside(self._labels[agent.id], tell, workspace),
            shared=self._shared,
            reserved=reserved,
        )
        return await self._stack.enter_async_context(downstream)

    def _outside(self, name: str, tell: Callable[[str], None], workspace: Path | None) -> Outside:
        return Outside(
            folder=self._folder.scratch / "servers" / name,
            cache=self._machine.packages,
            sandbox=self._sandbox,
            sandbox_problem=self._no_sandbox,
            environ=self._machine.environ,
            clock=self._machine.clock,
            workspace=workspace,
            tell=tell,
            redact=self._machine.secrets.redact,
        )


_IN_COMMANDS = "In commands, answers/LABEL is $ANSWERS/LABEL, and project/ is $PROJECT."
_PLANNING = (
    "Tools that change something outside of your workspace are only planned until the final turn: say in "
    "your answer which calls should be made, with which arguments, and why."
)


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _built_in(info: BackendInfo, capability: Capability) -> bool:
    cell = info.support.get(capability)
    return info.kind == "runtime" and cell is not None and cell.support is Support.BUILT_IN


def _native(info: BackendInfo) -> Callable[[str], bool]:
    """Whether a filter's entry may mean a runtime's own tool, which it filters by itself."""
    return lambda entry: info.kind == "runtime" and not entry.startswith("mcp__")


def _wants_files(tools: AgentTools, work: Work) -> bool:
    return bool(tools.cwd or work.areas.project or tools.enable_mcp_command_line)


def _entry(server: McpServer, *, workspace: Path | None, beside: Path | None) -> Entry:
    """An entry of a team file with everything looked up."""

    def put(text: str) -> str:
        return text.replace(_CWD, str(workspace)) if workspace is not None else text

    command = ()
    if server.command is not None:
        command = (put(server.command), *(put(word.get_secret_value()) for word in server.args))
    cwd = None
    if server.cwd is not None:
        cwd = Path(put(server.cwd))
        cwd = cwd if cwd.is_absolute() else (beside or Path.cwd()) / cwd
    return Entry(
        name=server.name,
        command=command,
        url=server.url.get_secret_value() if server.url else "",
        environ=tuple((name, put(value.get_secret_value())) for name, value in server.env.items()),
        headers=tuple((name, value.get_secret_value()) for name, value in server.headers.items()),
        cwd=cwd,
        timeout=server.timeout,
        lists=NameLists(
            allowed=server.allowed_tools,
            refused=tuple(dict.fromkeys((*server.disallowed_tools, *server.exclude_tools))),
        ),
        sandbox=server.sandbox,
        stateless=server.stateless,
        side_effects=tuple(server.side_effects.items()),
    )
