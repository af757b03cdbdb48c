"""Claude Code as the host: it starts our server, its model (aimock) asks the team and quotes the answer."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.aimock import Fixture, running_aimock
from tests.e2e.programs import CLAUDE, processes_with, program, wait_until
from tests.e2e.stage import Player, Stage, fixtures_for
from tests.e2e.tap import Tap, running_tap

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

QUESTION = "Which city is the capital of Australia?"
TOOL = "mcp__massgen__ask_team"
PLAYERS = tuple(
    Player(id=name, answer=f"Canberra is the capital, says {name}.", conclusion="Canberra") for name in "abc"
)


def host_fixtures() -> list[Fixture]:
    """The host's own model: it calls the tool it was offered, and quotes what came back."""
    model = {"regex": "^claude"}
    call = {"name": TOOL, "arguments": {"question": QUESTION, "team": "trio"}}
    return [
        {"match": {"model": model, "toolResultContains": PLAYERS[0].answer}, "response": {"content": QUOTE}},
        {
            "match": {"model": model, "toolName": TOOL, "hasToolResult": False},
            "response": {"toolCalls": [call]},
        },
    ]


QUOTE = f"The team says: {PLAYERS[0].answer}"


@contextmanager
def claude(
    stage: Stage, url: str, entry: Mapping[str, Any] | None = None, **environ: str
) -> Generator[subprocess.Popen[str]]:
    """Claude Code on one prompt, with our server and nothing of this machine's own settings.

    `entry` is our server in its configuration: by default a command that it starts.
    """
    config = stage.folder / "mcp.json"
    command, *arguments = stage.command
    entry = entry or {"command": command, "args": arguments, "env": stage.environment}
    config.write_text(json.dumps({"mcpServers": {"massgen": entry}}))
    with (stage.folder / "claude.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - a program that this project installed
            [
                program(CLAUDE),
                *("-p", "Ask the team which city is the capital of Australia."),
                *("--mcp-config", str(config), "--strict-mcp-config", "--allowedTools", "mcp__massgen"),
                *("--output-format", "stream-json", "--verbose"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=stage.project,
            start_new_session=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(stage.home),
                "CLAUDE_CONFIG_DIR": str(stage.home / "claude"),
                "ANTHROPIC_API_KEY": "any text",
                "ANTHROPIC_BASE_URL": url,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                **environ,
            },
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def events_of(host: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """What Claude Code reports, as it does."""
    assert host.stdout is not None
    for line in host.stdout:
        yield json.loads(line)


def tool_result(tap: Tap) -> dict[str, Any]:
    """What the host's model was told that the tool returned."""
    blocks = [
        block
        for body in tap.bodies("/v1/messages")
        for message in body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "tool_result"
    ]
    assert blocks, "the host's model was told of no tool result"
    return blocks[0]


def test_claude_code_shows_the_tool_at_once_calls_it_and_quotes_the_structured_answer(
    stage: Stage, tmp_path: Path
) -> None:
    with running_aimock(tmp_path, [*host_fixtures(), *fixtures_for(PLAYERS)]) as aimock:
        stage.write_team("trio", PLAYERS, [aimock.url] * len(PLAYERS))
        with running_tap(aimock.url) as tap, claude(stage, tap.url) as host:
            events = list(events_of(host))
            code = host.wait(30)
        asked = aimock.models()

    assert code == 0
    assert (events[-1]["type"], events[-1]["result"]) == ("result", QUOTE)
    (server,) = events[0]["mcp_servers"]
    assert (server["name"], server["status"]) == ("massgen", "connected")

    first = tap.bodies("/v1/messages")[0]
    (offered,) = [tool for tool in first["tools"] if tool.get("name") == TOOL]
    assert not offered.get("defer_loading"), "alwaysLoad puts it into the first request, whole"

    told = tool_result(tap)
    assert not told.get("is_error")
    structured = json.loads(text_of(told))
    assert (structured["status"], structured["answer"]) == ("completed", PLAYERS[0].answer)
    assert structured["usage"]["requests"] == 3
    assert sorted(asked) == ["team-a", "team-b", "team-c"]

    wait_until(lambda: not processes_with(stage.mark), seconds=1, what="the server ended with its host")


def text_of(result: dict[str, Any]) -> str:
    """The text of a tool result, which the host sends as a string or as blocks."""
    content = result["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def test_an_interrupted_claude_code_ends_the_server_at_once_and_the_run_says_so(
    stage: Stage, tmp_path: Path
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        running_aimock(tmp_path, host_fixtures()) as aimock,
    ):
        silent.settimeout(60)
        port = silent.getsockname()[1]
        stage.write_team("trio", PLAYERS, [f"http://127.0.0.1:{port}"] * len(PLAYERS))
        with claude(stage, aimock.url) as host:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(1), "an agent's model is being asked, and never answers"
                host.send_signal(signal.SIGINT)
                wait_until(lambda: not processes_with(stage.mark), seconds=1, what="the server has ended")
            host.wait(10)

    listing = stage.terminal("runs", "list", "--json", seconds=30)
    assert listing.returncode == 0, listing.stderr
    (row,) = json.loads(listing.stdout)
    assert row["status"] in {"cancelled", "interrupted"}
