"""The process between us and a confined child, where bubblewrap does not do the work.

It is this very file, run by a bare Python: it imports nothing of ours. What it is asked for stands in its
first argument, as JSON. It may put the child under Landlock, limits and a system call filter; it may count
processes where the kernel does not; and it takes everything down that was started below it when the child
ends, or when it is asked to end, or when we do.
"""

# A command waits for these imports, and pathlib takes longer than all the others.
# ruff: noqa: PTH102, PTH110, PTH116, PTH123, PTH208

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, NoReturn

__all__ = ["TOO_MANY", "main"]

TOO_MANY = "more processes than allowed"
_LOOK = 0.02
"""Seconds between two counts of the processes."""
_PAUSE = 0.002
_PATIENCE = 3.0
"""Seconds until everybody below has to be gone."""
_STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

_PDEATHSIG, _SECCOMP, _DROP, _SUBREAPER, _NO_NEW_PRIVS = 1, 22, 24, 36, 38
_FILTER = 2
_RULESET, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_SCOPES = 3
"""Abstract sockets and signals."""

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock that the kernel has; 0 for none."""
    return max(0, int(_libc.syscall(_RULESET, None, 0, _VERSION)))


def _call(what: str, result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _prctl(option: int, *values: int) -> None:
    _call(f"prctl {option}", _libc.prctl(option, *(ctypes.c_ulong(v) for v in (*values, 0, 0, 0, 0)[:4])))


class _Landlock:
    """A set of rules: what is not granted can't be done."""

    def __init__(self, *, files: bool, network: bool) -> None:
        version = abi()
        self._known = _IOCTL * 2 - 1 if version >= 5 else _IOCTL - 1  # noqa: PLR2004 - the version that knows ioctl
        self._files = files
        attributes = struct.pack(
            "=QQQ",
            self._known if files else 0,
            0 if network else 3,
            _SCOPES if version >= 6 else 0,  # noqa: PLR2004
        )
        size = 24 if version >= 6 else 16  # noqa: PLR2004 - the version that knows scopes
        self._set = _call("Landlock", _libc.syscall(_RULESET, attributes, ctypes.c_size_t(size), 0))

    def grant(self, path: str, rights: int, *, follow: bool = True) -> None:
        """Give rights below a path; one that isn't there gives nothing."""
        flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            return
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISDIR(mode):
                rights &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
            rule = struct.pack("=Qi", rights & self._known, descriptor)
            _call(path, _libc.syscall(_ADD_RULE, self._set, 1, rule, 0))
        finally:
            os.close(descriptor)

    def enforce(self) -> None:
        """From here on, for this process and all it starts."""
        _call("Landlock", _libc.syscall(_RESTRICT, self._set, 0))
        os.close(self._set)


_READ = _EXECUTE | _READ_FILE | _READ_DIR
_LOOK_AT = _READ_FILE | _READ_DIR
_DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL
# Everything but devices of one's own, and ioctl on those of others.
_WRITE = (_IOCTL - 1) & ~(1 << 6) & ~(1 << 11)
_KINDS = {"read": _READ, "look": _LOOK_AT, "device": _DEVICE, "write": _WRITE}


def _landlock(wanted: dict[str, Any]) -> None:
    rules = _Landlock(files=wanted["files"], network=wanted["network"])
    around = _Around(rules, frozenset(wanted.get("protected", ())), frozenset(wanted.get("hidden", ())))
    for path, kind in wanted.get("rules", ()):
        if kind in {"read", "write"}:
            around.grant(path, _KINDS[kind])
        else:
            rules.grant(path, _KINDS[kind])
    rules.enforce()


