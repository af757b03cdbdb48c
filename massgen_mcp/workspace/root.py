"""What it takes to hold root: the kernel neither counts its processes nor keeps its own devices from it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from massgen_mcp.workspace.landlock import counted

__all__ = ["RootLimits", "pids_folder", "unshares"]

_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
_OWN = 4
"""Processes of the launcher itself."""
_FAILED = 125

_COUNTED = f"""tries=0
until [ -d "$1" ] || PATH={_SYSTEM_PATH} mkdir "$1" 2>/dev/null
      echo "$2" 2>/dev/null >"$1/pids.max" && echo $$ 2>/dev/null >"$1/cgroup.procs"; do
    tries=$((tries + 1))
    [ $tries -lt 20 ] || {{ echo "no process limit: $1 can't be used" >&2; exit {_FAILED}; }}
done
"""
"""Into a control group of its own. It is made anew where another command cleared it away meanwhile."""
_DEVICES = f"""PATH={_SYSTEM_PATH} mount --rbind -o ro,nosuid,noexec /dev /dev || exit {_FAILED}
"""
"""Root owns the devices, so it could take them from everybody by changing their modes."""
_RUN = 'shift 2; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class RootLimits:
    """How root's children are held here."""

    unshare: tuple[str, ...]
    """Opens the mount namespace in which the devices become read-only."""
    pids: Path | None
    """The folder for control groups; None has a process of ours count."""

    def held(self, command: Sequence[str], processes: int | None) -> tuple[str, ...]:
        """The command with a limit on its processes, and read-only devices."""
        by_group = processes is not None and self.pids is not None
        script = (_COUNTED if by_group else "") + _DEVICES + _RUN
        most = str((processes or 0) + _OWN)
        group = str(_new_group(self.pids)) if by_group and self.pids else ""
        whole = (*self.unshare, "/bin/sh", "-c", script, "massgen-root", group, most, *command)
        return whole if by_group or processes is None else counted(whole, processes + _OWN)


def _new_group(parent: Path) -> Path:
    """A control group. Those that have become empty go: nobody else is there to remove them."""
    for old in parent.glob("of-*"):
        with contextlib.suppress(OSError):
            old.rmdir()
    group = parent / f"of-{os.getpid()}-{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        group.mkdir()
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
