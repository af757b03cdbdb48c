"""Server processes that cost little to begin: forked from one that has loaded everything.

What a test promises of a process that ends, is signalled, or has pipes, it promises of these. Promises about
starting are kept with real starts: `tests.server.hosts.started(..., warm=False)`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn, Self

__all__ = ["Forked", "fork"]

_ROOT = Path(__file__).parent.parent.parent
_LOADED = (
    "massgen_mcp.cli.program",
    "massgen_mcp.cli.serve",
    "massgen_mcp.journal",
    "massgen_mcp.runs.open",
    "massgen_mcp.backends.scripted",
    "massgen_mcp.server.calls",
    "massgen_mcp.server.entry",
    "massgen_mcp.server.http.serve",
    "massgen_mcp.server.http.tokens",
    "massgen_mcp.server.opening",
    "massgen_mcp.server.resources",
    "massgen_mcp.server.run_tasks",
    "massgen_mcp.server.stdio",
    "tests.teams",
)
_FDS = 4
"""What comes with a wish: stdin, stdout, stderr, and where to say how it goes."""


class Forked:
    """A process as `subprocess.Popen` shows one, as far as these tests use it."""

    def __init__(self, stdin: IO[bytes] | None, stdout: IO[bytes] | None, news: IO[bytes]) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self._news = news
        self.pid = int(news.readline())
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        return self._ended(0)

    def wait(self, timeout: float) -> int:
        """Its exit code. Raises `subprocess.TimeoutExpired`."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return code

    def _ended(self, timeout: float) -> int | None:
        if self._code is None and select.select([self._news], [], [], timeout)[0]:
            self._code = os.waitstatus_to_exitcode(int(self._news.readline()))
        return self._code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdin, self.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.wait(20)
        self._news.close()


def fork(
    module: str,
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    stderr: IO[Any],
    stdin: bool = True,
) -> Forked:
    """`python -m module arguments` with these variables, with a pipe for stdout and, if wanted, for stdin.

    `stderr` is the file that gets what it says there.
    """
    their_in, our_in = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY), -1)
    our_out, their_out = os.pipe()
    our_news, their_news = os.pipe()
    wish = {"module": module, "arguments": list(arguments), "environ": dict(environ)}
    theirs = [their_in, their_out, stderr.fileno(), their_news]
    socket.send_fds(_zygote(), [json.dumps(wish).encode()], theirs)
    for descriptor in (their_in, their_out, their_news):
        os.close(descriptor)
    return Forked(
        os.fdopen(our_in, "wb") if stdin else None, os.fdopen(our_out, "rb"), os.fdopen(our_news, "rb", 0)
    )


@cache
def _zygote() -> socket.socket:
    """The way to the process that has everything loaded. It ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.server.zygote", str(theirs.fileno())]
    process = subprocess.Popen(command, cwd=_ROOT, pass_fds=[theirs.fileno()])  # noqa: S603 - ourselves
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(20)

    atexit.register(end)
    return ours


# In the process that has everything loaded.


def _serve(place: socket.socket) -> None:
    for name in _LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        said, descriptors, _, _ = socket.recv_fds(place, 1_000_000, _FDS)
        if not said:
            return
        if os.fork() == 0:
            place.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep(json.loads(said), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(wish: Mapping[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """Beget the process and say how it went, the parent of its own that a real one has."""
    *standard, news = descriptors
    child = os.fork()
    if child == 0:
        os.close(news)
        _become(wish, standard)
    for descriptor in standard:
        os.close(descriptor)
    os.write(news, b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(news, b"%d\n" % status)
    os._exit(0)


def _become(wish: Mapping[str, Any], standard: Sequence[int]) -> NoReturn:
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(wish["environ"])
    sys.argv[1:] = wish["arguments"]
    code: object = 1
    try:
        runpy.run_module(wish["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
    _end(code if isinstance(code, int) else int(code is not None))


def _end(code: int) -> NoReturn:
    """End as an interpreter does: wait for threads that are no daemons, do what is left for the end."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    # Among them the one that keeps what coverage has counted; there is no public word for it.
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)  # what it has loaded, its children have counted
