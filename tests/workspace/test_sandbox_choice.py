"""Which sandbox is chosen, and what is said when none works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, choose, find_sandbox
from tests.confined import LINUX

pytestmark = [pytest.mark.anyio, LINUX]


def _fake(folder: Path, script: str) -> dict[str, str]:
    """A PATH on which bubblewrap is this script."""
    program = folder / "bwrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": str(folder)}


async def test_bubblewrap_is_chosen_where_it_works_and_looked_for_once() -> None:
    found = await find_sandbox()

    assert found.level == "bwrap", found.why
    assert await find_sandbox() is found


async def test_without_it_landlock_is_chosen_and_says_what_it_does_not_hold(tmp_path: Path) -> None:
    found = await choose({"PATH": str(tmp_path)})

    assert isinstance(found, Sandbox)
    assert found.level == "landlock"
    assert found.why.startswith("bwrap: not installed; not held: ")
    assert "UDP" in found.why


async def test_one_that_runs_but_does_not_hold_is_not_trusted(tmp_path: Path) -> None:
    pretending = _fake(tmp_path, 'while [ "$1" != --chdir ]; do shift; done; cd "$2"; shift 3; exec "$@"')
    found = await choose(pretending)

    assert found.level == "landlock" if isinstance(found, Sandbox) else False
    assert "bwrap: a child under it could read a file outside, write a file outside" in str(found)


async def test_one_that_fails_is_named_with_its_own_words(tmp_path: Path) -> None:
    found = await choose(_fake(tmp_path, "echo setting up uid map: Permission denied >&2; exit 1"))

    assert "bwrap: setting up uid map: Permission denied; " in str(found)


async def test_one_that_does_nothing_is_not_trusted(tmp_path: Path) -> None:
    found = await choose(_fake(tmp_path, "echo []"))

    assert "bwrap: a child under it could not write in its own folder" in str(found)


@pytest.mark.parametrize(("version", "reason"), [(0, "not in this kernel"), (3, "has version 3 of it, 4 is")])
async def test_nothing_is_chosen_where_nothing_works(tmp_path: Path, version: int, reason: str) -> None:
    found = await choose({"PATH": str(tmp_path)}, landlock_version=lambda: version)

    assert isinstance(found, SandboxUnavailable)
    assert str(found).startswith(
        "command tool unavailable: no sandbox works here (bwrap: not installed; landlock: "
    )
    assert reason in str(found)
    assert "set sandbox: off in the team file" in str(found)


async def test_windows_is_refused_and_a_mac_without_its_sandbox_too() -> None:
    for platform, words in (("win32", "no sandbox for commands on Windows"), ("darwin", "(seatbelt: ")):
        found = await choose(os.environ, platform=platform)

        assert isinstance(found, SandboxUnavailable)
        assert words in str(found)


async def test_a_refusal_is_remembered_and_raised_anew(tmp_path: Path) -> None:
    (tmp_path / "bwrap").mkdir()
    found = await find_sandbox({"PATH": str(tmp_path)})

    assert await find_sandbox({"PATH": str(tmp_path)}) is found


async def test_off_runs_the_command_as_it_is_in_its_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    sandbox = await find_sandbox(mode="off")
    command = sandbox.command(["sh", "-c", 'pwd; echo "$HOME"'], Confinement(cwd=tmp_path, home=home))
    ended = await anyio.run_process(command, env={"PATH": os.defpath})

    assert sandbox.level == "off"
    assert ended.stdout.decode().split() == [str(tmp_path), str(home)]


def test_the_module_can_be_imported_where_there_is_no_posix() -> None:
    hidden = "import sys; sys.modules.update(fcntl=None, resource=None, pwd=None, grp=None, termios=None)\n"
    script = (
        f"{hidden}import massgen_mcp.workspace.sandbox, massgen_mcp.workspace.docker, massgen_mcp.tools.shell"
    )

    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603 - our own program
