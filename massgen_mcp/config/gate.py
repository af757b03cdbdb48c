"""Opening a file that somebody named: regular, of bounded size, inside a folder the operator approved."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from massgen_mcp.config.tree import MAX_BYTES
from massgen_mcp.errors import ConfigError, Problem

__all__ = ["inside", "read_text"]

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_LINK_ERRORS = frozenset({0, errno.ELOOP, errno.EMLINK})
_STEPWISE = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")


def read_text(path: Path, *, approved: Sequence[Path]) -> str:
    """The text of a file below one of the approved folders, which may itself be reached by a link.

    Below the folder no link is followed. A pipe or device is refused without waiting for it.

    Raises:
        ConfigError: it is elsewhere, not a regular file, too large, not UTF-8 or can't be read.
    """
    found = inside(path, approved)
    if found is None:
        folders = ", ".join(str(folder) for folder in approved) or "none"
        raise _refused(path, f"the file is not inside an approved folder ({folders})")
    folder, steps = found
    try:
        handle = _open(folder, steps)
    except FileNotFoundError as error:
        raise _refused(path, "there is no such file") from error
    except OSError as error:
        raise _refused(path, f"the file can't be opened: {_reason(error)}") from error
    try:
        data = _read(handle, path)
    finally:
        os.close(handle)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused(path, "the file is not UTF-8 text", line=line) from error


def inside(path: Path, approved: Sequence[Path]) -> tuple[Path, tuple[str, ...]] | None:
    """The approved folder that holds the path, and the steps from there; None when there is none.

    Compared as written first; a file whose folder is reached by another way (`/tmp` on macOS) is compared by
    the folder's real name. The file's own name is never resolved.
    """
    absolute = Path(os.path.normpath(path.absolute()))
    parent = absolute.parent
    for folder in approved:
        written = Path(os.path.normpath(folder.absolute()))
        for base in dict.fromkeys((written, folder.resolve())):
            if absolute != base and absolute.is_relative_to(base):
                return base, absolute.relative_to(base).parts
    resolved = parent.resolve() / absolute.name
    for folder in approved:
        base = folder.resolve()
        if resolved != base and resolved.is_relative_to(base):
            return base, resolved.relative_to(base).parts
    return None


def _open(folder: Path, steps: tuple[str, ...]) -> int:
    if not _STEPWISE:  # pragma: no cover - platforms without openat
        path = folder.joinpath(*steps)
        if path.resolve() != folder.resolve().joinpath(*steps):
            raise OSError(0, "a link is in the way")
        return os.open(path, _FLAGS)
    current = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in steps[:-1]:
            below = os.open(step, _FLAGS | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = below
        return os.open(steps[-1], _FLAGS, dir_fd=current)
    finally:
        os.close(current)


def _read(handle: int, path: Path) -> bytes:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "not a regular file")
    if status.st_size > MAX_BYTES:
        raise _refused(path, "larger than 1 MiB")
    parts: list[bytes] = []
    left = MAX_BYTES + 1
    while left > 0 and (part := os.read(handle, left)):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise _refused(path, "larger than 1 MiB")
    return b"".join(parts)


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, NotADirectoryError) or error.errno in _LINK_ERRORS:
        return "a link is in the way, and links are not followed"
    return "the system refused"


def _refused(path: Path, message: str, *, line: int | None = None) -> ConfigError:
    return ConfigError([Problem(path="", message=message, line=line)], name=path.name)
