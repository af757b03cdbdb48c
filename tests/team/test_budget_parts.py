"""A turn, a round and a request have limits of their own, beside the run's."""

from __future__ import annotations

import anyio
import pytest

from massgen_mcp.team.budget import Budget, BudgetSpent, Estimate, Scope, Share
from massgen_mcp.team.shares import Shares, TurnBudgets
from massgen_mcp.usage import Usage

pytestmark = pytest.mark.anyio

TEN = Estimate(tokens=10, usd=0.1)
USED = Usage(requests=1, input=10, cost_usd=0.1)


async def spend(budget: Budget) -> None:
    budget.settle(await budget.reserve(TEN), USED)


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (
            Share(tokens=15),
            r"The turn's budget of 15 tokens \(`budget.per_turn.tokens`\) is used up: 10 tokens",
        ),
        (Share(usd=0.15), r"The turn's budget of \$0\.1500 \(`budget.per_turn.usd`\) is used up"),
        (Share(requests=1), r"The turn's budget of 1 requests \(`budget.per_turn.requests`\) is used up"),
    ],
    ids=["tokens", "usd", "requests"],
)
async def test_a_turn_that_is_used_up_leaves_the_run_its_own(share: Share, words: str):
    run = Budget(usd=1.0)
    turn = run.part("turn", share)
    await spend(turn)
    with pytest.raises(BudgetSpent, match=words) as caught:
        await turn.reserve(TEN)
    assert (caught.value.scope, caught.value.ends_run) == ("turn", False)
    assert run.spent == USED
    await run.part("turn", share).reserve(TEN)


async def test_where_both_are_used_up_the_run_is_named():
    run = Budget(tokens=15)
    turn = run.part("turn", Share(tokens=15))
    await spend(turn)
    with pytest.raises(BudgetSpent, match="The run's budget of 15 tokens is used up") as caught:
        await turn.reserve(TEN)
    assert caught.value.ends_run


async def test_what_one_part_has_set_aside_is_waited_for_by_another():
    run = Budget(tokens=15)
    first, second = run.part("turn", Share()), run.part("turn", Share())
    held = await first.reserve(TEN)
    got = anyio.Event()

    async def wait() -> None:
        await second.reserve(TEN)
        got.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not got.is_set()
            first.settle(held, Usage(requests=1, input=1))
    assert got.is_set()


async def test_a_request_that_may_need_too_much_is_not_sent():
    turn = Budget().part("turn", Share(), each=Share(tokens=9))
    with pytest.raises(
        BudgetSpent, match=r"One request may use 9 tokens \(`budget.per_request.tokens`\)"
    ) as caught:
        await turn.reserve(TEN)
    assert caught.value.scope == "request"
    dear = Budget().part("turn", Share(), each=Share(usd=0.05))
    with pytest.raises(BudgetSpent, match=r"\$0\.0500"):
        await dear.reserve(TEN)
    await dear.reserve(Estimate(tokens=10))


async def test_a_request_is_sent_only_so_often_whatever_the_run_has_left():
    turn = Budget(requests=10).part("turn", Share(requests=5), each=Share(requests=2))
    held = await turn.reserve(TEN)
    assert turn.extend(held, 2)
    assert not turn.extend(held, 3)
    assert not Budget(requests=1).part("turn", Share()).extend(held, 2)


async def test_a_turn_under_way_is_held_to_its_own_limit():
    run = Budget()
    turn = run.part("turn", Share(tokens=50))
    held = await turn.reserve(TEN)
    turn.grow(held, Usage(requests=3, input=50))
    assert run.held(held).estimate.tokens == 50
    with pytest.raises(BudgetSpent, match="The turn's budget"):
        turn.grow(held, Usage(requests=3, input=51))


async def test_the_turns_of_a_round_share_its_budget_and_the_next_round_has_its_own():
    budgets = TurnBudgets(Budget(), Shares(round=Share(requests=2), request=Share(tokens=5)))
    first, second = (budgets.begin(agent, 1, own_loop=True) for agent in "ab")
    await spend(first)
    await spend(second)
    with pytest.raises(BudgetSpent, match="The round's budget of 2 requests") as caught:
        await first.reserve(TEN)
    scope: Scope = caught.value.scope
    assert scope == "round"
    await spend(budgets.begin("a", 2, own_loop=True))
    with pytest.raises(BudgetSpent, match="One request"):
        await budgets.begin("b", 2, own_loop=False).reserve(TEN)


async def test_what_a_tool_used_counts_in_its_agents_turn():
    run = Budget()
    budgets = TurnBudgets(run, Shares(turn=Share(usd=0.05)))
    turn = budgets.begin("a", 1, own_loop=False)
    budgets.charge("a", USED)
    budgets.charge("b", USED)
    with pytest.raises(BudgetSpent, match="The turn's budget"):
        turn.check()
    assert run.spent.cost_usd == pytest.approx(0.2)
