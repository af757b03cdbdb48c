"""Setting up the bench of one agent: its folder, files, shell, functions and servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio.to_thread

from massgen_mcp.backends.info import BackendInfo, Capability, Support
from massgen_mcp.clock import Clock
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.check_custom import custom_functions
from massgen_mcp.config.servers import McpServer
from massgen_mcp.engine import Board, Member
from massgen_mcp.errors import BackendError, MassgenError
from massgen_mcp.runs.bench import Bench, Planning, Source, Work
from massgen_mcp.runs.media import Studio, wants_media
from massgen_mcp.runs.servers import entry_of, names_workspace, spill_to
from massgen_mcp.runs.workplaces import open_work
from massgen_mcp.secrets import Secrets
from massgen_mcp.team.spec import AgentSpec, Charge, TeamSpec, Tell
from massgen_mcp.team.workflow import WORKFLOW_TOOLS
from massgen_mcp.tools.custom.tools import CustomTools
from massgen_mcp.tools.downstream.entry import Outside, PackageCache
from massgen_mcp.tools.downstream.tools import DownstreamTools, SharedServers
from massgen_mcp.tools.files import FileTools
from massgen_mcp.tools.filters import NameLists
from massgen_mcp.tools.media.tools import MediaTools
from massgen_mcp.tools.shell import Shell, ShellLauncher, ShellSettings
from massgen_mcp.usage import Usage
from massgen_mcp.workspace.areas import PROJECT, Area
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.docker import DOCKER_IMAGE, Docker, find_docker
from massgen_mcp.workspace.run_command import MOST_SECONDS, USUAL_SECONDS
from massgen_mcp.workspace.run_folder import RunFolder
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox

__all__ = ["Fitter", "Machine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a workshop finds on this machine."""

    state_dir: Path
    environ: Mapping[str, str]
    secrets: Secrets
    clock: Clock
    packages: PackageCache
    studio: Studio


