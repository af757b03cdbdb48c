"""What both strategies do about deadlines, budgets, cancels and a team that falls apart."""

from __future__ import annotations

import pytest

from massgen_mcp.engine import (
    AnsweringClosed,
    BudgetStopped,
    CancelRequested,
    Event,
    RoundDeadline,
    RunDeadline,
)
from tests.engine.table import Table

both = pytest.mark.parametrize("name", ["auto", "vote"])

ENDS: list[Event] = [RunDeadline(), CancelRequested(reason="no longer needed")]
ends = pytest.mark.parametrize("end", ENDS, ids=["deadline", "cancel"])


@both
def test_the_runs_deadline_returns_the_best_answer_so_far(name: str) -> None:
    run = Table(name, "abcd").answers(a="x", b="y", c="y").tell(RunDeadline())
    assert run.stops == ["d"]
    assert run.outcome.status == "partial"
    assert run.outcome.stopped_by == "deadline"
    assert run.outcome.rule == "best_so_far"
    assert run.outcome.winner == "b"
    assert run.outcome.dissent == ("a.1",)
    assert run.outcome.saved == 0


@both
def test_the_best_answer_so_far_leads_by_the_votes_there_are(name: str) -> None:
    run = Table(name, "abcd").answers(a="x", b="y", c="y", d="z").vote("a", "d").tell(RunDeadline())
    assert run.outcome.winner == "d"
    assert run.outcome.margin == 1
    assert len(run.outcome.votes) == 1


@both
def test_the_runs_deadline_while_presenting_returns_the_answer_that_won(name: str) -> None:
    run = Table(name, "abc").answers(a="x", b="y", c="z").votes(a="b", b="c", c="a").tell(RunDeadline())
    assert run.outcome.rule == "ballot"
    assert run.outcome.winner == "a"
    assert run.outcome.status == "partial"
    assert run.outcome.stopped_by == "deadline"


@both
@pytest.mark.parametrize(
    ("reason", "why"), [("enough", "The run was cancelled: enough"), ("", "The run was cancelled.")]
)
def test_a_cancel_stops_now_and_keeps_the_best_answer(name: str, reason: str, why: str) -> None:
    run = Table(name, "abc").answers(b="x").tell(CancelRequested(reason=reason))
    assert run.stops == ["a", "c"]
    assert run.outcome.status == "cancelled"
    assert run.outcome.stopped_by == "cancelled"
    assert run.outcome.winner == "b"
    assert run.outcome.why == why


@both
def test_without_any_answer_a_deadline_fails_and_a_cancel_is_a_cancel(name: str) -> None:
    late = Table(name, "ab").tell(RunDeadline()).outcome
    assert (late.status, late.stopped_by, late.answer, late.rule) == ("failed", "deadline", None, "")
    assert late.why == "The run's time is over."
    gone = Table(name, "ab").tell(CancelRequested()).outcome
    assert (gone.status, gone.answer, gone.winner) == ("cancelled", None, None)


@both
@ends
def test_nothing_happens_after_the_end(name: str, end: Event) -> None:
    run = Table(name, "ab")
    turn = run.turns["a"]
    run.tell(end)
    before = run.board
    for event in (end, BudgetStopped(), AnsweringClosed(), RoundDeadline(round=1)):
        assert run.tell(event).board is before
        assert run.commands == ()
    assert before.turns == {}
    assert turn.id == 1


@both
def test_a_round_deadline_goes_on_without_the_stragglers(name: str) -> None:
    run = Table(name, "abc").answers(a="x", c="y").tell(RoundDeadline(round=1))
    assert run.stops == ["b"]
    assert run.started_kinds() == [("a", "vote"), ("b", "vote"), ("c", "vote")]  # `b` is late, not out
    assert run.turns["b"].votable == run.turns["b"].shown
    assert run.board.failed == {}
    assert run.board.failures == {}
    run.votes(a="c", b="c", c="a")
    outcome = run.outcome if run.board.finished else run.answer("c", "y").outcome
    assert outcome.winner == "c"
    assert outcome.status == "partial"
    assert outcome.stopped_by == "decided"


