"""What would leave this machine: in a private team nothing may, elsewhere the ways out are pointed at."""

from __future__ import annotations

from collections.abc import Iterator

from massgen_mcp.backends.registry import runs_elsewhere
from massgen_mcp.backends.urls import host_of, is_loopback
from massgen_mcp.config.agent_tools import ContextPath
from massgen_mcp.config.readiness import is_local
from massgen_mcp.config.seat import Seat
from massgen_mcp.errors import Problem

__all__ = ["check_private", "check_trifecta"]


def check_private(seat: Seat) -> Iterator[Problem]:
    """What keeps an agent out of a private team: everything that leaves this machine."""
    options, tools = seat.agent.backend, seat.agent.tools
    if not is_local(options, seat.environment):
        message = "a private team takes backends on this machine alone."
        yield seat.problem("type", message=message, hint="Remove the agent, or private: true.")
    else:
        yield from _private_models(seat)
    for flag in ("enable_web_search", "enable_x_search"):
        if getattr(options, flag, False):
            yield seat.problem(flag, message="a private team does not search the web.")
    yield from _private_shell(seat)
    for index, server in enumerate(tools.mcp_servers):
        path = seat.server_path(index)
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


def _private_models(seat: Seat) -> Iterator[Problem]:
    asked = {(*seat.path, "backend", "model"): seat.agent.backend.model or ""}
    asked |= {(*seat.path, "fallbacks", index): name for index, name in enumerate(seat.agent.fallbacks)}
    for path, name in asked.items():
        if runs_elsewhere(seat.info, name):
            message = f"a private team takes no model that runs on machines of {seat.info.title}'s own."
            yield seat.places.problem(path, message, hint="Name a model that runs here.")


def _private_shell(seat: Seat) -> Iterator[Problem]:
    tools = seat.agent.tools
    shell = tools.enable_mcp_command_line
    if shell and tools.command_line_execution_mode == "docker":
        if tools.command_line_docker_network_mode != "none":
            message = "a private team's commands have no network."
            hint = "Use command_line_docker_network_mode: none."
            yield seat.problem("command_line_docker_network_mode", message=message, hint=hint)
    elif tools.sandbox == "off" and (shell or tools.custom_tools):
        yield seat.problem(
            "sandbox",
            message="without a sandbox nothing keeps this agent's programs from the network.",
            severity="warning",
        )


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
