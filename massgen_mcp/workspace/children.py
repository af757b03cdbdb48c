"""Child processes of our own that speak in lines, and do not outlive us.

The bond is the child's standard input: it ends when we do, however we end, and a child started here ends with
it. On Linux such a child also asks the kernel to die with its parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import PIPE

import anyio
from anyio.abc import ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

__all__ = ["Child", "ChildLost", "launch", "own_environment"]

_STDERR_BYTES = 64 * 1024
_INHERITED = (
    "CUDA_VISIBLE_DEVICES",
    "DYLD_LIBRARY_PATH",
    "HIP_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "SYSTEMROOT",
    "TMPDIR",
)
"""Where native libraries and devices are found; none holds a secret."""


class ChildLost(Exception):
    """The child ended, or what it says can't be read. The text says how, with its last words."""


class Child:
    """A running child. One task at a time may receive; any may send."""

    def __init__(self, process: Process, errors: int, *, max_line: int, grace: float) -> None:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("started with pipes")
        self._process = process
        self._in: ByteSendStream = process.stdin
        self._out = BufferedByteReceiveStream(process.stdout)
        self._errors = _Errors(errors)
        self._max_line = max_line
        self._grace = grace
        self._sending = anyio.Lock()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended."""
        return self._process.returncode is not None

    async def send(self, line: bytes) -> None:
        """Hand it one line.

        Raises:
            ChildLost: it takes nothing any more.
        """
        try:
            async with self._sending:
                await self._in.send(line + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise await self._lost() from error

    async def receive(self) -> bytes:
        """Its next line. Nothing is lost when this is cancelled.

        Raises:
            ChildLost: it ended, or sent too much without ending a line.
        """
        self._errors.drain()
        try:
            return await self._out.receive_until(b"\n", self._max_line)
        except anyio.DelimiterNotFound as error:
            raise ChildLost(f"it sent more than {self._max_line} bytes without ending a line") from error
        except (
            anyio.EndOfStream,
            anyio.IncompleteRead,
            anyio.BrokenResourceError,
            anyio.ClosedResourceError,
        ) as error:
            raise await self._lost() from error

    async def stop(self, grace: float | None = None) -> None:
        """End it: first by the end of its input, then by force. It is gone when this returns."""
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self._grace if grace is None else grace):
                await self._in.aclose()
                await self._process.wait()
            if not self.ended:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.aclose()
            self._errors.close()

    async def _lost(self) -> ChildLost:
        with anyio.move_on_after(self._grace):
            await self._process.wait()
        return ChildLost(f"{_ending(self._process.returncode)}{self._errors.last_words()}")


class _Errors:
    """What a child wrote to stderr, the last of it.

    The pipe never makes the child wait: what does not fit while nobody reads is dropped.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._kept = b""

    def drain(self) -> None:
        while self._descriptor is not None:
            try:
                data = os.read(self._descriptor, _STDERR_BYTES)
            except BlockingIOError:
                return
            if not data:
                return
            self._kept = (self._kept + data)[-_STDERR_BYTES:]

    def last_words(self) -> str:
        self.drain()
        lines = [line.strip() for line in self._kept.decode(errors="replace").splitlines() if line.strip()]
        return f": {' / '.join(lines[-3:])[-500:]}" if lines else ""

    def close(self) -> None:
        if self._descriptor is not None:
            self.drain()
            os.close(self._descriptor)
            self._descriptor = None


async def launch(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    max_line: int = 1024 * 1024,
    grace: float = 2.0,
) -> Child:
    """Start a child with exactly this environment, in a session of its own.

    Args:
        command: the program and its arguments; nothing secret, since everybody can read them.
        environ: all of its variables.
        max_line: bytes it may send without ending a line.
        grace: seconds it has to end by itself.

    Raises:
        OSError: it can't be started.
    """
    errors, write = os.pipe()
    try:
        os.set_blocking(errors, False)
        os.set_blocking(write, False)
        process = await anyio.open_process(
            command, stdin=PIPE, stdout=PIPE, stderr=write, env=dict(environ), start_new_session=True
        )
    except BaseException:
        os.close(errors)
        raise
    finally:
        os.close(write)
    return Child(process, errors, max_line=max_line, grace=grace)


def own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Python child of ours, made from nothing: our import path, none of the user's."""
    kept = {name: environ[name] for name in _INHERITED if name in environ}
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**kept, "PYTHONPATH": path, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _ending(code: int | None) -> str:
    if code is None:
        return "it closed its output"
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"
