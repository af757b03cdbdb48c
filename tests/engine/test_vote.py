"""MassGen's protocol: vote, or answer better while the allowance lasts."""

from __future__ import annotations

import pytest

from massgen_mcp.engine import AnsweringClosed, RoundDeadline, TurnKind, VoteCast
from tests.engine.table import Table, text


def table(agents: str, **settings: object) -> Table:
    return Table("vote", agents, **settings)  # pyright: ignore[reportArgumentType] - passed through to Settings


def on_ballot(**settings: object) -> Table:
    """Three agents, three different answers, the first ballot open."""
    return table("abc", **settings).answers(a="x", b="y", c="z")


def test_three_agents_that_answer_once_and_vote_once_take_seven_turns() -> None:
    run = on_ballot().votes(a="b", b="a", c="b")
    assert run.started_kinds() == [("b", "present")]
    run.answer("b", "y", "final")
    assert run.outcome.rule == "presented"
    assert run.outcome.winner == "b"
    assert text(run.outcome) == "final"
    assert run.outcome.status == "completed"
    assert run.started == 7


def test_reuse_takes_six_turns() -> None:
    run = on_ballot(presentation="reuse").votes(a="b", b="a", c="b")
    assert run.outcome.rule == "ballot"
    assert run.outcome.answer == run.current("b")
    assert run.outcome.margin == 1
    assert run.started == 6


def test_the_ballot_opens_when_all_have_answered() -> None:
    run = table("abc").answers(b="y", c="z")
    assert run.commands == ()
    run.answers(a="x")
    assert run.started_kinds() == [("a", "vote"), ("b", "vote"), ("c", "vote")]
    assert all(turn.may_answer and turn.ballot == 1 and len(turn.shown) == 3 for turn in run.starts)
    assert all(f"{turn.agent}.1" not in turn.votable for turn in run.starts)


def test_agreement_is_voted_on_too() -> None:
    run = table("abc").answers(a="x", b="x", c="x")
    assert len(run.starts) == 3
    assert run.votes(a="b", b="c", c="b").answer("b", "x").outcome.merged == (("b.1", "c.1", "a.1"),)


def test_a_new_answer_opens_a_new_ballot_and_stops_older_vote_turns() -> None:
    run = on_ballot().vote("a", "b").answer("b", "better")
    assert run.stops == ["c"]
    assert run.started_kinds() == [("a", "vote"), ("b", "vote"), ("c", "vote")]
    assert all(sorted(turn.shown) == ["a.1", "b.2", "c.1"] and turn.ballot == 2 for turn in run.starts)
    assert run.board.ballot == 2
    assert run.board.round == 3
    assert run.turns["a"].may_answer  # one more is left to each, but not to `b`
    assert not run.turns["b"].may_answer


def test_votes_of_an_older_ballot_do_not_count() -> None:
    run = on_ballot(presentation="reuse").votes(a="c", b="c").answer("c", "best")
    run.votes(a="b", b="a", c="a")
    assert run.outcome.winner == "a"
    assert {vote.ballot for vote in run.outcome.votes} == {2}
    assert len(run.board.votes) == 5
    assert run.outcome.dissent == ("b.1", "c.2")


def test_a_vote_that_arrives_after_its_turn_was_stopped_changes_nothing() -> None:
    run = on_ballot()
    old = run.turns["c"]
    run.answer("b", "better")
    before = run.board
    assert run.tell(VoteCast(agent="c", turn=old.id, answer="a.1")).board is before


def test_an_agent_inside_a_tool_loop_is_told_instead_of_stopped() -> None:
    run = on_ballot().use_tools("c")
    assert run.commands == ()
    turn = run.turns["c"]
    run.answer("b", "better")
    assert run.stops == ["a"]
    assert run.started_kinds() == [("a", "vote"), ("b", "vote")]
    (notice,) = run.notices
    assert (notice.agent, notice.turn, notice.ballot, notice.new) == ("c", turn.id, 2, ("b.2",))
    assert sorted(notice.shown) == ["a.1", "b.2", "c.1"]
    moved = run.turns["c"]
    assert (moved.id, moved.ballot, moved.shown, moved.in_tools) == (turn.id, 2, notice.shown, True)
    assert sorted(moved.votable) == ["a.1", "b.2"]
    run.votes(c="b")
    assert run.board.votes[-1].ballot == 2


def test_a_moved_turn_that_votes_for_an_answer_of_the_older_ballot_abstains() -> None:
    run = on_ballot().use_tools("c").answer("b", "better")
    run.tell(VoteCast(agent="c", turn=run.turns["c"].id, answer="b.1"))
    assert run.board.abstained == {"c"}
    assert run.board.votes == ()


def test_a_moved_turn_may_hand_in_an_answer() -> None:
    run = on_ballot().use_tools("c").answer("b", "better").answer("c", "best")
    assert run.board.ballot == 3
    assert sorted(run.turns["a"].shown) == ["a.1", "b.2", "c.2"]


def test_the_allowance_of_each_agent_ends() -> None:
    run = on_ballot(max_answers=3).answer("a", "x2").answer("a", "x3")
    assert [run.turns[agent].may_answer for agent in "abc"] == [False, True, True]
    run.answer("a", "x4")
    assert run.board.abstained == {"a"}
    assert run.current("a").revision == 3


def test_the_allowance_of_the_run_ends() -> None:
    run = on_ballot(max_answers_global=4)
    assert all(turn.may_answer for turn in run.starts)
    run.answer("a", "x2")
    assert not any(turn.may_answer for turn in run.starts)


