"""Each key of a team file does something, or says at its line that it does not: none is silently nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

import massgen_mcp
from massgen_mcp.backends.registry import BACKENDS, options_class
from massgen_mcp.config.agent_tools import AgentTools, CustomTool
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_text
from massgen_mcp.config.massgen_keys import HONOURED
from massgen_mcp.config.models import AgentKeys, Coordination, Orchestrator, TeamKeys, Timeouts
from massgen_mcp.config.servers import McpServer
from massgen_mcp.errors import Problem

Load = Callable[..., Loaded]

MODELS: dict[str, type[BaseModel]] = {
    "team": TeamKeys,
    "agent": AgentKeys,
    "backend": AgentTools,
    "orchestrator": Orchestrator,
    "coordination": Coordination,
    "timeout_settings": Timeouts,
    "mcp_server": McpServer,
    "custom_tool": CustomTool,
}
KEYS = [(section, key) for section, model in MODELS.items() for key in model.model_fields]
FOR_PEOPLE = "for people who read the file"
SAMPLES: Mapping[str, Any] = {
    "mcp_servers": [{"name": "s", "command": "x"}],
    "custom_tools": [{"path": "t.py", "function": "f"}],
    "context_paths": [{"path": "src"}],
    "allowed_tools": ["read_file"],
    "disallowed_tools": ["read_file"],
    "exclude_tools": ["read_file"],
    "security": {"level": "strict"},
    "quorum": 2,
    "min_agents": 2,
    "max_agents": 2,
    "presenter_agent": "b",
    "final_answer_strategy": "winner_reuse",
    "coordination_mode": "voting",
    "strategy": "vote",
    "broadcast": "agents",
    "type": "stdio",
    "url": "https://h.example/mcp",
    "side_effects": {"x": True},
    "env": {"A": "b"},
    "headers": {"A": "b"},
    "upload_files": ["x"],
    "orchestrator": {"strategy": "vote"},
    "timeout_settings": {"orchestrator_timeout_seconds": 5},
    "budget": {"usd": 1},
    "coordination": {"enable_planning_mode": True},
    "defer_voting_until_all_answered": False,
    "voting_sensitivity": "strict",
    "dissent": False,
    **dict.fromkeys(
        ("image_generation_backend", "audio_generation_backend", "video_generation_backend"), "gemini"
    ),
    "exclude_custom_tools": ["f"],
}
"""Values where the schema alone does not lead to one that means something."""


@cache
def _properties(model: type[BaseModel]) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = model.model_json_schema()["properties"]
    return properties


def _sample(model: type[BaseModel], key: str) -> Any:
    if key in SAMPLES:
        return SAMPLES[key]
    schema = _properties(model)[key]
    default = schema.get("default")
    return next(value for value in _values(schema) if value != default)


def _values(schema: Mapping[str, Any]) -> Iterator[Any]:
    for option in cast("list[Mapping[str, Any]]", [schema, *schema.get("anyOf", ())]):
        yield from option.get("enum", ())
        match option.get("type"):
            case "boolean":
                yield from (True, False)
            case "integer" | "number":
                yield 3
            case "string":
                yield "x"
            case "array":
                yield ["x"]
            case "object":
                yield {"x": 1}
            case _:
                pass


def _team(section: str, key: str, value: Any) -> dict[str, Any]:
    """A team of two where this key stands, with what it needs around it."""
    block: dict[str, Any] = {"type": "vllm", "model": "m", "cwd": "w", "enable_mcp_command_line": True}
    agent: dict[str, Any] = {"id": "a", "backend": block}
    team: dict[str, Any] = {"agents": [agent, {"id": "b", "backend": {"type": "vllm", "model": "m"}}]}
    match section:
        case "team":
            team[key] = value
        case "agent":
            agent[key] = value
        case "backend":
            block["custom_tools"] = [{"path": "t.py", "function": "f"}]
            block[key] = value
        case "coordination":
            team["orchestrator"] = {"coordination": {key: value}}
        case "mcp_server":
            way = {"url": value} if key in ("url", "headers") else {"command": "x"}
            way = way if key != "headers" else {"url": "https://h.example/mcp"}
            block["mcp_servers"] = [{"name": "s", **way, key: value}]
        case "custom_tool":
            block["custom_tools"] = [{"path": "t.py", "function": "f", key: value}]
        case _:
            team[section] = {key: value}
    return team


@pytest.fixture(scope="module")
def read() -> frozenset[str]:
    """Every word that the program reads as an attribute, or as a key, where it is not just declared."""
    package = Path(massgen_mcp.__file__).parent
    tables = {package / "config" / name for name in ("massgen_keys.py", "available.py", "schema.py")}
    found: set[str] = set()
    for path in package.rglob("*.py"):
        if path not in tables:
            text = path.read_text()
            found.update(re.findall(r"\.([a-z]\w+)", text), re.findall(r'"([a-z]\w+)"', text))
    return frozenset(found)


@cache
def _told(section: str, key: str) -> Loaded:
    """What a file with that key in that section comes to."""
    team = _team(section, key, _sample(MODELS[section], key))
    text = json.dumps(team, indent=1)
    return load_text(text, environment=Environment.of({}), origin="file", name="team")


def _at(loaded: Loaded, key: str) -> list[Problem]:
    return [problem for problem in loaded.problems if re.search(rf"\.?\b{key}(\[\d+\])*\Z", problem.path)]


def test_the_table_of_keys_has_every_key_with_what_it_becomes() -> None:
    for section, model in MODELS.items():
        assert set(HONOURED[section]) == set(model.model_fields), section


@pytest.mark.parametrize(("section", "key"), KEYS, ids=[f"{section}.{key}" for section, key in KEYS])
def test_a_key_is_read_or_says_at_its_line_that_it_is_not(
    read: frozenset[str], section: str, key: str
) -> None:
    loaded = _told(section, key)
    assert loaded.team is not None, [str(problem) for problem in loaded.errors]
    said = _at(loaded, key)
    assert all(problem.line for problem in said)
    assert said or key in read or HONOURED[section][key] == FOR_PEOPLE


SAID = {
    "agent.subtask",
    "agent.voting_threshold",
    "backend.auto_discover_custom_tools",
    "backend.command_line_docker_cpu_limit",
    "backend.command_line_docker_credentials",
    "backend.command_line_docker_enable_sudo",
    "backend.command_line_docker_image",
    "backend.command_line_docker_memory_limit",
    "backend.command_line_docker_network_mode",
    "backend.command_line_docker_packages",
    "backend.command_line_srt_allow_read",
    "backend.command_line_srt_allow_unix_sockets",
    "backend.command_line_srt_deny_read",
    "backend.command_line_srt_network_allowed_domains",
    "backend.command_line_srt_read_mode",
    "backend.concurrent_tool_execution",
    "backend.defer_loading",
    "backend.max_concurrent_tools",
    "backend.multimodal_config",
    "backend.permissions",
    "backend.upload_files",
    "coordination.broadcast",
    "coordination.broadcast_sensitivity",
    "coordination.broadcast_timeout",
    "coordination.broadcast_wait_by_default",
    "coordination.max_broadcasts_per_agent",
    "coordination.max_orchestration_restarts",
    "coordination.response_depth",
    "mcp_server.defer_loading",
    "mcp_server.security",
    "orchestrator.answer_novelty_requirement",
    "orchestrator.defer_voting_until_all_answered",
    "orchestrator.disable_injection",
    "orchestrator.fairness_enabled",
    "orchestrator.fairness_lead_cap_answers",
    "orchestrator.max_midstream_injections_per_round",
    "orchestrator.max_new_answers_global",
    "orchestrator.max_new_answers_per_agent",
    "orchestrator.samples",
    "orchestrator.voting_threshold",
    "team.permissions",
    "timeout_settings.round_timeout_grace_seconds",
}
"""What this version does without, to be shortened. (A container's keys say so without one.)"""


def test_what_a_run_goes_without_or_refuses_is_this_and_no_more() -> None:
    said = {f"{section}.{key}" for section, key in KEYS if _at(_told(section, key), key)}
    assert said == SAID


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("orchestrator: {strategy: vote, quorum: 2}", "orchestrator.quorum", "only strategy: auto takes it"),
        (
            "orchestrator: {fairness_lead_cap_answers: 1}",
            "orchestrator.fairness_lead_cap_answers",
            "only strategy: vote takes it; a run goes without it",
        ),
        (
            "orchestrator: {image_generation_backend: grok}",
            "orchestrator.image_generation_backend",
            "grok makes none here",
        ),
        (
            "orchestrator: {audio_generation_backend: elevenlabs}",
            "orchestrator.audio_generation_backend",
            "elevenlabs makes none here",
        ),
        (
            "orchestrator: {audio_generation_backend: sk-hunter2}",
            "orchestrator.audio_generation_backend",
            "audio_generation_backend (line 2): it makes none here",
        ),
    ],
)
def test_a_warning_says_what_a_run_does_instead(load: Load, text: str, path: str, said: str) -> None:
    agents = "agents: [{id: a, backend: {type: groq}}, {id: b, backend: {type: groq}}]\n"
    (problem,) = load(agents + text, GROQ_API_KEY="k").problems
    assert (problem.path, problem.severity, problem.line) == (path, "warning", 2)
    assert said in str(problem)


