"""The one place that opens files of agents: below an open folder, and never through a link.

On Linux the kernel resolves a whole path beneath the folder in one step (`openat2`), elsewhere each component
is opened by itself. Both give a descriptor, and all further work is done on it: nothing is looked up twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import secrets
import stat
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from massgen_mcp.errors import MassgenError

__all__ = ["PART", "PathRefused", "Refusal", "Root", "best_opener", "by_kernel", "by_walk", "put", "unusable"]

Refusal: TypeAlias = Literal[
    "outside",  # it leads out of what the agent may see
    "link",  # a symbolic link, or a file that has another name elsewhere
    "kind",  # no regular file, or no folder
    "missing",
    "exists",
    "read_only",
    "name",  # no file here may have that name
    "size",
    "text",  # its content isn't what the operation needs
    "system",  # the disk or the operating system said no
]

PART = ".massgen-part-"
"""Files on their way begin with this: never shown, never kept."""

Opener: TypeAlias = Callable[[int, Sequence[str], int], int]

_OPENAT2 = 437
_MACHINES = frozenset({"x86_64", "aarch64"})
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_TRIES = 64
_FOLDER: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
# A FIFO must not hang us, a terminal not become ours.
_ALWAYS: int = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
)
_PSEUDO = ("/proc", "/sys", "/dev")


class PathRefused(MassgenError):
    """A path that can't be used so. The text is for the model that asked."""

    def __init__(self, message: str, kind: Refusal) -> None:
        super().__init__(message)
        self.kind: Refusal = kind


def unusable() -> str:
    """Why files can't be worked on safely on this system; empty where they can."""
    if os.open in os.supports_dir_fd and os.scandir in os.supports_fd:
        return ""
    return f"{sys.platform} has no operations below an open folder, so that agents have no file tools here"


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@cache
def _syscall() -> Callable[..., int]:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (
        ctypes.c_long,
        ctypes.c_long,
        ctypes.c_char_p,
        ctypes.POINTER(_How),
        ctypes.c_size_t,
    )
    return function


def by_kernel(root: int, parts: Sequence[str], flags: int) -> int:
    """Open what lies at `parts` below the folder `root`, resolved by the kernel.

    Raises:
        OSError: it is not there, is behind a link, or leads out.
    """
    path = os.fsencode("/".join(_checked(parts)) or ".")
    how = _How(flags | _ALWAYS, 0, _BENEATH | _NO_MAGICLINKS | _NO_SYMLINKS)
    code = 0
    for _ in range(_TRIES):
        opened = _syscall()(_OPENAT2, root, path, ctypes.byref(how), ctypes.sizeof(how))
        if opened >= 0:
            return opened
        code = ctypes.get_errno()
        # EAGAIN: something was renamed meanwhile, so that the kernel can't vouch for the path.
        if code not in {errno.EAGAIN, errno.EINTR}:
            break
    raise OSError(code, os.strerror(code))


def by_walk(root: int, parts: Sequence[str], flags: int) -> int:
    """The same, component by component, for systems without `openat2`."""
    *folders, name = _checked(parts) or (".",)
    held = root
    try:
        for part in folders:
            inner = os.open(part, _FOLDER | _ALWAYS, dir_fd=held)
            if held != root:
                os.close(held)
            held = inner
        return os.open(name, flags | _ALWAYS, dir_fd=held)
    finally:
        if held != root:
            os.close(held)


def _checked(parts: Sequence[str]) -> Sequence[str]:
    if any(part in {"", ".", ".."} or "/" in part or "\0" in part for part in parts):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return parts


@cache
def best_opener() -> Opener:
    """The kernel's way where it works: old kernels lack it, and some containers forbid it."""
    if sys.platform == "linux" and platform.machine() in _MACHINES:
        with contextlib.suppress(OSError):
            slash = os.open("/", _FOLDER)
            try:
                os.close(by_kernel(slash, (), _FOLDER))
            finally:
                os.close(slash)
            return by_kernel
    return by_walk


