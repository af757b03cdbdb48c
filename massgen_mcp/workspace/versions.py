"""Folders of a snapshot as stored contents: a folder names its files and folders by their hashes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from massgen_mcp.workspace.objects import Objects, Stored

__all__ = ["FileEntry", "Folder", "compare", "files_of", "load_folder", "save_folder"]

FileEntry: TypeAlias = Stored


@dataclass(frozen=True, slots=True)
class Folder:
    """What lies in a folder: name -> content, name -> folder."""

    files: Mapping[str, FileEntry] = field(default_factory=dict[str, FileEntry])
    folders: Mapping[str, str] = field(default_factory=dict[str, str])


_NOTHING = Folder()


def save_folder(objects: Objects, folder: Folder) -> str:
    """Store a folder. Returns its hash."""
    value = {
        "files": {name: [entry.name, entry.size] for name, entry in folder.files.items()},
        "folders": folder.folders,
    }
    # Packed, since a folder is stored anew with every change in it.
    packed = zlib.compress(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), 1)
    return objects.add_bytes(packed).name


def load_folder(objects: Objects, name: str) -> Folder:
    """A stored folder.

    Raises:
        PathRefused: it is gone or damaged.
    """
    value = json.loads(zlib.decompress(objects.read(name)))
    files = {path: FileEntry(*entry) for path, entry in value["files"].items()}
    return Folder(files, value["folders"])


def files_of(objects: Objects, name: str, prefix: str = "") -> Iterator[tuple[str, FileEntry]]:
    """Every file below a stored folder, by path."""
    folder = load_folder(objects, name)
    for entry in sorted((*folder.files, *folder.folders)):
        if entry in folder.files:
            yield prefix + entry, folder.files[entry]
        else:
            yield from files_of(objects, folder.folders[entry], f"{prefix}{entry}/")


def compare(
    objects: Objects, before: str, after: str, prefix: str = ""
) -> Iterator[tuple[str, FileEntry | None, FileEntry | None]]:
    """Every file that differs between two stored folders, by path. Equal folders aren't looked into."""
    if before == after:
        return
    old = load_folder(objects, before) if before else _NOTHING
    new = load_folder(objects, after) if after else _NOTHING
    for name in sorted({*old.files, *old.folders, *new.files, *new.folders}):
        was, now = old.files.get(name), new.files.get(name)
        if was != now:
            yield prefix + name, was, now
        inside = old.folders.get(name, ""), new.folders.get(name, "")
        yield from compare(objects, *inside, f"{prefix}{name}/")