class _Around:
    """Rights below a folder but where it is protected or hidden: a folder's rights reach all below it."""

    def __init__(self, rules: _Landlock, protected: frozenset[str], hidden: frozenset[str]) -> None:
        self._rules = rules
        self._protected = protected
        self._hidden = hidden

    def grant(self, path: str, rights: int, *, follow: bool = True) -> None:
        """Give these rights to a path, and to what lies below it as far as they reach."""
        if path in self._hidden:
            return
        if path in self._protected:
            rights, follow = _READ, False
        hides = _any_below(self._hidden, path)
        if not hides and (rights == _READ or not _any_below(self._protected, path)):
            self._rules.grant(path, rights, follow=follow)
            return
        self._rules.grant(path, _READ_DIR if hides else _READ, follow=follow)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
            for entry in entries:
                if not entry.is_symlink():
                    self.grant(entry.path, rights, follow=False)


def _any_below(paths: frozenset[str], folder: str) -> bool:
    return any(path.startswith(f"{folder}/") for path in paths)


def _drop_capabilities() -> None:
    """Root's power, for good: with no_new_privs nothing brings it back."""
    if os.geteuid() != 0:
        return
    for capability in range(64):
        with contextlib.suppress(OSError):
            _prctl(_DROP, capability)
    header = struct.pack("=Ii", 0x20080522, 0)
    _call("capset", _libc.capset(header, bytes(24)))


def _filter(content: bytes) -> None:
    buffer = ctypes.create_string_buffer(content, len(content))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(content) // 8, ctypes.addressof(buffer)))
    _prctl(_SECCOMP, _FILTER, ctypes.addressof(program))


def _limit(limits: dict[str, int | None], *, counted: bool) -> None:
    for name, value in limits.items():
        if value is not None and (counted or name != "NPROC"):
            number = getattr(resource, f"RLIMIT_{name}")
            own = value + _threads_of_user() if name == "NPROC" else value
            _, hard = resource.getrlimit(number)
            own = own if hard == resource.RLIM_INFINITY else min(own, hard)
            resource.setrlimit(number, (own, own))


def _threads_of_user() -> int:
    """How much of its limit the user has used up already: the kernel counts all of its threads."""
    user, found = os.getuid(), 0
    for pid in _pids():
        with contextlib.suppress(OSError, IndexError):
            if os.stat(f"/proc/{pid}").st_uid == user:
                found += int(_status(pid)[17])
    return found


def _become(wanted: dict[str, Any], command: Sequence[str]) -> NoReturn:
    """Confine this process as wanted, then run the command in its place."""
    environ = {**os.environ, **wanted.get("environ", {})}
    try:
        os.chdir(wanted["cwd"])
        _limit(wanted.get("limits", {}), counted=not wanted.get("most"))
        program = _read(wanted["filter"]) if "filter" in wanted else b""
        if "landlock" in wanted:
            _prctl(_NO_NEW_PRIVS, 1)
            _landlock(wanted["landlock"])
        if program:
            _drop_capabilities()
            _filter(program)
        # What Python ignores for itself, the command is to notice.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(command[0], list(command), environ)  # noqa: S606 - the command is what this is for
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror or error}\n")
        sys.stderr.flush()
    os._exit(127)


def _descendants() -> Iterator[int]:
    """Everybody below this process."""
    below = (
        _children_of
        if os.path.exists(f"/proc/self/task/{os.getpid()}/children")
        else _children_in(_parents())
    )
    ready = [os.getpid()]
    while ready:
        found = below(ready.pop())
        yield from found
        ready += found


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def _children_in(parents: dict[int, int]) -> Callable[[int], list[int]]:
    return lambda parent: [pid for pid, its in parents.items() if its == parent]


