"""Run one command in a sandbox, to its end: what it wrote, how it ended, how long it took.

It serves the shell, custom tools and checks. Whatever the command started is gone when this returns.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import anyio
from anyio.abc import Process

from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.python import python_path

__all__ = [
    "KILLED_AT_BYTES",
    "MOST_SECONDS",
    "USUAL_SECONDS",
    "Ended",
    "Killed",
    "Launcher",
    "command_environment",
    "run_command",
]

USUAL_SECONDS = 60.0
MOST_SECONDS = 600.0
KILLED_AT_BYTES = 64 * 1024**2
_KEPT_BYTES = 64 * 1024
"""Of the beginning, and again of the end."""
_GRACE = 2.0
"""Seconds that what runs the command has to take it down by itself."""
_REST = 0.5
"""Seconds to read what is left of its output when it has ended."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Killed: TypeAlias = Literal["", "time", "output"]
"""Why it was ended before its own end: its time was up, or it wrote too much."""

_LEFT = """"$@"
code=$?
set -- /proc/[0-9]*
[ $# -le 2 ] || echo "[$(($# - 2)) processes in the background ended with the command]"
exit $code"""
"""The sandbox shows its own processes alone: besides its first and this shell, they were left running."""


class Launcher(Protocol):
    """What makes the command line: a sandbox, or Docker."""

    @property
    def level(self) -> str:
        """How it confines."""
        ...

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command line that runs `argv` so confined."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    exit_code: int
    """128 and the signal's number for one that a signal ended."""
    seconds: float
    output: str
    """What it wrote, both streams as they came; of much, the beginning and the end."""
    output_bytes: int
    """How much it wrote."""
    killed: Killed = ""

    @property
    def succeeded(self) -> bool:
        """Whether it ended by itself, with exit code 0."""
        return self.exit_code == 0 and not self.killed


def command_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command, from nothing; HOME and TMPDIR are the sandbox's.

    In it, git works on a folder whoever owns it: in a sandbox there are no other users to be protected from.
    """
    return {
        "PATH": os.pathsep.join((_PATH, *python_path())),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        **(extra or {}),
    }


async def run_command(
    launcher: Launcher,
    argv: Sequence[str],
    confinement: Confinement,
    *,
    environ: Mapping[str, str],
    seconds: float = USUAL_SECONDS,
    most_bytes: int = KILLED_AT_BYTES,
) -> Ended:
    """Run it to its end, or to one of its limits. Cancelling ends it too.

    Raises:
        OSError: it can't be started.
        ValueError: the confinement names what can't be shown.
    """
    begun = time.monotonic()
    process = await anyio.open_process(
        _command(launcher, argv, confinement),
        stdin=subprocess.PIPE if launcher.level == "docker" else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environ),
        start_new_session=True,
    )
    kept = _Kept()
    killed: Killed = ""
    try:
        with anyio.move_on_after(seconds) as limit:
            killed = await _read(process, kept, most_bytes)
        if limit.cancelled_caught:
            killed = "time"
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process, kept, at_once=launcher.level == "bwrap")
    code = process.returncode
    return Ended(
        exit_code=code if code is not None and code >= 0 else 128 - (code or -signal.SIGKILL),
        seconds=time.monotonic() - begun,
        output=kept.text(),
        output_bytes=kept.total,
        killed=killed,
    )


def _command(launcher: Launcher, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
    if launcher.level == "bwrap":
        return launcher.command(("/bin/sh", "-c", _LEFT, "massgen-command", *argv), confinement)
    return launcher.command(argv, confinement)


async def _read(process: Process, kept: _Kept, most: int) -> Killed:
    """Until it ends: what it leaves running may hold its output open."""
    flooded = False

    async def read() -> None:
        nonlocal flooded
        flooded = await kept.fill(process, most)
        if flooded:
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await process.wait()
        with anyio.move_on_after(_REST):
            await kept.whole.wait()
        tasks.cancel_scope.cancel()
    return "output" if flooded else ""


async def _end(process: Process, kept: _Kept, *, at_once: bool) -> None:
    """It, and everything it started, is gone when this returns.

    `at_once`: the kernel takes its children down. Elsewhere that is the work of what confines it, which has
    to hear of it first.
    """
    if process.returncode is None and not at_once:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(_GRACE):
            await process.wait()
    if process.returncode is None:
        # The group: killed while it starts, bubblewrap leaves a child that waits for it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    with anyio.move_on_after(_REST):
        await kept.fill(process, KILLED_AT_BYTES)
    await process.aclose()


class _Kept:
    """The beginning and the end of an output, and how much there was."""

    def __init__(self) -> None:
        self.total = 0
        self.whole = anyio.Event()
        self._head = bytearray()
        self._tail = bytearray()

    async def fill(self, process: Process, most: int) -> bool:
        """Read to the end, or until there is more than `most`: whether that happened."""
        if process.stdout is None:
            raise AssertionError("started with a pipe")
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for chunk in process.stdout:
                self._add(chunk)
                if self.total > most:
                    return True
        self.whole.set()
        return False

    def _add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = _KEPT_BYTES - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[max(room, 0) :]
        if len(self._tail) > 2 * _KEPT_BYTES:
            del self._tail[:-_KEPT_BYTES]

    def text(self) -> str:
        tail = bytes(self._tail[-_KEPT_BYTES:])
        left_out = self.total - len(self._head) - len(tail)
        gap = f"\n[... {left_out} bytes left out ...]\n".encode() if left_out else b""
        return (bytes(self._head) + gap + tail).decode(errors="replace")
