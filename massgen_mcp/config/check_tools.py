"""What can be wrong with an agent's tools: filters, servers, media, and what they add up to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath, PureWindowsPath

from massgen_mcp.backends.claude_code import NATIVE_TOOLS
from massgen_mcp.backends.info import Capability, Support
from massgen_mcp.config.agent_tools import OWN_FILE_TOOLS, OWN_PREFIXES, SHELL_TOOL, AgentTools, ContextPath
from massgen_mcp.config.check_custom import MASSGEN_MEDIA, is_media
from massgen_mcp.config.check_security import check_security
from massgen_mcp.config.folders import names_a_place, outside, unfit
from massgen_mcp.config.models import Orchestrator
from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.config.seat import Seat
from massgen_mcp.errors import Problem

__all__ = ["check_context_paths", "check_makers", "check_tools"]

_VIDEO_GONE = "OpenAI's video API was shut down on 2026-09-24."
_OFFER = "Use video_generation_backend: gemini."
_MAKERS = frozenset({"openai", "gemini", "google"})
_NEEDS = (
    ("mcp_servers", Capability.MCP, "MCP servers"),
    ("custom_tools", Capability.CUSTOM_TOOLS, "custom tools"),
    ("cwd", Capability.FILESYSTEM, "a workspace"),
    ("enable_mcp_command_line", Capability.SHELL, "a shell"),
)


def check_tools(seat: Seat) -> Iterator[Problem]:
    """Problems of one agent's tools."""
    yield from _capabilities(seat)
    yield from _servers(seat)
    yield from _filters(seat)
    yield from _custom(seat)
    yield from _media(seat)
    tools = seat.agent.tools
    block = (*seat.path, "backend")
    yield from check_context_paths(tools.context_paths, (*block, "context_paths"), seat.places)
    yield from _workspace(seat)
    yield from _command_line(seat)
    for key in ("sandbox", "command_line_docker_enable_sudo"):
        if seat.inline and (value := getattr(tools, key)) not in ("auto", False):
            yield seat.problem(key, message=f"{key}: {_word(value)} is for the operator's own file alone.")


def _word(value: object) -> str:
    return "true" if value is True else str(value)


def _workspace(seat: Seat) -> Iterator[Problem]:
    cwd = seat.agent.tools.cwd
    if cwd is None:
        return
    message, hint = ("", "") if PureWindowsPath(cwd).drive else unfit(cwd)
    if message:
        yield seat.problem("cwd", message=message, hint=hint)
    elif "${" in cwd:
        yield seat.problem("cwd", message="names the workspace itself.", hint="Give a plain name.")
    elif names_a_place(cwd):
        yield seat.problem(
            "cwd",
            message="an absolute path: the agent's workspace is a fresh folder of the run all the same.",
            severity="warning",
            hint="Files that are there already are shown to it by context_paths.",
        )


def _command_line(seat: Seat) -> Iterator[Problem]:
    """Settings of a shell that is not there, or of another one."""
    tools = seat.agent.tools
    given = [key for key in type(tools).model_fields if key in tools.model_fields_set]
    for key in given:
        if not key.startswith("command_line_"):
            continue
        if not tools.enable_mcp_command_line:
            message = "without enable_mcp_command_line: true there is no shell; not used."
            yield seat.problem(key, message=message, severity="warning")
        elif key.startswith("command_line_docker_") and tools.command_line_execution_mode != "docker":
            message = "for command_line_execution_mode: docker alone; not used."
            yield seat.problem(key, message=message, severity="warning")


def _capabilities(seat: Seat) -> Iterator[Problem]:
    for key, capability, words in _NEEDS:
        cell = seat.info.support.get(capability)
        if getattr(seat.agent.tools, key) and (cell is None or cell.support is Support.NONE):
            message = f"{seat.info.type!r} can't have {words}."
            yield seat.problem(key, message=message, hint=f"Remove {key}.")


def _servers(seat: Seat) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, server in enumerate(seat.agent.tools.mcp_servers):
        path = seat.server_path(index)
        if server.name in seen:
            yield seat.problem(*path, "name", message="two MCP servers have this name.")
        seen.add(server.name)
        yield from check_security(seat, index)
        if server.cwd is not None and outside(server.cwd):
            yield seat.problem(*path, "cwd", message="must not lead out of the team file's folder.")
        if seat.inline and server.sandbox == "off":
            message = "sandbox: off is for the operator's own file alone."
            yield seat.problem(*path, "sandbox", message=message)


def _own_tools(seat: Seat) -> frozenset[str]:
    tools = seat.agent.tools
    names: set[str] = set()
    if (tools.cwd or tools.context_paths) and not tools.exclude_file_operation_mcps:
        names.update(OWN_FILE_TOOLS)
    if tools.enable_mcp_command_line:
        names.add(SHELL_TOOL)
    return frozenset(names)


