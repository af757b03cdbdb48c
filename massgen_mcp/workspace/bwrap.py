"""The command line of bubblewrap: a root of its own, in which only what was named can be seen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.landlock import scoped
from massgen_mcp.workspace.mounts import mounts
from massgen_mcp.workspace.root import JOIN, RootLimits
from massgen_mcp.workspace.seccomp import filter_file
from massgen_mcp.workspace.system import ETC, LINKED, PACKAGES

__all__ = ["PRIVATE_HOME", "Bubblewrap"]

PRIVATE_HOME = "/home/agent"
_ORDINARY = 1000
_COVERED = "/.covered"
_TMP, _SHM = "/tmp", "/dev/shm"  # noqa: S108 - the child's own
_TMP_BYTES = 1024**3
_HOME_BYTES = 256 * 1024**2
_SHM_BYTES = 256 * 1024**2

_OUTER = """exec 9<"$1" 8<<PASSWD 7<<GROUP
$2
PASSWD
$3
GROUP
exec 6</proc/self/stat 5<"/proc/$4/stat" || exit 125
shift 4
exec "$@\""""
"""Opens what bubblewrap and the shell below read from descriptors, then becomes bubblewrap."""
_INNER = """state=
while [ "$state" != S ]; do
    read -r state </proc/1/stat
    state=${state##*") "}
    state=${state%% *}
done
for who in 5 6; do
    read -r state <&$who || exit 137
    case ${state##*") "} in [ZX]*) exit 137 ;; esac
done
exec 5<&- 6<&-
"""
"""Bubblewrap binds itself to its parent, and the sandbox's first process to itself, once they run: an end
before that goes unnoticed. So the command waits until the first process waits for it, then looks for us and
for bubblewrap: a process file that was opened in time can't be read when its process is gone."""
_RUN = 'exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubblewrap:
    """How bubblewrap is called here."""

    program: str
    prlimit: str
    root: RootLimits | None = None
    """What it takes to hold root as well."""
    scopes: bool = False
    """Whether Landlock can keep other programs' abstract sockets from a child with network."""

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command line that runs `argv` so confined."""
        user, group = _identity(confinement)
        processes = confinement.limits.processes
        join = JOIN if self.root is not None and self.root.grouped(processes) else ""
        whole = (
            "/bin/sh",
            "-c",
            _OUTER,
            "massgen-sandbox",
            str(filter_file("nested" if confinement.nested else "bwrap")),
            _passwd(user, group),
            _group(group),
            str(os.getpid()),
            self.program,
            *_options(confinement),
            *("--", "/bin/sh", "-c", _INNER + join + _RUN, "massgen-sandbox"),
            *_limits(self.prlimit, confinement.limits),
            *argv,
        )
        if self.root is not None:
            whole = self.root.held(whole, processes)
        return scoped(whole) if confinement.network and self.scopes else whole


def _identity(confinement: Confinement) -> tuple[int, int]:
    """Who the child is, as it sees itself.

    A root without capabilities may open no namespace of its own (its user would be mapped to root), so one
    that has to is an ordinary user there.
    """
    if confinement.nested and os.getuid() == 0:
        return _ORDINARY, _ORDINARY
    return os.getuid(), os.getgid()


def _passwd(user: int, group: int) -> str:
    home = f"{user}:{group}:agent:{PRIVATE_HOME}:/bin/sh"
    lines = [f"agent:x:{home}"]
    if user != 0:
        lines.insert(0, "root:x:0:0:root:/root:/usr/sbin/nologin")
    lines.append("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin")
    return "\n".join(lines)


def _group(group: int) -> str:
    names = [f"agent:x:{group}:"]
    if group != 0:
        names.insert(0, "root:x:0:")
    return "\n".join([*names, "nogroup:x:65534:"])


def _options(confinement: Confinement) -> Iterator[str]:
    yield from ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
    if not confinement.nested:
        yield "--disable-userns"
    else:
        user, group = _identity(confinement)
        yield from ("--uid", str(user), "--gid", str(group))
    if not confinement.network:
        yield "--unshare-net"
    yield from ("--die-with-parent", "--new-session", "--hostname", "sandbox", "--cap-drop", "ALL")
    yield from ("--seccomp", "9")
    yield from _system()
    yield from ("--perms", "0644", "--ro-bind-data", "8", "/etc/passwd")
    yield from ("--perms", "0644", "--ro-bind-data", "7", "/etc/group")
    if confinement.nested:
        # Only where a whole /proc is mounted may a namespace below have one of its own. This one is out of
        # reach: its folder is covered at once, and nobody in here may take the cover away.
        yield from ("--bind", "/proc", f"{_COVERED}/proc")
        yield from ("--size", "4096", "--perms", "0555", "--tmpfs", _COVERED)
    yield from ("--proc", "/proc")
    if not confinement.nested:
        yield from ("--remount-ro", "/proc")
    yield from ("--dev", "/dev", "--size", str(_SHM_BYTES), "--perms", "1777", "--tmpfs", _SHM)
    yield from ("--remount-ro", "/dev", "--size", str(_TMP_BYTES), "--perms", "1777", "--tmpfs", _TMP)
    yield from _home(confinement)
    for mount in mounts(confinement):
        yield from ("--bind" if mount.writable else "--ro-bind", str(mount.path), str(mount.path))
    for path in (*confinement.hide, *confinement.absent):
        if path.is_dir() or path in confinement.absent:
            yield from ("--size", "4096", "--perms", "0555", "--tmpfs", str(path), "--remount-ro", str(path))
        elif path.exists():
            yield from ("--ro-bind", "/dev/null", str(path))
    yield from ("--remount-ro", "/", "--chdir", str(confinement.cwd))


def _system() -> Iterator[str]:
    for path in PACKAGES:
        yield from ("--ro-bind-try", path, path)
    for path in LINKED:
        if Path(path).is_symlink():
            yield from ("--symlink", str(Path(path).readlink()), path)
        else:
            yield from ("--ro-bind-try", path, path)
    yield from ("--perms", "0755", "--dir", "/etc")
    for path in ETC:
        if Path(path).exists():
            yield from ("--ro-bind-try", path, path)


def _home(confinement: Confinement) -> Iterator[str]:
    home = str(confinement.home or PRIVATE_HOME)
    if confinement.home is None:
        yield from ("--perms", "0755", "--dir", str(Path(home).parent))
        yield from ("--size", str(_HOME_BYTES), "--perms", "0700", "--tmpfs", home)
    yield from ("--setenv", "HOME", home, "--setenv", "TMPDIR", _TMP)


def _limits(program: str, limits: ProcessLimits) -> tuple[str, ...]:
    """Inside, where the kernel counts the processes of this sandbox alone."""
    wanted = {
        "cpu": limits.cpu_seconds,
        "as": limits.memory_bytes,
        "fsize": limits.file_bytes,
        "nproc": limits.processes,
        "nofile": limits.open_files,
        "core": 0,
    }
    options = (f"--{name}={value}:{value}" for name, value in wanted.items() if value is not None)
    return (program, *options, "--")