@both
def test_a_straggler_may_hand_in_its_first_answer_where_answers_are_open(name: str) -> None:
    run = Table(name, "abc", max_answers=1).answers(a="x", c="y").tell(RoundDeadline(round=1))
    assert run.turns["b"].may_answer == (name == "vote")
    assert not run.turns["a"].may_answer


@both
def test_the_deadline_of_another_round_is_ignored(name: str) -> None:
    run = Table(name, "abc").answers(a="x")
    before = run.board
    assert run.tell(RoundDeadline(round=2)).board is before
    run.answers(b="y", c="z").tell(RoundDeadline(round=1))
    assert run.commands == ()


@both
def test_a_round_deadline_with_one_answer_returns_it(name: str) -> None:
    outcome = Table(name, "abc").answers(b="x").tell(RoundDeadline(round=1)).outcome
    assert (outcome.rule, outcome.status, outcome.stopped_by) == ("only_answer", "partial", "deadline")


@both
def test_a_round_deadline_without_an_answer_fails(name: str) -> None:
    outcome = Table(name, "abc").tell(RoundDeadline(round=1)).outcome
    assert (outcome.status, outcome.stopped_by, outcome.why) == ("failed", "deadline", "No agent answered.")


def test_agreement_among_those_in_time_is_agreement() -> None:
    outcome = Table("auto", "abc").answers(a="x", b="x").tell(RoundDeadline(round=1)).outcome
    assert (outcome.rule, outcome.status, outcome.stopped_by) == ("agreement", "partial", "deadline")


@both
def test_closing_goes_on_with_the_answers_there_are(name: str) -> None:
    run = Table(name, "abc").answers(a="x", c="y").tell(AnsweringClosed())
    assert run.stops == ["b"]
    assert [turn.agent for turn in run.starts] == ["a", "b", "c"]
    assert not any(turn.may_answer for turn in run.starts)


@both
def test_closing_with_one_answer_returns_it(name: str) -> None:
    outcome = Table(name, "abc").answers(a="x").tell(AnsweringClosed()).outcome
    assert (outcome.rule, outcome.status, outcome.stopped_by) == ("only_answer", "partial", "deadline")


@both
def test_closing_without_an_answer_waits_for_the_first(name: str) -> None:
    run = Table(name, "abc").tell(AnsweringClosed())
    assert run.commands == ()
    run.answers(b="x")
    assert run.stops == ["a", "c"]
    assert run.outcome.winner == "b"
    assert run.outcome.stopped_by == "deadline"


@both
def test_a_team_of_one_may_finish_its_answer_after_closing(name: str) -> None:
    outcome = Table(name, "a").tell(AnsweringClosed()).answers(a="x").outcome
    assert (outcome.status, outcome.stopped_by) == ("completed", "decided")


@both
def test_a_presenter_may_finish_after_closing(name: str) -> None:
    run = Table(name, "abc").answers(a="x", b="y", c="z").votes(a="b", b="c", c="a").tell(AnsweringClosed())
    assert run.commands == ()
    assert run.answer("a", "x").outcome.status == "completed"


@both
def test_without_budget_running_turns_end_and_none_starts(name: str) -> None:
    run = Table(name, "abc").answers(a="x").tell(BudgetStopped())
    assert run.commands == ()
    run.answers(b="y", c="y")
    assert run.starts == []
    assert run.outcome.stopped_by == "budget"
    assert run.outcome.status == "partial"
    assert run.outcome.rule == "best_so_far"
    assert run.outcome.winner == "b"


@both
def test_without_budget_the_winner_is_returned_unpresented(name: str) -> None:
    run = Table(name, "abc").answers(a="x", b="y", c="z").tell(BudgetStopped()).votes(a="b", b="c", c="a")
    assert run.outcome.rule == "ballot"
    assert run.outcome.winner == "a"
    assert run.outcome.stopped_by == "budget"
    assert run.outcome.status == "partial"


def test_without_budget_no_new_answer_is_taken_on_a_ballot() -> None:
    run = Table("vote", "abc").answers(a="x", b="y", c="z").tell(BudgetStopped()).answer("a", "better")
    assert run.board.abstained == {"a"}
    assert run.starts == []


