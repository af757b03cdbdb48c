"""`runs resume` and `ask --continue`: a person goes on with a run, and reads why one can't."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import pytest
import yaml

from massgen_mcp.cli import main
from massgen_mcp.cli.world import MakeRuns
from massgen_mcp.errors import JournalError, RequestRefused
from massgen_mcp.journal import Journal, open_journal
from massgen_mcp.runs import Ask, ResolvedTeam, World
from massgen_mcp.runs.open import open_runs
from massgen_mcp.server.opening import resumes
from tests.cli.terminal import Ended, Terminal
from tests.http.test_http_process import started as started_http
from tests.server.hosts import started
from tests.server.zygote import Forked
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
        f"massgen-mcp: Run {left} is over (completed). `massgen-mcp runs show {left}` shows its result. "
        "Nothing was spent.\n"
    )


@pytest.mark.anyio
async def test_a_run_that_lives_elsewhere_says_how_to_wait_for_it(terminal: Terminal, tmp_path: Path):
    never = anyio.Event()
    busy = Kept({"a": [After(never, "")], "b": [After(never, "")]}, folder=tmp_path)
    team = Kept(HEARS, folder=tmp_path)

    async def typed(*argv: str) -> Ended:
        return await anyio.to_thread.run_sync(terminal.run, team, *argv)

    async with anyio.create_task_group() as tasks, busy(tasks) as runs:
        run_id = (await runs.start(Ask(question="2 + 2?"))).run_id
        resumed = await typed("runs", "resume", run_id)
        followed = await typed("ask", "--continue", run_id, "And?")
        joined = await typed("ask", "--continue", run_id, "")
        assert (resumed.code, followed.code, joined.code) == (1, 1, 1)
        assert f"Run {run_id} is driven by process {os.getpid()} on " in resumed.err
        for ended in (resumed, followed, joined):
            assert f"`massgen-mcp runs show {run_id} --follow`" in ended.err, ended.err
            assert "get_run" not in ended.err
        assert team.asked == []
        tasks.cancel_scope.cancel()


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
        f"massgen-mcp: The disk is full: {left} can't be written. Make room. Nothing was spent.\n",
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
    environ: dict[str, str] = field(default_factory=dict[str, str])
    here: str = "here"

    def write(self, *agents: dict[str, Any], **orchestrator: Any) -> Path:
        file = self.place / "anywhere" / "mine.yaml"
        file.parent.mkdir(exist_ok=True)
        team = {"agents": list(agents), "orchestrator": {"shuffle_seed": 4, **orchestrator}}
        file.write_text(yaml.safe_dump(team), encoding="utf-8")
        return file

    def run(self, *argv: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(argv, make_runs=self.make_runs(), environ=self.variables)
        return Ended(code, out.getvalue(), err.getvalue())

    @property
    def variables(self) -> dict[str, str]:
        return {"MASSGEN_MCP_STATE_DIR": str(self.place / "state"), "PATH": "/usr/bin:/bin"} | self.environ

    def make_runs(self) -> MakeRuns:
        for name in ("home", self.here):
            (self.place / name).mkdir(exist_ok=True)
        return partial(
            open_runs,
            home=self.place / "home",
            here=self.place / self.here,
            config_folder=self.place / "config",
        )

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("runs", "list", "--json").out)
        return found

    def kill_in(self, file: Path) -> str:
        """Ask, in a process that is killed while `b` is at work."""
        command = ["-m", "massgen_mcp", "ask", "--team", str(file), "?"]
        with started(command, self.place, environ=self.variables) as it:
            # Its answers are known, and its work has begun.
            while "(1/" not in it.errors or not self.at_work():
                assert it.process.poll() is None, it.errors
                time.sleep(0.02)
            it.process.kill()
        return self.interrupted()

    def leave(self, file: Path) -> str:
        """Ask, and end in the midst, as at a shutdown."""

        async def begin() -> None:
            make = self.make_runs()
            folders = [file.parent]
            async with (
                anyio.create_task_group() as tasks,
                make(tasks, place="terminal", config_dirs=folders, environ=self.variables) as runs,
            ):
                handle = await runs.start(Ask(question="?", team=str(file)))
                with anyio.fail_after(20):
                    while not handle.run.board.answers or not self.at_work():  # noqa: ASYNC110 - a command tells nobody that it has begun
                        await anyio.sleep(0.005)
                tasks.cancel_scope.cancel()

        anyio.run(begin)
        return self.interrupted()

    def at_work(self) -> bool:
        return bool(list(self.place.glob("state/runs/*/**/begun")))

    def interrupted(self) -> str:
        (row,) = self.runs()
        assert row["status"] == "interrupted"
        run_id: str = row["run_id"]
        return run_id

    def until_completed(self, server: subprocess.Popen[Any] | Forked) -> None:
        while self.runs()[0]["status"] != "completed":
            assert server.poll() is None
            time.sleep(0.1)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@dataclass(frozen=True)
class Killed:
    """A machine on which a run of `a` and `b` was killed, while `b` was at work."""

    machine: Machine
    file: Path
    run_id: str


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Where it happened, its state folder as it was left, and the run. A process is killed once for all."""
    place = tmp_path_factory.mktemp("crash")
    machine = Machine(place)
    file = machine.write(agent("a", answer("4")), slow("b", answer("4")))
    run_id = machine.kill_in(file)
    as_left = place / "as left"
    shutil.copytree(place / "state", as_left, symlinks=True)
    return place, as_left, run_id


