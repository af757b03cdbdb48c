"""`continue_run`: an interrupted run goes on, a live one is joined, one that is over is followed up."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from mcp import Client

from massgen_mcp.errors import JournalError, RequestRefused
from massgen_mcp.journal import Journal, open_journal
from massgen_mcp.runs import Ask, ResolvedTeam, User, World
from massgen_mcp.server.app import build_server
from tests.server.shown import data, text
from tests.teams import After, ScriptedTeam as AnyTeam
from tests.working import agent, answer, call, host

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

SEEDS = itertools.count(100)


class ScriptedTeam(AnyTeam):
    """Runs of several servers have names of their own."""

    def world(self) -> World:
        return replace(super().world(), random=lambda: Random(next(SEEDS)))


@asynccontextmanager
async def server(team: ScriptedTeam, state: Path) -> AsyncGenerator[Client]:
    team.journal = await open_journal(state, redact=team.secrets.redact_value)
    async with Client(build_server(team)) as client:
        yield client


async def call_tool(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    reply = await client.call_tool(tool, arguments)
    assert not reply.is_error, text(reply)
    return data(reply)


async def ask(client: Client, question: str = "", **arguments: Any) -> dict[str, Any]:
    return await call_tool(client, "ask_team", question=question, **arguments)


async def refused(client: Client, question: str = "", **arguments: Any) -> str:
    reply = await client.call_tool("ask_team", {"question": question, **arguments})
    assert reply.is_error, data(reply)
    return text(reply)


async def interrupted(state: Path, *, answered: bool = True, **arguments: Any) -> str:
    """A run whose server is gone: `a` has answered, or is being asked like `b`."""
    never = anyio.Event()
    team = ScriptedTeam({"a": ["answer: 4\nfour" if answered else After(never, "")], "b": [After(never, "")]})
    async with server(team, state) as client:
        run_id: str = (await ask(client, "2 + 2?", wait_seconds=0, **arguments))["run_id"]
        wanted = "AnswerGiven" if answered else "CallStarted"
        assert team.journal is not None
        with anyio.fail_after(10):
            while wanted not in [record.kind for record in await team.journal.read(run_id)]:  # noqa: ASYNC110 - another process would look like this, too
                await anyio.sleep(0.005)
    return run_id


def team_after() -> ScriptedTeam:
    """The same team with other things to say: a's answer is in the journal."""
    return ScriptedTeam({"a": ["vote: 4"], "b": ["answer: 4"]})


# An interrupted run.


async def test_a_look_at_an_interrupted_run_says_how_it_goes_on(tmp_path: Path):
    run_id = await interrupted(tmp_path)
    async with server(team_after(), tmp_path) as client:
        reply = await client.call_tool("get_run", {"run_id": run_id})
    found = data(reply)
    assert (found["status"], found["answer"]) == ("interrupted", "4\nfour")
    assert found["next"] == f'ask_team(question="", continue_run="{run_id}")'
    assert found["next"] in text(reply), "hosts that show text alone name it, too"
    assert found["usage"]["lost"]["requests"] == 1


@pytest.mark.parametrize("question", ["", "  ", "2 + 2?"], ids=["empty", "blank", "same"])
async def test_an_interrupted_run_goes_on_where_nothing_new_is_asked(tmp_path: Path, question: str):
    run_id = await interrupted(tmp_path)
    team = team_after()
    async with server(team, tmp_path) as client:
        found = await ask(client, question, continue_run=run_id)
    assert (found["run_id"], found["status"], found["answer"]) == (run_id, "completed", "4\nfour")
    assert [name for name, _ in team.asked] == ["b"], "a's answer was paid for before"
    assert found["usage"]["requests"] == 3, "two with replies, one that was cut off"
    assert found["usage"]["lost"]["requests"] == 1
    assert any("taken up again" in words for words in found["warnings"])


