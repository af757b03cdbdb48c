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
        "agent: {id: a, voting_sensitivity: strict, backend: {type: groq}}\n"
        "orchestrator: {voting_sensitivity: balanced, fairness_enabled: true, disable_injection: true}\n"
    )
    loaded = load(text, GROQ_API_KEY="k")
    assert loaded.unavailable == ()
    assert [problem.path for problem in loaded.problems] == [
        "agent.voting_sensitivity",
        "orchestrator.voting_sensitivity",
        "orchestrator.disable_injection",
    ]


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


def test_fallback_models_are_to_come(load: Callable[..., Loaded]) -> None:
    loaded = load("agent: {id: a, fallbacks: [m], backend: {type: groq}}", GROQ_API_KEY="k")
    assert [problem.path for problem in loaded.unavailable] == ["agent.fallbacks"]
