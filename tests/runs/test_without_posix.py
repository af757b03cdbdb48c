"""A system without POSIX modules: teams without tools work there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(60)

# What the MCP SDK and Python need of them on this system is loaded first; nothing of ours is.
_SCRIPT = """
import asyncio, subprocess, sys
import anyio, mcp, mcp.server.stdio
hidden = dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios"))
sys.modules.update(hidden)

from pathlib import Path
from tests.working import agent, answer, ask, host

async def main():
    async with host(Path(sys.argv[1]), agent("a", answer("4")), agent("b", answer("4"))) as client:
        print((await ask(client))["answer"])

anyio.run(main)
"""


def test_a_question_is_answered_where_no_posix_module_can_be_imported(tmp_path: Path):
    root = Path(__file__).parent.parent.parent
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _SCRIPT, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert ended.stdout == "4\n", ended.stderr
