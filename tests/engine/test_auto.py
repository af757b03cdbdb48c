"""The default strategy: agreement, one ballot, at most one presenter."""

from __future__ import annotations

import pytest

from massgen_mcp.engine import AnswerGiven, RoundDeadline, StartTurn, TurnKind
from tests.engine.table import Table, text


def table(agents: str, **settings: object) -> Table:
    return Table("auto", agents, **settings)  # pyright: ignore[reportArgumentType] - passed through to Settings


def test_all_agents_answer_blind_and_at_once() -> None:
    run = table("abc")
    assert run.started_kinds() == [("a", "answer"), ("b", "answer"), ("c", "answer")]
    assert all(not turn.shown and not turn.votable and turn.may_answer for turn in run.starts)
    assert [turn.id for turn in run.starts] == [1, 2, 3]
    assert run.board.round == 1


def test_agreement_ends_the_run_with_the_first_answer_in_config_order() -> None:
    run = table("abc").answers(c="4", b="4.", a="four? **4**").board
    assert not run.finished
    run = table("abc").answers(c="4", b="4.", a="**4**")
    assert run.outcome.rule == "agreement"
    assert run.outcome.status == "completed"
    assert run.outcome.stopped_by == "decided"
    assert run.outcome.answer == run.current("a")
    assert run.outcome.winner == "a"
    assert run.outcome.merged == (("a.1", "b.1", "c.1"),)
    assert run.outcome.dissent == ()
    assert run.outcome.saved == 0
    assert run.started == 3


def test_equal_texts_agree_without_conclusions() -> None:
    run = table("ab").answer("b", "", "the same").answer("a", "", "the same")
    assert run.outcome.rule == "agreement"


def test_a_plain_text_agrees_by_its_last_line() -> None:
    run = table("ab").answer("a", "", "It is six times seven.\nAnswer: 42").answer("b", "42")
    assert run.outcome.rule == "agreement"
    assert run.current("a").conclusion == "42"


def test_a_quorum_ends_the_run_and_saves_what_still_runs() -> None:
    run = table("abcde", quorum=3).answers(e="no", d="yes", c="yes", b="yes")
    assert run.outcome.rule == "quorum"
    assert run.outcome.winner == "b"
    assert run.outcome.saved == 1
    assert run.stops == ["a"]
    assert run.outcome.dissent == ("e.1",)
    assert run.outcome.status == "partial"  # `a` is without an answer


def test_a_quorum_needs_at_least_two_equal_answers() -> None:
    run = table("abc", quorum=1).answers(a="yes")
    assert run.commands == ()


def test_without_a_quorum_all_answers_are_waited_for() -> None:
    run = table("abc").answers(a="yes", b="yes")
    assert run.commands == ()


def test_a_quorum_above_the_team_still_lets_all_agree() -> None:
    assert table("ab", quorum=9).answers(a="yes", b="yes").outcome.rule == "agreement"


def test_disagreement_opens_one_ballot_without_new_answers() -> None:
    run = table("abc").answers(a="x", b="y", c="z")
    assert run.started_kinds() == [("a", "vote"), ("b", "vote"), ("c", "vote")]
    for turn in run.starts:
        assert sorted(turn.shown) == ["a.1", "b.1", "c.1"]
        assert sorted(turn.votable) == sorted({"a.1", "b.1", "c.1"} - {f"{turn.agent}.1"})
        assert not turn.may_answer
        assert turn.ballot == 1
    assert run.board.round == 2


