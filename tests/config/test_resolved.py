"""What a team resolves to is JSON without any secret, and the schema of its files is published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from massgen_mcp import config
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_text
from massgen_mcp.config.schema import SCHEMA_ID, json_schema

TEAM = """\
agents:
  - id: a
    system_message: Be brief.
    weight: 2
    backend:
      type: claude
      model: claude-sonnet-4
      api_key: "${KEY}"
      cwd: work
      extra_headers: {X-A: "${KEY}", X-B: literal-secret}
      context_paths: [{path: docs, permission: write, protected_paths: [docs/keys]}]
      custom_tools: [{path: tools/t.py, function: f}]
      mcp_servers:
        w:
          command: npx -y pkg
          args: ["${KEY}", plain]
          env: {TOKEN: "${KEY}", OTHER: literal-secret}
          cwd: servers
        web: {url: "https://h.example/mcp?key=literal-secret", headers: {A: literal-secret}}
        hidden: {url: "https://h.example/mcp?key=${KEY}"}
        rooted: {command: run, cwd: "${cwd}"}
  - id: b
    backend: {type: ag2, llm_config: [{model: m, api_key: literal-secret}]}
orchestrator:
  snapshot_storage: snapshots
  agent_temporary_workspace: /abs/temp
  context_paths: [{path: src}]
  max_new_answers_per_agent: 2
