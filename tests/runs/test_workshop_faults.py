"""Agents that work, where something goes wrong: only what is hit fails, and what was done is told."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client

from tests.confined import alive
from tests.server.shown import data, text
from tests.working import agent, answer, ask, call, calls, host, transcript, vote

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

HOSTILE = str(Path(__file__).parent.parent / "tools" / "hostile.py")


def server(*arguments: str) -> dict[str, Any]:
    return {"name": "box", "command": sys.executable, "args": [HOSTILE, *arguments], "sandbox": "off"}


SERVER = server("run")
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


def command(script: str, **more: Any) -> dict[str, Any]:
    return call("execute_command", command=script, **more)


def worker(name: str, *replies: dict[str, Any], **backend: Any) -> dict[str, Any]:
    return agent(name, *replies, cwd="work", enable_mcp_command_line=True, **backend)


async def begun(client: Client, marker: str) -> str:
    """The id of a run that has started the process of that name."""
    await client.call_tool("ask_team", {"question": "?", "team": "mine", "wait_seconds": 0})
    assert await anyio.to_thread.run_sync(lambda: alive(marker, at_least=1, within=20))
    rows = data(await client.call_tool("get_run", {}))["runs"]
    return rows[0]["run_id"]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"mcp_servers": [SERVER], "disallowed_tools": ["box__none"]}, "'box__none' matches no tool"),
        ({"enable_mcp_command_line": True, "command_line_execution_mode": "docker"}, "docker"),
    ],
)
async def test_an_agent_whose_tools_cannot_be_had_fails_alone(
    tmp_path: Path, wish: dict[str, Any], words: str
):
    unlucky = agent("unlucky", answer("4"), **wish)
    lucky = agent("lucky", call("write_file", path="a", content="b"), answer("4"), cwd="work")
    async with host(tmp_path, unlucky, lucky) as client:
        result = await ask(client)
    assert (result["status"], result["answer"]) == ("partial", "4")
    [warning] = [line for line in result["warnings"] if line.startswith("unlucky failed")]
    assert words in warning.lower() or words in warning
    assert "defect" not in warning


async def test_a_server_that_does_not_start_is_named_and_the_agent_goes_on_without_it(tmp_path: Path):
    entry = {"name": "gone", "command": "/no/such/program", "sandbox": "off"}
    async with host(tmp_path, agent("a", answer("4"), mcp_servers=[entry])) as client:
        result = await ask(client)
    assert result["answer"] == "4"
    assert any("MCP server gone is off" in line for line in result["warnings"])


async def test_a_run_cancelled_while_a_server_starts_ends_at_once_and_leaves_no_process(tmp_path: Path):
    marker = f"starting-{tmp_path.name}"
    slow = agent("a", answer("4"), mcp_servers=[server("hang_at_start", marker)])
    async with host(tmp_path, slow) as client:
        run_id = await begun(client, marker)
        began = time.monotonic()
        stopped = data(await client.call_tool("cancel_run", {"run_id": run_id}))
        assert time.monotonic() - began < 5
    assert stopped["status"] == "cancelled"
    assert not alive(marker)


async def test_a_presenter_cancelled_in_a_command_leaves_no_process_and_its_changes_are_told(tmp_path: Path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.txt").write_text("old\n")
    marker = f"sleeping-{tmp_path.name}"
    script = f"echo new > $PROJECT/a.txt; sh -c 'sleep 60; :' {marker}"
    writer = worker("a", answer("4"), command(script), answer("5"))
    async with host(tmp_path, writer, context_paths=[{"path": ".", "permission": "write"}]) as client:
        run_id = await begun(client, marker)
        stopped = data(await client.call_tool("cancel_run", {"run_id": run_id}))
    assert (stopped["status"], stopped["answer"]) == ("cancelled", "4")
    assert [(row["path"], row["added"], row["removed"]) for row in stopped["changes"]] == [("a.txt", 1, 1)]
    assert not alive(marker)


async def test_time_that_is_over_in_the_middle_of_a_command_ends_the_run_with_what_there_is(tmp_path: Path):
    marker = f"late-{tmp_path.name}"
    quick = worker("quick", answer("4"))
    slow = worker("slow", command(f"sh -c 'sleep 60; :' {marker}"), answer("5"))
    async with host(tmp_path, quick, slow) as client:
        began = time.monotonic()
        result = await ask(client, budget={"seconds": 2})
    assert time.monotonic() - began < 10
    assert (result["answer"], result["status"], result["stopped_by"]) == ("4", "partial", "deadline")
    assert not alive(marker)


async def test_a_context_path_that_vanishes_in_the_run_costs_its_agent_and_is_named(tmp_path: Path):
    folder = tmp_path / "project" / "src"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("text")
    (tmp_path / "tools").mkdir()

    def reader(name: str) -> dict[str, Any]:
        return worker(name, command("sleep 1; cat $PROJECT/src/a.txt"), answer("4"))

    paths = [{"path": "src", "permission": "write"}]
    async with host(tmp_path, reader("a"), reader("b"), context_paths=paths) as client:
        await client.call_tool("ask_team", {"question": "?", "team": "mine", "wait_seconds": 0})
        rows = data(await client.call_tool("get_run", {}))["runs"]
        (folder / "a.txt").unlink()
        folder.rmdir()
        reply = await client.call_tool("get_run", {"run_id": rows[0]["run_id"], "wait_seconds": 20})
    result = data(reply)
    assert result["status"] in {"completed", "partial", "failed"}
    assert "defect" not in text(reply) + json.dumps(result)


async def test_a_presenter_that_is_not_the_author_starts_from_the_winners_workspace(tmp_path: Path):
    author = worker(
        "author", call("write_file", path="made.txt", content="by the winner"), answer("4"), vote("agent3.1")
    )
    presenter = worker(
        "presenter",
        call("write_file", path="own.txt", content="by the presenter"),
        answer("5"),
        vote("agent3.1"),
        command("ls; cat made.txt"),
        answer("4, presented"),
    )
    third = worker("third", answer("6"), vote("agent3.1"))
    team = (author, presenter, third)
    async with host(
        tmp_path, *team, presenter_agent="presenter", strategy="vote", exclude_self=False
    ) as client:
        result = await ask(client)
        said = await transcript(client, result["run_id"])
    assert result["answer"] == "4, presented"
    assert "Your workspace now holds the files of agent3.1." in said or "by the winner" in said
    assert [file["path"] for file in result["files"]] == ["made.txt"]


async def test_a_presenter_without_a_workspace_hands_on_the_winners_files(tmp_path: Path):
    author = worker("author", call("write_file", path="made.txt", content="x"), answer("4"), vote("agent3.1"))
    presenter = agent("presenter", answer("5"), vote("agent3.1"), answer("4, presented"))
    third = agent("third", answer("6"), vote("agent3.1"))
    team = (author, presenter, third)
    async with host(
        tmp_path, *team, presenter_agent="presenter", strategy="vote", exclude_self=False
    ) as client:
        result = await ask(client)
    assert result["answer"] == "4, presented"
    assert [file["path"] for file in result["files"]] == ["made.txt"]


async def test_nobody_sees_the_work_of_others_before_the_ballot(tmp_path: Path):
    secret = "FORTY-TWO"
    writes = call("write_file", path="mine.txt", content=secret)
    first = worker("first", writes, answer("4"), vote("agent1.1"))
    spying = (
        command("sleep 0.5; ls -R $ANSWERS $PWD/../.. $PWD/../../..; cat $ANSWERS/*/mine.txt"),
        command("cat ../../*/w*/mine.txt; grep -rl FORTY- ../../.. 2>/dev/null"),
        call("read_file", path="answers/agent2.1/mine.txt"),
        call("read_file", path="../agent2/work/mine.txt"),
        call("search_files", path=str(tmp_path), pattern="mine.txt"),
    )
    seen = call("read_file", path="answers/agent2.1/mine.txt")
    second = worker("second", *spying, answer("5"), seen, vote("agent1.1"))
    async with host(tmp_path, first, second, exclude_self=False) as client:
        result = await ask(client)
        said = json.loads(await transcript(client, result["run_id"]))
    given = next(n for n, entry in enumerate(said) if entry["what"] == "AnswerGiven" and "5" in entry["text"])
    results = [n for n, entry in enumerate(said) if entry["what"] == "ToolFinished"]
    assert len([n for n in results if n < given]) == 1 + len(spying)
    assert not [said[n] for n in results if n < given and (secret in said[n]["text"])]
    assert [said[n] for n in results if n > given and secret in said[n]["text"]]


async def test_a_file_that_came_with_the_question_stays_writable_where_the_project_is(tmp_path: Path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.txt").write_text("old\n")
    edit = call("edit_file", path="project/a.txt", old_text="old", new_text="new")
    writer = worker("a", call("read_file", path="project/a.txt"), answer("4"), edit, answer("5"))
    async with host(tmp_path, writer, context_paths=[{"path": ".", "permission": "write"}]) as client:
        result = await ask(client, files=["a.txt"])
    assert (project / "a.txt").read_text() == "new\n"
    assert [row["path"] for row in result["changes"]] == ["a.txt"]


async def test_commands_find_each_named_part_of_the_project_below_one_folder(tmp_path: Path):
    for name in ("src", "docs"):
        (tmp_path / "project" / name).mkdir(parents=True)
        (tmp_path / "project" / name / "a.txt").write_text(f"in {name}")
    script = "cat $PROJECT/src/a.txt $PROJECT/docs/a.txt"
    reader = worker("a", command(script), answer("4"))
    async with host(tmp_path, reader, context_paths=[{"path": "src"}, {"path": "docs"}]) as client:
        result = await ask(client)
        assert "in srcin docs" in await transcript(client, result["run_id"])


async def test_files_are_given_as_text_to_an_agent_whose_filters_leave_nothing_to_read_them(tmp_path: Path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.txt").write_text("the content")
    blind = agent("a", answer("4"), cwd="work", allowed_tools=["write_file"])
    async with host(tmp_path, blind) as client:
        result = await ask(client, files=["a.txt"])
        said = await transcript(client, result["run_id"])
    assert result["answer"] == "4"
    assert "the content" in said or result["status"] == "completed"


async def test_what_could_not_be_kept_of_the_last_turn_is_in_the_result(tmp_path: Path):
    script = "ln -s /etc/passwd link; echo x > kept"
    async with host(tmp_path, worker("a", command(script), answer("4"))) as client:
        result = await ask(client)
    assert [file["path"] for file in result["files"]] == ["kept"]
    assert any(line.startswith("a: link is not kept") for line in result["warnings"])


async def test_a_result_too_large_for_a_model_is_kept_whole_in_the_workspace(tmp_path: Path):
    reads = call("read_file", path="tool_results/1-box__huge_result.txt", start_line=1, end_line=1)
    big = agent("a", call("box__huge_result"), reads, answer("4"), cwd="work", mcp_servers=[SERVER])
    async with host(tmp_path, big) as client:
        result = await ask(client)
        said = await transcript(client, result["run_id"])
    assert "the whole is in tool_results/1-box__huge_result.txt" in said
    assert "read on with" in said
    assert "files" not in result


async def test_planning_holds_tools_back_for_the_presenter_alone(tmp_path: Path):
    def planner(name: str, *more: dict[str, Any]) -> dict[str, Any]:
        entry = SERVER | {"side_effects": {"echo": True}}
        return agent(name, call("box__echo", text="hi"), answer("4"), *more, mcp_servers=[entry])

    last = (call("box__echo", text="hi"), answer("4, done"))
    coordination = {"enable_planning_mode": True}
    async with host(tmp_path, planner("a", *last), planner("b"), coordination=coordination) as client:
        result = await ask(client)
        said = await transcript(client, result["run_id"])
    assert result["answer"] == "4, done"
    assert said.count("Planned, not run: box__echo") == 2


async def test_pictures_that_were_made_come_with_the_reply_and_only_real_ones(tmp_path: Path):
    pack = shlex.quote(f"import pathlib; pathlib.Path('b.png').write_bytes({PNG!r})")
    script = f"python3 -c {pack}; cp b.png c.png; echo no picture > a.png; head -c 2000000 /dev/zero > d.png"
    async with host(tmp_path, worker("a", command(script), answer("4"))) as client:
        reply = await client.call_tool("ask_team", {"question": "?", "team": "mine"})
        run_id = data(reply)["run_id"]
        fake = await client.call_tool("get_run", {"run_id": run_id, "detail": "files", "path": "a.png"})
        again = await client.call_tool("get_run", {"run_id": run_id})
    assert [block.type for block in reply.content] == ["text", "image", "image"]
    assert [block.type for block in again.content] == ["text", "image", "image"]
    assert [block.type for block in fake.content] == ["text"]


async def test_a_reply_stays_small_however_much_was_made_and_says_where_the_rest_is(tmp_path: Path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "old.txt").write_text("x")
    many = "for i in $(seq 300); do echo $i > file$i; done"
    change = "for i in $(seq 50); do echo $i > $PROJECT/new$i; done"
    team = [worker("a", command(many), answer("4"), command(change), answer("4!"))]
    team += [worker(name, command(many), answer("4")) for name in ("b", "c")]
    async with host(tmp_path, *team, context_paths=[{"path": ".", "permission": "write"}]) as client:
        reply = await client.call_tool("ask_team", {"question": "?", "team": "mine"})
        result = data(reply)
        listed: dict[str, list[Any]] = {"files": [], "changes": []}
        more: dict[str, Any] = {}
        while True:
            found = data(
                await client.call_tool("get_run", {"run_id": result["run_id"], "detail": "files", **more})
            )
            for kind in listed:
                listed[kind] += found.get(kind, [])
            if "cursor" not in found:
                break
            more = {"cursor": found["cursor"]}
    assert result["answer"] == "4!"
    short = json.dumps(result).replace(str(tmp_path), "/home/me/.local")
    assert len(short) <= 2_000
    assert any("more files were changed in the project" in line for line in result["warnings"])
    assert len({row["path"] for row in listed["files"]}) == 200
    assert len({row["path"] for row in listed["changes"]}) == 50


async def test_a_long_file_comes_in_pages_and_no_path_leads_out(tmp_path: Path):
    script = "seq 20000 > long.txt; printf 'x' > 'a b%2Fc.txt'; ln -s /etc/passwd p"
    async with host(tmp_path, worker("a", command(script), answer("4"))) as client:
        run_id = (await ask(client))["run_id"]
        found, cursor = "", None
        while True:
            more = {"cursor": cursor} if cursor else {}
            arguments = {"run_id": run_id, "detail": "files", "path": "long.txt", **more}
            part = data(await client.call_tool("get_run", arguments))
            found += part["text"]
            cursor = part.get("cursor")
            if cursor is None:
                break
        for path in ("../changes.json", "/etc/passwd", "p", "..", "long.txt/../../x", "a\0b", "x" * 999):
            arguments = {"run_id": run_id, "detail": "files", "path": path}
            reply = await client.call_tool("get_run", arguments)
            assert reply.is_error, path
            assert "root:" not in text(reply)
        for uri in (
            f"massgen://runs/{run_id}/files/..%2fchanges.json",
            f"massgen://runs/{run_id}/files/%2fetc%2fpasswd",
            f"massgen://runs/{run_id}/files/p",
            f"massgen://runs/{run_id}/files/a%00b",
            "massgen://runs/..%2f..%2f/files/x",
            "massgen://runs/a%00b/files/x",
            "massgen://runs/a%00b/changes/x",
            f"massgen://runs/{'x' * 5000}/files/x",
        ):
            with pytest.raises(Exception, match=r"(?s)^(?!.*defect)"):
                await client.read_resource(uri)
        named = await client.read_resource(f"massgen://runs/{run_id}/files/a%20b%252Fc.txt")
    assert found == "".join(f"{number}\n" for number in range(1, 20001))
    assert [getattr(part, "text", "") for part in named.contents] == ["x"]


async def test_pictures_lie_in_the_workspace_of_an_agent_that_can_only_have_them_described(tmp_path: Path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.png").write_bytes(PNG)
    looks = [call("get_file_info", path="given/1.png"), call("understand_file", path="given/1.png")]
    blind = agent("a", calls(*looks), answer("4"), cwd="work", enable_multimodal_tools=True)
    async with host(tmp_path, blind) as client:
        result = await ask(client, images=["a.png"])
        said = await transcript(client, result["run_id"])
    assert "28 bytes" in said
    assert "files" not in result


async def test_what_another_process_has_made_is_to_be_had_by_its_run(tmp_path: Path):
    async with host(tmp_path, worker("a", command("echo made > made.txt"), answer("4"))) as client:
        run_id = (await ask(client))["run_id"]
    async with host(tmp_path, agent("a", answer("4"))) as client:
        listed = data(await client.call_tool("get_run", {"run_id": run_id, "detail": "files"}))
        arguments = {"run_id": run_id, "detail": "files", "path": "made.txt"}
        found = data(await client.call_tool("get_run", arguments))
    assert [row["path"] for row in listed["files"]] == ["made.txt"]
    assert found["text"] == "made\n"


async def test_what_keeps_keys_in_the_project_is_not_shown_to_commands(tmp_path: Path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".env").write_text("PASSWORD=hunter2-hunter2")
    async with host(
        tmp_path, worker("a", command("cat $PROJECT/.env"), answer("4")), context_paths=[{"path": "."}]
    ) as client:
        result = await ask(client)
        assert "hunter2" not in await transcript(client, result["run_id"])
