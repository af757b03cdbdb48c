"""Where Claude Code runs: its folder, its sandbox, the shell of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.claude_code_access import TOKEN
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.sandbox import SandboxUnavailable, find_sandbox
from tests.backends.claude_code_stage import Stage, place_of

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="a script is the program")]


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap and Landlock are Linux's")
async def test_commands_of_its_shell_run_confined_where_a_sandbox_works(stage: Stage) -> None:
    try:
        await find_sandbox({"PATH": os.environ["PATH"]})
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    place = await place_of(stage, find_sandbox)
    command = place.command([str(place.fixed / "shell"), "echo ran > made; env; cat ../fixed/shell"])
    said = await anyio.run_process(command, check=False, env={"PATH": os.environ["PATH"], TOKEN: "a-token"})
    made = (place.workspace / "made").read_text() if place.has_shell else ""
    await place.remove()
    assert (place.has_shell, place.why) == (True, "")
    assert made == "ran\n"
    assert b"a-token" not in said.stdout


class Broken:
    """A sandbox in which nothing runs."""

    level = "bwrap"

    def command(self, argv: Sequence[str], confinement: object) -> Sequence[str]:
        return ("/bin/sh", "-c", "echo it is broken >&2; exit 1")


class Absent(Broken):
    """A sandbox whose program is gone."""

    def command(self, argv: Sequence[str], confinement: object) -> Sequence[str]:
        return ("/nowhere/sandbox",)


@pytest.mark.parametrize(
    ("made", "words"), [(Broken, "it is broken"), (Absent, "/nowhere/sandbox")], ids=["broken", "absent"]
)
async def test_a_shell_that_can_t_be_confined_is_left_out_with_the_reason(
    stage: Stage, made: type[Broken], words: str
) -> None:
    async def find(environ: Mapping[str, str], *, mode: str) -> Any:
        del environ, mode
        return made()

    place = await place_of(stage, find)
    await place.remove()
    assert not place.has_shell
    assert words in place.why


class Watching:
    """No sandbox; it remembers what a command would be held in."""

    level = "off"
    why = ""
    seen: Confinement

    def command(self, argv: Sequence[str], confinement: Confinement) -> Sequence[str]:
        self.seen = confinement
        return argv


async def test_a_script_is_given_what_runs_it_and_certificates_are_seen(stage: Stage) -> None:
    authority = stage.folder / "authority.pem"
    authority.touch()
    watching = Watching()

    async def find(environ: Mapping[str, str], *, mode: str) -> Any:
        del environ, mode
        return watching

    place = await place_of(stage, find, NODE_EXTRA_CA_CERTS=str(authority))
    place.command([str(place.program)])
    await place.remove()
    assert {stage.folder, authority} <= set(watching.seen.read)
    assert place.variables()["NODE_EXTRA_CA_CERTS"] == str(authority)
