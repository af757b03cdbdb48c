"""The one launcher of confined children: which sandbox works here, and the command line it makes.

Nothing is taken on trust: a level works once a child under it really failed to do what it must not.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from massgen_mcp.errors import MassgenError
from massgen_mcp.workspace import seatbelt
from massgen_mcp.workspace.bond import bonded
from massgen_mcp.workspace.bwrap import Bubblewrap
from massgen_mcp.workspace.canary import failing
from massgen_mcp.workspace.confinement import Confinement, Level
from massgen_mcp.workspace.landlock import LEAST_VERSION, VERSION_OF_SCOPES, Landlock, not_held, version
from massgen_mcp.workspace.root import RootLimits, pids_folder, unshares
from massgen_mcp.workspace.seccomp import supported

__all__ = ["Sandbox", "SandboxUnavailable", "choose", "find_sandbox"]

_LINUX_REMEDY = (
    "Install bubblewrap, allow user namespaces for it, use execution mode docker, or set sandbox: off"
    " in the team file."
)
_MAC_REMEDY = "Use execution mode docker, or set sandbox: off in the team file."
_WINDOWS = (
    "command tool unavailable: there is no sandbox for commands on Windows. Run the server under WSL 2, or"
    " use execution mode docker."
)
_SHARED_NETWORK = "not held for children with network: abstract sockets of other programs"


class SandboxUnavailable(MassgenError):
    """No sandbox works here. The text says why, level by level, and what helps."""


class _Confiner(Protocol):
    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How children are confined on this machine."""

    level: Level
    why: str
    """What was tried before and failed, and what this level does not hold; empty for nothing."""
    _confiner: _Confiner

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command line that runs `argv` so confined, in `confinement.cwd`.

        It sets HOME and TMPDIR; every other variable is the launcher's. It needs no descriptor but the three
        standard ones. This process has to start it, in a session of its own: then a SIGKILL for its group
        ends all that it started, and so does the end of this process.
        """
        return self._confiner.command(argv, confinement)


class _Unconfined:
    """The operator's explicit word: nothing is held, but that it ends with us."""

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        home = str(confinement.home or "")
        script = 'cd "$1" && { [ -z "$2" ] || export HOME="$2"; } && shift 2 && exec "$@"'
        return bonded(("/bin/sh", "-c", script, "massgen-command", str(confinement.cwd), home, *argv))


_found: dict[tuple[str, ...], Sandbox | SandboxUnavailable] = {}


async def find_sandbox(
    environ: Mapping[str, str] = os.environ, *, mode: Literal["auto", "off"] = "auto"
) -> Sandbox:
    """The strongest sandbox that works here, found once by really trying.

    Raises:
        SandboxUnavailable: none works; the text has each reason.
    """
    if mode == "off":
        return Sandbox("off", "commands are not confined, by the operator's word", _Unconfined())
    key = (environ.get("PATH", ""),)
    if key not in _found:
        _found[key] = await choose(environ)
    found = _found[key]
    if isinstance(found, SandboxUnavailable):
        raise SandboxUnavailable(str(found))
    return found


async def choose(
    environ: Mapping[str, str],
    *,
    platform: str = sys.platform,
    landlock_version: Callable[[], int] = version,
) -> Sandbox | SandboxUnavailable:
    """The strongest sandbox of that platform that works, tried now."""
    if platform == "win32":
        return SandboxUnavailable(_WINDOWS)
    if platform == "darwin":
        found = await _seatbelt()
        return found if isinstance(found, Sandbox) else _unavailable(f"seatbelt: {found}", _MAC_REMEDY)
    bwrap = await _bubblewrap(environ)
    if isinstance(bwrap, Sandbox):
        return bwrap
    landlock = await _landlock(bwrap, landlock_version())
    if isinstance(landlock, Sandbox):
        return landlock
    return _unavailable(f"bwrap: {bwrap}; landlock: {landlock}", _LINUX_REMEDY)


def _unavailable(reasons: str, remedy: str) -> SandboxUnavailable:
    return SandboxUnavailable(f"command tool unavailable: no sandbox works here ({reasons}). {remedy}")


async def _bubblewrap(environ: Mapping[str, str]) -> Sandbox | str:
    path = environ.get("PATH", os.defpath)
    program, prlimit = shutil.which("bwrap", path=path), shutil.which("prlimit", path=os.defpath)
    if program is None:
        return "not installed"
    if prlimit is None:
        return "prlimit of util-linux is not installed"
    if not supported():
        return "no system call filter for this processor"
    reason = ""
    for root in [*_roots()] if os.geteuid() == 0 else [None]:
        confiner = Bubblewrap(
            program=program, prlimit=prlimit, root=root, scopes=version() >= VERSION_OF_SCOPES
        )
        found = Sandbox("bwrap", "" if confiner.scopes else _SHARED_NETWORK, confiner)
        reason = await failing(found, crowd=root is None or root.pids is not None)
        if not reason:
            return found
    return reason


def _roots() -> Iterator[RootLimits]:
    pids = pids_folder()
    for folder in (pids, None) if pids else (None,):
        for unshare in unshares():
            yield RootLimits(unshare=unshare, pids=folder)


async def _landlock(before: str, known: int) -> Sandbox | str:
    if known < LEAST_VERSION:
        found = f"the kernel has version {known} of it, {LEAST_VERSION} is needed"
        return found if known else "not in this kernel"
    if not supported():
        return "no system call filter for this processor"
    root = os.geteuid() == 0
    confiner = Landlock(root=root)
    found = Sandbox("landlock", f"bwrap: {before}; {not_held(known)}", confiner)
    return await failing(found, crowd=not root) or found


async def _seatbelt() -> Sandbox | str:
    confiner = seatbelt.Seatbelt()
    found = Sandbox("seatbelt", seatbelt.NOT_HELD, confiner)
    return await failing(found) or found
