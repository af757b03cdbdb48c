"""Gemini CLI as an agent of a team: the real command line in its sandbox, on a scripted model (aimock)."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.gemini_cli import Options, connect
from massgen_mcp.backends.pool import Pool
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import ObservedCall, Reply
from tests.backends.gemini_replies import KEY
from tests.backends.runtimes import Tools, asking, turn_deltas, turn_reply
from tests.backends.wire import Stall, http_json, make_context, sse_head, wire
from tests.e2e.aimock import Fixture, running_aimock
from tests.e2e.programs import E2E, ENDING, descendants, node, program, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.timeout(300)]

GEMINI = E2E / "node_modules" / ".bin" / "gemini"
MODEL = "gemini-2.5-pro"


@asynccontextmanager
async def agent(
    url: str, folder: Path, *, readable: tuple[Path, ...] = (), **options: Any
) -> AsyncGenerator[AgentRuntime]:
    pool = Pool()
    path = os.pathsep.join([str(Path(node()).parent), os.environ["PATH"]])
    context = make_context("gemini_cli", pool, clock=SystemClock(), environ={"PATH": path})
    block = {
        "type": "gemini_cli",
        "model": MODEL,
        "base_url": url,
        "api_key": KEY,
        "cli_path": Path(program(GEMINI)),
        **options,
    }
    context = replace(context, workspace=folder, readable=readable)
    runtime = await connect(Options.model_validate(block), context)
    try:
        yield runtime
    finally:
        await runtime.aclose()
        await pool.aclose()


def calls(turn: int, *made: tuple[str, dict[str, str]]) -> Fixture:
    named = [{"name": name, "arguments": arguments} for name, arguments in made]
    return {"match": {"model": MODEL, "turnIndex": turn}, "response": {"toolCalls": named}}


async def test_it_works_in_its_workspace_and_its_vote_ends_the_turn(tmp_path: Path) -> None:
    before = descendants()
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    made = workspace / "made"
    outside = tmp_path / "outside"
    fixtures = [
        calls(
            0,
            ("write_file", {"file_path": str(made), "content": "x"}),
            ("write_file", {"file_path": str(outside), "content": "x"}),
            ("run_shell_command", {"command": f"touch {outside}"}),
            ("mcp_massgen_look", {"at": "the sky"}),
        ),
        calls(1, ("mcp_massgen_vote", {"answer": "agent1.1", "reason": "r"})),
        {"match": {"model": MODEL, "userMessage": "And now?"}, "response": {"content": "Done."}},
    ]
    tools = Tools()
    with running_aimock(tmp_path, fixtures) as aimock:
        async with agent(aimock.url, workspace) as runtime:
            deltas = await turn_deltas(runtime, asking("Have a look."), tools)
            later = await turn_reply(runtime, asking("Have a look.", "And now?"))
        asked = json.dumps(aimock.journal())
    assert made.read_text() == "x"
    assert not outside.exists()
    assert ObservedCall(name="write_file", detail=str(made)) in deltas
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert reply.calls == (tools.ended_by,)
    assert [call.name for call in tools.calls] == ["look", "vote"]
    assert reply.usage.requests == 2
    assert later.text == "Done."
    assert "You are agent1." in asked
    assert "It is green." in asked
    wait_until(lambda: not descendants() - before, seconds=ENDING, what="all of Gemini CLI has ended")


async def test_what_lies_in_the_workspace_is_no_setting(tmp_path: Path) -> None:
    settings = tmp_path / ".gemini" / "settings.json"
    settings.parent.mkdir()
    servers = {"own": {"command": "/bin/sh", "args": ["-c", f"touch {tmp_path / 'started'}"]}}
    settings.write_text(json.dumps({"mcpServers": servers, "mcp": {"allowed": ["own", "massgen"]}}))
    fixtures: list[Fixture] = [{"match": {"model": MODEL}, "response": {"content": "Hello."}}]
    mock = tmp_path / "mock"
    mock.mkdir()
    with running_aimock(mock, fixtures) as aimock:
        async with agent(aimock.url, tmp_path) as runtime:
            assert (await turn_reply(runtime, asking("Hi."))).text == "Hello."
    assert not (tmp_path / "started").exists()


async def test_a_name_of_a_file_in_a_text_stays_a_name(tmp_path: Path) -> None:
    workspace, answers = tmp_path / "workspace", tmp_path / "answers"
    for folder in (workspace, answers / "agent2.1"):
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("what the file holds")
    said = f"/help me with @notes.txt, @. and @{answers}/agent2.1 as @dataclass says"
    fixtures: list[Fixture] = [
        {"match": {"model": MODEL, "turnIndex": 0}, "response": {"toolCalls": [read(answers)]}},
        {"match": {"model": MODEL}, "response": {"content": "Hello."}},
    ]
    with running_aimock(tmp_path, fixtures) as aimock:
        async with agent(aimock.url, workspace, readable=(answers,)) as runtime:
            assert (await turn_reply(runtime, asking(said))).text == "Hello."
        first, second = (json.dumps(entry["body"]) for entry in aimock.journal() if "body" in entry)
    assert "what the file holds" not in first
    assert "as @dataclass says" in first
    assert "what the file holds" in second, "it may read what it is shown, when it wants to"


def read(answers: Path) -> dict[str, Any]:
    return {"name": "read_file", "arguments": {"file_path": str(answers / "agent2.1" / "notes.txt")}}


async def test_a_refused_key_is_final(tmp_path: Path) -> None:
    refusal = http_json(401, {"error": {"code": 401, "message": f"No such key: {KEY}"}})
    async with wire(refusal) as server, agent(server.url.removesuffix("/v1"), tmp_path) as runtime:
        with pytest.raises(BackendError) as caught:
            await turn_reply(runtime, asking("Hi."))
        assert len(server.requests) == 1
    assert caught.value.kind == "auth"
    assert KEY not in str(caught.value)


async def test_cancelling_leaves_no_process_and_no_connection(tmp_path: Path) -> None:
    before = descendants()
    stalled = [sse_head(), Stall()]
    async with wire(stalled) as server, agent(server.url.removesuffix("/v1"), tmp_path) as runtime:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn_deltas, runtime, asking("Hi."))
            with anyio.fail_after(100):
                while not server.requests:  # noqa: ASYNC110 - another process asks
                    await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(ENDING):
            await server.requests[0].left.wait()
        wait_until(lambda: not descendants() - before, seconds=ENDING, what="all of Gemini CLI has ended")
