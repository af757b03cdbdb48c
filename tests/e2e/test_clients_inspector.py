"""MCP Inspector on the command line, over both transports: what it shows, and its exit codes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest

from tests.e2e.programs import E2E, node, program
from tests.e2e.served import TOKEN, serving
from tests.e2e.stage import Stage
from tests.working import agent, answer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

INSPECTOR = E2E / "node_modules" / "@modelcontextprotocol" / "inspector"
NODE = (22, 19)
SAYS_ERROR = 5
TOOLS = ["ask_team", "get_run", "cancel_run", "list_backends", "validate_config"]

Transport: TypeAlias = Literal["stdio", "http"]


@contextmanager
def target(stage: Stage, transport: Transport) -> Generator[list[str]]:
    """The Inspector's words for where our server is."""
    stage.write_raw_team("solo", [agent("a", answer("4"))])
    if transport == "stdio":
        environment = [
            word for name, value in stage.environment.items() for word in ("-e", f"{name}={value}")
        ]
        yield [*environment, *stage.command]
        return
    with serving(stage) as server:
        yield [server.url, "--transport", "http", "--header", f"Authorization: Bearer {TOKEN}"]


def inspect(stage: Stage, where: Sequence[str], method: str, *more: str) -> subprocess.CompletedProcess[str]:
    """One look with the Inspector."""
    script = Path(program(INSPECTOR / "clients" / "launcher" / "build" / "index.js"))
    return subprocess.run(  # noqa: S603 - node, on a program that this project installed
        [node(NODE), str(script), "--cli", *where, "--method", method, *more, "--format", "json"],
        env={"HOME": str(stage.home), "PATH": "/usr/bin:/bin"},
        cwd=stage.project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ask(stage: Stage, where: Sequence[str], team: str) -> subprocess.CompletedProcess[str]:
    arguments = json.dumps({"question": "2 + 2?", "team": team})
    return inspect(stage, where, "tools/call", "--tool-name", "ask_team", "--tool-args-json", arguments)


def result(looked: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the Inspector shows of the server's reply."""
    found: dict[str, Any] = json.loads(looked.stdout)["result"]
    return found


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_the_inspector_lists_calls_and_tells_an_error_by_its_exit_code(
    stage: Stage, transport: Transport
) -> None:
    with target(stage, transport) as where:
        listed = inspect(stage, where, "tools/list")
        answered = ask(stage, where, "solo")
        unknown = ask(stage, where, "nobody")

    assert listed.returncode == 0, listed.stderr
    assert [tool["name"] for tool in result(listed)["tools"]] == TOOLS
    assert "0 errors" in listed.stderr, "of the portability of our schemas"

    assert answered.returncode == 0, answered.stderr
    assert result(answered)["structuredContent"]["answer"] == "4"

    assert unknown.returncode == SAYS_ERROR, unknown.stderr
    (block,) = result(unknown)["content"]
    assert block["text"].startswith('Unknown team "nobody". Known: solo')