def _matches(seat: Seat, entry: str) -> bool:
    """Whether a filter can match a tool, as far as is known before servers are started."""
    tools = seat.agent.tools
    if seat.info.type == "claude_code" and entry.partition("(")[0] in NATIVE_TOOLS:
        return True
    own = _own_tools(seat)
    bare = next((entry.removeprefix(start) for start in OWN_PREFIXES if entry.startswith(start)), entry)
    if bare in own:
        return True
    custom = tools.custom_tools or tools.auto_discover_custom_tools or tools.enable_multimodal_tools
    if custom and not entry.startswith("mcp__"):
        return True
    servers = tools.mcp_servers
    prefixed = entry.removeprefix("mcp__")
    if any(prefixed.startswith(f"{server.name}__") for server in servers):
        return True
    return bool(servers) and "__" not in entry


def _filters(seat: Seat) -> Iterator[Problem]:
    if seat.broken:
        return
    tools = seat.agent.tools
    lists = {
        "allowed_tools": tools.allowed_tools or (),
        "disallowed_tools": tools.disallowed_tools,
        "exclude_tools": tools.exclude_tools,
    }
    for key, entries in lists.items():
        severity = "warning" if key == "allowed_tools" or tools.optional_filters else "error"
        for index, entry in enumerate(entries):
            if not _matches(seat, entry):
                yield seat.problem(
                    key,
                    index,
                    message="this matches no tool that the agent has.",
                    severity=severity,
                    hint="Remove it, or set optional_filters: true." if severity == "error" else "",
                )


def _left_out(seat: Seat) -> Iterator[Problem]:
    """Entries of `exclude_custom_tools` that leave nothing out, where all tools are known by name."""
    tools = seat.agent.tools
    if tools.auto_discover_custom_tools or tools.enable_multimodal_tools:
        return
    known = {name for tool in tools.custom_tools for name in (*tool.function, *tool.name)}
    known |= {MASSGEN_MEDIA.get(name, "") for name in known}
    for index, entry in enumerate(tools.exclude_custom_tools):
        if entry not in known and not tools.optional_filters and not seat.broken:
            yield seat.problem(
                "exclude_custom_tools",
                index,
                message="no entry of custom_tools brings this function; it leaves nothing out.",
                severity="warning",
                hint="Remove it, name the tool in exclude_tools, or set optional_filters: true.",
            )


def _custom(seat: Seat) -> Iterator[Problem]:
    yield from _left_out(seat)
    for index, tool in enumerate(seat.agent.tools.custom_tools):
        at = ("custom_tools", index)
        if tool.path is None and not is_media(tool):
            yield seat.problem(*at, "path", message="required: the file that holds the function.")
        if not tool.function:
            yield seat.problem(*at, "function", message="required: the function's name, or several.")
        if tool.path is not None and outside(tool.path):
            yield seat.problem(*at, "path", message="must not lead out of the team file's folder.")


def _media(seat: Seat) -> Iterator[Problem]:
    tools = seat.agent.tools
    yield from check_makers(tools, (*seat.path, "backend"), seat.places)
    if "video_generation_backend" in seat.broken:
        return
    if tools.enable_video_generation and seat.info.type == "openai" and not tools.video_generation_backend:
        yield seat.problem("enable_video_generation", message=_VIDEO_GONE, hint=_OFFER)
    if tools.enable_file_generation and tools.cwd is None and "cwd" not in seat.broken:
        yield seat.problem(
            "enable_file_generation",
            message="agents make files with their file tools, which come with a workspace; not used.",
            severity="warning",
            hint="Give it a workspace: cwd: workspace.",
        )


def check_makers(model: AgentTools | Orchestrator, path: KeyPath, places: Places) -> Iterator[Problem]:
    """Who is to make pictures, speech and video, and can't."""
    for kind in ("image", "audio", "video"):
        key = f"{kind}_generation_backend"
        maker: str | None = getattr(model, key)
        if kind == "video" and maker in ("openai", "azure_openai"):
            yield places.problem((*path, key), _VIDEO_GONE, hint=_OFFER)
        elif maker and maker not in _MAKERS:
            # What looks like a key is not repeated.
            who = maker if maker.replace("_", "").isalpha() else "it"
            yield places.problem(
                (*path, key),
                f"{who} makes none here; the tool says so when an agent calls it.",
                severity="warning",
                hint="Use openai or gemini." if kind != "video" else "Use gemini.",
            )


def check_context_paths(
    contexts: tuple[ContextPath, ...], path: KeyPath, places: Places
) -> Iterator[Problem]:
    """Problems of context paths: all lie below the project's root, protected ones below their own path."""
    for index, context in enumerate(contexts):
        at = (*path, index)
        if outside(context.path):
            yield places.problem((*at, "path"), "must not lead out of the project's root.")
        for number, protected in enumerate(context.protected_paths):
            inside = PurePath(protected).is_relative_to(context.path)
            if outside(protected) or (PurePath(protected).is_absolute() and not inside):
                yield places.problem((*at, "protected_paths", number), "must lie inside the context path.")
