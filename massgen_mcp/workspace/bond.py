"""A death bond for children that no sandbox holds: a small process between us and them.

It ends when we do, however we end, and takes everything down that was started below it: also what made a
session of its own, ignores the end of its input, or lost its parent. It is this very file, run by a bare
Python: it imports nothing of ours.
"""

# Every command waits for these imports, and pathlib takes longer than all the others.
# ruff: noqa: PTH100, PTH123, PTH208

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["bonded"]

_LOOK = 0.5
"""Seconds between two looks at whether our parent is still there."""
_TERM = 0.5
"""Seconds between the request to end and its force."""
_SUBREAPER = 36
_PATIENCE = 3.0


def bonded(command: Sequence[str]) -> tuple[str, ...]:
    """The command below a process that binds it to ours."""
    return (sys.executable, "-IS", os.path.abspath(__file__), str(os.getpid()), *command)


class _Ended(BaseException):
    """Our parent is gone, or asks us to end."""


def _adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs. Linux alone knows how."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes  # noqa: PLC0415 - only where there is something to call

        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _descendants() -> Iterator[int]:
    """Everybody below this process, nearest first; nobody where there is no /proc."""
    below: dict[int, list[int]] = {}
    names = os.listdir("/proc") if os.path.isdir("/proc") else []  # noqa: PTH112 - as above
    for name in filter(str.isdecimal, names):
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
            # The name, in parentheses, may hold anything.
            parent = int(file.read().rpartition(b")")[2].split()[1])
            below.setdefault(parent, []).append(int(name))
    ready = [os.getpid()]
    while ready:
        found = below.get(ready.pop(0), [])
        yield from found
        ready += found


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_all() -> None:
    """End everybody below, first with a word, then by force, until nobody is left."""
    begun = time.monotonic()
    asked = False
    while time.monotonic() - begun < _PATIENCE:
        _reap()
        left = list(_descendants())
        if not left:
            return
        force = time.monotonic() - begun >= _TERM
        for pid in left if force or not asked else []:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL if force else signal.SIGTERM)
        asked = True
        time.sleep(0.02)


def _watch(parent: int) -> None:
    def end(_number: int, _frame: object) -> None:
        raise _Ended

    def look(_number: int, _frame: object) -> None:
        if os.getppid() != parent:
            raise _Ended

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end)
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _LOOK, _LOOK)


def _quiet() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _wait(child: subprocess.Popen[bytes]) -> int:
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode


def main(arguments: Sequence[str]) -> NoReturn:
    """Run `PARENT COMMAND...` until it ends or the parent does, and leave nothing behind."""
    parent, *command = arguments
    code = 1
    _adopt_orphans()
    _watch(int(parent))
    try:
        if os.getppid() == int(parent):
            child = subprocess.Popen(command)  # noqa: S603 - the operator's own command
            os.close(0)
            os.close(1)
            code = _wait(child)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        code = 127
    except _Ended:
        pass
    _quiet()
    _end_all()
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1:])
