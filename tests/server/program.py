"""The server as a process, with a scripted team for the real world: `python -m tests.server.program NAME`.

Its journal is the real one, in the folder that MASSGEN_MCP_STATE_DIR names.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.server.entry import serve_host


@asynccontextmanager
async def make_runs(tasks: TaskGroup) -> AsyncGenerator[object]:
    from massgen_mcp.journal import Journal, open_journal  # noqa: PLC0415 - as late as the real ones
    from massgen_mcp.runs import Ask, ResolvedTeam, Runs  # noqa: PLC0415
    from tests.teams import After, ScriptedTeam  # noqa: PLC0415

    class Team(ScriptedTeam):
        async def _open_journal(self) -> Journal:
            return await open_journal(Path(os.environ["MASSGEN_MCP_STATE_DIR"]))

        async def resolve(self, ask: Ask) -> ResolvedTeam:
            if sys.argv[1] == "noisy":
                print("printed by a library")  # noqa: T201 - the noise
                os.write(1, b"written to descriptor 1\n")
                child = [sys.executable, "-c", "import sys; print('child read', repr(sys.stdin.read()))"]
                subprocess.run(child, check=True)  # noqa: ASYNC221, S603 - a child that inherits everything
            if sys.argv[1] == "stubborn":
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(60)
            return await super().resolve(ask)

    never = anyio.Event()
    scripts = {"a": ["answer: 4"], "b": [After(never, "answer: 4") if sys.argv[1] == "slow" else "answer: 4"]}
    async with Team(scripts)(tasks) as runs:
        assert isinstance(runs, Runs)
        yield runs


if __name__ == "__main__":
    sys.exit(serve_host(make_runs=make_runs))  # type: ignore[arg-type]
