"""One command to its end: what is kept of its output, and what ends it."""

from __future__ import annotations

import os
import secrets
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.landlock import Landlock
from massgen_mcp.workspace.python import bare_python, python_roots
from massgen_mcp.workspace.run_command import (
    KILLED_AT_BYTES,
    MOST_SECONDS,
    USUAL_SECONDS,
    Ended,
    command_environment,
    run_command,
)
from massgen_mcp.workspace.sandbox import Sandbox, find_sandbox
from tests.confined import LINUX, alive

pytestmark = [pytest.mark.anyio, LINUX]


@pytest.fixture(params=["bwrap", "landlock", "off"])
async def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if request.param == "landlock":
        return Sandbox("landlock", "", Landlock(root=os.geteuid() == 0))
    found = await find_sandbox(mode="off" if request.param == "off" else "auto")
    assert found.level == request.param, found.why
    return found


async def _run(
    sandbox: Sandbox, folder: Path, script: str, *, seconds: float = 20, most_bytes: int = 10**8
) -> Ended:
    return await run_command(
        sandbox,
        ("sh", "-c", script),
        Confinement(cwd=folder, write=(folder,)),
        environ=command_environment({"NAMED": "yes"}),
        seconds=seconds,
        most_bytes=most_bytes,
    )


async def test_both_streams_and_the_exit_code_are_told(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await _run(
        sandbox, tmp_path, "echo one; echo two >&2; echo $NAMED; read line || echo empty; exit 3"
    )

    assert ended.output == "one\ntwo\nyes\nempty\n"
    assert (ended.exit_code, ended.killed, ended.succeeded) == (3, "", False)
    assert 0 < ended.seconds < 20


async def test_of_a_long_output_the_beginning_and_the_end_are_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await _run(
        sandbox, tmp_path, "echo begin; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end"
    )

    assert ended.output.startswith("begin\nxxx")
    assert ended.output.endswith("xxx\nend\n")
    assert "\n[... 868939 bytes left out ...]\n" in ended.output
    assert ended.output_bytes == 1000011
    assert ended.succeeded


async def test_a_flood_ends_the_command(sandbox: Sandbox, tmp_path: Path) -> None:
    ended = await _run(sandbox, tmp_path, "yes", most_bytes=1_000_000)

    assert ended.killed == "output"
    assert 1_000_000 < ended.output_bytes < 8_000_000
    assert len(ended.output) < 200_000


async def test_a_command_whose_time_is_up_is_ended_with_all_it_started(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    marker = f"5{secrets.randbelow(10**8):08}"
    script = f"trap '' TERM; sleep {marker} & setsid sleep {marker} & echo started; sleep {marker}"
    ended = await _run(sandbox, tmp_path, script, seconds=1)

    assert (ended.killed, ended.output) == ("time", "started\n")
    assert ended.exit_code != 0
    assert ended.seconds < 10
    assert alive(marker) == []


async def test_what_holds_the_output_open_does_not_delay_the_end(sandbox: Sandbox, tmp_path: Path) -> None:
    marker = f"4{secrets.randbelow(10**8):08}"
    ended = await _run(sandbox, tmp_path, f"setsid sleep {marker} & sleep 0.2; echo done")

    assert ended.exit_code == 0
    assert ended.output.startswith("done\n")
    if sandbox.level != "off":
        assert ended.output.endswith("[1 processes in the background ended with the command]\n")
    assert ended.seconds < 10
    assert alive(marker) == []


async def test_cancelling_ends_the_command_too(sandbox: Sandbox, tmp_path: Path) -> None:
    marker = f"3{secrets.randbelow(10**8):08}"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_run, sandbox, tmp_path, f"touch started; setsid sleep {marker} & sleep {marker}")
        assert await anyio.to_thread.run_sync(partial(alive, marker, at_least=2))
        tasks.cancel_scope.cancel()

    assert alive(marker) == []


async def test_a_command_that_ends_itself_by_a_signal_has_its_number(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    assert (await _run(sandbox, tmp_path, "kill -9 $$")).exit_code == 137


async def test_one_that_can_not_be_started_raises(tmp_path: Path) -> None:
    class Nothing:
        level = "none"

        def command(self, argv: object, confinement: Confinement) -> tuple[str, ...]:
            return (str(tmp_path / "missing"),)

    with pytest.raises(OSError, match="missing"):
        await run_command(Nothing(), ("x",), Confinement(cwd=tmp_path), environ={})


async def test_git_works_on_a_folder_whoever_owns_it(tmp_path: Path) -> None:
    sandbox = await find_sandbox()
    ended = await _run(
        sandbox, tmp_path, "git init -q . && git config a.b c && git status --short && echo good"
    )

    assert ended.output == "good\n"


async def test_the_usual_limits_are_those_of_the_design(tmp_path: Path) -> None:
    sandbox = await find_sandbox()
    script = (
        "import resource as r; print(*(r.getrlimit(one)[0] for one in"
        " (r.RLIMIT_AS, r.RLIMIT_FSIZE, r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_CORE)))"
    )
    confinement = Confinement(cwd=tmp_path, write=(tmp_path,), read=python_roots())
    argv = (bare_python(), "-IS", "-c", script)
    ended = await run_command(sandbox, argv, confinement, environ=command_environment())

    assert ended.output.split() == [str(4 * 1024**3), str(1024**3), "256", "1024", "0"]
    assert (USUAL_SECONDS, MOST_SECONDS, KILLED_AT_BYTES) == (60, 600, 64 * 1024**2)


async def test_limits_may_all_be_left_out(tmp_path: Path) -> None:
    sandbox = await find_sandbox()
    limits = ProcessLimits(
        cpu_seconds=None, memory_bytes=None, file_bytes=None, processes=None, open_files=None
    )
    confinement = Confinement(cwd=tmp_path, read=(tmp_path,), limits=limits)
    ended = await run_command(sandbox, ("sh", "-c", "ulimit -v"), confinement, environ=command_environment())

    assert ended.output == "unlimited\n"
