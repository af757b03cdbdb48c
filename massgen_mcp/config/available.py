"""What a team file may ask for that this version does not do yet: the one list, to be shortened.

Such a file validates whole. Each use of it is a warning, and a run with it is refused with that reason;
`SOFT` keys only change how well a team works, so the run goes on without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from pydantic import BaseModel

from massgen_mcp.backends.registry import backend_info
from massgen_mcp.config.models import AgentConfig, Orchestrator, TeamConfig
from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.errors import Problem

__all__ = ["AVAILABLE_STRATEGIES", "not_yet", "soft"]

AVAILABLE_STRATEGIES = frozenset({"auto", "vote"})

_TOOLS: Mapping[str, str] = MappingProxyType(
    {
        "auto_discover_custom_tools": "finding custom tools by itself is",
        "upload_files": "uploaded files are",
        "permissions": "tool permissions are",
        "command_line_docker_credentials": "credentials for containers are",
        "command_line_docker_enable_sudo": "sudo in containers is",
        "command_line_docker_packages": "packages for containers are",
        "command_line_srt_allow_read": "settings of srt are",
        "command_line_srt_allow_unix_sockets": "settings of srt are",
        "command_line_srt_deny_read": "settings of srt are",
        "command_line_srt_network_allowed_domains": "settings of srt are",
        "command_line_srt_read_mode": "settings of srt are",
    }
)
_COORDINATION: Mapping[str, str] = MappingProxyType(
    {
        "max_orchestration_restarts": "restarts are",
        "broadcast": "questions between agents are",
    }
)
_TEAM: Mapping[str, str] = MappingProxyType({"permissions": "tool permissions are"})

_ONE_BY_ONE = "The calls of one reply run one after the other."
_ALL_SHOWN = "All tools are described from the start."

_SOFT_COORDINATION: Mapping[str, str] = MappingProxyType(
    {
        "broadcast_sensitivity": "",
        "broadcast_timeout": "",
        "broadcast_wait_by_default": "",
        "max_broadcasts_per_agent": "",
        "response_depth": "",
    }
)
_SOFT_TOOLS: Mapping[str, str] = MappingProxyType(
    {
        "concurrent_tool_execution": _ONE_BY_ONE,
        "max_concurrent_tools": _ONE_BY_ONE,
        "defer_loading": _ALL_SHOWN,
        "multimodal_config": "The media keys beside it hold.",
    }
)
_SOFT_TIMEOUTS: Mapping[str, str] = MappingProxyType(
    {"round_timeout_grace_seconds": "A round ends at its deadline, with the answers that are there."}
)
_SO_ANYHOW: Mapping[str, object] = MappingProxyType({"concurrent_tool_execution": False})
"""Values that say what a run does in any case."""
_OF_NEW_ANSWERS = (
    "max_new_answers_per_agent",
    "max_new_answers_global",
    "answer_novelty_requirement",
    "disable_injection",
    "max_midstream_injections_per_round",
    "fairness_enabled",
    "fairness_lead_cap_answers",
)
"""Settings of what `auto` does not have: answers that are given while others vote."""
_THRESHOLDS = ("roi", "checklist")
_SITS_OUT = "This agent sits out."


def _used(model: BaseModel, key: str) -> bool:
    """Whether the file sets the key to something other than its default."""
    if key not in model.model_fields_set:
        return False
    default: object = model.__class__.model_fields[key].get_default(call_default_factory=True)
    value: object = getattr(model, key)
    return value != default and (key not in _SO_ANYHOW or value != _SO_ANYHOW[key])


def not_yet(team: TeamConfig, paths: Mapping[str, KeyPath], places: Places) -> Iterator[Problem]:
    """Each use of something that a run would refuse today. `paths` leads from an agent's id to its place."""
    for agent in team.agents:
        yield from _of_agent(agent, paths[agent.id], places)
    orchestrator = team.orchestrator
    at: KeyPath = ("orchestrator",)
    if orchestrator.effective_strategy not in AVAILABLE_STRATEGIES:
        key = "strategy" if orchestrator.strategy else "coordination_mode"
        known = ", ".join(sorted(AVAILABLE_STRATEGIES))
        yield _warn(
            (*at, key), f"strategy {orchestrator.effective_strategy} is", places, f"Use one of {known}."
        )
    yield from _keys(orchestrator.coordination, _COORDINATION, (*at, "coordination"), places)
    yield from _keys(team, _TEAM, (), places)


