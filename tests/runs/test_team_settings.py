"""What a team file says about coordination reaches the engine and the agents' prompts."""

from __future__ import annotations

from typing import Any

import pytest

from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import load_text
from massgen_mcp.runs import Allowance, ResolvedTeam
from massgen_mcp.runs.specs import ready_team
from massgen_mcp.team.scrutiny import Scrutiny

AGENTS = """
agents:
- {id: a, backend: {type: groq}}
- {id: b, voting_sensitivity: strict, backend: {type: groq}}
"""


def resolved(text: str) -> ResolvedTeam:
    environment = Environment.of({"GROQ_API_KEY": "a-key"})
    loaded = load_text(text, environment=environment, origin="file", name="mine")
    assert loaded.unavailable == ()
    return ready_team(loaded, name="mine", defaults=Allowance(), why="asked for")


@pytest.mark.parametrize(
    ("said", "setting", "value"),
    [
        ("{}", "lead", 2),
        ("{fairness_lead_cap_answers: 1}", "lead", 1),
        ("{fairness_enabled: false}", "lead", None),
        ("{fairness_enabled: false, fairness_lead_cap_answers: 1}", "lead", None),
        ("{}", "novelty", None),
        ("{answer_novelty_requirement: lenient}", "novelty", None),
        ("{answer_novelty_requirement: balanced}", "novelty", 0.7),
        ("{answer_novelty_requirement: strict}", "novelty", 0.5),
        ("{}", "tell_news", True),
        ("{disable_injection: true}", "tell_news", False),
        ("{}", "max_news", None),
        ("{max_midstream_injections_per_round: 2}", "max_news", 2),
        ("{}", "max_rounds", None),
        ("{max_rounds: 3}", "max_rounds", 3),
        ("{}", "dissent", True),
        ("{dissent: false}", "dissent", False),
    ],
)
def test_the_keys_of_coordination_are_the_engines_settings(said: str, setting: str, value: Any) -> None:
    assert getattr(resolved(f"{AGENTS}orchestrator: {said}").settings, setting) == value


def test_an_agents_own_sensitivity_wins_over_the_teams() -> None:
    team = resolved(f"{AGENTS}orchestrator: {{voting_sensitivity: checklist, voting_threshold: 9}}")
    assert [agent.scrutiny for agent in team.agents] == [
        Scrutiny(kind="checklist", threshold=9),
        Scrutiny(kind="strict", threshold=9),
    ]
    assert [agent.scrutiny.kind for agent in resolved(AGENTS).agents] == ["lenient", "strict"]


def test_fallbacks_are_an_agents_models_in_their_order() -> None:
    team = resolved("agent: {id: a, fallbacks: [one, two], backend: {type: groq}}")
    assert team.agents[0].fallbacks == ("one", "two")
