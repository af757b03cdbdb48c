"""Files of the project's roots by path, glob, lines or folder; never through a link, never out of a root."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from massgen_mcp.errors import RequestRefused
from massgen_mcp.runs.roots import Roots
from massgen_mcp.text import shorten, visible
from massgen_mcp.workspace.beneath import PathRefused, Root
from massgen_mcp.workspace.names import secret, split
from massgen_mcp.workspace.trees import Entry, open_entry, read_all, walk

__all__ = ["Found", "ProjectFiles"]

_LINES = re.compile(r"(.+):(\d{1,7})(?:-(\d{1,7}))?")
_MAGIC = re.compile(r"[*?\[]")
_PASSED_OVER = frozenset({".git", ".hg", ".svn", ".venv", "__pycache__", "node_modules"})
_MAX_ENTRIES = 50_000
_MAX_LINED = 64 * 1024 * 1024
"""Bytes of a file of which some lines are asked for."""
_SHOWN = 200
_LINKED = frozenset({errno.ELOOP, errno.ENOTDIR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file that was read."""

    name: str
    data: bytes
    path: Path
    named: Path
    """What was named: the file itself, or the folder it lies in."""
    first: int = 1


class ProjectFiles:
    """Reads what is named, and notes what it leaves out of folders and globs.

    Args:
        roots: the folders.
        max_file: bytes of one file.
        max_files: of one folder or glob.
    """

    def __init__(self, roots: Roots, *, max_file: int, max_files: int) -> None:
        self._roots = roots
        self._max_file = max_file
        self._max_files = max_files
        self.notes: list[str] = []

    def find(self, item: str) -> list[Found]:
        """What a path, glob, `path:10-80` or folder names.

        Raises:
            RequestRefused: it can't be given.
        """
        self._check_open(item)
        where = self._locate(item)
        if where is not None:
            return self._path(item, *where)
        if match := _LINES.fullmatch(item):
            lined = self._locate(match[1])
            if lined is not None:
                return [self._lines(item, *lined, first=int(match[2]), last=int(match[3] or match[2]))]
        if _MAGIC.search(item):
            return self._glob(item)
        return _refuse(item, f"there is no such file or folder in {self._words()}", "Check the path.")

    def one(self, item: str, limit: int) -> Found:
        """The one file that a path names.

        Raises:
            RequestRefused: there is none, or it is too large.
        """
        self._check_open(item)
        where = self._locate(item)
        if where is None:
            return _refuse(item, f"there is no such file in {self._words()}", "Check the path.")
        folder, parts = where
        return self._file(item, folder, parts, limit)

    def _words(self) -> str:
        return " or ".join(str(folder) for folder in self._roots.folders)

    def _check_open(self, item: str) -> None:
        if not self._roots.folders:
            _refuse(
                item,
                f"no folder is open here, since {self._roots.why}",
                "Give the content as {name, text}, or start the server with --root FOLDER.",
            )

    def _locate(self, item: str) -> tuple[Path, tuple[str, ...]] | None:
        """The root and the way from there, if something is there. Never follows a link."""
        absolute, parts = self._split(item)
        if absolute:
            return self._absolute(item, parts)
        for folder in self._roots.folders:
            if _exists(folder, parts):
                return folder, parts
        return None

    def _split(self, item: str) -> tuple[bool, tuple[str, ...]]:
        try:
            return split(item)
        except PathRefused as error:
            return _refuse(item, str(error), "Name a path below the root.")

    def _absolute(self, item: str, parts: tuple[str, ...]) -> tuple[Path, tuple[str, ...]] | None:
        path = Path("/", *parts)
        inside = [folder for folder in self._roots.folders if path.is_relative_to(folder)]
        if not inside:
            # The folder above may be reached by a link, as /tmp is on macOS.
            resolved = path.parent.resolve() / path.name
            inside = [folder for folder in self._roots.folders if resolved.is_relative_to(folder)]
            path = resolved
        if not inside:
            _refuse(
                item,
                f"it lies outside of {self._words()}",
                "Give its content as {name, text}, or let the operator add --root FOLDER.",
            )
        folder = max(inside, key=lambda root: len(root.parts))
        below = path.relative_to(folder).parts
        return (folder, below) if _MAGIC.search(item) is None or _exists(folder, below) else None

    def _path(self, item: str, folder: Path, parts: tuple[str, ...]) -> list[Found]:
        with _opened(item, folder) as root, _explaining(item):
            try:
                inner = root.folder(parts)
            except OSError:
                inner = -1
            if inner >= 0:
                os.close(inner)
                return self._folder(item, root, folder, parts)
        return [self._file(item, folder, parts, self._max_file)]

    def _file(self, item: str, folder: Path, parts: tuple[str, ...], limit: int) -> Found:
        self._check_secret(item, parts)
        with _opened(item, folder) as root, _explaining(item), root.in_file(parts) as (descriptor, status):
            if status.st_size > limit:
                fits = f"it has {status.st_size / 1024 / 1024:.1f} MiB; {limit // 1024 // 1024} MiB fits"
                _refuse(item, fits, f"Name lines, as in `{parts[-1]}:1-400`.")
            data = read_all(descriptor, limit)
        path = folder.joinpath(*parts)
        return Found(name=visible("/".join(parts)), data=data, path=path, named=path)

    def _lines(self, item: str, folder: Path, parts: tuple[str, ...], *, first: int, last: int) -> Found:
        self._check_secret(item, parts)
        if not 1 <= first <= last:
            _refuse(item, "the lines must be a range from 1 on", "Write `path:10-80`.")
        kept: list[bytes] = []
        count = 0
        with _opened(item, folder) as root, _explaining(item), root.in_file(parts) as (descriptor, status):
            if status.st_size > _MAX_LINED:
                _refuse(item, "it is larger than 64 MiB", "Give the part that matters as {name, text}.")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                for count, line in enumerate(file, 1):
                    if count >= first:
                        kept.append(line)
                    if count >= last or sum(map(len, kept)) > self._max_file:
                        break
        if not kept:
            _refuse(item, f"it has {count} lines", "Name lines that are there.")
        data = b"".join(kept)
        if len(data) > self._max_file:
            _refuse(item, "these lines have more than 1 MiB", "Name fewer lines.")
        path = folder.joinpath(*parts)
        name = f"{visible('/'.join(parts))}:{first}-{first + len(kept) - 1}"
        return Found(name=name, data=data, path=path, named=path, first=first)

    def _check_secret(self, item: str, parts: tuple[str, ...]) -> None:
        if secret(parts):
            _refuse(
                item,
                "by its name it keeps keys or passwords, which no agent is shown",
                "Give the part that matters as {name, text}.",
            )

    def _folder(self, item: str, root: Root, folder: Path, parts: tuple[str, ...]) -> list[Found]:
        if secret(parts, folder=True):
            _refuse(item, "by its name it keeps keys or passwords", "Name another folder.")
        named = folder.joinpath(*parts)
        return self._collect(item, root, folder, parts, re.compile(""), named=named)

    def _glob(self, item: str) -> list[Found]:
        absolute, steps = self._split(item)
        found: list[Found] = []
        for folder in self._roots.folders:
            below = steps
            if absolute:
                own = folder.parts[1:]
                if steps[: len(own)] != own:
                    continue
                below = steps[len(own) :]
            pattern = re.compile(_glob_pattern("/".join(below)), re.DOTALL)
            with _opened(item, folder) as root, _explaining(item):
                found += self._collect(item, root, folder, (), pattern, named=None)
        if not found:
            _refuse(item, f"it matches no text file in {self._words()}", "Check the pattern.")
        return found

    def _collect(
        self,
        item: str,
        root: Root,
        folder: Path,
        parts: tuple[str, ...],
        pattern: re.Pattern[str],
        *,
        named: Path | None,
    ) -> list[Found]:
        """Every text file below a folder whose path matches; what can't be given is left out, and noted."""
        found: list[Found] = []
        left = _LeftOut()
        with root.in_folder(parts) as top:
            for seen, entry in enumerate(walk(top, parts, into=_worth_entering), 1):
                if seen > _MAX_ENTRIES:
                    _refuse(item, f"more than {_MAX_ENTRIES:,} entries lie there", "Name a deeper folder.")
                path = "/".join(entry.parts)
                if entry.is_folder or (pattern.pattern and not pattern.fullmatch(path)):
                    continue
                data = self._read(entry, left)
                if data is None:
                    continue
                if len(found) >= self._max_files:
                    _refuse(
                        item,
                        f"it names more than {self._max_files} files",
                        "Name a deeper folder, or a glob.",
                    )
                host = folder.joinpath(*entry.parts)
                found.append(Found(name=visible(path), data=data, path=host, named=named or host))
        self.notes += left.notes(item)
        return found

    def _read(self, entry: Entry, left: _LeftOut) -> bytes | None:
        if not entry.is_file or entry.stat.st_nlink > 1:
            left.links += 1
            return None
        if secret(entry.parts):
            left.secrets += 1
            return None
        if entry.stat.st_size > self._max_file:
            left.large.append("/".join(entry.parts))
            return None
        try:
            descriptor = open_entry(entry)
            try:
                data = read_all(descriptor, self._max_file)
            finally:
                os.close(descriptor)
        except (OSError, PathRefused):
            left.links += 1
            return None
        if b"\0" in data[:8192]:
            left.binary += 1
            return None
        return data


