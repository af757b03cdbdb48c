"""How agents change files: written whole, or exact text replaced, never half."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from massgen_mcp.text import visible
from massgen_mcp.workspace.areas import Areas, Place
from massgen_mcp.workspace.beneath import PathRefused, check_regular, put
from massgen_mcp.workspace.names import check_new_name, twin
from massgen_mcp.workspace.reading import check_readable, explaining
from massgen_mcp.workspace.trees import make_folders, names_in, read_all

__all__ = ["MAX_FILE", "Edited", "check_new", "create_directory", "edit", "parent", "write", "write_bytes"]

MAX_FILE = 16 * 1024 * 1024
"""Bytes of a file that is written, edited or compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What an edit did."""

    count: int
    lines: tuple[int, ...]
    """Where: the first lines of the new text."""


def write(areas: Areas, path: str, content: str) -> bool:
    """Write a whole file, and the folders above it where they are missing. Returns whether it is new.

    Raises:
        PathRefused: it may not be written; nothing has changed.
    """
    return write_bytes(areas, path, _encoded(content))


def write_bytes(areas: Areas, path: str, data: bytes) -> bool:
    """The same for what is no text."""
    place = areas.place(path)
    areas.check_writable(place)
    with explaining(place), parent(place) as folder:
        mode = _replaceable(place, folder)
        put(folder, place.parts[-1], data, mode=0o644 if mode is None else mode)
    return mode is None


def _encoded(content: str) -> bytes:
    try:
        data = content.encode()
    except UnicodeEncodeError as error:
        raise PathRefused("The text is not valid Unicode (half of a surrogate pair).", "text") from error
    if len(data) > MAX_FILE:
        raise PathRefused(f"The text is larger than {MAX_FILE:,} bytes; write it in parts.", "size")
    return data


@contextlib.contextmanager
def parent(place: Place, *, make: bool = True) -> Generator[int]:
    """Borrow a descriptor of the folder a place lies in; checked to be no protected one."""
    if not place.parts:
        raise PathRefused(f"{place.shown} itself can't be changed, only what is in it.", "kind")
    root = place.area.root
    if make:
        above = place.parts[:-1]
        folder = make_folders(root, above, lambda held, name: check_new(place, held, name))
    else:
        folder = root.folder(place.parts[:-1])
    try:
        place.area.guard.check_folder(folder, root.fd, place.shown)
        yield folder
    finally:
        os.close(folder)


def check_new(place: Place, folder: int, name: str) -> None:
    """Refuse a name that nothing has yet where it would stand beside its twin."""
    check_new_name(place.parts)
    other = twin(name, names_in(folder))
    if other:
        raise PathRefused(
            f"{place.shown}: there is {visible(other)!r} already, the same name but for case or Unicode "
            "form. Use that one.",
            "name",
        )


def _replaceable(place: Place, folder: int) -> int | None:
    """The mode of the file that would be replaced; None where there is none.

    Raises:
        PathRefused: something else is there, or may not be there.
    """
    name = place.parts[-1]
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        check_new(place, folder, name)
        return None
    check_regular(found, place.shown)
    place.area.guard.check_file(found, place.shown)
    return stat.S_IMODE(found.st_mode) & 0o777


def edit(areas: Areas, path: str, changes: Sequence[tuple[str, str]], *, every: bool = False) -> Edited:
    """Replace exact text in a file; each old text must be there once, unless `every` one is meant.

    Raises:
        PathRefused: it isn't; nothing has changed.
    """
    place = areas.place(path)
    areas.check_writable(place)
    check_readable(place)
    with explaining(place), parent(place, make=False) as folder:
        mode = _replaceable_here(place, folder)
        with place.area.root.in_file(place.parts) as (descriptor, _):
            data = read_all(descriptor, MAX_FILE)
        count, lines = 0, list[int]()
        for old, new in changes:
            data, found, at = _replaced(place, data, old, new, every=every)
            count, lines = count + found, [*lines, at]
        put(folder, place.parts[-1], data, mode=mode)
    return Edited(count=count, lines=tuple(lines))


def _replaceable_here(place: Place, folder: int) -> int:
    found = os.stat(place.parts[-1], dir_fd=folder, follow_symlinks=False)
    check_regular(found, place.shown)
    place.area.guard.check_file(found, place.shown)
    return stat.S_IMODE(found.st_mode) & 0o777


def _replaced(place: Place, data: bytes, old: str, new: str, *, every: bool) -> tuple[bytes, int, int]:
    before, after = _encoded(old), _encoded(new)
    if not before:
        raise PathRefused("The text to replace is empty. Use write_file for a new file.", "text")
    if before not in data and b"\r\n" in data:
        before, after = (text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for text in (before, after))
    count = data.count(before)
    if not count:
        raise PathRefused(f"{place.shown} does not hold that text. {_near(data, before)}", "text")
    if count > 1 and not every:
        at = _line_of(data, data.index(before))
        raise PathRefused(
            f"{place.shown} holds that text {count} times, first in line {at}. "
            "Give more of the text around it, or set replace_all.",
            "text",
        )
    if len(data) + count * (len(after) - len(before)) > MAX_FILE:
        raise PathRefused(f"{place.shown} would be larger than {MAX_FILE:,} bytes.", "size")
    return data.replace(before, after), count, _line_of(data, data.index(before))


def _line_of(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def _near(data: bytes, before: bytes) -> str:
    """Where the text may have been meant: its first line, but for spaces."""
    first = next((line.strip() for line in before.splitlines() if line.strip()), b"")
    if first:
        for number, line in enumerate(data.splitlines(), 1):
            if line.strip() == first:
                return f"Its first line is like line {number}: read that part again and copy it exactly."
    return "Read the file again; it may have changed."


def create_directory(areas: Areas, path: str) -> None:
    """Make a folder, and those above it; one that is there already is fine.

    Raises:
        PathRefused: it may not be made.
    """
    place = areas.place(path)
    areas.check_writable(place)
    with explaining(place), parent(place) as folder:
        name = place.parts[-1]
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            check_new(place, folder, name)
            os.mkdir(name, 0o755, dir_fd=folder)
            return
        if not stat.S_ISDIR(found.st_mode):
            raise PathRefused(f"{place.shown} is there already, and is no folder.", "exists")
