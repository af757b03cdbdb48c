"""A small world for tests of confinement: what a child may see, what it must not, and ways to run one in it.

Each test runs at both levels, and where tests run as root, as root and as an ordinary user.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import massgen_mcp.workspace.sandbox as package
from massgen_mcp.workspace.bwrap import Bubblewrap
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.landlock import Landlock
from massgen_mcp.workspace.python import bare_python, python_roots
from massgen_mcp.workspace.root import RootLimits, pids_folder, unshares

__all__ = ["CASES", "ENVIRON", "LINUX", "Sockets", "World", "alive", "listening", "opened", "protecting"]

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux confines so; macOS has Seatbelt")
CASES = ("bwrap-ordinary", "bwrap-root", "bwrap-root-counted", "landlock-ordinary", "landlock-root")
ENVIRON = {"PATH": os.defpath, "LANG": "C.UTF-8"}
_ORDINARY = 65534
_PACKAGE = Path(package.__file__).parent

Confiner = Callable[[Sequence[str], Confinement], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class World:
    """Folders, and a confiner."""

    case: str
    folder: Path
    confine: Confiner
    python: str
    roots: tuple[Path, ...]
    before: tuple[str, ...]

    @property
    def work(self) -> Path:
        """Writable."""
        return self.folder / "work"

    @property
    def shown(self) -> Path:
        """Read-only."""
        return self.folder / "shown"

    @property
    def secret(self) -> Path:
        """A file that anybody may read, named in no confinement."""
        return self.folder / "outside" / "secret"

    @property
    def is_landlock(self) -> bool:
        """Whether the weaker level is tested."""
        return self.case.startswith("landlock")

    @property
    def confinement(self) -> Confinement:
        """The usual one."""
        return Confinement(cwd=self.work, write=(self.work,), read=(self.shown, *self.roots))

    def command(self, argv: Sequence[str], confinement: Confinement | None = None) -> tuple[str, ...]:
        """The whole command line."""
        return (*self.before, *self.confine(argv, confinement or self.confinement))

    def run(
        self, *argv: str, within: Confinement | None = None, environ: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(  # noqa: S603 - what is tested
            self.command(argv, within),
            env={**ENVIRON, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def sh(self, script: str, *, within: Confinement | None = None) -> subprocess.CompletedProcess[str]:
        """Run a shell script."""
        return self.run("sh", "-c", script, within=within)

    def py(self, script: str, *arguments: str, within: Confinement | None = None) -> str:
        """What a Python script prints. It has to end well."""
        ended = self.run(self.python, "-IS", "-c", script, *arguments, within=within)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()


def _confiner(case: str, python: str) -> Confiner:
    if case.startswith("landlock"):
        return Landlock(root=case == "landlock-root", python=python).command
    program, prlimit = shutil.which("bwrap"), shutil.which("prlimit")
    assert program, "bubblewrap is not installed: scripts/sandbox does it"
    assert prlimit, "util-linux is not installed"
    root = None
    if case != "bwrap-ordinary":
        pids = None if case == "bwrap-root-counted" else pids_folder()
        root = RootLimits(unshare=next(unshares()), pids=pids)
    return Bubblewrap(program=program, prlimit=prlimit, root=root, scopes=True).command


def _reachable(path: Path) -> bool:
    """Whether an ordinary user gets there."""
    return all(parent.stat().st_mode & 1 for parent in path.parents)


def _seen_by_all(confine: Confiner, folder: Path) -> Confiner:
    """The same, with the filters and the guard where every user can read them, wherever the tests lie."""
    copy = folder / "package"
    shutil.copytree(_PACKAGE / "filters", copy / "filters")
    shutil.copy(_PACKAGE / "guard.py", copy)

    def command(argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        return tuple(part.replace(str(_PACKAGE), str(copy)) for part in confine(argv, confinement))

    return command


@contextmanager
def opened(case: str) -> Generator[World]:
    """A world for one test."""
    am_root = os.geteuid() == 0
    if "root" in case and not am_root:
        pytest.skip("these tests do not run as root")
    own_python = "root" in case or not am_root or _reachable(Path(bare_python()))
    python = bare_python() if own_python else "/usr/bin/python3"
    folder = Path(tempfile.mkdtemp(prefix="massgen-test-"))
    try:
        folder.chmod(0o755)
        for name in ("work", "shown", "outside"):
            (folder / name).mkdir(mode=0o755)
            (folder / name / "secret").write_text(f"in {name}", encoding="ascii")
            (folder / name / "secret").chmod(0o644)
        confine, before = _confiner(case, python), ()
        if "ordinary" in case and am_root:
            user = str(_ORDINARY)
            before = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--")
            confine = _seen_by_all(confine, folder)
            for path in (folder / "work", folder / "work" / "secret"):
                os.chown(path, _ORDINARY, _ORDINARY)
        roots = python_roots() if own_python else ()
        yield World(case=case, folder=folder, confine=confine, python=python, roots=roots, before=before)
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Sockets:
    """What listens on this machine."""

    tcp: int
    udp: int
    abstract: str
    path: Path


@contextmanager
def listening(folder: Path) -> Generator[tuple[Sockets, Callable[[], list[str]]]]:
    """Sockets of ours, and which of them were reached."""
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        name = f"massgen-test-{secrets.token_hex(6)}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        named.bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        named.listen()
        sockets = {"tcp": tcp, "udp": udp, "abstract": abstract, "path": named}
        for one in sockets.values():
            one.setblocking(False)

        def reached() -> list[str]:
            return [kind for kind, one in sockets.items() if _reached(one)]

        yield Sockets(tcp.getsockname()[1], udp.getsockname()[1], name, folder / "socket"), reached


def _reached(one: socket.socket) -> bool:
    try:
        if one.type == socket.SOCK_DGRAM:
            one.recv(1)
        else:
            one.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def alive(marker: str, *, at_least: int = 0, within: float = 5.0) -> list[int]:
    """The processes that have this word as an argument: waits for so many, or for none."""
    until = time.monotonic() + within
    while True:
        found = [*_with_argument(marker.encode())]
        if (len(found) >= at_least if at_least else not found) or time.monotonic() >= until:
            return found
        time.sleep(0.02)


def _with_argument(marker: bytes) -> Generator[int]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker in path.read_bytes().split(b"\0"):
                yield int(path.parent.name)
        except OSError:
            continue


def protecting(world: World, *paths: Path) -> Confinement:
    """The usual confinement, with these below the writable folder read-only."""
    return replace(world.confinement, read=(*world.confinement.read, *paths))
