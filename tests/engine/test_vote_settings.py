"""MassGen's further settings of `vote`: rounds, a lead, and what agents inside a tool loop are told."""

from __future__ import annotations

import pytest

from massgen_mcp.engine import BudgetStopped, TurnKind, likeness
from tests.engine.table import Table


def on_ballot(**settings: object) -> Table:
    """Three agents, three different answers, the first ballot open."""
    table = Table("vote", "abc", **settings)  # pyright: ignore[reportArgumentType] - passed through to Settings
    return table.answers(a="x", b="y", c="z")


def test_in_the_last_round_nobody_answers_again() -> None:
    run = on_ballot(max_rounds=3, max_answers=9)
    assert all(turn.may_answer for turn in run.starts)
    run.answer("b", "better")
    assert run.board.round == 3
    assert [turn.may_answer for turn in run.starts] == [False, False, False]


@pytest.mark.parametrize("name", ["auto", "vote"])
def test_one_round_is_answers_without_a_vote(name: str) -> None:
    run = Table(name, "abc", max_rounds=1, presentation="reuse").answers(a="x", b="y", c="z")
    assert run.outcome.rule == "unvoted"
    assert run.started == 3


def test_nobody_runs_further_ahead_than_the_lead_allows() -> None:
    run = on_ballot(max_answers=9, lead=2)
    run.answer("a", "better")
    assert run.turns["a"].may_answer  # two answers, the others have one
    run.answer("a", "better still")
    assert not run.turns["a"].may_answer
    assert run.turns["b"].may_answer


def test_the_lead_is_over_those_who_are_still_there() -> None:
    run = on_ballot(max_answers=9, lead=1).answer("a", "better").answer("b", "better too")
    assert not run.turns["a"].may_answer  # it would be two ahead of `c`
    run = on_ballot(max_answers=9, lead=1).fail("c").answer("a", "better").answer("b", "better too")
    assert run.turns["a"].may_answer


def test_an_agent_alone_in_its_lead_is_not_held_back_by_itself() -> None:
    run = Table("vote", "ab", lead=1, max_answers=9).answers(a="x", b="y").answer("a", "better")
    assert not run.turns["a"].may_answer
    assert run.turns["b"].may_answer


def test_agents_in_a_tool_loop_are_left_alone_where_they_are_not_to_be_told() -> None:
    run = on_ballot(tell_news=False).use_tools("c").answer("b", "better")
    assert run.notices == []
    assert run.stops == ["a"]
    assert [turn.agent for turn in run.starts] == ["a", "b"]
    assert run.turns["c"].ballot == 1


def test_their_votes_count_on_the_ballot_they_saw_and_they_are_asked_again() -> None:
    run = on_ballot(tell_news=False, presentation="reuse").use_tools("c").answer("b", "better")
    run.votes(a="b", b="a").vote("c", "a")
    assert run.started_kinds() == [("c", "vote")]
    assert run.turns["c"].ballot == 2
    assert "b.2" in run.turns["c"].shown
    run.vote("c", "b")
    assert run.outcome.winner == "b"
    assert {vote.ballot for vote in run.outcome.votes} == {2}


def test_they_are_asked_again_after_an_abstention_too() -> None:
    run = on_ballot(tell_news=False).use_tools("c").answer("b", "better").abstain("c")
    assert run.started_kinds() == [("c", "vote")]
    assert run.board.abstained == frozenset()


def test_their_answers_open_a_ballot_as_all_do() -> None:
    run = on_ballot(tell_news=False).use_tools("c").answer("b", "better").answer("c", "best")
    assert run.board.ballot == 3
    assert {turn.agent for turn in run.starts} == {"a", "b", "c"}


def test_nothing_is_decided_while_one_is_still_on_an_older_ballot() -> None:
    run = on_ballot(tell_news=False, max_answers=2).use_tools("c").answer("b", "better")
    run.answer("a", "better too")
    run.votes(a="b", b="a")
    assert not run.board.finished
    assert run.turns["c"].ballot == 1


def test_without_money_nobody_is_asked_again() -> None:
    run = on_ballot(tell_news=False, presentation="reuse").use_tools("c").answer("b", "better")
    run.votes(a="b", b="a").tell(BudgetStopped()).vote("c", "a")
    assert run.outcome.stopped_by == "budget"
    assert {vote.ballot for vote in run.outcome.votes} == {2}


def test_a_turn_that_was_told_enough_is_started_anew() -> None:
    run = on_ballot(max_news=1, max_answers=9).use_tools("c").answer("b", "better")
    assert [notice.agent for notice in run.notices] == ["c"]
    run.answer("a", "better too")
    assert "c" in run.stops
    assert not run.turns["c"].in_tools
    assert run.turns["c"].kind is TurnKind.VOTE


@pytest.mark.parametrize("name", ["auto", "vote"])
def test_an_outcome_names_no_dissent_where_none_is_wanted(name: str) -> None:
    run = Table(name, "abc", dissent=False, presentation="reuse").answers(a="x", b="y", c="z")
    run.votes(a="b", b="a", c="b")
    assert run.outcome.dissent == ()
    assert run.outcome.winner == "b"


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ("Use a queue.", "use a QUEUE", 1.0),
        ("use a queue", "use a stack", 0.5),
        ("one", "two", 0.0),
        ("", "", 1.0),
        ("", "word", 0.0),
    ],
)
def test_likeness_is_the_share_of_words_in_both(one: str, other: str, share: float) -> None:
    assert likeness(one, other) == share
    assert likeness(other, one) == share
