"""A check: a command run on the files of an answer, in a sandbox of its own; what came of it is evidence."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from massgen_mcp.text import visible
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.python import python_roots
from massgen_mcp.workspace.run_command import (
    USUAL_SECONDS,
    Killed,
    Launcher,
    command_environment,
    run_command,
)

__all__ = ["CheckResult", "run_check"]

_TAIL = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check found."""

    command: str
    passed: bool
    """Whether it ended by itself with exit code 0."""
    exit_code: int
    seconds: float
    tail: str
    """The end of what it wrote."""
    killed: Killed = ""

    @property
    def evidence(self) -> str:
        """One paragraph for whoever judges the answer."""
        ending = {
            "": f"exit code {self.exit_code}",
            "time": f"ended after {self.seconds:.0f} s: its time was up",
            "output": "ended: it wrote too much",
        }[self.killed]
        return f"$ {self.command}\n({ending})\n{self.tail}".rstrip()


async def run_check(
    launcher: Launcher,
    command: str,
    files: Path,
    *,
    read: tuple[Path, ...] = (),
    environ: Mapping[str, str] | None = None,
    seconds: float = USUAL_SECONDS,
) -> CheckResult:
    """Run a command on a copy of these files, which nobody sees afterwards: the files stay as they are.

    Args:
        launcher: what confines it; it never has a network.
        command: as typed into a shell.
        files: the folder of a snapshot.
        read: what else it may read.
        environ: variables that the operator gives to it.
        seconds: its limit.

    Raises:
        OSError: the files can't be copied, or the command not be started.
        ValueError: what it may read can't be shown.
    """
    folder = Path(tempfile.mkdtemp(prefix="massgen-check-"))
    try:
        copy = folder / "files"
        await anyio.to_thread.run_sync(partial(_copy, files, copy))
        ended = await run_command(
            launcher,
            ("/bin/sh", "-c", command),
            Confinement(cwd=copy, write=(copy,), read=(*read, *python_roots())),
            environ=command_environment(environ),
            seconds=seconds,
        )
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))
    return CheckResult(
        command=command,
        passed=ended.succeeded,
        exit_code=ended.exit_code,
        seconds=ended.seconds,
        tail=visible(ended.output).strip()[-_TAIL:],
        killed=ended.killed,
    )


def _copy(source: Path, target: Path) -> None:
    """Writable for its owner, links as links."""
    shutil.copytree(source, target, symlinks=True, copy_function=_copy_file)
    for folder, _, _ in os.walk(target):
        Path(folder).chmod(stat.S_IRWXU)


def _copy_file(source: str, target: str) -> None:
    shutil.copyfile(source, target, follow_symlinks=False)
    if not Path(target).is_symlink():
        runs = Path(source).stat().st_mode & stat.S_IXUSR
        Path(target).chmod(stat.S_IRUSR | stat.S_IWUSR | runs)
