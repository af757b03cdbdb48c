"""A run's allowance is set aside before it is spent."""

from __future__ import annotations

import pytest

from massgen_mcp.team.budget import Budget, BudgetSpent, Estimate
from massgen_mcp.usage import Usage

TEN = Estimate(tokens=10, usd=0.1)


@pytest.mark.parametrize(
    ("budget", "fits", "words"),
    [
        (Budget(tokens=25), 2, "25 tokens is used up: 20 tokens spent or set aside"),
        (Budget(usd=0.35), 3, r"\$0\.3500 is used up: \$0\.3000 spent or set aside"),
        (Budget(requests=1), 1, "1 requests is used up"),
    ],
)
def test_requests_side_by_side_cant_overdraw_together(budget: Budget, fits: int, words: str):
    for _ in range(fits):
        budget.reserve(TEN)
    with pytest.raises(BudgetSpent, match=words):
        budget.reserve(TEN)


def test_what_was_used_replaces_what_was_set_aside():
    budget = Budget(tokens=25)
    held = budget.reserve(Estimate(tokens=20))
    budget.settle(held, Usage(requests=1, input=2, output=3))
    budget.reserve(Estimate(tokens=20))
    assert budget.spent.tokens == 5


def test_where_a_price_is_not_known_a_token_limit_holds_instead():
    budget = Budget(usd=1.0, unpriced_tokens=15)
    budget.reserve(Estimate(tokens=10))
    assert budget.unpriced
    with pytest.raises(BudgetSpent, match="15 tokens"):
        budget.reserve(Estimate(tokens=10))


def test_a_token_limit_of_ones_own_holds_for_models_without_a_price_too():
    budget = Budget(tokens=100, unpriced_tokens=15)
    budget.reserve(Estimate(tokens=50))
    budget.reserve(Estimate(tokens=50))
    with pytest.raises(BudgetSpent, match="100 tokens"):
        budget.reserve(Estimate(tokens=1))
