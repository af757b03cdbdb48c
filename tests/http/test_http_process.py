"""The server over HTTP as a process: what it shows, how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from massgen_mcp.journal import open_journal
from massgen_mcp.server.http.tokens import add_token, revoke_token
from tests.server.peers import envelope
from tests.server.zygote import Forked, fork

ROOT = Path(__file__).parent.parent.parent
KEPT = ("PATH", "LANG", "COVERAGE_PROCESS_CONFIG")


class Server:
    """One started server."""

    def __init__(self, process: Forked, errors: Path, folder: Path) -> None:
        self.process = process
        self.state = folder / "state"
        self._errors = errors

    @property
    def errors(self) -> str:
        """What it has written to stderr."""
        return self._errors.read_text("utf-8")

    def said(self, pattern: str) -> str:
        """What it says, as soon as it does."""
        give_up = time.monotonic() + 20
        while (found := re.search(pattern, self.errors)) is None:
            assert self.process.poll() is None, self.errors
            assert time.monotonic() < give_up, self.errors
            time.sleep(0.02)
        return found[1]

    def ended(self, within: float) -> int:
        """Its exit code, and that it came in time."""
        began = time.monotonic()
        code = self.process.wait(timeout=20)
        assert time.monotonic() - began < within
        return code


@contextmanager
def started(what: Sequence[str], folder: Path, *options: str, **environ: str) -> Generator[Server]:
    """A server process, killed at the end if it is still there."""
    errors = folder / "stderr"
    own = {"HOME": str(folder), "MASSGEN_MCP_STATE_DIR": str(folder / "state")}
    clean = {key: os.environ[key] for key in KEPT if key in os.environ}
    module, *arguments = [*what, "--port", free_port(), *options]
    with (
        errors.open("w") as stderr,
        fork(module, arguments, environ=clean | own | environ, stderr=stderr, stdin=False) as process,
    ):
        try:
            yield Server(process, errors, folder)
        finally:
            process.kill()


def free_port() -> str:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return str(place.getsockname()[1])


SCRIPTED = ("tests.http.program",)
REAL = ("massgen_mcp", "serve", "--http")


def call(url: str, token: str, tool: str, *, timeout: float = 20, **arguments: Any) -> httpx2.Response:
    body = {"name": tool, "arguments": arguments, "_meta": envelope()}
    return httpx2.post(
        url,
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": body},
        headers={
            "authorization": f"Bearer {token}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": tool,
        },
        timeout=timeout,
    )


def test_a_token_is_made_up_and_shown_once(tmp_path: Path):
    with started(REAL, tmp_path) as server:
        url, token = server.said(r"at (http://\S+)\n"), server.said(r"this once: (\S+)\n")
        answered = call(url, token, "list_backends")
        backends = answered.json()["result"]["structuredContent"]["backends"]
        server.process.send_signal(signal.SIGTERM)
        assert server.ended(within=8) == 128 + signal.SIGTERM
        assert server.process.stdout is not None
        assert server.process.stdout.read() == b""
    assert backends
    assert len(token) >= 43
    assert server.errors.count(token) == 2  # as such, and in the line for a host
    assert "Traceback" not in server.errors


def test_a_signal_ends_it_soon_and_the_run_can_go_on_later(tmp_path: Path):
    token = "a-token-of-the-operator-alone"
    with started((*SCRIPTED, "slow"), tmp_path, MASSGEN_MCP_TOKEN=token) as server:
        url = server.said(r"at (http://\S+)\n")
        begun = call(url, token, "ask_team", question=f"What is {token}?", wait_seconds=0)
        run_id = begun.json()["result"]["structuredContent"]["run_id"]
        listed = call(url, token, "get_run").text
        server.process.send_signal(signal.SIGTERM)
        assert server.ended(within=6) == 128 + signal.SIGTERM
    assert "Traceback" not in server.errors
    assert token not in server.errors + begun.text + listed
    assert "[MASSGEN_MCP_TOKEN]" in listed
    state, kinds = anyio.run(journalled, server.state, run_id)
    assert state == "interrupted"
    assert "Finished" not in kinds


def test_a_second_signal_does_not_wait(tmp_path: Path):
    with started((*SCRIPTED, "stubborn"), tmp_path) as server:
        url, token = server.said(r"at (http://\S+)\n"), server.said(r"this once: (\S+)\n")
        with pytest.raises(httpx2.TimeoutException):
            call(url, token, "ask_team", question="?", timeout=0.7)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.ended(within=1) == -signal.SIGINT


SLOW = "agents: [{id: a, backend: {type: scripted, replies: [{text: four, delay: 600}]}}]\n"


def test_runs_are_taken_up_within_what_the_tokens_of_their_users_allow_by_then(tmp_path: Path):
    teams, tokens, operator = tmp_path / "teams", tmp_path / "tokens.json", "a-token-of-the-operator-alone"
    teams.mkdir()
    for team in ("fast", "slow"):
        (teams / f"{team}.yaml").write_text(SLOW, "utf-8")
    people = {name: add_token(tokens, name) for name in ("anna", "ben", "carl", "dora")}
    served = {"MASSGEN_MCP_TOKEN": operator, "MASSGEN_MCP_CONFIG_DIRS": str(teams)}
    begun: dict[str, str] = {}
    with started(REAL, tmp_path, "--tokens", str(tokens), **served) as server:
        url = server.said(r"at (http://\S+)\n")
        for key, person in (
            ("anna", "anna"),
            ("ben", "ben"),
            ("carl", "carl"),
            ("d1", "dora"),
            ("d2", "dora"),
        ):
            asked = call(url, people[person], "ask_team", question=key, team="slow", wait_seconds=0)
            begun[asked.json()["result"]["structuredContent"]["run_id"]] = key
        server.process.send_signal(signal.SIGTERM)
        assert server.ended(within=8) == 128 + signal.SIGTERM
    for name in ("anna", "ben", "dora"):
        revoke_token(tokens, name)
    add_token(tokens, "ben", teams=["fast"])
    add_token(tokens, "dora", runs=1)
    with started(
        REAL, tmp_path, "--tokens", str(tokens), MASSGEN_MCP_RESUME="on", MASSGEN_MCP_LOG="INFO", **served
    ) as server:
        url = server.said(r"at (http://\S+)\n")
        why = {
            key: server.said(rf"run {run_id} was not taken up again: (.*)")
            for run_id, key in begun.items()
            if key in {"anna", "ben", "d2"}
        }
        listed = call(url, operator, "get_run").json()["result"]["structuredContent"]["runs"]
    assert why["anna"] == "it is anna's, whose token is no good any more."
    assert 'Team "slow" is not open to you' in why["ben"]
    assert "You have 1 runs in motion" in why["d2"]
    assert {begun[row["run_id"]]: row["status"] for row in listed} == {
        "anna": "interrupted",
        "ben": "interrupted",
        "carl": "running",
        "d1": "running",
        "d2": "interrupted",
    }


def test_a_host_leaves_the_runs_of_users_alone(tmp_path: Path):
    async def begin() -> None:
        journal = await open_journal(tmp_path / "state")
        for name in ("anna", ""):
            log = await journal.begin(f"run-{name or 'mine'}", question="?", team="slow", body={}, user=name)
            await log.leave()
        await journal.aclose()

    anyio.run(begin)
    own = {"HOME": str(tmp_path), "MASSGEN_MCP_STATE_DIR": str(tmp_path / "state")}
    clean = {key: os.environ[key] for key in KEPT if key in os.environ}
    resuming = clean | own | {"MASSGEN_MCP_RESUME": "on", "MASSGEN_MCP_LOG": "DEBUG"}
    errors = tmp_path / "stderr"
    with (
        errors.open("w") as stderr,
        fork("massgen_mcp", ["serve"], environ=resuming, stderr=stderr) as process,
    ):
        server = Server(process, errors, tmp_path)
        try:
            server.said("(run-mine was not taken up again)")
            assert process.stdin is not None
            process.stdin.close()
            server.ended(within=8)
        finally:
            process.kill()
    assert "run-anna" not in server.errors
    states = [anyio.run(journalled, tmp_path / "state", f"run-{name}")[0] for name in ("anna", "mine")]
    assert states == ["interrupted", "interrupted"]


async def journalled(folder: Path, run_id: str) -> tuple[str, list[str]]:
    journal = await open_journal(folder)
    row = await journal.row(run_id)
    kinds = [record.kind for record in await journal.read(run_id)]
    await journal.aclose()
    return row.state, [*kinds]
