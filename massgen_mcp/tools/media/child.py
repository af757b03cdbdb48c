"""One confined run of a program over a file that nobody should trust."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Protocol

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, Process

from massgen_mcp.workspace.confinement import Confinement

__all__ = ["Launcher", "Unfinished", "private_folder", "run_confined"]

_MOST_WORDS = 64 * 1024


class Launcher(Protocol):
    """What makes a confined command of a command."""

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command that runs `argv` within the confinement."""
        ...


class Unfinished(Exception):
    """The program did not do its work; the text says why."""


@asynccontextmanager
async def private_folder() -> AsyncGenerator[Path]:
    """A folder of ours alone, gone at the end."""
    folder = Path(await anyio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="massgen-media-")))
    try:
        yield folder
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


async def run_confined(
    argv: Sequence[str],
    confinement: Confinement,
    sandbox: Launcher,
    *,
    environ: Mapping[str, str],
    seconds: float,
    most: int,
) -> bytes:
    """What the program writes to stdout.

    Raises:
        Unfinished: it failed, took too long or wrote more than `most` bytes.
    """
    try:
        process = await anyio.open_process(
            sandbox.command(argv, confinement),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError as error:
        raise Unfinished(f"{argv[0]} can't be started: {error.strerror}") from error
    said: dict[str, bytes] = {}

    async def keep(name: str, stream: ByteReceiveStream | None, limit: int) -> None:
        data = b""
        async for part in stream or ():  # pyright: ignore[reportGeneralTypeIssues] - never None: PIPE
            data += part
            if len(data) > limit:
                _kill(process)
                break
        said[name] = data

    try:
        with anyio.move_on_after(seconds) as limit:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keep, "out", process.stdout, most)
                tasks.start_soon(keep, "err", process.stderr, _MOST_WORDS)
            await process.wait()
    finally:
        if process.returncode is None:
            _kill(process)
        with anyio.CancelScope(shield=True):
            await process.aclose()
    if limit.cancelled_caught:
        raise Unfinished(f"it took longer than {seconds:g} s")
    if len(said["out"]) > most:
        raise Unfinished("its output is too large")
    if process.returncode:
        words = said["err"].decode(errors="replace").strip().splitlines()
        raise Unfinished(words[-1][:300] if words else f"it ended with exit code {process.returncode}")
    return said["out"]


def _kill(process: Process) -> None:
    # The group: killed while it starts, bubblewrap leaves a child that waits for it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