budget: {usd: 2}
timeout_settings: {orchestrator_timeout_seconds: 60}
"""


@pytest.fixture
def resolved() -> dict[str, Any]:
    loaded = load_text(
        TEAM,
        environment=Environment.of({"KEY": "value-of-key"}),
        origin="file",
        name="team",
        source=Path("/teams/team.yaml"),
        roots=[Path("/project")],
    )
    assert loaded.team is not None, [str(problem) for problem in loaded.errors]
    return dict(loaded.resolved)


def test_it_is_json_without_any_secret(resolved: dict[str, Any]) -> None:
    text = json.dumps(resolved)
    assert "value-of-key" not in text
    assert "literal-secret" not in text


def test_secrets_are_named_by_their_variables(resolved: dict[str, Any]) -> None:
    backend = resolved["agents"][0]["backend"]
    assert backend["key"] == {"env": "KEY", "set": True}
    assert backend["extra_headers"] == {"X-A": {"env": "KEY", "set": True}, "X-B": "(in the file)"}
    assert (backend["model"], backend["model_id"]) == ("claude-sonnet-4", "claude-sonnet-4-20250514")
    assert backend["address"] == "https://api.anthropic.com"


def test_servers_are_shown_as_written(resolved: dict[str, Any]) -> None:
    program, web, hidden, rooted = resolved["agents"][0]["tools"]["mcp_servers"]
    assert program == {
        "name": "w",
        "type": "stdio",
        "command": "npx",
        "args": ["-y", "pkg", "${KEY}", "plain"],
        "env": {"TOKEN": {"env": "KEY", "set": True}, "OTHER": "(in the file)"},
        "cwd": "/teams/servers",
    }
    assert (web["url"], web["headers"]) == ("https://h.example/mcp", {"A": "(in the file)"})
    assert hidden["url"] == "https://h.example/mcp?key=${KEY}"
    assert rooted["cwd"] == "${cwd}"


def test_paths_are_where_they_will_be(resolved: dict[str, Any]) -> None:
    tools, team = resolved["agents"][0]["tools"], resolved["orchestrator"]
    assert tools["workspace"] == "<run>/work"
    assert tools["context_paths"] == [
        {"path": "/project/docs", "permission": "write", "protected_paths": ["docs/keys"]}
    ]
    assert tools["custom_tools"][0]["path"] == "/teams/tools/t.py"
    assert (team["snapshot_storage"], team["agent_temporary_workspace"]) == ("<run>/snapshots", "<run>/temp")
    assert team["context_paths"] == [{"path": "/project/src", "permission": "read"}]


def _placed(load: Callable[..., Loaded], block: str, **more: Any) -> Loaded:
    return load(f"agent: {{id: a, backend: {{{block}}}}}", source=Path("/teams/team.yaml"), **more)


def test_a_workspace_by_its_whole_path_is_a_fresh_folder_and_says_so(load: Callable[..., Loaded]) -> None:
    loaded = _placed(load, "type: groq, cwd: /home/me/project", GROQ_API_KEY="k")
    assert loaded.resolved["agents"][0]["tools"]["workspace"] == "<run>/workspace"
    (warning,) = loaded.problems
    assert (warning.path, warning.severity) == ("agent.backend.cwd", "warning")
    assert "a fresh folder of the run all the same" in str(warning)
    assert "context_paths" in warning.hint


@pytest.mark.parametrize(
    ("block", "key", "path"),
    [
        ("type: local, path: models/m.gguf", "path", "/teams/models/m.gguf"),
        ("type: local, model_path: /abs/m.gguf", "model_path", "/abs/m.gguf"),
        ("type: local, path: ~/m.gguf", "path", "~/m.gguf"),
        ("type: codex, cli_path: bin/codex", "cli_path", "/teams/bin/codex"),
    ],
)
def test_a_file_that_a_backend_needs_lies_beside_the_team_file(
    load: Callable[..., Loaded], block: str, key: str, path: str
) -> None:
    loaded = _placed(load, block)
    assert loaded.resolved["agents"][0]["backend"][key] == path
    assert loaded.team is not None
    assert str(getattr(loaded.team.agents[0].backend, key)) == path


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ("mcp_servers: [{name: s, command: x, cwd: /opt/x}]", "agent.backend.mcp_servers[0].cwd"),
        ("mcp_servers: {s: {command: x, cwd: /opt/x}}", "agent.backend.mcp_servers.s.cwd"),
        ("context_paths: [{path: /etc}]", "agent.backend.context_paths[0].path"),
    ],
)
def test_a_whole_path_lies_in_a_root_or_beside_the_file(
    load: Callable[..., Loaded], block: str, path: str
) -> None:
    loaded = _placed(load, f"type: groq, {block}", roots=[Path("/project")])
    (error,) = loaded.errors
    assert error.path == path
    assert str(error).endswith(
        "lies neither in the project nor beside the team file. Name its folder with --root or "
        "MASSGEN_MCP_ROOTS."
    )
    for inside in ("/project/x", "/teams/x"):
        text = block.replace("/opt/x", inside).replace("/etc", inside)
        assert _placed(load, f"type: groq, {text}", roots=[Path("/project")]).errors == ()


def test_who_sends_yaml_learns_nothing_of_an_address_in_the_environment(load: Callable[..., Loaded]) -> None:
    text = "agent: {id: a, backend: {type: azure_openai, model: m}}"
    where = {"AZURE_OPENAI_ENDPOINT": "https://hunter2.openai.azure.com"}
    assert "hunter2" not in repr(load(text, origin="inline", **where))
    assert load(text, **where).resolved["agents"][0]["backend"]["address"] == where["AZURE_OPENAI_ENDPOINT"]


def test_settings_and_limits_are_there(resolved: dict[str, Any]) -> None:
    assert resolved["name"] == "team"
    assert resolved["source"] == "/teams/team.yaml"
    assert resolved["budget"] == {"usd": 2.0}
    assert resolved["timeout_settings"] == {"orchestrator_timeout_seconds": 60.0}
    assert resolved["orchestrator"]["strategy"] == "auto"
    assert resolved["agents"][0]["system_message"] == "Be brief."
    assert resolved["agents"][1]["backend"]["llm_config"] == {"config_list": [{"model": "m"}]}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("type: groq", {"env": "GROQ_API_KEY", "set": False}),
        ("type: gemini", {"env": "GOOGLE_API_KEY or GEMINI_API_KEY", "set": False}),
        ("type: vllm, model: m", {"needed": False}),
        ("type: groq, api_key: sk-literal", {"literal": True}),
    ],
)
def test_a_key_is_told_by_its_state(load: Callable[..., Loaded], text: str, key: dict[str, Any]) -> None:
    loaded = load(f"agent: {{id: a, backend: {{{text}}}}}")
    assert loaded.resolved["agents"][0]["backend"]["key"] == key


def test_who_sends_yaml_learns_of_known_variables_alone_whether_they_are_set(
    load: Callable[..., Loaded],
) -> None:
    text = (
        "agents:\n"
        '- {id: a, backend: {type: groq, api_key: "${SECRETVAR}", extra_headers: {X: "${OTHER}"}}}\n'
        '- {id: b, backend: {type: groq, api_key: "${GROQ_API_KEY}", extra_headers: {X: "${ZAI_API_KEY}"}}}\n'
        '- {id: c, backend: {type: groq, api_key: "${GROQ_API_KEY}${SECRETVAR}"}}\n'
    )
    known = {"GROQ_API_KEY": "gsk-value", "SECRETVAR": "a-value"}
    shown = [agent["backend"] for agent in load(text, origin="inline", **known).resolved["agents"]]
    assert (shown[0]["key"], shown[0]["extra_headers"]) == ({"env": "SECRETVAR"}, {"X": {"env": "OTHER"}})
    assert shown[1]["key"] == {"env": "GROQ_API_KEY", "set": True}
    assert shown[1]["extra_headers"] == {"X": {"env": "ZAI_API_KEY", "set": False}}
    assert shown[2]["key"] == {"env": "GROQ_API_KEY"}
    in_a_file = load(text.replace("OTHER", "SECRETVAR"), **known, ZAI_API_KEY="z").resolved["agents"]
    assert in_a_file[0]["backend"]["key"] == {"env": "SECRETVAR", "set": True}


def test_a_file_with_errors_resolves_to_nothing(load: Callable[..., Loaded]) -> None:
    assert load("agents: []").resolved == {}


# The schema


def test_the_schema_is_one_and_stays_small() -> None:
    schema = json_schema()
    assert schema["$id"] == SCHEMA_ID
    assert len(json.dumps(schema)) < 120_000
    assert "massgen_mcp__" not in json.dumps(schema)


@pytest.mark.no_cover
def test_the_schema_is_valid_json_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


def test_an_editor_is_told_what_is_wrong_in_a_block_and_not_that_it_fits_no_type(
    schema_errors: Callable[[Any], list[str]],
) -> None:
    block = {"type": "openai", "temprature": 1}
    (told,) = schema_errors({"agent": {"id": "a", "backend": block}})
    assert "'temprature' was unexpected" in told


@pytest.mark.parametrize(
    "value",
    [
        {"agents": []},
        {"agent": {"id": "a"}},
        {"agent": {"id": "a", "backend": {"type": "gpt"}}},
        {"agent": {"id": "a", "backend": {"type": "openai", "temprature": 1}}},
        {"agent": {"id": "a", "backend": {"type": "openai", "temperature": 3}}},
        {"agent": {"id": "a", "backend": {"type": "openai", "top_k": 3}}},
        {"agent": {"id": "a", "backend": {"type": "openai"}}, "colour": 1},
        {
            "agent": {"id": "a", "backend": {"type": "openai"}},
            "agents": [{"id": "b", "backend": {"type": "grok"}}],
        },
        {"agent": {"id": "a", "backend": {"type": "openai", "mcp_servers": [{"command": "x"}]}}},
        {"agent": {"id": None, "backend": {"type": "openai"}}},
        {"agent": {"id": "a", "backend": {"type": "ag2", "agent_config": {"llm_config": {"model": 3}}}}},
        {
            "agent": {"id": "a", "backend": {"type": "openai", "image_generation_backend": "fnord"}},
        },
    ],
)
def test_the_schema_refuses_what_loading_refuses(
    value: dict[str, Any], load: Callable[..., Loaded], schema_errors: Callable[[Any], list[str]]
) -> None:
    assert schema_errors(value)
    assert load(json.dumps(value)).errors


@pytest.mark.parametrize(
    "value",
    [
        {
            "agent": {
                "id": "a",
                "backend": {"type": "gemini", "safety_settings": {"HARM_CATEGORY_HARASSMENT": "OFF"}},
            }
        },
        {"agent": {"id": "a", "backend": {"type": "ag2", "agent_config": {"llm_config": {"model": "m"}}}}},
        {"agent": {"id": "a", "backend": {"type": "grok", "mcp_servers": {"w": {"command": ["npx", "x"]}}}}},
        {"agent": {"id": "a", "backend": {"type": "grok", "hooks": {}}}, "ui": {"display_type": "x"}},
        {"agent": {"id": "a", "backend": {"type": "grok", "exclude_tools": [], "sandbox": False}}},
        {
            "agent": {"id": "a", "system_message": None, "backend": {"type": "grok", "mcp_servers": None}},
            "orchestrator": {"coordination": None, "skip_voting": None},
            "budget": None,
        },
    ],
)
def test_the_schema_takes_every_form_that_loading_takes(
    value: dict[str, Any], load: Callable[..., Loaded], schema_errors: Callable[[Any], list[str]]
) -> None:
    assert schema_errors(value) == []
    assert load(json.dumps(value)).errors == ()


# The package's front


def test_the_package_gives_its_names_at_first_use() -> None:
    for name in config.__all__:
        assert getattr(config, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fnord'"):
        _ = config.fnord
