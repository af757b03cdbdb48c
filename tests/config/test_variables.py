"""Variables: where they come from, where they may stand, and what is said when they are not set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.config.environment import (
    Environment,
    default_environment,
    read_env_file,
    user_config_folder,
)
from massgen_mcp.config.expand import expand_agent
from massgen_mcp.config.load import Loaded
from massgen_mcp.config.paths import Places

Load = Callable[..., Loaded]


def _backend(loaded: Loaded) -> Any:
    assert loaded.team is not None, [str(problem) for problem in loaded.errors]
    return loaded.team.agents[0].backend


# Layers


def test_the_process_wins_over_files_and_an_earlier_file_over_a_later(tmp_path: Path) -> None:
    home, config, work, beside = (tmp_path / name for name in ("home", "config", "work", "beside"))
    for folder in (config, home / ".massgen", home / ".config" / "massgen", work, beside):
        folder.mkdir(parents=True)
    (beside / ".env").write_text("A=beside\nB=beside\n")
    (config / ".env").write_text("A=config\nB=config\nC=config\n")
    (home / ".massgen" / ".env").write_text("C=massgen\nD=massgen\n")
    (home / ".config" / "massgen" / ".env").write_text("D=old\nE=old\n")
    (work / ".env").write_text("E=work\nF=work\n")
    plain = default_environment({"A": "process"}, home=home, config_folder=config)
    terminal = default_environment({"A": "process"}, home=home, config_folder=config, working_folder=work)
    found = terminal.beside(beside)
    assert [found.get(name) for name in "ABCDEF"] == ["process", "beside", "config", "massgen", "old", "work"]
    assert plain.get("F") is None
    assert found.source("B") == str(beside / ".env")
    assert found.source("A") == "the process's environment"
    assert found.source("Z") is None
    assert found.merged() == {
        "A": "process",
        "B": "beside",
        "C": "config",
        "D": "massgen",
        "E": "old",
        "F": "work",
    }
    assert found.looked_at[1] == str(beside / ".env")
    assert found.beside(beside) is found


def test_nothing_is_written_into_the_process(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MASSGEN_TEST_ONLY=1\nOTHER=${HOME}\n")
    layer = read_env_file(tmp_path / ".env")
    assert "MASSGEN_TEST_ONLY" not in os.environ
    assert layer.values == {"MASSGEN_TEST_ONLY": "1", "OTHER": "${HOME}"}


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    environment = Environment.of({"A": ""})
    assert environment.get("A") is None
    assert environment.first(["A", "B"]) is None


def test_a_file_that_cannot_be_used_is_told_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    layer = read_env_file(tmp_path / ".env")
    environment = Environment.of({}, layer)
    assert environment.troubles == (f"{tmp_path / '.env'}: the file is not UTF-8 text",)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / ".env").symlink_to(tmp_path / "nowhere")
    assert "links are not followed" in read_env_file(tmp_path / "link" / ".env").trouble
    assert read_env_file(tmp_path / "none" / ".env").values is None


def test_showing_an_environment_shows_no_value() -> None:
    assert "hunter2" not in repr(Environment.of({"A": "hunter2"}))


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("OPENAI_API_KEY", ("OPENAI_KEY",)),
        ("ANTHROPIC_API_KEY", ("ANTHROPIC_TOKEN",)),
        ("GEMINI_API_KEY", ()),
        ("XAI_API_KEY", ()),
    ],
)
def test_near_misses_are_names_of_the_same_vendor(wanted: str, near: tuple[str, ...]) -> None:
    environment = Environment.of(
        {"OPENAI_KEY": "1", "OPENAI_MODEL": "2", "ANTHROPIC_TOKEN": "3", "GEMINI_API_KEY": "4", "PATH": "5"}
    )
    assert environment.near(wanted) == near


def test_the_users_config_folder_is_the_systems() -> None:
    assert user_config_folder().name == "massgen-mcp"


# References

EVERYWHERE = """\
agents:
  - id: a
    backend:
      type: chatcompletion
      model: m
      base_url: "https://${HOST}/v1"
      api_key: "${KEY}"
      extra_headers: {X-Team: "${TEAM:-none}"}
      mcp_servers:
        - name: s
          command: run
          args: ["--token=${TOKEN}", "${cwd}/x", "${cwd}/${TOKEN}"]
          env: {SECRET: "${TOKEN}", ROOT: "${cwd}", PORT: 80}
        - name: web
          url: "https://host.example/mcp?key=${TOKEN}"
          headers: {Authorization: "Bearer ${TOKEN}"}
