"""What is never written in a project, however it is reached or renamed."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from massgen_mcp.workspace.beneath import PathRefused, Root
from massgen_mcp.workspace.names import folded, obeyed

__all__ = ["Protection", "can_be_made"]

_UPWARDS = 128
_FOLDER: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """Protected paths of one folder, by name and by identity: a renamed parent changes nothing."""

    paths: tuple[Path, ...] = ()
    names: tuple[tuple[str, ...], ...] = ()
    ids: frozenset[tuple[int, int]] = frozenset()

    @property
    def inodes(self) -> frozenset[int]:
        """Of what is protected, for walks that see no more."""
        return frozenset(inode for _, inode in self.ids)

    @classmethod
    def of(cls, root: Root, folder: Path, protected: Iterable[Path]) -> Protection:
        """The protection of an open folder for those of these absolute paths that lie in it."""
        paths: list[Path] = []
        names: list[tuple[str, ...]] = []
        ids: set[tuple[int, int]] = set()
        for path in protected:
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(folder):
                continue
            paths.append(real)
            parts = real.relative_to(folder).parts
            names.append(tuple(folded(part) for part in parts))
            identity = _identity(root, parts)
            if identity is not None:
                ids.add(identity)
        return cls(paths=tuple(paths), names=tuple(names), ids=frozenset(ids))

    def absent(self, ours: Container[Path] = ()) -> Iterator[Path]:
        """Of each protected path that is not there, the first part that isn't: nothing is made below it.

        An empty folder at the path may be what another run's sandbox left, which takes it away again: so it
        is not there either.

        Args:
            ours: where empty folders are what our own sandboxes left.
        """
        for path in self.paths:
            missing = [part for part in path.parents if _is_missing(part) or (part in ours and _empty(part))]
            if _is_missing(path) or _empty(path):
                missing.insert(0, path)
            if missing and not {*missing[-1].parents} & {*self.paths} and _makes(missing[-1].parent):
                yield missing[-1]

    def check(self, parts: Sequence[str], shown: str, *, tree: bool = False) -> None:
        """Refuse a change at that path; with `tree` also one of everything below it.

        Raises:
            PathRefused: as said.
        """
        if obeyed(parts):
            raise PathRefused(
                f"{shown}: programs take settings or instructions from there, so agents don't write it in a "
                "project. Put the change into your answer instead.",
                "read_only",
            )
        wanted = tuple(folded(part) for part in parts)
        for name in self.names:
            if wanted[: len(name)] == name or (tree and name[: len(wanted)] == wanted):
                raise PathRefused(f"{shown} is protected by the operator, or holds what is.", "read_only")

    def check_folder(self, folder: int, root: int, shown: str) -> None:
        """Refuse an open folder that is, or lies in, what is protected, whatever it is called by now.

        Raises:
            PathRefused: as said.
        """
        if not self.ids:
            return
        end = _id(os.fstat(root))
        held = os.dup(folder)
        try:
            for _ in range(_UPWARDS):
                here = _id(os.fstat(held))
                if here in self.ids:
                    raise PathRefused(f"{shown} is protected by the operator.", "read_only")
                if here == end:
                    return
                above = os.open("..", _FOLDER, dir_fd=held)
                os.close(held)
                held = above
        finally:
            os.close(held)
        raise PathRefused(f"{shown} is not where it was.", "outside")

    def check_file(self, found: os.stat_result, shown: str) -> None:
        """Refuse a file or folder that is protected, whatever it is called by now.

        Raises:
            PathRefused: as said.
        """
        if _id(found) in self.ids:
            raise PathRefused(f"{shown} is protected by the operator.", "read_only")


def can_be_made(path: Path, *, write: Sequence[Path], read: Sequence[Path], hide: Sequence[Path]) -> bool:
    """Whether a program with these rights could make it.

    Where it can't, no sandbox can put a folder in its place either.
    """
    parts = (path, *path.parents)
    if any(part in hide and part.is_dir() for part in parts):
        return False
    nearest = next((part for part in parts if part in read or part in write), None)
    return nearest is not None and nearest not in read


def _is_missing(path: Path) -> bool:
    return not os.path.lexists(path)


def _empty(path: Path) -> bool:
    """Whether it is a folder with nothing in it."""
    try:
        with os.scandir(path) as found:
            return not path.is_symlink() and next(found, None) is None
    except OSError:
        return False


def _makes(folder: Path) -> bool:
    """Whether this user can make something in a folder, or see to it that it can.

    A link in the place of one counts: it came later, and who is to be kept from it has to be told.
    """
    if folder.is_symlink():
        return True
    return folder.is_dir() and (os.access(folder, os.W_OK) or folder.stat().st_uid == os.geteuid())


def _id(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _identity(root: Root, parts: Sequence[str]) -> tuple[int, int] | None:
    if not parts:
        return _id(os.fstat(root.fd))
    try:
        with root.in_folder(parts[:-1]) as folder:
            return _id(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))
    except OSError:
        return None
