"""A run's records as lines for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from massgen_mcp.journal import Kind, Record
from massgen_mcp.runs.lines import Lines, duration, money


class Teller:
    """Lines of a run of three, fed by hand."""

    def __init__(self, lines: Lines | None = None) -> None:
        self.lines = lines or Lines(["a", "b", "c"], started=0.0)
        self.seq = 0

    def tell(self, kind: Kind, at: float = 0.0, /, *, turn: int | None = None, **body: Any) -> str | None:
        self.seq += 1
        return self.lines.line(Record(run_id="r", seq=self.seq, at=at, kind=kind, body=body, turn=turn))

    def pay(self, usd: float | None) -> None:
        usage: Mapping[str, Any] = {"cost_usd": usd}
        assert self.tell("CallReplied", agent="a", usage=usage) is None


def test_a_run_begins_with_its_team():
    teller = Teller(Lines())
    assert (
        teller.tell("RunStarted", 5.0, team="fast", agents=[{"id": "a"}, {"id": "b"}]) == "fast begins: a, b"
    )
    assert teller.lines.agents == ("a", "b")
    assert teller.tell("AnswerGiven", 8.0, agent="b") == "b answered (1/2), 3 s"


def test_an_answer_is_told_with_count_time_and_money():
    teller = Teller()
    teller.pay(0.015)
    assert teller.tell("AnswerGiven", 12.0, agent="a") == "a answered (1/3), 12 s, $0.01"
    teller.pay(0.005)
    assert teller.tell("AnswerGiven", 130.0, agent="b") == "b answered (2/3), 2 min 10 s, $0.02"


def test_what_costs_nothing_or_is_not_known_is_not_told_as_money():
    teller = Teller()
    teller.pay(None)
    teller.pay(0.0)
    assert teller.tell("AnswerGiven", 1.0, agent="a") == "a answered (1/3), 1 s"
    teller.pay(0.001)
    assert teller.tell("AnswerGiven", 1.0, agent="b") == "b answered (2/3), 1 s, under $0.01"


def test_a_second_answer_of_an_agent_is_a_better_one():
    teller = Teller()
    teller.tell("AnswerGiven", agent="a")
    assert teller.tell("AnswerGiven", agent="a") == "a gave a better answer, 0 s"


def test_a_ballot_is_told_once_and_each_vote_with_whom_it_is_for():
    teller = Teller()
    assert teller.tell("TurnStarted", turn=1, agent="a", kind="vote", ballot=1) == "voting begins"
    assert teller.tell("TurnStarted", turn=2, agent="b", kind="vote", ballot=1) is None
    assert teller.tell("VoteCast", 3.0, agent="a", answer="b.1") == "a voted for b (1/3), 3 s"
    assert teller.tell("VoteCast", 3.0, agent="b", answer="b.1") == "b voted for its own answer (2/3), 3 s"
    again = teller.tell("TurnStarted", turn=3, agent="a", kind="vote", ballot=2)
    assert again == "voting begins again, on the new answer"
    assert teller.tell("VoteCast", 4.0, agent="a", answer="c.2") == "a voted for c (1/3), 4 s"


def test_a_vote_of_an_older_ballot_does_not_count_on_the_one_under_way():
    teller = Teller()
    teller.tell("TurnStarted", turn=1, agent="a", kind="vote", ballot=1)
    teller.tell("TurnStarted", turn=2, agent="b", kind="vote", ballot=2)
    assert teller.tell("VoteCast", agent="a", answer="b.1", ballot=1) == "a voted for b (0/3), 0 s"
    assert teller.tell("VoteCast", agent="b", answer="c.1", ballot=2) == "b voted for c (1/3), 0 s"
    assert teller.lines.heartbeat(9.0) == "1/3 voted, 9 s"


def test_an_agent_that_fails_is_told_with_the_cause_and_counts_no_more_among_voters():
    teller = Teller()
    assert teller.tell("CallFailed", agent="c", error="no quota") is None
    told = teller.tell("TurnEnded", agent="c", how="failed", why="no quota is left.\nAdd credit.")
    assert told == "c failed: no quota is left. Add credit."
    assert teller.tell("VoteCast", agent="a", answer="b.1") == "a voted for b (1/2), 0 s"
    assert teller.tell("TurnEnded", agent="b", how="abstained") == "b abstained: no reason was given"
    assert teller.tell("TurnEnded", agent="a", how="vote") is None


@pytest.mark.parametrize(
    ("kind", "begins"),
    [
        ("present", "a writes the final answer"),
        ("synthesize", "a writes where the answers agree and differ"),
    ],
)
def test_who_writes_the_end_is_told_before_and_after(kind: str, begins: str):
    teller = Teller()
    assert teller.tell("TurnStarted", turn=9, agent="a", kind=kind) == begins
    assert teller.lines.heartbeat(20.0) == "a writes the final answer, 20 s"
    assert teller.tell("AnswerGiven", 21.0, turn=9, agent="a") == "a wrote the final answer, 21 s"


def test_tools_in_use_are_told():
    teller = Teller()
    assert teller.tell("ToolStarted", agent="a", name="web_search") == "a uses web_search"
    assert teller.tell("ToolFinished", agent="a", result="x") is None


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ({"event": "RunDeadline"}, "the time is over; taking the best answer so far"),
        ({"event": "BudgetStopped"}, "the budget is used up; taking the best answer so far"),
        ({"event": "CancelRequested", "reason": "the caller cancelled"}, "stopping: the caller cancelled"),
        ({"event": "CancelRequested", "reason": ""}, "stopping"),
        ({"event": "ToolLoopEntered"}, None),
        ({"event": "RunDeadline", "late": True}, None),
    ],
)
def test_what_ends_a_run_early_is_told(body: dict[str, Any], line: str | None):
    assert Teller().tell("Notice", **body) == line


def test_the_end_is_told_with_the_winner_and_why():
    teller = Teller()
    end: dict[str, Any] = {
        "status": "completed",
        "winner": "a",
        "rule": "ballot",
        "usage": {"cost_usd": 0.05},
    }
    assert teller.tell("Finished", 21.0, **end) == "completed: a's answer (by vote), 21 s, $0.05"
    newer: dict[str, Any] = end | {"rule": "new"}
    assert teller.tell("Finished", 21.0, **newer) == "completed: a's answer, 21 s, $0.05"
    assert Teller().tell("Finished", 3.0, status="failed") == "failed, without an answer, 3 s"


def test_a_heartbeat_says_where_the_run_is_and_who_is_at_work():
    teller = Teller()
    assert teller.lines.heartbeat(10.0) == "waiting to begin, 10 s"
    for turn, agent in enumerate("abc", 1):
        teller.tell("TurnStarted", turn=turn, agent=agent, kind="answer", ballot=0)
    teller.tell("AnswerGiven", turn=2, agent="b")
    assert teller.lines.heartbeat(20.0) == "1/3 answered, 20 s; at work: a, c"
    for turn, agent in enumerate("abc", 4):
        teller.tell("TurnStarted", turn=turn, agent=agent, kind="vote", ballot=1)
    for agent in "abc":
        teller.tell("VoteCast", agent=agent, answer="a.1")
    assert teller.lines.heartbeat(30.0) == "3/3 voted, 30 s"


def test_a_line_is_one_short_line_without_secrets_or_hidden_text():
    teller = Teller(Lines(["a"], redact=lambda text: text.replace("hunter2", "[KEY]")))
    told = teller.tell("TurnEnded", agent="a", how="failed", why="hunter2 \u202e\n" + "x" * 200)
    assert told is not None
    assert told.startswith("a failed: [KEY] [U+202E] xxx")
    assert len(told) == 120
    assert "\n" not in told


def test_without_a_start_time_the_first_record_is_the_start():
    teller = Teller(Lines(["a"]))
    assert teller.lines.heartbeat(50.0) == "waiting to begin, 0 s"
    teller.tell("CallStarted", 100.0, agent="a")
    assert teller.tell("AnswerGiven", 105.0, agent="a") == "a answered (1/1), 5 s"


def test_durations_and_sums_are_for_reading():
    assert [duration(seconds) for seconds in (-1, 0.4, 119.4, 120, 3_725)] == [
        "0 s",
        "0 s",
        "119 s",
        "2 min 0 s",
        "62 min 5 s",
    ]
    assert [money(usd) for usd in (None, 0, 0.004, 0.01, 12.345)] == [
        "",
        "",
        "under $0.01",
        "$0.01",
        "$12.35",
    ]
