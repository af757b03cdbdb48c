"""Where the two guides disagree, each decision that a team file can show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from massgen_mcp.backends.ag2 import Options as Ag2Options
from massgen_mcp.backends.azure_openai import Options as AzureOptions
from massgen_mcp.backends.claude_code import DANGEROUS_TOOLS, Options as ClaudeCodeOptions
from massgen_mcp.backends.gemini import Options as GeminiOptions
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded
from massgen_mcp.config.readiness import address_of, key_for, readiness

Load = Callable[..., Loaded]

KEYS = {name: f"key-of-{name}" for row in BACKENDS.values() for name in row.env}
AZURE = {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com"}


@pytest.fixture
def block(load: Load) -> Callable[..., Loaded]:
    def read(text: str, **more: str) -> Loaded:
        return load(f"agent: {{id: a, backend: {{{text}}}}}", **{**KEYS, **AZURE, **more})

    return read


def _options(loaded: Loaded) -> Any:
    assert loaded.team is not None, [str(problem) for problem in loaded.errors]
    return loaded.team.agents[0].backend


def _said(loaded: Loaded, severity: str) -> str:
    return "\n".join(str(problem) for problem in loaded.problems if problem.severity == severity)


# 1
def test_gemini_takes_both_keys_google_first_and_names_both_when_neither_is_set() -> None:
    options = GeminiOptions(type="gemini")
    both = Environment.of({"GEMINI_API_KEY": "g", "GOOGLE_API_KEY": "G"})
    assert key_for(options, both).variable == "GOOGLE_API_KEY"
    assert key_for(options, Environment.of({"GEMINI_API_KEY": "g"})).variable == "GEMINI_API_KEY"
    assert key_for(options, Environment.of({})).variables == ("GOOGLE_API_KEY", "GEMINI_API_KEY")


def test_the_problem_of_a_missing_gemini_key_names_both(load: Load) -> None:
    loaded = load("agent: {id: a, backend: {type: gemini}}")
    assert "GOOGLE_API_KEY or GEMINI_API_KEY is not set" in _said(loaded, "warning")


# 2
@pytest.mark.parametrize(
    ("kind", "alias", "native"),
    [
        ("claude", "enable_code_interpreter", "enable_code_execution"),
        ("gemini", "enable_code_interpreter", "enable_code_execution"),
        ("grok", "enable_code_interpreter", "enable_code_execution"),
        ("openai", "enable_code_execution", "enable_code_interpreter"),
    ],
)
def test_the_two_names_of_code_execution_are_one(block: Load, kind: str, alias: str, native: str) -> None:
    loaded = block(f"type: {kind}, {alias}: true")
    assert loaded.team is not None
    assert f"taken as {native}" in _said(loaded, "notice")
    assert block(f"type: {kind}, {native}: true").errors == ()
    assert "taken as" not in _said(block(f"type: {kind}, {native}: true"), "notice")


# 3
def test_azure_chat_deployments_have_no_built_in_tools(block: Load) -> None:
    for flag in ("enable_web_search", "enable_code_interpreter", "enable_code_execution"):
        loaded = block(f"type: azure_openai, model: gpt-4o, api_version: 2024-02-15-preview, {flag}: true")
        assert "deployments' chat completions have no built-in tools" in _said(loaded, "error")
        assert "api_version: v1" in _said(loaded, "error")


@pytest.mark.parametrize(
    ("kind", "reasoning", "unheard"),
    [
        ("azure_openai, model: gpt-4o, api_version: 2024-02-15-preview", "summary: auto", "summary"),
        ("groq", "effort: low, mode: pro", "mode"),
        ("claude", "summary: auto, context: x", "summary, context"),
        ("gemini", "context: x, summary: auto", "context"),
    ],
)
def test_what_a_provider_has_no_place_for_in_reasoning_is_told(
    block: Load, kind: str, reasoning: str, unheard: str
) -> None:
    said = _said(block(f"type: {kind}, reasoning: {{{reasoning}}}"), "warning")
    assert f"alone of reasoning; {unheard} is not sent" in said


@pytest.mark.parametrize(
    "kind", ["openai", "grok", "openrouter", "azure_openai, model: gpt-4o", "gemini", "claude", "vllm"]
)
def test_what_it_takes_of_reasoning_is_not_told(block: Load, kind: str) -> None:
    reasoning = "effort: low" if kind in {"gemini", "claude", "vllm"} else "effort: low, summary: auto"
    assert "of reasoning" not in _said(block(f"type: {kind}, reasoning: {{{reasoning}}}"), "warning")


@pytest.mark.parametrize("version", ["v1", "preview", "latest", None])
def test_the_v1_api_of_azure_has_them(block: Load, version: str | None) -> None:
    given = f", api_version: {version}" if version else ""
    assert block(f"type: azure_openai, model: gpt-4o, enable_web_search: true{given}").errors == ()


def test_azure_takes_mcp_files_shell_and_custom_tools(block: Load) -> None:
    text = (
        "type: azure_openai, model: gpt-4o, api_version: 2024-02-15-preview, cwd: w, "
        "enable_mcp_command_line: true, mcp_servers: [{name: s, command: x}], "
        "custom_tools: [{path: t.py, function: f}]"
    )
    assert block(text).errors == ()


# 4
def test_an_azure_deployment_wins_over_the_model_and_the_file_over_the_environment(block: Load) -> None:
    options = _options(
        block(
            "type: azure_openai, model: gpt-4, deployment_name: mine, base_url: 'https://x.openai.azure.com'",
        )
    )
    assert isinstance(options, AzureOptions)
    assert (options.deployment, options.model) == ("mine", "gpt-4")
    environment = Environment.of(AZURE)
    assert address_of(options, environment) == "https://x.openai.azure.com"
    assert (
        address_of(AzureOptions(type="azure_openai", model="m"), environment)
        == AZURE["AZURE_OPENAI_ENDPOINT"]
    )
    assert AzureOptions(type="azure_openai", model="m").deployment == "m"


def test_the_azure_version_of_the_file_wins_over_the_environments(block: Load) -> None:
    text = "type: azure_openai, model: gpt-4o, enable_web_search: true"
    version = {"AZURE_OPENAI_API_VERSION": "2024-02-15-preview"}
    assert "no built-in tools" in _said(block(text, **version), "error")
    assert block(f"{text}, api_version: v1", **version).errors == ()


def test_an_azure_endpoint_and_version_may_stand_in_variables(block: Load) -> None:
    text = "type: azure_openai, model: m, base_url: '${E}', api_version: '${V}'"
    options = _options(block(text, E="https://mine.openai.azure.com/", V="v1"))
    assert (options.base_url, options.api_version) == ("https://mine.openai.azure.com/", "v1")


# 5
@pytest.mark.parametrize(
    ("variables", "given", "found"),
    [
        ({"CLAUDE_CODE_API_KEY": "c", "ANTHROPIC_API_KEY": "a"}, {"api_key": "own"}, ("file", None)),
        ({"CLAUDE_CODE_API_KEY": "c", "ANTHROPIC_API_KEY": "a"}, {}, ("environment", "CLAUDE_CODE_API_KEY")),
        ({"ANTHROPIC_API_KEY": "a"}, {}, ("environment", "ANTHROPIC_API_KEY")),
        ({}, {}, ("none", None)),
        ({"ANTHROPIC_API_KEY": "a"}, {"use_subscription": True}, ("none", None)),
    ],
)
def test_claude_code_looks_for_its_key_in_this_order(
    variables: dict[str, str], given: dict[str, Any], found: tuple[str, str | None]
) -> None:
    key = key_for(ClaudeCodeOptions(type="claude_code", **given), Environment.of(variables))
    assert (key.source, key.variable) == found


# 6
def test_claude_code_takes_a_system_prompt(block: Load) -> None:
    assert _options(block("type: claude_code, system_prompt: Hello")).system_prompt == "Hello"
    both = block("type: claude_code, system_prompt: a, append_system_prompt: b")
    assert "the same as system_prompt" in _said(both, "error")


# 7
def test_dangerous_patterns_stay_refused_whatever_is_listed(block: Load, load: Load) -> None:
    options = _options(
        block("type: claude_code, disallowed_tools: ['Bash(rm*)', WebSearch], exclude_tools: Task")
    )
    assert options.refused_tools == (*DANGEROUS_TOOLS, "WebSearch", "Task")
    lifted = _options(block("type: claude_code, allow_dangerous_tools: true"))
    assert lifted.refused_tools == ()
    inline = load(
        "agent: {id: a, backend: {type: claude_code, allow_dangerous_tools: true}}", origin="inline"
    )
    assert "only in the operator's own file" in _said(inline, "error")


# 8
def test_claude_code_thinks_with_8000_tokens_by_default(block: Load) -> None:
    assert _options(block("type: claude_code")).max_thinking_tokens == 8000


# 9
def test_grok_has_code_execution_and_both_searches_and_no_live_search(block: Load) -> None:
    flags = "enable_web_search: true, enable_x_search: true, enable_code_execution: true"
    assert block(f"type: grok, {flags}").errors == ()
    gone = block("type: grok, extra_body: {search_parameters: {mode: auto}}")
    assert "Live Search" in _said(gone, "error")


# 10
@pytest.mark.parametrize("kind", ["cerebras", "together", "fireworks", "groq", "moonshot"])
def test_presets_without_web_search_refuse_it(block: Load, kind: str) -> None:
    assert f"{kind!r} has no web search" in _said(block(f"type: {kind}, enable_web_search: true"), "error")


def test_web_search_over_chat_completions_goes_by_the_provider(block: Load) -> None:
    assert block("type: openrouter, enable_web_search: true").errors == ()
    text = "type: chatcompletion, model: m, enable_web_search: true, base_url: "
    assert block(f"{text}'https://openrouter.ai/api/v1'").errors == ()
    assert "'groq' has no web search" in _said(block(f"{text}'https://api.groq.com/openai/v1'"), "error")
    own = _said(block(f"{text}'http://localhost:8000/v1'"), "error")
    assert "'chatcompletion' has no web search: chat completions have it with some providers only" in own


# 11
def test_the_three_forms_of_an_ag2_agent_mean_the_same(block: Load) -> None:
    flat = _options(
        block(
            "type: ag2, agent_type: ConversableAgent, llm_config: {config_list: [{model: gpt-4}]}, "
            "code_execution_config: {executor: local, work_dir: coding}"
        )
    )
    nested = _options(
        block(
            "type: ag2, agent_config: {type: conversable, llm_config: {model: gpt-4}, "
            "code_execution_config: {executor: {type: LocalCommandLineCodeExecutor, work_dir: coding}}}"
        )
    )
    listed = _options(block("type: ag2, llm_config: [{model: gpt-4}], code_execution_config: false"))
    assert isinstance(flat, Ag2Options)
    assert flat == nested
    assert listed.llm_config == flat.llm_config
    assert listed.code_execution_config is None


@pytest.mark.parametrize(
    ("executor", "meant"),
    [
        ("local", "local"),
        ("docker", "docker"),
        ("DockerCommandLineCodeExecutor", "docker"),
        ("daytona", "cloud"),
    ],
)
def test_ag2_executors_have_these_names(block: Load, executor: str, meant: str) -> None:
    text = f"type: ag2, llm_config: {{model: m}}, code_execution_config: {{executor: {executor}}}"
    assert _options(block(text)).code_execution_config.executor == meant


@pytest.mark.parametrize("executor", ["jupyter", "{type: JupyterCodeExecutor}"])
def test_ag2_has_no_jupyter_any_more(block: Load, executor: str) -> None:
    loaded = block(f"type: ag2, llm_config: {{model: m}}, code_execution_config: {{executor: {executor}}}")
    assert "AG2 1.x has no Jupyter executor; use executor: local" in _said(loaded, "error")
    other = block("type: ag2, llm_config: {model: m}, code_execution_config: {executor: yepcode}")
    assert "unknown executor; known are local, docker, cloud" in _said(other, "error")


@pytest.mark.parametrize(
    ("entry", "variable"),
    [
        ("model: m", "OPENAI_API_KEY"),
        ("model: m, api_type: azure", "AZURE_OPENAI_API_KEY"),
        ("model: m, api_type: anthropic", "ANTHROPIC_API_KEY"),
        ("model: m, api_type: google", "GOOGLE_API_KEY"),
        ("model: m, base_url: 'https://api.openai.com/v1'", "OPENAI_API_KEY"),
    ],
)
def test_ag2_takes_the_key_of_its_models_vendor(block: Load, entry: str, variable: str) -> None:
    options = _options(block(f"type: ag2, llm_config: {{{entry}}}"))
    assert key_for(options, Environment.of(KEYS)).variable == variable


def test_ag2_gives_no_vendors_key_to_another_host(block: Load) -> None:
    options = _options(block("type: ag2, llm_config: {model: m, base_url: 'https://evil.example/v1'}"))
    assert key_for(options, Environment.of(KEYS)).source == "missing"
    named = _options(block("type: ag2, llm_config: {model: m, api_key: '${OPENAI_API_KEY}'}"))
    assert key_for(named, Environment.of({})).source == "file"
    assert (
        key_for(_options(block("type: ag2, llm_config: {model: m}")), Environment.of({})).source == "missing"
    )


def test_ag2_has_neither_mcp_nor_files_nor_built_in_flags(block: Load) -> None:
    text = "type: ag2, llm_config: {model: m}, mcp_servers: [{name: s, command: x}], cwd: w"
    assert "'ag2' can't have MCP servers. Remove mcp_servers." in _said(block(text), "error")
    assert "'ag2' can't have a workspace" in _said(block(text), "error")
    flag = block("type: ag2, llm_config: {model: m}, enable_code_execution: true")
    assert "AG2 runs code by its own code_execution_config" in _said(flag, "error")


# 12
@pytest.mark.parametrize(
    "where",
    [
        "type: chatcompletion, base_url: 'http://localhost:30000/v1'",
        "type: inference, port: 30000",
        "type: vllm",
        "type: sglang",
    ],
)
def test_own_servers_take_their_sampling_keys(block: Load, where: str) -> None:
    loaded = block(f"{where}, model: m, top_k: 50, repetition_penalty: 1.1, separate_reasoning: true")
    options = _options(loaded)
    assert (options.top_k, options.repetition_penalty, options.separate_reasoning) == (50, 1.1, True)


# 13
def test_lmstudio_is_at_its_port_takes_mcp_and_installs_nothing_by_itself(block: Load) -> None:
    options = _options(block("type: lmstudio, model: m, port: 4321, mcp_servers: [{name: s, command: x}]"))
    assert address_of(options, Environment.of({})) == "http://localhost:4321/v1"
    assert (options.auto_download, options.auto_install) == (False, False)
    assert BACKENDS["lmstudio"].max_concurrent == 1
    asked = block("type: lmstudio, model: m, auto_download: true, auto_install: true")
    assert (asked.problems, asked.unavailable) == ((), ())  # what becomes of them: test_lmstudio


# 14
def test_zai_takes_mcp_files_and_a_shell_and_no_built_ins(block: Load) -> None:
    tools = "cwd: w, enable_mcp_command_line: true, mcp_servers: [{name: s, command: x}]"
    assert block(f"type: zai, {tools}").errors == ()
    refused = _said(block("type: zai, enable_web_search: true, enable_code_execution: true"), "error")
    assert "'zai' has no web search" in refused
    assert "use enable_mcp_command_line" in refused


# 15
WEATHER = "mcp_servers: [{name: weather, command: x}]"


@pytest.mark.parametrize(
    "entry",
    [
        "mcp__weather__set_location",
        "weather__set_location",
        "set_location",
        "write_file",
        "mcp__filesystem__write_file",
        "mcp__workspace_tools__delete_file",
        "execute_command",
        "mcp__command_line__execute_command",
    ],
)
def test_a_filter_matches_by_any_of_its_names(block: Load, entry: str) -> None:
    text = f"type: groq, cwd: w, enable_mcp_command_line: true, {WEATHER}, disallowed_tools: [{entry}]"
    assert block(text).errors == ()


def test_a_filter_that_can_match_nothing_is_an_error_unless_it_is_optional(block: Load) -> None:
    text = f"type: groq, {WEATHER}, exclude_tools: [mcp__wether__set_location]"
    loaded = block(text)
    assert "agent.backend.exclude_tools[0] (line 1): this matches no tool" in _said(loaded, "error")
    assert block(f"{text}, optional_filters: true").errors == ()
    allowed = block("type: groq, allowed_tools: [read_file]")
    assert allowed.errors == ()
    assert "matches no tool" in _said(allowed, "warning")


def test_both_lists_of_refused_tools_count(block: Load) -> None:
    loaded = block(
        "type: groq, cwd: w, disallowed_tools: [write_file], exclude_tools: [move_file, write_file]"
    )
    assert loaded.team is not None
    assert loaded.team.agents[0].tools.refused == ("write_file", "move_file")


def test_custom_tools_may_be_filtered_by_any_name(block: Load) -> None:
    text = "type: groq, custom_tools: [{path: t.py, function: f}], exclude_tools: [f]"
    assert block(text).errors == ()


# 16
def test_safety_settings_may_be_a_mapping_or_a_list(block: Load) -> None:
    mapping = _options(block("type: gemini, safety_settings: {HARM_CATEGORY_HARASSMENT: block_none}"))
    listed = _options(
        block("type: gemini, safety_settings: [{category: harm_category_harassment, threshold: BLOCK_NONE}]")
    )
    assert mapping.safety_settings == listed.safety_settings
    assert mapping.safety_settings[0].threshold == "BLOCK_NONE"


def test_a_bad_safety_setting_is_refused_with_the_valid_ones(block: Load) -> None:
    category = _said(block("type: gemini, safety_settings: {HARM: OFF}"), "error")
    threshold = _said(block("type: gemini, safety_settings: {HARM_CATEGORY_HARASSMENT: ALL}"), "error")
    assert "HARM_CATEGORY_DANGEROUS_CONTENT" in category
    assert "BLOCK_ONLY_HIGH" in threshold


# 17 and 18
@pytest.mark.parametrize("kind", sorted(set(BACKENDS) - {"scripted"}))
def test_timeout_is_taken_everywhere_and_no_temperature_is_made_up(block: Load, kind: str) -> None:
    more = {
        "ag2": ", llm_config: {model: m}",
        "chatcompletion": ", base_url: 'http://localhost:1/v1'",
        "inference": ", port: 8000",
    }
    model = "" if kind in ("ag2", "local") else ", model: m"
    options = _options(block(f"type: {kind}, timeout: 60{model}{more.get(kind, '')}"))
    assert options.timeout == 60
    assert (options.temperature, options.top_p) == (None, None)


def test_a_temperature_that_a_model_refuses_gets_a_notice(block: Load) -> None:
    assert "gpt-5-nano takes no temperature" in _said(
        block("type: openai, model: gpt-5-nano, temperature: 0.7"), "notice"
    )
    assert "takes no temperature; it is not sent" in _said(
        block("type: claude_code, temperature: 1"), "warning"
    )
    assert _options(block("type: groq, temperature: 0")).temperature == 0


# 19
def test_openais_video_is_refused_and_geminis_offered(block: Load) -> None:
    for text in ("enable_video_generation: true", "video_generation_backend: openai"):
        said = _said(block(f"type: openai, {text}"), "error")
        assert "shut down" in said
        assert "video_generation_backend: gemini" in said
    assert block("type: openai, enable_video_generation: true, video_generation_backend: gemini").errors == ()
    assert block("type: gemini, enable_video_generation: true").errors == ()


# 20
@pytest.mark.parametrize("kind", sorted(set(BACKENDS) - {"scripted", "local", "ag2"}))
def test_a_key_in_a_variable_works_on_every_backend_and_one_in_the_file_is_warned_of(
    block: Load, kind: str
) -> None:
    where = ", base_url: 'https://server.example/v1'" if kind in ("chatcompletion", "inference") else ""
    loaded = block(f"type: {kind}, model: m{where}, api_key: '${{MY_KEY}}'", MY_KEY="value-of-my-key")
    options = _options(loaded)
    assert options.api_key.get_secret_value() == "value-of-my-key"
    assert "value-of-my-key" not in repr(loaded)
    assert loaded.variables == ("MY_KEY",)
    assert "a key stands in the file" not in _said(loaded, "warning")
    literal = block(f"type: {kind}, model: m{where}, api_key: sk-literal-value")
    assert "a key stands in the file itself" in _said(literal, "warning")
    assert "sk-literal" not in repr(literal)


# 21
@pytest.mark.parametrize("mode", ["bypassPermissions", "acceptEdits", "dontAsk"])
def test_permission_modes_that_do_not_ask_are_taken(block: Load, mode: str) -> None:
    assert _options(block(f"type: claude_code, permission_mode: {mode}")).permission_mode == mode
    assert _options(block("type: claude_code")).permission_mode == "bypassPermissions"


@pytest.mark.parametrize("mode", ["default", "plan"])
def test_permission_modes_that_ask_are_refused(block: Load, mode: str) -> None:
    said = _said(block(f"type: claude_code, permission_mode: {mode}"), "error")
    assert "nobody is there to answer" in said
    assert "must be one of" in _said(block("type: claude_code, permission_mode: never"), "error")


# 22
@pytest.mark.parametrize("kind", ["openai", "claude", "gemini", "azure_openai"])
def test_built_in_and_own_execution_go_together(block: Load, kind: str) -> None:
    text = f"type: {kind}, model: m, cwd: w, enable_mcp_command_line: true, enable_code_execution: true"
    assert block(text).errors == ()
    assert block("type: gemini, enable_web_search: true, enable_code_execution: true").errors == ()


def test_readiness_of_a_claude_with_files_and_shell_points_to_claude_code(block: Load) -> None:
    loaded = block("type: claude, cwd: w, enable_mcp_command_line: true")
    assert "claude_code" in _said(loaded, "notice")
    assert readiness(_options(loaded), Environment.of(KEYS)).key == "set"
