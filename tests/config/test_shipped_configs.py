"""What comes with the program loads, and every example of the two guides is there and does what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from massgen_mcp.backends.registry import BACKENDS, public_backends
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_file
from massgen_mcp.config.readiness import agent_readiness
from massgen_mcp.config.search import shipped_configs

FOLDER = cast("Path", shipped_configs())
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml"))
TODAY = date(2026, 11, 22)
KEYS = {name: f"key-of-{name}" for row in BACKENDS.values() for name in row.env} | {
    "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com",
}
TEAMS = ("fast", "balanced", "deep", "private", "code")
OPTIONAL_VENDORS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "XAI_API_KEY",
    "ZAI_API_KEY",
    "OPENROUTER_API_KEY",
    "GROQ_API_KEY",
    "CEREBRAS_API_KEY",
    "TOGETHER_API_KEY",
    "FIREWORKS_API_KEY",
    "MOONSHOT_API_KEY",
)


def _load(name: str, variables: Mapping[str, str] = KEYS) -> Loaded:
    return load_file(FOLDER / name, approved=[FOLDER], environment=Environment.of(variables), today=TODAY)


@pytest.mark.parametrize("name", FILES)
def test_it_loads_and_fits_the_published_schema(name: str, schema_errors: Callable[[Any], list[str]]) -> None:
    loaded = _load(name)
    assert loaded.team is not None, [str(problem) for problem in loaded.errors]
    value = yaml.safe_load((FOLDER / name).read_text())
    assert schema_errors(value) == []
    notes = [problem.message for problem in loaded.problems if problem not in loaded.unavailable]
    expected = (
        "retired",
        "taken as",
        "takes no",
        "not available yet",
        "there is also claude_code",
        "is not installed",
    )
    assert all(any(word in note for word in expected) for note in notes), notes


@pytest.mark.parametrize("name", FILES)
def test_a_run_would_refuse_nothing_of_it(name: str) -> None:
    assert [str(problem) for problem in _load(name).unavailable] == []


def test_the_team_that_repairs_a_project_may_not_write_to_it_before_its_operator_says_so() -> None:
    loaded = _load("work/repair.yaml")
    assert loaded.team is not None
    assert [path.permission for path in loaded.team.orchestrator.context_paths] == ["read"]
    assert all(agent.tools.cwd and agent.tools.enable_mcp_command_line for agent in loaded.team.agents)


def test_there_is_a_file_for_every_backend_and_provider() -> None:
    for row in public_backends():
        assert f"backends/{row.type}.yaml" in FILES
    providers = {Path(name).stem for name in FILES if name.startswith("providers/")}
    assert providers == {
        "cerebras",
        "together",
        "fireworks",
        "groq",
        "openrouter",
        "moonshot",
        "nebius",
        "poe",
    }
    assert "basic/multi/two_qwen_vllm_sglang.yaml" in FILES


@pytest.mark.parametrize("row", [row for row in public_backends() if row.module == "chat" and row.hosts])
def test_a_provider_by_its_address_is_the_preset_of_its_name(row: Any) -> None:
    name = f"providers/{row.type}.yaml"
    if name not in FILES:
        assert row.type == "zai"
        return
    loaded = _load(name)
    assert loaded.team is not None
    options = loaded.team.agents[0].backend
    assert options.base_url == row.base_url
    assert loaded.variables == row.env[:1]
    assert options.api_key is not None
    assert options.api_key.get_secret_value() == KEYS[row.env[0]]


@pytest.mark.parametrize("team", TEAMS)
@pytest.mark.parametrize("variable", OPTIONAL_VENDORS)
def test_a_shipped_team_loads_whatever_single_key_there_is(team: str, variable: str) -> None:
    loaded = _load(f"{team}.yaml", {variable: "k"})
    assert loaded.team is not None
    assert all(agent.optional for agent in loaded.team.agents)
    assert loaded.unavailable == ()
    row = next(row for row in public_backends() if variable in row.env)
    if team != "private" and row.executes:
        ready = [agent.id for agent in loaded.team.agents if agent_readiness(agent, loaded.environment).ready]
        assert row.type in ready


def test_the_private_team_names_only_servers_of_ones_own() -> None:
    loaded = _load("private.yaml", {})
    assert loaded.team is not None
    assert loaded.team.private
    assert {agent.backend.type for agent in loaded.team.agents} == {"lmstudio", "vllm", "sglang"}


def test_the_demo_team_needs_nothing() -> None:
    loaded = _load("demo.yaml", {})
    assert loaded.problems == ()
    assert loaded.team is not None
    assert [agent.backend.type for agent in loaded.team.agents] == ["local"] * 3
    assert loaded.team.orchestrator.effective_strategy == "vote"


WANTED: dict[str, list[dict[str, Any]]] = {
    "guide/basic": [{"type": "openai", "model": "gpt-5-nano"}],
    "guide/openai_basic": [{"enable_web_search": True, "enable_code_interpreter": True}],
    "guide/openai_reasoning": [
        {"text": {"verbosity": "medium"}, "reasoning": {"effort": "high", "summary": "auto"}}
    ],
    "guide/claude_basic": [{"type": "claude", "enable_web_search": True, "enable_code_interpreter": True}],
    "guide/claude_mcp": [
        {
            "mcp_servers": [
                {"name": "weather", "command": "npx", "args": ["-y", "@modelcontextprotocol/server-weather"]}
            ]
        }
    ],
    "guide/claude_code_workspace": [{"type": "claude_code", "workspace": "<run>/workspace"}],
    "guide/gemini_basic": [{"type": "gemini", "enable_web_search": True, "enable_code_execution": True}],
    "guide/gemini_safety": [
        {
            "safety_settings": [
                {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_MEDIUM_AND_ABOVE"},
                {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_MEDIUM_AND_ABOVE"},
            ]
        }
    ],
    "guide/grok_basic": [{"type": "grok", "model": "grok-3-mini", "enable_web_search": True}],
    "guide/azure_openai": [{"deployment_name": "my-gpt4-deployment", "api_version": "2024-02-15-preview"}],
    "guide/ag2": [
        {
            "llm_config": {"config_list": [{"model": "gpt-4"}]},
            "code_execution_config": {"executor": "local", "work_dir": "coding"},
        }
    ],
    "guide/lmstudio": [{"type": "lmstudio", "address": "http://localhost:1234/v1", "key": {"needed": False}}],
    "guide/local_servers": [
        {"address": "http://localhost:8000/v1", "key": {"literal": True}},
        {"address": "http://localhost:30000/v1", "key": {"env": "SGLANG_API_KEY", "set": True}},
    ],
    "guide/sglang_parameters": [{"separate_reasoning": True, "top_k": 50, "repetition_penalty": 1.1}],
    "guide/mixed_servers": [{"model": "Qwen/Qwen2.5-7B-Instruct"}, {"separate_reasoning": True}],
    "guide/common_parameters": [
        {
            "temperature": 0.7,
            "max_tokens": 4096,
            "top_p": 1.0,
            "timeout": 60.0,
            "key": {"env": "OPENAI_API_KEY", "set": True},
        }
    ],
    "guide/tool_configuration": [
        {"mcp_servers": [{"name": "server_name", "command": "npx", "args": ["..."]}]}
    ],
    "guide/chatcompletion_cerebras": [
        {"address": "https://api.cerebras.ai/v1", "key": {"env": "CEREBRAS_API_KEY", "set": True}}
    ],
    "guide/mcp_any_backend": [
        {"workspace": "<run>/my_project", "disallowed_tools": ["mcp__weather__set_location"]}
    ],
    "guide/claude_code_options": [
        {
            "max_thinking_tokens": 10000,
            "system_prompt": "You are an expert Python developer",
            "disallowed_tools": ["Bash(rm*)", "Bash(sudo*)", "WebSearch"],
        }
    ],
    "basic/multi/researcher_analyst_coder": [
        {"type": "gemini", "model": "gemini-2.5-flash", "enable_web_search": True},
        {"type": "openai", "model": "gpt-5", "reasoning": {"effort": "high"}},
        {"type": "claude_code", "model": "claude-sonnet-4", "workspace": "<run>/workspace"},
    ],
}


def _fits(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, dict):
        items = cast("dict[str, Any]", wanted).items()
        return isinstance(found, dict) and all(
            key in found and _fits(value, found[key]) for key, value in items
        )
    if isinstance(wanted, list):
        pairs = zip(cast("list[Any]", wanted), cast("list[Any]", found), strict=True)
        return all(_fits(value, other) for value, other in pairs)
    return bool(wanted == found)


@pytest.mark.parametrize("name", WANTED)
def test_an_example_of_the_guides_means_what_it_says(name: str) -> None:
    resolved = _load(f"{name}.yaml").resolved
    found = [{**agent["backend"], **agent.get("tools", {})} for agent in resolved["agents"]]
    assert _fits(WANTED[name], found), found


def test_every_example_of_the_guides_is_checked() -> None:
    assert {name.removesuffix(".yaml") for name in FILES if name.startswith("guide/")} <= set(WANTED)


def test_the_listing_of_alternative_models_in_the_guide_is_refused_for_its_two_keys(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        'agents:\n  - id: a\n    backend:\n      type: "openai"\n'
        '      model: "gpt-5-nano"\n      model: "gpt-6"\n'
    )
    loaded = load_file(path, approved=[tmp_path], environment=Environment.of(KEYS))
    assert [str(problem) for problem in loaded.errors] == [
        "agents[0].backend.model (line 6): set twice, first in line 5. Remove one of them."
    ]
