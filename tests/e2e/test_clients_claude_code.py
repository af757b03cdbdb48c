"""Claude Code with a time limit, and interrupted: what becomes of the run, over both transports."""

from __future__ import annotations

import json
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio
import pytest

from massgen_mcp.journal import open_journal
from tests.e2e.aimock import Fixture, running_aimock
from tests.e2e.programs import wait_until
from tests.e2e.served import TOKEN, serving
from tests.e2e.stage import Stage
from tests.e2e.test_claude_code_host import claude, events_of
from tests.working import agent, answer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

Transport: TypeAlias = Literal["stdio", "http"]

LIMIT = 4
"""Seconds that Claude Code gives a call."""
TAKES = 7
ASK = "mcp__massgen__ask_team"
LOOK = "mcp__massgen__get_run"
ANSWER = "Canberra is the capital."
INTERRUPTS: Mapping[str, tuple[Transport, Mapping[str, str], Mapping[str, str]]] = {
    "stdio": ("stdio", {}, {}),
    "http": ("http", {"MASSGEN_MCP_ON_DISCONNECT": "cancel"}, {}),
    "http-2025": ("http", {}, {"MCP_PROTOCOL_NEGOTIATION": "legacy"}),
}
"""In the newer era a user's cancel and a time-out look the same over HTTP: all that is done is to close the
stream, and the operator decides what that means. In the older one the reason is said.
"""
RUN_ID = r"(\d{8}-\d{4}-[a-z0-9]{6})"


def calls(tool: str, after: str | None, fill: Mapping[str, str] | None = None, **arguments: Any) -> Fixture:
    """The host's model calls a tool: first, or after a result that holds these words."""
    when = {"toolName": ASK, "hasToolResult": False} if after is None else {"toolResultContains": after}
    return {
        "match": {"model": {"regex": "^claude"}, **when},
        "response": {"toolCalls": [{"name": tool, "arguments": arguments}]},
        **({"fill": fill} if fill else {}),
    }


def host_model() -> list[Fixture]:
    """It asks; when that times out it looks which run there is, and waits for it until it has the answer."""
    quote = {"content": f"The team says: {ANSWER}"}
    return [
        {"match": {"model": {"regex": "^claude"}, "toolResultContains": ANSWER}, "response": quote},
        calls(LOOK, "running", {"run_id": RUN_ID}, run_id="{run_id}", wait_seconds=LIMIT - 2),
        calls(LOOK, "timed out"),
        calls(ASK, None, question="Which city is the capital of Australia?", team="slow"),
    ]


@contextmanager
def entry(stage: Stage, transport: Transport, **environ: str) -> Generator[Mapping[str, Any]]:
    """Our server in Claude Code's configuration; the one over HTTP runs for the time of the block."""
    if transport == "stdio":
        command, *arguments = stage.command
        yield {"command": command, "args": arguments, "env": stage.environment}
        return
    with serving(stage, **environ) as server:
        yield {"type": "http", "url": server.url, "headers": {"Authorization": f"Bearer {TOKEN}"}}


def states(stage: Stage) -> list[str]:
    """The states of the runs there are."""
    folder = stage.folder / "state"
    return anyio.run(_states, folder) if (folder / "journal.db").exists() else []


async def _states(folder: Path) -> list[str]:
    journal = await open_journal(folder)
    try:
        return [row.state for row in await journal.rows()]
    finally:
        await journal.aclose()


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_a_call_cut_by_its_time_limit_is_collected_by_its_handle(stage: Stage, transport: Transport) -> None:
    stage.write_raw_team("slow", [agent("a", answer(ANSWER) | {"delay": TAKES})])
    with (
        running_aimock(stage.folder, host_model()) as aimock,
        entry(stage, transport) as server,
        claude(
            stage, aimock.url, server, MCP_TOOL_TIMEOUT=str(LIMIT * 1000), ENABLE_TOOL_SEARCH="false"
        ) as host,
    ):
        events = list(events_of(host))
        code = host.wait(30)

    assert code == 0
    assert events[-1]["result"] == f"The team says: {ANSWER}"
    told = json.dumps(events)
    assert f"timed out after {LIMIT}s" in told
    assert states(stage) == ["completed"]


@pytest.mark.parametrize("case", INTERRUPTS)
def test_an_interrupt_stops_the_run(stage: Stage, case: str) -> None:
    transport, of_server, of_host = INTERRUPTS[case]
    stage.write_raw_team("slow", [agent("a", answer(ANSWER) | {"delay": 90})])
    with (
        running_aimock(stage.folder, host_model()) as aimock,
        entry(stage, transport, **of_server) as server,
        claude(stage, aimock.url, server, ENABLE_TOOL_SEARCH="false", **of_host) as host,
    ):
        wait_until(lambda: states(stage) == ["running"], seconds=40, what="the team is at work")
        host.send_signal(signal.SIGINT)
        host.wait(10)
        wait_until(lambda: states(stage) != ["running"], seconds=10, what="the run has stopped")
    assert states(stage) in [["cancelled"], ["interrupted"]]
