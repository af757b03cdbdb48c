"""FastMCP's client with a time limit of its own: the run goes on, and it collects the answer later."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.programs import E2E, program
from tests.e2e.stage import Stage
from tests.working import agent, answer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PACKAGES = E2E / "node_modules" / ".fastmcp"
LIMIT = 2
TAKES = 5
ASK: Mapping[str, Any] = {"question": "2 + 2?", "team": "slow"}
LOAD: Mapping[str, Any] = {"tool": "get_run", "arguments": {}, "timeout": 60}
"""The first call loads what runs need, which may take longer than the limit on a busy machine."""


def played(stage: Stage, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What FastMCP's client got for each call; the server's log and what it received stay on the stage."""
    program(PACKAGES / "fastmcp" / "__init__.py")
    slow = answer("4") | {"delay": TAKES}
    stage.write_raw_team("slow", [agent("a", slow, slow)])
    script = stage.folder / "calls.json"
    script.write_text(json.dumps(list(calls)))
    server = stage.folder / "server.json"
    command, *arguments = stage.command
    environment = {**stage.environment, "MASSGEN_MCP_LOG": "INFO"}
    server.write_text(
        json.dumps({"command": command, "args": arguments, "env": environment, "cwd": str(stage.project)})
    )
    with (stage.folder / "server.log").open("wb") as log:
        client = subprocess.run(  # noqa: S603 - a file of this project
            [sys.executable, str(Path(__file__).with_name("fastmcp_client.py")), str(server), str(script)],
            env={"PYTHONPATH": str(PACKAGES), "HOME": str(stage.home)},
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=90,
            check=True,
        )
    return [json.loads(line) for line in client.stdout.splitlines()]


def said_by_the_server(stage: Stage) -> str:
    return (stage.folder / "server.log").read_text("utf-8")


def test_a_time_limit_of_two_seconds_detaches_and_the_handle_has_the_answer(stage: Stage) -> None:
    later: Mapping[str, Any] = {
        "tool": "get_run",
        "arguments": {"run_id": "{run_id}", "wait_seconds": 30},
        "timeout": 40,
    }
    limited: Mapping[str, Any] = {"tool": "ask_team", "arguments": ASK, "timeout": LIMIT}
    _, cut, latest, found = played(stage, [LOAD, limited, LOAD, later])
    assert "timed out" in cut["error"]
    assert [row["status"] for row in latest["runs"]] == ["running"]
    assert (found["status"], found["answer"]) == ("completed", "4")
    assert "its caller left (timed_out: 'timed out after 2.0s')" in said_by_the_server(stage)


def test_the_same_call_again_collects_the_answer_without_paying_twice(stage: Stage) -> None:
    limited: Mapping[str, Any] = {"tool": "ask_team", "arguments": ASK, "timeout": LIMIT}
    patient: Mapping[str, Any] = {"tool": "ask_team", "arguments": ASK, "timeout": 40}
    _, cut, found, latest = played(stage, [LOAD, limited, patient, LOAD])
    assert "timed out" in cut["error"]
    assert found["answer"] == "4"
    assert found["attached"]
    assert len(latest["runs"]) == 1
    assert found["usage"]["requests"] == 1
