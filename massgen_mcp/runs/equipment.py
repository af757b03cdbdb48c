"""From a team file to what its agents may use: every path looked up, every wish that can't be met refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from massgen_mcp.config.agent_tools import AgentTools, ContextPath
from massgen_mcp.config.models import AgentConfig, TeamConfig
from massgen_mcp.engine import AgentId
from massgen_mcp.errors import RequestRefused
from massgen_mcp.runs.roots import Roots
from massgen_mcp.team.spec import Equipment
from massgen_mcp.workspace.areas import check_context, context_name
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.context import Context

_FOR_ALL = (
    "enable_multimodal_tools",
    "image_generation_backend",
    "image_generation_model",
    "audio_generation_backend",
    "audio_generation_model",
    "video_generation_backend",
    "video_generation_model",
)

__all__ = ["equip", "needs_sandbox", "writes_project"]


def equip(
    team: TeamConfig,
    agents: Collection[AgentId],
    *,
    roots: Roots,
    home: Path,
    private: Sequence[Path] = (),
    approved: Sequence[Path] = (),
) -> Equipment:
    """What these agents of a team may use.

    Args:
        team: as its file says.
        agents: who takes part.
        roots: the folders of this machine that context paths may lie in.
        home: of the user.
        private: folders of ours, which no agent may see.
        approved: folders that custom tools may be loaded from, beside the team file's own.

    Raises:
        RequestRefused: a context path is not there, or may not be shown. Nothing was spent.
    """
    orchestrator = team.orchestrator
    beside = team.source.parent if team.source is not None else None
    seated = [agent for agent in team.agents if agent.id in agents]
    finder = _Finder(roots, home=home, private=private, beside=beside)
    return Equipment(
        tools={agent.id: tools for agent in seated if (tools := _tools(agent, team)) != AgentTools()},
        contexts={
            agent.id: found
            for agent in seated
            if (found := finder.contexts((*orchestrator.context_paths, *agent.tools.context_paths)))
        },
        planning=orchestrator.coordination.enable_planning_mode,
        planning_words=orchestrator.coordination.planning_mode_instruction or "",
        snapshot_storage=orchestrator.snapshot_storage or "snapshots",
        temporary=orchestrator.agent_temporary_workspace or "temp_workspaces",
        private=team.private,
        beside=beside,
        approved=tuple(approved),
        optional=frozenset(agent.id for agent in seated if agent.optional),
    )


def _tools(agent: AgentConfig, team: TeamConfig) -> AgentTools:
    """An agent's tools, with what the team says of media for all."""
    orchestrator, own = team.orchestrator, agent.tools
    given = {
        key: value
        for key in _FOR_ALL
        if (value := getattr(orchestrator, key)) and key not in own.model_fields_set
    }
    return own.model_copy(update=given) if given else own


class _Finder:
    """Looks context paths up."""

    def __init__(self, roots: Roots, *, home: Path, private: Sequence[Path], beside: Path | None) -> None:
        self._roots = roots
        self._home = home
        self._private = private
        self._beside = beside
        self._found: dict[ContextPath, Context] = {}

    def contexts(self, paths: Iterable[ContextPath]) -> tuple[Context, ...]:
        return tuple(self._context(path) for path in dict.fromkeys(paths))

    def _context(self, wanted: ContextPath) -> Context:
        if wanted not in self._found:
            path = self._path(wanted.path)
            try:
                check_context(path, home=self._home, private=self._private)
            except PathRefused as error:
                raise RequestRefused(f"context_paths: {error} Nothing was spent.") from error
            self._found[wanted] = Context(
                path=path,
                name=context_name(wanted.path, self._roots.first),
                write=wanted.permission == "write",
                protected=wanted.protected_paths,
            )
        return self._found[wanted]

    def _path(self, text: str) -> Path:
        """The one place a context path means: in a root, or beside the team file where it is absolute."""
        given = Path(text).expanduser()
        tried = [given] if given.is_absolute() else [root / given for root in self._roots.folders]
        real = [path.resolve() for path in tried]
        if not real:
            raise RequestRefused(
                f"context_paths: {text}: no project is open here ({self._roots.why}). Start the server in "
                "the project, or name it with --root or MASSGEN_MCP_ROOTS. Nothing was spent."
            )
        found = next((path for path in real if path.exists()), None)
        if found is None:
            raise RequestRefused(
                f"context_paths: there is no {text} in {_listed(self._roots.folders) or real[0]}. "
                "Mend the path in the team file. Nothing was spent."
            )
        inside = [*self._roots.folders, *([self._beside] if self._beside else [])]
        if not any(found.is_relative_to(folder.resolve()) for folder in inside):
            raise RequestRefused(
                f"context_paths: {text} lies neither in the project ({_listed(inside)}) nor beside the team "
                "file. Name its folder with --root or MASSGEN_MCP_ROOTS. Nothing was spent."
            )
        return found


def _listed(folders: Iterable[Path]) -> str:
    return ", ".join(map(str, folders))


def writes_project(equipment: Equipment) -> bool:
    """Whether a presenter may change the project, so that its turn is needed for its own sake."""
    return any(context.write for contexts in equipment.contexts.values() for context in contexts)


def needs_sandbox(equipment: Equipment) -> tuple[AgentId, ...]:
    """The agents whose tools can't be had without a sandbox."""
    return tuple(agent for agent, tools in equipment.tools.items() if _confined(tools))


def _confined(tools: AgentTools) -> bool:
    shell = tools.enable_mcp_command_line and tools.command_line_execution_mode != "docker"
    return tools.sandbox == "auto" and (shell or bool(tools.custom_tools))