class _LeftOut:
    """What a folder or glob holds and was not given."""

    def __init__(self) -> None:
        self.secrets = self.links = self.binary = 0
        self.large: list[str] = []

    def notes(self, item: str) -> Iterator[str]:
        reasons = {
            "kept keys or passwords by their names": self.secrets,
            "were links or no regular files": self.links,
            "were no text": self.binary,
            "were larger than 1 MiB": len(self.large),
        }
        told = [f"{count} {words}" for words, count in reasons.items() if count]
        if told:
            named = f" ({', '.join(visible(path) for path in self.large[:3])})" if self.large else ""
            yield f"Left out of {shorten(visible(item), _SHOWN)}: {', '.join(told)}{named}."


def _worth_entering(entry: Entry) -> bool:
    return entry.name not in _PASSED_OVER and not secret(entry.parts, folder=True)


def _exists(folder: Path, parts: tuple[str, ...]) -> bool:
    try:
        os.lstat(folder.joinpath(*parts))
    except (OSError, ValueError):
        return False
    return True


def _glob_pattern(glob: str) -> str:
    """A glob as a regular expression: `**` for any folders, `*` and `?` within a name."""
    parts: list[str] = []
    index = 0
    while index < len(glob):
        if glob.startswith("**/", index):
            parts.append("(?:[^/]+/)*")
            index += 3
        elif glob.startswith("**", index):
            parts.append(".*")
            index += 2
        elif (end := glob.find("]", index + 2)) > 0 and glob[index] == "[":
            inside = glob[index + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            parts.append(f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]")
            index = end + 1
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(glob[index], re.escape(glob[index])))
            index += 1
    return "".join(parts)


@contextmanager
def _opened(item: str, folder: Path) -> Generator[Root]:
    with _explaining(item):
        root = Root.at(folder)
    try:
        yield root
    finally:
        root.close()


@contextmanager
def _explaining(item: str) -> Generator[None]:
    try:
        yield
    except PathRefused as error:
        _refuse(item, str(error), "Name a regular file below the root.")
    except OSError as error:
        words = error.strerror or "it can't be read"
        link = "it is, or lies behind, a link, and links are not followed"
        _refuse(item, link if error.errno in _LINKED else words, "Name the file itself.")


def _refuse(item: str, why: str, remedy: str) -> NoReturn:
    shown = shorten(visible(item), _SHOWN)
    raise RequestRefused(f"`files` or `images`: {shown}: {why.rstrip('.')}. {remedy} Nothing was spent.")
