"""What can be told of a run from its records alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from massgen_mcp.journal import (
    Kind,
    MemoryJournal,
    Record,
    RunSummary,
    export_jsonl,
    report,
    summarise,
    usage_of,
)
from massgen_mcp.usage import Usage


def records(*lines: tuple[Any, ...]) -> list[Record]:
    """Records of (kind, body, turn?, call?), one second apart."""
    made: list[Record] = []
    for seq, (kind, body, *numbers) in enumerate(lines, 1):
        turn, call = [*numbers, None, None][:2]
        at = 1_800_000_000.0 + seq
        made.append(Record(run_id="r1", seq=seq, at=at, kind=kind, body=body, turn=turn, call=call))
    return made


START: tuple[Kind, Mapping[str, Any]] = (
    "RunStarted",
    {
        "question": "Is 91 prime?",
        "context": "For a quiz.",
        "team": "fast",
        "config": {
            "agents": [
                {"id": "gem", "backend": {"type": "gemini", "model": "gemini-2.5-flash"}},
                {"id": "gpt", "backend": {"type": "openai", "model": "gpt-5"}},
            ]
        },
        "seed": 7,
        "labels": {"gem": "agent2", "gpt": "agent1"},
        "parent": "r0",
    },
)


def reply(agent: str, *, cost: float | None, **more: Any) -> dict[str, Any]:
    usage = {"requests": 1, "input": 100, "output": 20, "cost_usd": cost, "cost_source": "table"}
    return {
        "agent": agent,
        "reply": {"model": f"{agent}-served", "attempts": 2, "seconds": 1.5, **more},
        "usage": usage,
    }


def whole_run() -> list[Record]:
    return records(
        START,
        ("TurnStarted", {"agent": "gem", "kind": "answer", "ballot": 0, "shown": []}, 1),
        ("TurnStarted", {"agent": "gpt", "kind": "answer", "ballot": 0, "shown": []}, 2),
        ("CallStarted", {"agent": "gem", "reserved_tokens": 500, "reserved_usd": 0.01}, 1, 1),
        ("CallReplied", reply("gem", cost=0.01, warnings=["dropped temperature"]), 1, 1),
        ("ToolStarted", {"agent": "gem", "name": "divide", "arguments": "{}", "idempotent": True}, 1, 2),
        ("ToolFinished", {"agent": "gem", "result": "13", "is_error": False}, 1, 2),
        (
            "AnswerGiven",
            {
                "agent": "gem",
                "id": "gem.1",
                "label": "agent2.1",
                "revision": 1,
                "content": "No: 7 x 13.",
                "conclusion": "no",
            },
            1,
        ),
        ("TurnEnded", {"agent": "gem", "how": "answer"}, 1),
        ("CallStarted", {"agent": "gpt", "reserved_tokens": 500, "reserved_usd": 0.01}, 2, 1),
        (
            "CallFailed",
            {"agent": "gpt", "kind": "overloaded", "error": "busy", "attempts": 5, "requests": 5},
            2,
            1,
        ),
        ("TurnEnded", {"agent": "gpt", "how": "failed", "why": "OpenAI is overloaded."}, 2),
        (
            "VoteCast",
            {
                "agent": "gem",
                "answer": "gem.1",
                "reason": "It shows the factors.",
                "add": ["gem.1"],
                "ballot": 1,
            },
            3,
        ),
        ("Notice", {"event": "RoundDeadline", "round": 1}),
        (
            "Finished",
            {
                "status": "partial",
                "stopped_by": "decided",
                "winner": "gem",
                "answer": "No: 7 x 13.",
                "rule": "only_answer",
                "margin": 0.0,
                "warnings": ["gpt failed", "dropped temperature"],
                "result": {"answer": "No: 7 x 13."},
            },
        ),
    )


def test_a_finished_run_is_told_whole() -> None:
    told = summarise(whole_run())

    assert (told.run_id, told.state, told.question, told.context) == (
        "r1",
        "partial",
        "Is 91 prime?",
        "For a quiz.",
    )
    assert (told.team, told.parent, told.seed) == ("fast", "r0", 7)
    assert (told.started, told.ended) == (1_800_000_001.0, 1_800_000_015.0)
    assert (told.answer, told.winner, told.rule, told.stopped_by) == (
        "No: 7 x 13.",
        "gem",
        "only_answer",
        "decided",
    )
    assert told.result == {"answer": "No: 7 x 13."}
    assert told.warnings == ("dropped temperature", "gpt failed")
    assert [notice["event"] for notice in told.notices] == ["RoundDeadline"]
    assert told.last_seq == 15

    gem, gpt = told.agents
    assert (gem.id, gem.label, gem.backend, gem.model) == ("gem", "agent2", "gemini", "gem-served")
    assert (gem.state, gem.attempts, gem.seconds, gem.tool_calls) == ("answer", 2, 1.5, 1)
    assert gem.usage == Usage(requests=1, input=100, output=20, cost_usd=0.01, cost_source="table")
    assert (gpt.model, gpt.state, gpt.error) == ("gpt-5", "failed", "OpenAI is overloaded.")
    assert (gpt.usage.requests, gpt.attempts) == (5, 5)

    (answer,) = told.answers
    assert (answer.id, answer.label, answer.conclusion, answer.turn) == ("gem.1", "agent2.1", "no", 1)
    (vote,) = told.votes
    assert (vote.agent, vote.label, vote.add) == ("gem", "agent2.1", ("agent2.1",))
    assert (told.usage.requests, told.usage.tokens, told.usage.cost_usd) == (6, 120, 0.01)
    assert told.open_calls == 0


def test_the_total_that_a_run_ended_with_counts() -> None:
    told = summarise(
        records(START, ("Finished", {"status": "completed", "usage": {"requests": 9, "saved": 2}}))
    )
    assert told.usage == Usage(requests=9)


def test_an_interrupted_run_tells_what_it_has_and_what_may_be_lost() -> None:
    told = summarise(
        records(
            START,
            ("TurnStarted", {"agent": "gem"}, 1),
            ("CallStarted", {"agent": "gem", "reserved_tokens": 500, "reserved_usd": 0.01}, 1, 1),
            # Lost in a crash, and sent once more on resume.
            ("CallStarted", {"agent": "gem", "reserved_tokens": 500, "reserved_usd": 0.01}, 1, 1),
            ("CallReplied", reply("gem", cost=None), 1, 1),
            ("AnswerGiven", {"agent": "gem", "content": "No."}, 1),
            ("AnswerGiven", {"agent": "gem", "content": "No!"}, 2),
            ("CallStarted", {"agent": "gpt", "reserved_tokens": 300, "reserved_usd": None}, 3, 1),
        ),
        state="interrupted",
    )
    assert (told.state, told.ended, told.answer, told.result) == ("interrupted", None, "", None)
    assert [answer.label for answer in told.answers] == ["agent2.1", "agent2.2"]
    assert [answer.id for answer in told.answers] == ["gem.1", "gem.2"]
    assert (told.open_calls, told.open_tokens, told.open_usd) == (2, 800, 0.01)
    assert told.agents[0].state == "working"


CALL = {"agent": "gem", "reserved_tokens": 500, "reserved_usd": 0.01}


def resumed_run() -> list[tuple[Any, ...]]:
    return [
        START,
        ("TurnStarted", {"agent": "gem"}, 1),
        ("CallStarted", CALL, 1, 1),
        ("CallReplied", reply("gem", cost=0.02), 1, 1),
        ("CallStarted", CALL, 1, 2),
        ("CallStarted", {"agent": "gpt", "reserved_tokens": 300, "reserved_usd": None}, 2, 1),
        ("Notice", {"event": "Resumed", "host": "here"}),
        ("CallStarted", CALL, 1, 2),
        ("Notice", {"event": "Resumed"}),
        ("CallStarted", CALL, 1, 2),
        ("CallReplied", reply("gem", cost=0.02), 1, 2),
        ("ToolFinished", {"agent": "gem", "result": "", "images": [{"sha256": "0" * 64}]}, 1, 3),
        ("CallStarted", {"agent": "gpt", "reserved_tokens": 200, "reserved_usd": 0.5}, 2, 1),
    ]


def test_what_was_under_way_at_each_interruption_of_a_run_is_lost() -> None:
    told = summarise(records(*resumed_run()))
    assert (told.state, told.resumed) == ("running", 2)
    assert (told.lost_calls, told.lost_tokens, told.lost_usd) == (3, 1300, 0.02)
    assert (told.open_calls, told.open_tokens, told.open_usd) == (1, 200, 0.5)
    assert (told.usage.requests, told.usage.cost_usd) == (2, 0.04)


def test_a_run_that_went_on_and_ended_is_not_interrupted() -> None:
    end = ("Finished", {"status": "completed", "answer": "No.", "usage": {"requests": 2}})
    told = summarise(records(*resumed_run(), end), state="interrupted")
    assert (told.state, told.answer, told.resumed, told.lost_calls) == ("completed", "No.", 2, 3)
    text = report(told)
    assert "3 requests lost when the run was interrupted, reserved at 1,300 tokens, $0.0200." in text
    assert "- Resumed: host here" in text


def test_records_that_say_little_are_taken_as_they_are() -> None:
    told = summarise(
        records(
            ("RunStarted", {"config": {"agents": [3, {"backend": None}]}, "labels": ["a"], "question": 5}),
            ("TurnEnded", {"agent": "a"}, 1),
            (
                "CallReplied",
                {"agent": "a", "reply": None, "usage": {"requests": "many", "input": 3, "x": 1}},
                1,
                1,
            ),
            ("VoteCast", {}),
            ("AnswerGiven", {}),
            ("SomethingNew", {}),
            ("Finished", {}),
        )
    )
    assert (told.state, told.question) == ("failed", "")
    assert [(agent.id, agent.state) for agent in told.agents] == [("a", "stopped"), ("?", "waiting")]
    assert told.usage == Usage(input=3)
    assert told.votes[0].label == ""
    assert told.answers[0].label == "?.1"
    assert summarise([]) == RunSummary(run_id="", state="running")


def test_usage_keeps_where_its_price_came_from() -> None:
    told = summarise(
        records(
            START,
            ("CallReplied", {"agent": "gem", "usage": {"requests": 1, "cost_source": "subscription"}}, 1, 1),
        )
    )
    assert told.agents[0].usage == Usage(requests=1, cost_source="subscription")
    assert "| subscription |" in report(told)
    assert usage_of(None) == Usage()


def test_a_report_says_who_said_what_and_what_it_cost() -> None:
    text = report(summarise(whole_run()))
    assert text == (
        """\
