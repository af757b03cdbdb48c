"""A stored folder as real files: laid out for readers, or made what a workspace was."""

from __future__ import annotations

import contextlib
import os
import time

from massgen_mcp.workspace.beneath import PART, put
from massgen_mcp.workspace.objects import Objects, Stored
from massgen_mcp.workspace.taking import Index, Signature, signature
from massgen_mcp.workspace.trees import Entry, entries, remove, writable
from massgen_mcp.workspace.versions import load_folder

__all__ = ["lay_out", "make_like"]

_FOLDER: int = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)
_TICK = 0.02


def lay_out(objects: Objects, tree: str, parent: int, name: str) -> None:
    """Make a read-only folder of stored contents in an open one, complete at once. One that is there stays.

    Raises:
        PathRefused: a content is gone or damaged.
        OSError: the disk is full, or fails.
    """
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        return
    part = f"{PART}{os.urandom(8).hex()}"
    os.mkdir(part, 0o700, dir_fd=parent)
    try:
        descriptor = os.open(part, _FOLDER, dir_fd=parent)
        try:
            _fill(objects, tree, descriptor)
        finally:
            os.close(descriptor)
        os.rename(part, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        remove(parent, part)
        raise


def _fill(objects: Objects, tree: str, folder: int) -> None:
    content = load_folder(objects, tree)
    for name, stored in content.files.items():
        objects.link(stored, folder, name)
    for name, inner in content.folders.items():
        os.mkdir(name, 0o700, dir_fd=folder)
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
        try:
            _fill(objects, inner, descriptor)
        finally:
            os.close(descriptor)
    os.fchmod(folder, 0o555)


def make_like(objects: Objects, tree: str, folder: int, known: Index, noted: frozenset[str]) -> Index:
    """Make an open folder what was stored. Returns what is now known of its files.

    Args:
        objects: where the contents are.
        tree: the stored folder.
        folder: a descriptor of the workspace.
        known: what is known of its files: those that are as they should be aren't written.
        noted: paths that are left alone, and those of the folders above them.

    Raises:
        PathRefused: a content is gone or damaged.
        OSError: the disk is full, or fails.
    """
    index: Index = {}
    _make_like(objects, tree, folder, (), known, noted, index)
    # So that whatever is written from now on has a later time than what was written here.
    time.sleep(_TICK)
    return index


def _make_like(
    objects: Objects,
    tree: str,
    folder: int,
    parts: tuple[str, ...],
    known: Index,
    noted: frozenset[str],
    index: Index,
) -> None:
    content = load_folder(objects, tree)
    there = {entry.name: entry for entry in entries(folder, parts)}
    for name, entry in there.items():
        wanted = (name in content.files and entry.is_file) or (name in content.folders and entry.is_folder)
        if not wanted and "/".join(entry.parts) not in noted:
            remove(folder, name)
    for name, stored in content.files.items():
        path = (*parts, name)
        entry = there.get(name)
        if not _as_known(entry, known.get(path), stored.name):
            mode = 0o755 if stored.name.endswith("x") else 0o644
            put(folder, name, objects.read(stored.name), mode=mode, durable=False)
        index[path] = signature(os.stat(name, dir_fd=folder, follow_symlinks=False)), stored
    for name, inner in content.folders.items():
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=folder)
        with writable(name, folder) as descriptor:
            _make_like(objects, inner, descriptor, (*parts, name), known, noted, index)


def _as_known(entry: Entry | None, known: tuple[Signature, Stored] | None, name: str) -> bool:
    if entry is None or known is None or entry.stat.st_nlink != 1:
        return False
    sign, stored = known
    return sign == signature(entry.stat) and stored.name == name
