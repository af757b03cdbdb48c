"""An agent runtime's private folder: below the folder for temporary files, and gone with its owner.

A process that is killed leaves its folders behind. Each is held by a lock that ends with its process, so
whoever makes the next one can tell: what nobody holds any more is removed then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["OwnFolder", "make_folder"]

_PREFIX = "massgen-"
_HELD = ".held"
_MOST = 64
"""Folders looked at each time: a crowded one must not keep an agent waiting."""


@dataclass(slots=True)
class OwnFolder:
    """A folder that only this user may enter, until `remove`."""

    path: Path
    _lock: int | None = field(default=None, repr=False)

    def remove(self) -> None:
        """Delete it with all that is in it; done twice it does nothing more."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def make_folder(name: str, inner: Sequence[str] = (), *, parent: Path | None = None) -> OwnFolder:
    """A new folder with these in it, all private; abandoned ones of this user go.

    Args:
        name: what it is for, a part of its name.
        inner: the folders in it, outer before inner.
        parent: where, instead of the folder for temporary files.
    """
    place = parent or Path(tempfile.gettempdir())
    for path in _abandoned(place):
        shutil.rmtree(path, ignore_errors=True)
    root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-", dir=place)).resolve()
    try:
        own = OwnFolder(root, _hold(root))
        for folder in inner:
            (root / folder).mkdir(mode=0o700)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    return own


def _hold(root: Path) -> int | None:
    """The lock on a folder. It gets its name when it is held: nobody ever finds it free with us alive."""
    if sys.platform == "win32":
        return None
    import fcntl  # noqa: PLC0415 - not on every system

    part = root / f"{_HELD}.part"
    lock = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.rename(root / _HELD)
    except OSError:  # a file system without locks: then it is not swept either
        part.unlink(missing_ok=True)
        os.close(lock)
        return None
    return lock


def _abandoned(place: Path) -> Iterator[Path]:
    """Folders of this user's that were held, and are not any more."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        ours = (entry for entry in entries if entry.name.startswith(_PREFIX))
        for _, entry in zip(range(_MOST), ours, strict=False):
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
                if mine and _is_free(Path(entry.path) / _HELD):
                    yield Path(entry.path)


def _is_free(path: Path) -> bool:
    """Whether nobody holds that lock. A folder without one is not ours to judge."""
    if sys.platform == "win32":
        return False
    import fcntl  # noqa: PLC0415 - not on every system

    lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            return False
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