# Run r1

- Status: partial, stopped by decided
- Team: fast
- Started: 2027-01-15 08:00:01 UTC
- Took: 14.0 s
- Continues: r0
- Winner: gem (agent2): it was the only answer

## Question

> Is 91 prime?

## Context

> For a quiz.

## Answer

> No: 7 x 13.

## Answers of the agents

### agent2.1 (gem)

Conclusion: no

> No: 7 x 13.

## Votes

- **gem (agent2)** chose agent2.1: It shows the factors. It would add points of agent2.1.

## Agents and cost

| agent | backend | model | ended in | requests | tokens in | tokens out | cost | seconds |
| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |
| gem (agent2) | gemini | gem-served | answer | 1 | 100 | 20 | $0.0100 | 1.5 |
| gpt (agent1) | openai | gpt-5 | failed | 5 | 0 | 0 | no price known | 0.0 |

- gpt: OpenAI is overloaded.

In all: 6 requests, 120 tokens, $0.0100.

## Notices

- RoundDeadline: round 1

## Warnings

- dropped temperature
- gpt failed
"""
    )


def test_what_agents_write_can_not_pass_for_a_part_of_the_report() -> None:
    evil = "Yes.\n## Warnings\u2028- none | \x1b[31m\u202ered"
    text = report(
        summarise(
            records(
                START,
                ("AnswerGiven", {"agent": "gem", "content": evil, "conclusion": evil}),
                ("VoteCast", {"agent": "gem", "answer": evil, "reason": evil, "ballot": 2}),
                ("VoteCast", {"agent": "gem", "answer": "gem.1", "reason": "", "ballot": 3}),
                ("TurnEnded", {"agent": "gem", "how": "a | b\nc", "why": evil}),
                ("Finished", {"status": "completed", "answer": evil, "winner": evil}),
            )
        )
    )
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Run r1",
        "## Question",
        "## Context",
        "## Answer",
        "## Answers of the agents",
        "### agent2.1 (gem)",
        "## Votes",
        "## Agents and cost",
    ]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "| a \\| b c |" in text
    assert "(ballot 2)" in text


HOW_FAR: list[tuple[list[Any], Any, str]] = [
    ([], "running", "Not yet."),
    ([], "failed", "There is none."),
    ([("AnswerGiven", {"agent": "gem", "content": "No."})], "interrupted", "did not get to one"),
    ([("CallStarted", {"agent": "gem", "reserved_tokens": 9})], "running", "1 request under way"),
    (
        [("CallStarted", {"agent": "gem", "reserved_tokens": 1})],
        "interrupted",
        "1 request lost, reserved at 1 token",
    ),
    (
        [("CallReplied", {"agent": "gem", "usage": {"cost_usd": 0.5, "unpriced": 2}})],
        "running",
        "$0.5000 and 2 without a price",
    ),
    ([("Notice", {})], "running", "- notice"),
]


@pytest.mark.parametrize(
    ("lines", "state", "words"),
    HOW_FAR,
)
def test_a_report_says_how_far_a_run_got(lines: list[Any], state: Any, words: str) -> None:
    assert words in report(summarise(records(START, *lines), state=state))


def test_a_report_of_nothing_is_short() -> None:
    assert report(summarise([])).startswith("# Run \n\n- Status: running\n- Started: 1970-01-01")


@pytest.mark.anyio
async def test_a_run_is_exported_line_by_line() -> None:
    journal = MemoryJournal()
    log = await journal.begin("r1", question="?", team="fast", body={"question": "Zwei\u2028Zeilen\x85?"})
    for number in range(450):
        await log.append("Notice", {"number": number}, turn=number)

    lines = [line async for line in export_jsonl(journal, "r1")]

    assert len(lines) == 451
    assert all(len(line.splitlines()) == 1 for line in lines)
    first, second = json.loads(lines[0]), json.loads(lines[1])
    assert first["body"] == {"question": "Zwei\u2028Zeilen\x85?"}
    assert set(second) == {"run_id", "seq", "schema", "at", "kind", "turn", "call", "body"}
    assert (second["seq"], second["kind"], second["turn"], second["body"]) == (2, "Notice", 0, {"number": 0})
