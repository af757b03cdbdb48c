"""Everything wrong with a file is said at once, by line, with what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from massgen_mcp.config.load import Loaded
from massgen_mcp.config.problems import report
from massgen_mcp.errors import ConfigError, Problem

Load = Callable[..., Loaded]

TEN_MISTAKES = """\
agents:
  - id: no
    backend: {type: openai, model: gpt-6.1-terra}
  - id: b
    backend:
      type: google
      model: x
  - id: c
    weigth: 2
    backend:
      type: gemini
      temprature: 0.3
      max_tokens: yes
      safety_settings: {HARM_CATEGORY_FOO: OFF}
  - id: d
    backend: {type: groq, enable_web_search: true, base_url: "https://elsewhere.example/v1"}
  - id: d
    backend: {type: groq, model: 4.1, timeout: -1}
orchestrator:
  voting_sensitivity: lenint
  max_new_answers_per_agent: 0
  presenter_agent: nobody
budget: {usd: free}
colour: blue
"""


TOLD = """
2:5 error agents[0].id (line 2): must be text, and YAML reads yes, no, on and off as true or false.
    Put it in quotes.
6:7 error agents[1].backend.type (line 6): unknown backend 'google'. Did you mean 'gemini'?
9:5 error agents[2].weigth (line 9): unknown key. Did you mean 'weight'?
12:7 error agents[2].backend.temprature (line 12): unknown key. Did you mean 'temperature'?
    What else the provider knows goes in extra_body: {...}.
13:7 error agents[2].backend.max_tokens (line 13): must be a whole number
14:25 error agents[2].backend.safety_settings.HARM_CATEGORY_FOO (line 14): unknown harm category;
    valid are HARM_CATEGORY_HARASSMENT, HARM_CATEGORY_HATE_SPEECH, HARM_CATEGORY_SEXUALLY_EXPLICIT,
    HARM_CATEGORY_DANGEROUS_CONTENT, HARM_CATEGORY_CIVIC_INTEGRITY
16:27 error agents[3].backend.enable_web_search (line 16): 'groq' has no web search.
    Remove enable_web_search.
16:52 error agents[3].backend.base_url (line 16): the host elsewhere.example is not one that the key
    of Groq may be sent to. Give api_key in the same block (api_key: EMPTY where the server wants none).
17:5 error agents[4].id (line 17): another agent has this id (line 15)
18:27 error agents[4].backend.model (line 18): must be text, and this is a number. Put it in quotes.
18:39 error agents[4].backend.timeout (line 18): must be more than 0
20:3 error orchestrator.voting_sensitivity (line 20): must be one of lenient, balanced, strict, roi,
    roi_conservative, roi_balanced, roi_aggressive, sequential, adversarial, consistency, diversity,
    reflective, checklist, checklist_scored, checklist_gated. Did you mean 'lenient'?
