"""What a run must find again after a crash: in a folder of its own that no agent can reach.

It does not lie below `runs/`, which agents write. A file is there whole or not at all, also after a power
cut, and one that was changed by anything but us is found out when it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from massgen_mcp.workspace.beneath import PART, PathRefused, explained

__all__ = ["KEPT", "KeptFolder"]

KEPT = "kept"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_DIGEST = 64 + 1
"""Bytes before the content: its SHA-256, and the end of that line."""


class KeptFolder:
    """The private files of one run. Nothing is made before something is written.

    Args:
        state: the state folder.
        run_id: the run's name.

    Raises:
        PathRefused: that is no name of a run.
    """

    def __init__(self, state: Path, run_id: str) -> None:
        self.path = state / KEPT / _checked(run_id)

    def write(self, name: str, data: bytes) -> None:
        """Keep a file under that name, whole and on the disk when this returns.

        Raises:
            OSError: the disk is full, or fails; what was there is as it was.
        """
        target = self.path / _checked(name)
        _make(self.path)
        part = self.path / f"{PART}{os.urandom(8).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
                file.write(hashlib.sha256(data).hexdigest().encode() + b"\n")
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _settle(self.path)

    def read(self, name: str) -> bytes | None:
        """The file of that name; None where there is none.

        Raises:
            PathRefused: it is damaged, or can't be read.
        """
        try:
            whole = (self.path / _checked(name)).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explained(error, name) from error
        digest, data = whole[:_DIGEST], whole[_DIGEST:]
        if digest != hashlib.sha256(data).hexdigest().encode() + b"\n":
            raise PathRefused(f"{name} is damaged: it is not what was kept.", "system")
        return data

    def has(self, name: str) -> bool:
        """Whether there is a file of that name, damaged or not."""
        return (self.path / _checked(name)).exists()

    def tidy(self) -> None:
        """Remove what a process that died was about to write. Only for who alone drives the run.

        Raises:
            OSError: it can't be removed.
        """
        for part in _parts(self.path):
            part.unlink(missing_ok=True)

    @staticmethod
    def remove(state: Path, run_id: str) -> None:
        """Remove all that a run keeps. One that keeps nothing is fine.

        Raises:
            PathRefused: something can't be removed.
        """
        folder = state / KEPT / _checked(run_id)
        part = folder.with_name(f"{PART}{run_id}-{os.urandom(4).hex()}")
        try:
            # Renamed first: what is half removed is no run's any more.
            folder.rename(part)
            shutil.rmtree(part)
        except FileNotFoundError:
            return
        except OSError as error:
            raise explained(error, run_id) from error

    @staticmethod
    def sweep(state: Path) -> None:
        """Remove what a removal that was cut short has left.

        Raises:
            OSError: it can't be removed.
        """
        for part in _parts(state / KEPT):
            # Another process may be about to remove it, too.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(part)

    @staticmethod
    def changed(state: Path) -> dict[str, float]:
        """Run -> when its folder was last changed, in seconds since the epoch."""
        try:
            with os.scandir(state / KEPT) as entries:
                return {
                    entry.name: entry.stat(follow_symlinks=False).st_mtime
                    for entry in entries
                    if _NAME.fullmatch(entry.name)
                }
        except FileNotFoundError:
            return {}


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise PathRefused(f"{name[:60]!r} can't name what a run keeps.", "name")
    return name


def _parts(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from [path for path in folder.iterdir() if path.name.startswith(PART)]


def _make(folder: Path) -> None:
    """Make a folder below the state folder, for nobody but us."""
    for path in (folder.parent.parent, folder.parent, folder):
        if not path.is_dir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _settle(path.parent)


def _settle(folder: Path) -> None:
    """Have the names in a folder outlive a power cut, where the system can say so of folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
