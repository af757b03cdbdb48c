"""The registry's rows and the operator's teams, as `list_backends` shows them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from massgen_mcp.backends.info import BackendInfo, Capability, Cell, Support, Task
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.registry import (
    BACKENDS,
    LEGEND,
    backend_info,
    options_class,
    public_backends,
    suggest,
)
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded
from massgen_mcp.config.models import AgentConfig
from massgen_mcp.config.readiness import Readiness, agent_readiness, readiness
from massgen_mcp.config.search import TeamFile
from massgen_mcp.errors import RequestRefused
from massgen_mcp.runs.cost import expected_usd
from massgen_mcp.runs.local_servers import Here, LocalServer, starts_when_asked
from massgen_mcp.usage import Usage

__all__ = [
    "agent_states",
    "backend_row",
    "backend_rows",
    "cell_text",
    "fitting",
    "matrix_rows",
    "team_row",
]

_MORE = 'list_backends(backend="NAME") says what one can do and what it needs.'
_CLAUDE_CODE = "claude_code"
_NOBODY = "no server with a model answers"
_MANY_TEAMS = 20
_TASKS: tuple[Task, ...] = ("research", "coding", "analysis", "cheap", "private")
_MILLION_IN = Usage(requests=1, input=1_000_000)
_MILLION_OUT = Usage(requests=1, output=1_000_000)


def backend_rows(environment: Environment, here: Here, task: str | None) -> list[dict[str, Any]]:
    """One row for each backend, by preference or by rank for a task.

    Raises:
        RequestRefused: there is no such task.
    """
    rows = list(public_backends())
    if task is not None:
        rows = _for_task(rows, task)
    return [_short_row(info, _state(info, environment, here), here.server(info.type), task) for info in rows]


def _known(backend: str) -> BackendInfo:
    info = backend_info(backend)
    if info is None or info.hidden:
        meant = suggest(backend)
        hint = f' Did you mean "{meant}"?' if meant else ""
        known = ", ".join(row.type for row in public_backends())
        raise RequestRefused(f'Unknown backend "{backend[:40]}".{hint} Known: {known}. Nothing was spent.')
    return info


def _for_task(rows: list[BackendInfo], task: str) -> list[BackendInfo]:
    if task not in _TASKS:
        raise RequestRefused(f'Unknown task "{task[:40]}". Known: {", ".join(_TASKS)}. Nothing was spent.')
    ranked = [(ranks[0], info.rank, info) for info in rows if (ranks := sorted(_ranks(info, task)))]
    return [info for _, _, info in sorted(ranked, key=lambda item: item[:2])]


def _ranks(info: BackendInfo, task: str) -> list[int]:
    return [rank for model in info.models for name, rank in model.tasks.items() if name == task]


def _state(info: BackendInfo, environment: Environment, here: Here) -> Readiness:
    if not info.executes:
        return Readiness(ready=False, why="not available in this version")
    if not (info.base_url or info.default_model or info.env or info.type == "local"):
        return Readiness(ready=False, why="a team file has to name its address", remedy=info.setup)
    if missing := _not_installed(info):
        return missing
    options = _options(info)
    state = readiness(options, environment)
    if state.ready and here.nobody_at(info.type) and not starts_when_asked(info, environment):
        return Readiness(ready=False, why=_NOBODY, remedy=info.setup)
    return _unless_logged_out(options, state, here)


def _unless_logged_out(options: Options, state: Readiness, here: Here) -> Readiness:
    """The same, or why Claude Code is not ready where nobody would pay for it."""
    own_address = options.base_url is not None
    if options.type != _CLAUDE_CODE or not state.ready or state.key == "set" or own_address or here.logged_in:
        return state
    info = BACKENDS[_CLAUDE_CODE]
    return replace(state, ready=False, why="neither a key nor a good login is there", remedy=info.setup)


def _not_installed(info: BackendInfo) -> Readiness | None:
    """Why a backend of an extra can't be asked; None where the extra is there."""
    if info.package is None or _installed(info.package):
        return None
    remedy = f"Install it: pip install 'massgen-mcp[{info.extra}]'."
    return Readiness(ready=False, why=f"the package {info.package} is not installed", remedy=remedy)


_found_packages: set[str] = set()


def _installed(package: str) -> bool:
    """Whether a package is there. One that was found stays; one that was not may have come since."""
    if package in _found_packages and package not in sys.modules:
        return True
    if find_spec(package) is None:
        return False
    _found_packages.add(package)
    return True


