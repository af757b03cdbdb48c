"""`massgen-mcp ask`, and what means it."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from massgen_mcp.backends.base import Backend
from massgen_mcp.errors import BackendError, ConfigError, JournalError, Problem, RequestRefused
from massgen_mcp.journal import Journal, open_journal
from massgen_mcp.runs import Allowance, Ask, ResolvedTeam
from massgen_mcp.server.app import build_server
from massgen_mcp.team import AgentSpec
from massgen_mcp.tools.toolset import Toolset
from tests.cli.terminal import Terminal
from tests.teams import After, ScriptedTeam, scripted_team

AGREED = {"a": ["answer: 4"], "b": ["answer: 4"], "c": ["answer: 4."]}


def _prompt(team: ScriptedTeam) -> str:
    return "".join(message.text for message in team.asked[0][1].messages)


def test_the_answer_alone_goes_to_stdout_and_how_it_came_about_to_stderr(terminal: Terminal):
    ended = terminal.run(scripted_team(**AGREED), "ask", "2 + 2?")
    assert ended.code == 0
    assert ended.out == "4\n"
    assert "a's answer (the answers agree: a, b, c)" in ended.err
    assert re.search(r"Team test: 3 agents, 3 requests, [\d,]+ tokens, \$0\.03, 0 s\n", ended.err)
    assert re.search(r"massgen-mcp runs show \S+ --answers\n\Z", ended.err)


def test_progress_is_a_line_for_each_event_without_colour_when_nobody_looks(terminal: Terminal):
    ended = terminal.run(scripted_team(**AGREED), "ask", "2 + 2?")
    assert re.search(r"^[abc] answered \(1/3\)", ended.err, re.MULTILINE)
    assert "\x1b" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("argv", "agent"),
    [
        (["--model", "claude-3-5-sonnet-latest", "Question"], "claude-3-5-sonnet-latest"),
        (["--model", "gemini-2.5-flash", "Question"], "gemini-2.5-flash"),
        (["--model", "gpt-5-nano", "Question"], "gpt-5-nano"),
        (["--backend", "grok", "--model", "grok-3-mini", "Question"], "grok/grok-3-mini"),
    ],
)
def test_the_four_quick_setup_commands_work_without_a_subcommand(
    terminal: Terminal, argv: list[str], agent: str
):
    ended = terminal.run(scripted_team(**{agent: ["answer: yes"]}), *argv)
    assert (ended.code, ended.out) == (0, "yes\n")


def test_a_question_alone_means_ask(terminal: Terminal):
    team = scripted_team(a=["answer: 4"])
    assert terminal.run(team, "2 + 2?").out == "4\n"
    assert "2 + 2?" in _prompt(team)


def test_a_backend_without_a_model_means_its_own_choice(terminal: Terminal):
    assert terminal.run(scripted_team(grok=["answer: 4"]), "ask", "--backend", "grok", "2 + 2?").out == "4\n"


def test_several_models_answer_side_by_side(terminal: Terminal):
    team = scripted_team(a=["answer: 4"], b=["answer: 4"])
    ended = terminal.run(team, "--model", "a", "--model", "b", "2 + 2?")
    assert "2 agents" in ended.err


def test_the_question_or_the_context_is_read_from_stdin(terminal: Terminal):
    one, other = scripted_team(a=["answer: 4"]), scripted_team(a=["answer: 5"])
    terminal.run(one, "ask", "-", stdin="2 + 2?\n")
    terminal.run(other, "ask", "--context", "-", "2 + 3?", stdin="in base 10\n")
    assert "2 + 2?" in _prompt(one)
    assert "2 + 3?" in _prompt(other)
    assert "in base 10" in _prompt(other)


@pytest.mark.parametrize("detail", ["answer", "summary", "votes"])
def test_json_is_the_tools_structured_result(terminal: Terminal, detail: str):
    split = {"a": ["answer: 4", "vote: 5"], "b": ["answer: 5", "vote: 4"], "c": ["answer: 5", "vote: 5"]}
    ended = terminal.run(scripted_team(**split), "ask", "--json", "--detail", detail, "2 + 2?")

    async def tool() -> Any:
        async with Client(build_server(scripted_team(**split))) as client:
            reply = await client.call_tool("ask_team", {"question": "2 + 2?", "detail": detail})
            return reply.structured_content

    typed, called = json.loads(ended.out), anyio.run(tool)
    for result in (typed, called):
        assert result.pop("report").endswith(result.pop("run_id"))
        result.pop("seconds", None)
        for agent in result.get("agents", ()):
            agent.pop("seconds", None)
    assert typed == called
    assert typed["status"] == "completed"
    assert "Every answer" not in ended.err


def test_limits_and_strategy_reach_the_run(terminal: Terminal):
    team = _Remembering(AGREED)
    terminal.run(team, "ask", "--budget", "0.5", "--seconds", "30", "--strategy", "vote", "2 + 2?")
    assert team.ask is not None
    assert team.ask.budget == Allowance(usd=0.5, seconds=30)
    assert team.ask.strategy == "vote"


def test_the_world_is_a_terminals_with_the_named_folders(terminal: Terminal, tmp_path: Path):
    terminal.run(scripted_team(**AGREED), "ask", "--config-dir", str(tmp_path), "2 + 2?")
    assert terminal.made == [("terminal", [tmp_path], terminal.environ)]


def test_a_team_file_may_lie_anywhere(terminal: Terminal, tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.touch()
    team = _Remembering(AGREED)
    terminal.run(team, "ask", "--team", str(file), "2 + 2?")
    assert team.ask is not None
    assert team.ask.team == str(file)
    assert terminal.made[0][1] == (tmp_path,)


def test_votes_are_told_when_asked_for(terminal: Terminal):
    team = scripted_team(
        a=["answer: 4", "vote: 5 because it counts"],
        b=["answer: 5", "vote: 4 because it is even"],
        c=["answer: 6", "vote: 5 because it is odd"],
    )
    ended = terminal.run(team, "ask", "--detail", "votes", "2 + 2?")
    assert "b's answer (by vote: b 2, a 1)" in ended.err
    assert "a differs: 4" in ended.err
    assert "c voted for b: it is odd" in ended.err
    assert "c (c-model): voted, 2 requests" in ended.err


def test_detail_answer_leaves_only_where_the_rest_is(terminal: Terminal):
    ended = terminal.run(scripted_team(**AGREED), "ask", "--detail", "answer", "2 + 2?")
    assert ended.err.splitlines()[-1].startswith("Every answer and vote:")
    assert "Team test" not in ended.err


# Exit codes.


def test_no_answer_is_two_with_each_agents_cause(terminal: Terminal):
    team = scripted_team(a=[BackendError("Agent 'a': no key.", kind="auth")])
    ended = terminal.run(team, "ask", "2 + 2?")
    assert (ended.code, ended.out) == (2, "")
    assert "Agent 'a': no key." in ended.err


def test_a_failed_agent_beside_an_answer_is_still_an_answer(terminal: Terminal):
    team = scripted_team(a=["answer: 4"], b=[BackendError("Agent 'b': no key.", kind="auth")])
    ended = terminal.run(team, "ask", "2 + 2?")
    assert (ended.code, ended.out) == (0, "4\n")
    assert "Warning: b failed: Agent 'b': no key." in ended.err


def test_a_deadline_with_a_partial_answer_is_three(terminal: Terminal):
    team = scripted_team(a=["answer: 4"], b=[After(anyio.Event(), "answer: 5")])
    ended = terminal.run(team, "ask", "--seconds", "0.2", "2 + 2?")
    assert (ended.code, ended.out) == (3, "4\n")
    assert "The time was over; this is the best answer so far." in ended.err


def test_what_the_configuration_refuses_is_one_and_tells_every_problem(terminal: Terminal):
    problems = [
        Problem(path="agents[0].id", line=3, message="twice"),
        Problem(path="agents[1].backend.type", line=9, message="unknown", hint="Did you mean 'gemini'?"),
    ]
    ended = terminal.run(_Refusing(AGREED, refusal=ConfigError(problems, name="mine")), "ask", "2 + 2?")
    assert (ended.code, ended.out) == (1, "")
    assert "agents[0].id (line 3): twice" in ended.err
    assert "agents[1].backend.type (line 9): unknown Did you mean 'gemini'?" in ended.err


def test_a_journal_that_cant_be_used_is_one(terminal: Terminal):
    team = _WithoutJournal(AGREED)
    ended = terminal.run(team, "ask", "2 + 2?")
    assert (ended.code, ended.err) == (1, "massgen-mcp: The disk is full. Nothing was spent.\n")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["ask", ""], "The question is empty"),
        (["ask", "-", "--context", "-"], "Only one of QUESTION and --context"),
        (["ask", "--team", "test", "--model", "a", "q?"], "Give --team, or --model and --backend"),
        (["ask", "--backend", "google", "q?"], "Did you mean 'gemini'?"),
        (["ask", "--backend", "qqqqqq", "q?"], "`massgen-mcp backends` lists them"),
        (["ask", "--team", "nobody", "q?"], 'Unknown team "nobody"'),
        (["ask", "--team", "there/is/none.yaml", "q?"], "/there/is/none.yaml. Known: test."),
        (["ask", "--team", "/", "q?"], "/ is a folder. Name a team file in it."),
    ],
)
def test_what_cant_be_asked_is_one_and_says_why(terminal: Terminal, argv: list[str], words: str):
    team = scripted_team(**AGREED)
    ended = terminal.run(team, *argv)
    assert (ended.code, ended.out) == (1, "")
    assert words in ended.err
    assert ended.err.endswith("Nothing was spent.\n")
    assert not team.asked


def test_a_team_file_that_was_typed_without_its_ending_is_recognised(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "mine.yml").write_text("agents: []", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ended = terminal.run(scripted_team(**AGREED), "ask", "--team", "mine", "q?")
    assert 'Unknown team "mine". Did you mean the file mine.yml? Type it with its ending.' in ended.err


def test_who_names_a_model_is_told_to_set_its_key_and_nothing_of_team_files(terminal: Terminal):
    why = "gpt-5: OPENAI_API_KEY is not set. Set it, or give api_key in the backend block."
    team = _Refusing(AGREED, refusal=RequestRefused(why))
    ended = terminal.run(team, "ask", "--model", "gpt-5", "q?")
    assert ended.err == "massgen-mcp: gpt-5: OPENAI_API_KEY is not set. Set it. Nothing was spent.\n"


# Ctrl-C.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_ctrl_c_stops_the_run_and_shows_the_best_answer_so_far(
    terminal: Terminal, number: signal.Signals
):
    team = _Interrupted({"a": ["answer: 4"], "b": [After(anyio.Event(), "answer: 5")]}, signals=(number,))
    ended = terminal.run(team, "ask", "2 + 2?")
    assert (ended.code, ended.out) == (4, "4\n")
    assert "The run was stopped; this is the best answer so far." in ended.err


def test_the_second_ctrl_c_leaves_the_run(terminal: Terminal):
    team = _Interrupted(
        {"a": ["answer: 4"], "b": [After(anyio.Event(), "answer: 5")]}, signals=(signal.SIGINT, signal.SIGINT)
    )
    ended = terminal.run(team, "ask", "2 + 2?")
    assert (ended.code, ended.out) == (4, "")
    assert "Left it. What it has so far: massgen-mcp runs show " in ended.err


def test_what_a_left_run_had_is_kept_and_shown(terminal: Terminal, tmp_path: Path):
    scripts = {"a": ["answer: 4"], "b": [After(anyio.Event(), "answer: 5")]}
    team = _Interrupted(scripts, signals=(signal.SIGINT, signal.SIGINT), folder=tmp_path)
    left = terminal.run(team, "ask", "2 + 2?").err
    (run_id,) = re.findall(r"runs show (\S+) --answers", left)
    shown = terminal.run(team, "runs", "show", run_id).out
    assert shown.startswith("4\n\n")
    assert "this is the best answer so far." in shown


def test_a_left_run_is_taken_up_by_no_server_by_itself(terminal: Terminal, tmp_path: Path):
    scripts = {"a": ["answer: 4"], "b": [After(anyio.Event(), "answer: 5")]}
    team = _Interrupted(scripts, signals=(signal.SIGINT, signal.SIGINT), folder=tmp_path)
    assert "Left it." in terminal.run(team, "ask", "2 + 2?").err

    async def would_be_taken_up() -> list[str]:
        journal = await open_journal(tmp_path)
        rows = await journal.interrupted(since=0)
        await journal.aclose()
        return [row.run_id for row in rows]

    assert anyio.run(would_be_taken_up) == []


def test_ctrl_c_before_there_is_a_run_is_four(terminal: Terminal):
    ended = terminal.run(_InterruptedEarly(AGREED), "ask", "2 + 2?")
    assert (ended.code, ended.out, ended.err) == (4, "", "massgen-mcp: interrupted.\n")


# What models write.


def test_nothing_a_model_writes_acts_on_the_terminal(terminal: Terminal):
    team = scripted_team(a=["answer: safe\x1b[31m \u202etxet"])
    plain = terminal.run(team, "ask", "2 + 2?")
    data = terminal.run(scripted_team(a=["answer: \x9b2J\u202e"]), "ask", "--json", "2 + 2?")
    assert plain.out == "safe␛[31m [U+202E]txet\n"
    assert json.loads(data.out)["answer"] == "[U+009B]2J[U+202E]"


def test_secrets_are_redacted_from_all_that_is_shown(terminal: Terminal):
    for options in ([], ["--json"]):
        team = scripted_team(a=["answer: the key is correct-horse-battery"])
        team.secrets.add("correct-horse-battery", "KEY")
        assert "the key is [KEY]" in terminal.run(team, "ask", *options, "2 + 2?").out


def test_an_answer_beyond_the_streams_encoding_is_escaped(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    path = tmp_path / "out"
    with path.open("w", encoding="ascii") as narrow, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", narrow)
        code = terminal.run(scripted_team(a=["answer: 数据"]), "ask", "2 + 2?").code
    assert (code, path.read_text(encoding="ascii")) == (0, "\\u6570\\u636e\n")


# On a screen.


def test_on_a_screen_the_run_is_watched_and_the_answer_formatted(terminal: Terminal):
    team = scripted_team(
        a=["answer: **4** [red]as [text](https://example.org)"], b=[BackendError("down", kind="network")]
    )
    ended = terminal.look(team, "ask", "2 + 2?")
    assert ended.code == 0
    assert "**" not in ended.out
    assert "[red]as" in ended.out
    assert "https://example.org" in ended.out
    assert "\x1b]8" not in ended.out  # no hyperlink whose target is hidden
    watched = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", ended.err)
    assert watched.startswith("test · answering 0/2 · 0 s\n  · a  ")
    assert "answered (1/2)" not in watched


def test_no_color_is_honoured_on_a_screen(terminal: Terminal):
    terminal.environ = {**terminal.environ, "NO_COLOR": "1"}
    ended = terminal.look(scripted_team(a=["answer: **4**"]), "ask", "2 + 2?")
    assert not re.search(r"\x1b\[[\d;]*3\d", ended.out + ended.err)


def test_a_dumb_terminal_gets_lines(terminal: Terminal):
    terminal.environ = {"TERM": "dumb"}
    ended = terminal.look(scripted_team(**AGREED), "ask", "2 + 2?")
    assert "answered (1/3)" in ended.err
    assert "\x1b" not in ended.out + ended.err


# Teams with a twist.


class _Remembering(ScriptedTeam):
    """Takes any team's name."""

    ask: Ask | None = None

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        self.ask = ask
        return await super().resolve(Ask(question=ask.question, budget=ask.budget))


