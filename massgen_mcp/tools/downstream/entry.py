"""A downstream server as values, and what surrounds it: ready to be started, nothing left to look up."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal, Protocol, TypeAlias

import anyio

from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.network import Resolve, resolve
from massgen_mcp.tools.filters import NameLists
from massgen_mcp.workspace.confinement import Confinement, Level

__all__ = ["Confiner", "Entry", "Outside", "PackageCache", "Spill"]

Spill: TypeAlias = Callable[[str, bytes], Awaitable[str]]
"""Keeps bytes under a suggested file name; returns the path that the agent can read them at."""

_START_SECONDS = 15.0
_INSTALL_SECONDS = 90.0
_INSTALLERS = frozenset({"npx", "uvx", "pipx", "bunx", "pnpx"})
_INSTALLING = frozenset(
    {
        ("npm", "exec"),
        ("npm", "x"),
        ("uv", "run"),
        ("uv", "tool"),
        ("pnpm", "dlx"),
        ("yarn", "dlx"),
        ("bun", "x"),
        ("deno", "run"),
    }
)


class Confiner(Protocol):
    """What the sandbox launcher offers here."""

    @property
    def level(self) -> Level:
        """How children are held."""
        ...

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command line that runs `argv` inside."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of `mcp_servers`, with variables expanded and paths made absolute."""

    name: str
    command: tuple[str, ...] = field(default=(), repr=False)
    """The program and its arguments; empty where there is a `url`."""
    url: str = field(default="", repr=False)
    environ: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cwd: Path | None = None
    """Where it starts; absent: in an empty folder of its own."""
    timeout: float | None = None
    """Seconds of one call, however much progress is reported."""
    start_limit: float | None = None
    """Seconds until its tools are listed; absent: 15, or 90 where it may have to be fetched first."""
    lists: NameLists = field(default_factory=NameLists)
    sandbox: Literal["auto", "off"] = "auto"
    stateless: bool = False
    """It remembers nothing between calls: one connection serves all agents of a run."""
    side_effects: tuple[tuple[str, bool], ...] = ()
    """The operator's word on tools, by their own names, against what the server says of them."""

    @property
    def installs(self) -> bool:
        """Whether the command may fetch the server first."""
        words = [PurePath(self.command[0]).stem.lower(), *self.command[1:2]] if self.command else [""]
        return words[0] in _INSTALLERS or tuple(words) in _INSTALLING

    @property
    def start_seconds(self) -> float:
        """How long it has until its tools are listed."""
        if self.start_limit is not None:
            return self.start_limit
        return _INSTALL_SECONDS if self.installs else _START_SECONDS


class PackageCache:
    """The folder that installers keep packages in between runs. One object serves a process.

    Every server has a part of its own: what one of them writes there is never run as another. Its
    installations wait for each other: installers were not made for races.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks: dict[Path, anyio.Lock] = {}

    def part(self, entry: Entry) -> Path:
        """The folder of a server: the same whichever paths it is given to work on."""
        words = [word for word in entry.command if not word.rpartition("=")[2].startswith("/")]
        program = PurePath(entry.command[0]).name
        text = "\0".join((entry.name, program, *words)).encode("utf-8", "surrogatepass")
        return self.folder / f"{entry.name}-{hashlib.sha256(text).hexdigest()[:16]}"

    def lock(self, entry: Entry) -> anyio.Lock:
        """Held while that server starts."""
        return self._locks.setdefault(self.part(entry), anyio.Lock())

    def used(self, entry: Entry) -> bool:
        """Whether that server was ever started from here."""
        return self._mark(entry).exists()

    def remember(self, entry: Entry) -> None:
        """It was started, so it is installed."""
        self._mark(entry).touch()

    def _mark(self, entry: Entry) -> Path:
        part = self.part(entry)
        # Beside the folder, where the server itself can't write.
        return part.with_name(f"{part.name}.installed")


def _nothing(text: str) -> None:
    del text


def _same(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the servers of one agent, or the shared ones of one run, find around them."""

    folder: Path
    """Where each gets a folder of its own; made when needed."""
    cache: PackageCache
    sandbox: Confiner | None = None
    sandbox_problem: str = "no sandbox was looked for"
    """Why there is none; then only entries with `sandbox: off` start."""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    clock: Clock = field(default_factory=SystemClock)
    workspace: Path | None = None
    """The agent's folder: writable for servers whose entry names a path in it."""
    tell: Callable[[str], None] = _nothing
    """Takes a line of progress."""
    tell_after: float = 3.0
    """Seconds until an installation is told of."""
    grace: float = 1.0
    """Seconds a server has to end with its input, and again after SIGTERM."""
    spill: Spill | None = None
    redact: Callable[[str], str] = _same
    http_hosts: frozenset[str] = frozenset()
    """Hosts that the operator lets be talked to without TLS."""
    resolve: Resolve = resolve