21:3 error orchestrator.max_new_answers_per_agent (line 21): must be more than 0
23:10 error budget.usd (line 23): must be a number
24:1 error colour (line 24): unknown key
"""


def _told(problems: tuple[Problem, ...]) -> str:
    return " ".join(f"{problem.line}:{problem.column} {problem.severity} {problem}" for problem in problems)


def test_a_file_with_many_mistakes_is_told_all_of_them(load: Load) -> None:
    loaded = load(TEN_MISTAKES, OPENAI_API_KEY="k", GROQ_API_KEY="k", GOOGLE_API_KEY="k")
    assert loaded.team is None
    assert _told(loaded.problems) == " ".join(TOLD.split())


AGENT = "agent:\n  id: a\n"
MANY = "agents:\n" + "- {id: a, backend: {type: groq}}\n" * 65
GROQ = AGENT + "  backend: {type: groq}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "file: no agents: give `agents:` with at least one"),
        ("agents: []", "agents (line 1): must be a list of at least one agent"),
        ("agents: {}", "agents (line 1): must be a list of at least one agent"),
        ("agents: [x]", "agents[0] (line 1): must be a mapping of keys"),
        ("agent: 3", "agent (line 1): must be a mapping of keys"),
        (MANY, "agents[64] (line 66): more than 64 agents"),
        (MANY, "agents[1].id (line 3): another agent has this id (line 2)"),
        (
            GROQ.replace("groq", "groq, price: {inptu: 1, output: 1}"),
            "agent.backend.price.inptu (line 3): unknown key",
        ),
        ("agents: []\nagent: {}", "agent (line 2): give agents or agent, not both"),
        ("agent: {id: a}", "agent.backend (line 1): required, and missing"),
        ("agent: {id: a, backend: groq}", "agent.backend (line 1): must be a mapping of keys"),
        ("agent: {backend: {type: groq}}", "agent.id (line 1): required, and missing"),
        ("agent: {id: '', backend: {type: groq}}", "agent.id (line 1): must not be empty"),
        (
            "agent: {id: 3, backend: {type: groq}}",
            "agent.id (line 1): must be text, and this is a number. Put",
        ),
        (
            "agent: {id: 2024-01-01, backend: {type: groq}}",
            "agent.id (line 1): YAML reads this as a date. If it is text, put it in quotes.",
        ),
        (
            "agent: {id: a, backend: {}}",
            "agent.backend.type (line 1): required, and missing. Known backends:",
        ),
        ("agent: {id: a, backend: {type: 3}}", "agent.backend.type (line 1): must be text. Known backends:"),
        (
            "agent: {id: a, backend: {type: fnord}}",
            "agent.backend.type (line 1): unknown backend 'fnord'. Known: ag2",
        ),
        (
            "agents: [{id: a, backend: {type: gpt}}]",
            "agents[0].backend.type (line 1): unknown backend 'gpt'. Did",
        ),
        (
            "agent: {id: a, backend: {type: groq, top_p: 1.5}}",
            "agent.backend.top_p (line 1): must be at most 1",
        ),
        (
            "agent: {id: a, backend: {type: groq, enable_web_search: 1}}",
            "agent.backend.enable_web_search (line 1): must be true or false",
        ),
        (
            "agent: {id: a, backend: {type: groq, price: {input: 1}}}",
            "agent.backend.price.output (line 1): required, and missing",
        ),
        (
            "agent: {id: a, backend: {type: groq, extra_body: {Model: x}}}",
            "agent.backend.extra_body (line 1): extra_body may not set model",
        ),
        (
            "agent: {id: a, backend: {type: groq, extra_headers: {Authorization: x}}}",
            "agent.backend.extra_headers (line 1): extra_headers may not set authorization; use api_key",
        ),
        (
            'agent: {id: a, backend: {type: groq, extra_headers: {X: "a\\nb"}}}',
            "agent.backend.extra_headers (line 1): a header may not hold a line break",
        ),
        (
            "agent: {id: a, backend: {type: groq, base_url: 'https://u:p@api.groq.com'}}",
            "agent.backend.base_url (line 1): this address can't be used: it holds a user name or password",
        ),
        (
            "agent: {id: a, backend: {type: groq, system_message: x}}",
            "agent.backend.system_message (line 1): unknown key. It belongs beside `backend`, in the agent.",
        ),
        (
            "agent: {id: a, cwd: x, backend: {type: groq}}",
            "agent.cwd (line 1): unknown key. It belongs in `backend`.",
        ),
        (
            GROQ + "voting_sensitivity: strict",
            "voting_sensitivity (line 4): unknown key. It belongs in `orchestrator`.",
        ),
        (
            GROQ + "orchestrator: {timeout_settings: {}}",
            "orchestrator.timeout_settings (line 4): unknown key. It belongs at the top of the file.",
        ),
        (
            GROQ + "orchestrator: {coordination: {voting_sensitivity: strict}}",
            "orchestrator.coordination.voting_sensitivity (line 4): unknown key. It belongs in `orch",
        ),
        (
            GROQ + "num_agents: 3",
            "num_agents (line 4): unknown key. That is MassGen's first format: list each agent, in `agents`.",
        ),
        (
            GROQ + "orchestrator: {quorum: 5}",
            "orchestrator.quorum (line 4): more than the team's agents (1)",
        ),
        (
            GROQ + "orchestrator: {min_agents: 2, max_agents: 1}",
            "orchestrator.max_agents (line 4): less than min_agents (2)",
        ),
        (
            GROQ + "orchestrator: {presenter_agent: b}",
            "orchestrator.presenter_agent (line 4): there is no agent of that id. Known: a.",
        ),
        (
            GROQ + "orchestrator: {snapshot_storage: ../x}",
            "orchestrator.snapshot_storage (line 4): must not lead out of the run's folder",
        ),
        (
            GROQ + "orchestrator: {snapshot_storage: s, agent_temporary_workspace: s/t}",
            "orchestrator.agent_temporary_workspace (line 4): another folder of a run has this name",
        ),
        (
            GROQ + "orchestrator: {snapshot_storage: ''}",
            "orchestrator.snapshot_storage (line 4): no folder can be called that. Give a plain relative",
        ),
        (
            GROQ + "orchestrator: {snapshot_storage: workspaces}",
            "orchestrator.snapshot_storage (line 4): a run has a folder workspaces of its own. Give another",
        ),
        (
            GROQ + "orchestrator: {agent_temporary_workspace: 'a\\b'}",
            "orchestrator.agent_temporary_workspace (line 4): no folder can be called that. Give a plain",
        ),
        (
            AGENT + "  backend: {type: groq, cwd: ''}",
            "agent.backend.cwd (line 3): no folder can be called that",
        ),
        (
            AGENT + "  backend: {type: groq, cwd: /}",
            "agent.backend.cwd (line 3): no folder can be called that",
        ),
        (AGENT + '  backend: {type: groq, cwd: "a\\nb"}', "agent.backend.cwd (line 3): no folder can be"),
        (
            AGENT + "  backend: {type: groq, cwd: '${cwd}/x'}",
            "agent.backend.cwd (line 3): names the workspace itself",
        ),
        (
            AGENT + "  backend: {type: ag2, llm_config: {model: m}, "
            "code_execution_config: {executor: {type: local, work_dir: ../x}}}",
            "agent.backend.code_execution_config.executor.work_dir (line 3): must not lead out",
        ),
        (
            GROQ + "orchestrator: {context_paths: [{path: ../x}]}",
            "orchestrator.context_paths[0].path (line 4): must not lead out of the project's root",
        ),
        (
            GROQ + "orchestrator: {context_paths: [{path: src, protected_paths: [/etc]}]}",
            "orchestrator.context_paths[0].protected_paths[0] (line 4): must lie inside the context path",
        ),
        (
            GROQ + "orchestrator: {video_generation_backend: openai}",
            "orchestrator.video_generation_backend (line 4): OpenAI's video API was shut down",
        ),
        (
            GROQ + "timeout_settings: 3",
            "timeout_settings (line 4): must be a mapping",
        ),
        (
            GROQ + "orchestrator: []",
            "orchestrator (line 4): must be a mapping of keys",
        ),
        (
            AGENT + "  backend: {type: groq, cwd: ~/x}",
            "agent.backend.cwd (line 3): must not lead out of the run",
        ),
        (
            AGENT + "  backend: {type: inference, model: x}",
            "agent.backend.base_url (line 3): required (or port): 'inference' has no server of its own",
        ),
        (
            AGENT + "  backend: {type: chatcompletion, model: x}",
            "agent.backend.base_url (line 3): required: 'chatcompletion' has no server of its own",
        ),
        (
            AGENT + "  backend: {type: vllm}",
            "agent.backend.model (line 3): model is required: 'vllm' has no default",
        ),
        (
            AGENT + "  backend: {type: azure_openai, base_url: 'https://x.openai.azure.com'}",
            "agent.backend.model (line 3): model or deployment_name is required",
        ),
        (
            AGENT + "  backend: {type: claude, thinking: {type: enabled}}",
            "agent.backend.thinking (line 3): budget_tokens goes with type: enabled, and only with it",
        ),
        (
            AGENT + "  backend: {type: gemini, thinking_budget: 1, thinking_level: low}",
            "agent.backend (line 3): give thinking_budget (2.5 models) or thinking_level (3 and later)",
        ),
        (
            AGENT + "  backend: {type: ag2, llm_config: {config_list: []}}",
            "agent.backend.llm_config.config_list (line 3): must not be empty",
        ),
        (
            AGENT + "  backend: {type: ag2, llm_config: {model: m}, code_execution_config: 3}",
            "agent.backend.code_execution_config (line 3): must be a mapping of keys",
        ),
        (
            AGENT + "  backend: {type: ag2, llm_config: {model: m}, code_execution_config: {executor: 3}}",
            "agent.backend.code_execution_config.executor (line 3): must be one of local, docker, cloud",
        ),
        (
            AGENT + "  backend: {type: ag2}",
            "agent.backend (line 3): give llm_config with at least one model",
        ),
        (
            AGENT + "  backend: {type: ag2, agent_config: 3}",
            "agent.backend (line 3): agent_config must be a mapping",
        ),
        (
            AGENT + "  backend: {type: ag2, agent_type: x, agent_config: {agent_type: y}}",
            "agent.backend (line 3): agent_type stands both in agent_config and beside it",
        ),
        (
            AGENT + "  backend: {type: ag2, agent_config: {llm_config: {model: m, api_type: x}}}",
            "agent.backend.agent_config.llm_config.api_type (line 3): unknown api_type; known are",
        ),
    ],
)
def test_each_mistake_is_told_at_its_place(load: Load, text: str, expected: str) -> None:
    loaded = load(text, GROQ_API_KEY="k")
    assert loaded.team is None
    found = [str(problem) for problem in loaded.errors]
    assert any(line.startswith(expected) for line in found), found


def test_a_broken_file_has_no_team_and_says_so(load: Load) -> None:
    loaded = load("agents: [")
    assert loaded.team is None
    with pytest.raises(ConfigError, match=r"team\.yaml: file"):
        loaded.require("team.yaml")


def test_a_good_file_has_its_team(load: Load) -> None:
    loaded = load("agents:\n- {id: a, backend: {type: groq}}\n", GROQ_API_KEY="k")
    assert loaded.problems == ()
    assert loaded.require().name == "team"


@pytest.mark.parametrize(
    ("storage", "temporary"),
    [(".massgen/snapshots", ".massgen/temp_workspaces"), ("a/b", "a/bc"), ("temp", "a/temp")],
)
def test_folders_of_a_run_may_lie_side_by_side_in_one(load: Load, storage: str, temporary: str) -> None:
    text = f"orchestrator: {{snapshot_storage: {storage}, agent_temporary_workspace: {temporary}}}"
    assert load(GROQ + text, GROQ_API_KEY="k").problems == ()


@pytest.mark.parametrize(
    "text",
    [
        "snapshot_storage: s, agent_temporary_workspace: s",
        "snapshot_storage: a/s, agent_temporary_workspace: a",
        "agent_temporary_workspace: snapshots/x",
        "agent_temporary_workspace: scratch/x",
    ],
)
def test_no_folder_of_a_run_is_another_or_lies_in_it(load: Load, text: str) -> None:
    (error,) = load(f"{GROQ}orchestrator: {{{text}}}", GROQ_API_KEY="k").problems
    assert (error.path, error.severity) == ("orchestrator.agent_temporary_workspace", "error")


@pytest.mark.parametrize(
    ("block", "path", "said"),
    [
        (
            "type: groq, custom_tools: [{path: t.py, function: f}], exclude_custom_tools: g",
            "exclude_custom_tools[0]",
            "no entry of custom_tools brings this function; it leaves nothing out",
        ),
        (
            "type: ag2, llm_config: {model: m}, code_execution_config: {executor: docker, work_dir: ../x}",
            "code_execution_config.work_dir",
            "executor: docker has no work_dir here; not used",
        ),
        (r"type: groq, cwd: 'C:\ws\a'", "cwd", "an absolute path: the agent's workspace is a fresh folder"),
        ("type: groq, cwd: 'C:/ws/../a'", "cwd", "an absolute path: the agent's workspace is a fresh folder"),
    ],
)
def test_what_is_not_used_is_warned_of_and_the_team_loads(
    load: Load, block: str, path: str, said: str
) -> None:
    loaded = load(f"{AGENT}  backend: {{{block}}}\n", GROQ_API_KEY="k", OPENAI_API_KEY="k")
    problems = {problem.path: problem for problem in loaded.problems if problem.severity != "notice"}
    problem = problems[f"agent.backend.{path}"]
    assert (problem.severity, problem.line) == ("warning", 3)
    assert said in problem.message
    assert loaded.errors == ()


def test_a_workspace_that_lies_on_a_windows_drive_is_a_fresh_folder(load: Load) -> None:
    loaded = load(AGENT + r"  backend: {type: groq, cwd: 'C:\ws\a'}", GROQ_API_KEY="k")
    plain = load(f"{AGENT}  backend: {{type: groq, cwd: workspace}}", GROQ_API_KEY="k")
    assert loaded.resolved["agents"] == plain.resolved["agents"]


@pytest.mark.parametrize("more", ["auto_discover_custom_tools: true", "enable_multimodal_tools: true"])
def test_what_tools_nobody_has_named_yet_may_be_left_out(load: Load, more: str) -> None:
    text = f"{AGENT}  backend: {{type: groq, exclude_custom_tools: [generate_image], {more}}}"
    assert not [each for each in load(text).problems if "exclude_custom_tools" in each.path]


def test_an_empty_section_means_its_defaults(load: Load) -> None:
    text = GROQ + "orchestrator:\ntimeout_settings: {orchestrator_timeout_seconds: }\n"
    loaded = load(text + "budget: {}\n", GROQ_API_KEY="k")
    assert loaded.errors == ()
    assert load(GROQ + "timeout_settings:\n", GROQ_API_KEY="k").errors == ()


def test_words_of_yaml_1_1_are_switches_where_a_key_takes_them(load: Load) -> None:
    text = AGENT + "  backend: {type: groq, sandbox: off, enable_multimodal_tools: 'on'}\njournal: off\n"
    loaded = load(text, GROQ_API_KEY="k")
    assert loaded.team is not None
    assert loaded.team.journal is False
    assert loaded.team.agents[0].tools.sandbox == "off"
    assert loaded.team.agents[0].tools.enable_multimodal_tools is True


def test_each_terminal_setting_of_massgen_gets_a_notice_at_its_line(load: Load) -> None:
    text = GROQ + "ui:\n  display_type: rich_terminal\n  logging_enabled: true\n"
    loaded = load(text, GROQ_API_KEY="k")
    assert loaded.team is not None
    assert [str(problem) for problem in loaded.problems] == [
        "ui.display_type (line 5): a terminal setting of MassGen; not used here",
        "ui.logging_enabled (line 6): a terminal setting of MassGen; not used here",
    ]


def test_the_report_of_very_many_problems_is_cut_with_errors_first(load: Load) -> None:
    keys = "".join(f"unknown_{number}: 1\n" for number in range(300))
    loaded = load(GROQ + "ui: {a: 1}\n" + keys, GROQ_API_KEY="k")
    text = report(loaded.problems)
    assert len(text.encode()) <= 4_000
    assert text.startswith("unknown_0 (line 5): unknown key")
    assert text.endswith("more")
    assert report(()) == ""


def test_a_secret_written_in_the_wrong_place_is_not_repeated(load: Load) -> None:
    secret = "sk-hunter2hunter2"
    text = (
        f"agent:\n  id: [{secret}]\n  backend:\n    type: groq\n    api_key: [{secret}]\n"
        f"    timeout: {secret}\n"
        f"    price: {secret}\n    reasoning: {{effort: {secret}}}\n    mcp_servers: {secret}\n"
        f"budget: {{usd: {secret}}}\norchestrator: {{strategy: {secret}}}\n"
    )
    loaded = load(text)
    assert len(loaded.errors) >= 7
    assert "hunter2" not in repr(loaded)


MISTAKES_AT_ALL_DEPTHS = """\
agents:
  - id: a
    backend: {type: gooogle}
  - id: b
    backend:
      type: groq
      top_p: 7
      enable_web_search: true
      cwd: ../x
      context_paths: [{path: src, permission: execute, protected_paths: [../y]}]
