"""The profile for macOS as text; the shell around it runs anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.seatbelt import Seatbelt, profile
from tests.confined import alive


def test_everything_is_denied_that_is_not_named_and_inner_folders_come_last(tmp_path: Path) -> None:
    work, kept, shown = (tmp_path / name for name in ("work", "work/kept", 'sho"wn'))
    lines = profile(Confinement(cwd=work, write=(work,), read=(shown, kept))).splitlines()

    assert lines[:2] == ["(version 1)", "(deny default)"]
    own = [line for line in lines if str(tmp_path) in line]
    assert own == [
        f'(allow file-read* (subpath "{tmp_path}/sho\\"wn"))',
        f'(deny file-write* (subpath "{tmp_path}/sho\\"wn"))',
        f'(allow file-read* (subpath "{work}"))',
        f'(allow file-write* (subpath "{work}"))',
        f'(allow file-read* (subpath "{kept}"))',
        f'(deny file-write* (subpath "{kept}"))',
    ]
    assert not any("network" in line for line in lines)


def test_the_network_is_opened_without_the_sockets_of_other_programs(tmp_path: Path) -> None:
    text = profile(Confinement(cwd=tmp_path, network=True))

    assert text.index("(allow network*") < text.index("(deny network-outbound (remote unix-socket")


@pytest.fixture
def seatbelt(tmp_path: Path) -> Seatbelt:
    """One whose program runs the command as it is."""
    program = tmp_path / "sandbox-exec"
    program.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    program.chmod(0o755)
    return Seatbelt(str(program))


def test_the_command_keeps_its_input_and_its_exit_code(tmp_path: Path, seatbelt: Seatbelt) -> None:
    limits = ProcessLimits(cpu_seconds=60, file_bytes=10_000)
    command = seatbelt.command(
        ["sh", "-c", "cat; pwd; ulimit -t; exit 3"], Confinement(cwd=tmp_path, limits=limits)
    )
    ended = subprocess.run(  # noqa: S603 - what is tested
        command, input=b"given\n", capture_output=True, check=False, timeout=20
    )

    assert ended.stdout.decode().split() == ["given", str(tmp_path), "60"]
    assert ended.returncode == 3


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGKILL])
def test_what_it_started_ends_with_it(tmp_path: Path, seatbelt: Seatbelt, way: signal.Signals) -> None:
    marker = f"6{os.getpid():08}{way:02}"
    script = f"sleep {marker} & echo ready; sleep {marker}"
    unlimited = ProcessLimits(cpu_seconds=None, memory_bytes=None, file_bytes=None, open_files=None)
    command = seatbelt.command(["sh", "-c", script], Confinement(cwd=tmp_path, limits=unlimited))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:  # noqa: S603 - what is tested
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(way)
        child.wait()

        assert alive(marker) == []
