"""Exit codes and the lines below an answer, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from massgen_mcp.cli.closing import exit_code, footer
from massgen_mcp.runs import RunResult

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
