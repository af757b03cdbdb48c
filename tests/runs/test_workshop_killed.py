"""A server that is killed while its agents work leaves no process behind, wherever they were."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.confined import LINUX, alive
from tests.server.hosts import started
from tests.working import agent, answer, call

# What is killed counts no lines.
pytestmark = [pytest.mark.timeout(60), pytest.mark.no_cover, LINUX]

HOSTILE = str(Path(__file__).parent.parent / "tools" / "hostile.py")


def _entry(start: str, marker: str) -> dict[str, Any]:
    return {"name": "box", "command": sys.executable, "args": [HOSTILE, start, marker], "sandbox": "off"}


def _at_work(marker: str) -> list[dict[str, Any]]:
    """In a command that left a program behind, in the start of a server, in a call of one."""
    script = f"(setsid sh -c 'sleep 60; :' {marker}1 &) ; sh -c 'sleep 60; :' {marker}2"
    return [
        agent("a", call("execute_command", command=script), cwd="work", enable_mcp_command_line=True),
        agent("b", answer("4"), mcp_servers=[_entry("hang_at_start", f"{marker}3")]),
        agent("c", call("box__hang"), mcp_servers=[_entry("run", f"{marker}4")]),
    ]


def _presenting(marker: str) -> list[dict[str, Any]]:
    """In the turn that writes to the project."""
    script = f"echo x > $PROJECT/new; sh -c 'sleep 60; :' {marker}1"
    replies = (answer("4"), call("execute_command", command=script))
    return [agent("a", *replies, cwd="work", enable_mcp_command_line=True)]


@pytest.mark.parametrize(("team", "processes"), [(_at_work, 4), (_presenting, 1)])
def test_after_a_kill_no_process_of_the_agents_is_left(tmp_path: Path, team: Any, processes: int):
    marker = f"killed-{team.__name__}-{tmp_path.name}-"
    markers = [f"{marker}{number}" for number in range(1, processes + 1)]
    for name in ("teams", "project"):
        (tmp_path / name).mkdir()
    contexts = {"context_paths": [{"path": ".", "permission": "write"}]}
    file = {"agents": team(marker), "orchestrator": contexts}
    (tmp_path / "teams" / "mine.yaml").write_text(yaml.safe_dump(file))
    environ = {
        "MASSGEN_MCP_CONFIG_DIRS": str(tmp_path / "teams"),
        "MASSGEN_MCP_ROOTS": str(tmp_path / "project"),
    }
    with started(["-m", "massgen_mcp"], tmp_path, environ=environ) as server:
        server.shake_hands()
        server.begin(1, "ask_team", question="?", team="mine", wait_seconds=0)
        assert not server.reply(1)["result"].get("isError")
        for one in markers:
            assert alive(one, at_least=1, within=20), server.errors
        server.process.kill()
        until = time.monotonic() + 5
        for one in markers:
            assert not alive(one, within=until - time.monotonic())