class Fitter:
    """Sets up the benches of a run."""

    def __init__(
        self, machine: Machine, spec: TeamSpec, folder: RunFolder, tell: Tell, charge: Charge
    ) -> None:
        self._machine = machine
        self._spec = spec
        self._folder = folder
        self._tell = tell
        self._charge = charge
        self._sandbox: Sandbox | None = None
        self._no_sandbox = ""
        members = [Member(id=agent.id, weight=agent.weight) for agent in spec.agents]
        self._labels = Board.begin(members, spec.settings).labels

    async def prepare(self, stack: AsyncExitStack) -> None:
        """What the benches share, as long as the stack is open."""
        try:
            self._sandbox = await find_sandbox(self._machine.environ)
        except SandboxUnavailable as error:
            self._no_sandbox = str(error)
        outside = self._outside("shared", lambda text: self._tell(self._spec.agents[0].id, text))
        self._shared = await stack.enter_async_context(SharedServers(outside))

    async def bench(self, agent: AgentSpec, stack: AsyncExitStack) -> Bench:
        """The bench of one agent, as long as the stack is open; its servers start, and are not waited for.

        Raises:
            BackendError: it can't be had as the team file wants it.
        """
        equipment = self._spec.equipment
        tools = equipment.tools.get(agent.id, AgentTools())
        tell = partial(self._tell, agent.id)
        notes: list[str] = []
        work = await self._work(agent, tools, stack, notes)
        own: list[Source] = []
        bench = Bench(
            agent=agent.id,
            own=own,
            work=work,
            notes=notes,
            lists=NameLists(allowed=tools.allowed_tools, refused=tools.refused),
            optional_filters=tools.optional_filters,
            elsewhere=_native(agent.info),
            redact=self._machine.secrets.redact,
            planning=Planning(words=equipment.planning_words) if equipment.planning else None,
        )
        if work is not None:
            await self._fit_work(bench, own, agent, tools, work)
        if work is not None and wants_media(tools):
            own.append(self._media(bench, agent, tools, work, stack))
        if work is not None and tools.custom_tools:
            custom = await stack.enter_async_context(await self._custom(bench, own, agent, work, tell))
            own.append(custom)
            bench.confine = (*bench.confine, custom.begin)
        if tools.mcp_servers:
            servers = self._servers(agent, tools.mcp_servers, bench, own, tell)
            bench.servers = await stack.enter_async_context(servers)
        if bench.planning is not None and (own or tools.mcp_servers):
            bench.guidance = _joined(bench.guidance, bench.planning.words or _PLANNING)
        return bench

    def _media(
        self, bench: Bench, agent: AgentSpec, tools: AgentTools, work: Work, stack: AsyncExitStack
    ) -> MediaTools:
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
        stack.push_async_callback(opened.aclose)
        bench.notes += found.warnings
        return found

    async def _work(
        self, agent: AgentSpec, tools: AgentTools, stack: AsyncExitStack, notes: list[str]
    ) -> Work | None:
        contexts = self._spec.equipment.contexts.get(agent.id, ())
        runs_programs = tools.enable_mcp_command_line or tools.custom_tools or agent.info.kind == "runtime"
        named = any(names_workspace(server) for server in tools.mcp_servers)
        if not (tools.cwd or contexts or runs_programs or named or wants_media(tools)):
            return None
        opened = partial(
            open_work,
            self._machine.state_dir,
            self._folder,
            self._spec,
            agent,
            label=self._labels[agent.id],
            cwd=tools.cwd,
        )
        try:
            work, told = await anyio.to_thread.run_sync(opened)
        except (PathRefused, OSError) as error:
            raise _unavailable(f"it can't have its folders: {error}") from error
        stack.callback(work.areas.close)
        notes += told
        return work

    async def _fit_work(
        self, bench: Bench, own: list[Source], agent: AgentSpec, tools: AgentTools, work: Work
    ) -> None:
        """What works on the agent's files: our file tools and the shell, where it brings none of its own."""
        bench.readable = (self._folder.temporary, *map(_host, work.areas.project))
        # A runtime's own tools write in its workspace alone: in the project it writes with ours.
        native = _built_in(agent.info, Capability.FILESYSTEM) and not _writes(work.areas.project)
        if not native and not tools.exclude_file_operation_mcps and _wants_files(tools, work):
            files = FileTools(work.areas)
            own.append(files)
            bench.guidance = files.guidance
        if tools.enable_mcp_command_line and not _built_in(agent.info, Capability.SHELL):
            shell = await self._shell(bench, tools, work)
            own.append(shell)
            bench.guidance = _joined(bench.guidance, shell.guidance, _in_commands(work.areas.project))

    async def _shell(self, bench: Bench, tools: AgentTools, work: Work) -> Shell:
        network = tools.command_line_execution_mode == "docker" and (
            tools.command_line_docker_network_mode != "none"
        )
        variables = {"ANSWERS": str(self._folder.temporary)}
        if (base := _base(work.areas.project)) is not None:
            variables["PROJECT"] = str(base)
        launcher = await self._launcher(tools)
        try:
            settings = ShellSettings(
                seconds=min(tools.command_line_timeout or USUAL_SECONDS, MOST_SECONDS),
                allowed=tools.command_line_allowed_commands,
                blocked=tools.command_line_blocked_commands,
                network=network,
            )
        except ValueError as error:
            raise _unavailable(str(error)) from error
        shell = Shell(launcher, bench.confinement, settings, environ=variables)
        bench.notes += shell.warnings
        return shell

    async def _custom(
        self, bench: Bench, own: Sequence[Source], agent: AgentSpec, work: Work, tell: Callable[[str], None]
    ) -> CustomTools:
        equipment = self._spec.equipment
        tools = equipment.tools[agent.id]
        custom = CustomTools(
            custom_functions(tools, beside=equipment.beside or Path.cwd(), approved=equipment.approved),
            sandbox=await self._confiner(tools),
            confinement=work.areas.confinement(),
            agent_id=self._labels[agent.id],
            team_folder=equipment.beside,
            taken=_taken(own),
            tell=tell,
            spill=spill_to(work.areas),
            redact=self._machine.secrets.redact,
        )
        bench.notes += custom.warnings
        return custom

    async def _launcher(self, tools: AgentTools) -> ShellLauncher:
        if tools.command_line_execution_mode != "docker":
            return await self._confiner(tools)
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
            raise _unavailable(str(error)) from error

    async def _confiner(self, tools: AgentTools) -> Sandbox:
        if tools.sandbox == "off":
            return await find_sandbox(self._machine.environ, mode="off")
        if self._sandbox is None:
            raise _unavailable(self._no_sandbox)
        return self._sandbox

    def _servers(
        self,
        agent: AgentSpec,
        servers: Sequence[McpServer],
        bench: Bench,
        own: Sequence[Source],
        tell: Callable[[str], None],
    ) -> DownstreamTools:
        beside = self._spec.equipment.beside
        return DownstreamTools(
            [entry_of(server, workspace=bench.workspace, beside=beside) for server in servers],
            self._outside(self._labels[agent.id], tell, bench.work),
            shared=self._shared,
            reserved=_taken(own),
        )

    def _outside(self, name: str, tell: Callable[[str], None], work: Work | None = None) -> Outside:
        return Outside(
            folder=self._folder.scratch / "servers" / name,
            cache=self._machine.packages,
            sandbox=self._sandbox,
            sandbox_problem=self._no_sandbox,
            environ=self._machine.environ,
            clock=self._machine.clock,
            workspace=work.areas.workspace.host if work else None,
            tell=tell,
            spill=spill_to(work.areas) if work else None,
            redact=self._machine.secrets.redact,
        )