orchestrator:
  presenter_agent: a
  quorum: 2
  min_agents: 3
  max_new_answers_global: none
  snapshot_storage: ../z
timeout_settings: {orchestrator_timeout_seconds: soon}
"""


def test_a_mistake_hides_no_other_one(load: Load) -> None:
    told = [(problem.line, problem.path) for problem in load(MISTAKES_AT_ALL_DEPTHS, GROQ_API_KEY="k").errors]
    assert told == [
        (3, "agents[0].backend.type"),
        (7, "agents[1].backend.top_p"),
        (8, "agents[1].backend.enable_web_search"),
        (9, "agents[1].backend.cwd"),
        (10, "agents[1].backend.context_paths[0].permission"),
        (10, "agents[1].backend.context_paths[0].protected_paths[0]"),
        (14, "orchestrator.min_agents"),
        (15, "orchestrator.max_new_answers_global"),
        (16, "orchestrator.snapshot_storage"),
        (17, "timeout_settings.orchestrator_timeout_seconds"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "agents: [{id: a, backend: {type: fnord}}]\norchestrator: {presenter_agent: a}",
        "agents: [{id: 3, backend: {type: groq}}]\norchestrator: {presenter_agent: b}",
        "agents: [{id: a, backend: {type: groq, api_key: [x], base_url: 'https://h.example/v1'}}]",
        "agents: [{id: a, backend: {type: groq, mcp_servers: [{name: s}], exclude_tools: [mcp__s__t]}}]",
        "agents: [{id: a, backend: {type: groq, cwd: 3, exclude_tools: [write_file]}}]",
        "agents: [{id: a, backend: {type: groq, cwd: 3, enable_file_generation: true}}]",
        "agent: {id: a, backend: {type: openai, enable_video_generation: true, video_generation_backend: 3}}",
        "agents: [{id: a, backend: {type: groq, custom_tools: 3, exclude_custom_tools: [f]}}]",
        "agents: [{id: a, backend: {type: vllm, model: 3}}]",
        "agents: [{id: a, backend: {type: chatcompletion, model: m, base_url: 3}}]",
    ],
)
def test_nothing_is_concluded_from_what_a_mistake_leaves(load: Load, text: str) -> None:
    loaded = load(text, GROQ_API_KEY="k", OPENAI_API_KEY="k")
    assert len(loaded.problems) == 1, [str(problem) for problem in loaded.problems]
    assert loaded.team is None


def test_what_cant_be_read_at_all_is_told_once(load: Load) -> None:
    both = "thinking_budget: 1, thinking_level: low"
    loaded = load(
        f"agent: {{id: a, backend: {{type: gemini, {both}, temperature: hot}}}}", GOOGLE_API_KEY="k"
    )
    assert [problem.path for problem in loaded.errors] == ["agent.backend.temperature"]


def test_a_key_without_a_value_is_as_if_it_was_not_there(load: Load) -> None:
    text = (
        "agent:\n  id: a\n  system_message:\n  backend:\n    type: groq\n    enable_web_search:\n"
        "    mcp_servers:\n    custom_tools:\n    context_paths:\n    extra_body:\n"
        "orchestrator:\n  skip_voting:\n  coordination:\n    enable_planning_mode:\n"
        "budget:\ntimeout_settings:\nname:\njournal:\nprivate:\n"
    )
    loaded = load(text, GROQ_API_KEY="k")
    assert loaded.problems == ()
    assert loaded.team == load("agent: {id: a, backend: {type: groq}}", GROQ_API_KEY="k").team
    needed = load("agent:\n  id:\n  backend:\n    type:\n")
    assert [str(problem)[:47] for problem in needed.errors] == [
        "agent.id (line 2): required, and missing",
        "agent.backend.type (line 4): required, and miss",
    ]


@pytest.mark.parametrize("value", ["true", "'false'"])
def test_choices_are_named_as_yaml_writes_them(load: Load, value: str) -> None:
    (error,) = load(GROQ + f"orchestrator: {{coordination: {{broadcast: {value}}}}}", GROQ_API_KEY="k").errors
    assert "must be one of agents, human, false" in str(error)