async def test_it_goes_on_with_the_arguments_of_the_first_call_repeated(tmp_path: Path):
    more: dict[str, Any] = {"team": "test", "context": "numbers", "strategy": "vote", "budget": {"usd": 0.5}}
    run_id = await interrupted(tmp_path, **more)
    team = ScriptedTeam({"a": ["vote: 4", "answer: 4"], "b": ["answer: 4", "vote: 4"]})
    async with server(team, tmp_path) as client:
        found = await ask(client, "2 + 2?", continue_run=run_id, **more)
    assert (found["run_id"], found["status"]) == (run_id, "completed"), found


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"agents": ["b"]}, "`agents`"),
        ({"context": "more"}, "`context`"),
        ({"strategy": "vote"}, "`strategy`"),
        ({"team": "other", "context": "more"}, "`team`, `context`"),
    ],
)
async def test_what_it_was_not_asked_with_is_refused_rather_than_dropped(
    tmp_path: Path, more: dict[str, Any], name: str
):
    run_id = await interrupted(tmp_path)
    team = team_after()
    async with server(team, tmp_path) as client:
        words = await refused(client, continue_run=run_id, **more)
    assert f"Run {run_id} was interrupted, and goes on as it was asked. Leave out {name}," in words
    assert words.endswith("Nothing was spent.")
    assert team.asked == []


async def test_another_question_follows_up_on_what_it_has(tmp_path: Path):
    run_id = await interrupted(tmp_path)
    team = ScriptedTeam({"a": ["answer: 8"], "b": ["answer: 8"]})
    async with server(team, tmp_path) as client:
        found = await ask(client, "And twice that?", continue_run=run_id)
        assert found["run_id"] != run_id
        assert (await call_tool(client, "get_run", run_id=run_id))["status"] == "interrupted"
    assert "4\nfour" in team.asked[0][1].messages[1].text


async def test_other_agents_take_its_question_over_with_what_it_has(tmp_path: Path):
    run_id = await interrupted(tmp_path)
    team = ScriptedTeam({"a": [], "b": ["answer: 4"]})
    async with server(team, tmp_path) as client:
        found = await ask(client, "2 + 2?", continue_run=run_id, agents=["b"])
    assert found["run_id"] != run_id
    assert "4\nfour" in team.asked[0][1].messages[1].text


async def test_without_any_answer_there_is_nothing_to_follow_up(tmp_path: Path):
    run_id = await interrupted(tmp_path, answered=False)
    async with server(team_after(), tmp_path) as client:
        words = await refused(client, "And twice that?", continue_run=run_id)
    assert f"Run {run_id} has no answer that could be followed up." in words


async def test_those_who_take_it_up_at_once_share_it(tmp_path: Path):
    run_id, go = await interrupted(tmp_path), anyio.Event()
    team = ScriptedTeam({"a": [], "b": [After(go, "answer: 4")]})
    found: list[dict[str, Any]] = []
    async with server(team, tmp_path) as client, anyio.create_task_group() as tasks:

        async def one() -> None:
            found.append(await ask(client, continue_run=run_id))

        for _ in range(3):
            tasks.start_soon(one)
        await team.answering.wait()
        go.set()
    assert [row["run_id"] for row in found] == [run_id] * 3
    assert len(team.asked) == 1


async def test_two_servers_take_it_up_at_once_and_one_drives_it(tmp_path: Path):
    run_id = await interrupted(tmp_path)
    teams = [team_after(), team_after()]
    found: list[dict[str, Any]] = []

    async def take_up(client: Client) -> None:
        found.append(await ask(client, continue_run=run_id))

    async with (
        server(teams[0], tmp_path) as one,
        server(teams[1], tmp_path) as other,
        anyio.create_task_group() as tasks,
    ):
        for client in (one, other):
            tasks.start_soon(take_up, client)
    assert [(row["run_id"], row["status"], row["answer"]) for row in found] == [
        (run_id, "completed", "4\nfour")
    ] * 2
    assert sum(len(team.asked) for team in teams) == 1


# A live run, and one that is over.


async def test_a_live_run_is_joined_where_nothing_new_is_asked_and_otherwise_refused(tmp_path: Path):
    go = anyio.Event()
    here, there = ScriptedTeam({"a": [After(go, "answer: 4")]}), ScriptedTeam({"a": ["answer: 5"]})
    async with server(here, tmp_path) as client, server(there, tmp_path) as other:
        run_id = (await ask(client, "2 + 2?", wait_seconds=0))["run_id"]
        for peer in (client, other):
            for question in ("", "2 + 2?"):
                found = await ask(peer, question, continue_run=run_id, wait_seconds=0)
                assert (found["run_id"], found["attached"], found["status"]) == (run_id, True, "running")
            words = await refused(peer, "And twice that?", continue_run=run_id)
            assert words == (
                f'Run {run_id} is at work. Wait for it with get_run(run_id="{run_id}", wait_seconds=45), '
                "then ask the follow-up. Nothing was spent."
            )
        go.set()
        found = await ask(other, continue_run=run_id)
    assert found["answer"] == "4"
    assert there.asked == []


