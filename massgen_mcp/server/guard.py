"""What the process does before it loads anything: keep stdin and stdout for the protocol, its memory closed.

From here on descriptor 0 is empty and descriptor 1 is stderr, for good: nothing that is printed, by us, by a
library or by a child, before, during or after serving, can get between two messages.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass

__all__ = ["Wire", "claim_wire", "close_memory", "end_quietly"]

_HIGHEST = 2
"""Of the standard descriptors."""
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True)
class Wire:
    """The descriptors that messages come and go by. No child inherits them."""

    incoming: int
    outgoing: int


def claim_wire(*, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> Wire:
    """Take stdin and stdout away from everybody else, for the rest of the process.

    Raises:
        OSError: they are closed, so there is nobody to talk to.
    """
    wire = Wire(_above_standard(stdin), _above_standard(stdout))
    empty = os.open(os.devnull, os.O_RDWR)
    os.dup2(empty, stdin)
    try:
        os.dup2(stderr, stdout)
    except OSError:  # there is no stderr either
        os.dup2(empty, stdout)
    os.close(empty)
    return wire


def _above_standard(descriptor: int) -> int:
    """A copy that no standard descriptor can be mistaken for; `dup` takes the lowest that is free."""
    copies = [os.dup(descriptor)]
    while copies[-1] <= _HIGHEST:
        copies.append(os.dup(descriptor))
    for low in copies[:-1]:
        os.close(low)
    return copies[-1]


def close_memory() -> None:
    """Keep other processes of the same user from reading this one's environment and memory, where possible.

    Children run as the same user, and `/proc/PID/environ` holds the keys.
    """
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415 - for Linux alone

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def end_quietly() -> None:
    """Let a signal end the process at once, without a traceback: nothing is to be saved yet, or any more."""
    if sys.platform != "win32":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