@dataclass
class _Refusing(ScriptedTeam):
    refusal: Exception | None = None

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        assert self.refusal is not None, ask
        raise self.refusal


class _InterruptedEarly(ScriptedTeam):
    async def resolve(self, ask: Ask) -> ResolvedTeam:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep(10)
        return await super().resolve(ask)


class _WithoutJournal(ScriptedTeam):
    async def _open_journal(self) -> Journal:
        raise JournalError("The disk is full.")


@dataclass
class _Interrupted(ScriptedTeam):
    """Signals come as soon as there is an answer."""

    signals: tuple[signal.Signals, ...] = ()
    folder: Path | None = None
    """Where the journal is kept; in memory without one."""

    async def _open_journal(self) -> Journal:
        if self.folder is not None:
            self.journal = await open_journal(self.folder, clock=self.clock)
        return await super()._open_journal()

    async def _open_backend(self, spec: AgentSpec, tools: Toolset) -> Backend:
        if spec.id == "b":
            await self._answered()
            for number in self.signals:
                signal.raise_signal(number)
        return await super()._open_backend(spec, tools)

    async def _answered(self) -> None:
        assert self.runs is not None
        handle = self.runs.live((await self.runs.rows(limit=1))[0].run_id)
        assert handle is not None
        with handle.listen() as records, anyio.fail_after(10):
            async for record in records:
                if handle.run.board.answers or record.kind == "AnswerGiven":
                    return
