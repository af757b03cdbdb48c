"""Folders of projects whose `.massgen/` the user has looked at and trusts, until a file in it changes.

A host starts the server inside whatever repository was cloned, so such a folder counts for nothing before its
user says so. What is trusted is remembered outside of it, with the hash of every file.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from massgen_mcp.config.gate import read_text
from massgen_mcp.config.tree import MAX_BYTES
from massgen_mcp.errors import ConfigError, Problem

__all__ = ["PROJECT_FOLDER", "trust", "trusted", "untrust"]

PROJECT_FOLDER = ".massgen"
_REMEMBERED = "trusted.json"
_MAX_FILES = 500
_OUTPUT = frozenset(
    {"massgen_logs", "sessions", "sessions.json", "snapshots", "temp_workspaces", "workspaces", "__pycache__"}
)
"""What MassGen writes there while it runs. Nothing in it is ever read as config."""


def trust(folder: Path, *, state: Path) -> tuple[Path, ...]:
    """Trust the folder's `.massgen/` as it is now; returns the files that are covered.

    Raises:
        ConfigError: there is no such folder, or it holds a link or too many files.
    """
    hashes = _hashes(folder)
    remembered = _read(state)
    remembered[_name(folder)] = hashes
    _write(state, remembered)
    return tuple(folder / PROJECT_FOLDER / name for name in hashes)


def trusted(folder: Path, *, state: Path) -> bool:
    """Whether the folder's `.massgen/` is trusted, and every file in it is what it was then."""
    known = _read(state).get(_name(folder))
    if known is None:
        return False
    try:
        return _hashes(folder) == known
    except ConfigError:
        return False


def untrust(folder: Path, *, state: Path) -> bool:
    """Forget the folder; returns whether it was known."""
    remembered = _read(state)
    if remembered.pop(_name(folder), None) is None:
        return False
    _write(state, remembered)
    return True


def _name(folder: Path) -> str:
    return str(folder.resolve())


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file by its path below `.massgen/`: a new file counts as a change."""
    root = folder.resolve() / PROJECT_FOLDER
    if root.is_symlink() or not root.is_dir():
        raise _refused(folder, f"there is no folder {PROJECT_FOLDER} in it")
    found: dict[str, str] = {}
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() or not path.is_file():
            raise _refused(folder, f"{name} is a link or not a regular file")
        if len(found) >= _MAX_FILES:
            raise _refused(folder, f"it holds more than {_MAX_FILES} files")
        if path.stat().st_size > MAX_BYTES:
            raise _refused(folder, f"{name} is larger than 1 MiB")
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _files(root: Path) -> Iterator[Path]:
    for entry in sorted(root.iterdir()):
        if entry.parent == root and entry.name in _OUTPUT:
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)
        else:
            yield entry


def _read(state: Path) -> dict[str, dict[str, str]]:
    path = state / _REMEMBERED
    if not path.is_file():
        return {}
    try:
        value: Any = json.loads(read_text(path, approved=[state]))
    except (ConfigError, ValueError):
        # A damaged list trusts nothing; the next `trust` writes a whole one.
        return {}
    if not isinstance(value, dict):
        return {}
    entries = cast("dict[str, Any]", value)
    return {folder: files for folder, files in entries.items() if isinstance(files, dict)}


def _write(state: Path, remembered: dict[str, dict[str, str]]) -> None:
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=state, prefix=f"{_REMEMBERED}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(remembered, file, indent=1, sort_keys=True)
    Path(name).replace(state / _REMEMBERED)


def _refused(folder: Path, message: str) -> ConfigError:
    return ConfigError([Problem(path="", message=message)], name=str(folder))
