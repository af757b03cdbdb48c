"""Who drives a run, and whether that process is still there."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from massgen_mcp.journal.records import Owner

__all__ = ["SILENCE", "is_gone", "this_process"]

SILENCE = 30.0
"""Seconds without a heartbeat after which an owner that can't be looked at counts as gone."""

_PROC = Path("/proc")
_DEAD_STATES = frozenset("ZX")


def this_process(*, proc: Path = _PROC) -> Owner:
    """The process that runs this code."""
    pid = os.getpid()
    return Owner(pid=pid, host=socket.gethostname(), started=_started(pid, proc) or 0.0)


def is_gone(
    owner: Owner,
    *,
    heartbeat: float,
    now: float,
    proc: Path = _PROC,
    windows: bool = os.name == "nt",
) -> bool:
    """Whether the owner can no longer be driving its run.

    On this host the system is asked about the process; where it does not tell when a process started, and
    for other hosts, the heartbeat decides.
    """
    silent = now - heartbeat > SILENCE
    # On Windows `os.kill` with 0 is Ctrl-C for the whole console, not a question.
    if windows or owner.host != socket.gethostname():
        return silent
    if (proc / "self" / "stat").exists():
        return _started(owner.pid, proc) != owner.started
    return silent or not _exists(owner.pid)


def _started(pid: int, proc: Path) -> float | None:
    """Seconds after boot at which a living process started; 0.0 where the system does not say.

    After boot and not after the epoch: the wall clock may be set while a run goes on.
    """
    if not (proc / "self" / "stat").exists():
        return 0.0
    try:
        stat = (proc / str(pid) / "stat").read_text("utf-8", "replace")
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
