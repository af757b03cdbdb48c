"""`validate`, `backends`, `runs`, `trust`, `serve`: the commands that ask nobody."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from massgen_mcp.cli import main
from massgen_mcp.errors import BackendError
from massgen_mcp.journal import Journal, open_journal
from massgen_mcp.runs import Ask
from tests.cli.terminal import Ended, Terminal
from tests.teams import After, Script, ScriptedTeam, scripted_team

VOTED: Mapping[str, Script] = {
    "a": ["answer: 4", "vote: 5 because it counts"],
    "b": ["answer: 5", "vote: 4 because it is even"],
    "c": ["answer: 6", "vote: 5 because it is odd"],
}


@dataclass
class Kept(ScriptedTeam):
    """A team whose journal is on disk, as another process would find it."""

    folder: Path = field(default_factory=Path)
    found: threading.Event = field(default_factory=threading.Event)
    """Set when the journal is open."""

    async def _open_journal(self) -> Journal:
        self.journal = await open_journal(self.folder, clock=self.clock)
        self.found.set()
        return self.journal


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(VOTED, folder=tmp_path / "state")


@dataclass
class Operators(ScriptedTeam):
    """Teams whose answers about themselves are given."""

    found: Mapping[str, Any] = field(default_factory=dict[str, Any])
    asked_about: list[str] = field(default_factory=list[str])

    async def catalogue(self, backend: str | None = None, task: str | None = None) -> dict[str, Any]:
        self.asked_about += [word for word in (backend, task) if word]
        return dict(self.found)

    async def validate(self, config: str) -> dict[str, Any]:
        self.asked_about.append(config)
        return dict(self.found)


def operators(**found: Any) -> Operators:
    return Operators({}, found=found)


# validate

PROBLEMS = [
    {"path": "agents[1].backend.type", "message": "unknown backend 'google'.", "severity": "error", "line": 9}
    | {"hint": "Did you mean 'gemini'?"},
    {"path": "ui", "message": "a setting of MassGen; not used here.", "severity": "notice", "line": 31},
]
WARNING = {"path": "agents[0].backend", "message": "retired.", "severity": "warning"}


def test_validate_tells_each_problem_at_its_line_and_ends_in_one(terminal: Terminal):
    ended = terminal.run(operators(ok=False, name="mine", problems=PROBLEMS), "validate", "mine")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "agents[1].backend.type (line 9): unknown backend 'google'. Did you mean 'gemini'?",
        "notice: ui (line 31): a setting of MassGen; not used here.",
        "mine can't be used: 1 problem.",
    ]


def test_validate_of_a_good_team_says_what_a_question_costs_at_most(terminal: Terminal):
    limits = {"usd": 0.5, "tokens": 200_000, "requests": 7, "seconds": 600.0}
    team = operators(ok=True, name="mine", runs=True, problems=[WARNING], costs_at_most=limits)
    ended = terminal.run(team, "validate", "mine")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "warning: agents[0].backend: retired.",
        "mine is valid. A run stops at $0.50, 200,000 tokens, 7 requests, 10 min 0 s.",
    ]


def test_validate_says_what_a_typical_question_needs_and_whose_price_is_not_known(terminal: Terminal):
    expected = {
        "requests": [2, 5],
        "tokens": [5_000, 18_400],
        "usd": [0.004, 0.06],
        "seconds": [20, 120],
        "no_price": ["dark"],
        "assumes": "short answers",
    }
    ended = terminal.run(operators(ok=True, name="mine", problems=[], expected=expected), "validate", "mine")
    first, second = ended.out.splitlines()
    assert first == "mine is valid."
    assert second == (
        "A typical question needs 2 to 5 requests, 5,000 to 18,400 tokens, under $0.01 to $0.06, "
        "20 to 120 s. No price is known for dark. Assumed: short answers."
    )
    alone = {"requests": [1, 1], "tokens": [2_500, 2_500], "usd": [0, 0], "seconds": [20, 40], "assumes": "x"}
    ended = terminal.run(operators(ok=True, name="mine", problems=[], expected=alone), "validate", "mine")
    assert "needs 1 requests, 2,500 tokens, $0.00, 20 to 40 s. Assumed: x." in ended.out


def test_validate_strict_takes_warnings_for_errors(terminal: Terminal):
    ended = terminal.run(operators(ok=True, name="mine", problems=[WARNING]), "validate", "--strict", "mine")
    assert ended.code == 1
    assert "mine can't be used: 1 problem." in ended.out


def test_validate_says_when_a_valid_team_cant_be_run_yet(terminal: Terminal):
    ended = terminal.run(operators(ok=True, name="mine", runs=False, problems=[]), "validate", "mine")
    assert (ended.code, ended.out) == (
        0,
        "mine is valid, and can't be run by this version: see the warnings.\n",
    )


def test_validate_json_is_what_the_tool_returns(terminal: Terminal):
    found = {"ok": False, "name": "mine", "problems": PROBLEMS}
    ended = terminal.run(operators(**found), "validate", "--json", "mine")
    assert (ended.code, json.loads(ended.out)) == (1, found)


def test_validate_takes_a_file_wherever_it_lies(terminal: Terminal, tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.touch()
    team = operators(ok=True, problems=[])
    assert terminal.run(team, "validate", str(file)).out == "It is valid.\n"
    assert team.asked_about == [str(file)]
    assert terminal.made[0][1] == (tmp_path,)


# backends

READY = {
    "backend": "gemini",
    "ready": True,
    "model": "gemini-2.5-flash",
    "key": "set (GOOGLE_API_KEY)",
    "can": {"web_search": "built_in", "mcp": "via_mcp"},
}
UNREADY = {"backend": "openai", "ready": False, "why": "OPENAI_API_KEY is not set"}


def test_backends_tells_what_is_ready_and_why_the_rest_is_not(terminal: Terminal):
    team = operators(
        backends=[READY, UNREADY],
        teams=[
            {"name": "fast", "ready": True, "members": ["gemini/x", "openai/y"], "expected_usd": 0.02},
            {"name": "deep", "ready": False, "members": [], "why": "none of its agents has a key"},
        ],
        default_team={"members": ["gemini/x"], "why": "one of each", "expected_usd": 0.004},
        found_not_trusted={"folder": "/p/.massgen", "to_trust": "massgen-mcp trust /p"},
        sandbox="none",
        notes=["MASSGEN_MCP_MAX_USD is not a number"],
    )
    ended = terminal.run(team, "backends", "--task", "coding")
    assert ended.code == 0
    assert team.asked_about == ["coding"]
    assert ended.out.splitlines() == [
        "Backend  Ready  Model             What it can do, or why it is not ready",
        "gemini   yes    gemini-2.5-flash  web_search, mcp",
        "openai   no                       OPENAI_API_KEY is not set",
        "",
        "Team  Ready  A question costs  Members, or why it is not ready",
        "fast  yes    about $0.02       gemini/x, openai/y",
        "deep  no                       none of its agents has a key",
        "",
        "Without --team these answer: gemini/x (one of each), under $0.01 a question.",
        "Found, not trusted: /p/.massgen (massgen-mcp trust /p)",
        "Sandbox: none",
        "MASSGEN_MCP_MAX_USD is not a number",
        "massgen-mcp backends NAME shows one backend whole.",
    ]


@pytest.mark.parametrize(
    ("default", "words"),
    [
        (
            {"name": "deep", "why": "MASSGEN_MCP_TEAM names it"},
            "the team deep answers (MASSGEN_MCP_TEAM names it).",
        ),
        ({"ready": False, "why": "nothing"}, "the demo model answers, which is not for use"),
    ],
)
def test_backends_tells_who_answers_without_a_team(terminal: Terminal, default: dict[str, Any], words: str):
    ended = terminal.run(operators(backends=[UNREADY], default_team=default), "backends")
    assert f"Without --team {words}" in ended.out


def test_backends_says_what_to_do_where_nothing_is_configured(terminal: Terminal):
    team = operators(backends=[UNREADY], default_team={"ready": False, "why": "nothing"})
    told = terminal.run(team, "backends").out
    assert "Set a key (`massgen-mcp backends openrouter` names one" in told
    assert "start Ollama or LM Studio with a model loaded, or log in with `claude`" in told


def test_backends_tells_what_was_spent_today(terminal: Terminal, kept: Kept):
    terminal.run(kept, "ask", "2 + 2?")
    assert "Spent today (UTC): $0.0" in terminal.run(kept, "backends").out


def test_backends_tells_of_a_journal_that_cant_be_used(terminal: Terminal, tmp_path: Path):
    (tmp_path / "state").touch()
    ended = terminal.run(Kept({}, folder=tmp_path / "state"), "backends")
    assert ended.code == 0
    assert "Journal: " in ended.out


def test_one_backend_is_shown_whole(terminal: Terminal):
    row = READY | {
        "title": "Google Gemini",
        "flags": ["enable_web_search"],
        "notes": {"mcp": "through our own tools"},
        "models": [
            {"name": "g-1", "usd_per_million": {"input": 0.3, "output": 2.5}, "context": 1_000_000},
            {"name": "g-0", "retires": "2026-12-01", "successor": "g-1"},
            {"name": "g-00", "retires": "2025-12-01"},
        ],
        "setup": "Set GOOGLE_API_KEY.",
    }
    team = operators(backends=[row])
    ended = terminal.run(team, "backends", "gemini")
    assert team.asked_about == ["gemini"]
    assert ended.out.splitlines() == [
        "Backend: gemini (Google Gemini)",
        "Ready: yes",
        "Key: set (GOOGLE_API_KEY)",
        "Flags: enable_web_search",
        "Setup: Set GOOGLE_API_KEY.",
        "",
        "Capability  Support   Note",
        "web_search  built_in",
        "mcp         via_mcp   through our own tools",
        "",
        "Model  $/M in  $/M out  Context    Retires",
        "g-1    0.3     2.5      1,000,000",
        "g-0                                2026-12-01, then g-1",
        "g-00                               2025-12-01",
    ]


def test_a_backend_that_is_not_ready_says_why_and_the_remedy(terminal: Terminal):
    row = UNREADY | {"remedy": "Set OPENAI_API_KEY."}
    ended = terminal.run(operators(backends=[row]), "backends", "openai")
    assert ended.out.splitlines() == [
        "Backend: openai",
        "Ready: no: OPENAI_API_KEY is not set",
        "Remedy: Set OPENAI_API_KEY.",
    ]


def test_backends_json_is_what_the_tool_returns(terminal: Terminal):
    ended = terminal.run(operators(backends=[READY]), "backends", "--json")
    assert json.loads(ended.out)["backends"] == [READY]


def test_on_a_screen_long_reasons_are_wrapped(terminal: Terminal):
    ended = terminal.look(operators(backends=[UNREADY | {"why": "because " * 30}]), "backends")
    assert ended.out.count("because") == 30
    assert all(len(line) <= 80 for line in re.sub(r"\x1b\[[\d;]*m", "", ended.out).splitlines())


# runs


def test_runs_list_has_a_row_for_each_run(terminal: Terminal, kept: Kept):
    assert terminal.run(kept, "runs", "list").out.startswith("There are no runs yet.")
    terminal.run(kept, "ask", "What is\n2 + 2?")
    ended = terminal.run(kept, "runs", "list")
    head, row = ended.out.splitlines()
    assert head.split() == ["Run", "State", "Started", "Took", "Team", "Question"]
    assert re.fullmatch(r"\S+ +completed +\d{4}-\d\d-\d\d \d\d:\d\d +0 s +test +What is 2 \+ 2\?", row)


def test_runs_list_json_is_data(terminal: Terminal, kept: Kept):
    terminal.run(kept, "ask", "2 + 2?")
    (row,) = json.loads(terminal.run(kept, "runs", "list", "--json", "--limit", "1").out)
    assert row.keys() == {"run_id", "status", "team", "question", "started", "ended"}


def test_runs_show_tells_the_answer_and_how_it_came_about(terminal: Terminal, kept: Kept):
    terminal.run(kept, "ask", "2 + 2?")
    ended = terminal.run(kept, "runs", "show")
    assert ended.code == 0
    assert ended.out.startswith("5\n\nb's answer (by vote: b 2, a 1)\n")


def test_runs_show_answers_is_the_whole_report(terminal: Terminal, kept: Kept):
    run_id = _asked(terminal, kept)
    report = terminal.run(kept, "runs", "show", run_id, "--answers").out
    assert report.startswith(f"# Run {run_id}\n")
    assert "it is odd" in report


def test_runs_show_jsonl_is_the_log(terminal: Terminal, kept: Kept):
    run_id = _asked(terminal, kept, "2 + 2? \u202e\U000e0041\x7f数")
    lines = terminal.run(kept, "runs", "show", run_id, "--jsonl").out.splitlines()
    assert "\\u202e\\udb40\\udc41\\u007f数" in lines[0]
    records = [json.loads(line) for line in lines]
    assert records[0]["body"]["question"] == "2 + 2? \u202e\U000e0041\x7f数"
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert records[-1]["kind"] == "Finished"


def test_runs_show_of_a_damaged_run_tells_what_can_be_read_and_ends_in_one(terminal: Terminal, kept: Kept):
    run_id = _asked(terminal, kept)
    (file,) = kept.folder.glob("*.db")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE records SET body = body || ' ' WHERE seq = 3")
    ended = terminal.run(kept, "runs", "show", run_id, "--answers")
    assert ended.code == 1
    assert ended.out.startswith(f"# Run {run_id}\n")
    assert "record 3 in the journal is damaged" in ended.err


def test_runs_show_follow_tells_what_happens_until_the_run_is_over(terminal: Terminal, kept: Kept):
    run_id = _asked(terminal, kept)
    ended = terminal.run(kept, "runs", "show", run_id, "--follow")
    assert "a answered (1/3)" in ended.err
    assert "completed: b's answer (by vote)" in ended.err
    assert ended.out.startswith("5\n")


@pytest.mark.anyio
async def test_a_run_in_motion_elsewhere_can_be_looked_at_and_stopped(terminal: Terminal, tmp_path: Path):
    team = Kept({"a": ["answer: 4"], "b": [After(anyio.Event(), "answer: 5")]}, folder=tmp_path)
    other = Kept({}, folder=tmp_path)
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        handle = await runs.start(Ask(question="2 + 2?"))
        await team.answering.wait()
        shown = await anyio.to_thread.run_sync(terminal.run, other, "runs", "show")
        stopped = await anyio.to_thread.run_sync(terminal.run, other, "runs", "cancel", handle.run_id)
        assert shown.out.startswith("Running")
        assert stopped.out == (
            f"Run {handle.run_id} is cancelled. What it has: massgen-mcp runs show {handle.run_id}\n"
        )


@pytest.mark.anyio
async def test_a_run_in_motion_elsewhere_can_be_followed_to_its_end(terminal: Terminal, tmp_path: Path):
    held = anyio.Event()
    team = Kept({"a": ["answer: 4"], "b": [After(held, "answer: 4")]}, folder=tmp_path)
    other = Kept({}, folder=tmp_path)
    followed: list[Ended] = []

    async def follow() -> None:
        followed.append(await anyio.to_thread.run_sync(terminal.run, other, "runs", "show", "--follow"))

    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        handle = await runs.start(Ask(question="2 + 2?"))
        await team.answering.wait()
        async with anyio.create_task_group() as watching:
            watching.start_soon(follow)
            assert await anyio.to_thread.run_sync(other.found.wait, 10)
            held.set()
            await handle.wait()
    assert re.search(r"^a answered \(1/2\)", followed[0].err, re.MULTILINE)
    assert "completed: a's answer (the answers agree)" in followed[0].err
    assert followed[0].out.startswith("4\n")


def test_cancelling_a_run_that_is_over_says_so(terminal: Terminal, kept: Kept):
    run_id = _asked(terminal, kept)
    ended = terminal.run(kept, "runs", "cancel", run_id)
    assert (ended.code, ended.out) == (0, f"Run {run_id} was over already: completed.\n")


def test_runs_show_of_a_run_without_an_answer_says_why(terminal: Terminal, tmp_path: Path):
    team = Kept({"a": [BackendError("Agent 'a': no key.", kind="auth")]}, folder=tmp_path)
    terminal.run(team, "ask", "2 + 2?")
    assert "Agent 'a': no key." in terminal.run(team, "runs", "show").out


def test_runs_prune_deletes_what_is_old_enough(terminal: Terminal, kept: Kept):
    run_id = _asked(terminal, kept)
    assert terminal.run(kept, "runs", "prune").out == ""
    ended = terminal.run(kept, "runs", "prune", "--days", "0")
    assert ended.out == f"{run_id}\n"
    assert ended.err == "Runs deleted that were over for 0 days: 1.\n"


@pytest.mark.parametrize(
    "argv", [["show", "nope"], ["show", "nope", "--jsonl"], ["cancel", "nope"], ["show"]]
)
def test_an_unknown_run_is_one(terminal: Terminal, kept: Kept, argv: list[str]):
    ended = terminal.run(kept, "runs", *argv)
    assert (ended.code, ended.out) == (1, "")
    assert "There " in ended.err


# trust and serve


@pytest.mark.parametrize("named", ["project", "project/.massgen"])
def test_trust_lists_the_files_it_covers(
    terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str], named: str
):
    folder = tmp_path / "project" / ".massgen"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("agents: []")
    environ = {"MASSGEN_MCP_STATE_DIR": str(tmp_path / "state")}
    assert main(["trust", str(tmp_path / named)], environ=environ) == 0
    out, err = capsys.readouterr()
    assert out == f"{folder / 'mine.yaml'}\n"
    assert str(folder.parent) in err


def test_a_folder_that_is_not_there_cant_be_trusted(terminal: Terminal, tmp_path: Path):
    ended = terminal.run(scripted_team(), "trust", str(tmp_path / "none"))
    assert (ended.code, ended.err) == (1, f"massgen-mcp: There is no folder {tmp_path / 'none'}.\n")


def test_there_is_nothing_to_trust_in_a_folder_without_teams(terminal: Terminal, tmp_path: Path):
    ended = terminal.run(operators(), "trust", str(tmp_path))
    assert ended.code == 1
    assert "there is no folder .massgen in it" in ended.err


# Helpers.


def _asked(terminal: Terminal, team: ScriptedTeam, question: str = "2 + 2?") -> str:
    return json.loads(terminal.run(team, "ask", "--json", question).out)["run_id"]
