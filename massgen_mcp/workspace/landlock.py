"""The command line of our own guard: Landlock, limits and a system call filter, without bubblewrap."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.mounts import mounts
from massgen_mcp.workspace.python import bare_python
from massgen_mcp.workspace.seccomp import filter_file
from massgen_mcp.workspace.system import ETC, LINKED, PACKAGES

__all__ = ["LEAST_VERSION", "VERSION_OF_SCOPES", "Landlock", "counted", "not_held", "scoped", "version"]

LEAST_VERSION = 4
"""The first that closes TCP ports."""
VERSION_OF_SCOPES = 6
"""The first that keeps other programs' abstract sockets and processes from a child."""

_CREATE_RULESET = 444
_GUARD = Path(__file__).with_name("guard.py")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")


def version() -> int:
    """Which version of Landlock the kernel has; 0 for none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None).syscall(_CREATE_RULESET, None, 0, 1)))


def not_held(known: int) -> str:
    """What this level leaves open, in words."""
    signals = "" if known >= VERSION_OF_SCOPES else ", signals to the user's other programs"
    return (
        "not held: the list of processes and their arguments can be read, and names and sizes of files; modes"
        f" and times of the user's own files can be changed{signals}; $TMPDIR has no limit; held more"
        " tightly: UDP and sockets in the file system are closed by a system call filter, so without network"
        " there are no sockets at all; beside a protected path no new file can be made"
    )


def _guarded(wanted: dict[str, object], argv: Sequence[str], python: str = "") -> tuple[str, ...]:
    return (python or bare_python(), "-IS", str(_GUARD), json.dumps({"server": os.getpid(), **wanted}), *argv)


def scoped(argv: Sequence[str]) -> tuple[str, ...]:
    """The command without abstract sockets of other programs, which a shared network would show it."""
    return _guarded({"cwd": "/", "landlock": {"files": False, "network": True}}, argv)


def counted(argv: Sequence[str], most: int) -> tuple[str, ...]:
    """The command, ended when it has more processes below it: for root, whom the kernel does not count."""
    return _guarded({"cwd": "/", "watch": True, "most": most}, argv)


class Landlock:
    """How Landlock is used here."""

    def __init__(self, *, root: bool, python: str = "") -> None:
        self._root = root
        self._python = python

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command line that runs `argv` so confined."""
        wanted = mounts(confinement)
        network = confinement.network
        rules = [*_system(), *((str(mount.path), "write" if mount.writable else "read") for mount in wanted)]
        writable = [mount.path for mount in wanted if mount.writable]
        protected = [
            str(mount.path) for mount in wanted if not mount.writable and {*mount.path.parents} & {*writable}
        ]
        protected += map(str, confinement.absent)
        hidden = [str(path) for path in confinement.hide]
        limits = confinement.limits
        spec: dict[str, object] = {
            "cwd": str(confinement.cwd),
            "watch": True,
            "private": True,
            "environ": {"HOME": str(confinement.home)} if confinement.home else {},
            "landlock": {
                "files": True,
                "network": network,
                "rules": rules,
                "protected": protected,
                "hidden": hidden,
            },
            "filter": str(filter_file("landlock-network" if network else "landlock")),
            "limits": _limits(limits),
        }
        if self._root:
            spec |= {"most": limits.processes, "first": True}
        return _guarded(spec, argv, self._python)


def _limits(limits: ProcessLimits) -> dict[str, int | None]:
    return {
        "CPU": limits.cpu_seconds,
        "AS": limits.memory_bytes,
        "FSIZE": limits.file_bytes,
        "NPROC": limits.processes,
        "NOFILE": limits.open_files,
        "CORE": 0,
    }


def _system() -> Iterator[tuple[str, str]]:
    for path in (*PACKAGES, *LINKED, *ETC, "/etc/passwd", "/etc/group"):
        yield path, "read"
    yield "/proc", "look"
    for name in _DEVICES:
        yield f"/dev/{name}", "device"
