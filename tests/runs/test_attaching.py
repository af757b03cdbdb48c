"""Who asks the same again joins the run at work on it, or gets the answer that nobody has collected yet."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import Client

from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import BackendError, JournalError
from massgen_mcp.journal import MemoryJournal, open_journal
from massgen_mcp.runs import Ask, User
from massgen_mcp.server.app import build_server
from tests.server.hosts import started
from tests.server.peers import connected
from tests.server.shown import data
from tests.teams import After, ScriptedTeam, scripted_team
from tests.working import agent, answer, host

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def ask(client: Client, **arguments: Any) -> dict[str, Any]:
    return data(await client.call_tool("ask_team", {"question": "?", **arguments}))


async def over(team: ScriptedTeam, run_id: str) -> None:
    """The run has ended, and nobody was told."""
    assert team.runs is not None
    handle = team.runs.live(run_id)
    assert handle is not None
    with anyio.fail_after(10):
        await handle.wait()


@asynccontextmanager
async def uncollected(team: ScriptedTeam, **arguments: Any) -> AsyncGenerator[tuple[Client, str]]:
    """A client, and a run of it that has ended without anybody having its answer."""
    async with Client(build_server(team)) as client:
        first = await ask(client, wait_seconds=0, **arguments)
        assert first["status"] == "running"
        await over(team, first["run_id"])
        yield client, first["run_id"]


@pytest.fixture(params=["kept", "off"])
def journalled(request: pytest.FixtureRequest) -> bool:
    return request.param == "kept"


async def test_those_who_ask_the_same_at_once_share_one_run(*, journalled: bool):
    go = anyio.Event()
    team = ScriptedTeam({"a": [After(go, "answer: 4")]}, journalled=journalled)
    found: list[dict[str, Any]] = []
    waiting: set[int] = set()
    async with Client(build_server(team)) as client, anyio.create_task_group() as tasks:

        async def one(number: int) -> None:
            async def hear(progress: float, total: float | None, message: str | None) -> None:
                del progress, total, message
                await anyio.lowlevel.checkpoint()
                waiting.add(number)
                if len(waiting) == 5:
                    go.set()

            reply = await client.call_tool("ask_team", {"question": "q"}, progress_callback=hear)
            found.append(data(reply))

        for number in range(5):
            tasks.start_soon(one, number)
    assert len({row["run_id"] for row in found}) == 1
    assert sorted(row.get("attached", False) for row in found) == [False, True, True, True, True]
    assert all(row["answer"] == "4" for row in found)
    assert len(team.asked) == 1


async def test_an_answer_nobody_has_collected_is_returned_once_and_then_asked_for_anew(*, journalled: bool):
    team = ScriptedTeam({"a": ["answer: 4"]}, journalled=journalled)
    async with uncollected(team) as (client, run_id):
        second = await ask(client)
        third = await ask(client)
        assert (second["run_id"], second["attached"], second["answer"]) == (run_id, True, "4")
        assert third["run_id"] != run_id
    assert "attached" not in third
    assert len(team.asked) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"question": "!"},
        {"context": "more"},
        {"team": "test"},
        {"agents": ["a"]},
        {"strategy": "vote"},
    ],
    ids=["question", "context", "team", "agents", "strategy"],
)
async def test_what_differs_is_another_question(other: dict[str, Any]):
    team = scripted_team(a=["answer: 4"], b=["answer: 4"])
    async with uncollected(team) as (client, run_id):
        assert (await ask(client, **other))["run_id"] != run_id


async def test_another_budget_wait_or_detail_is_the_same_question():
    async with uncollected(scripted_team(a=["answer: 4"])) as (client, run_id):
        found = await ask(client, budget={"usd": 0.5}, detail="votes", wait_seconds=5)
        assert (found["run_id"], found["attached"]) == (run_id, True)


async def test_the_order_of_context_and_question_is_not_mixed_up():
    async with uncollected(scripted_team(a=["answer: 4"]), context="b") as (client, run_id):
        assert (await ask(client, question="?b"))["run_id"] != run_id


async def test_files_count_by_their_content(tmp_path: Path):
    async with host(tmp_path, agent("a", answer("4"))) as client:
        (tmp_path / "project" / "notes.txt").write_text("one", encoding="utf-8")
        arguments = {"question": "?", "team": "mine", "files": ["notes.txt"]}
        first = await ask(client, wait_seconds=0, **arguments)
        again = await ask(client, **arguments, wait_seconds=0)
        (tmp_path / "project" / "notes.txt").write_text("two", encoding="utf-8")
        changed = await ask(client, **arguments)
    assert again["run_id"] == first["run_id"]
    assert changed["run_id"] != first["run_id"]


async def test_the_same_words_in_another_project_are_another_question(tmp_path: Path):
    async with host(tmp_path, agent("a", answer("4"))) as client:
        first = await ask(client, question="Any bug here?", team="mine", wait_seconds=0)
        (tmp_path / "project").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "project").mkdir()
    place = tmp_path / "elsewhere"
    for name in ("state", "home", "teams"):
        (place / name).symlink_to(tmp_path / name)
    async with host(place, agent("a", answer("4"))) as client:
        rows = data(await client.call_tool("get_run", {}))["runs"]
        assert [row["run_id"] for row in rows] == [first["run_id"]], "it is the same state folder"
        second = await ask(client, question="Any bug here?", team="mine")
    assert second["run_id"] != first["run_id"]
    assert "attached" not in second


@pytest.mark.parametrize("detail", [None, "summary", "answers", "votes", "files", "transcript"])
async def test_looking_at_a_finished_run_in_any_detail_delivers_it(detail: str | None):
    async with uncollected(scripted_team(a=["answer: 4"])) as (client, run_id):
        more = {} if detail is None else {"detail": detail}
        await client.call_tool("get_run", {"run_id": run_id, **more})
        assert (await ask(client))["run_id"] != run_id


async def test_a_look_while_it_runs_a_list_and_a_failed_look_deliver_nothing():
    go = anyio.Event()
    team = scripted_team(a=[After(go, "answer: 4")])
    async with Client(build_server(team)) as client:
        run_id = (await ask(client, wait_seconds=0))["run_id"]
        await client.call_tool("get_run", {"run_id": run_id})
        go.set()
        await over(team, run_id)
        await client.call_tool("get_run", {})
        bad = await client.call_tool("get_run", {"run_id": run_id, "detail": "answers", "cursor": "zzz"})
        assert bad.is_error
        found = await ask(client)
    assert (found["run_id"], found["attached"]) == (run_id, True)


async def test_cancel_run_hands_over_what_there_is():
    async with uncollected(scripted_team(a=["answer: 4"])) as (client, run_id):
        reply = data(await client.call_tool("cancel_run", {"run_id": run_id}))
        assert (reply["answer"], reply["status"]) == ("4", "completed")
        assert (await ask(client))["run_id"] != run_id


async def test_a_cancelled_call_has_not_delivered():
    go = anyio.Event()
    team = scripted_team(a=[After(go, "answer: 4")])
    async with connected(build_server(team), "2026-07-28") as peer:
        await peer.call(1, "ask_team", question="?")
        await team.answering.wait()
        await peer.cancel(1, "timed out")
        go.set()
        assert team.runs is not None
        await over(team, (await team.runs.rows())[0].run_id)
        await peer.call(2, "ask_team", question="?")
        found = (await peer.reply(2))["result"]["structuredContent"]
    assert (found["attached"], found["answer"]) == (True, "4")
    assert len(team.asked) == 1


@pytest.mark.parametrize("words", ["refused", "broke"])
async def test_a_failed_run_is_asked_anew(words: str):
    class Mended(ScriptedTeam):
        async def resolve(self, ask: Ask) -> Any:
            found = await super().resolve(ask)
            if self.asked:
                self.scripts = {"a": ["answer: 4"]}
            return found

    team = Mended({"a": [BackendError(f"The key was {words}.", kind="auth")]})
    async with uncollected(team) as (client, run_id):
        found = await ask(client)
        assert found["run_id"] != run_id
        assert found["answer"] == "4"


async def test_a_run_that_is_being_cancelled_is_not_joined(*, journalled: bool):
    team = ScriptedTeam({"a": [After(anyio.Event(), "answer: 4")]}, journalled=journalled)
    async with Client(build_server(team)) as client:
        first = await ask(client, wait_seconds=0)
        await team.answering.wait()
        assert team.runs is not None
        handle = team.runs.live(first["run_id"])
        assert handle is not None
        handle.cancel("a test")
        asked = await team.runs.ask(Ask(question="?"))
    assert not asked.attached
    assert asked.run_id != first["run_id"]


async def test_a_cancelled_run_is_not_joined():
    team = scripted_team(a=["answer: 4"], b=[After(anyio.Event(), "answer: 4")])
    async with Client(build_server(team)) as client:
        first = await ask(client, wait_seconds=0)
        await team.answering.wait()
        await client.call_tool("cancel_run", {"run_id": first["run_id"]})
        second = await ask(client, wait_seconds=0)
    assert second["run_id"] != first["run_id"]


async def test_two_users_never_share_a_run(tmp_path: Path, *, journalled: bool):
    team = ScriptedTeam({"a": ["answer: 4"]}, journalled=journalled, journal=await open_journal(tmp_path))
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        views = [runs, runs.for_user(User(name="anna")), runs.for_user(User(name="ben"))]
        asked = [await view.ask(Ask(question="?")) for view in views]
        for one in asked:
            assert not one.attached
            assert one.handle is not None
            await one.handle.wait()
        again = [await view.ask(Ask(question="?")) for view in views]
        assert [one.run_id for one in again] == [one.run_id for one in asked]
        assert all(one.attached for one in again)


async def test_a_disk_that_cannot_note_the_delivery_does_not_keep_the_answer(
    caplog: pytest.LogCaptureFixture,
):
    class Full(MemoryJournal):
        async def deliver(self, run_id: str) -> None:
            raise JournalError(f"No room to note that {run_id} was handed over.")

    team = ScriptedTeam({"a": ["answer: 4"]}, journal=Full())
    async with Client(build_server(team)) as client:
        first, second = await ask(client), await ask(client)
    assert first["answer"] == second["answer"] == "4"
    assert first["run_id"] != second["run_id"], "this process knows it all the same"
    assert "No room to note" in caplog.text


# Other processes on the same state folder.


@asynccontextmanager
async def two(
    first: ScriptedTeam, second: ScriptedTeam, state: Path
) -> AsyncGenerator[tuple[Client, Client]]:
    """Clients of two servers that share nothing but a state folder."""
    first.journal, second.journal = await open_journal(state), await open_journal(state)
    async with Client(build_server(first)) as one, Client(build_server(second)) as other:
        yield one, other


async def test_a_run_of_another_process_is_joined_and_watched(tmp_path: Path):
    go, heard = anyio.Event(), list[tuple[float, str]]()
    here, there = scripted_team(a=[After(go, "answer: 4")]), scripted_team(a=["answer: 5"])

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message or ""))
        go.set()

    async with two(here, there, tmp_path) as (client, other):
        first = await ask(client, wait_seconds=0)
        reply = await other.call_tool("ask_team", {"question": "?"}, progress_callback=hear)
        found = data(reply)
    assert (found["run_id"], found["attached"], found["answer"]) == (first["run_id"], True, "4")
    assert there.asked == []
    assert heard
    assert heard[0][1]


async def test_an_answer_of_another_process_is_returned_once(tmp_path: Path):
    here, there = scripted_team(a=["answer: 4"]), scripted_team(a=["answer: 5"])
    async with two(here, there, tmp_path) as (client, other):
        first = await ask(client, wait_seconds=0)
        await over(here, first["run_id"])
        second = await ask(other)
        assert (second["run_id"], second["attached"], second["answer"]) == (first["run_id"], True, "4")
        third = await ask(client)
        assert third["run_id"] != first["run_id"], "it was delivered there"


async def test_a_wait_for_another_processs_run_ends_in_time_with_how_far_it_is(tmp_path: Path):
    here, there = scripted_team(a=[After(anyio.Event(), "answer: 4")]), scripted_team(a=["answer: 5"])
    async with two(here, there, tmp_path) as (client, other):
        first = await ask(client, wait_seconds=0)
        for arguments in ({"wait_seconds": 0}, {"wait_seconds": 0.3}):
            found = await ask(other, **arguments)
            assert (found["run_id"], found["status"]) == (first["run_id"], "running")
            assert found["next"] == f'get_run(run_id="{first["run_id"]}", wait_seconds=45)'


async def test_a_run_that_another_process_wants_stopped_is_not_joined(tmp_path: Path):
    here, there = scripted_team(a=[After(anyio.Event(), "answer: 4")]), scripted_team(a=["answer: 5"])
    async with two(here, there, tmp_path) as (client, _):
        first = await ask(client, wait_seconds=0)
        assert there.journal is not None
        await there.journal.request_cancel(first["run_id"], "a test")
        assert (await ask(client, wait_seconds=0))["run_id"] != first["run_id"]


async def test_a_silent_run_of_another_process_is_reported_every_ten_seconds():
    clock, go = ScriptedClock(), anyio.Event()
    journal = MemoryJournal(clock=clock)
    here = ScriptedTeam({"a": [After(go, "answer: 4")]}, clock=clock, journal=journal)
    there = ScriptedTeam({"a": ["answer: 5"]}, clock=clock, journal=journal)
    async with (
        Client(build_server(here, clock=clock)) as client,
        connected(build_server(there, clock=clock), "2026-07-28", name="claude-code") as peer,
    ):
        await ask(client, wait_seconds=0)
        await here.answering.wait()
        await peer.call(1, "ask_team", question="?", token=7)
        await peer.told(1)
        for _ in range(35 * 4):
            await anyio.wait_all_tasks_blocked()
            await clock.advance(0.25)
        await peer.told(4)
        go.set()
        await over(here, (await journal.rows())[0].run_id)
        while 1 not in peer.replies:
            await anyio.wait_all_tasks_blocked()
            await clock.advance(0.25)
    numbers = [note["progress"] for note in peer.progress]
    assert numbers == sorted(set(numbers))
    assert 4 <= len(numbers) <= 6
    assert all(note["message"] for note in peer.progress)
    assert peer.replies[1]["result"]["structuredContent"]["answer"] == "4"


async def test_a_damaged_run_of_another_process_is_handed_over_as_far_as_it_can_be_read(tmp_path: Path):
    here, there = scripted_team(a=["answer: 4"]), scripted_team(a=["answer: 5"])
    async with two(here, there, tmp_path) as (client, other):
        first = await ask(client, wait_seconds=0)
        await over(here, first["run_id"])
        damage(tmp_path, first["run_id"], seq=3)
        for arguments in ({}, {"wait_seconds": 5}):
            reply = await other.call_tool("get_run", {"run_id": first["run_id"], **arguments})
            assert not reply.is_error, reply
            assert any("damaged" in words or "record 3" in words for words in data(reply)["warnings"])


def damage(state: Path, run_id: str, *, seq: int) -> None:
    import sqlite3  # noqa: PLC0415 - one test breaks a journal

    (file,) = state.glob("*.db")
    with sqlite3.connect(file) as connection:
        query = "SELECT number FROM runs WHERE run_id = ?"
        (number,) = connection.execute(query, (run_id,)).fetchone()
        connection.execute("UPDATE records SET body = '{}' WHERE seq = ? AND run = ?", (seq, number))
    connection.close()


@pytest.mark.no_cover  # the tests above take the same ways in one process
def test_a_real_process_joins_anothers_run_and_takes_it_up_when_that_one_is_killed(tmp_path: Path):
    state = {"MASSGEN_MCP_STATE_DIR": str(tmp_path / "state")}
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    with (
        started(["-m", "tests.server.program", "slow"], places[0], environ=state) as one,
        started(["-m", "tests.server.program", "quick"], places[1], environ=state) as other,
    ):
        one.shake_hands()
        one.begin(1, "ask_team", question="?", wait_seconds=0)
        first = one.reply(1)["result"]["structuredContent"]
        other.shake_hands()
        other.begin(1, "ask_team", question="?")
        assert other.read()["method"] == "notifications/progress"
        one.process.kill()
        left = other.reply(1)["result"]["structuredContent"]
        assert (left["run_id"], left["status"], left["attached"]) == (first["run_id"], "interrupted", True)
        assert left["next"] == f'ask_team(question="", continue_run="{first["run_id"]}")'
        other.begin(2, "ask_team", question="", continue_run=first["run_id"])
        found = other.reply(2)["result"]["structuredContent"]
    assert (found["run_id"], found["status"], found["answer"]) == (first["run_id"], "completed", "4")
    assert "Traceback" not in other.errors


async def test_who_asks_again_what_was_interrupted_hears_of_the_run_that_can_be_taken_up(tmp_path: Path):
    run_ids: list[str] = []
    team = scripted_team(a=["answer: 4"], b=[After(anyio.Event(), "answer: 4")])
    team.journal = await open_journal(tmp_path)
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        run_ids.append((await runs.start(Ask(question="q"))).run_id)
        await team.answering.wait()
        tasks.cancel_scope.cancel()
    again = replace(scripted_team(a=["answer: 4"], b=["answer: 4"]), _seeds=itertools.count(9))
    again.journal = await open_journal(tmp_path)
    warnings: list[str] = []
    async with anyio.create_task_group() as tasks, again(tasks) as runs:
        handle = (await runs.ask(Ask(question="q"))).handle
        assert handle is not None
        warnings += (await handle.wait()).warnings
        run_ids.append(handle.run_id)
    first, second = run_ids
    assert first != second
    assert f'ask_team(question="", continue_run="{first}")' in " ".join(warnings)
