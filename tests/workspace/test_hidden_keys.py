"""Keys that lie in a project are not shown to programs either."""

from __future__ import annotations

from pathlib import Path

import pytest

from massgen_mcp.workspace.areas import Areas
from massgen_mcp.workspace.context import Context
from massgen_mcp.workspace.run_command import command_environment, run_command
from massgen_mcp.workspace.sandbox import find_sandbox

pytestmark = pytest.mark.anyio


async def test_a_command_sees_the_project_without_what_keeps_keys(tmp_path: Path):
    project, workspace = tmp_path / "project", tmp_path / "workspace"
    for folder in (project / "deep" / ".ssh", workspace):
        folder.mkdir(parents=True)
    (project / "main.py").write_text("print()")
    (project / ".env").write_text("TOKEN=in-the-open")
    (project / "deep" / "server.pem").write_text("in-the-open")
    (project / "deep" / ".ssh" / "config").write_text("in-the-open")
    areas = Areas(workspace, [Context(path=project)])
    areas.look_for_keys()
    command = (
        f"cd {project} && ls -A && cat main.py .env deep/server.pem; ls -A deep/.ssh; rm -f .env; mv .env x"
    )
    sandbox = await find_sandbox()
    ended = await run_command(
        sandbox, ("sh", "-c", command), areas.confinement(), environ=command_environment()
    )
    areas.close()
    assert sandbox.level == "bwrap"
    assert "main.py" in ended.output
    assert "print()" in ended.output
    assert "in-the-open" not in ended.output
    assert (project / ".env").read_text() == "TOKEN=in-the-open"
