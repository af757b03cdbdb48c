"""`get_run` and `cancel_run`: looking at runs, waiting for them, stopping them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client

from massgen_mcp.clock import ScriptedClock
from massgen_mcp.journal import MemoryJournal
from massgen_mcp.server.app import build_server
from tests.server.shown import SPLIT, data, text
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


@asynccontextmanager
async def asked(team: ScriptedTeam, **arguments: Any) -> AsyncGenerator[tuple[Client, str]]:
    """A client that has asked the team, and the run's name."""
    async with Client(build_server(team)) as client:
        result = await client.call_tool("ask_team", {"question": "Which?", **arguments})
        yield client, data(result)["run_id"]


async def test_without_a_run_id_the_latest_runs_come_a_row_each():
    clock = ScriptedClock()
    async with Client(build_server(ScriptedTeam({"a": ["answer: 4"]}, clock=clock))) as client:
        empty = await client.call_tool("get_run", {})
        for question in ("first?", "second?"):
            await client.call_tool("ask_team", {"question": question})
            await clock.advance(60)
        result = await client.call_tool("get_run", {})
    assert text(empty) == "There are no runs yet. ask_team makes one."
    rows = data(result)["runs"]
    assert [row["question"] for row in rows] == ["second?", "first?"]
    assert rows[0]["status"] == "completed"
    assert rows[0]["started"] == "2025-06-15T15:07:40Z"
    assert text(result).splitlines()[0].endswith("completed, test, 2025-06-15T15:07:40Z, 0 s: second?")


async def test_many_runs_come_in_pages():
    clock = ScriptedClock()
    async with Client(build_server(ScriptedTeam({"a": ["answer: 4"]}, clock=clock))) as client:
        for number in range(23):
            await client.call_tool("ask_team", {"question": f"{number}?"})
            await clock.advance(1)
        first = data(await client.call_tool("get_run", {}))
        second = data(await client.call_tool("get_run", {"cursor": first["cursor"]}))
        broken = [
            await client.call_tool("get_run", {"cursor": cursor})
            for cursor in ("soon", "nan", "inf", "-5", "1e300")
        ]
        beyond = await client.call_tool("get_run", {"cursor": "0.5"})
    assert [row["question"] for row in second["runs"]] == ["2?", "1?", "0?"]
    assert "cursor" not in second
    assert all(result.is_error for result in broken)
    assert {text(result).partition(". ")[0] for result in broken} == {"`cursor` is not one of this list"}
    assert text(beyond) == "There are no older runs."


async def test_a_finished_run_is_returned_as_it_was():
    async with asked(ScriptedTeam(SPLIT)) as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id})
    found = data(result)
    assert (found["answer"], found["winner"], found["status"]) == ("5\nfive", "b", "completed")
    assert text(result).startswith("5\nfive\n\n---\ncompleted · b's answer (by vote) · $0.06")


async def test_all_answers_can_be_read():
    async with asked(ScriptedTeam(SPLIT)) as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id, "detail": "answers"})
    answers = data(result)["answers"]
    assert [(row["agent"], row["conclusion"], row["text"]) for row in answers] == [
        ("a", "4", "4\nfour"),
        ("b", "5", "5\nfive"),
        ("c", "6", "6\nsix"),
    ]
    assert f"### {answers[0]['label']} (a)\n\n4\nfour" in text(result)


async def test_votes_come_with_their_reasons():
    async with asked(ScriptedTeam(SPLIT)) as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id, "detail": "votes"})
    ballot = data(result)["ballot"]
    assert ballot == [
        {"voter": "a", "chose": "b", "reason": "it is right"},
        {"voter": "b", "chose": "a", "reason": "it is even"},
        {"voter": "c", "chose": "b"},
    ]
    assert "- b chose a: it is even\n- c chose b" in text(result)


async def test_votes_of_a_run_in_motion_are_those_cast_so_far():
    late = {**SPLIT, "c": ["answer: 6\nsix", After(anyio.Event(), "vote: 5")]}
    async with asked(ScriptedTeam(late), wait_seconds=0.3) as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id, "detail": "votes"})
    found = data(result)
    assert (found["status"], found["phase"], found["done"]) == ("running", "voting", "2/3")
    assert [row["voter"] for row in found["ballot"]] == ["a", "b"]


async def test_without_votes_it_says_so():
    async with asked(scripted_team(a=["answer: 4"], b=["answer: 4"])) as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id, "detail": "votes"})
    assert text(result).startswith("No vote was cast.")