def _of_agent(agent: AgentConfig, path: KeyPath, places: Places) -> Iterator[Problem]:
    block = (*path, "backend")
    info = backend_info(agent.backend.type)
    if info is not None and not info.executes:
        if agent.optional:
            return
        yield _warn((*block, "type"), f"backend {info.type!r} is", places)
    yield from _keys(agent.tools, _TOOLS, block, places)
    if agent.tools.command_line_execution_mode == "srt":
        key = (*block, "command_line_execution_mode")
        yield _warn(key, "mode srt is", places, "Use local: its sandbox is our own.")


def soft(team: TeamConfig, paths: Mapping[str, KeyPath], places: Places) -> Iterator[Problem]:
    """Each use of something that a run goes without today, with what it does instead."""
    orchestrator, at = team.orchestrator, ("orchestrator",)
    yield from _without(team.timeout_settings, _SOFT_TIMEOUTS, ("timeout_settings",), places)
    yield from _without(orchestrator.coordination, _SOFT_COORDINATION, (*at, "coordination"), places)
    if orchestrator.defer_voting_until_all_answered is False:
        key = (*at, "defer_voting_until_all_answered")
        yield places.problem(key, "here a vote always waits for all answers.", severity="warning")
    if orchestrator.effective_strategy == "auto":
        for key in _OF_NEW_ANSWERS:
            if _used(orchestrator, key):
                yield _for_strategy((*at, key), "vote", places)
    yield from _threshold(orchestrator, orchestrator.voting_sensitivity, at, places)
    if orchestrator.quorum is not None and orchestrator.effective_strategy != "auto":
        yield _for_strategy((*at, "quorum"), "auto", places)
    if orchestrator.samples is not None and orchestrator.effective_strategy != "best_of":
        yield _for_strategy((*at, "samples"), "best_of", places)
    for agent in team.agents:
        yield from _soft_of_agent(agent, paths[agent.id], orchestrator, places)


def _soft_of_agent(
    agent: AgentConfig, path: KeyPath, orchestrator: Orchestrator, places: Places
) -> Iterator[Problem]:
    block = (*path, "backend")
    info = backend_info(agent.backend.type)
    if info is not None and not info.executes and agent.optional:
        yield _warn((*block, "type"), f"backend {info.type!r} is", places, _SITS_OUT)
    if agent.subtask is not None and orchestrator.effective_strategy != "decompose":
        yield _for_strategy((*path, "subtask"), "decompose", places)
    sensitivity = agent.voting_sensitivity or orchestrator.voting_sensitivity
    yield from _threshold(agent, sensitivity, path, places)
    yield from _without(agent.tools, _SOFT_TOOLS, block, places)
    for index, server in enumerate(agent.tools.mcp_servers):
        entry = (*block, "mcp_servers", index)
        at = entry if entry in places.marks else (*block, "mcp_servers", server.name)
        yield from _without(server, {"defer_loading": _ALL_SHOWN}, at, places)


def _without(model: BaseModel, table: Mapping[str, str], path: KeyPath, places: Places) -> Iterator[Problem]:
    for key, instead in table.items():
        if _used(model, key):
            message = "not available yet; a run goes without it."
            yield places.problem((*path, key), message, severity="warning", hint=instead)


def _threshold(
    settings: AgentConfig | Orchestrator, sensitivity: str | None, path: KeyPath, places: Places
) -> Iterator[Problem]:
    if settings.voting_threshold is not None and not (sensitivity or "").startswith(_THRESHOLDS):
        message = "only voting_sensitivity roi and checklist take it; a run goes without it."
        yield places.problem((*path, "voting_threshold"), message, severity="warning")


def _for_strategy(path: KeyPath, strategy: str, places: Places) -> Problem:
    message = f"only strategy: {strategy} takes it; a run goes without it."
    return places.problem(path, message, severity="warning")


def _keys(model: BaseModel, table: Mapping[str, str], path: KeyPath, places: Places) -> Iterator[Problem]:
    for key, what in table.items():
        if _used(model, key):
            yield _warn((*path, key), what, places)


def _warn(path: KeyPath, what: str, places: Places, hint: str = "") -> Problem:
    return places.problem(path, f"{what} not available yet.", severity="warning", hint=hint)
