"""The server as hosts start it: a process with three pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import mcp
import pytest

from massgen_mcp.journal import open_journal
from tests.server.hosts import ROOT, Host, started
from tests.server.peers import envelope, hello
from tests.server.shown import data

pytestmark = pytest.mark.timeout(60)

SCRIPTED = ("-m", "tests.server.program")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.anyio
async def test_the_sdks_client_asks_a_team_over_pipes(mode: str, tmp_path: Path):
    server = mcp.StdioServerParameters(
        command=sys.executable,
        args=[*SCRIPTED, "fast"],
        cwd=ROOT,
        env={"MASSGEN_MCP_STATE_DIR": str(tmp_path)},
    )
    async with mcp.Client(server, mode=mode) as client:
        assert len((await client.list_tools()).tools) == 5
        result = await client.call_tool("ask_team", {"question": "2 + 2?"})
    assert data(result)["answer"] == "4"


def test_a_host_that_tries_both_eras_at_once_is_answered_twice(tmp_path: Path):
    with started([*SCRIPTED, "fast"], tmp_path) as host:
        discover = {
            "jsonrpc": "2.0",
            "id": "probe",
            "method": "server/discover",
            "params": {"_meta": envelope()},
        }
        host.send(discover)
        host.send(hello())
        found = {message["id"]: message for message in (host.read(), host.read())}
        assert "2026-07-28" in found["probe"]["result"]["supportedVersions"]
        assert found["hello"]["error"]["data"]["supported"] == ["2026-07-28"]
        assert len(host.request(2, "tools/list")["result"]["tools"]) == 5


def test_when_the_host_closes_the_pipe_the_run_stops_where_it_is_and_keeps_what_it_has(tmp_path: Path):
    with started([*SCRIPTED, "slow"], tmp_path) as host:
        _ask(host)
        host.hang_up()
        assert host.ended(within=5) == 0
    assert "Traceback" not in host.errors
    state, kinds = anyio.run(_journalled, tmp_path / "state")
    assert state == "interrupted"
    assert kinds.count("AnswerGiven") == 1
    assert "Finished" not in kinds


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_at_once_without_a_traceback(number: signal.Signals, code: int, tmp_path: Path):
    with started([*SCRIPTED, "slow"], tmp_path) as host:
        _ask(host)
        host.process.send_signal(number)
        assert host.ended(within=5) == code
    assert "Traceback" not in host.errors
    assert anyio.run(_journalled, tmp_path / "state")[0] == "interrupted"


def test_a_second_signal_does_not_wait_for_anything(tmp_path: Path):
    with started([*SCRIPTED, "stubborn"], tmp_path) as host:
        host.shake_hands()
        host.begin(1, "ask_team", question="?")
        host.begin(2, "get_run")
        host.reply(2)
        host.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert host.process.poll() is None
        host.process.send_signal(signal.SIGTERM)
        assert host.ended(within=2) == -signal.SIGTERM


def test_an_interrupt_while_it_loads_is_quiet(tmp_path: Path):
    loading = ["-X", "importtime", "-m", "massgen_mcp"]
    unmeasured = {"COVERAGE_PROCESS_CONFIG": ""}
    with started(loading, tmp_path, environ=unmeasured, warm=False) as host:
        give_up = time.monotonic() + 20
        while "pydantic_core" not in host.errors:
            assert time.monotonic() < give_up, host.errors
            time.sleep(0.01)
        host.process.send_signal(signal.SIGINT)
        assert host.ended(within=5) == -signal.SIGINT
    assert "mcp.server.lowlevel.server" not in host.errors  # it was still loading
    assert "Traceback" not in host.errors


def test_nothing_but_messages_goes_to_stdout(tmp_path: Path):
    with started([*SCRIPTED, "noisy"], tmp_path) as host:
        host.shake_hands()
        host.begin(1, "ask_team", question="?")
        assert host.reply(1)["result"]["structuredContent"]["answer"] == "4"
        host.hang_up()
        assert host.process.stdout is not None
        rest = host.process.stdout.read().decode()
        host.ended(within=5)
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in [*host.lines, *rest.splitlines()])
    for noise in ("printed by a library", "written to descriptor 1", "child read ''"):
        assert noise in host.errors


def test_garbage_on_the_wire_costs_nobody_anything(tmp_path: Path):
    with started([*SCRIPTED, "fast"], tmp_path, "2025-11-25") as host:
        host.write(b"\n\nhello\n{\n[]\n\xff\xfe\x00\n" + b"[" * 10_000 + b"\n" + b'{"jsonrpc":"2.0"}\n')
        host.shake_hands()
        host.write(b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":7}\n\xc3\x28\n')
        assert len(host.request(1, "tools/list")["result"]["tools"]) == 5
        assert "dropped a line that is not JSON-RPC" in host.errors


def test_a_host_that_stops_reading_does_not_keep_it_alive(tmp_path: Path):
    with started([*SCRIPTED, "fast"], tmp_path) as host:
        host.shake_hands()
        ask = {"jsonrpc": "2.0", "method": "tools/list", "params": {"_meta": envelope()}}
        for number in range(60):  # far more than a pipe holds
            host.send(ask | {"id": number + 1})
        time.sleep(1)
        host.process.send_signal(signal.SIGTERM)
        assert host.ended(within=8) == 143


def test_a_host_that_closes_its_ear_ends_it(tmp_path: Path):
    with started([*SCRIPTED, "fast"], tmp_path) as host:
        host.shake_hands()
        assert host.process.stdout is not None
        host.process.stdout.close()
        host.begin(1, "get_run")
        assert host.ended(within=5) == 0
    assert "takes no more messages" in host.errors


def test_whatever_hangs_the_process_ends():
    code = (
        "import time; from massgen_mcp.server.stdio import limit_the_end;"
        "limit_the_end(7, seconds=0.1); time.sleep(30)"
    )
    unmeasured = os.environ | {"COVERAGE_PROCESS_CONFIG": ""}  # it ends before it could say what it counted
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, cwd=ROOT, env=unmeasured, timeout=20)  # noqa: S603
    assert done.returncode == 7


def test_without_pipes_it_says_so(tmp_path: Path):
    code = "import os; os.close(1); from massgen_mcp.server.entry import serve_host; exit(serve_host())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, timeout=20)  # noqa: S603
    assert done.returncode == 1
    assert b"stdin or stdout is closed" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="dumpable is Linux's word")
def test_its_memory_is_closed_to_other_processes():
    code = (
        "import ctypes; from massgen_mcp.server.guard import close_memory;"
        "close_memory(); print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, timeout=20)  # noqa: S603
    assert done.stdout == b"0\n"


def _ask(host: Host) -> None:
    """Begin a run and wait until one of its agents has answered."""
    host.shake_hands()
    host.begin(1, "ask_team", question="?")
    while True:
        found = host.read()
        if "answered" in found.get("params", {}).get("message", ""):
            return


async def _journalled(state: Path) -> tuple[str, list[str]]:
    journal = await open_journal(state)
    try:
        (row,) = await journal.rows()
        return row.state, [record.kind for record in await journal.read(row.run_id)]
    finally:
        await journal.aclose()
