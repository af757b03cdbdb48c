"""A run's allowance is set aside before it is spent."""

from __future__ import annotations

import anyio
import pytest

from massgen_mcp.team.budget import Budget, BudgetSpent, Estimate, Limit, Reservation
from massgen_mcp.usage import Usage

pytestmark = pytest.mark.anyio

TEN = Estimate(tokens=10, usd=0.1)
USED = Usage(requests=1, input=10, cost_usd=0.1)


class Waiter:
    """Somebody who asks for the next request, in a task of its own."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.scope = anyio.CancelScope()
        self.got: Reservation | None = None
        self.refused: BudgetSpent | None = None

    async def run(self) -> None:
        with self.scope:
            try:
                self.got = await self.budget.reserve(TEN)
            except BudgetSpent as error:
                self.refused = error

    @property
    def waits(self) -> bool:
        return self.got is None and self.refused is None


@pytest.mark.parametrize(
    ("limit", "allowed", "fits", "words"),
    [
        ("tokens", 25, 2, "25 tokens is used up: 20 tokens spent, the"),
        ("usd", 0.35, 3, r"\$0\.3500 is used up: \$0\.3000 spent, the"),
        ("requests", 1, 1, "1 requests is used up"),
    ],
)
async def test_requests_side_by_side_cant_overdraw_together(
    limit: Limit, allowed: float, fits: int, words: str
):
    budget = Budget(**{limit: allowed})  # type: ignore[arg-type]
    held = [await budget.reserve(TEN) for _ in range(fits)]
    one_more = Waiter(budget)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one_more.run)
        for reservation in held:
            await anyio.wait_all_tasks_blocked()
            assert one_more.waits
            budget.settle(reservation, USED)
    with pytest.raises(BudgetSpent, match=words):
        raise one_more.refused or AssertionError


async def test_what_is_only_set_aside_is_waited_for_and_not_counted_as_used_up():
    budget = Budget(tokens=15)
    held = await budget.reserve(TEN)
    first, second = Waiter(budget), Waiter(budget)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.run)
            tasks.start_soon(second.run)
            await anyio.wait_all_tasks_blocked()
            assert first.waits
            assert second.waits
            budget.settle(held, Usage(requests=1, input=1))
            await anyio.wait_all_tasks_blocked()
            assert first.got is not None
            assert second.waits
            budget.settle(first.got, Usage(requests=1, input=1))
    assert second.got is not None


async def test_who_is_stopped_while_waiting_holds_nothing():
    budget = Budget(tokens=15)
    held = await budget.reserve(TEN)
    stopped = Waiter(budget)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stopped.run)
        await anyio.wait_all_tasks_blocked()
        stopped.scope.cancel()
    budget.settle(held, Usage())
    with anyio.fail_after(5):
        await budget.reserve(TEN)


async def test_what_can_never_fit_is_refused_at_once():
    budget = Budget(tokens=15)
    await budget.reserve(TEN)
    with anyio.fail_after(5), pytest.raises(BudgetSpent, match="0 tokens spent"):
        await budget.reserve(Estimate(tokens=16))


async def test_another_try_is_a_request_of_its_own():
    budget = Budget(requests=3)
    mine, other = await budget.reserve(TEN), await budget.reserve(TEN)
    assert budget.extend(mine, 2)
    assert not budget.extend(mine, 3)
    assert not budget.extend(other, 2)
    budget.settle(mine, Usage(requests=1))
    assert budget.extend(other, 2)
    assert Budget().extend(mine, 100)


async def test_what_was_used_replaces_what_was_set_aside():
    budget = Budget(tokens=25)
    held = await budget.reserve(Estimate(tokens=20))
    budget.settle(held, Usage(requests=1, input=2, output=3))
    await budget.reserve(Estimate(tokens=20))
    assert budget.spent.tokens == 5


async def test_where_a_price_is_not_known_a_token_limit_holds_instead():
    budget = Budget(usd=1.0, unpriced_tokens=15)
    budget.settle(await budget.reserve(Estimate(tokens=10)), Usage(requests=1, input=10))
    assert budget.unpriced
    with pytest.raises(BudgetSpent, match="15 tokens"):
        await budget.reserve(Estimate(tokens=10))


async def test_a_token_limit_of_ones_own_holds_for_models_without_a_price_too():
    budget = Budget(tokens=100, unpriced_tokens=15)
    for _ in range(2):
        budget.settle(await budget.reserve(Estimate(tokens=50)), Usage(requests=1, input=50))
    with pytest.raises(BudgetSpent, match="100 tokens"):
        await budget.reserve(Estimate(tokens=1))


async def test_a_turn_under_way_counts_what_others_have_used_and_not_what_is_only_set_aside_for_them():
    budget = Budget(tokens=100)
    mine, theirs = await budget.reserve(TEN), await budget.reserve(Estimate(tokens=90))
    budget.grow(mine, Usage(requests=1, input=60))
    budget.grow(theirs, Usage(requests=1, input=40))
    with pytest.raises(BudgetSpent, match="100 tokens is used up"):
        budget.grow(mine, Usage(requests=1, input=61))


async def test_a_turn_under_way_is_held_to_the_cost_it_reports():
    budget = Budget(usd=0.5)
    reservation = await budget.reserve(TEN)
    budget.grow(reservation, Usage(requests=1, input=10, cost_usd=0.5))
    with pytest.raises(BudgetSpent, match=r"\$0\.5000 is used up"):
        budget.grow(reservation, Usage(requests=1, input=10, cost_usd=0.6))


async def test_what_tools_cost_is_checked_before_the_next_of_them():
    budget = Budget(usd=0.5)
    budget.charge(Usage(requests=1, cost_usd=0.5))
    budget.check()
    budget.charge(Usage(requests=1, cost_usd=0.01))
    with pytest.raises(BudgetSpent, match="is used up"):
        budget.check()
