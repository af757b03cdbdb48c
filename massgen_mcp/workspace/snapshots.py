"""Workspaces as they were: taken in the blink of an eye, shown read-only, never changed.

Contents and folders are stored by their hash, so that whatever is the same is there once, for all agents and
all answers of a run. A snapshot's name is the hash of its manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace.beneath import PART, PathRefused, Root, put
from massgen_mcp.workspace.differing import diff
from massgen_mcp.workspace.layout import lay_out, make_like
from massgen_mcp.workspace.objects import Objects
from massgen_mcp.workspace.taking import Index, Limits, Note, take
from massgen_mcp.workspace.trees import names_in, read_all, remove
from massgen_mcp.workspace.versions import FileEntry, compare, files_of, load_folder

__all__ = ["Change", "Limits", "Note", "Snapshot", "Snapshots"]

_ID = re.compile(r"[0-9a-f]{40}")
_MAX_MANIFEST = 16 * 1024 * 1024
_MAX_DIFF_FILE = 1024 * 1024
_FOLDER: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A workspace as it was."""

    id: str
    files: int
    size: int
    notes: tuple[Note, ...] = ()
    """What is not in it, and why."""
    cut: bool = False
    """Whether the folder held more than the limits allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One file that differs between two snapshots."""

    path: str
    kind: str
    """added, removed or changed."""
    before: str = ""
    """SHA-256 of the content; empty where there is no such file."""
    after: str = ""
    added: int = 0
    removed: int = 0
    diff: str = ""
    """Unified; empty for what is no text, or too large."""


