"""What can be wrong with an agent's tools: filters, servers, media, and what they add up to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from massgen_mcp.backends.claude_code import NATIVE_TOOLS
from massgen_mcp.backends.info import Capability, Support
from massgen_mcp.backends.urls import host_of, is_loopback
from massgen_mcp.config.agent_tools import OWN_FILE_TOOLS, OWN_PREFIXES, SHELL_TOOL, ContextPath
from massgen_mcp.config.check_custom import is_media
from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.config.readiness import is_local
from massgen_mcp.config.seat import Seat
from massgen_mcp.errors import Problem

__all__ = ["check_context_paths", "check_private", "check_tools", "check_trifecta", "outside"]

_VIDEO_GONE = "OpenAI's video API was shut down on 2026-09-24."
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
    if tools.cwd is not None and outside(tools.cwd):
        yield seat.problem("cwd", message="must not lead out of the run's folder.")
    for key in ("sandbox", "command_line_docker_enable_sudo"):
        if seat.inline and (value := getattr(tools, key)) not in ("auto", False):
            yield seat.problem(key, message=f"{key}: {_word(value)} is for the operator's own file alone.")


def _word(value: object) -> str:
    return "true" if value is True else str(value)


def outside(path: str) -> bool:
    """Whether a relative path leads out of the folder it is taken from."""
    return ".." in PurePath(path.replace("\\", "/")).parts or path.startswith("~")


def _capabilities(seat: Seat) -> Iterator[Problem]:
    for key, capability, words in _NEEDS:
        cell = seat.info.support.get(capability)
        if getattr(seat.agent.tools, key) and (cell is None or cell.support is Support.NONE):
            message = f"{seat.info.type!r} can't have {words}."
            yield seat.problem(key, message=message, hint=f"Remove {key}.")


def _server_path(seat: Seat, index: int) -> KeyPath:
    block = seat.raw.get("backend")
    entries = block.get("mcp_servers") if isinstance(block, dict) else None
    name = list(entries)[index] if isinstance(entries, dict) and index < len(entries) else index
    return "mcp_servers", name


def _servers(seat: Seat) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, server in enumerate(seat.agent.tools.mcp_servers):
        path = _server_path(seat, index)
        if server.name in seen:
            yield seat.problem(*path, "name", message="two MCP servers have this name.")
        seen.add(server.name)
        if server.security is not None:
            yield seat.problem(
                *path,
                "security",
                message="not used here: the sandbox and the address checks hold for every server.",
                severity="notice",
            )
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


def _custom(seat: Seat) -> Iterator[Problem]:
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
    offer = "Use video_generation_backend: gemini."
    if tools.video_generation_backend in ("openai", "azure_openai"):
        yield seat.problem("video_generation_backend", message=_VIDEO_GONE, hint=offer)
    elif tools.enable_video_generation and seat.info.type == "openai" and not tools.video_generation_backend:
        yield seat.problem("enable_video_generation", message=_VIDEO_GONE, hint=offer)


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


def check_private(seat: Seat) -> Iterator[Problem]:
    """What keeps an agent out of a private team: everything that leaves this machine."""
    options, tools = seat.agent.backend, seat.agent.tools
    if not is_local(options, seat.environment):
        message = "a private team takes backends on this machine alone."
        yield seat.problem("type", message=message, hint="Remove the agent, or private: true.")
    for flag in ("enable_web_search", "enable_x_search"):
        if getattr(options, flag, False):
            yield seat.problem(flag, message="a private team does not search the web.")
    for index, server in enumerate(tools.mcp_servers):
        path = _server_path(seat, index)
        if server.url is not None and not is_loopback(host_of(server.url.get_secret_value())):
            message = "a private team takes MCP servers on this machine alone."
            yield seat.problem(*path, "url", message=message)
        elif server.url is None:
            yield seat.problem(
                *path,
                message="this server runs here, but nothing keeps it from the network.",
                severity="warning",
            )
    for key in ("image", "audio", "video"):
        field = f"{key}_generation_backend"
        if getattr(tools, field) is not None or getattr(tools, f"enable_{key}_generation"):
            name = field if getattr(tools, field) is not None else f"enable_{key}_generation"
            yield seat.problem(name, message="a private team makes no media at a provider.")


def check_trifecta(seat: Seat, team_contexts: tuple[ContextPath, ...]) -> Iterator[Problem]:
    """A warning where untrusted text, private data and a way out meet in one agent."""
    options, tools = seat.agent.backend, seat.agent.tools
    searches = [flag for flag in ("enable_web_search", "enable_x_search") if getattr(options, flag, False)]
    servers = [f"mcp_servers.{server.name}" for server in tools.mcp_servers]
    private = ["context_paths"] if tools.context_paths or team_contexts else []
    untrusted, ways_out = [*searches, *servers], [*searches, *servers]
    if not (untrusted and private and ways_out):
        return
    yield seat.problem(
        message=(
            f"text from outside ({', '.join(untrusted)}), files of yours ({', '.join(private)}) and a way "
            f"out ({', '.join(ways_out)}) meet in this agent: what it reads could make it send them"
        ),
        severity="warning",
        hint="Split them over two agents if you do not trust every source.",
    )
