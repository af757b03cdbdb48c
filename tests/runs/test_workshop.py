"""Agents that work: a team file with tools, from a client's question to the project that was mended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client

from massgen_mcp.runs.open import open_runs
from massgen_mcp.server.app import build_server
from tests.server.shown import data, text

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

WRONG = "def add(a, b):\n    return a - b\n"
TEST = "import unittest\nfrom calc import add\n\n\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(add(2, 2), 4)\n"
RUN_TESTS = "python3 -m unittest -q"


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"calls": [{"name": name, "arguments": arguments}]}


def answer(content: str) -> dict[str, Any]:
    return call("new_answer", content=content, conclusion=content)


def vote(label: str) -> dict[str, Any]:
    return call("vote", answer=label, reason="its tests pass")


def agent(name: str, *replies: dict[str, Any], **backend: Any) -> dict[str, Any]:
    return {"id": name, "backend": {"type": "scripted", "replies": list(replies), **backend}}


@asynccontextmanager
async def host(place: Path, *agents: dict[str, Any], **orchestrator: Any) -> AsyncGenerator[Client]:
    """A client of a server in which the team `mine` can be asked. Labels follow the agents' order."""
    for name in ("home", "teams", "project"):
        (place / name).mkdir(exist_ok=True)
    team = {"agents": list(agents), "orchestrator": {"shuffle_seed": 4, **orchestrator}}
    (place / "teams" / "mine.yaml").write_text(yaml.safe_dump(team), encoding="utf-8")
    make_runs = partial(
        open_runs,
        place="server",
        config_dirs=[place / "teams"],
        environ={"MASSGEN_MCP_STATE_DIR": str(place / "state"), "PATH": "/usr/bin:/bin"},
        home=place / "home",
        here=place / "project",
        config_folder=place / "config",
    )
    async with Client(build_server(make_runs)) as client:
        yield client


async def ask(client: Client, **more: Any) -> dict[str, Any]:
    reply = await client.call_tool(
        "ask_team", {"question": "Mend it.", "team": "mine", "detail": "votes", **more}
    )
    assert not reply.is_error, text(reply)
    return data(reply)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "calc.py").write_text(WRONG)
    (folder / "test_calc.py").write_text(TEST)
    return folder


async def transcript(client: Client, run_id: str) -> str:
    reply = await client.call_tool("get_run", {"run_id": run_id, "detail": "transcript"})
    return json.dumps(data(reply), ensure_ascii=False)


async def test_three_agents_repair_a_project_and_the_winners_patch_is_written_to_it(
    tmp_path: Path, project: Path
):
    copy = "cp -r $PROJECT/. . && "
    mended = f"{copy}sed -i 's/a - b/a + b/' calc.py && {RUN_TESTS}"
    team = [
        agent(
            "first",
            call("execute_command", command=f"{copy}{RUN_TESTS}"),
            answer("left as it was"),
            call("execute_command", command="cat $ANSWERS/*/calc.py"),
            vote("agent2.1"),
            cwd="work",
            enable_mcp_command_line=True,
        ),
        agent(
            "second",
            call("execute_command", command=mended),
            answer("a plus instead of a minus"),
            call("list_directory", path="answers"),
            vote("agent2.1"),
            call("edit_file", path="project/calc.py", old_text="a - b", new_text="a + b"),
            answer("a plus instead of a minus, written"),
            cwd="work",
            enable_mcp_command_line=True,
        ),
        agent(
            "third",
            call("write_file", path="project/calc.py", content="raise SystemExit"),
            answer("not mine to write"),
            call("read_file", path="answers/agent2.1/calc.py"),
            vote("agent2.1"),
            cwd="work",
        ),
    ]
    contexts = [{"path": ".", "permission": "write", "protected_paths": ["test_calc.py"]}]
    async with host(tmp_path, *team, context_paths=contexts, exclude_self=False) as client:
        result = await ask(client)
        said = await transcript(client, result["run_id"])
        diff = await client.call_tool(
            "get_run", {"run_id": result["run_id"], "detail": "files", "path": "changes/calc.py"}
        )
    assert result["status"] == "completed"
    assert result["changes"] == [
        {
            "path": "calc.py",
            "added": 1,
            "removed": 1,
            "diff_uri": f"massgen://runs/{result['run_id']}/changes/calc.py",
        }
    ]
    assert "+    return a + b" in text(diff)
    tests = subprocess.run([sys.executable, "-m", "unittest", "-q"], cwd=project, check=False)  # noqa: S603
    assert tests.returncode == 0
    assert "AssertionError: 0 != 4" in said
    assert "read-only until the final answer" in said
    assert [file["path"] for file in result["files"]] == ["calc.py", "test_calc.py"]
