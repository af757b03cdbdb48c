"""What differs between two files or two folders that an agent sees."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from massgen_mcp.workspace.areas import Areas, Place
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.differing import TextDiff, diff
from massgen_mcp.workspace.names import secret, shown
from massgen_mcp.workspace.reading import explaining, info, reading
from massgen_mcp.workspace.trees import Entry, read_all, walk
from massgen_mcp.workspace.writing import MAX_FILE

__all__ = ["compare_files", "compare_folders", "is_folder"]

_MAX_ENTRIES = 20_000
_MAX_READ = 256 * 1024 * 1024
_CHUNK = 1024 * 1024


def is_folder(areas: Areas, path: str) -> bool:
    """Whether a folder lies there.

    Raises:
        PathRefused: nothing does.
    """
    return stat.S_ISDIR(info(areas, path).st_mode)


def compare_files(areas: Areas, first: str, second: str) -> TextDiff | None:
    """The difference of two files; None if they are the same.

    Raises:
        PathRefused: one is not there, or too large.
    """
    contents: list[bytes] = []
    places = areas.place(first), areas.place(second)
    for place in places:
        with reading(place) as (descriptor, _):
            contents.append(read_all(descriptor, MAX_FILE))
    if contents[0] == contents[1]:
        return None
    return diff(contents[0], contents[1], places[1].shown)


def compare_folders(areas: Areas, first: str, second: str) -> Iterator[tuple[str, str]]:
    """Relative path and `only in first`, `only in second` or `differs`, by path.

    Raises:
        PathRefused: one is no folder, or holds too much to compare.
    """
    one, other = areas.place(first), areas.place(second)
    old, new = _kinds(one), _kinds(other)
    budget = _MAX_READ
    for path in sorted(old.keys() | new.keys()):
        if path not in new or path not in old:
            yield shown("/".join(path)), f"only in {(one if path in old else other).shown}"
        elif old[path] != new[path]:
            yield shown("/".join(path)), "differs"
        elif old[path][0]:
            budget -= old[path][1]
            if budget < 0:
                raise PathRefused("The folders are too large to compare; compare folders in them.", "size")
            if not _same(one, other, path):
                yield shown("/".join(path)), "differs"


def _kinds(place: Place) -> dict[tuple[str, ...], tuple[bool, int]]:
    """Path -> whether it is a file, and its bytes; folders have none, links and the like -1."""
    found: dict[tuple[str, ...], tuple[bool, int]] = {}
    with explaining(place), place.area.root.in_folder(place.parts) as folder:
        for entry in walk(folder, most=_MAX_ENTRIES + 1):
            if len(found) >= _MAX_ENTRIES:
                raise PathRefused(f"{place.shown} holds too much to compare; compare folders in it.", "size")
            if not (place.area.project and secret((*place.parts, *entry.parts), folder=entry.is_folder)):
                found[entry.parts] = _kind(entry)
    return found


def _kind(entry: Entry) -> tuple[bool, int]:
    if entry.is_file:
        return True, entry.stat.st_size
    return False, 0 if entry.is_folder else -1


def _same(one: Place, other: Place, path: tuple[str, ...]) -> bool:
    """Whether two files hold the same; one that can't be read is not the same as any."""
    opened: list[int] = []
    try:
        opened += [one.area.root.file((*one.parts, *path))[0]]
        opened += [other.area.root.file((*other.parts, *path))[0]]
        while True:
            pieces = [os.read(descriptor, _CHUNK) for descriptor in opened]
            if pieces[0] != pieces[1]:
                return False
            if not pieces[0]:
                return True
    except (OSError, PathRefused):
        return False
    finally:
        for descriptor in opened:
            os.close(descriptor)