def test_answers_are_shown_in_an_order_of_the_reader_and_the_seed() -> None:
    said = {agent: agent for agent in "abcdef"}
    orders = [
        [turn.shown for turn in table("abcdef", seed=seed).answers(**said).starts] for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert len(set(orders[0])) > 1


def test_the_order_of_the_answers_given_shows_nowhere() -> None:
    one = table("abc").answers(a="x", b="y", c="z")
    other = table("abc").answers(c="z", a="x", b="y")
    assert [turn.shown for turn in one.starts] == [turn.shown for turn in other.starts]


def test_a_clear_choice_is_returned_as_it_stands() -> None:
    run = table("abc").answers(a="x", b="y", c="z").votes(a="b", c="b", b="a")
    assert run.outcome.rule == "ballot"
    assert run.outcome.answer == run.current("b")
    assert run.outcome.margin == 1
    assert {vote.voter for vote in run.outcome.votes} == {"a", "b", "c"}
    assert run.outcome.dissent == ("a.1", "c.1")
    assert run.outcome.status == "completed"
    assert run.started == 6


def test_a_lead_of_two_votes_is_clear() -> None:
    run = table("abcde").answers(a="1", b="2", c="3", d="4", e="5").votes(a="e", b="e", c="e", d="a", e="b")
    assert run.outcome.rule == "ballot"
    assert run.outcome.margin == 2
    assert run.started == 10


def test_a_split_lets_the_leaders_author_present() -> None:
    run = table("abc").answers(a="x", b="y", c="z").votes(a="b", b="c", c="a")
    (turn,) = run.starts
    assert (turn.agent, turn.kind) == ("a", TurnKind.PRESENT)
    assert turn.shown[0] == "a.1"
    assert sorted(turn.shown) == ["a.1", "b.1", "c.1"]
    assert turn.may_answer
    run.answer("a", "x", "the final text")
    assert run.outcome.rule == "presented"
    assert text(run.outcome) == "the final text"
    assert run.outcome.answer == run.current("a")
    assert run.outcome.winner == "a"
    assert run.outcome.status == "completed"
    assert run.outcome.dissent == ("b.1", "c.1")
    assert len(run.outcome.votes) == 3
    assert run.started == 7


def test_points_that_half_of_the_votes_miss_are_added_by_the_leaders_author() -> None:
    run = table("abcd").answers(a="1", b="2", c="3", d="4")
    run.vote("a", "b", add="c").vote("c", "b").vote("d", "b", add="c").vote("b", "a")
    assert run.started_kinds() == [("b", "present")]


def test_an_addition_that_few_name_or_that_is_the_leader_changes_nothing() -> None:
    run = table("abcd").answers(a="1", b="2", c="3", d="4")
    run.vote("a", "b", add="cd").vote("c", "b").vote("d", "b").vote("b", "a", add="")
    assert run.outcome.rule == "ballot"
    run = table("abcdef").answers(a="1", b="2", c="3", d="4", e="5", f="6")
    run.votes(a="b", c="b", d="b").vote("b", "a", add="b").vote("e", "a", add="b").vote("f", "b", add="b")
    assert run.outcome.rule == "ballot"


def test_equal_answers_are_merged_on_the_ballot() -> None:
    # Singly, `c` has most votes; together, `a` and `b` have more.
    run = table("abcde").answers(a="x", b="X.", c="z", d="u", e="v").votes(a="b", b="a", c="a", d="c", e="c")
    assert run.started_kinds() == [("a", "present")]
    run.answer("a", "x")
    assert run.outcome.margin == 1
    assert run.outcome.merged == (("a.1", "b.1"),)


def test_a_vote_for_another_member_of_ones_own_group_is_valid() -> None:
    run = table("abc").answers(a="x", b="x", c="z")
    assert set(run.turns["a"].votable) == {"b.1", "c.1"}
    assert set(run.turns["c"].votable) == {"a.1", "b.1"}
    run.votes(a="b", b="c", c="b")
    assert run.outcome.winner == "b"


def test_all_but_the_authors_of_the_leading_group_make_it_clear() -> None:
    run = table("abc").answers(a="x", b="x", c="y").votes(a="c", b="a", c="a")
    assert run.outcome.rule == "ballot"
    assert run.outcome.winner == "a"


def test_without_merging_equal_answers_stay_apart() -> None:
    run = table("abc", merge_equal=False).answers(a="x", b="x", c="x")
    assert [turn.kind for turn in run.starts] == [TurnKind.VOTE] * 3


def test_a_vote_for_ones_own_answer_is_an_abstention() -> None:
    run = table("abc").answers(a="x", b="y", c="z").vote("a", "a")
    assert run.board.votes == ()
    assert run.board.abstained == {"a"}
    assert run.board.failures == {"a": 1}


def test_self_may_be_allowed_or_excluded_whatever_the_size() -> None:
    run = table("abc", exclude_self=False).answers(a="x", b="y", c="z")
    assert all(len(turn.votable) == 3 for turn in run.starts)
    run = table("ab", exclude_self=True).answers(a="x", b="y")
    assert [turn.votable for turn in run.starts] == [("b.1",), ("a.1",)]


def test_two_agents_compare_with_self_allowed_and_may_settle() -> None:
    run = table("ab").answers(a="x", b="y")
    assert all(sorted(turn.votable) == ["a.1", "b.1"] for turn in run.starts)
    run.votes(a="b", b="b")
    assert run.outcome.rule == "ballot"
    assert run.outcome.winner == "b"
    assert run.started == 4


@pytest.mark.parametrize("votes", [{"a": "a", "b": "b"}, {"a": "b", "b": "a"}])
def test_two_agents_that_split_get_a_synthesis_of_one_by_seed(votes: dict[str, str]) -> None:
    writers: set[str] = set()
    for seed in range(20):
        run = table("ab", seed=seed).answers(a="x", b="y").votes(**votes)
        (turn,) = run.starts
        assert turn.kind is TurnKind.SYNTHESIZE
        assert sorted(turn.shown) == ["a.1", "b.1"]
        writers.add(turn.agent)
        run.answer(turn.agent, "both", "where they differ")
        assert run.outcome.rule == "synthesis"
        assert run.outcome.winner == turn.agent
        assert text(run.outcome) == "where they differ"
        assert not any(answer.startswith(turn.agent) for answer in run.outcome.dissent)
        assert run.started == 5
    assert writers == {"a", "b"}


def test_the_writer_of_a_synthesis_does_not_depend_on_who_was_first() -> None:
    for seed in range(10):
        one = table("ab", seed=seed).answers(a="x", b="y").votes(a="a", b="b").starts
        other = table("ab", seed=seed).answers(b="y", a="x").votes(b="b", a="a").starts
        assert one == other


def test_of_two_agents_a_single_vote_for_oneself_is_presented() -> None:
    run = table("ab").answers(a="x", b="y").vote("b", "b").abstain("a")
    assert run.started_kinds() == [("b", "present")]


def test_a_team_of_one_returns_its_answer_without_a_vote() -> None:
    run = table("a").answers(a="x")
    assert run.outcome.rule == "single_agent"
    assert run.outcome.status == "completed"
    assert run.started == 1


def test_one_live_agent_left_returns_its_answer_as_partial() -> None:
    run = table("abc").fail("a", "c").answers(b="x")
    assert run.outcome.rule == "only_answer"
    assert run.outcome.status == "partial"
    assert run.outcome.winner == "b"


def test_the_live_agents_agreement_counts_when_another_failed() -> None:
    run = table("abc").answers(a="x").fail("b").answers(c="x")
    assert run.outcome.rule == "agreement"
    assert run.outcome.status == "partial"


def test_two_of_three_left_compare_with_self_allowed() -> None:
    run = table("abc").answers(a="x").fail("b").answers(c="y")
    assert all(len(turn.votable) == 2 for turn in run.starts)


def test_an_answer_stays_eligible_when_its_author_fails_to_vote() -> None:
    run = table("abc").answers(a="x", b="y", c="z").votes(a="b", c="b").fail("b")
    assert run.outcome.winner == "b"
    assert run.outcome.rule == "ballot"
    assert run.outcome.status == "partial"


def test_of_equal_answers_the_author_with_fewer_failures_leads() -> None:
    run = table("abcd").answers(a="1", b="2", c="3", d="4").votes(a="b", b="a", c="d", d="c")
    assert run.started_kinds() == [("a", "present")]
    run = table("abcd").answers(a="1", b="2", c="3", d="4").abstain("a").votes(b="a", c="b", d="c")
    assert run.started_kinds() == [("b", "present")]


def test_a_choice_that_is_not_clear_is_returned_as_it_stands_when_its_author_failed() -> None:
    run = table("abcd").answers(a="1", b="2", c="3", d="4").votes(b="a", c="a", d="b").fail("a")
    assert run.outcome.rule == "ballot"
    assert run.outcome.winner == "a"
    assert run.outcome.margin == 1


def test_two_agents_left_on_a_ballot_that_split_get_a_synthesis_too() -> None:
    run = table("abc").answers(a="x", b="y", c="z").votes(b="c", c="a").fail("a")
    (turn,) = run.starts
    assert turn.kind is TurnKind.SYNTHESIZE
    assert sorted(turn.shown) == ["a.1", "b.1", "c.1"]


def test_when_nobody_votes_the_largest_group_is_presented() -> None:
    run = table("abc").answers(a="x", b="y", c="y").abstain("a", "b", "c")
    assert run.started_kinds() == [("b", "present")]
    assert run.board.rule == "unvoted"


def test_weights_count() -> None:
    run = Table("auto", "abcd", weights={"a": 2.5}).answers(a="1", b="2", c="3", d="4")
    run.votes(a="b", b="c", c="d", d="c")
    assert run.started_kinds() == [("b", "present")]
    run.answer("b", "2")
    assert run.outcome.margin == 0.5


def test_reuse_never_presents() -> None:
    run = table("abc", presentation="reuse").answers(a="x", b="y", c="z").votes(a="b", b="c", c="a")
    assert run.outcome.rule == "ballot"
    assert run.outcome.status == "completed"
    run = table("ab", presentation="reuse").answers(a="x", b="y").votes(a="a", b="b")
    assert run.outcome.rule == "ballot"
    assert run.outcome.margin == 0


@pytest.mark.parametrize("presentation", ["winner", "reuse"])
@pytest.mark.parametrize("agents", ["a", "abc"])
def test_a_presenter_that_is_always_needed_runs_after_agreement_too(agents: str, presentation: str) -> None:
    run = table(agents, present_always=True, presentation=presentation)
    run.answers(**dict.fromkeys(agents, "x"))
    assert run.started_kinds() == [("a", "present")]
    run.answer("a", "x", "written")
    assert run.outcome.rule == "presented"
    assert run.outcome.status == "completed"


def test_a_presenter_that_is_always_needed_is_replaced_when_it_failed() -> None:
    run = table("abcd", present_always=True).answers(a="1", b="2", c="3", d="4")
    run.votes(b="a", c="a", d="a").fail("a")
    assert run.started_kinds() == [("b", "present")]
    run.answer("b", "1", "in b's words")
    assert run.outcome.winner == "a"
    assert text(run.outcome) == "in b's words"


def test_the_named_presenter_presents_the_winners_answer() -> None:
    run = table("abc", presenter="c").answers(a="x", b="y", c="z").votes(a="b", b="c", c="a")
    (turn,) = run.starts
    assert turn.agent == "c"
    assert turn.shown[0] == "a.1"
    run.answer("c", "x", "in c's words")
    assert run.outcome.winner == "a"
    assert run.outcome.answer == run.current("c")
    assert run.outcome.dissent == ("b.1", "c.1")


def test_a_named_presenter_that_failed_leaves_it_to_the_author() -> None:
    run = table("abcd", presenter="d").answers(a="1", b="2", c="3", d="4")
    run.votes(a="b", b="c", c="a").fail("d")
    assert run.started_kinds() == [("a", "present")]


@pytest.mark.parametrize(("presenter", "writer"), [(None, "b"), ("c", "c")])
def test_synthesis_on_request_is_written_by_the_leader_or_the_named_presenter(
    presenter: str | None, writer: str
) -> None:
    run = table("abc", presentation="synthesize", presenter=presenter)
    run.answers(a="x", b="y", c="z").votes(a="b", b="a", c="b")
    (turn,) = run.starts
    assert (turn.agent, turn.kind) == (writer, TurnKind.SYNTHESIZE)
    assert turn.shown[0] == "b.1"
    run.answer(writer, "all")
    assert run.outcome.rule == "synthesis"
    assert run.outcome.winner == writer


def test_one_answer_alone_is_not_synthesised() -> None:
    assert table("a", presentation="synthesize").answers(a="x").outcome.rule == "single_agent"


@pytest.mark.parametrize("how", ["fail", "abstain"])
def test_the_stored_answer_is_returned_when_its_presenter_hands_in_nothing(how: str) -> None:
    run = table("abc").answers(a="x", b="y", c="z").votes(a="b", b="c", c="a")
    getattr(run, how)("a")
    assert run.outcome.rule == "ballot"
    assert run.outcome.answer == run.current("a")
    assert run.outcome.winner == "a"
    assert run.outcome.status == "partial"
    assert run.outcome.stopped_by == "decided"


def test_the_stored_answer_is_returned_when_the_presenters_time_is_over() -> None:
    run = table("abc").answers(a="x", b="y", c="z").votes(a="b", b="c", c="a")
    run.tell(RoundDeadline(round=3))
    assert run.outcome.answer == run.current("a")
    assert run.outcome.status == "partial"
    assert run.outcome.stopped_by == "deadline"
    assert run.stops == ["a"]


def test_voting_may_be_skipped() -> None:
    run = table("abc", skip_voting=True).answers(a="x", b="y", c="y")
    assert run.started_kinds() == [("b", "present")]
    run = table("abc", skip_voting=True, presentation="reuse").answers(a="x", b="y", c="y")
    assert run.outcome.rule == "unvoted"
    assert run.outcome.votes == ()


def test_a_new_answer_on_the_ballot_is_an_abstention_unless_it_repeats_one() -> None:
    run = table("abc").answers(a="x", b="y", c="z").answer("a", "new")
    assert run.board.votes == ()
    assert run.board.abstained == {"a"}
    run.answer("b", "x", run.current("a").content)
    (vote,) = run.board.votes
    assert (vote.voter, vote.answer) == ("b", "a.1")
    assert len(run.board.answers) == 3


def test_events_of_turns_that_do_not_run_change_nothing() -> None:
    run = table("abc")
    before = run.board
    late = AnswerGiven(agent="a", turn=2, content="x")
    assert run.strategy.receive(before, late).board is before
    run.answers(a="x", b="y")
    again = AnswerGiven(agent="a", turn=1, content="other")
    before = run.board
    assert run.tell(again).board is before
    assert run.commands == ()


def test_the_same_event_gives_the_same_step() -> None:
    run = table("abc").answers(a="x", b="y")
    event = AnswerGiven(agent="c", turn=3, content="z")
    assert run.strategy.receive(run.board, event) == run.strategy.receive(run.board, event)
    assert all(isinstance(command, StartTurn) for command in run.strategy.receive(run.board, event).commands)
