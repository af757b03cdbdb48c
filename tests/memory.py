"""Folders that no disk has to be waited for, for tests that sync thousands of records."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["folder_in_memory"]

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
_ROOM = 512 * 1024 * 1024


@contextmanager
def folder_in_memory(otherwise: Path) -> Generator[Path]:
    """A new folder in memory; where the system has no room for that, the other one.

    What survives a kill on a disk survives it there. Power loss can't be tried in a test.
    """
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _ROOM:
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="massgen-mcp-") as folder:
        yield Path(folder)