async def test_a_finished_run_without_a_question_is_its_result_here_and_elsewhere(tmp_path: Path):
    here, there = ScriptedTeam({"a": ["answer: 4"]}), ScriptedTeam({"a": ["answer: 5"]})
    async with server(here, tmp_path) as client, server(there, tmp_path) as other:
        run_id = (await ask(client, "2 + 2?"))["run_id"]
        for peer in (client, other):
            found = await ask(peer, continue_run=run_id)
            assert (found["run_id"], found["answer"], found["attached"]) == (run_id, "4", True)
    assert (len(here.asked), len(there.asked)) == (1, 0)


async def test_a_finished_run_with_the_same_question_is_asked_again_with_what_was_said(tmp_path: Path):
    team = ScriptedTeam({"a": ["answer: 4"]})
    async with server(team, tmp_path) as client:
        run_id = (await ask(client, "2 + 2?"))["run_id"]
        again = await ask(client, "2 + 2?", continue_run=run_id)
    assert again["run_id"] != run_id
    assert "Earlier in this conversation:" in team.asked[-1][1].messages[1].text


# What stands in the way.


async def test_a_team_that_has_changed_is_refused_with_the_place_and_can_go_on_once_it_is_put_back(
    tmp_path: Path,
):
    slow = call("execute_command", command="sleep 30")
    agents = [
        agent("a", answer("4")),
        agent("b", slow, answer("4"), cwd="work", enable_mcp_command_line=True),
    ]
    async with host(tmp_path, *agents) as client:
        run_id = (await ask(client, "?", team="mine", wait_seconds=0))["run_id"]
        await call_until(client, run_id, "1/2")
    changed = [agents[0], agent("b", answer("4"), model="other")]
    async with host(tmp_path, *changed) as client:
        words = await refused(client, continue_run=run_id)
        assert f"Run {run_id} can't be taken up again: the team 'mine' is not what it was (agents[1]" in words
        assert "Nothing more was spent." in words
        assert (await call_tool(client, "get_run", run_id=run_id))["status"] == "interrupted"
    async with host(tmp_path, agents[0]) as client:
        assert "b can't take part any more" in await refused(client, continue_run=run_id)
        (tmp_path / "teams" / "mine.yaml").unlink()
        assert 'Unknown team "mine"' in await refused(client, continue_run=run_id)


async def call_until(client: Client, run_id: str, done: str) -> None:
    with anyio.fail_after(20):
        while (await call_tool(client, "get_run", run_id=run_id)).get("done") != done:  # noqa: ASYNC110 - as a client has to
            await anyio.sleep(0.02)


async def test_a_run_made_by_other_prompts_is_not_taken_up_but_can_be_followed_up(tmp_path: Path):
    run_id = await interrupted(tmp_path)
    rewrite(tmp_path, run_id, '"prompts":2', '"prompts":0')
    team = ScriptedTeam({"a": ["answer: 8"], "b": ["answer: 8"]})
    async with server(team, tmp_path) as client:
        words = await refused(client, continue_run=run_id)
        assert f"Run {run_id} was made by massgen-mcp" in words
        assert f'continue_run="{run_id}"' in words
        assert team.asked == []
        assert (await ask(client, "And twice that?", continue_run=run_id))["answer"] == "8"


@pytest.mark.parametrize("seq", [1, 3])
async def test_a_damaged_record_is_refused_and_the_run_stays_as_it_is(tmp_path: Path, seq: int):
    run_id = await interrupted(tmp_path)
    spoil(tmp_path, run_id, seq)
    team = team_after()
    async with server(team, tmp_path) as client:
        words = await refused(client, continue_run=run_id)
        assert f"{run_id}" in words
        assert "damaged" in words
    assert team.asked == []


async def test_a_follow_up_of_a_damaged_run_says_so(tmp_path: Path):
    run_id = await interrupted(tmp_path)
    async with server(team_after(), tmp_path) as client:
        await ask(client, continue_run=run_id)
    last = spoil(tmp_path, run_id)
    team = ScriptedTeam({"a": ["answer: 8"], "b": ["answer: 8"]})
    async with server(team, tmp_path) as client:
        found = await ask(client, "And twice that?", continue_run=run_id)
    assert found["answer"] == "8"
    assert any(str(last) in words and "damaged" in words for words in found["warnings"])


