"""Agents that work: a team file with tools, from a client's question to the project that was mended."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from tests.server.shown import text
from tests.working import agent, answer, ask, call, host, transcript, vote

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

WRONG = "def add(a, b):\n    return a - b\n"
TEST = """import unittest
from calc import add


class T(unittest.TestCase):
    def test(self):
        self.assertEqual(add(2, 2), 4)
"""
RUN_TESTS = "python3 -m unittest -q"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "calc.py").write_text(WRONG)
    (folder / "test_calc.py").write_text(TEST)
    return folder


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
    command = [sys.executable, "-m", "unittest", "-q"]
    tests = await anyio.run_process(command, cwd=project, check=False)
    assert tests.returncode == 0
    assert "AssertionError: 0 != 4" in said
    assert "read-only until the final answer" in said
    assert [file["path"] for file in result["files"]] == ["calc.py", "test_calc.py"]
