"""Exit codes and the lines below an answer, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from massgen_mcp.cli.closing import exit_code, footer
from massgen_mcp.runs import RunResult
from massgen_mcp.runs.result import ChangeRow, FileRow, TeamInfo, UsageRow

WHERE = "Every answer and vote: massgen-mcp runs show r1 --answers"


def result(status: Any, **fields: Any) -> RunResult:
    return RunResult(status=status, run_id="r1", **fields)


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (result("completed", answer="4", stopped_by="decided"), 0),
        (result("completed", answer="4", stopped_by="deadline"), 0),
        (result("partial", answer="4", stopped_by="decided"), 0),
        (result("partial", answer="4", stopped_by="deadline"), 3),
        (result("partial", answer="4", stopped_by="budget"), 3),
        (result("failed", stopped_by="budget"), 2),
        (result("failed"), 2),
        (result("cancelled", answer="4", stopped_by="cancelled"), 4),
        (result("cancelled", stopped_by="cancelled"), 4),
        (result("interrupted", answer="4"), 4),
    ],
)
def test_an_exit_code_says_how_a_run_ended(ended: RunResult, code: int):
    assert exit_code(ended) == code


@pytest.mark.parametrize(
    ("ended", "first"),
    [
        (result("failed", error="No agent answered.\na: no key"), "No agent answered.\na: no key"),
        (result("cancelled"), "No agent answered (cancelled)."),
        (result("interrupted"), "The process that drove this run is gone."),
        (
            result("interrupted", answer="4", error="Its team has changed."),
            "Its team has changed. This is the best answer so far.",
        ),
        (
            result(
                "interrupted",
                error='It can go on: ask_team(question="", continue_run="r1"), or in a terminal `x`.',
            ),
            "It can go on: `massgen-mcp runs resume r1`.",
        ),
        (
            result("partial", answer="4", error="The run was stopped: disk full"),
            "The run was stopped: disk full",
        ),
        (
            result("partial", answer="4", stopped_by="budget"),
            "The budget was used up; this is the best answer so far.",
        ),
    ],
)
def test_the_first_line_says_what_a_reader_must_know(ended: RunResult, first: str):
    lines = footer(ended, "answer")
    assert lines == [first, WHERE]


def test_a_good_answer_needs_no_first_line():
    assert footer(result("completed", answer="4"), "answer") == [WHERE]


def test_a_run_in_motion_tells_no_end():
    assert footer(result("running", seconds=12), "answer") == [WHERE]


def test_a_warning_names_the_command_and_not_the_tool():
    words = 'To go on with that one: ask_team(question="", continue_run="20261122-1120-76dwsa")'
    lines = footer(RunResult(answer="4", status="completed", run_id="r", warnings=[words]))
    assert "Warning: To go on with that one: `massgen-mcp runs resume 20261122-1120-76dwsa`" in lines


def test_what_agents_made_and_changed_is_told():
    made = FileRow(path="report.md", mime="text/markdown", bytes=1812, local_path="/s/report.md", uri="u")
    changed = ChangeRow(path="calc.py", added=3, removed=1)
    lines = footer(RunResult(answer="4", status="completed", run_id="r", files=[made], changes=[changed]))
    assert "File: /s/report.md (1,812 bytes)" in lines
    assert "Changed in the project: calc.py (+3 -1)" in lines


@pytest.mark.parametrize(
    ("by", "words"), [("deadline", "For more time: --seconds"), ("budget", "For more: --budget")]
)
def test_a_stopped_run_says_what_lets_the_next_one_go_on(by: str, words: str):
    assert any(line.startswith(words) for line in footer(result("partial", answer="4", stopped_by=by)))
    assert any(line.startswith(words) for line in footer(result("failed", stopped_by=by)))


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        (UsageRow(requests=2), "2 requests, 0 s, nothing was spent"),
        (UsageRow(requests=2, input=10), "2 requests, 10 tokens, 0 s"),
        (
            UsageRow(requests=2, lost={"cost_usd": 0.042}),
            "2 requests, 0 s, and up to $0.04 for requests that were cut off",
        ),
        (
            UsageRow(requests=2, lost={"cost_usd": 0.002}),
            "2 requests, 0 s, and under $0.01 for requests that were cut off",
        ),
    ],
)
def test_without_an_answer_it_is_told_what_was_spent(usage: UsageRow, words: str):
    assert words in footer(RunResult(status="failed", run_id="r", usage=usage))


def test_why_a_team_answered_is_told_where_nobody_named_it():
    why = "one model each of what is configured here: openai, grok"
    chosen, named = (TeamInfo(name="default", why=words) for words in (why, "as asked"))
    assert f"Why this team: {why}" in footer(
        RunResult(answer="4", status="completed", run_id="r", team=chosen)
    )
    assert "Why" not in str(footer(RunResult(answer="4", status="completed", run_id="r", team=named)))
