"""Whole trees by descriptors: walk, copy, remove. No link is ever followed."""

from __future__ import annotations

import contextlib
import heapq
import os
import secrets
import stat
import sys
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from massgen_mcp.workspace.beneath import PART, PathRefused, Root, check_regular, explained, put

__all__ = [
    "Entry",
    "copy_file",
    "copy_tree",
    "entries",
    "make_folders",
    "names_in",
    "open_entry",
    "pieces",
    "read_all",
    "remove",
    "remove_parts",
    "walk",
    "writable",
]

_FOLDER: int = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)
_OPEN_AT_ONCE = 64
"""Folders below each other held open while walking; what lies deeper is left out."""
_CHUNK = 1024 * 1024


class Entry(NamedTuple):
    """One thing in a folder that is open while the entry is looked at."""

    parts: tuple[str, ...]
    folder: int
    stat: os.stat_result

    @property
    def name(self) -> str:
        """Its own name."""
        return self.parts[-1]

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder itself; a link to one is not."""
        return stat.S_ISDIR(self.stat.st_mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.stat.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.stat.st_mode)


def entries(folder: int, parts: tuple[str, ...] = (), *, most: int | None = None) -> list[Entry]:
    """What lies in an open folder, by name, but what vanishes meanwhile and our own files on their way.

    Of more than `most` things, the first by name.
    """
    found: list[Entry] = []
    with os.scandir(folder) as inside:
        theirs = (entry for entry in inside if not entry.name.startswith(PART))
        for entry in theirs if most is None else heapq.nsmallest(most, theirs, key=lambda one: one.name):
            try:
                found.append(Entry((*parts, entry.name), folder, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue
    found.sort(key=_by_name)
    return found


def _by_name(entry: Entry) -> str:
    return entry.parts[-1]


def names_in(folder: int) -> list[str]:
    """All names in an open folder."""
    with os.scandir(folder) as inside:
        return [entry.name for entry in inside]


def walk(
    folder: int,
    parts: tuple[str, ...] = (),
    *,
    into: Callable[[Entry], bool] | None = None,
    depth: int = 0,
    most: int | None = None,
) -> Generator[Entry]:
    """Everything below an open folder, a folder before its content.

    Args:
        folder: a descriptor, which stays the caller's.
        parts: what its own path is called.
        into: asked for each folder whether to look inside.
        depth: how many folders are open already.
        most: of more things than these in one folder, only the first are seen.
    """
    for entry in entries(folder, parts, most=most):
        yield entry
        if not entry.is_folder or depth >= _OPEN_AT_ONCE or not (into is None or into(entry)):
            continue
        try:
            inner = os.open(entry.name, _FOLDER, dir_fd=folder)
        except OSError:  # swapped for something else, removed, or not ours to read: nothing to see
            continue
        try:
            yield from walk(inner, entry.parts, into=into, depth=depth + 1, most=most)
        finally:
            os.close(inner)


def open_entry(entry: Entry, *, linked: bool = False) -> int:
    """A descriptor of a file met on a walk, for reading.

    Raises:
        OSError: it is gone.
        PathRefused: it is no regular file, or has other names.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(entry.name, flags, dir_fd=entry.folder)
    try:
        check_regular(os.fstat(descriptor), "/".join(entry.parts), linked=linked)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_all(descriptor: int, limit: int) -> bytes:
    """A file from where it stands to its end.

    Raises:
        PathRefused: it holds more than `limit` bytes.
    """
    pieces: list[bytes] = []
    left = limit + 1
    while left and (piece := os.read(descriptor, min(left, _CHUNK))):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise PathRefused(f"The file is larger than {limit:,} bytes.", "size")
    return b"".join(pieces)


def make_folders(root: Root, parts: Sequence[str], check: Callable[[int, str], None] | None = None) -> int:
    """A descriptor of the folder at `parts`, made with all folders above it where they are missing.

    Args:
        root: the folder they lie below.
        parts: their names.
        check: called with the folder and the name before one is made.

    Raises:
        OSError: something else lies in the way.
    """
    with contextlib.suppress(FileNotFoundError):
        return root.folder(parts)
    held = root.folder(())
    try:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                if check is not None and not _there(held, part):
                    check(held, part)
                os.mkdir(part, 0o755, dir_fd=held)
            inner = os.open(part, _FOLDER, dir_fd=held)
            os.close(held)
            held = inner
    except BaseException:
        os.close(held)
        raise
    return held


def _there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def pieces(descriptor: int, limit: int) -> Generator[bytes]:
    """A file from where it stands to its end, piece by piece.

    Raises:
        PathRefused: it holds more than `limit` bytes.
    """
    while piece := os.read(descriptor, _CHUNK):
        limit -= len(piece)
        if limit < 0:
            raise PathRefused("There is too much to copy at once; copy a part.", "size")
        yield piece


