"""Docker as a launcher: its command line, what is said without it, and the bond of a container to us."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import anyio
import pytest

from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.docker import Docker, find_docker
from massgen_mcp.workspace.run_command import run_command
from massgen_mcp.workspace.sandbox import SandboxUnavailable
from tests.confined import LINUX, alive

pytestmark = [pytest.mark.anyio, LINUX]

# Containers have a process namespace of their own; this one has nothing else of a container.
_PRETEND = """case "$1" in
version | image) exit 0 ;;
run) while [ "$1" != --workdir ]; do shift; done
     cd "$2" && while [ "$1" != --entrypoint ]; do shift; done
     shift 3; exec BWRAP --unshare-pid --dev-bind / / --proc /proc -- /bin/sh "$@" ;;
esac"""


def _docker(folder: Path, script: str) -> Docker:
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Docker(program=str(program), environ={"PATH": os.defpath, "HOME": "/home/me", "SECRET": "x"})


def test_a_container_gets_what_is_named_and_nothing_else(tmp_path: Path) -> None:
    work, shown = tmp_path / "work", tmp_path / "a,b"
    docker = Docker(
        program="docker",
        environ={"PATH": "/bin", "DOCKER_HOST": "unix:///x", "SECRET": "x"},
        image="team:1",
        memory="2g",
        cpus=1.5,
        variables=("NAMED",),
    )
    limits = ProcessLimits(cpu_seconds=9, processes=64)
    command = docker.command(
        ["sh", "-c", "ls"], Confinement(cwd=work, write=(work,), read=(shown,), limits=limits)
    )
    text = " ".join(command)

    assert text.startswith("/usr/bin/env DOCKER_HOST=unix:///x PATH=/bin docker run --rm --interactive")
    for part in (
        "--network none",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--read-only",
        "--memory 2g --cpus 1.5 --pids-limit 64 --ulimit cpu=9:9",
        f"--mount type=bind,src={work},dst={work} ",
        f'--mount type=bind,"src={shown}","dst={shown}",readonly ',
        f"--workdir {work}",
        "--env NAMED --entrypoint /bin/sh team:1 -c ",
    ):
        assert part in text
    assert command[-3:] == ("sh", "-c", "ls")
    assert "SECRET" not in text


async def test_where_docker_or_its_image_is_missing_that_is_said(tmp_path: Path) -> None:
    cases = {
        "": "docker is not installed. Install it, or use execution mode local",
        "echo no daemon >&2; exit 1": "docker does not answer (no daemon). Start its daemon",
        'test "$1" = version': "the image python:3.12-slim is not here. Fetch it: docker pull python:3",
    }
    for script, words in cases.items():
        docker = _docker(tmp_path, script) if script else Docker(program="no-docker", environ={})
        with pytest.raises(SandboxUnavailable) as caught:
            await find_docker(docker)
        assert words in str(caught.value)


async def test_a_container_ends_with_the_input_of_its_launcher(tmp_path: Path) -> None:
    docker = _docker(tmp_path, _PRETEND.replace("BWRAP", shutil.which("bwrap") or "no-bwrap"))
    marker = f"2{secrets.randbelow(10**8):08}"
    environ = {"PATH": os.defpath}
    assert await find_docker(docker) is docker

    script = "pwd; read line || echo no input; exit 3"
    ended = await run_command(docker, ("sh", "-c", script), Confinement(cwd=tmp_path), environ=environ)
    assert (ended.output, ended.exit_code) == (f"{tmp_path}\nno input\n", 3)

    script = f"setsid sleep {marker} & echo started; sleep {marker}"
    command = docker.command(("sh", "-c", script), Confinement(cwd=tmp_path))
    async with await anyio.open_process(command, env=environ, stderr=None) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert await process.stdout.receive() == b"started\n"
        assert alive(marker, at_least=2)
        await process.stdin.aclose()

        assert alive(marker) == []
