"""What other processes of the same user may read of this one."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["hide_memory"]

_SET_DUMPABLE = 4


def hide_memory() -> bool:
    """Keep this process's memory and first environment from the user's other processes, children included.

    For a server, at its start: keys stand in the environment that it was started with, and deleting a
    variable does not take it from there. False where the system can't: only Linux can.
    """
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0) == 0
