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
_AT_ONCE = 16
"""Pieces of stderr that are read before anything else has its turn."""
_PAUSE = 0.01
_REAPED = 1.0
"""Seconds until a killed child is known to be gone."""
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

    def __init__(
        self, process: Process, errors: int, *, max_line: int, grace: float, term_grace: float
    ) -> None:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("started with pipes")
        self._process = process
        self._in: ByteSendStream = process.stdin
        self._out = BufferedByteReceiveStream(process.stdout)
        self._errors = _Errors(errors)
        self._max_line = max_line
        self._grace = grace
        self._term_grace = term_grace
        self._sending = anyio.Lock()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended."""
        return self._process.returncode is not None

    async def watch_errors(self) -> None:
        """Read its stderr for as long as it is open, for a child that was launched to wait for that."""
        await self._errors.watch()

    def last_words(self, lines: int = 3, characters: int = 500) -> str:
        """The end of what it wrote to stderr; empty for nothing."""
        return self._errors.last_words(lines, characters)

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

    async def ending(self) -> int | None:
        """Its exit code, negative for a signal; None when it still runs after the time it has to end."""
        with anyio.move_on_after(self._grace):
            await self._process.wait()
        return self._process.returncode

    async def stop(self, grace: float | None = None) -> None:
        """End it: first by the end of its input, then by force. It is gone when this returns."""
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self._grace if grace is None else grace):
                await self._in.aclose()
                await self._process.wait()
            await self._force()
            with anyio.move_on_after(_REAPED):
                await self._process.wait()
            _let_go(self._process)
            self._errors.close()

    async def _force(self) -> None:
        """End what is left of it and of what it started; with a word before, where it was promised one."""
        if not self.ended and self._term_grace:
            self._signal(signal.SIGTERM)
            with anyio.move_on_after(self._term_grace):
                await self._process.wait()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                # Its group outlives it as long as anything it started is in there.
                os.killpg(self._process.pid, number)

    async def _lost(self) -> ChildLost:
        with anyio.move_on_after(self._grace):
            await self._process.wait()
        words = self.last_words()
        return ChildLost(_ending(self._process.returncode) + (f": {words}" if words else ""))


class _Errors:
    """What a child wrote to stderr, the last of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._kept = b""

    def drain(self) -> bool:
        """Take what there is, up to a limit; whether more may come."""
        for _ in range(_AT_ONCE):
            if self._descriptor is None:
                return False
            try:
                data = os.read(self._descriptor, _STDERR_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._kept = (self._kept + data)[-_STDERR_BYTES:]
        return True

    async def watch(self) -> None:
        while self._descriptor is not None:
            await anyio.wait_readable(self._descriptor)
            if not self.drain():
                return
            # Who never stops writing is to wait, and not we.
            await anyio.sleep(_PAUSE)

    def last_words(self, count: int, characters: int) -> str:
        self.drain()
        lines = [line.strip() for line in self._kept.decode(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-count:])[-characters:]

    def close(self) -> None:
        if self._descriptor is not None:
            self.drain()
            os.close(self._descriptor)
            self._descriptor = None


async def launch(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    max_line: int = 1024 * 1024,
    grace: float = 2.0,
    term_grace: float = 0.0,
    patient_errors: bool = False,
) -> Child:
    """Start a child with exactly this environment, in a session of its own.

    Args:
        command: the program and its arguments; nothing secret, since everybody can read them.
        environ: all of its variables.
        cwd: where it starts; absent: where we are.
        max_line: bytes it may send without ending a line.
        grace: seconds it has to end by itself.
        term_grace: seconds it has after SIGTERM, before it is killed.
        patient_errors: its stderr waits for `watch_errors`, as programs of others expect. Otherwise what does
            not fit while nobody reads is dropped, and the child never waits.

    Raises:
        OSError: it can't be started.
    """
    errors, write = os.pipe()
    try:
        os.set_blocking(errors, False)
        os.set_blocking(write, patient_errors)
        process = await anyio.open_process(
            command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=write,
            cwd=cwd,
            env=dict(environ),
            start_new_session=True,
        )
    except BaseException:
        os.close(errors)
        raise
    finally:
        os.close(write)
    return Child(process, errors, max_line=max_line, grace=grace, term_grace=term_grace)


def own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a Python child of ours, made from nothing: our import path, none of the user's."""
    kept = {name: environ[name] for name in _INHERITED if name in environ}
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**kept, "PYTHONPATH": path, "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _let_go(process: Process) -> None:
    """Close our ends of its pipes, also where a descendant that escaped still holds the others."""
    # Nothing public does; `aclose` waits until all others have let go, too.
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        with contextlib.suppress(PermissionError):
            transport.close()


def _ending(code: int | None) -> str:
    if code is None:
        return "it closed its output"
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"