async def test_the_transcript_tells_everything_in_order():
    async with asked(ScriptedTeam(SPLIT), context="a fact") as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id, "detail": "transcript"})
    entries = data(result)["transcript"]
    kinds = [entry["what"] for entry in entries]
    assert kinds[0] == "RunStarted"
    assert kinds[-1] == "Finished"
    assert kinds.count("AnswerGiven") == 3
    assert entries[0]["text"] == "Team test: a, b, c\n\nQuestion:\nWhich?\n\nContext:\na fact"
    assert entries[-1]["text"] == "completed, stopped by: decided, b's answer (ballot)"
    vote = next(entry for entry in entries if entry["what"] == "VoteCast")
    assert vote["text"].startswith("for agent")
    assert vote["text"].endswith(": it is right")
    assert "a-model, 100 tokens in, 10 out, $0.0100" in text(result)


async def test_long_things_come_in_pages_that_lose_nothing():
    long = "4\n" + "".join(f'line {number} \\ "quoted"\n' for number in range(4_000))
    async with asked(scripted_team(a=[f"answer: {long}"], b=["answer: 4"])) as (client, run_id):
        cursor, pages = None, list[dict[str, Any]]()
        while not pages or cursor:
            call = {"run_id": run_id, "detail": "answers", **({"cursor": cursor} if cursor else {})}
            result = await client.call_tool("get_run", call)
            found = data(result)
            assert len(json.dumps(found, ensure_ascii=False)) <= 40_000
            pages.append(found)
            cursor = found.get("cursor")
            if cursor:
                assert found["next"] == f'get_run(run_id="{run_id}", detail="answers", cursor="{cursor}")'
                assert f"There is more: {found['next']}" in text(result)
    parts = [row for found in pages for row in found["answers"]]
    assert len(pages) >= 3
    assert "".join(row["text"] for row in parts if row["agent"] == "a") == long.strip()
    assert [row["text"] for row in parts if row["agent"] == "b"] == ["4"]


@pytest.mark.parametrize("cursor", ["x", "1", "-1.0", "1.0.0", "1.x"])
async def test_a_cursor_of_somebody_else_is_refused(cursor: str):
    async with asked(scripted_team(a=["answer: 4"])) as (client, run_id):
        call = {"run_id": run_id, "detail": "transcript", "cursor": cursor}
        result = await client.call_tool("get_run", call)
    assert result.is_error
    assert text(result).startswith("`cursor` is not one of this run.")


async def test_a_detail_needs_a_run():
    async with Client(build_server(scripted_team())) as client:
        result = await client.call_tool("get_run", {"detail": "answers"})
    assert result.is_error
    assert text(result).startswith("`detail` needs `run_id`.")


@pytest.mark.parametrize(
    "arguments",
    [{"path": "a.txt"}, {"wait_seconds": 5}, {"detail": "files", "path": "a.txt"}],
    ids=json.dumps,
)
async def test_what_is_of_one_run_is_not_passed_over_where_none_is_named(arguments: dict[str, Any]):
    async with Client(build_server(scripted_team())) as client:
        result = await client.call_tool("get_run", arguments)
    assert result.is_error
    assert text(result) == (
        f"{' and '.join(f'`{name}`' for name in arguments)} needs `run_id`. "
        "Call get_run without arguments for the latest runs. Nothing was spent."
    )


async def test_what_is_empty_is_as_if_it_was_not_given():
    async with asked(scripted_team(a=["answer: 4"])) as (client, run_id):
        rows = await client.call_tool("get_run", {"path": "", "cursor": ""})
        run = await client.call_tool("get_run", {"run_id": run_id, "path": "", "cursor": ""})
        call = {"run_id": run_id, "detail": "transcript", "path": "", "cursor": ""}
        transcript = await client.call_tool("get_run", call)
    assert [row["run_id"] for row in data(rows)["runs"]] == [run_id]
    assert data(run)["answer"] == "4"
    assert data(transcript)["transcript"][0]["what"] == "RunStarted"


async def test_what_does_not_go_together_is_said_before_anybody_waits():
    gate = anyio.Event()
    async with asked(scripted_team(a=[After(gate, "answer: 4")]), wait_seconds=0) as (client, run_id):
        call = {"run_id": run_id, "wait_seconds": 50, "detail": "votes", "path": "a.txt"}
        with anyio.fail_after(10):
            result = await client.call_tool("get_run", call)
        gate.set()
    assert result.is_error
    assert text(result).startswith('`path` goes with detail="files"')


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"detail": "votes", "path": "a.txt"}, '`path` goes with detail="files", not with "votes".'),
        ({"cursor": "1.0"}, "`cursor` goes with the detail answers, files or transcript."),
        ({"detail": "votes", "cursor": "1.0"}, "`cursor` goes with the detail answers, files or transcript."),
    ],
    ids=["path", "summary", "votes"],
)
async def test_an_argument_that_a_detail_does_not_have_is_not_passed_over(
    arguments: dict[str, Any], words: str
):
    async with asked(scripted_team(a=["answer: 4"])) as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id, **arguments})
    assert result.is_error
    assert text(result).startswith(words)
    assert text(result).endswith("Nothing was spent.")


