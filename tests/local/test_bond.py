from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from massgen_mcp.workspace.bond import bonded

_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""


def started(*command: str, parent: int | None = None) -> subprocess.Popen[bytes]:
    words = list(bonded(command))
    if parent is not None:
        words[3] = str(parent)
    # Without the flags that keep a Python bare, which also keep it from being measured.
    measured = [words[0], *words[2:]]
    return subprocess.Popen(measured, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - as given


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 5
    while not gone(pid):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_speaks_and_ends_as_its_command_does() -> None:
    with started("sh", "-c", "read line; echo got $line; exit 7") as process:
        said, _ = process.communicate(b"it\n", timeout=20)

    assert said == b"got it\n"
    assert process.returncode == 7


def test_a_command_that_a_signal_ended_is_told_as_a_shell_would() -> None:
    with started("sh", "-c", "kill -9 $$") as process:
        process.communicate(timeout=20)

    assert process.returncode == 137


def test_a_command_that_is_not_there_is_said_so() -> None:
    with started("/no/such/program") as process:
        process.communicate(timeout=20)

    assert process.returncode == 127


def test_what_the_command_left_behind_ends_with_it() -> None:
    with started("sh", "-c", "setsid sleep 600 >/dev/null & echo $!") as process:
        said, _ = process.communicate(timeout=20)

    wait_until_gone(int(said))


def test_who_ignores_the_request_to_end_is_ended() -> None:
    with started(sys.executable, "-c", _STUBBORN) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.wait(20)

        assert process.returncode == 1


def test_nothing_is_started_for_a_parent_that_is_gone_already() -> None:
    with started("sh", "-c", "echo started", parent=os.getpid() + 1) as process:
        said, _ = process.communicate(timeout=20)

    assert said == b""
    assert process.returncode == 1


def test_it_ends_when_its_parent_does_without_a_word() -> None:
    words = [*bonded((sys.executable, "-c", _STUBBORN))]
    script = (
        "import os, subprocess, sys\n"
        "words = sys.argv[1:]\n"
        "words[2] = str(os.getpid())\n"
        "child = subprocess.Popen(words, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with (
        subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-c", script, words[0], *words[2:]], stdout=subprocess.PIPE
        ) as between
    ):
        said, _ = between.communicate(timeout=20)

    wait_until_gone(int(said))
