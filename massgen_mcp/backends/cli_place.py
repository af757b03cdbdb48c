"""Where a vendor's command line runs as an agent: its own folders, its program, its confinement."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.errors import BackendError
from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox

__all__ = ["Place", "Program", "find_program", "open_place"]

_PATH = "/usr/local/bin:/usr/bin:/bin"
_INHERITED = (
    "LANG",
    "LC_ALL",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
)
_CERTIFICATES = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
_FREE = ProcessLimits(memory_bytes=None, file_bytes=None, processes=None, open_files=None)
"""A runtime reserves far more address space than it uses."""
_START = 'mkdir -p "$HOME/tmp" && export TMPDIR="$HOME/tmp" && exec "$@" < "$0"'
"""Gives it its prompt and its own temporary files: Codex refuses a home in the folder for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command line that was found."""

    argv: tuple[str, ...]
    reads: tuple[Path, ...]
    """What it needs to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One agent's own folders. Nobody else writes there, and they are gone after `remove`."""

    root: Path
    workspace: Path
    program: Program
    environ: Mapping[str, str]
    sandbox: Sandbox | None
    why: str
    """Why there is no sandbox; empty where there is one."""

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

    def command(
        self, arguments: Sequence[str], *, prompt: Path | None, cwd: Path, reads: Sequence[Path] = ()
    ) -> tuple[str, ...]:
        """The command line that runs the program with these arguments, confined where that works."""
        given = str(prompt or os.devnull)
        argv = ("/bin/sh", "-c", _START, given, *self.program.argv, *arguments)
        if self.sandbox is None:
            return ("/bin/sh", "-c", 'cd "$0" && exec "$@"', str(cwd), *argv)
        certificates = (Path(self.environ[name]) for name in _CERTIFICATES if self.environ.get(name))
        seen = (self.fixed, *self.program.reads, *reads, *(path for path in certificates if path.exists()))
        confinement = Confinement(
            cwd=cwd,
            write=(self.workspace,),
            read=seen,
            home=self.home,
            network=True,
            nested=True,
            limits=_FREE,
        )
        return self.sandbox.command(argv, confinement)

    async def write(self, path: Path, text: str) -> None:
        """Put a file there that only we and the program read."""
        await anyio.to_thread.run_sync(_write, path, text)

    async def remove(self) -> None:
        """Delete the folders."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(self.root, ignore_errors=True))


async def open_place(context: BackendContext, program: Program) -> Place:
    """Folders for one agent, and the sandbox that works here."""
    sandbox: Sandbox | None = None
    why = ""
    try:
        sandbox = await find_sandbox(context.environ, mode=context.sandbox)
    except SandboxUnavailable as error:
        why = str(error)
    root = await anyio.to_thread.run_sync(_make, context.info.type)
    return Place(
        root=root,
        workspace=(context.workspace or root / "workspace").resolve(),
        program=program,
        environ=context.environ,
        sandbox=sandbox,
        why=why,
    )


def _make(name: str) -> Path:
    root = Path(tempfile.mkdtemp(prefix=f"massgen-{name}-")).resolve()
    for folder in ("home", "fixed", "line", "workspace"):
        (root / folder).mkdir(mode=0o700)
    return root


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
