"""Codex as an agent of a team: the real command line in its sandbox, on a model that says what a test wants.

The model's words are exact bytes: Codex wants a call's namespace, which aimock can't say.
"""

from __future__ import annotations

import base64
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
from massgen_mcp.backends.codex import Options, connect
from massgen_mcp.backends.pool import Pool
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Image, Message, ObservedCall, Reply, Request
from tests.backends.responses_events import HELLO, KEY, call, said
from tests.backends.runtimes import Tools, asking, turn_deltas, turn_reply
from tests.backends.wire import Stall, Wire, http_json, make_context, sse_head, wire
from tests.e2e.programs import E2E, ENDING, descendants, program, wait_until

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.timeout(300)]

CODEX = E2E / "node_modules" / ".bin" / "codex"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PROBE = """
touch made; touch "$TMPDIR/temporary" || echo NO-TEMPORARY-FILES
touch /tmp/common && echo TMP-WRITTEN; touch "$HOME/written" && echo HOME-WRITTEN
cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -a API_KEY && echo KEY-SEEN
python3 -c "import socket; socket.create_connection(('127.0.0.1', PORT))" && echo CONNECTED
echo finished
"""


@asynccontextmanager
async def agent(
    server: Wire, folder: Path, *, readable: tuple[Path, ...] = (), **options: Any
) -> AsyncGenerator[AgentRuntime]:
    pool = Pool()
    context = make_context("codex", pool, clock=SystemClock(), environ={"PATH": os.environ["PATH"]})
    block = {
        "type": "codex",
        "model": "gpt-5.5",
        "base_url": server.url,
        "api_key": KEY,
        "cli_path": Path(program(CODEX)),
        **options,
    }
    context = replace(context, workspace=folder, readable=readable)
    runtime = await connect(Options.model_validate(block), context)
    try:
        yield runtime
    finally:
        await runtime.aclose()
        await pool.aclose()


def tool(name: str, number: int, **arguments: Any) -> dict[str, Any]:
    """A call of one of the team's tools, as the model makes it."""
    return call(json.dumps(arguments), name=name, namespace="mcp__massgen", call_id=f"call_{number}")


def outputs(server: Wire) -> str:
    """What Codex last sent back of its calls."""
    items = server.requests[-1].json["input"]
    return "\n".join(json.dumps(item["output"]) for item in items if item["type"].endswith("call_output"))


async def test_its_commands_are_confined_and_its_vote_ends_the_turn(tmp_path: Path) -> None:
    before = descendants()
    vote = tool("vote", 3, answer="agent1.1", reason="r")
    tools = Tools()
    async with wire() as server:
        shell = call(json.dumps({"cmd": PROBE.replace("PORT", str(server.port))}), name="exec_command")
        server.answer(said(shell, tool("look", 2, at="the sky")), said(vote), HELLO)
        async with agent(server, tmp_path) as runtime:
            deltas = await turn_deltas(runtime, asking("Have a look."), tools)
            told = outputs(server)
            later = await turn_reply(runtime, asking("Have a look.", "And now?"))
    assert "finished" in told
    assert not [
        word
        for word in ("HOME-WRITTEN", "TMP-WRITTEN", "NO-TEMP", "KEY-SEEN", "CONNECTED", KEY)
        if word in told
    ]
    assert "It is green." in told
    assert (tmp_path / "made").exists()
    assert isinstance(deltas[0], ObservedCall)
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert reply.calls == (tools.ended_by,)
    assert [made.name for made in tools.calls] == ["look", "vote"]
    assert (reply.usage.requests, reply.usage.input) == (2, 72)
    assert (later.text, later.usage.requests) == ("Hello.", 1)
    asked = server.requests[-1].json["input"]
    assert [part["text"] for part in asked[-1]["content"]] == ["And now?"]
    assert "You are agent1." in json.dumps(asked)
    wait_until(lambda: not descendants() - before, seconds=ENDING, what="all of Codex has ended")


async def test_it_reads_what_it_is_shown_and_changes_nothing_there(tmp_path: Path) -> None:
    workspace, answers, other = (tmp_path / name for name in ("workspace", "answers", "other"))
    for folder in (workspace, answers, other):
        folder.mkdir()
        (folder / "notes").write_text(f"of {folder.name}")
    probe = f"cat {answers}/notes; touch {answers}/made && echo MADE; cat {other}/notes; true"
    shell = call(json.dumps({"cmd": probe}), name="exec_command")
    async with wire(said(shell), HELLO) as server:
        async with agent(server, workspace, readable=(answers,)) as runtime:
            await turn_reply(runtime, asking("Have a look."))
        told = outputs(server)
    assert "of answers" in told
    assert "MADE" not in told
    assert "of other" not in told


async def test_a_picture_is_shown_to_the_model(tmp_path: Path) -> None:
    seen = Message(role="user", text="What is it?", images=(Image(mime="image/png", data=PNG),))
    async with wire(HELLO, HELLO) as server, agent(server, tmp_path) as runtime:
        for _ in range(2):
            await turn_reply(runtime, Request(messages=(seen,)))
            last = json.dumps(server.requests[-1].json["input"][-1])
            assert base64.b64encode(PNG).decode()[:40] in last


async def test_the_team_s_tools_stand_beside_its_own(tmp_path: Path) -> None:
    async with wire(HELLO) as server, agent(server, tmp_path) as runtime:
        await turn_reply(runtime, asking("Hi."))
    tools = server.requests[0].json["tools"]
    ours = next(tool for tool in tools if tool.get("name") == "mcp__massgen")
    assert [tool["name"] for tool in ours["tools"]] == ["look", "vote"]
    assert not [tool for tool in tools if tool["type"] in {"web_search", "tool_search"}]


async def test_a_refused_key_is_final(tmp_path: Path) -> None:
    refusal = http_json(401, {"error": {"message": f"No such key: {KEY}"}})
    async with wire(refusal) as server, agent(server, tmp_path) as runtime:
        with pytest.raises(BackendError) as caught:
            await turn_reply(runtime, asking("Hi."))
        assert len(server.requests) == 1
    assert caught.value.kind == "auth"
    assert KEY not in str(caught.value)


async def test_cancelling_leaves_no_process_and_no_connection(tmp_path: Path) -> None:
    before = descendants()
    async with wire([sse_head(), Stall()]) as server, agent(server, tmp_path) as runtime:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn_deltas, runtime, asking("Hi."))
            with anyio.fail_after(100):
                while not server.requests:  # noqa: ASYNC110 - another process asks
                    await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(ENDING):
            await server.requests[0].left.wait()
        wait_until(lambda: not descendants() - before, seconds=ENDING, what="all of Codex has ended")
