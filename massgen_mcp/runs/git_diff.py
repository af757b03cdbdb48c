"""The diff of a project against a revision. Git runs in the sandbox: its settings can name programs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Protocol

import anyio
from anyio.abc import ByteReceiveStream, Process

from massgen_mcp.errors import RequestRefused
from massgen_mcp.text import shorten, visible
from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.names import secret

__all__ = ["Launcher", "make_git"]

_REVISION = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_./@{}^~+-]{0,200}")
_MAX_BYTES = 1024 * 1024 + 1
_MAX_SECRETS = 200
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=",
    "core.untrackedCache=false",
    "core.quotePath=false",
    "protocol.ext.allow=never",
    # The sandbox's user need not be the owner of the files.
    "safe.directory=*",
)
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--relative", "--ignore-submodules=all")


class Launcher(Protocol):
    """What makes a confined command of a command."""

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command that runs `argv` within the confinement."""
        ...


def make_git(
    sandbox: Launcher, *, environ: Mapping[str, str], seconds: float = 20.0
) -> Callable[[Path, str], Awaitable[str]]:
    """What makes diffs, for `gather`. Files that keep keys are left out.

    Args:
        sandbox: git runs in it, without network, and sees the root alone.
        environ: for PATH.
        seconds: limit of each of its two runs.
    """

    async def diff(root: Path, revision: str) -> str:
        program = shutil.which("git", path=environ.get("PATH", os.defpath))
        if program is None:
            raise _refused(revision, "git is not installed", "Install it, or give the diff as {name, text}.")
        if not _REVISION.fullmatch(revision):
            raise _refused(
                revision, "that is no revision", "Write `git:HEAD`, `git:main` or `git:main...HEAD`."
            )
        run = _Git(program, root, sandbox, seconds, revision)
        names = await run("diff", *_PLAIN, "--name-only", "-z", revision, "--")
        hidden = [name for name in names.split("\0") if name and secret(tuple(name.split("/")))]
        if len(hidden) > _MAX_SECRETS:
            raise _refused(revision, "too many files in it keep keys", "Give the diff as {name, text}.")
        without = [f":(exclude,literal){name}" for name in hidden]
        return await run("diff", *_PLAIN, revision, "--", ".", *without)

    return diff


class _Git:
    def __init__(self, program: str, root: Path, sandbox: Launcher, seconds: float, revision: str) -> None:
        self._program = program
        self._root = root
        self._sandbox = sandbox
        self._seconds = seconds
        self._revision = revision

    async def __call__(self, verb: str, *arguments: str) -> str:
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        argv = (self._program, *settings, verb, *arguments)
        limits = ProcessLimits(cpu_seconds=int(self._seconds) + 1)
        command = self._sandbox.command(argv, Confinement(cwd=self._root, read=(self._root,), limits=limits))
        try:
            process = await anyio.open_process(
                command,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                env={
                    "PATH": os.defpath,
                    "LANG": "C.UTF-8",
                    "GIT_CONFIG_NOSYSTEM": "1",
                    "GIT_OPTIONAL_LOCKS": "0",
                },
                start_new_session=True,
            )
        except OSError as error:
            raise _refused(self._revision, f"git can't be started: {error.strerror}", "Check it.") from error
        return await self._finish(process)

    async def _finish(self, process: Process) -> str:
        said: dict[str, bytes] = {}

        async def keep(name: str, stream: ByteReceiveStream | None) -> None:
            said[name] = b"" if stream is None else await _read(stream, process)

        try:
            with anyio.move_on_after(self._seconds) as limit:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(keep, "out", process.stdout)
                    tasks.start_soon(keep, "err", process.stderr)
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()
        if limit.cancelled_caught:
            raise _refused(
                self._revision, f"git took longer than {self._seconds:g} s", "Give the diff as {name, text}."
            )
        out = said["out"].decode(errors="replace")
        if process.returncode and len(said["out"]) < _MAX_BYTES:
            words = said["err"].decode(errors="replace").strip().splitlines()
            raise _refused(
                self._revision, words[0] if words else "git failed", "Check the revision and the folder."
            )
        return out


async def _read(stream: ByteReceiveStream, process: Process) -> bytes:
    """At most a little more than fits; who says more is stopped."""
    data = b""
    async for part in stream:
        data += part
        if len(data) >= _MAX_BYTES:
            process.kill()
            break
    return data


def _refused(revision: str, why: str, remedy: str) -> RequestRefused:
    shown = shorten(visible(revision), 100)
    why = shorten(visible(why), 300).rstrip(".")
    return RequestRefused(f"`files`: git:{shown}: {why}. {remedy} Nothing was spent.")