@pytest.fixture
def killed(crash: tuple[Path, Path, str]) -> Killed:
    """The crash, as if nobody had looked at it yet: paths in a journal are whole, so it lies where it lay."""
    place, as_left, run_id = crash
    shutil.rmtree(place / "state")
    shutil.copytree(as_left, place / "state", symlinks=True)
    machine = Machine(place)
    return Killed(machine, machine.write(agent("a", answer("4")), slow("b", answer("4"))), run_id)


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


def test_a_killed_run_of_a_team_file_is_taken_up_and_its_changes_are_refused(killed: Killed):
    machine, file, run_id = killed.machine, killed.file, killed.run_id
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
    run_id = machine.leave(file)
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
    run_id = machine.leave(file)
    del machine.environ["MASSGEN_MCP_ROOTS"]
    machine.here = "elsewhere"
    ended = machine.run("runs", "resume", run_id)
    assert ended.code == 1
    assert f"worked with {tmp_path / 'here'}, and here that would be {tmp_path / 'elsewhere'}." in ended.err
    root = str(tmp_path / "here")
    assert machine.run("runs", "resume", "--root", root, run_id).code == 0


def test_a_server_on_pipes_takes_interrupted_runs_up_by_itself_where_it_is_told_to(
    killed: Killed, tmp_path: Path
):
    environ = wishing(killed)
    with started(["-m", "massgen_mcp", "serve"], tmp_path, environ=environ) as server:
        server.shake_hands()
        killed.machine.until_completed(server.process)  # without a call
        reply = server.request(5, "tools/call", name="get_run", arguments={"run_id": killed.run_id})
    assert reply["result"]["structuredContent"]["answer"] == "4"


def test_a_server_on_http_does_so_too(killed: Killed, tmp_path: Path):
    environ = wishing(killed) | {"MASSGEN_MCP_TOKEN": "the-token-of-the-operator"}
    with started_http(("massgen_mcp", "serve", "--http"), tmp_path, **environ) as server:
        killed.machine.until_completed(server.process)


def wishing(killed: Killed) -> dict[str, str]:
    return {
        "MASSGEN_MCP_STATE_DIR": str(killed.machine.place / "state"),
        "MASSGEN_MCP_CONFIG_DIRS": str(killed.file.parent),
        "MASSGEN_MCP_RESUME": "on",
    }


def test_a_server_is_told_so_by_one_word_alone():
    assert resumes({"MASSGEN_MCP_RESUME": " On "})
    assert not any(resumes({"MASSGEN_MCP_RESUME": word}) for word in ("off", "", "1"))
    assert not resumes({})