def copy_file(source: int, folder: int, name: str, *, limit: int, durable: bool = True) -> int:
    """Copy an open file into an open folder, whole or not at all. Returns its bytes.

    Raises:
        OSError: it can't be written.
        PathRefused: it is too large.
    """
    found = os.fstat(source)
    mode = 0o755 if found.st_mode & 0o111 else 0o644
    put(folder, name, pieces(source, limit), mode=mode, durable=durable)
    return found.st_size


def copy_tree(
    source: int, target: int, *, linked: bool, limit: int, files: int, depth: int = 0
) -> tuple[int, int]:
    """Copy everything below an open folder into another. Returns the files and bytes copied.

    Raises:
        OSError: something can't be read or written.
        PathRefused: there is a link or a special file among it, or too much; what was copied stays.
    """
    if depth > _OPEN_AT_ONCE:
        raise PathRefused(f"There are more than {_OPEN_AT_ONCE} folders below each other.", "size")
    count = size = 0
    for entry in entries(source):
        if entry.is_folder:
            with contextlib.suppress(FileExistsError):
                os.mkdir(entry.name, 0o755, dir_fd=target)
            with _opened(entry.name, source) as inner, _opened(entry.name, target) as below:
                left = {"limit": limit - size, "files": files - count}
                more, bytes_more = copy_tree(inner, below, linked=linked, depth=depth + 1, **left)
        else:
            if count >= files:
                raise PathRefused("There are too many files to copy at once; copy a part.", "size")
            descriptor = open_entry(entry, linked=linked)
            try:
                more = 1
                bytes_more = copy_file(descriptor, target, entry.name, limit=limit - size, durable=False)
            finally:
                os.close(descriptor)
        count, size = count + more, size + bytes_more
    return count, size


@contextlib.contextmanager
def _opened(name: str, folder: int) -> Generator[int]:
    descriptor = os.open(name, _FOLDER, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove(folder: int, name: str, *, spare: frozenset[int] = frozenset()) -> None:
    """Remove what has that name in an open folder, with everything in it. Links are removed, never followed.

    Args:
        folder: a descriptor of the folder.
        name: what to remove.
        spare: inodes at which it stops, wherever they are met.

    Raises:
        PathRefused: something can't be removed; the text says why.
    """
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=folder)
            return
        with writable(name, folder) as top:
            while _emptied(top, top, 0, spare):
                pass
        os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise explained(error, name) from error


def remove_parts(folder: int, depth: int = 0) -> None:
    """Remove our files on their way below an open folder, where nobody writes any more.

    One that can't be removed stays: it is never shown and never kept.
    """
    with os.scandir(folder) as inside:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in inside]
    for name, is_folder in found:
        with contextlib.suppress(PathRefused, OSError):
            if name.startswith(PART):
                remove(folder, name)
            elif is_folder and depth < _OPEN_AT_ONCE:
                with _opened(name, folder) as inner:
                    remove_parts(inner, depth + 1)


def _emptied(folder: int, top: int, depth: int, spare: frozenset[int]) -> bool:
    """Empty a folder. What lies deeper than descriptors reach is brought up to `top`: then it's True."""
    with os.scandir(folder) as inside:
        found = [(entry.name, entry.is_dir(follow_symlinks=False), entry.inode()) for entry in inside]
    again = False
    for name, is_folder, inode in found:
        if inode in spare:
            raise PathRefused(f"{name} is protected by the operator.", "read_only")
        if not is_folder:
            os.unlink(name, dir_fd=folder)
        elif depth >= _OPEN_AT_ONCE:
            again = True
            brought = f"{PART}{secrets.token_hex(8)}"
            os.rename(name, brought, src_dir_fd=folder, dst_dir_fd=top)
        else:
            with writable(name, folder) as inner:
                again |= _emptied(inner, top, depth + 1, spare)
            os.rmdir(name, dir_fd=folder)
    return again


def _let_in(name: str, folder: int) -> None:
    """Let the owner of a folder read it. A link that is swapped in meanwhile is not followed."""
    if sys.platform != "linux":
        os.chmod(name, 0o700, dir_fd=folder, follow_symlinks=False)
        return
    held = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{held}", 0o700)  # noqa: PTH101 - no path, but what is open
    finally:
        os.close(held)


@contextlib.contextmanager
def writable(name: str, folder: int) -> Generator[int]:
    """Borrow a descriptor of a folder that its owner can read and change from now on, whatever its mode."""
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    except PermissionError:  # not readable by its owner
        _let_in(name, folder)
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    try:
        if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(descriptor, 0o700)
        yield descriptor
    finally:
        os.close(descriptor)
