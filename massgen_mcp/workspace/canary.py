"""Whether a sandbox holds: a child under it tries what it must not do, and what it must be able to."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.python import bare_python, python_roots
from massgen_mcp.workspace.run_command import Launcher, run_command

__all__ = ["failing"]

_SECONDS = 15.0
_WORDS = 300
_FEW, _CROWD = 16, 64
_TRY = """
import json, os, socket, sys, time
outside, address, abstract, crowd_size = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
done = []
def attempt(what, action):
    try:
        action()
    except OSError:
        return
    done.append(what)
def connect(kind, family, address):
    with socket.socket(family, kind) as caller:
        caller.settimeout(2)
        caller.connect(address)
        caller.send(b"x")
attempt("work", lambda: open("made", "x").close())
attempt("read a file outside", lambda: open(outside + "/secret").close())
attempt("write a file outside", lambda: open(outside + "/made", "x").close())
def crowd():
    children = []
    try:
        for _ in range(crowd_size):
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)
if crowd_size:
    attempt("start any number of processes", crowd)
attempt("reach this machine's TCP ports", lambda: connect(socket.SOCK_STREAM, socket.AF_INET, tuple(address)))
attempt("", lambda: connect(socket.SOCK_DGRAM, socket.AF_INET, tuple(address)))
if abstract:
    attempt("reach other programs' sockets",
            lambda: connect(socket.SOCK_STREAM, socket.AF_UNIX, "\\0" + abstract))
print(json.dumps([what for what in done if what]))
"""


async def failing(launcher: Launcher, *, crowd: bool = True) -> str:
    """Why this way of confining can't be relied on here; empty when it holds.

    `crowd`: also try to start too many processes. Not where the answer to that is the end of all of them.
    """
    with (
        tempfile.TemporaryDirectory(prefix="massgen-mcp-") as folder,
        _listening() as (address, abstract, udp),
    ):
        inside, outside = _two_folders(Path(folder))
        size = str(_CROWD if crowd else 0)
        argv = (bare_python(), "-IS", "-c", _TRY, str(outside), json.dumps(address), abstract, size)
        limits = ProcessLimits(processes=_FEW)
        confinement = Confinement(cwd=inside, write=(inside,), read=python_roots(), limits=limits)
        try:
            done = await _tried(launcher, argv, confinement)
        except (OSError, ValueError) as error:
            return str(error)
        if udp():
            done.append("reach this machine's UDP ports")
        if "work" not in done:
            return "a child under it could not write in its own folder"
        broken = [what for what in done if what != "work"]
        return f"a child under it could {', '.join(broken)}" if broken else ""


def _two_folders(folder: Path) -> tuple[Path, Path]:
    inside, outside = folder / "inside", folder / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret", encoding="ascii")
    return inside, outside


async def _tried(launcher: Launcher, argv: tuple[str, ...], confinement: Confinement) -> list[str]:
    environ = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    ended = await run_command(launcher, argv, confinement, environ=environ, seconds=_SECONDS)
    if not ended.succeeded:
        words = " ".join(ended.output.split())[-_WORDS:]
        raise ValueError(words or ("it did not end" if ended.killed else f"exit code {ended.exit_code}"))
    done: list[str] = json.loads(ended.output.partition("\n")[0])
    return done


@contextlib.contextmanager
def _listening() -> Generator[tuple[tuple[str, int], str, Callable[[], bool]]]:
    """Sockets of ours that must not be reached: their address, an abstract name, and whether UDP arrived."""
    abstract = f"massgen-mcp-{secrets.token_hex(8)}" if sys.platform == "linux" else ""
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        address = ("127.0.0.1", int(tcp.getsockname()[1]))
        with contextlib.suppress(OSError):
            udp.bind(address)
        udp.setblocking(False)
        if abstract:
            unix = stack.enter_context(socket.socket(socket.AF_UNIX))
            unix.bind(f"\0{abstract}")
            unix.listen()

        def arrived() -> bool:
            with contextlib.suppress(BlockingIOError):
                return bool(udp.recv(1))
            return False

        yield address, abstract, arrived