def _options(info: BackendInfo, model: str | None = None) -> Options:
    """Options to ask readiness and prices by; where the row has no model, its name does not matter."""
    made: Options = options_class(info)(type=info.type, model=model or info.default_model or "any")
    return made


def _short_row(info: BackendInfo, state: Readiness, server: LocalServer, task: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {"backend": info.type, "ready": state.ready}
    if not state.ready:
        names = " or ".join(state.variables)
        row["why"] = f"{names} is not set" if names and state.key == "missing" else state.why
        if names and state.key == "missing":
            return row  # what is not set is the remedy, too
        return row | ({"remedy": state.remedy} if state.remedy else {})
    row["model"] = server.models[0] if server.models else info.default_model
    if info.base_url is not None and info.local and not server.loaded:
        row["loads"] = _loads(server)
    row["key"] = f"set ({state.variables[0]})" if state.key == "set" and state.variables else state.key
    row["can"] = {
        capability.value: cell_text(cell)
        for capability, cell in info.support.items()
        if cell.support is not Support.NONE
    }
    if task is not None:
        row["models"] = [model.name for model in info.models if task in model.tasks]
    return {key: value for key, value in row.items() if value is not None}


def _loads(server: LocalServer) -> str:
    """Why a server with nothing in memory is ready all the same."""
    return "on demand, by the first request" if server.on_demand else "started by `lms` when asked"


async def backend_row(backend: str, environment: Environment, here: Here, prices: Prices) -> dict[str, Any]:
    """One backend whole, with its models.

    Raises:
        RequestRefused: there is no such backend.
    """
    info = _known(backend)
    state = _state(info, environment, here)
    row = _matrix_row(info) | {
        "legend": legend(),
        "ready": state.ready,
        "key": f"{state.key} ({' or '.join(state.variables)})" if state.variables else state.key,
        "models": [await _model_row(info, model.name, prices) for model in info.models],
    }
    if not state.ready:
        row |= {"why": state.why, "remedy": state.remedy or info.setup}
    server = here.server(info.type)
    row |= {"loaded": list(server.loaded)} if server.loaded else {}
    return row | ({"loaded_on_demand": list(server.on_demand)} if server.on_demand else {})


async def _model_row(info: BackendInfo, name: str, prices: Prices) -> dict[str, Any]:
    known = next(model for model in info.models if model.name == name)
    row: dict[str, Any] = {"name": name}
    options = _options(info, name)
    put_in, _ = await prices.cost(info, options, _MILLION_IN)
    put_out, _ = await prices.cost(info, options, _MILLION_OUT)
    if put_in is not None and put_out is not None:
        row["usd_per_million"] = {"input": round(put_in, 4), "output": round(put_out, 4)}
    context = await prices.context_window(info, options)
    if context is not None:
        row["context"] = context
    if known.retires is not None:
        row["retires"] = known.retires.isoformat()
    if known.successor:
        row["successor"] = known.successor
    return row


def cell_text(cell: Cell) -> str:
    """A cell in words: `built_in (both)`, `via_custom_tool (needs OPENAI_API_KEY)`."""
    parts = [cell.direction.value] if cell.direction else []
    parts += [f"needs {cell.key}"] if cell.key else []
    return f"{cell.support.value} ({', '.join(parts)})" if parts else cell.support.value


def legend() -> dict[str, str]:
    """What the words in a cell mean."""
    return {support.value: words for support, words in LEGEND.items()}


def matrix_rows() -> dict[str, Any]:
    """Every backend with everything its row says, and what the words mean."""
    return {
        "legend": legend(),
        "backends": [_matrix_row(info) for info in public_backends()],
    }


def _matrix_row(info: BackendInfo) -> dict[str, Any]:
    cells = {capability: info.support.get(capability) for capability in Capability}
    row: dict[str, Any] = {
        "backend": info.type,
        "title": info.title,
        "executes": info.executes,
        "can": {name.value: cell_text(cell) if cell else "none" for name, cell in cells.items()},
        "notes": {name.value: cell.note for name, cell in cells.items() if cell and cell.note},
        "flags": [*info.flags, *info.flag_aliases],
        "variables": list(info.env),
        "default_model": info.default_model,
        "local": info.local,
        "workflow": info.workflow,
        "setup": info.setup,
    }
    return {key: value for key, value in row.items() if value not in (None, [], {}, "")}


async def team_row(file: TeamFile, loaded: Loaded, here: Here, prices: Prices) -> dict[str, Any]:
    """One team of a file: who is in it, and whether it could answer now."""
    row: dict[str, Any] = {"name": file.name}
    if loaded.team is None:
        first = next((str(problem) for problem in loaded.errors), "its file can't be read")
        return row | {"ready": False, "why": first}
    states = list(zip(loaded.team.agents, agent_states(loaded, here), strict=True))
    working = [agent for agent, state in states if state.ready][: loaded.team.orchestrator.max_agents]
    blocked = [agent.id for agent, state in states if not state.ready and not agent.optional]
    unavailable = [problem for problem in loaded.unavailable if not _optional(problem.path, loaded)]
    row["ready"] = bool(working) and not blocked and not unavailable
    row["members"] = [
        f"{agent.backend.type}/{agent.backend.model or 'default'}" for agent in working or loaded.team.agents
    ]
    if blocked:
        row["why"] = f"{', '.join(blocked)}: no key or server"
    elif unavailable:
        row["why"] = str(unavailable[0])
    elif not working:
        row["why"] = "none of its agents has a key or a server"
    else:
        usd = await expected_usd([(BACKENDS[agent.backend.type], agent.backend) for agent in working], prices)
        row |= {} if usd is None else {"expected_usd": usd}
    return row


def agent_states(loaded: Loaded, here: Here) -> list[Readiness]:
    """Whether each agent of a file's team could be asked now; none where the file can't be read."""
    agents = loaded.team.agents if loaded.team is not None else ()
    return [_agent_state(agent, loaded, here) for agent in agents]


def _agent_state(agent: AgentConfig, loaded: Loaded, here: Here) -> Readiness:
    kind = agent.backend.type
    unmoved = agent.backend.base_url is None and getattr(agent.backend, "port", None) is None
    if missing := _not_installed(BACKENDS[kind]):
        return missing
    if unmoved and here.nobody_at(kind) and not starts_when_asked(BACKENDS[kind], loaded.environment):
        return Readiness(ready=False, why=_NOBODY)
    return _unless_logged_out(agent.backend, agent_readiness(agent, loaded.environment), here)


def fitting(found: dict[str, Any], limit: int) -> dict[str, Any]:
    """The same catalogue within `limit` bytes of JSON, where it can be; what is to be had elsewhere goes."""
    steps = (
        _without_remedies,
        _without_absent_members,
        _without_cells,
        _without_the_way_out,
        _without_reasons,
        _without_many_teams,
    )
    for step in steps:
        if len(json.dumps(found, separators=(",", ":"))) <= limit:
            break
        found = step(found)
    return found


def _without_remedies(found: dict[str, Any]) -> dict[str, Any]:
    rows = [_but(row, "remedy") for row in found["backends"]]
    return found | {"backends": rows, "more": _MORE}


def _without_absent_members(found: dict[str, Any]) -> dict[str, Any]:
    teams = [row if row["ready"] else _but(row, "members") for row in found.get("teams", ())]
    return found | {"teams": teams}


def _without_cells(found: dict[str, Any]) -> dict[str, Any]:
    rows = [_but(row, "can") for row in found["backends"]]
    return found | {"backends": rows, "more": _MORE}


def _without_the_way_out(found: dict[str, Any]) -> dict[str, Any]:
    """Without what to do where nothing is ready; ask_team says it, too."""
    return found | {"default_team": _but(found.get("default_team", {}), "remedy")}


def _without_reasons(found: dict[str, Any]) -> dict[str, Any]:
    ready = [row for row in found["backends"] if row["ready"]]
    others = [row["backend"] for row in found["backends"] if not row["ready"]]
    return found | {"backends": ready, "not_ready": others}


def _without_many_teams(found: dict[str, Any]) -> dict[str, Any]:
    teams = [_but(row, "members") for row in found.get("teams", ())]
    left = [row["name"] for row in teams[_MANY_TEAMS:]]
    return found | {"teams": teams[:_MANY_TEAMS]} | ({"more_teams": len(left)} if left else {})


def _but(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


def _optional(path: str, loaded: Loaded) -> bool:
    if loaded.team is None:
        return False
    places = {f"agents[{index}]": agent.optional for index, agent in enumerate(loaded.team.agents)}
    return places.get(path.partition(".")[0], False)