@pytest.mark.parametrize(
    "text",
    ["concurrent_tool_execution: false", "exclude_custom_tools: []", "enable_file_generation: true, cwd: w"],
)
def test_what_holds_anyhow_is_not_warned_of(load: Load, text: str) -> None:
    assert load(f"agent: {{id: a, backend: {{type: groq, {text}}}}}", GROQ_API_KEY="k").problems == ()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("type: groq, command_line_timeout: 5", "command_line_timeout"),
        ("type: groq, command_line_execution_mode: docker", "command_line_execution_mode"),
        (
            "type: groq, enable_mcp_command_line: true, command_line_docker_image: x",
            "command_line_docker_image",
        ),
        ("type: groq, enable_file_generation: true", "enable_file_generation"),
        ("type: codex, api_key: '${K}', max_tokens: 5", "max_tokens"),
        ("type: codex, api_key: '${K}', extra_body: {a: 1}", "extra_body"),
        ("type: gemini_cli, api_key: '${K}', timeout: 5", "timeout"),
        (
            "type: ag2, llm_config: {model: m, api_key: '${K}', cache_seed: 4}",
            "llm_config.cache_seed",
        ),
        (
            "type: ag2, model: m, api_key: '${K}', code_execution_config: {executor: local, image: x}",
            "code_execution_config.image",
        ),
    ],
)
def test_a_key_that_its_backend_or_its_shell_has_no_use_for_says_so(load: Load, text: str, key: str) -> None:
    loaded = load(f"agent: {{id: a, backend: {{{text}}}}}", GROQ_API_KEY="k", K="k")
    assert loaded.team is not None
    (problem,) = [found for found in loaded.problems if found.path == f"agent.backend.{key}"]
    assert problem.severity in ("warning", "notice")
    assert "not used" in str(problem) or "not sent" in str(problem)


def test_every_option_of_a_backend_is_read_somewhere(read: frozenset[str]) -> None:
    unread = {
        f"{row.type}.{key}"
        for row in BACKENDS.values()
        for key in options_class(row).model_fields
        if key not in read
    }
    assert unread == {"ag2.human_input_mode"}  # its one value, NEVER, is how it always is