"""


def test_variables_are_replaced_where_they_may_stand(load: Load) -> None:
    loaded = load(EVERYWHERE, HOST="server.example", KEY="key-value", TOKEN="token-value")
    options = _backend(loaded)
    assert loaded.team is not None
    local, remote = loaded.team.agents[0].tools.mcp_servers
    assert options.base_url == "https://server.example/v1"
    assert options.api_key.get_secret_value() == "key-value"
    assert options.extra_headers == {"X-Team": "none"}
    assert [arg.get_secret_value() for arg in local.args] == [
        "--token=token-value",
        "${cwd}/x",
        "${cwd}/token-value",
    ]
    assert {name: value.get_secret_value() for name, value in local.env.items()} == {
        "SECRET": "token-value",
        "ROOT": "${cwd}",
        "PORT": "80",
    }
    assert remote.type == "streamable-http"
    assert remote.headers["Authorization"].get_secret_value() == "Bearer token-value"
    assert "token-value" not in repr(loaded)
    assert set(loaded.variables) == {"HOST", "KEY", "TEAM", "TOKEN"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("agent: {id: '${A}', backend: {type: groq}}", "agent.id"),
        ("agent: {id: a, system_message: 'see ${A}', backend: {type: groq}}", "agent.system_message"),
        ("agent: {id: a, backend: {type: groq, model: '${A}'}}", "agent.backend.model"),
        ("agent: {id: a, backend: {type: groq, cwd: '${A}'}}", "agent.backend.cwd"),
        ("agent: {id: a, backend: {type: groq, base_url: '${A}'}}", "agent.backend.base_url"),
        ("agent: {id: a, backend: {type: groq, api_version: '${A}'}}", "agent.backend.api_version"),
        (
            "agent: {id: a, backend: {type: groq, mcp_servers: [{name: s, command: '${A}'}]}}",
            "agent.backend.mcp_servers[0].command",
        ),
        ("agent: {id: a, backend: {type: groq}}\nbudget: {usd: '${A}'}", "budget.usd"),
        ("agent: {id: a, backend: {type: groq}}\norchestrator: {context_paths: [{path: '${A}'}]}", ""),
    ],
)
def test_a_variable_elsewhere_is_an_error_that_says_so(load: Load, text: str, path: str) -> None:
    loaded = load(text, A="value-of-a")
    said = [problem for problem in loaded.errors if "a variable can't stand here" in problem.message]
    assert said
    assert path in ("", said[0].path)
    assert "api_key" in said[0].hint
    assert "value-of-a" not in repr(loaded)


def test_a_doubled_dollar_is_the_text_itself(load: Load) -> None:
    text = (
        "agent: {id: a, system_message: 'echo $${HOME}', fallbacks: ['$${M}'], "
        "backend: {type: groq, api_key: 'x$${Y}${Z}', extra_headers: {A: '$${B}'}}}"
    )
    loaded = load(text, Z="z")
    assert loaded.team is not None
    assert loaded.team.agents[0].system_message == "echo ${HOME}"
    assert loaded.team.agents[0].fallbacks == ("${M}",)
    assert _backend(loaded).api_key.get_secret_value() == "x${Y}z"
    assert _backend(loaded).extra_headers == {"A": "${B}"}


def test_a_variable_that_is_not_set_is_an_error_with_files_and_near_misses(load: Load) -> None:
    loaded = load("agent: {id: a, backend: {type: groq, api_key: '${GROQ_API_KEY}'}}", GROQ_KEY="x")
    (error,) = loaded.errors
    assert str(error) == (
        "agent.backend.api_key (line 1): the variable GROQ_API_KEY is not set "
        "(looked in the process's environment). Set it. GROQ_KEY is set: was that meant?"
    )


def test_a_local_server_without_its_key_gets_a_warning_alone(load: Load) -> None:
    for where in ("type: sglang", "type: chatcompletion, base_url: 'http://localhost:30000/v1'"):
        loaded = load(f"agent: {{id: a, backend: {{{where}, model: m, api_key: '${{K}}'}}}}")
        assert _backend(loaded).api_key is None
        assert [problem.severity for problem in loaded.problems] == ["warning"]
        assert loaded.problems[0].hint == "EMPTY is sent instead."


def test_an_optional_agent_without_its_key_sits_out_and_takes_no_other_key(load: Load) -> None:
    text = "agent: {id: a, optional: true, backend: {type: groq, api_key: '${MINE}'}}"
    loaded = load(text, GROQ_API_KEY="not this one")
    assert loaded.team is not None
    assert loaded.team.agents[0].unset == ("MINE",)
    assert [problem.hint for problem in loaded.problems] == ["This agent sits out."]


@pytest.mark.parametrize(
    "block",
    [
        "type: azure_openai, model: m, base_url: '${MINE}', api_key: k",
        "type: ag2, llm_config: {config_list: [{model: m, api_key: '${MINE}'}]}",
        "type: groq, api_key: k, extra_headers: {X-Team: '${MINE}'}",
        "type: chatcompletion, model: m, base_url: 'https://${MINE}/v1', api_key: k",
    ],
)
def test_an_optional_agent_sits_out_for_whatever_its_backend_lacks(load: Load, block: str) -> None:
    loaded = load(f"agent: {{id: a, optional: true, backend: {{{block}}}}}")
    assert loaded.team is not None, [str(problem) for problem in loaded.errors]
    assert loaded.team.agents[0].unset == ("MINE",)
    assert "This agent sits out." in [problem.hint for problem in loaded.problems]
    needed = load(f"agent: {{id: a, backend: {{{block}}}}}")
    assert "the variable MINE is not set" in str(needed.errors[0])


def test_a_misspelt_name_leads_to_the_one_of_ours_that_is_set(load: Load) -> None:
    text = "agent: {id: a, backend: {type: openai, api_key: '${OPENAI_APIKEY}'}}"
    (error,) = load(text, OPENAI_API_KEY="k").errors
    assert error.hint == "Set it. OPENAI_API_KEY is set: was that meant?"


def test_what_expanding_found_shows_no_value() -> None:
    expansion = expand_agent(
        {"id": "a", "backend": {"type": "groq", "api_key": "${A}"}},
        ("agent",),
        environment=Environment.of({"A": "hunter2"}),
        places=Places({}),
        inline=False,
    )
    assert expansion.value["backend"] == {"type": "groq", "api_key": "hunter2"}
    assert "hunter2" not in repr(expansion)


def test_a_default_holds_where_nothing_is_set(load: Load) -> None:
    text = "agent: {id: a, backend: {type: groq, api_key: '${A:-fallback}'}}"
    assert _backend(load(text)).api_key.get_secret_value() == "fallback"
    assert _backend(load(text, A="set")).api_key.get_secret_value() == "set"


def test_inline_nothing_is_expanded_and_only_known_names_are_told(load: Load) -> None:
    text = (
        "agents:\n"
        "- {id: a, backend: {type: groq, api_key: '${GROQ_API_KEY}'}}\n"
        "- {id: b, backend: {type: groq, api_key: '${DATABASE_PASSWORD}'}}\n"
        "- {id: c, backend: {type: groq}}\n"
    )
    loaded = load(text, origin="inline", GROQ_API_KEY="hunter2", DATABASE_PASSWORD="hunter2")
    assert loaded.team is not None
    assert [
        agent.backend.api_key and agent.backend.api_key.get_secret_value() for agent in loaded.team.agents
    ] == [
        "${GROQ_API_KEY}",
        "${DATABASE_PASSWORD}",
        None,
    ]
    assert [problem.message for problem in loaded.problems] == [
        "GROQ_API_KEY is set",
        "variables are not expanded in YAML that is given inline",
        "GROQ_API_KEY is set",
    ]
    assert "hunter2" not in repr(loaded)
    assert "DATABASE_PASSWORD is" not in str(loaded.problems)


def test_inline_yaml_can_loosen_nothing(load: Load) -> None:
    text = (
        "agent: {id: a, backend: {type: groq, sandbox: off, command_line_docker_enable_sudo: true, "
        "mcp_servers: [{name: s, command: x, sandbox: off}]}}"
    )
    loaded = load(text, origin="inline")
    assert [problem.path for problem in loaded.errors] == [
        "agent.backend.sandbox",
        "agent.backend.command_line_docker_enable_sudo",
        "agent.backend.mcp_servers[0].sandbox",
    ]
    assert load(text, GROQ_API_KEY="k").errors == ()
