"""How agents copy, move and delete files and folders."""

from __future__ import annotations

import contextlib
import os
import stat

from massgen_mcp.text import visible
from massgen_mcp.workspace.areas import Areas, Place
from massgen_mcp.workspace.beneath import PathRefused, explained
from massgen_mcp.workspace.names import check_new_name, twin
from massgen_mcp.workspace.reading import check_readable, explaining, info, reading
from massgen_mcp.workspace.trees import copy_file, copy_tree, names_in, remove, walk
from massgen_mcp.workspace.writing import check_new, parent

__all__ = ["MAX_TREE", "MAX_TREE_FILES", "copy", "delete", "move"]

MAX_TREE = 256 * 1024 * 1024
"""Bytes that are copied at once."""
MAX_TREE_FILES = 20_000


def copy(areas: Areas, source: str, target: str) -> tuple[int, int]:
    """Copy a file or a folder with all it holds, to where nothing is yet. Returns files and bytes.

    Raises:
        PathRefused: it can't be copied; a folder may have been copied in part.
    """
    origin, place = areas.place(source), areas.place(target)
    areas.check_writable(place, tree=True)
    check_readable(origin)
    found = info(areas, source)
    with explaining(place), parent(place) as folder:
        _free(place, folder)
        name = place.parts[-1]
        if not stat.S_ISDIR(found.st_mode):
            with reading(origin) as (descriptor, _):
                return 1, copy_file(descriptor, folder, name, limit=MAX_TREE)
        _outside_of_itself(origin, place)
        return _copy_folder(origin, place, folder)


def _free(place: Place, folder: int) -> None:
    name = place.parts[-1]
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        raise PathRefused(
            f"{place.shown} is there already. Delete it first, or choose another name.", "exists"
        )
    check_new(place, folder, name)


def _outside_of_itself(origin: Place, place: Place) -> None:
    if place.area is origin.area and place.parts[: len(origin.parts)] == origin.parts:
        raise PathRefused(f"{place.shown} lies in {origin.shown}: a folder can't go into itself.", "outside")


def _copy_folder(origin: Place, place: Place, folder: int) -> tuple[int, int]:
    name = place.parts[-1]
    with explaining(origin), origin.area.root.in_folder(origin.parts) as source:
        if origin.area.project or place.area.project:
            _check_content(origin, source, place)
        os.mkdir(name, 0o755, dir_fd=folder)
        target = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            linked = origin.area.root.linked
            return copy_tree(source, target, linked=linked, limit=MAX_TREE, files=MAX_TREE_FILES)
        finally:
            os.close(target)


def _check_content(origin: Place, source: int, place: Place) -> None:
    """Nothing secret comes out of a project this way, and nothing that programs obey gets into one."""
    for entry in walk(source):
        if origin.area.project:
            check_readable(Place(origin.area, (*origin.parts, *entry.parts)))
        if place.area.project:
            inside = Place(place.area, (*place.parts, *entry.parts))
            place.area.guard.check(inside.parts, inside.shown)


def move(areas: Areas, source: str, target: str) -> None:
    """Move or rename. What is at the target must not be there yet.

    Within a folder it is renamed; elsewhere it is copied, then removed.

    Raises:
        PathRefused: it can't be moved; the source is as it was.
    """
    origin, place = areas.place(source), areas.place(target)
    areas.check_writable(origin, tree=True)
    areas.check_writable(place, tree=True)
    with explaining(origin), parent(origin, make=False) as folder:
        name = origin.parts[-1]
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        _check_removable(origin, found)
        if origin.area is place.area and origin.parts[:-1] == place.parts[:-1]:
            with explaining(place):
                _free_but(place, folder, name)
                os.rename(name, place.parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
            return
        copy(areas, source, target)
        _remove(origin, folder, name)


def _free_but(place: Place, folder: int, name: str) -> None:
    """Changing just the case of a name is no twin of anything."""
    new = place.parts[-1]
    with contextlib.suppress(FileNotFoundError):
        os.stat(new, dir_fd=folder, follow_symlinks=False)
        raise PathRefused(
            f"{place.shown} is there already. Delete it first, or choose another name.", "exists"
        )
    check_new_name(place.parts)
    other = twin(new, (there for there in names_in(folder) if there != name))
    if other:
        raise PathRefused(
            f"{place.shown}: there is {visible(other)!r} already, the same name elsewhere.", "name"
        )


def _check_removable(place: Place, found: os.stat_result) -> None:
    """Refuse to take away what is protected, or holds what is, by name or by identity."""
    guard = place.area.guard
    guard.check_file(found, place.shown)
    if stat.S_ISDIR(found.st_mode) and place.area.project:
        with place.area.root.in_folder(place.parts) as inner:
            for entry in walk(inner):
                inside = Place(place.area, (*place.parts, *entry.parts))
                guard.check(inside.parts, inside.shown)
                guard.check_file(entry.stat, inside.shown)


def delete(areas: Areas, path: str, *, recursive: bool = False) -> None:
    """Delete a file, a link itself, or a folder: an empty one, or with `recursive` all of it.

    Raises:
        PathRefused: it may not be deleted.
    """
    place = areas.place(path)
    areas.check_writable(place, tree=True)
    with explaining(place), parent(place, make=False) as folder:
        name = place.parts[-1]
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        _check_removable(place, found)
        if stat.S_ISDIR(found.st_mode) and not recursive:
            _remove_empty(place, folder)
            return
        _remove(place, folder, name)


def _remove(place: Place, folder: int, name: str) -> None:
    remove(folder, name, spare=place.area.guard.inodes)


def _remove_empty(place: Place, folder: int) -> None:
    try:
        os.rmdir(place.parts[-1], dir_fd=folder)
    except OSError as error:
        refused = explained(error, place.shown)
        hint = " Set recursive to delete all of it." if refused.kind == "exists" else ""
        raise PathRefused(f"{refused}{hint}", refused.kind) from error
