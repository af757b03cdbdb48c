"""Where a vendor's command line runs as an agent: its own folders, its program, its confinement."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import anyio
import anyio.to_thread

from massgen_mcp.backends.cli_folder import OwnFolder, make_folder
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Image
from massgen_mcp.workspace.bond import bonded
from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox

__all__ = ["FindSandbox", "Place", "Program", "find_program", "open_place"]

_FOLDERS = ("home", "fixed", "line", "workspace")
_PATH = "/usr/local/bin:/usr/bin:/bin"
_INHERITED = (
    "LANG",
    "LC_ALL",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
)
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}
_FREE = ProcessLimits(memory_bytes=None, file_bytes=None, processes=None, open_files=None)
"""A runtime reserves far more address space than it uses."""
_START = 'mkdir -p "$HOME/tmp" && export TMPDIR="$HOME/tmp" && exec "$@" < "$0"'
"""Gives it its prompt and its own temporary files: Codex refuses a home in the folder for them."""


class FindSandbox(Protocol):
    """How a sandbox is found."""

    async def __call__(self, environ: Mapping[str, str], *, mode: Literal["auto", "off"]) -> Sandbox:
        """The strongest that works here; raises `SandboxUnavailable`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command line that was found."""

    argv: tuple[str, ...]
    reads: tuple[Path, ...]
    """What it needs to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One agent's own folders. Nobody else writes there, and they are gone after `remove`."""

    folder: OwnFolder
    workspace: Path
    program: Program
    environ: Mapping[str, str]
    sandbox: Sandbox | None
    why: str
    """Why there is no sandbox; empty where there is one."""
    readable: tuple[Path, ...] = ()
    """What its agent may read besides."""
    hidden: tuple[Path, ...] = ()
    """What it must not see of that."""

    @property
    def root(self) -> Path:
        """What all of them lie in."""
        return self.folder.path

    @property
    def held(self) -> bool:
        """Whether a sandbox holds it, which also ends it with us."""
        return self.sandbox is not None and self.sandbox.level != "off"

    @property
    def home(self) -> Path:
        """Its HOME, which it may write to."""
        return self.root / "home"

    @property
    def fixed(self) -> Path:
        """What it may see, but not change."""
        return self.root / "fixed"

    @property
    def line(self) -> Path:
        """Where the socket to the team's tools is."""
        return self.root / "line"

    def variables(self, own: Mapping[str, str]) -> dict[str, str]:
        """All of its environment, made from nothing."""
        passed = {name: self.environ[name] for name in _INHERITED if self.environ.get(name)}
        path = os.pathsep.join([str(Path(self.program.argv[0]).parent), _PATH])
        return {**passed, "PATH": path, "HOME": str(self.home), "NO_COLOR": "1", **own}

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
        certificates = (Path(self.environ[name]) for name in _CERTIFICATES if self.environ.get(name))
        seen = (*self.program.reads, *reads, *certificates, *self.readable)
        confinement = Confinement(
            cwd=cwd,
            write=(self.workspace,),
            read=(self.fixed, *(path for path in seen if path.is_absolute() and path.exists())),
            hide=self.hidden,
            home=self.home,
            network=True,
            nested=True,
            limits=_FREE,
        )
        return self.sandbox.command(argv, confinement)

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

    async def remove(self) -> None:
        """Delete the folders."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.folder.remove)


async def open_place(context: BackendContext, program: Program, *, find: FindSandbox = find_sandbox) -> Place:
    """Folders for one agent, and the sandbox that works here, as `find` has it."""
    sandbox: Sandbox | None = None
    why = ""
    try:
        sandbox = await find(context.environ, mode=context.sandbox)
    except SandboxUnavailable as error:
        why = str(error)
    folder = await anyio.to_thread.run_sync(make_folder, context.info.type, _FOLDERS)
    return Place(
        folder=folder,
        workspace=(context.workspace or folder.path / "workspace").resolve(),
        program=program,
        environ=context.environ,
        sandbox=sandbox,
        why=why,
        readable=context.readable,
        hidden=context.hidden,
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="replace")


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


def _missing(what: str, remedy: str) -> BackendError:
    return BackendError(f"{what}. {remedy}", kind="unavailable", remedy=remedy, connected=False)
