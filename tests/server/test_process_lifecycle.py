"""However the server ends while agents work, their programs end with it, and what they said is kept."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from massgen_mcp.journal import open_journal
from tests.confined import LINUX, alive
from tests.http.test_http_process import call as call_http, started as started_http
from tests.server.hosts import Host, started
from tests.server.shown import data
from tests.server.zygote import Forked
from tests.working import agent, answer, call, host

pytestmark = [pytest.mark.timeout(90), LINUX]

HOSTILE = str(Path(__file__).parent.parent / "tools" / "hostile.py")
TOKEN = "the-token-of-the-operator"
DONE = "1/3"
FIRST_SIGNAL_LEADS_BY = 0.1
"""Seconds between the two signals with which Claude Code ends its servers."""


@dataclass(frozen=True)
class Ending:
    """A way to end a server."""

    end: Callable[[subprocess.Popen[Any] | Forked], None]
    codes: tuple[int, ...]
    seconds: float
    """Until nothing of it is left."""


def _hang_up(process: subprocess.Popen[Any] | Forked) -> None:
    assert process.stdin is not None
    process.stdin.close()


def _interrupt_and_terminate(process: subprocess.Popen[Any] | Forked) -> None:
    process.send_signal(signal.SIGINT)
    time.sleep(FIRST_SIGNAL_LEADS_BY)
    process.send_signal(signal.SIGTERM)


HANG_UP = Ending(_hang_up, (0,), 10.0)
SIGNALS = Ending(_interrupt_and_terminate, (128 + signal.SIGINT, -signal.SIGTERM), 10.0)
KILL = Ending(lambda process: process.kill(), (-signal.SIGKILL,), 5.0)


@pytest.mark.parametrize("ending", [HANG_UP, SIGNALS, KILL], ids=["eof", "int-term", "kill"])
def test_a_server_on_pipes_ends_with_all_it_started_and_keeps_the_answers(tmp_path: Path, ending: Ending):
    markers = write_team(tmp_path)
    with started(["-m", "massgen_mcp", "serve"], tmp_path, environ=environment(tmp_path)) as server:
        server.shake_hands()
        run_id = begin(server)
        wait_for_work(markers, lambda: answered(server, run_id), lambda: server.errors)
        check_end(server.process, ending, markers)
    assert "Traceback" not in server.errors
    check_kept(tmp_path, run_id)


@pytest.mark.parametrize("ending", [SIGNALS, KILL], ids=["int-term", "kill"])
def test_a_server_on_http_ends_with_all_it_started_and_keeps_the_answers(tmp_path: Path, ending: Ending):
    markers = write_team(tmp_path)
    environ = environment(tmp_path) | {"MASSGEN_MCP_TOKEN": TOKEN}
    with started_http(("massgen_mcp", "serve", "--http"), tmp_path, **environ) as server:
        url = server.said(r"at (http://\S+)\n")

        def post(tool: str, **arguments: Any) -> dict[str, Any]:
            return call_http(url, TOKEN, tool, **arguments).json()["result"]["structuredContent"]

        run_id = post("ask_team", question="?", team="mine", wait_seconds=0)["run_id"]
        wait_for_work(markers, lambda: post("get_run", run_id=run_id)["done"] == DONE, lambda: server.errors)
        check_end(server.process, ending, markers)
    assert "Traceback" not in server.errors
    check_kept(tmp_path, run_id)


def write_team(folder: Path) -> list[str]:
    """One agent answers, one is in a command that left a program behind, one in a call of its own server.

    Returns the words by which their programs are known.
    """
    words = [f"ended-{folder.name}-{number}" for number in range(3)]
    script = f"(setsid sh -c 'sleep 60; :' {words[0]} &) ; sh -c 'sleep 60; :' {words[1]}"
    box = {"name": "box", "command": sys.executable, "args": [HOSTILE, "run", words[2]], "sandbox": "off"}
    agents = [
        agent("a", answer("4")),
        agent("b", call("execute_command", command=script), cwd="work", enable_mcp_command_line=True),
        agent("c", call("box__hang"), mcp_servers=[box]),
    ]
    for name in ("teams", "project"):
        (folder / name).mkdir()
    (folder / "teams" / "mine.yaml").write_text(yaml.safe_dump({"agents": agents}))
    return words


def environment(folder: Path) -> dict[str, str]:
    return {
        "MASSGEN_MCP_CONFIG_DIRS": str(folder / "teams"),
        "MASSGEN_MCP_ROOTS": str(folder / "project"),
    }


def begin(server: Host) -> str:
    server.begin(1, "ask_team", question="?", team="mine", wait_seconds=0)
    run_id: str = server.reply(1)["result"]["structuredContent"]["run_id"]
    return run_id


def answered(server: Host, run_id: str) -> bool:
    server.begin(2, "get_run", run_id=run_id)
    done: str = server.reply(2)["result"]["structuredContent"]["done"]
    return done == DONE


def wait_for_work(markers: list[str], done: Callable[[], bool], errors: Callable[[], str]) -> None:
    """Until one has answered and the programs of the others run."""
    for one in markers:
        assert alive(one, at_least=1, within=30), errors()
    until = time.monotonic() + 10
    while not done():
        assert time.monotonic() < until, errors()
        time.sleep(0.05)


def check_end(process: subprocess.Popen[Any] | Forked, ending: Ending, markers: list[str]) -> None:
    until = time.monotonic() + ending.seconds
    ending.end(process)
    assert process.wait(ending.seconds) in ending.codes
    for one in markers:
        assert not alive(one, within=max(0.0, until - time.monotonic()))


def check_kept(folder: Path, run_id: str) -> None:
    """The journal is whole, the run shows as interrupted, and the one answer is there."""
    (database,) = (folder / "state").glob("*.db")
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    anyio.run(look, folder, run_id)


async def look(folder: Path, run_id: str) -> None:
    """As the next server on this state folder sees it."""
    async with host(folder) as client:
        found = data(await client.call_tool("get_run", {"run_id": run_id, "detail": "answers"}))
    assert found["status"] == "interrupted"
    (given,) = found["answers"]
    assert (given["agent"], given["conclusion"]) == ("a", "4")
    journal = await open_journal(folder / "state")
    try:
        records = await journal.read(run_id)
    finally:
        await journal.aclose()
    assert [record.seq for record in records] == [*range(1, len(records) + 1)]
    assert "Finished" not in [record.kind for record in records]
