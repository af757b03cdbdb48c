"""The table of MassGen's keys agrees with the models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import BaseModel

from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.load import Loaded
from massgen_mcp.config.massgen_keys import IGNORED, MOVED, V1
from massgen_mcp.config.models import AgentKeys, Coordination, Orchestrator, TeamKeys, Timeouts
from massgen_mcp.config.servers import McpServer
from massgen_mcp.config.sift import keys_of

MODELS: dict[str, type[BaseModel]] = {
    "team": TeamKeys,
    "agent": AgentKeys,
    "backend": AgentTools,
    "orchestrator": Orchestrator,
    "coordination": Coordination,
    "timeout_settings": Timeouts,
    "mcp_server": McpServer,
}


def test_what_has_no_meaning_is_no_field_beside_media_settings() -> None:
    for section, keys in IGNORED.items():
        if section == "custom_tool":
            continue
        both = set(keys) & keys_of(MODELS[section])
        assert both <= {"multimodal_config"}, section


def test_keys_of_the_first_format_and_moved_ones_are_not_taken() -> None:
    assert not set(V1) & keys_of(TeamKeys)
    assert not set(MOVED) & keys_of(AgentTools)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("agent: {id: a, memory: {}, backend: {type: groq}}", "agent.memory"),
        ("agent: {id: a, backend: {type: groq, hooks: {}}}", "agent.backend.hooks"),
        ("agent: {id: a, backend: {type: groq, write_mode: auto}}", "agent.backend.write_mode"),
        ("agent: {id: a, backend: {type: groq}}\nmemory: {enabled: true}", "memory"),
        ("agent: {id: a, backend: {type: groq}}\norchestrator: {dspy: {enabled: true}}", "orchestrator.dspy"),
        (
            "agent: {id: a, backend: {type: groq}}\norchestrator: {coordination: {use_skills: true}}",
            "orchestrator.coordination.use_skills",
        ),
    ],
)
def test_a_key_without_meaning_gets_one_notice(load: Callable[..., Loaded], text: str, path: str) -> None:
    loaded = load(text, GROQ_API_KEY="k")
    assert loaded.team is not None
    (notice,) = loaded.problems
    assert (notice.path, notice.severity) == (path, "notice")
    assert notice.message.endswith("; not used here")


@pytest.mark.parametrize(
    ("text", "strategy", "presentation"),
    [
        ("{}", "auto", "winner"),
        ("{coordination_mode: voting}", "vote", "winner"),
        ("{coordination_mode: decomposition}", "decompose", "winner"),
        ("{strategy: auto, coordination_mode: voting}", "auto", "winner"),
        ("{skip_final_presentation: true}", "auto", "reuse"),
        ("{final_answer_strategy: winner_reuse}", "auto", "reuse"),
        ("{final_answer_strategy: synthesize}", "auto", "synthesize"),
        ("{final_answer_strategy: winner_present}", "auto", "winner"),
        ("{presentation: reuse, final_answer_strategy: synthesize}", "auto", "reuse"),
    ],
)
def test_massgens_words_for_coordination_mean_these(
    load: Callable[..., Loaded], text: str, strategy: str, presentation: str
) -> None:
    loaded = load(f"agent: {{id: a, backend: {{type: groq}}}}\norchestrator: {text}", GROQ_API_KEY="k")
    assert loaded.team is not None
    orchestrator = loaded.team.orchestrator
    assert (orchestrator.effective_strategy, orchestrator.effective_presentation) == (strategy, presentation)


def test_what_a_run_goes_without_is_a_warning_that_refuses_nothing(load: Callable[..., Loaded]) -> None:
    text = (
        "agent: {id: a, backend: {type: groq, defer_loading: true}}\n"
        "timeout_settings: {round_timeout_grace_seconds: 60}\n"
    )
    loaded = load(text, GROQ_API_KEY="k")
    assert loaded.unavailable == ()
    assert [(problem.severity, problem.path) for problem in loaded.problems] == [
        ("warning", "agent.backend.defer_loading"),
        ("warning", "timeout_settings.round_timeout_grace_seconds"),
    ]


def test_what_has_no_meaning_beside_other_keys_is_told(load: Callable[..., Loaded]) -> None:
    text = (
        "agent: {id: a, voting_threshold: 3, voting_sensitivity: strict, backend: {type: groq}}\n"
        "orchestrator: {fairness_enabled: true, disable_injection: true, max_new_answers_per_agent: 3}\n"
    )
    loaded = load(text, GROQ_API_KEY="k")
    assert {problem.severity for problem in loaded.problems} == {"warning"}
    vote = "only strategy: vote takes it; a run goes without it"
    assert [str(problem) for problem in loaded.problems] == [
        (
            "agent.voting_threshold (line 1): "
            "only voting_sensitivity roi and checklist take it; a run goes without it"
        ),
        f"orchestrator.disable_injection (line 2): {vote}",
        f"orchestrator.max_new_answers_per_agent (line 2): {vote}",
    ]
    assert load(text.replace("{fair", "{strategy: vote, fair"), GROQ_API_KEY="k").problems[1:] == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "orchestrator: {strategy: best_of}",
            "orchestrator.strategy (line 2): strategy best_of is not available yet",
        ),
        (
            "orchestrator: {coordination_mode: decomposition}",
            "orchestrator.coordination_mode (line 2): strategy dec",
        ),
        ("orchestrator: {coordination: {broadcast: agents}}", "orchestrator.coordination.broadcast (line 2)"),
        ("permissions: {allow: []}", "permissions (line 2): tool permissions are not available yet"),
    ],
)
def test_what_a_run_is_refused_for_is_told(load: Callable[..., Loaded], text: str, said: str) -> None:
    loaded = load(f"agent: {{id: a, backend: {{type: groq}}}}\n{text}", GROQ_API_KEY="k")
    assert loaded.team is not None
    assert [str(problem)[: len(said)] for problem in loaded.unavailable] == [said]


def test_both_texts_of_an_agent_are_its_instructions(load: Callable[..., Loaded]) -> None:
    loaded = load("agent: {id: a, system_message: One., append_system_prompt: Two., backend: {type: groq}}")
    assert loaded.team is not None
    assert loaded.team.agents[0].instructions == "One.\n\nTwo."


@pytest.mark.parametrize("backend", ["codex", "claude_code", "local"])
def test_fallback_models_are_refused_where_none_can_take_over(
    load: Callable[..., Loaded], backend: str
) -> None:
    loaded = load(
        f"agent: {{id: a, fallbacks: [m], backend: {{type: {backend}, model: x}}}}", OPENAI_API_KEY="k"
    )
    (problem,) = [problem for problem in loaded.problems if problem.path == "agent.fallbacks"]
    assert problem.severity == "error"
    assert "so none can take over" in problem.message


def test_a_fallback_model_that_is_retired_is_told(load: Callable[..., Loaded]) -> None:
    loaded = load(
        "agent: {id: a, fallbacks: [m, mixtral-8x7b-32768], backend: {type: groq}}", GROQ_API_KEY="k"
    )
    assert loaded.unavailable == ()
    (problem,) = loaded.problems
    assert str(problem) == (
        "agent.fallbacks[1] (line 1): 'mixtral-8x7b-32768' was retired on 2025-03-20. "
        "Use 'openai/gpt-oss-120b'."
    )
