"""Taking a snapshot: a folder read by descriptors into stored contents."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import TypeAlias

from massgen_mcp.text import shorten, visible
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.names import obeyed, secret, shown
from massgen_mcp.workspace.objects import Objects, Stored
from massgen_mcp.workspace.trees import Entry, entries, open_entry
from massgen_mcp.workspace.versions import FileEntry, Folder, save_folder

__all__ = ["OBEYED", "Index", "Limits", "Note", "Signature", "Taken", "signature", "take"]

OBEYED = "settings or instructions that programs obey"
"""Why such files are not kept of a project."""

Signature: TypeAlias = tuple[int, int, int, int, int]
Index: TypeAlias = dict[tuple[str, ...], tuple[Signature, Stored]]
"""What is known of a folder's files since they were last read."""

_NOTES, _BEYOND = 1000, 50
"""Notes that are kept, and of these on what is beyond the limits."""
_SAID, _GUARDING = 1024 * 1024, 8 * 1024 * 1024
"""Characters of all notes, and with those that somebody has to act on."""
_TICK = 50_000_000
"""Nanoseconds: more than the clock of a file system is coarse by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one snapshot."""

    size: int = 256 * 1024 * 1024
    files: int = 20_000
    folders: int = 20_000
    depth: int = 32
    obeyed: bool = True
    """Whether to keep what programs obey, such as `.git`; not needed where agents can't write it."""


@dataclass(frozen=True, slots=True)
class Note:
    """What is not in a snapshot, and why."""

    path: str
    why: str


@dataclass(slots=True)
class Taken:
    """What has been read."""

    tree: str = ""
    files: int = 0
    size: int = 0
    cut: bool = False
    """Whether something was beyond the limits."""
    notes: list[Note] = field(default_factory=list[Note])
    untold: int = 0
    """How much else was left out: there are only so many notes."""
    index: Index = field(default_factory=dict[tuple[str, ...], tuple[Signature, Stored]])


def signature(found: os.stat_result) -> Signature:
    """Equal as long as a file is untouched: the change time can't be set back."""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode & 0o111


def take(folder: int, objects: Objects, known: Index, limits: Limits) -> Taken:
    """Store everything below an open folder.

    Raises:
        OSError: it can't be stored.
    """
    taking = _Taking(objects, known, limits)
    taking.taken.tree = taking.folder(folder, ())
    return taking.taken


class _Taking:
    def __init__(self, objects: Objects, known: Index, limits: Limits) -> None:
        self._objects = objects
        self._known = known
        self._limits = limits
        self._settled = time.time_ns() - _TICK
        self._folders = self._said = self._beyond = 0
        self.taken = Taken()

    def folder(self, descriptor: int, parts: tuple[str, ...]) -> str:
        files: dict[str, FileEntry] = {}
        folders: dict[str, str] = {}
        most = self._limits.files + self._limits.folders + 1
        found = entries(descriptor, parts, most=most)
        if len(found) == most:
            self.taken.cut = True
        for entry in found:
            if _odd(entry.name):
                self._note(entry, "its name can't be shown as it is")
            elif entry.is_folder:
                if inner := self._inner(entry):
                    folders[entry.name] = inner
            elif (stored := self._file(entry)) is not None:
                files[entry.name] = stored
        return save_folder(self._objects, Folder(files, folders))

    def _note(self, entry: Entry, why: str, *, guards: bool = False) -> None:
        """Write down what is left out; `guards`: somebody has to know of each."""
        note = Note(path="/".join(entry.parts), why=why)
        said = self._said + len(json.dumps(note.path)) + len(why)
        room = _GUARDING if guards else _SAID
        if said > room or (not guards and len(self.taken.notes) >= _NOTES):
            self.taken.untold += 1
            return
        self._said = said
        self.taken.notes.append(note)

    def _note_limit(self, entry: Entry, why: str) -> None:
        self.taken.cut = True
        self._beyond += 1
        if self._beyond <= _BEYOND:
            self._note(entry, why)
        else:
            self.taken.untold += 1

    def _inner(self, entry: Entry) -> str:
        if len(entry.parts) > self._limits.depth:
            self._note_limit(entry, f"deeper than {self._limits.depth} folders")
            return ""
        self._folders += 1
        if self._folders > self._limits.folders:
            self._note_limit(entry, f"more than {self._limits.folders:,} folders")
            return ""
        if self._left_out(entry, folder=True):
            return ""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(entry.name, flags, dir_fd=entry.folder)
        except OSError as error:
            self._note(entry, f"can't be read ({error.strerror})")
            return ""
        try:
            return self.folder(descriptor, entry.parts)
        finally:
            os.close(descriptor)

    def _left_out(self, entry: Entry, *, folder: bool) -> bool:
        if not self._limits.obeyed and obeyed(entry.parts[-1:]):
            self._note(entry, OBEYED, guards=True)
        elif secret(entry.parts, folder=folder):
            self._note(entry, "by its name it keeps keys or passwords")
        else:
            return False
        return True

    def _file(self, entry: Entry) -> Stored | None:
        if entry.is_link:
            self._note(entry, f"a symbolic link to {_target(entry)}")
            return None
        if not entry.is_file:
            self._note(entry, "not a regular file")
            return None
        sign = signature(entry.stat)
        known = self._known.get(entry.parts)
        same = known is not None and known[0] == sign and entry.stat.st_nlink == 1
        if not same and self._left_out(entry, folder=False):
            return None
        taken = self.taken
        if taken.files >= self._limits.files:
            self._note_limit(entry, f"more than {self._limits.files:,} files")
            return None
        if taken.size + entry.stat.st_size > self._limits.size:
            self._note_limit(entry, f"too large: all files together may have {self._limits.size:,} bytes")
            return None
        stored = known[1] if known is not None and same else self._stored(entry)
        # A file written a moment ago may be written again without its times telling.
        if stored is not None and entry.stat.st_ctime_ns < self._settled:
            taken.index[entry.parts] = sign, stored
        if stored is not None:
            taken.files += 1
            taken.size += stored.size
        return stored

    def _stored(self, entry: Entry) -> Stored | None:
        try:
            return self._read(entry)
        except PathRefused as error:
            self._note(entry, str(error) if error.kind != "link" else "a hard link")
            return None

    def _read(self, entry: Entry) -> Stored:
        try:
            descriptor = open_entry(entry)
        except OSError as error:
            raise PathRefused(f"can't be read ({error.strerror})", "system") from error
        try:
            return self._objects.add(
                descriptor,
                executable=bool(entry.stat.st_mode & 0o111),
                login=entry.parts[-2:] == (".git", "config"),
                limit=self._limits.size - self.taken.size,
            )
        finally:
            os.close(descriptor)


def _odd(name: str) -> bool:
    """Whether people and programs would be shown another name than the file has."""
    return shown(name) != name


def _target(entry: Entry) -> str:
    try:
        return shorten(visible(os.readlink(entry.name, dir_fd=entry.folder)), 200)
    except OSError:
        return "somewhere"