def records(state: Path) -> sqlite3.Connection:
    (file,) = state.glob("*.db")
    return sqlite3.connect(file)


def rewrite(state: Path, run_id: str, before: str, after: str) -> None:
    """Another version of the first record, whole."""
    from massgen_mcp.journal.codec import checksum  # noqa: PLC0415 - one test forges a record

    connection = records(state)
    query = (
        "SELECT run, at, body FROM records WHERE seq = 1 AND run = (SELECT number FROM runs WHERE run_id = ?)"
    )
    run, at, body = connection.execute(query, (run_id,)).fetchone()
    assert before in body
    body = body.replace(before, after)
    check = checksum(
        body.encode(), run_id=run_id, seq=1, schema=1, at=at, kind="RunStarted", turn=None, call=None
    )
    connection.execute(
        "UPDATE records SET body = ?, checksum = ? WHERE seq = 1 AND run = ?", (body, check, run)
    )
    connection.commit()
    connection.close()


def spoil(state: Path, run_id: str, seq: int | None = None) -> int:
    """Flip a record, the last one if none is named."""
    connection = records(state)
    (number,) = connection.execute("SELECT number FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if seq is None:
        (seq,) = connection.execute("SELECT max(seq) FROM records WHERE run = ?", (number,)).fetchone()
    connection.execute("UPDATE records SET body = '{}' WHERE seq = ? AND run = ?", (seq, number))
    connection.commit()
    connection.close()
    assert seq is not None
    return seq


# Limits, and whose it is.


async def test_the_limits_of_the_first_call_still_hold(tmp_path: Path):
    run_id = await interrupted(tmp_path, budget={"requests": 2, "usd": 0.5, "seconds": 300})
    team = ScriptedTeam({"a": ["vote: 4"], "b": ["answer: 5\nfive", "vote: 4"]})
    async with server(team, tmp_path) as client:
        found = await ask(client, continue_run=run_id)
    assert (found["status"], found["stopped_by"]) == ("partial", "budget"), "one was lost, one was replied to"
    assert team.asked == []


async def test_the_seconds_that_were_used_before_count(tmp_path: Path):
    run_id = await interrupted(tmp_path, budget={"seconds": 300})
    connection = records(tmp_path)
    connection.close()
    team = ScriptedTeam({"a": [], "b": [After(anyio.Event(), "")]})
    async with server(team, tmp_path) as client:
        await ask(client, continue_run=run_id, wait_seconds=0)
        assert team.runs is not None
        handle = team.runs.live(run_id)
        assert handle is not None
        assert handle.run.spec.limits.seconds == 300
        assert handle.run.seconds > 0


async def test_a_run_taken_up_by_itself_stays_its_users(tmp_path: Path):
    seen: list[str] = []
    never = anyio.Event()
    team = ScriptedTeam({"a": [After(never, "answer: 4")]}, journal=await open_journal(tmp_path))
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        anna = runs.for_user(User(name="anna", teams=("test",)))
        seen.append((await anna.start(Ask(question="?"))).run_id)
        await team.answering.wait()
        tasks.cancel_scope.cancel()
    team = ScriptedTeam({"a": ["answer: 4"]}, journal=await open_journal(tmp_path))
    team.users = {"anna": User(name="anna")}.get
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        await runs.resume_interrupted()
        handle = runs.for_user(User(name="anna")).live(seen[0])
        assert handle is not None
        assert (await handle.wait()).answer == "4"
        assert runs.for_user(User(name="ben")).live(seen[0]) is None
        (row,) = await runs.rows()
        assert (row.user, row.state) == ("anna", "completed")


class TwoTeams(ScriptedTeam):
    """`fast` and `test`; the operator's default is `test`."""

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        found = await super().resolve(replace(ask, team=None))
        name = ask.team or "test"
        if name not in {"fast", "test"}:
            raise RequestRefused(f'Unknown team "{name}". Nothing was spent.')
        return replace(found, name=name, config={"name": name})


async def test_a_run_of_a_users_own_default_team_is_taken_up_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    seen: list[str] = []
    anna = User(name="anna", teams=("fast",))
    team = TwoTeams({"a": [After(anyio.Event(), "answer: 4")]}, journal=await open_journal(tmp_path))
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        seen.append((await runs.for_user(anna).start(Ask(question="?"))).run_id)
        await team.answering.wait()
        tasks.cancel_scope.cancel()
    team = TwoTeams({"a": ["answer: 4"]}, journal=await open_journal(tmp_path))
    team.users = {"anna": anna}.get
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        await runs.resume_interrupted()
        assert "was not taken up" not in caplog.text
        handle = runs.for_user(anna).live(seen[0])
        assert handle is not None
        assert (await handle.wait()).answer == "4"


async def test_one_that_cannot_go_on_does_not_keep_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    bad = await interrupted(tmp_path)
    good = await interrupted(tmp_path)
    spoil(tmp_path, bad, 2)
    team = ScriptedTeam({"a": ["vote: 4"], "b": ["answer: 4"]}, journal=await open_journal(tmp_path))
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        await runs.resume_interrupted()
        handle = runs.live(good)
        assert handle is not None
        assert (await handle.wait()).answer == "4\nfour"
        assert (await runs.journal()) is not None
        assert (await (await runs.journal()).row(bad)).state == "interrupted"
    assert f"run {bad} was not taken up again" in caplog.text


async def test_a_run_that_ends_its_process_each_time_is_left_to_a_person(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run_id = await interrupted(tmp_path)
    for _ in range(3):
        team = ScriptedTeam({"a": [], "b": [After(anyio.Event(), "")]}, journal=await open_journal(tmp_path))
        async with anyio.create_task_group() as tasks, team(tasks) as runs:
            await runs.resume_interrupted()
            assert runs.live(run_id) is not None
            tasks.cancel_scope.cancel()
    async with server(team_after(), tmp_path) as client:
        assert (await call_tool(client, "get_run", run_id=run_id))["status"] == "interrupted"
    team = team_after()
    team.journal = await open_journal(tmp_path)
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        await runs.resume_interrupted()
        assert runs.live(run_id) is None
        assert f"massgen-mcp runs resume {run_id}" in caplog.text
        assert (await (await runs.resume(run_id)).wait()).answer == "4\nfour"


async def test_without_a_journal_nothing_is_taken_up_and_the_log_says_why(caplog: pytest.LogCaptureFixture):
    class NoDisk(ScriptedTeam):
        async def _open_journal(self) -> Journal:
            raise JournalError("The disk is gone.")

    async with anyio.create_task_group() as tasks, NoDisk({"a": []})(tasks) as runs:
        await runs.resume_interrupted()
    assert "no run was taken up again: The disk is gone." in caplog.text


async def test_a_secret_in_an_answer_does_not_keep_its_run_from_going_on(tmp_path: Path):
    never = anyio.Event()
    first = ScriptedTeam(
        {"a": ["answer: hunter2-hunter2", After(never, "")], "b": ["answer: 5", After(never, "")]}
    )
    first.secrets.add("hunter2-hunter2", "DB_PASSWORD")
    async with server(first, tmp_path) as client:
        run_id = (await ask(client, "?", wait_seconds=0))["run_id"]
        with anyio.fail_after(10):
            while len(first.asked) < 4:  # noqa: ASYNC110 - a scripted team tells of its first request alone
                await anyio.sleep(0.005)
    second = ScriptedTeam({"a": ["vote: 5"], "b": ["vote: 5", "answer: 5"]})
    second.secrets.add("hunter2-hunter2", "DB_PASSWORD")
    async with server(second, tmp_path) as client:
        found = await ask(client, continue_run=run_id)
    assert found["status"] == "completed", found
    assert "hunter2" not in str(found)


async def test_files_that_came_with_it_need_not_be_given_again_and_others_are_refused(tmp_path: Path):
    slow = call("execute_command", command="test -e begun || { touch begun; sleep 60; }")
    agents = [
        agent("a", answer("4")),
        agent("b", slow, answer("4"), cwd="work", enable_mcp_command_line=True),
    ]
    note = {"name": "note.txt", "text": "one"}
    async with host(tmp_path, *agents) as client:
        run_id = (await ask(client, "?", team="mine", files=[note], wait_seconds=0))["run_id"]
        await call_until(client, run_id, "1/2")
        with anyio.fail_after(20):
            while not list(tmp_path.glob("state/runs/*/**/begun")):  # noqa: ASYNC110, ASYNC240 - no event tells
                await anyio.sleep(0.02)
    async with host(tmp_path, *agents) as client:
        words = await refused(client, continue_run=run_id, files=[{"name": "note.txt", "text": "two"}])
        assert "Leave out `files`" in words
        found = await ask(client, "?", continue_run=run_id, team="mine", files=[note])
        assert (found["run_id"], found["status"], found["answer"]) == (run_id, "completed", "4")
