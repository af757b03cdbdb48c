"""What a team resolves to, as JSON: effective values, where paths lie, secrets by their variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from massgen_mcp.backends.options import Options
from massgen_mcp.config.agent_tools import ContextPath
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.expand import Reference
from massgen_mcp.config.folders import USUAL_WORKSPACE, names_a_place, run_folder
from massgen_mcp.config.models import Budget, TeamConfig
from massgen_mcp.config.paths import KeyPath
from massgen_mcp.config.readiness import address_of, key_for
from massgen_mcp.config.seat import Seat
from massgen_mcp.config.servers import McpServer
from massgen_mcp.config.tree import Value
from massgen_mcp.config.variables import KNOWN_VARIABLES

__all__ = ["resolve"]

_LITERAL = "(in the file)"
_RUN = "<run>"
"""Stands for the folder of a run, which has a name only when it starts."""


def resolve(team: TeamConfig, seats: Sequence[Seat], *, roots: Sequence[Path] = ()) -> dict[str, Any]:
    """The team as a JSON value. No secret is in it."""
    orchestrator = team.orchestrator
    settings = orchestrator.model_dump(mode="json", exclude_defaults=True, exclude={"context_paths"})
    settings |= {
        "strategy": orchestrator.effective_strategy,
        "presentation": orchestrator.effective_presentation,
    }
    for key in ("snapshot_storage", "agent_temporary_workspace"):
        if key in settings:
            settings[key] = _in_run(settings[key])
    if orchestrator.context_paths:
        settings["context_paths"] = _contexts(orchestrator.context_paths, roots)
    return {
        "name": team.name,
        "source": str(team.source) if team.source else None,
        "agents": [_agent(seat, team, roots) for seat in seats],
        "orchestrator": settings,
        "timeout_settings": team.timeout_settings.model_dump(mode="json", exclude_none=True),
        "budget": _limits(team.budget),
        "private": team.private,
        "journal": team.journal,
    }


def _limits(budget: Budget) -> dict[str, Any]:
    found = budget.model_dump(mode="json", exclude_none=True)
    return {key: value for key, value in found.items() if value != {}}


def _agent(seat: Seat, team: TeamConfig, roots: Sequence[Path]) -> dict[str, Any]:
    agent = seat.agent
    found: dict[str, Any] = agent.model_dump(
        mode="json", exclude_defaults=True, exclude={"backend", "tools", "unset"}
    )
    found["backend"] = _backend(seat)
    tools = _tools(seat, team, roots)
    if tools:
        found["tools"] = tools
    return found


def _backend(seat: Seat) -> dict[str, Any]:
    options: Options = seat.agent.backend
    found = options.model_dump(
        mode="json", exclude_defaults=True, exclude={"api_key", "extra_headers", "llm_config"}
    )
    found["type"] = options.type
    found["model"] = options.model or seat.info.default_model
    exact = seat.info.aliases.get(found["model"] or "")
    if exact:
        found["model_id"] = exact
    address = address_of(options, Environment(()) if seat.inline else seat.environment)
    if address:
        found["address"] = address
    found["key"] = _key(seat)
    block = _mapping(seat.raw.get("backend"))
    if options.extra_headers:
        found["extra_headers"] = _named(
            _mapping(block.get("extra_headers")), seat, (*seat.path, "backend", "extra_headers")
        )
    if "llm_config" in type(options).model_fields and getattr(options, "llm_config", None) is not None:
        found["llm_config"] = options.model_dump(mode="json", exclude_defaults=True)["llm_config"]
        _without_keys(found["llm_config"])
    return found


def _without_keys(value: Any) -> None:
    """Take the masks that stand for keys out of a dumped value."""
    if isinstance(value, dict):
        value.pop("api_key", None)  # pyright: ignore[reportUnknownMemberType] - JSON
        for item in value.values():  # pyright: ignore[reportUnknownVariableType] - JSON
            _without_keys(item)
    elif isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType] - JSON
            _without_keys(item)


def _key(seat: Seat) -> dict[str, Any]:
    reference = seat.references.get((*seat.path, "backend", "api_key"))
    if reference is not None:
        return _referred(reference, seat)
    key = key_for(seat.agent.backend, seat.environment)
    if key.source == "file":
        return {"literal": True}
    if key.source == "environment":
        return {"env": key.variable, "set": True}
    if key.source == "none":
        return {"needed": False}
    return {"env": " or ".join(key.variables) or None, "set": False}


def _referred(reference: Reference, seat: Seat) -> dict[str, Any]:
    """A value by its variable. Who sends YAML learns of no variable but our own whether it is set."""
    found: dict[str, Any] = {"env": reference.names[0]}
    if not seat.inline or KNOWN_VARIABLES.issuperset(reference.names):
        found["set"] = reference.set
    return found


def _tools(seat: Seat, team: TeamConfig, roots: Sequence[Path]) -> dict[str, Any]:
    tools = seat.agent.tools
    found: dict[str, Any] = tools.model_dump(
        mode="json", exclude_defaults=True, exclude={"mcp_servers", "context_paths", "custom_tools", "cwd"}
    )
    if tools.cwd is not None:
        found["workspace"] = _workspace(tools.cwd)
    if tools.context_paths:
        found["context_paths"] = _contexts(tools.context_paths, roots)
    beside = team.source.parent if team.source else None
    if tools.custom_tools:
        found["custom_tools"] = [
            {
                **tool.model_dump(mode="json", exclude_defaults=True),
                **({"path": _beside(tool.path, beside)} if tool.path else {}),
            }
            for tool in tools.custom_tools
        ]
    if tools.mcp_servers:
        found["mcp_servers"] = [
            _server(seat, index, server, beside) for index, server in enumerate(tools.mcp_servers)
        ]
    return found


def _server(seat: Seat, index: int, server: McpServer, beside: Path | None) -> dict[str, Any]:
    path, raw = _raw_server(seat, index)
    found = server.model_dump(
        mode="json", exclude_defaults=True, exclude={"args", "env", "headers", "url", "cwd"}
    )
    found["type"] = server.type
    given = raw.get("args")
    if server.args:
        count = len(given) if isinstance(given, list) else 0
        words = [value.get_secret_value() for value in server.args[: len(server.args) - count]]
        found["args"] = [*words, *(given if isinstance(given, list) else [])]
    if server.url is not None:
        found["url"] = _url(server.url.get_secret_value(), seat, (*path, "url"))
    for key in ("env", "headers"):
        if getattr(server, key):
            found[key] = _named(_mapping(raw.get(key)), seat, (*path, key))
    if server.cwd is not None:
        found["cwd"] = _beside(server.cwd, beside)
    return found


def _raw_server(seat: Seat, index: int) -> tuple[KeyPath, Mapping[str, Value]]:
    path: KeyPath = (*seat.path, "backend", "mcp_servers")
    entries = _mapping(seat.raw.get("backend")).get("mcp_servers")
    if isinstance(entries, dict):
        name = list(entries)[index]
        return (*path, name), _mapping(entries[name])
    return (*path, index), _mapping(entries[index] if isinstance(entries, list) else None)


def _named(values: Mapping[str, Value], seat: Seat, path: KeyPath) -> dict[str, Any]:
    """Values that may be secret: what is in a variable by its name, all else only as being there."""
    found: dict[str, Any] = {}
    for name in values:
        reference = seat.references.get((*path, name))
        if reference is None:
            found[name] = _LITERAL
        else:
            found[name] = _referred(reference, seat)
    return found


def _url(url: str, seat: Seat, path: KeyPath) -> str:
    reference = seat.references.get(path)
    if reference is not None:
        return reference.text
    # Some servers take their key in the query.
    return str(httpx2.URL(url).copy_with(query=None))


def _mapping(value: Value) -> Mapping[str, Value]:
    return value if isinstance(value, dict) else {}


def _in_run(path: str) -> str:
    return "/".join((_RUN, *run_folder(path)))


def _workspace(cwd: str) -> str:
    # One that is given with a whole path is a fresh folder all the same.
    return _in_run(USUAL_WORKSPACE if names_a_place(cwd) else cwd)


def _beside(path: str, folder: Path | None) -> str:
    return path if folder is None or path.startswith("${") else str(folder / path)


def _contexts(contexts: Sequence[ContextPath], roots: Sequence[Path]) -> list[dict[str, Any]]:
    return [
        {
            **context.model_dump(mode="json", exclude_defaults=True),
            "path": str(roots[0] / context.path) if roots else context.path,
            "permission": context.permission,
        }
        for context in contexts
    ]
