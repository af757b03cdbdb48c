"""`runs resume` and `ask --continue`: a person goes on with a run, and reads why one can't."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
import yaml

from massgen_mcp.cli import main
from massgen_mcp.errors import JournalError, RequestRefused
from massgen_mcp.journal import Journal, open_journal
from massgen_mcp.runs import Ask, ResolvedTeam, World
from massgen_mcp.runs.open import open_runs
from massgen_mcp.server.opening import resumes
from tests.cli.terminal import Ended, Terminal
from tests.http.test_http_process import started as started_http
from tests.server.hosts import started
from tests.teams import After, Script, ScriptedTeam
from tests.working import agent, answer, call

pytestmark = pytest.mark.timeout(60)

SEEDS = itertools.count()
HEARS: Mapping[str, Script] = {"a": ["vote: 4"], "b": ["answer: 4"]}


@dataclass
class Kept(ScriptedTeam):
    """A team whose journal is on disk, as another process would find it."""

    folder: Path = field(default_factory=Path)
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    refusal: str = ""

    def world(self) -> World:
        return replace(super().world(), random=lambda: Random(next(SEEDS)))

    async def _open_journal(self) -> Journal:
        self.journal = await open_journal(self.folder, clock=self.clock)
        return self.journal

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        if self.refusal:
            raise RequestRefused(self.refusal)
        return replace(await super().resolve(ask), config=self.config)


def left_behind(folder: Path, question: str = "2 + 2?", *, answered: bool = True, **more: Any) -> str:
    """An interrupted run: `a` has answered, `b` was being asked."""

    found: list[str] = []

    async def begin() -> None:
        never = anyio.Event()
        first = "answer: 4\nfour" if answered else After(never, "")
        team = Kept({"a": [first], "b": [After(never, "")]}, folder=folder, **more)
        async with anyio.create_task_group() as tasks, team(tasks) as runs:
            handle = await runs.start(Ask(question=question))
            wanted = "AnswerGiven" if answered else "CallStarted"
            with anyio.fail_after(10):
                journal = await runs.journal()
                while wanted not in [record.kind for record in await journal.read(handle.run_id)]:  # noqa: ASYNC110 - another process would look like this, too
                    await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()
            found.append(handle.run_id)

    anyio.run(begin)
    return found[0]


@pytest.fixture
def left(tmp_path: Path) -> str:
    return left_behind(tmp_path)


@pytest.fixture
def team(tmp_path: Path) -> Kept:
    return Kept(HEARS, folder=tmp_path)


# Going on.


@pytest.mark.parametrize("which", ["named", "latest"])
def test_an_interrupted_run_is_taken_up_and_its_answer_shown(
    terminal: Terminal, team: Kept, left: str, which: str
):
    ended = terminal.run(team, "runs", "resume", *([left] if which == "named" else []))
    assert (ended.code, ended.out) == (0, "4\nfour\n")
    assert re.search(r"b answered \(2/2\)", ended.err), ended.err
    assert "a answered" not in ended.err, "that was told before"
    assert "Warning: It was interrupted and taken up again; what was paid for before was used." in ended.err
    assert [name for name, _ in team.asked] == ["b"]


def test_as_json_it_is_the_tools_result(terminal: Terminal, team: Kept, left: str):
    ended = terminal.run(team, "runs", "resume", "--json", left)
    found = json.loads(ended.out)
    assert (found["run_id"], found["status"]) == (left, "completed")
    assert found["usage"]["lost"]["requests"] == 1


def test_the_list_and_the_run_itself_say_how_to_go_on(terminal: Terminal, team: Kept, left: str):
    listed = terminal.run(team, "runs", "list")
    assert left in listed.out
    assert listed.err == "Interrupted runs go on where they stopped: massgen-mcp runs resume RUN_ID\n"
    shown = terminal.run(team, "runs", "show", left).out
    assert f"`massgen-mcp runs resume {left}`" in shown
    assert "ask_team" not in shown
    assert "this is the best answer so far." in shown.lower()
    terminal.run(team, "runs", "resume")
    assert terminal.run(team, "runs", "list").err == ""


def test_the_latest_interrupted_run_is_meant_although_others_came_after_it(
    terminal: Terminal, team: Kept, left: str
):
    terminal.run(Kept({"a": ["answer: 1"]}, folder=team.folder), "ask", "1?")
    assert terminal.run(team, "runs", "resume").out == "4\nfour\n"


def test_a_taken_up_run_counts_as_delivered(terminal: Terminal, team: Kept, left: str):
    terminal.run(team, "runs", "resume", left)

    async def delivered() -> bool:
        journal = await open_journal(team.folder)
        row = await journal.row(left)
        await journal.aclose()
        return row.delivered

    assert anyio.run(delivered)


def test_the_terminal_never_joins_but_counts_as_delivered(terminal: Terminal, tmp_path: Path):
    team = Kept({"a": ["answer: 4"]}, folder=tmp_path)
    for _ in range(2):
        assert terminal.run(team, "ask", "2 + 2?").code == 0
    assert len(team.asked) == 2
    rows = json.loads(terminal.run(team, "runs", "list", "--json").out)
    assert len({row["run_id"] for row in rows}) == 2


# Following up.


def test_a_follow_up_is_of_the_same_team_and_knows_what_was_said(terminal: Terminal, tmp_path: Path):
    team = Kept({"a": ["answer: 4"], "b": ["answer: 4"]}, folder=tmp_path)
    terminal.run(team, "ask", "--model", "b", "2 + 2?")
    (row,) = json.loads(terminal.run(team, "runs", "list", "--json").out)
    ended = terminal.run(team, "ask", "--continue", row["run_id"], "And twice that?")
    assert ended.code == 0, ended.err
    assert [name for name, _ in team.asked] == ["b", "b"]
    assert "2 + 2?" in team.asked[-1][1].messages[1].text


def test_an_interrupted_run_goes_on_with_an_empty_question(terminal: Terminal, team: Kept, left: str):
    ended = terminal.run(team, "ask", "--continue", left, "")
    assert (ended.code, ended.out) == (0, "4\nfour\n")


def test_another_question_follows_up_on_what_an_interrupted_run_has(
    terminal: Terminal, tmp_path: Path, left: str
):
    team = Kept({"a": ["answer: 8"], "b": ["answer: 8"]}, folder=tmp_path)
    assert terminal.run(team, "ask", "--continue", left, "And twice that?").out == "8\n"
    assert "4\nfour" in team.asked[0][1].messages[1].text


def test_a_follow_up_of_nothing_says_so(terminal: Terminal, tmp_path: Path):
    run_id = left_behind(tmp_path, answered=False)
    ended = terminal.run(Kept(HEARS, folder=tmp_path), "ask", "--continue", run_id, "And twice that?")
    assert ended.code == 1
    assert "Ask the whole question anew, without `--continue`. Nothing was spent." in ended.err


# What stands in the way.


@pytest.mark.parametrize("command", [["runs", "resume"], ["ask", "--continue"]], ids=["resume", "continue"])
def test_an_unknown_run_is_one(terminal: Terminal, team: Kept, command: list[str]):
    question = ["And?"] if command[0] == "ask" else []
    ended = terminal.run(team, *command, "20260101-0000-aaaaaa", *question)
    assert ended.code == 1
    assert "There is no run '20260101-0000-aaaaaa'. `massgen-mcp runs list` shows those there" in ended.err
    assert "get_run" not in ended.err


def test_without_an_interrupted_run_there_is_nothing_to_take_up(terminal: Terminal, team: Kept):
    ended = terminal.run(team, "runs", "resume")
    assert (ended.code, ended.out) == (1, "")
    assert "No run was interrupted. `massgen-mcp runs list` shows all there are." in ended.err


def test_a_run_that_is_over_says_where_its_result_is(terminal: Terminal, team: Kept, left: str):
    terminal.run(team, "runs", "resume", left)
    ended = terminal.run(team, "runs", "resume", left)
    assert ended.code == 1
    assert ended.err == (
        f"massgen-mcp: Run {left} is over (completed). `massgen-mcp runs show {left}` shows its result.\n"
    )


def test_a_run_that_lives_elsewhere_says_how_to_wait_for_it(terminal: Terminal, tmp_path: Path):
    state = tmp_path / "state"
    with started(["-m", "tests.server.program", "slow"], tmp_path) as server:
        server.shake_hands()
        server.begin(1, "ask_team", question="?", wait_seconds=0)
        run_id = server.reply(1)["result"]["structuredContent"]["run_id"]
        team = Kept(HEARS, folder=state)
        resumed = terminal.run(team, "runs", "resume", run_id)
        followed = terminal.run(team, "ask", "--continue", run_id, "And?")
        joined = terminal.run(team, "ask", "--continue", run_id, "")
    assert (resumed.code, followed.code, joined.code) == (1, 1, 1)
    assert f"Run {run_id} is driven by process {server.process.pid} on " in resumed.err
    for ended in (resumed, followed, joined):
        assert f"`massgen-mcp runs show {run_id} --follow`" in ended.err, ended.err
        assert "get_run" not in ended.err
    assert team.asked == []


def test_a_team_that_has_changed_says_where(terminal: Terminal, tmp_path: Path):
    before = {"name": "test", "agents": [{"id": "a", "backend": {"model": "one"}}]}
    run_id = left_behind(tmp_path, config=before)
    after = {"name": "test", "agents": [{"id": "a", "backend": {"model": "two"}}]}
    ended = terminal.run(Kept(HEARS, folder=tmp_path, config=after), "runs", "resume", run_id)
    assert ended.code == 1
    assert "the team 'test' is not what it was (agents[0].backend.model changed)" in ended.err
    assert f'massgen-mcp ask --continue {run_id} "QUESTION"' in ended.err
    assert "continue_run" not in ended.err
    assert terminal.run(Kept(HEARS, folder=tmp_path, config=before), "runs", "resume", run_id).code == 0


def test_an_agent_more_or_less_is_a_change_too(terminal: Terminal, tmp_path: Path):
    one, two = ({"agents": [{"id": name} for name in names]} for names in ("ab", "abc"))
    run_id = left_behind(tmp_path, config=one)
    ended = terminal.run(Kept(HEARS, folder=tmp_path, config=two), "runs", "resume", run_id)
    assert "(agents has 3 items instead of 2)" in ended.err


def test_a_team_that_can_not_be_asked_now_says_why(terminal: Terminal, team: Kept, left: str):
    team.refusal = 'Unknown team "mine". Known: test. Call list_backends for what is ready.'
    ended = terminal.run(team, "runs", "resume", left)
    assert ended.code == 1
    assert "`massgen-mcp backends` says what is ready" in ended.err
    team.refusal = ""
    assert terminal.run(team, "runs", "resume", left).code == 0


def test_a_damaged_record_is_named_and_nothing_is_asked(terminal: Terminal, team: Kept, left: str):
    (file,) = team.folder.glob("*.db")
    connection = sqlite3.connect(file)
    connection.execute("UPDATE records SET body = '{}' WHERE seq = 2")
    connection.commit()
    connection.close()
    ended = terminal.run(team, "runs", "resume", left)
    assert ended.code == 1
    assert "damaged" in ended.err
    assert team.asked == []


def test_a_full_disk_is_told_and_the_run_can_go_on_later(terminal: Terminal, team: Kept, left: str):
    class Full(Kept):
        async def _open_journal(self) -> Journal:
            journal = await super()._open_journal()

            async def take_over(run_id: str, *, body: Mapping[str, Any]) -> Any:
                raise JournalError(f"The disk is full: {run_id} can't be written. Make room.")

            journal.take_over = take_over  # type: ignore[method-assign]
            return journal

    ended = terminal.run(Full(HEARS, folder=team.folder), "runs", "resume", left)
    assert (ended.code, ended.err) == (
        1,
        f"massgen-mcp: The disk is full: {left} can't be written. Make room.\n",
    )
    assert terminal.run(team, "runs", "resume", left).code == 0


def test_replies_that_no_longer_fit_leave_the_run_as_it_is_and_say_why(
    terminal: Terminal, tmp_path: Path, left: str
):
    class Otherwise(Kept):
        async def resolve(self, ask: Ask) -> ResolvedTeam:
            found = await super().resolve(ask)
            agents = [replace(one, system_message="You are another.") for one in found.agents]
            return replace(found, agents=tuple(agents))

    team = Otherwise(HEARS, folder=tmp_path)
    ended = terminal.run(team, "runs", "resume", left)
    assert ended.code == 4
    assert left in ended.err
    assert "The process that drove this run is gone" not in ended.err
    assert team.asked == []
    assert terminal.run(Kept(HEARS, folder=tmp_path), "runs", "resume", left).code == 0


# Team files, keys and servers as they are.


@dataclass
class Machine:
    """A machine with a state folder, on which a person types commands."""

    place: Path
    streams: pytest.CaptureFixture[str]
    environ: dict[str, str] = field(default_factory=dict[str, str])
    here: str = "here"

    def write(self, *agents: dict[str, Any], **orchestrator: Any) -> Path:
        file = self.place / "anywhere" / "mine.yaml"
        file.parent.mkdir(exist_ok=True)
        team = {"agents": list(agents), "orchestrator": {"shuffle_seed": 4, **orchestrator}}
        file.write_text(yaml.safe_dump(team), encoding="utf-8")
        return file

    def run(self, *argv: str) -> Ended:
        for name in ("home", self.here):
            (self.place / name).mkdir(exist_ok=True)
        make_runs = partial(
            open_runs,
            home=self.place / "home",
            here=self.place / self.here,
            config_folder=self.place / "config",
        )
        state = str(self.place / "state")
        environ = {"MASSGEN_MCP_STATE_DIR": state, "PATH": "/usr/bin:/bin"} | self.environ
        code = main(argv, make_runs=make_runs, environ=environ)
        out, err = self.streams.readouterr()
        return Ended(code, out, err)

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("runs", "list", "--json").out)
        return found

    def kill_in(self, file: Path, *more: str) -> str:
        """Ask, in a process that is killed while `b` is at work."""
        environ = {"MASSGEN_MCP_STATE_DIR": str(self.place / "state")} | self.environ
        with started(
            ["-m", "massgen_mcp", "ask", *more, "--team", str(file), "?"], self.place, environ=environ
        ) as it:
            # Its answers are known, and its work has begun.
            while "(1/" not in it.errors or not list(self.place.glob("state/runs/*/**/begun")):
                assert it.process.poll() is None, it.errors
                time.sleep(0.02)
            it.process.kill()
        (row,) = self.runs()
        assert row["status"] == "interrupted"
        run_id: str = row["run_id"]
        return run_id

    def until_completed(self, server: subprocess.Popen[Any]) -> None:
        while self.runs()[0]["status"] != "completed":
            assert server.poll() is None
            time.sleep(0.1)


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, capsys)


def slow(name: str, *replies: dict[str, Any]) -> dict[str, Any]:
    """An agent that is at work for long the first time."""
    command = "test -e begun || { touch begun; sleep 60; }"
    return agent(
        name, call("execute_command", command=command), *replies, cwd="work", enable_mcp_command_line=True
    )


def test_a_run_of_a_team_file_that_lies_anywhere_is_followed_up_from_another_folder(machine: Machine):
    file = machine.write(agent("a", answer("4")))
    assert machine.run("ask", "--team", str(file), "2 + 2?").out == "4\n"
    ended = machine.run("ask", "--continue", machine.runs()[0]["run_id"], "And?")
    assert (ended.code, ended.out) == (0, "4\n"), ended.err


def test_a_killed_run_of_a_team_file_is_taken_up_and_its_changes_are_refused(machine: Machine):
    file = machine.write(agent("a", answer("4")), slow("b", answer("4")))
    run_id = machine.kill_in(file)
    machine.write(agent("a", answer("4")), slow("b", answer("4")), slow("c", answer("4")))
    changed = machine.run("runs", "resume", run_id)
    assert changed.code == 1
    assert "the team 'mine' is not what it was (agents has 3 items instead of 2)" in changed.err
    file.rename(file.with_name("moved.yaml"))
    gone = machine.run("runs", "resume", run_id)
    assert gone.code == 1
    assert f'Unknown team "{str(file)[:70]}' in gone.err
    assert "Nothing" in gone.err
    file.with_name("moved.yaml").unlink()
    machine.write(agent("a", answer("4")), slow("b", answer("4")))
    # b's command was begun and may not be repeated: b is told so.
    ended = machine.run("runs", "resume", run_id)
    assert (ended.code, ended.out) == (0, "4\n"), ended.err


def test_a_key_that_is_gone_is_named_and_one_that_is_new_is_no_change(machine: Machine):
    hosted = {"type": "openai", "model": "gpt-5", "base_url": "https://localhost.invalid:9/v1"}
    keyed = {"id": "c", "backend": hosted | {"api_key": "${MY_KEY}"}}
    optional = {"id": "d", "optional": True, "backend": hosted | {"api_key": "${OTHER_KEY}"}}
    file = machine.write(agent("a", answer("4")), slow("b", answer("4")), keyed, optional)
    machine.environ["MY_KEY"] = "sk-for-a-test-only"
    run_id = machine.kill_in(file)
    machine.environ = {"OTHER_KEY": "sk-for-another-test"}
    ended = machine.run("runs", "resume", run_id)
    assert ended.code == 1
    assert "MY_KEY" in ended.err
    assert "not what it was" not in ended.err
    machine.environ["MY_KEY"] = "sk-for-a-test-only"
    ended = machine.run("runs", "resume", run_id)
    assert (ended.code, ended.out) == (0, "4\n"), ended.err


def test_a_run_is_not_taken_up_in_another_project(machine: Machine, tmp_path: Path):
    (tmp_path / "here").mkdir()
    looks = agent("b", call("list_directory", path="project"), answer("4"), cwd="work")
    file = machine.write(slow("a", answer("4")), looks, context_paths=[{"path": ".", "permission": "write"}])
    machine.environ["MASSGEN_MCP_ROOTS"] = str(tmp_path / "here")
    run_id = machine.kill_in(file)
    del machine.environ["MASSGEN_MCP_ROOTS"]
    machine.here = "elsewhere"
    ended = machine.run("runs", "resume", run_id)
    assert ended.code == 1
    assert f"worked with {tmp_path / 'here'}, and here that would be {tmp_path / 'elsewhere'}." in ended.err
    root = str(tmp_path / "here")
    assert machine.run("runs", "resume", "--root", root, run_id).code == 0


def test_a_server_on_pipes_takes_interrupted_runs_up_by_itself_where_it_is_told_to(
    machine: Machine, tmp_path: Path
):
    file = machine.write(agent("a", answer("4")), slow("b", answer("4")))
    run_id = machine.kill_in(file)
    with started(["-m", "massgen_mcp", "serve"], tmp_path, environ=wishing(file, tmp_path)) as server:
        server.shake_hands()
        machine.until_completed(server.process)  # without a call
        reply = server.request(5, "tools/call", name="get_run", arguments={"run_id": run_id})
    assert reply["result"]["structuredContent"]["answer"] == "4"


def test_a_server_on_http_does_so_too(machine: Machine, tmp_path: Path):
    file = machine.write(agent("a", answer("4")), slow("b", answer("4")))
    machine.kill_in(file)
    environ = wishing(file, tmp_path) | {"MASSGEN_MCP_TOKEN": "the-token-of-the-operator"}
    with started_http(("massgen_mcp", "serve", "--http"), tmp_path, **environ) as server:
        machine.until_completed(server.process)


def wishing(file: Path, place: Path) -> dict[str, str]:
    return {
        "MASSGEN_MCP_STATE_DIR": str(place / "state"),
        "MASSGEN_MCP_CONFIG_DIRS": str(file.parent),
        "MASSGEN_MCP_RESUME": "on",
    }


def test_a_server_is_told_so_by_one_word_alone():
    assert resumes({"MASSGEN_MCP_RESUME": " On "})
    assert not any(resumes({"MASSGEN_MCP_RESUME": word}) for word in ("off", "", "1"))
    assert not resumes({})