def _parents() -> dict[int, int]:
    """Everybody's parent, where the kernel does not list children."""
    found: dict[int, int] = {}
    for pid in _pids():
        with contextlib.suppress(OSError, IndexError):
            found[pid] = int(_status(pid)[1])
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _status(pid: int) -> list[bytes]:
    """What the kernel says of a process, behind its name: that, in parentheses, may hold anything."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _is_there(server: int) -> bool:
    """Whether who wanted this still runs: an end before we asked to be told of it is not told."""
    if os.getppid() == server:
        return True
    with contextlib.suppress(OSError):
        return _status(server)[0] not in {b"Z", b"X"}
    return False


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _end_all() -> None:
    """End everybody below by force, until nobody is left. Stopped first, none can start another meanwhile."""
    begun = time.monotonic()
    while time.monotonic() - begun < _PATIENCE:
        left = list(_descendants())
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        _reap()
        if not left:
            return
        time.sleep(_PAUSE)


def _reap() -> Iterator[tuple[int, int]]:
    ended: list[tuple[int, int]] = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended.append((pid, os.waitstatus_to_exitcode(status)))
    return iter(ended)


def _watch(child: int, most: int | None) -> int:
    """Until the child ends, or we are to: its exit code."""
    heard = _STOP | {signal.SIGCHLD}
    while True:
        number = signal.sigtimedwait(heard, _LOOK) if most else signal.sigwaitinfo(heard)
        if number is not None and number.si_signo in _STOP:
            return 128 + number.si_signo
        for pid, code in _reap():
            if pid == child:
                _tell_left()
                return code if code >= 0 else 128 - code
        if most and sum(1 for _ in _descendants()) > most:
            sys.stderr.write(f"massgen-mcp: {TOO_MANY} ({most})\n")
            return 128 + signal.SIGKILL


def _tell_left() -> None:
    """Say how many processes the command leaves behind, which end with it."""
    left = 0
    for pid in _descendants():
        with contextlib.suppress(OSError, IndexError):
            left += _status(pid)[0] != b"Z"
    if left:
        sys.stderr.write(f"[{left} processes in the background ended with the command]\n")
        sys.stderr.flush()


def _folders(wanted: dict[str, Any]) -> str:
    """A folder of the child's own for what it does not keep, if it is to have one."""
    if not wanted.get("private"):
        return ""
    folder = f"{os.environ.get('TMPDIR') or '/tmp'}/massgen-mcp-{os.urandom(8).hex()}"  # noqa: S108 - a new one
    os.mkdir(folder, 0o700)
    environ: dict[str, str] = wanted.setdefault("environ", {})
    for name, place in (("HOME", "home"), ("TMPDIR", "tmp")):
        if name not in environ:
            environ[name] = f"{folder}/{place}"
            os.mkdir(environ[name])
    wanted["landlock"]["rules"].append([folder, "write"])
    return folder


def _keep(wanted: dict[str, Any], command: Sequence[str], parent: int) -> NoReturn:
    """Run the command, watch it, and leave nothing of it behind."""
    # Asked to end by the end of our parent; a parent that ended before this line is seen by its number.
    _prctl(_PDEATHSIG, signal.SIGTERM)
    _prctl(_SUBREAPER, 1)
    # Not of the group of the one it watches for, which may be killed as a whole.
    os.setpgid(0, 0)
    if os.getppid() != parent:
        os._exit(1)
    folder = _folders(wanted)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        _prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _become(wanted, command)
    if wanted.get("first"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)
    _let_go()
    code = _watch(child, wanted.get("most"))
    _end_all()
    if folder:
        import shutil  # noqa: PLC0415 - while nobody waits

        shutil.rmtree(folder, ignore_errors=True)
    os._exit(code)


def _let_go() -> None:
    """The child's input and output are its own: what it closes is closed."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)


def main(arguments: Sequence[str]) -> NoReturn:
    """Run `WANTED COMMAND...`."""
    wanted = json.loads(arguments[0])
    command = arguments[1:]
    if not wanted.get("watch"):
        _become(wanted, command)
    # Two of us: whoever kills the one it started, by force too, has the other take the child down.
    _prctl(_PDEATHSIG, signal.SIGKILL)
    if not _is_there(wanted["server"]):
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP | {signal.SIGCHLD})
    own = os.getpid()
    keeper = os.fork()
    if keeper == 0:
        _keep(wanted, command, own)
    _let_go()
    while True:
        number = signal.sigwaitinfo(_STOP | {signal.SIGCHLD})
        if number.si_signo in _STOP:
            with contextlib.suppress(OSError):
                os.kill(keeper, number.si_signo)
            continue
        pid, status = os.waitpid(keeper, os.WNOHANG)
        if pid:
            os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 137)


if __name__ == "__main__":
    main(sys.argv[1:])
