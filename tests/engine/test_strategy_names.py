"""Strategies by name."""

from __future__ import annotations

import pytest

from massgen_mcp.engine import STRATEGIES, StrategyNotFound, available_strategies, strategy
from massgen_mcp.errors import RequestRefused


@pytest.mark.parametrize("name", available_strategies())
def test_a_strategy_is_found_by_its_own_name(name: str) -> None:
    assert strategy(name).name == name


def test_auto_is_the_first_of_those_available() -> None:
    assert available_strategies()[:2] == ("auto", "vote")
    assert set(available_strategies()) < set(STRATEGIES)


def test_a_strategy_that_does_not_exist_yet_says_so() -> None:
    with pytest.raises(
        StrategyNotFound, match=r"'refine' is known but not available yet\. Available: auto, vote"
    ):
        strategy("refine")


@pytest.mark.parametrize("name", ["debate", "board", "", "..vote"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(RequestRefused, match=r"is unknown\. Available: auto, vote"):
        strategy(name)