async def test_a_run_without_files_says_so_in_both_parts():
    async with asked(scripted_team(a=["answer: 4"])) as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id, "detail": "files"})
    assert data(result) == {"run_id": run_id, "status": "completed", "files": []}
    assert text(result).startswith("The run made no files.\n\n---\ncompleted · a's answer")


@pytest.mark.parametrize("tool", ["get_run", "cancel_run"])
async def test_an_unknown_run_is_answered_with_how_to_find_it(tool: str):
    async with Client(build_server(scripted_team())) as client:
        result = await client.call_tool(tool, {"run_id": "20200101-0000-aaaaaa"})
    assert result.is_error
    assert "20200101-0000-aaaaaa" in text(result)
    assert text(result).endswith("get_run without arguments lists those there are. Nothing was spent.")


async def test_waiting_ends_when_the_run_does():
    go = anyio.Event()
    team = scripted_team(a=[After(go, "answer: 4")])
    found: list[types.CallToolResult] = []
    async with asked(team, wait_seconds=0) as (client, run_id):

        async def wait() -> None:
            found.append(await client.call_tool("get_run", {"run_id": run_id, "wait_seconds": 50}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await team.answering.wait()
            go.set()
    assert data(found[0])["answer"] == "4"


async def test_a_run_that_failed_is_an_error_here_too():
    async with asked(scripted_team(a=[])) as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id})
    assert result.is_error
    assert "The script of a is at its end." in text(result)


async def test_runs_of_another_process_are_read_from_the_journal():
    journal = MemoryJournal()
    async with asked(ScriptedTeam(SPLIT, journal=journal)) as (_, run_id):
        pass
    async with Client(build_server(ScriptedTeam({}, journal=journal))) as client:
        summary = await client.call_tool("get_run", {"run_id": run_id, "wait_seconds": 1})
        answers = await client.call_tool("get_run", {"run_id": run_id, "detail": "answers"})
        report = await client.read_resource(f"massgen://runs/{run_id}")
    assert data(summary)["answer"] == "5\nfive"
    assert len(data(answers)["answers"]) == 3
    (contents,) = report.contents
    assert isinstance(contents, types.TextResourceContents)
    assert contents.text.startswith(f"# Run {run_id}")


async def test_a_run_whose_server_ended_shows_as_interrupted_with_its_answers():
    journal = MemoryJournal()
    team = ScriptedTeam({"a": [After(anyio.Event(), "answer: 4")], "b": ["answer: 5"]}, journal=journal)
    async with asked(team, wait_seconds=0.3) as (_, run_id):
        pass
    async with Client(build_server(ScriptedTeam({}, journal=journal))) as client:
        result = await client.call_tool("get_run", {"run_id": run_id})
    found = data(result)
    assert (found["status"], found["answer"]) == ("interrupted", "5")
    assert "The process that drove this run is gone" in text(result)


async def test_a_team_without_a_journal_can_be_looked_at_while_its_server_lives():
    async with asked(ScriptedTeam(SPLIT, journalled=False)) as (client, run_id):
        result = await client.call_tool("get_run", {"run_id": run_id, "detail": "transcript"})
        rows = await client.call_tool("get_run", {})
    assert data(result)["transcript"][-1]["what"] == "Finished"
    assert data(rows)["runs"] == []


async def test_cancelling_returns_the_best_answer_there_is():
    team = scripted_team(a=["answer: 4"], b=[After(anyio.Event(), "answer: 5")])
    async with asked(team, wait_seconds=0.3) as (client, run_id):
        result = await client.call_tool("cancel_run", {"run_id": run_id})
        again = await client.call_tool("cancel_run", {"run_id": run_id})
    found = data(result)
    assert not result.is_error
    assert (found["answer"], found["stopped_by"]) == ("4", "cancelled")
    assert data(again) == found


async def test_a_run_stopped_by_somebody_else_without_an_answer_is_an_error_for_who_asked():
    team = scripted_team(a=[After(anyio.Event(), "answer: 5")])
    found: list[types.CallToolResult] = []
    async with Client(build_server(team)) as client:

        async def ask() -> None:
            found.append(await client.call_tool("ask_team", {"question": "?"}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await team.answering.wait()
            rows = data(await client.call_tool("get_run", {}))
            stopped = await client.call_tool("cancel_run", {"run_id": rows["runs"][0]["run_id"]})
            assert not stopped.is_error
    assert found[0].is_error
    assert data(found[0])["status"] == "cancelled"
