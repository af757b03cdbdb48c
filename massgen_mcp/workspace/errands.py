"""Short programs of others, run to their end; what they say is kept, up to a limit, and seen on the way.

They write into files without a name, not into pipes: what a program leaves running (a service it woke) may
hold its output open for ever, and must not hold us.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryFile

import anyio
from anyio.abc import Process

from massgen_mcp.workspace.bond import bonded

__all__ = ["Errand", "Finished", "errand"]

MOST = 4 * 1024 * 1024
"""Bytes of output that are kept."""
_TAIL = 4096
_GRACE = 1.0
"""Seconds between the request to end and its force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended, and what it said."""

    code: int
    output: bytes
    """The beginning of its standard output; all of it unless it was very long."""
    errors: str
    """The end of its standard error."""


class Errand:
    """A program on its way."""

    def __init__(self, process: Process, output: int, errors: int) -> None:
        self._process = process
        self._output = output
        self._errors = errors

    async def ended(self, *, within: float) -> bool:
        """Whether it has ended, waiting so many seconds for that."""
        with anyio.move_on_after(within):
            await self._process.wait()
        return self._process.returncode is not None

    def latest(self) -> str:
        """The end of what it has said so far."""
        size = os.fstat(self._output).st_size
        return os.pread(self._output, _TAIL, max(0, size - _TAIL)).decode(errors="replace")

    async def finish(self) -> Finished:
        """Wait for its end."""
        code = await self._process.wait()
        size = os.fstat(self._errors).st_size
        return Finished(
            code=code,
            output=os.pread(self._output, MOST, 0),
            errors=os.pread(self._errors, _TAIL, max(0, size - _TAIL)).decode(errors="replace"),
        )


@asynccontextmanager
async def errand(
    command: Sequence[str], *, environ: Mapping[str, str], stays: bool = False
) -> AsyncGenerator[Errand]:
    """Start a program with exactly this environment; leaving the block ends it, however one leaves.

    Args:
        command: the program and its arguments; nothing secret, since everybody can read them.
        environ: all of its variables.
        stays: it starts something that is to go on without it, so only the program itself is bound to us.

    Raises:
        OSError: it can't be started.
    """
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = await anyio.open_process(
            command if stays else bonded(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=dict(environ),
            start_new_session=True,
        )
        try:
            yield Errand(process, output.fileno(), errors.fileno())
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)


async def _end(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with anyio.move_on_after(_GRACE):
            await process.wait()
