"""What it takes to hold root: the kernel neither counts its processes nor keeps its own devices from it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from massgen_mcp.workspace.landlock import counted

__all__ = ["JOIN", "RootLimits", "pids_folder", "unshares"]

_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
_OWN = 4
"""Processes of the launcher itself."""
_FRESH = 20.0
"""Seconds in which a control group may be empty because its command is still being started."""
_FAILED = 125

_GROUP = f"""exec 4>"$group/cgroup.procs" || exit {_FAILED}
echo 0 >&4 2>/dev/null &
"""
"""Opens the control group for the command, which joins it last of all. The kernel takes some 10 ms to let one
process change its group, and lets others follow at once: so one goes ahead while the sandbox is built."""
JOIN = f"""echo 0 >&4 || exit {_FAILED}
exec 4>&-
"""
"""Puts the shell that runs it, and what it becomes, into the control group."""
_DEVICES = f"""PATH={_SYSTEM_PATH} mount --rbind -o ro,nosuid,noexec /dev /dev || exit {_FAILED}
"""
"""Root owns the devices, so it could take them from everybody by changing their modes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootLimits:
    """How root's children are held here."""

    unshare: tuple[str, ...]
    """Opens the mount namespace in which the devices become read-only."""
    pids: Path | None
    """The folder for control groups; None has a process of ours count."""

    def grouped(self, processes: int | None) -> bool:
        """Whether the command has to `JOIN` a control group, which limits it to so many processes."""
        return processes is not None and self.pids is not None

    def held(self, shell: Sequence[str], processes: int | None) -> tuple[str, ...]:
        """The command line of a shell (`sh -c SCRIPT ...`) with this limit and read-only devices.

        Raises:
            OSError: no control group can be made.
        """
        program, option, script, *arguments = shell
        before = _DEVICES
        if processes is not None and self.pids is not None:
            group = _new_group(self.pids, processes + _OWN)
            before = f"group={shlex.quote(str(group))}\n{_GROUP}{_DEVICES}"
        whole = (*self.unshare, program, option, before + script, *arguments)
        return whole if self.grouped(processes) or processes is None else counted(whole, processes + _OWN)


def _new_group(parent: Path, most: int) -> Path:
    """A control group for so many processes. Those that are done with go: nobody else is there to do it."""
    for old in parent.glob("*-*-*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _FRESH:
                old.rmdir()
    group = parent / f"command-{os.getpid()}-{secrets.token_hex(4)}"
    group.mkdir(parents=True)  # the folder of all may have been tidied away
    (group / "pids.max").write_text(str(most), encoding="ascii")
    return group


def unshares() -> Iterator[tuple[str, ...]]:
    """The ways to a mount namespace, the cheap one first: in a container, root may need a user namespace."""
    program = shutil.which("unshare", path=_SYSTEM_PATH) or "unshare"
    yield (program, "--mount", "--")
    yield (program, "--user", "--map-root-user", "--mount", "--")


def pids_folder(proc: Path = Path("/proc/self")) -> Path | None:
    """A folder in which control groups with a process limit can be made; None where there is none for us."""
    for folder in _candidates(proc):
        try:
            folder.mkdir(exist_ok=True)
            if (folder / "cgroup.subtree_control").exists():
                (folder / "cgroup.subtree_control").write_text("+pids", encoding="ascii")
            trial = folder / f"trial-{os.getpid()}"
            trial.mkdir()
            try:
                (trial / "pids.max").write_text("64", encoding="ascii")
            finally:
                trial.rmdir()
        except OSError:
            continue
        return folder
    return None


def _candidates(proc: Path) -> Iterator[Path]:
    """Below our own group where there is a tree for processes alone, else below the top of the one tree."""
    own = {
        controller: path
        for line in (proc / "cgroup").read_text(encoding="utf-8").splitlines()
        for _, controllers, path in [line.split(":", 2)]
        for controller in controllers.split(",")
    }
    for line in (proc / "mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        place = Path(before.split(" ")[4])
        if kind == "cgroup" and "pids" in options.split(","):
            yield Path(f"{place}{own.get('pids', '')}") / "massgen-mcp"
        elif kind == "cgroup2":
            yield place / "massgen-mcp"
