"""What agents look at: text of files, folders, what the system knows of either."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass

from massgen_mcp.workspace.areas import ANSWERS, Areas, Place
from massgen_mcp.workspace.beneath import PathRefused, explained
from massgen_mcp.workspace.names import secret, shown
from massgen_mcp.workspace.trees import Entry, entries, read_all, walk

__all__ = ["Listing", "Text", "check_readable", "explaining", "info", "listing", "read", "reading"]

_MAX_LINE = 8 * 1024 * 1024
_SAMPLE = 8192
_CHUNK = 1024 * 1024
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A piece of a text file. `more` is where to read on: a line, and a character of it; None at the end."""

    lines: tuple[str, ...]
    first: int
    total: int
    size: int
    more: tuple[int, int] | None = None
    damaged: bool = False
    """Some bytes are no UTF-8; they are shown as U+FFFD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What lies in a folder: each path, with a slash behind a folder's, and the bytes of a file."""

    rows: tuple[tuple[str, int | None], ...]
    cut: bool = False


@contextlib.contextmanager
def explaining(place: Place) -> Generator[None]:
    """Failures of the system, in words that name the place as the agent does."""
    try:
        yield
    except OSError as error:
        raise explained(error, place.shown) from error
    except PathRefused as error:
        if "/".join(place.parts) == place.shown or not place.parts:
            raise
        raise PathRefused(str(error).replace("/".join(place.parts), place.shown, 1), error.kind) from error


def check_readable(place: Place) -> None:
    """Refuse to read what keeps keys in a project.

    Raises:
        PathRefused: as said.
    """
    if place.area.project and secret(place.parts):
        raise PathRefused(
            f"{place.shown}: by its name it keeps keys or passwords. "
            "Agents don't read such files of a project.",
            "read_only",
        )


@contextlib.contextmanager
def reading(place: Place) -> Generator[tuple[int, os.stat_result]]:
    """Borrow a descriptor of a file for reading.

    Raises:
        PathRefused: there is none, or it may not be read.
    """
    check_readable(place)
    with explaining(place), place.area.root.in_file(place.parts) as opened:
        yield opened


def read(
    areas: Areas,
    path: str,
    *,
    start: int = 1,
    end: int | None = None,
    character: int = 1,
    max_lines: int = 2000,
    max_characters: int = 40_000,
) -> Text:
    """Lines `start` to `end` of a text file, from that character of the first on.

    A negative start counts from the end.

    Raises:
        PathRefused: there is no such file, or it is no text.
    """
    place = areas.place(path)
    with reading(place) as (descriptor, found):
        _check_text(descriptor, place, found)
        total = _count_lines(descriptor)
        if start < 0:
            start = max(1, total + 1 + start)
        if start > max(total, 1):
            raise PathRefused(f"{place.shown} has {total} lines; line {start} is behind its end.", "size")
        os.lseek(descriptor, 0, os.SEEK_SET)
        last = min(total, end if end is not None else total, start + max_lines - 1)
        with open(descriptor, "rb", closefd=False) as file:
            lines, more, damaged = _window(file, start, last, character - 1, max_characters)
    if more is None and last < total:
        more = (last + 1, 1)
    return Text(lines=lines, first=start, total=total, size=found.st_size, more=more, damaged=damaged)


def read_bytes(areas: Areas, path: str, limit: int) -> bytes:
    """A whole file, whatever is in it.

    Raises:
        PathRefused: it may not be read, or is larger than that.
    """
    place = areas.place(path)
    with reading(place) as (descriptor, found):
        if found.st_size > limit:
            words = f"{place.shown} has {found.st_size:,} bytes; {limit:,} can be looked at."
            raise PathRefused(words, "size")
        return read_all(descriptor, limit)


def _check_text(descriptor: int, place: Place, found: os.stat_result) -> None:
    sample = os.read(descriptor, _SAMPLE)
    if sample.startswith(_UTF16):
        words = "is UTF-16 text, which is not read here"
    elif b"\0" in sample:
        words = "is binary"
    else:
        return
    raise PathRefused(f"{place.shown} {words} ({found.st_size:,} bytes).", "text")


def _count_lines(descriptor: int) -> int:
    os.lseek(descriptor, 0, os.SEEK_SET)
    count, last = 0, b""
    while piece := os.read(descriptor, _CHUNK):
        count += piece.count(b"\n")
        last = piece
    return count + bool(last and not last.endswith(b"\n"))


def _window(
    file: io.BufferedReader, start: int, last: int, skip: int, room: int
) -> tuple[tuple[str, ...], tuple[int, int] | None, bool]:
    for _ in range(start - 1):
        while (piece := file.readline(_CHUNK)) and not piece.endswith(b"\n"):
            pass
    lines: list[str] = []
    damaged = False
    for number in range(start, last + 1):
        raw = file.readline(_MAX_LINE)
        whole = raw.endswith(b"\n") or len(raw) < _MAX_LINE
        line = raw.rstrip(b"\n").removesuffix(b"\r").decode("utf-8", "replace")
        damaged = damaged or "\ufffd" in line
        rest = line[skip:]
        if len(rest) > room and lines:
            return tuple(lines), (number, skip + 1), damaged
        if len(rest) > room or not whole:
            return (*lines, rest[:room]), (number, skip + 1 + room), damaged
        lines.append(rest)
        room -= len(rest) + 1
        skip = 0
    return tuple(lines), None, damaged


def listing(areas: Areas, path: str, *, recursive: bool = False, limit: int = 1000) -> Listing:
    """What lies in a folder; in folders below, too, with `recursive`.

    Raises:
        PathRefused: there is no such folder.
    """
    rows: list[tuple[str, int | None]] = []
    listed = areas.is_list(path)
    for place in areas.places(path):
        for row in _rows(place, recursive=recursive, itself=listed, limit=limit + 1):
            if len(rows) >= limit:
                return Listing(rows=tuple(rows), cut=True)
            rows.append(row)
    if path in {".", "${cwd}"}:
        rows += [(f"{ANSWERS}/", None)] if areas.labels else []
        rows += [(f"{area.prefix}{'' if area.only else '/'}", None) for area in areas.project]
    return Listing(rows=tuple(rows))


def _rows(place: Place, *, recursive: bool, itself: bool, limit: int) -> Iterable[tuple[str, int | None]]:
    if itself:
        yield (place.shown + ("" if place.area.only else "/"), None)
        return
    with explaining(place), place.area.root.in_folder(place.parts) as folder:
        found = walk(folder, most=limit) if recursive else entries(folder, most=limit)
        for entry in found:
            yield _row(entry)


def _row(entry: Entry) -> tuple[str, int | None]:
    path = shown("/".join(entry.parts))
    if entry.is_folder:
        return f"{path}/", None
    if entry.is_link:
        return f"{path} (symbolic link, not followed)", None
    if not entry.is_file:
        return f"{path} (special file)", None
    return path, entry.stat.st_size


def info(areas: Areas, path: str) -> os.stat_result:
    """What the system says of a file or folder; links aren't followed.

    Raises:
        PathRefused: there is nothing, or it may not be seen.
    """
    place = areas.place(path)
    with explaining(place):
        if not place.parts:
            return os.fstat(place.area.root.fd)
        with place.area.root.in_folder(place.parts[:-1]) as folder:
            return os.stat(place.parts[-1], dir_fd=folder, follow_symlinks=False)
