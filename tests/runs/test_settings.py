"""The operator's settings: what can't be read is told, and its default holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from massgen_mcp.runs.ask import Allowance
from massgen_mcp.runs.settings import read_settings


def test_nothing_set_is_no_problem() -> None:
    settings = read_settings({})
    assert settings.problems == ()
    assert settings.allowance == Allowance(usd=1.0, tokens=200_000, seconds=600.0)


def test_what_is_set_holds() -> None:
    settings = read_settings(
        {
            "MASSGEN_MCP_MAX_USD": "0.25",
            "MASSGEN_MCP_MAX_TOKENS": "1",
            "MASSGEN_MCP_MAX_SECONDS": " 0.5 ",
            "MASSGEN_MCP_STATE_DIR": "/state",
            "MASSGEN_MCP_TEAM": "fast",
        }
    )
    assert settings.problems == ()
    assert settings.allowance == Allowance(usd=0.25, tokens=1, seconds=0.5)
    assert (settings.state_dir, settings.team) == (Path("/state"), "fast")


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e400", "0", "-1", "many", "0.5"])
def test_a_token_limit_is_a_whole_and_finite_number_or_its_default_holds(text: str) -> None:
    settings = read_settings({"MASSGEN_MCP_MAX_TOKENS": text})
    assert settings.allowance.tokens == 200_000
    assert settings.problems == ("MASSGEN_MCP_MAX_TOKENS is not a number of at least 1; 200000 holds.",)


@pytest.mark.parametrize("text", ["inf", "nan", "1e400", "0", "-1", "much"])
def test_limits_of_money_and_time_are_finite_and_above_zero_or_their_defaults_hold(text: str) -> None:
    settings = read_settings({"MASSGEN_MCP_MAX_USD": text, "MASSGEN_MCP_MAX_SECONDS": text})
    assert settings.allowance == Allowance(usd=1.0, tokens=200_000, seconds=600.0)
    assert settings.problems == (
        "MASSGEN_MCP_MAX_USD is not a number above zero; 1 holds.",
        "MASSGEN_MCP_MAX_SECONDS is not a number above zero; 600 holds.",
    )


def test_places_and_days_are_set_by_number() -> None:
    settings = read_settings(
        {
            "MASSGEN_MCP_MAX_RUNS": "3",
            "MASSGEN_MCP_MAX_MEMORY": "700",
            "MASSGEN_MCP_KEEP_DAYS": "0.5",
        }
    )
    assert (settings.max_runs, settings.max_agents, settings.max_memory) == (3, 24, 700)
    assert settings.keep_days == 0.5
    assert read_settings({"MASSGEN_MCP_MAX_AGENTS": "5"}).max_agents == 5


def test_runs_are_kept_for_30_days_or_for_ever() -> None:
    assert read_settings({}).keep_days == 30
    assert read_settings({"MASSGEN_MCP_KEEP_DAYS": " Forever "}).keep_days is None
    settings = read_settings({"MASSGEN_MCP_KEEP_DAYS": "0"})
    assert settings.keep_days == 30
    assert settings.problems == ("MASSGEN_MCP_KEEP_DAYS is not a number above zero; 30 holds.",)


@pytest.mark.parametrize(
    ("text", "choice"), [("", "auto"), ("auto", "auto"), (" Keep ", "keep"), ("CANCEL", "cancel")]
)
def test_the_operator_chooses_what_a_caller_who_leaves_means(text: str, choice: str) -> None:
    settings = read_settings({"MASSGEN_MCP_ON_DISCONNECT": text})
    assert settings.on_disconnect == choice
    assert settings.problems == ()


def test_a_choice_that_is_none_is_told_and_the_rules_hold() -> None:
    settings = read_settings({"MASSGEN_MCP_ON_DISCONNECT": "stop"})
    assert settings.on_disconnect == "auto"
    assert settings.problems == ("MASSGEN_MCP_ON_DISCONNECT is not one of auto, keep, cancel; auto holds.",)


def test_the_day_has_no_limit_unless_one_is_set_and_a_mistyped_one_is_not_none() -> None:
    assert read_settings({}).usd_per_day is None
    assert read_settings({"MASSGEN_MCP_MAX_USD_PER_DAY": "12.5"}).usd_per_day == 12.5
    settings = read_settings({"MASSGEN_MCP_MAX_USD_PER_DAY": "$20"})
    assert settings.usd_per_day == 1.0
    assert settings.problems == ("MASSGEN_MCP_MAX_USD_PER_DAY is not a number above zero; 1 holds.",)
