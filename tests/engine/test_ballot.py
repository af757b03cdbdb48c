"""Counting a ballot."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from massgen_mcp.engine import Answer, Board, Member, Settings, Vote
from massgen_mcp.engine.ballot import count, is_clear, wanted_addition


def board(
    answers: dict[str, str],
    votes: dict[str, str],
    *,
    failures: dict[str, int] | None = None,
    failed: str = "",
    add: str = "",
) -> Board:
    """Answers by agent and conclusion, votes by agent and agent; every vote names `add` as well."""
    members = [Member(id=agent) for agent in answers]
    empty = Board.begin(members, Settings())
    return Board(
        members=empty.members,
        settings=empty.settings,
        labels=empty.labels,
        answers=tuple(
            Answer(id=f"{agent}.1", agent=agent, revision=1, content=agent, conclusion=conclusion)
            for agent, conclusion in answers.items()
        ),
        votes=tuple(
            Vote(voter=voter, answer=f"{wanted}.1", add=tuple(f"{extra}.1" for extra in add))
            for voter, wanted in votes.items()
        ),
        ballot=1,
        failures=MappingProxyType(failures or {}),
        failed=MappingProxyType(dict.fromkeys(failed, "down")),
    )


DIFFERENT = {"a": "1", "b": "2", "c": "3", "d": "4"}
PAIR = {"a": "x", "b": "y", "c": "Y.", "d": "z"}


@pytest.mark.parametrize(
    ("answers", "votes", "failures", "leader", "margin"),
    [
        (DIFFERENT, {"a": "c", "b": "c", "d": "a"}, {}, "c", 1),
        (DIFFERENT, {"a": "b", "b": "a"}, {}, "a", 0),
        (DIFFERENT, {"a": "b", "b": "a"}, {"a": 1}, "b", 0),
        (DIFFERENT, {}, {}, "a", 0),
        (DIFFERENT, {}, {"a": 2, "b": 1, "c": 1}, "d", 0),
        (PAIR, {}, {}, "b", 0),  # the largest group, while nobody has voted
        (PAIR, {"b": "a"}, {}, "a", 1),
        (PAIR, {"a": "b", "b": "c", "c": "a", "d": "a"}, {}, "a", 0),  # a tie: size does not count
        (PAIR, {"a": "c", "b": "c", "c": "b", "d": "a"}, {}, "c", 2),
        (PAIR, {"a": "b", "d": "c"}, {"b": 1}, "c", 2),
    ],
)
def test_who_leads(
    answers: dict[str, str], votes: dict[str, str], failures: dict[str, int], leader: str, margin: float
) -> None:
    tally = count(board(answers, votes, failures=failures))
    assert tally.leader is not None
    assert tally.leader.agent == leader
    assert tally.margin(tally.leader.id) == margin


def test_labels_are_shuffled_once_per_run_by_its_seed() -> None:
    members = [Member(id=agent) for agent in "abcd"]
    labels = [Board.begin(members, Settings(seed=seed)).labels for seed in range(20)]
    assert all(sorted(found.values()) == ["agent1", "agent2", "agent3", "agent4"] for found in labels)
    assert len({tuple(found.values()) for found in labels}) > 1
    found = board(DIFFERENT, {})
    assert found.label(found.answer("c.1")) == f"{found.labels['c']}.1"
    with pytest.raises(KeyError, match=r"c\.2"):
        found.answer("c.2")


def test_nobody_leads_without_answers() -> None:
    empty = Board.begin([Member(id="a")], Settings())
    assert count(empty).leader is None


@pytest.mark.parametrize(
    ("answers", "votes", "failed", "clear"),
    [
        (DIFFERENT, {"a": "b", "c": "b", "d": "b", "b": "a"}, "", True),
        (DIFFERENT, {"a": "b", "c": "b", "d": "b"}, "", True),
        (DIFFERENT, {"a": "b", "c": "b", "d": "a", "b": "a"}, "", False),
        (DIFFERENT, {"a": "b", "c": "b", "d": "a"}, "", False),
        (DIFFERENT, {"a": "b", "c": "b"}, "", True),  # two votes ahead although `d` abstained
        (DIFFERENT, {"a": "b"}, "", False),
        (DIFFERENT, {"a": "b"}, "cd", True),  # all others that are left chose it
        (PAIR, {"a": "b", "d": "c", "b": "a", "c": "a"}, "", False),  # a tie is never clear
        (PAIR, {"a": "b", "d": "c", "b": "a"}, "", True),
        (DIFFERENT, {}, "", False),
    ],
)
def test_when_a_choice_is_clear(
    answers: dict[str, str], votes: dict[str, str], failed: str, *, clear: bool
) -> None:
    found = board(answers, votes, failed=failed)
    assert is_clear(found, count(found)) is clear


@pytest.mark.parametrize(
    ("votes", "add", "wanted"),
    [
        ({"a": "b", "c": "b"}, "d", "d.1"),
        ({"a": "b", "c": "b"}, "dac", "a.1"),
        ({"a": "b", "c": "b"}, "b", None),
        ({"a": "b", "c": "b"}, "", None),
        ({}, "d", None),
    ],
)
def test_which_addition_is_wanted(votes: dict[str, str], add: str, wanted: str | None) -> None:
    assert wanted_addition(count(board(DIFFERENT, votes, add=add))) == wanted
