"""Where a vendor's command line runs as an agent: its own folders, its program, its confinement."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from massgen_mcp.backends.account import Account, find_account
from massgen_mcp.backends.agent_place import AgentPlace, FindSandbox
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.options import Options
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Image
from massgen_mcp.workspace.bond import bonded

__all__ = ["Place", "Program", "cli_account", "find_program", "open_place"]

_FOLDERS = ("home", "fixed", "line")
_PATH = "/usr/local/bin:/usr/bin:/bin"
_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}
_START = 'mkdir -p "$HOME/tmp" && export TMPDIR="$HOME/tmp" && exec "$@" < "$0"'
"""Gives it its prompt and its own temporary files: Codex refuses a home in the folder for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command line that was found."""

    argv: tuple[str, ...]
    reads: tuple[Path, ...]
    """What it needs to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(AgentPlace):
    """Where an agent's program is run anew for each turn."""

    program: Program

    @property
    def line(self) -> Path:
        """Where the socket to the team's tools is."""
        return self.root / "line"

    def variables(self, own: Mapping[str, str]) -> dict[str, str]:
        """All of its environment, made from nothing."""
        path = os.pathsep.join([str(Path(self.program.argv[0]).parent), _PATH])
        return {**self.inherited(), "PATH": path, "HOME": str(self.home), "NO_COLOR": "1", **own}

    def turn(
        self, arguments: Sequence[str], *, prompt: Path, cwd: Path, reads: Sequence[Path] = ()
    ) -> tuple[str, ...]:
        """The command line of a turn. It ends with us, however we end, and what it started with it."""
        command = self.command(arguments, prompt=prompt, cwd=cwd, reads=reads)
        return bonded(command) if self.sandbox is None else command

    def command(
        self, arguments: Sequence[str], *, prompt: Path | None, cwd: Path, reads: Sequence[Path] = ()
    ) -> tuple[str, ...]:
        """The command line that runs the program with these arguments, confined where that works."""
        given = str(prompt or os.devnull)
        argv = ("/bin/sh", "-c", _START, given, *self.program.argv, *arguments)
        if self.sandbox is None:
            return ("/bin/sh", "-c", 'cd "$0" && exec "$@"', str(cwd), *argv)
        needs = (*self.program.reads, *reads)
        return self.confine(argv, self.sandbox, cwd=cwd, write=(self.workspace,), needs=needs)

    async def write(self, path: Path, text: str) -> None:
        """Put a file there that only we and the program read."""
        await anyio.to_thread.run_sync(_write, path, text)

    async def show(self, images: Sequence[Image]) -> tuple[Path, ...]:
        """The files in which it sees these pictures; other documents are none."""
        pictures = [image for image in images if image.mime in _ENDINGS]
        paths = [self.fixed / f"picture-{i}{_ENDINGS[each.mime]}" for i, each in enumerate(pictures, 1)]
        for path, picture in zip(paths, pictures, strict=True):
            await anyio.to_thread.run_sync(path.write_bytes, picture.data)
        return tuple(paths)


async def open_place(context: BackendContext, program: Program, *, find: FindSandbox) -> Place:
    """A place for one agent, with the sandbox that works here, as `find` has it."""
    return await Place.open(context, _FOLDERS, find=find, program=program)


async def cli_account(options: Options, context: BackendContext, address: str) -> Account:
    """Whom a command line asks: the block's `base_url`, else that address of its vendor.

    Raises:
        BackendError: a key is needed and there is none that may be sent there.
    """
    base_url = (options.base_url or address).rstrip("/")
    return await find_account(options, context, base_url, title=context.info.title)


def find_program(name: str, named: Path | None, context: BackendContext, *, package: str) -> Path:
    """The file of a command line, links followed: the one named, else the one on PATH.

    Raises:
        BackendError: there is none.
    """
    remedy = f"Install it (npm install -g {package}), or give `cli_path` in the backend block."
    if named is not None:
        path = named.expanduser()
        if not path.is_file():
            raise _missing(f"`cli_path` names {str(path)!r}, where there is no file", remedy)
        return path.resolve()
    found = shutil.which(name, path=context.environ.get("PATH", os.defpath))
    if found is None:
        raise _missing(f"There is no `{name}` on PATH", remedy)
    return Path(found).resolve()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="replace")


def _missing(what: str, remedy: str) -> BackendError:
    return BackendError(f"{what}. {remedy}", kind="unavailable", remedy=remedy, connected=False)