@both
def test_the_budget_is_the_reason_when_nobody_could_answer(name: str) -> None:
    outcome = Table(name, "ab").tell(BudgetStopped()).abstain("a", "b").outcome
    assert (outcome.status, outcome.stopped_by) == ("failed", "budget")


def test_a_run_says_that_its_budget_ended_even_when_those_who_answered_agree() -> None:
    outcome = Table("auto", "ab").tell(BudgetStopped()).answers(a="x", b="x").outcome
    assert (outcome.rule, outcome.status, outcome.stopped_by) == ("agreement", "partial", "budget")


def test_a_running_presenter_may_finish_without_budget() -> None:
    run = Table("auto", "abc").answers(a="x", b="y", c="z").votes(a="b", b="c", c="a").tell(BudgetStopped())
    outcome = run.answer("a", "x").outcome
    assert (outcome.rule, outcome.status, outcome.stopped_by) == ("presented", "partial", "budget")


@both
def test_a_failed_agent_is_out_and_the_team_goes_on(name: str) -> None:
    run = Table(name, "abc").fail("b").answers(a="x", c="y")
    assert [turn.agent for turn in run.starts] == ["a", "c"]
    assert run.board.failed == {"b": "no connection"}


@both
def test_the_last_live_agents_answer_is_returned_when_there_is_no_vote(name: str) -> None:
    run = Table(name, "abc").answers(a="x", b="y", c="z").fail("a", "b").abstain("c")
    assert (run.outcome.rule, run.outcome.status, run.outcome.winner) == ("only_answer", "partial", "c")
    assert run.outcome.dissent == ("a.1", "b.1")
    run = Table(name, "abc").answers(a="x", b="y", c="z").abstain("c").fail("a", "b")
    assert (run.outcome.rule, run.outcome.winner) == ("only_answer", "c")


@both
def test_what_the_last_live_agent_votes_for_counts_whoever_was_first(name: str) -> None:
    for run in (
        Table(name, "ab").answers(a="x", b="y").vote("a", "b").fail("b"),
        Table(name, "ab").answers(a="x", b="y").fail("b").vote("a", "b"),
    ):
        assert (run.outcome.rule, run.outcome.status, run.outcome.winner) == ("ballot", "partial", "b")


@both
def test_when_all_fail_the_run_fails(name: str) -> None:
    outcome = Table(name, "ab").fail("a", "b").outcome
    assert (outcome.status, outcome.answer) == ("failed", None)
    assert outcome.why == "No agent could answer."


@both
def test_below_min_agents_the_run_ends_with_what_it_has(name: str) -> None:
    run = Table(name, "abc", min_agents=2).answers(c="x").fail("a")
    assert run.commands == ()
    run.fail("b")
    assert run.outcome.status == "partial"
    assert run.outcome.winner == "c"
    assert run.outcome.why == "Too few agents: 1 of 3 agents left, `min_agents` is 2."
    run = Table(name, "abc", min_agents=3).fail("a")
    assert run.stops == ["b", "c"]
    assert run.outcome.status == "failed"


@both
def test_a_team_smaller_than_min_agents_is_never_asked(name: str) -> None:
    run = Table(name, "ab", min_agents=3)
    assert run.starts == []
    assert run.outcome.status == "failed"
    assert Table(name, "").outcome.status == "failed"


@both
def test_an_agent_that_can_not_answer_stays_and_votes(name: str) -> None:
    run = Table(name, "abc").abstain("b").answers(a="x", c="y")
    assert [turn.agent for turn in run.starts] == ["a", "b", "c"]
    assert run.board.failures == {"b": 1}
    assert run.board.failed == {}


@both
def test_when_nobody_can_answer_the_run_fails(name: str) -> None:
    outcome = Table(name, "ab").abstain("a", "b").outcome
    assert (outcome.status, outcome.stopped_by, outcome.why) == ("failed", "decided", "No agent answered.")


@both
def test_a_presenter_that_fails_below_min_agents_leaves_the_winning_answer(name: str) -> None:
    run = Table(name, "abc", min_agents=3).answers(a="x", b="y", c="z").votes(a="b", b="c", c="a").fail("a")
    assert run.outcome.winner == "a"
    assert run.outcome.rule == "ballot"
    assert run.outcome.status == "partial"