class Root:
    """An open folder, and everything below it.

    Args:
        descriptor: of the folder; it belongs to this object from now on.
        linked: files may have several names: so in our own snapshots, nowhere else.
        opener: how paths are resolved.
    """

    __slots__ = ("_open", "fd", "linked")

    def __init__(self, descriptor: int, *, linked: bool = False, opener: Opener | None = None) -> None:
        self.fd = descriptor
        self.linked = linked
        self._open = opener or best_opener()

    @classmethod
    def at(cls, path: Path, *, linked: bool = False, opener: Opener | None = None) -> Root:
        """Open a folder of the operator's. Links in its path are followed now, and never again.

        Raises:
            PathRefused: it is no folder, or one that the system makes up, such as `/proc`.
        """
        opener = opener or best_opener()
        try:
            real = Path(os.path.realpath(path, strict=True))
            slash = os.open("/", _FOLDER | _ALWAYS)
            try:
                descriptor = opener(slash, real.parts[1:], _FOLDER)
            finally:
                os.close(slash)
        except OSError as error:
            raise explained(error, str(path)) from error
        if _made_up(descriptor):
            os.close(descriptor)
            raise PathRefused(f"{path} is made up by the system; agents can't work there.", "outside")
        return cls(descriptor, linked=linked, opener=opener)

    def folder(self, parts: Sequence[str]) -> int:
        """A descriptor of the folder there.

        Raises:
            OSError: there is none.
        """
        return self._open(self.fd, parts, _FOLDER)

    def file(self, parts: Sequence[str]) -> tuple[int, os.stat_result]:
        """A descriptor of the regular file there, for reading, and what the system says of it.

        Raises:
            OSError: there is nothing.
            PathRefused: it is no regular file, or has other names.
        """
        descriptor = self._open(self.fd, parts, os.O_RDONLY)
        try:
            found = os.fstat(descriptor)
            check_regular(found, "/".join(parts), linked=self.linked)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, found

    @contextlib.contextmanager
    def in_folder(self, parts: Sequence[str]) -> Generator[int]:
        """Borrow a descriptor of the folder there."""
        descriptor = self.folder(parts)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def in_file(self, parts: Sequence[str]) -> Generator[tuple[int, os.stat_result]]:
        """Borrow a descriptor of the file there."""
        descriptor, found = self.file(parts)
        try:
            yield descriptor, found
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the folder. May be called again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _made_up(descriptor: int) -> bool:
    device = os.fstat(descriptor).st_dev
    slash = Path("/").stat().st_dev
    for path in _PSEUDO:
        with contextlib.suppress(OSError):
            if Path(path).stat().st_dev == device != slash:
                return True
    return False


def check_regular(found: os.stat_result, name: str, *, linked: bool = False) -> None:
    """Refuse everything but a regular file with one name.

    Raises:
        PathRefused: as said.
    """
    if stat.S_ISDIR(found.st_mode):
        raise PathRefused(f"{name or '.'} is a folder, not a file.", "kind")
    if stat.S_ISLNK(found.st_mode):
        raise PathRefused(f"{name} is a symbolic link. Links aren't followed here.", "link")
    if not stat.S_ISREG(found.st_mode):
        raise PathRefused(f"{name} is not a regular file (a pipe, socket or device).", "kind")
    if found.st_nlink > 1 and not linked:
        raise PathRefused(
            f"{name} is a hard link: the same file has another name elsewhere. Copy its content instead.",
            "link",
        )


_CAUSES: dict[int, tuple[Refusal, str]] = {
    errno.ENOENT: ("missing", "There is no {}."),
    errno.ELOOP: ("link", "{} is, or lies behind, a symbolic link. Links aren't followed here."),
    errno.EXDEV: ("outside", "{} leads out of its folder."),
    errno.EEXIST: ("exists", "{} is already there."),
    errno.ENOTEMPTY: ("exists", "{} is not empty."),
    errno.EISDIR: ("kind", "{} is a folder, not a file."),
    errno.ENOTDIR: (
        "kind",
        "{}: a part of that path is not a folder (a file, or a link, which isn't followed).",
    ),
    errno.ENXIO: ("kind", "{} is not a regular file (a pipe, socket or device)."),
    errno.ENAMETOOLONG: ("name", "{}: the name is too long."),
    errno.EACCES: ("system", "{}: the system does not permit it."),
    errno.EPERM: ("system", "{}: the system does not permit it."),
    errno.EROFS: ("read_only", "{} is on a read-only disk."),
    errno.ENOSPC: ("system", "{}: the disk is full."),
    errno.EDQUOT: ("system", "{}: the disk quota is used up."),
}


def explained(error: OSError, name: str) -> PathRefused:
    """What went wrong with a path, in words."""
    kind, words = _CAUSES.get(error.errno or 0, ("system", "{}: " + (error.strerror or "it failed") + "."))
    return PathRefused(words.format(name or "."), kind)


def put(
    folder: int, name: str, data: bytes | Iterable[bytes], *, mode: int = 0o644, durable: bool = True
) -> None:
    """Write a whole file into an open folder: it is there complete, or as it was before.

    Raises:
        OSError: it can't be written; what was there is as it was.
    """
    part = f"{PART}{os.getpid():x}-{time.monotonic_ns():x}-{secrets.token_hex(4)}"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _ALWAYS, 0o600, dir_fd=folder)
    try:
        try:
            for piece in (data,) if isinstance(data, bytes) else data:
                _write(descriptor, piece)
            os.fchmod(descriptor, mode)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part, dir_fd=folder)
        raise


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
