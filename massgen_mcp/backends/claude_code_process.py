"""A started command line, and its end: of itself, and of all that it started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio

__all__ = ["Process"]

_LOOK = 0.005
_PATIENCE = 2.0
"""Seconds until the processes of a killed command line are known to be gone."""


class Process:
    """A started command line, held so that its number can't come to mean another process.

    What is killed first is the sandbox's monitor: the kernel ends what is in there after it, at its leisure.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._held: dict[int, int] = {}
        self._hold(pid)

    def kill(self) -> None:
        """End it and all that it started, at once."""
        below = list(_below(self.pid)) if self._lives(self.pid) else []
        for pid in below:
            self._hold(pid)
        for pid in (self.pid, *below):
            self._signal(pid)

    async def gone(self) -> None:
        """Wait until those that were killed have ended."""
        with anyio.move_on_after(_PATIENCE):
            while any(self._lives(pid) for pid in self._held):  # noqa: ASYNC110 - nothing says when all have
                await anyio.sleep(_LOOK)

    def forget(self) -> None:
        """Let go of them."""
        for descriptor in self._held.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._held.clear()

    def _hold(self, pid: int) -> None:
        # It may have ended already, or this system has no such call.
        with contextlib.suppress(OSError, AttributeError):
            self._held.setdefault(pid, os.pidfd_open(pid))

    def _lives(self, pid: int) -> bool:
        descriptor = self._held.get(pid)
        if descriptor is None:
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return not poll.poll(0)

    def _signal(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid in self._held:
                signal.pidfd_send_signal(self._held[pid], signal.SIGKILL)
            elif not hasattr(os, "pidfd_open"):
                os.kill(pid, signal.SIGKILL)


def _below(pid: int) -> Iterator[int]:
    """Everybody that a process started, or they did; nobody where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything.
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    ready = [pid]
    while ready:
        found = children.get(ready.pop(), [])
        yield from found
        ready += found
