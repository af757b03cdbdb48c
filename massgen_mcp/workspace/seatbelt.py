"""The command line of macOS's own sandbox: a profile that denies what it does not name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.mounts import mounts

__all__ = ["NOT_HELD", "Seatbelt", "profile"]

NOT_HELD = (
    "not held: the number of processes and their memory; a child that makes a session of its own may outlive"
    " the command; its temporary files are not kept apart"
)
_PROGRAM = "/usr/bin/sandbox-exec"

_SYSTEM = (
    "/Library/Apple",
    "/Library/Developer",
    "/Library/Frameworks",
    "/System",
    "/bin",
    "/opt/homebrew",
    "/opt/local",
    "/private/etc/hosts",
    "/private/etc/localtime",
    "/private/etc/protocols",
    "/private/etc/resolv.conf",
    "/private/etc/services",
    "/private/etc/ssl",
    "/private/var/db/timezone",
    "/private/var/select",
    "/sbin",
    "/usr",
)
_DEVICES = ("null", "zero", "random", "urandom", "tty", "dtracehelper")
_BASE = """(version 1)
(deny default)
(allow process-exec process-fork)
(allow signal process-info* (target same-sandbox))
(allow sysctl-read file-read-metadata)
(allow ipc-posix-shm ipc-posix-sem)
(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo") \
(global-name "com.apple.system.logger") (global-name "com.apple.trustd.agent"))"""

_SCRIPT = """parent=$PPID
set -m
cd "$1" || exit 125
shift
"$@" <&0 &
child=$!
set +m
(
    while kill -0 "$parent" && kill -0 "$$"; do sleep 1; done
    kill -9 -- "-$child"
) </dev/null >/dev/null 2>&1 &
watcher=$!
trap 'kill -9 -- "-$child"' TERM INT HUP
wait "$child"
code=$?
kill -9 -- "-$child" 2>/dev/null
kill "$watcher" 2>/dev/null
exit $code"""
"""There is no pid namespace: the child's group ends with it, with its launcher, and with us."""


class Seatbelt:
    """How the sandbox of macOS is used."""

    def __init__(self, program: str = _PROGRAM) -> None:
        self._program = program

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command line that runs `argv` so confined."""
        script = "\n".join([*_limits(confinement.limits), _SCRIPT])
        head = ("/bin/bash", "-c", script, "massgen-sandbox", str(confinement.cwd))
        home = confinement.home or confinement.cwd
        return (
            *head,
            self._program,
            "-p",
            profile(confinement),
            "/usr/bin/env",
            f"HOME={home}",
            f"TMPDIR={confinement.cwd}",
            *argv,
        )


def profile(confinement: Confinement) -> str:
    """The profile in Apple's language. A later rule wins, so inner folders come after outer ones."""
    return "\n".join([_BASE, *_rules(confinement)])


def _rules(confinement: Confinement) -> Iterator[str]:
    yield f"(allow file-read* {' '.join(f'(subpath {_quoted(path)})' for path in _SYSTEM)})"
    devices = " ".join(f'(literal "/dev/{name}")' for name in _DEVICES)
    yield f"(allow file-read* file-write-data file-ioctl {devices})"
    for mount in mounts(confinement):
        place = f"(subpath {_quoted(os.path.realpath(mount.path))})"
        yield f"(allow file-read* {place})"
        yield f"({'allow' if mount.writable else 'deny'} file-write* {place})"
    for path in confinement.hide:
        yield f"(deny file-read* file-write* (subpath {_quoted(os.path.realpath(path))}))"
    for path in confinement.absent:
        yield f"(deny file-write* (subpath {_quoted(os.path.realpath(path))}))"
    if confinement.network:
        yield "(allow network* system-socket)"
        yield '(deny network-outbound (remote unix-socket (subpath "/")))'
        yield '(allow network-outbound (literal "/private/var/run/mDNSResponder"))'


def _quoted(path: str | Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def _limits(limits: ProcessLimits) -> Iterator[str]:
    """What macOS keeps of them; files count in blocks of 512 bytes."""
    if limits.cpu_seconds is not None:
        yield f"ulimit -t {limits.cpu_seconds}"
    if limits.file_bytes is not None:
        yield f"ulimit -f {max(1, limits.file_bytes // 512)}"
    if limits.open_files is not None:
        yield f"ulimit -n {limits.open_files}"
    yield "ulimit -c 0"