class Snapshots:
    """The snapshots of one run, in a folder of their own. Safe to use from several threads.

    Args:
        folder: made where it is missing.
        secrets: values that are never kept.
        limits: of one snapshot.

    Raises:
        PathRefused: the folder can't be used.
    """

    def __init__(self, folder: Path, *, secrets: Secrets | None = None, limits: Limits | None = None) -> None:
        self.folder = folder
        for part in ("objects", "manifests", "trees"):
            (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            self._objects_folder, self._manifests, self._trees = (
                self._opened(undo, part) for part in ("objects", "manifests", "trees")
            )
            self._held = undo.pop_all()
        self._objects = Objects(self._objects_folder.fd, secrets)
        self._limits = limits or Limits()
        self._indexes: dict[tuple[int, int], Index] = {}
        self._lock = threading.Lock()

    def _opened(self, undo: contextlib.ExitStack, part: str) -> Root:
        root = Root.at(self.folder / part, linked=True)
        undo.callback(root.close)
        return root

    def take(self, workspace: Path | Root, *, limits: Limits | None = None) -> Snapshot:
        """Keep a folder as it is now. What hasn't changed since it was last taken is not read again.

        What may not or can't be kept is left out, with a note: links, special files, files by whose name or
        content a key would be kept, and what goes beyond the limits.

        Raises:
            PathRefused: there is no such folder.
            OSError: the disk is full, or fails.
        """
        with _rooted(workspace) as root, self._lock:
            key = _identity(root.fd)
            taken = take(root.fd, self._objects, self._indexes.get(key, {}), limits or self._limits)
            self._indexes[key] = taken.index
            notes = taken.notes
            if taken.untold:
                notes.append(Note(path=".", why=f"{taken.untold:,} more were left out"))
            manifest: dict[str, Any] = {
                "version": 1,
                "tree": taken.tree,
                "files": taken.files,
                "bytes": taken.size,
                "notes": [[note.path, note.why] for note in notes],
                **({"cut": True} if taken.cut else {}),
            }
            return self._publish(manifest)

    def _publish(self, manifest: dict[str, Any]) -> Snapshot:
        data = json.dumps(manifest, sort_keys=True).encode()
        name = hashlib.sha256(data).hexdigest()[:40]
        manifests = self._manifests.fd
        if name not in names_in(manifests):
            part = f"{PART}{os.urandom(8).hex()}"
            os.mkdir(part, 0o700, dir_fd=manifests)
            inner = os.open(part, _FOLDER, dir_fd=manifests)
            try:
                put(inner, "manifest.json", data, mode=0o444)
                os.fchmod(inner, 0o500)
            finally:
                os.close(inner)
            os.rename(part, name, src_dir_fd=manifests, dst_dir_fd=manifests)
        return _snapshot(name, manifest)

    def _manifest(self, snapshot: str) -> dict[str, Any]:
        if not _ID.fullmatch(snapshot):
            raise PathRefused(f"{snapshot[:60]!r} is no snapshot.", "missing")
        try:
            with self._manifests.in_file((snapshot, "manifest.json")) as (descriptor, _):
                data = read_all(descriptor, _MAX_MANIFEST)
        except FileNotFoundError as error:
            raise PathRefused(f"Snapshot {snapshot} is not here (any more).", "missing") from error
        if hashlib.sha256(data).hexdigest()[:40] != snapshot:
            raise PathRefused(f"Snapshot {snapshot} is damaged: its manifest was changed.", "system")
        return json.loads(data)

    def get(self, snapshot: str) -> Snapshot:
        """What is known of a snapshot.

        Raises:
            PathRefused: it is not there, or damaged.
        """
        return _snapshot(snapshot, self._manifest(snapshot))

    def ids(self) -> tuple[str, ...]:
        """All complete snapshots."""
        return tuple(sorted(name for name in names_in(self._manifests.fd) if _ID.fullmatch(name)))

    def files(self, snapshot: str) -> Iterator[tuple[str, FileEntry]]:
        """Path and content of every file of a snapshot, by path."""
        yield from files_of(self._objects, self._manifest(snapshot)["tree"])

    def read(self, snapshot: str, path: str) -> bytes:
        """One file of a snapshot.

        Raises:
            PathRefused: there is none of that name.
        """
        folder = load_folder(self._objects, self._manifest(snapshot)["tree"])
        *above, name = path.split("/")
        for part in above:
            if part not in folder.folders:
                raise PathRefused(f"There is no {path} in this snapshot.", "missing")
            folder = load_folder(self._objects, folder.folders[part])
        if name not in folder.files:
            raise PathRefused(f"There is no {path} in this snapshot.", "missing")
        return self._objects.read(folder.files[name].name)

    def open(self, snapshot: str, *, into: Path | None = None, name: str = "") -> Path:
        """A folder with the snapshot's files, for reading: made when first asked for, then the same.

        Args:
            snapshot: its id.
            into: where the folder is made; None keeps it with the snapshots.
            name: what the folder is called; absent: as the snapshot.

        Raises:
            PathRefused: the snapshot is not there, or damaged.
        """
        tree = self._manifest(snapshot)["tree"]
        name = name or snapshot
        parent = into or self.folder / "trees"
        with self._lock, _rooted(parent) as root:
            lay_out(self._objects, tree, root.fd, name)
        return parent / name

    def restore(self, snapshot: str, workspace: Path | Root) -> None:
        """Make a folder what it was. What the snapshot has a note on is left alone where it still is.

        Raises:
            PathRefused: the snapshot is not there, or damaged; the folder may be half restored then.
            OSError: the disk is full, or fails.
        """
        manifest = self._manifest(snapshot)
        noted = frozenset(one for path, _ in manifest["notes"] for one in _with_parents(path))
        with _rooted(workspace) as root, self._lock:
            key = _identity(root.fd)
            self._indexes[key] = make_like(
                self._objects, manifest["tree"], root.fd, self._indexes.get(key, {}), noted
            )

    def changes(self, before: str, after: str, *, diffs: bool = True) -> tuple[Change, ...]:
        """What differs between two snapshots, by path.

        Raises:
            PathRefused: one is not there, or damaged.
        """
        old, new = self._manifest(before)["tree"], self._manifest(after)["tree"]
        return tuple(
            self._change(path, was, now, diffs=diffs) for path, was, now in compare(self._objects, old, new)
        )

    def _change(self, path: str, was: FileEntry | None, now: FileEntry | None, *, diffs: bool) -> Change:
        kind = "added" if was is None else "removed" if now is None else "changed"
        small = all(entry is None or entry.size <= _MAX_DIFF_FILE for entry in (was, now))
        found = None
        if diffs and small:
            old, new = (entry and self._objects.read(entry.name) for entry in (was, now))
            found = diff(old, new, path)
        return Change(
            path=path,
            kind=kind,
            before=was.name.removesuffix("x") if was else "",
            after=now.name.removesuffix("x") if now else "",
            added=found.added if found else 0,
            removed=found.removed if found else 0,
            diff=found.text if found else "",
        )

    def prune(self, keep: Iterable[str]) -> int:
        """Remove all snapshots but these, and what a process that died has left. Returns the bytes freed.

        Folders made by `open` elsewhere stay; they hold their contents by themselves.
        """
        kept = set(keep)
        with self._lock:
            for name in names_in(self._trees.fd):
                if name not in kept:
                    remove(self._trees.fd, name)
            for name in names_in(self._manifests.fd):
                if name not in kept:
                    remove(self._manifests.fd, name)
            used = self._used(self.ids())
            gone = [name for name in self._objects.names() if name not in used]
            freed = sum(self._objects.drop(name) for name in gone)
            for index in self._indexes.values():
                for path in [path for path, (_, stored) in index.items() if stored.name not in used]:
                    del index[path]
        return freed

    def _used(self, snapshots: Iterable[str]) -> set[str]:
        used: set[str] = set()
        waiting = [self._manifest(name)["tree"] for name in snapshots]
        while waiting:
            tree = waiting.pop()
            if tree in used:
                continue
            used.add(tree)
            folder = load_folder(self._objects, tree)
            used |= {entry.name for entry in folder.files.values()}
            waiting += folder.folders.values()
        return used

    def close(self) -> None:
        """Let go of the folder."""
        self._held.close()


@contextlib.contextmanager
def _rooted(folder: Path | Root) -> Generator[Root]:
    if isinstance(folder, Root):
        yield folder
        return
    root = Root.at(folder)
    try:
        yield root
    finally:
        root.close()


def _with_parents(path: str) -> Iterator[str]:
    """The path and those of the folders above it."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _snapshot(name: str, manifest: dict[str, Any]) -> Snapshot:
    notes = tuple(Note(path=path, why=why) for path, why in manifest["notes"])
    return Snapshot(
        id=name,
        files=manifest["files"],
        size=manifest["bytes"],
        notes=notes,
        cut=manifest.get("cut", False),
    )
