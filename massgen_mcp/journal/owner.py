"""Who drives a run, and whether that process is still there."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from massgen_mcp.journal.records import Owner

__all__ = ["SILENCE", "is_gone", "place_of", "read_owner", "this_process"]

SILENCE = 30.0
"""Seconds without a heartbeat after which an owner that can't be looked at counts as gone."""

_PROC = Path("/proc")
_DEAD_STATES = frozenset("ZX")


def this_process(*, proc: Path = _PROC) -> Owner:
    """The process that runs this code."""
    # By `self`: the system's list of processes may be that of another namespace, where our pid is another's.
    started = _started("self", proc) or 0.0
    return Owner(pid=os.getpid(), host=socket.gethostname(), started=started, space=_space(proc))


def place_of(owner: Owner) -> str:
    """Where a process is, as a row says it: pids of one place can be compared."""
    return f"{owner.host} {owner.space}".rstrip()


def read_owner(pid: int, place: str, started: float = 0.0) -> Owner:
    """A process by its row. Rows of older versions name the host alone."""
    host, _, space = place.partition(" ")
    return Owner(pid=pid, host=host, started=started, space=space)


def is_gone(
    owner: Owner,
    *,
    heartbeat: float,
    now: float,
    proc: Path = _PROC,
    windows: bool = os.name == "nt",
) -> bool:
    """Whether the owner can no longer be driving its run.

    In this host's same pid namespace the system is asked about the process; where it does not tell when a
    process started, and about any other place, the heartbeat decides.
    """
    silent = now - heartbeat > SILENCE
    # On Windows `os.kill` with 0 is Ctrl-C for the whole console, not a question.
    if windows or owner.host != socket.gethostname():
        return silent
    started = _started(str(owner.pid), proc) if _lists_us(proc) else 0.0
    if owner.space != _space(proc):
        # Without a namespace, from an older version: it lives if the start fits, and may be elsewhere if not.
        return silent and (bool(owner.space) or not started or started != owner.started)
    if _lists_us(proc) and owner.started:
        return started != owner.started
    return silent or not _exists(owner.pid)


def _space(proc: Path) -> str:
    """The pid namespace of this process; empty where the system does not say."""
    try:
        return str((proc / "self" / "ns" / "pid").readlink())
    except OSError:
        return ""


def _lists_us(proc: Path) -> bool:
    """Whether the system's list of processes is there, and of our own pid namespace."""
    try:
        return str((proc / "self").readlink()) == str(os.getpid())
    except OSError:
        return False


def _started(pid: str, proc: Path) -> float | None:
    """Seconds after boot at which a living process started; 0.0 where the system does not say.

    After boot and not after the epoch: the wall clock may be set while a run goes on.
    """
    if not (proc / "self" / "stat").exists():
        return 0.0
    try:
        stat = (proc / pid / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The second field is the program's name in brackets and may hold anything, brackets too.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in _DEAD_STATES:
        return None
    return int(fields[19]) / 100


def _exists(pid: int) -> bool:
    try:
        with suppress(PermissionError):  # another user's process, so there is one
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