_PLANNING = (
    "Tools that change something outside of your workspace are only planned until the final turn: say in "
    "your answer which calls should be made, with which arguments, and why."
)


def _unavailable(words: str) -> BackendError:
    return BackendError(words, kind="unavailable", connected=False)


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _taken(own: Iterable[Source]) -> frozenset[str]:
    """Names that no other tool may have."""
    return frozenset(tool.name for tool in WORKFLOW_TOOLS) | {
        spec.name for source in own for spec in source.specs
    }


def _built_in(info: BackendInfo, capability: Capability) -> bool:
    cell = info.support.get(capability)
    return info.kind == "runtime" and cell is not None and cell.support is Support.BUILT_IN


def _native(info: BackendInfo) -> Callable[[str], bool]:
    """Whether a filter's entry may mean a runtime's own tool, which it filters by itself."""
    return lambda entry: info.kind == "runtime" and not entry.startswith("mcp__")


def _writes(project: Iterable[Area]) -> bool:
    return any(not area.refusal for area in project)


def _wants_files(tools: AgentTools, work: Work) -> bool:
    return bool(tools.cwd or work.areas.project or tools.enable_mcp_command_line)


# How programs find what the file tools call project/.


def _host(area: Area) -> Path:
    """What is seen of the project there: a folder, or one file alone."""
    return area.host / area.only if area.only else area.host


def _base_of(area: Area) -> Path | None:
    """The folder that `project` stands for in this area's name; None where its path has other names."""
    names = Path(area.prefix).parts[1:]
    host = _host(area)
    return (
        Path(*host.parts[: len(host.parts) - len(names)])
        if host.parts[-len(names) :] == names or not names
        else None
    )


def _base(project: Sequence[Area]) -> Path | None:
    """The one folder of all areas."""
    bases = {_base_of(area) for area in project}
    return bases.pop() if len(bases) == 1 else None


def _in_commands(project: Sequence[Area]) -> str:
    words = "In commands, answers/LABEL is $ANSWERS/LABEL"
    if not project:
        return f"{words}."
    if _base(project) is not None:
        return f"{words}, and {PROJECT}/ is $PROJECT."
    places = (f"{area.prefix} is {_host(area)}" for area in project)
    return f"{words}; {'; '.join(places)}."