def test_the_first_answers_are_taken_whatever_the_allowance_of_the_run() -> None:
    run = on_ballot(max_answers_global=1)
    assert len(run.board.answers) == 3
    assert not any(turn.may_answer for turn in run.starts)


def test_a_text_that_exists_is_a_vote_for_it() -> None:
    run = on_ballot()
    run.answer("a", "y", run.current("b").content + "\n")
    (vote,) = run.board.votes
    assert (vote.voter, vote.answer, vote.ballot) == ("a", "b.1", 1)
    assert len(run.board.answers) == 3
    run.answer("b", "y", run.current("b").content)
    assert run.board.abstained == {"b"}


def test_a_text_of_several_is_a_vote_for_one_that_may_be_chosen() -> None:
    run = table("abc").answer("a", "x", "same").answer("b", "x", "same").answer("c", "z")
    run.answer("a", "x", "same")
    (vote,) = run.board.votes
    assert vote.answer == "b.1"


def test_the_run_is_decided_early_when_nothing_can_change_the_winner() -> None:
    run = table("abcde", max_answers=1).answers(a="1", b="2", c="3", d="4", e="5")
    run.votes(a="e", b="e")
    assert run.commands == ()
    run.votes(c="e")
    assert run.stops == ["d", "e"]
    assert run.started_kinds() == [("e", "present")]
    run.answer("e", "5")
    assert run.outcome.saved == 2
    assert run.outcome.status == "completed"


def test_no_early_decision_while_a_tie_is_possible() -> None:
    run = table("abcd", max_answers=1).answers(a="1", b="2", c="3", d="4").votes(a="b", c="b")
    assert run.commands == ()


def test_no_early_decision_while_an_answer_may_still_come() -> None:
    run = table("abcde").answers(a="1", b="2", c="3", d="4", e="5").votes(a="e", b="e", c="e", d="e")
    assert run.commands == ()
    run.tell(AnsweringClosed())
    assert run.started_kinds() == [("e", "present")]
    assert run.board.saved == 1


def test_no_early_decision_between_equal_answers_of_the_leading_group() -> None:
    run = table("abcde", max_answers=1).answers(a="x", b="x", c="3", d="4", e="5")
    run.votes(c="a", d="b", e="b")
    assert run.commands == ()  # the group has won, but not yet `b` within it
    run.votes(b="a")
    assert run.started_kinds() == []
    run.votes(a="b")
    assert run.started_kinds() == [("b", "present")]


def test_outstanding_weights_count() -> None:
    run = Table("vote", "abcd", weights={"d": 3}, max_answers=1).answers(a="1", b="2", c="3", d="4")
    run.votes(a="b", c="b", b="a")
    assert run.commands == ()
    run.votes(d="c")
    assert run.started_kinds() == [("c", "present")]


def test_abstentions_and_failures_end_a_ballot_too() -> None:
    run = on_ballot().vote("a", "c").abstain("b").fail("c")
    assert run.outcome.winner == "c"
    assert run.outcome.rule == "ballot"
    assert run.outcome.status == "partial"


def test_an_abstention_holds_for_its_ballot_only() -> None:
    run = on_ballot().abstain("a").answer("b", "better")
    assert "a" in run.turns
    assert run.board.abstained == frozenset()


def test_a_round_deadline_ends_the_ballot_with_the_votes_there_are() -> None:
    run = on_ballot().vote("a", "c").tell(RoundDeadline(round=2))
    assert run.stops == ["b", "c"]
    assert run.started_kinds() == [("c", "present")]
    assert run.board.abstained == {"b", "c"}
    assert run.board.failures == {}
    assert run.answer("c", "z").outcome.stopped_by == "decided"


def test_the_deadline_of_an_older_ballot_is_ignored() -> None:
    run = on_ballot().answer("b", "better").tell(RoundDeadline(round=2))
    assert run.commands == ()


def test_closing_forbids_new_answers_but_lets_votes_end() -> None:
    run = on_ballot().tell(AnsweringClosed())
    assert run.commands == ()
    assert not any(turn.may_answer for turn in run.turns.values())
    run.answer("a", "too late")
    assert run.board.abstained == {"a"}
    assert run.votes(b="c", c="b").started_kinds() == [("b", "present")]


def test_the_last_live_agent_that_improves_returns_its_answer() -> None:
    run = on_ballot().fail("b", "c").answer("a", "better")
    assert run.outcome.rule == "only_answer"
    assert run.outcome.answer == run.current("a")
    assert run.outcome.status == "partial"
    assert run.outcome.dissent == ("b.1", "c.1")


def test_two_agents_may_vote_for_themselves() -> None:
    run = table("ab").answers(a="x", b="y").votes(a="a", b="b")
    assert run.started_kinds() == [("a", "present")]


def test_a_team_of_one_does_not_vote() -> None:
    assert table("a").answers(a="x").outcome.rule == "single_agent"


def test_voting_may_be_skipped() -> None:
    run = table("abc", skip_voting=True).answers(a="x", b="y", c="y")
    assert run.started_kinds() == [("b", "present")]
    run = table("abc", skip_voting=True, presentation="reuse").answers(a="x", b="y", c="z")
    assert run.outcome.rule == "unvoted"
    assert run.outcome.winner == "a"
    assert run.started == 3


@pytest.mark.parametrize("agents", ["ab", "abc", "abcdef"])
def test_without_new_answers_it_takes_two_turns_each_and_one_more(agents: str) -> None:
    run = table(agents).answers(**{agent: agent for agent in agents})
    run.votes(**{agent: agents[agents.index(agent) - 1] for agent in agents})
    (turn,) = run.starts
    assert turn.kind is TurnKind.PRESENT
    run.answer(turn.agent, "final")
    assert run.started == 2 * len(agents) + 1
