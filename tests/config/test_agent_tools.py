"""The tools of an agent: every form they are written in, and what does not go together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.config.check_custom import media_functions
from massgen_mcp.config.load import Loaded
from massgen_mcp.config.servers import McpServer

Load = Callable[..., Loaded]
KEYS = {name: f"key-of-{name}" for row in BACKENDS.values() for name in row.env}


@pytest.fixture
def tools(load: Load) -> Callable[[str], Loaded]:
    return lambda text: load(f"agent: {{id: a, backend: {{type: groq, {text}}}}}", **KEYS)


def _server(loaded: Loaded) -> McpServer:
    assert loaded.team is not None, [str(problem) for problem in loaded.errors]
    return loaded.team.agents[0].tools.mcp_servers[0]


@pytest.mark.parametrize(
    "text",
    [
        "mcp_servers: [{name: w, command: npx, args: ['-y', pkg]}]",
        "mcp_servers: [{name: w, type: stdio, command: 'npx -y pkg'}]",
        "mcp_servers: [{name: w, command: [npx, '-y'], args: [pkg]}]",
        "mcp_servers: {w: {command: npx -y, args: [pkg]}}",
    ],
)
def test_a_program_may_be_written_in_any_of_these_ways(tools: Load, text: str) -> None:
    server = _server(tools(text))
    assert (server.name, server.type, server.command) == ("w", "stdio", "npx")
    assert [arg.get_secret_value() for arg in server.args] == ["-y", "pkg"]


@pytest.mark.parametrize(
    "text",
    [
        "mcp_servers: [{name: w, url: 'https://h.example/mcp'}]",
        "mcp_servers: [{name: w, type: http, url: 'https://h.example/mcp'}]",
        "mcp_servers: {w: {type: streamable-http, url: 'https://h.example/mcp'}}",
        "mcp_servers: {w: {type: streamable_http, url: 'https://h.example/mcp'}}",
    ],
)
def test_an_address_may_be_written_in_any_of_these_ways(tools: Load, text: str) -> None:
    server = _server(tools(text))
    assert (server.name, server.type) == ("w", "streamable-http")


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("mcp_servers: [{name: w, type: sse, url: 'https://h'}]", "[0]", "use type: streamable-http"),
        ("mcp_servers: {w: {type: sse, url: 'https://h'}}", ".w", "use type: streamable-http"),
        ("mcp_servers: [{name: w, type: soap}]", "[0].type", "must be one of stdio, streamable-http"),
        ("mcp_servers: [{name: w}]", "[0]", "a stdio server has a command and no url"),
        ("mcp_servers: [{name: w, command: x, url: 'https://h.example'}]", "[0]", "a stdio server has"),
        ("mcp_servers: [{name: w, type: http, command: x}]", "[0]", "has a url and no command"),
        ("mcp_servers: [{command: x}]", "[0].name", "required, and missing"),
        ("mcp_servers: [{name: 'a b', command: x}]", "[0].name", "holds characters"),
        ("mcp_servers: [x]", "[0]", "must be a mapping of keys"),
        ("mcp_servers: {w: x}", ".w", "must be a mapping of keys"),
        ("mcp_servers: 3", "", "must be a list"),
        ("mcp_servers: [{name: w, command: 'a \"b'}]", "[0]", "quotes are not closed"),
        ("mcp_servers: [{name: w, command: x, agrs: []}]", "[0].agrs", "unknown key. Did you mean 'args'?"),
        ("mcp_servers: [{name: w, command: x, env: {A: yes}}]", "[0].env.A", "must be text, and YAML reads"),
        ("mcp_servers: [{name: w, command: x, cwd: ../..}]", "[0].cwd", "must not lead out of the team file"),
        ("mcp_servers: [{name: w, url: 'http://169.254.169.254/'}]", "[0].url", "this address can't be used"),
        ("mcp_servers: [{name: w, command: x}, {name: w, command: y}]", "[1].name", "two MCP servers"),
    ],
)
def test_a_wrong_server_is_told_at_its_place(tools: Load, text: str, path: str, said: str) -> None:
    loaded = tools(text)
    found = {problem.path: str(problem) for problem in loaded.errors}
    assert said in found[f"agent.backend.mcp_servers{path}"]


def test_a_servers_security_only_tightens_and_unknown_settings_of_massgen_are_passed_over(
    tools: Load,
) -> None:
    loaded = tools(
        "mcp_servers: [{name: w, command: x, circuit_breaker: {a: 1}, "
        "security: {level: permissive, allow_localhost: true, allow_private_ips: true}}]"
    )
    said = {problem.path: (problem.severity, problem.message) for problem in loaded.problems}
    assert said["agent.backend.mcp_servers[0].security"][0] == "notice"
    assert said["agent.backend.mcp_servers[0].circuit_breaker"][0] == "notice"
    assert loaded.errors == ()


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("command: x, security: {allowed_executables: [y]}", "allowed_executables"),
        ("command: y.sh, security: {allowed_executables: [y]}", "allowed_executables"),
        ("url: 'http://localhost:3/m', security: {allow_localhost: false}", "allow_localhost"),
        ("url: 'http://10.0.0.3/m', security: {allow_private_ips: false}", "allow_private_ips"),
    ],
)
def test_an_entry_that_its_own_security_forbids_is_refused(tools: Load, entry: str, key: str) -> None:
    (error,) = tools(f"mcp_servers: [{{name: s, {entry}}}]").errors
    assert error.path == f"agent.backend.mcp_servers[0].security.{key}"
    assert error.hint == "Change the entry, or its security."


@pytest.mark.parametrize(
    "entry",
    [
        "command: /usr/bin/x, security: {allowed_executables: [x], allowed_hostnames: [h]}",
        "url: 'https://A.example/m', security: {allow_localhost: false}",
        "url: 'https://a.example/m', security: {allowed_hostnames: [b.example]}",
        "command: NPX.cmd, security: {allowed_executables: [npx]}",
        "command: python, security: {allowed_executables: [Python.EXE]}",
        "command: x, security: {allowed_executables: [], allowed_hostnames: []}",
        "url: 'https://a.example/m', security: {allow_private_ips: false}",
    ],
)
def test_an_entry_that_keeps_to_its_own_security_is_taken(tools: Load, entry: str) -> None:
    assert tools(f"mcp_servers: [{{name: s, {entry}}}]").errors == ()


def test_hosts_that_massgen_does_not_look_up_are_no_list_of_all_that_may_be_asked(tools: Load) -> None:
    entry = "url: 'https://a.example/m', security: {allowed_hostnames: [b.example], allowed_executables: []}"
    (notice,) = tools(f"mcp_servers: [{{name: s, {entry}}}]").problems
    assert (notice.severity, notice.path) == ("notice", "agent.backend.mcp_servers[0].security")
    assert "can only tighten: allowed_hostnames not used here" in notice.message


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("custom_tools: [{function: f}]", "[0].path", "required: the file that holds the function"),
        ("custom_tools: [{path: t.py}]", "[0].function", "required: the function's name"),
        ("custom_tools: [{path: ../t.py, function: f}]", "[0].path", "must not lead out of the team file"),
        ("custom_tools: [{path: t.py, function: [3]}]", "[0].function[0]", "must be text"),
        ("custom_tools: t.py", "", "must be a list"),
    ],
)
def test_a_wrong_custom_tool_is_told_at_its_place(tools: Load, text: str, path: str, said: str) -> None:
    found = {problem.path: str(problem) for problem in tools(text).errors}
    assert said in found[f"agent.backend.custom_tools{path}"]


def test_media_tools_of_massgen_need_no_path(tools: Load) -> None:
    text = "custom_tools: [{name: [understand_image], category: multimodal, function: [understand_image]}]"
    assert tools(text).errors == ()


def test_tools_of_this_version_to_come_are_warned_of_and_refuse_a_run(tools: Load) -> None:
    loaded = tools("cwd: w, upload_files: [{image_path: a.png}], permissions: {a: 1}")
    assert loaded.team is not None
    assert [str(problem) for problem in loaded.unavailable] == [
        "agent.backend.upload_files (line 1): uploaded files are not available yet",
        "agent.backend.permissions (line 1): tool permissions are not available yet",
    ]
    assert set(loaded.unavailable) <= set(loaded.problems)


def test_what_would_name_a_secret_of_a_server_is_known_as_one(tools: Load) -> None:
    loaded = tools(
        "mcp_servers: {w: {command: x, env: {API_TOKEN: t0ken-long-enough, MODE: fast}}, "
        "h: {url: 'https://h.example/mcp', headers: {Authorization: Bearer abcdefgh}}}"
    )
    assert loaded.team is not None
    servers = loaded.team.agents[0].tools.mcp_servers
    assert [list(server.secrets) for server in servers] == [
        [("API_TOKEN", "t0ken-long-enough")],
        [("Authorization", "Bearer abcdefgh"), ("Authorization", "abcdefgh")],
    ]


def test_the_sandbox_of_others_is_not_taken_for_ours(tools: Load) -> None:
    loaded = tools("enable_mcp_command_line: true, command_line_execution_mode: srt")
    assert "mode srt is not available yet" in str(loaded.unavailable[0])


def test_a_pattern_of_commands_has_to_be_one(tools: Load) -> None:
    loaded = tools("enable_mcp_command_line: true, command_line_blocked_commands: ['rm (']")
    assert ["is no regular expression" in problem.message for problem in loaded.errors] == [True]


def test_a_switch_that_is_off_asks_for_nothing(tools: Load) -> None:
    assert tools("enable_mcp_command_line: false, mcp_servers: [], cwd: ~").unavailable == ()


# Private teams


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ("{type: groq}", "type"),
        ("{type: chatcompletion, model: m, base_url: 'https://h.example/v1', api_key: EMPTY}", "type"),
        ("{type: vllm, model: m, base_url: 'http://10.0.0.5:8000/v1', api_key: EMPTY}", "type"),
        ("{type: vllm, model: m, mcp_servers: {w: {url: 'https://h.example/mcp'}}}", "mcp_servers.w.url"),
        ("{type: vllm, model: m, image_generation_backend: openai}", "image_generation_backend"),
        ("{type: vllm, model: m, enable_audio_generation: true}", "enable_audio_generation"),
        ("{type: grok, enable_x_search: true}", "enable_x_search"),
    ],
)
def test_a_private_team_refuses_what_leaves_the_machine(load: Load, block: str, path: str) -> None:
    loaded = load(f"private: true\nagent: {{id: a, backend: {block}}}", **KEYS)
    found = {problem.path: problem.message for problem in loaded.errors}
    assert "private team" in found[f"agent.backend.{path}"]


@pytest.mark.parametrize(
    "block",
    [
        "{type: vllm, model: m}",
        "{type: lmstudio, model: m}",
        "{type: chatcompletion, model: m, base_url: 'http://localhost:8000/v1'}",
        "{type: vllm, model: m, mcp_servers: {w: {url: 'http://localhost:9/mcp'}}}",
    ],
)
def test_a_private_team_takes_what_stays(load: Load, block: str) -> None:
    assert load(f"private: true\nagent: {{id: a, backend: {block}}}").errors == ()


def test_a_program_in_a_private_team_is_warned_of(load: Load) -> None:
    text = (
        "private: true\nagent: {id: a, backend: {type: vllm, model: m, mcp_servers: [{name: s, command: x}]}}"
    )
    loaded = load(text)
    said = {problem.path: problem for problem in loaded.problems}
    assert "keeps it from the network" in said["agent.backend.mcp_servers[0]"].message
    assert said["agent.backend.mcp_servers[0]"].severity == "warning"


# What adds up


def test_untrusted_text_private_files_and_a_way_out_are_named_where_they_meet(load: Load) -> None:
    text = (
        "agent: {id: a, backend: {type: openrouter, enable_web_search: true, "
        "mcp_servers: [{name: mail, command: x}]}}\n"
        "orchestrator: {context_paths: [{path: src}]}\n"
    )
    warned = [problem for problem in load(text, **KEYS).problems if "meet in this agent" in problem.message]
    assert len(warned) == 1
    assert "enable_web_search, mcp_servers.mail" in warned[0].message
    assert "context_paths" in warned[0].message


@pytest.mark.parametrize(
    "text",
    [
        "agent: {id: a, backend: {type: openrouter, enable_web_search: true}}",
        "agent: {id: a, backend: {type: groq, context_paths: [{path: src}]}}",
    ],
)
def test_two_of_the_three_are_no_matter(load: Load, text: str) -> None:
    assert "meet in this agent" not in str(load(text, **KEYS).problems)


DOCKER = "enable_mcp_command_line: true, command_line_execution_mode: docker"
PRIVATE = "private: true\nagent: {id: a, backend: {type: ollama, model: llama3, "


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        (
            f"{DOCKER}, command_line_docker_network_mode: bridge",
            "command_line_docker_network_mode",
            "a private team's commands have no network",
        ),
        (
            "enable_mcp_command_line: true, sandbox: off",
            "sandbox",
            "nothing keeps this agent's programs from the network",
        ),
    ],
)
def test_a_private_teams_programs_stay_off_the_network(
    load: Callable[..., Loaded], keys: str, path: str, said: str
) -> None:
    (problem,) = load(f"{PRIVATE}{keys}}}}}").problems
    assert problem.path == f"agent.backend.{path}"
    assert said in problem.message


def test_a_private_teams_container_without_network_is_taken(load: Callable[..., Loaded]) -> None:
    assert load(f"{PRIVATE}{DOCKER}}}}}").problems == ()


def test_a_private_team_has_no_model_that_its_server_asks_for_elsewhere(load: Callable[..., Loaded]) -> None:
    text = "agent: {id: a, backend: {type: ollama, model: 'gpt-oss:120b-cloud'}}"
    (warning,) = load(text).problems
    assert (warning.severity, warning.path) == ("warning", "agent.backend.model")
    assert "runs on machines of Ollama's own" in warning.message
    assert "a private team takes no model that runs on" in str(load(f"private: true\n{text}").errors)


def test_a_model_that_takes_over_is_not_asked_for_elsewhere_either(load: Callable[..., Loaded]) -> None:
    text = "agent: {id: a, fallbacks: ['m', 'gpt-oss:120b-cloud'], backend: {type: ollama, model: m}}"
    (warning,) = load(text).problems
    assert (warning.severity, warning.path) == ("warning", "agent.fallbacks[1]")
    assert "runs on machines of Ollama's own" in warning.message
    (error,) = load(f"private: true\n{text}").errors
    assert (error.path, error.line) == ("agent.fallbacks[1]", 2)
    assert "a private team takes no model that runs on" in error.message


def test_media_functions_of_massgen_can_be_left_out_by_name(load: Callable[..., Loaded]) -> None:
    text = "custom_tools: [{function: [understand_image, text_to_video_generation]}]"
    loaded = load(f"agent: {{id: a, backend: {{type: vllm, model: m, {text}}}}}")
    assert loaded.team is not None
    assert media_functions(loaded.team.agents[0].tools) == ("understand_image", "generate_video")
    less = f"{text}, exclude_custom_tools: text_to_video_generation"
    loaded = load(f"agent: {{id: a, backend: {{type: vllm, model: m, {less}}}}}")
    assert loaded.team is not None
    assert media_functions(loaded.team.agents[0].tools) == ("understand_image",)
