"""What the agents of a run left beside its answer, kept in the run's folder for every door."""

from __future__ import annotations

import json
import mimetypes
import os
from collections.abc import Iterable
from pathlib import Path

from massgen_mcp.errors import RunNotFound
from massgen_mcp.team.spec import ChangedFile, MadeFile
from massgen_mcp.workspace.beneath import PathRefused, Root
from massgen_mcp.workspace.names import split
from massgen_mcp.workspace.run_folder import RUNS, RunFolder

__all__ = ["MOST_BYTES", "MOST_FILES", "keep_changes", "keep_files", "read_change", "read_file"]

MOST_BYTES = 4 * 1024 * 1024
"""Of one file that is handed on whole."""
MOST_FILES = 200
"""Files that are listed in a result."""
_RESULT = "result"
_CHANGES = "changes.json"
_MOST_DIFFS = 8 * 1024 * 1024
"""Characters of all diffs together that are kept."""
_BY_THE_WAY = frozenset(
    {".git", ".mypy_cache", ".pytest_cache", ".venv", "__pycache__", "node_modules", "tool_results"}
)
"""Folders that tools leave behind: kept, and not listed."""


def keep_files(folder: RunFolder, snapshot: str) -> tuple[MadeFile, ...]:
    """Lay the files of the answer's snapshot out, read-only, and say where they are.

    Raises:
        PathRefused: the snapshot is damaged.
        OSError: the disk is full, or fails.
    """
    top = folder.snapshots.open(snapshot, into=folder.scratch, name=_RESULT)
    return tuple(
        MadeFile(
            path=path,
            mime=_mime(path),
            bytes=entry.size,
            local_path=top / path,
        )
        for path, entry in folder.snapshots.files(snapshot)
        if _BY_THE_WAY.isdisjoint(path.split("/"))
    )


def keep_changes(folder: RunFolder, changes: Iterable[ChangedFile]) -> None:
    """Write down how the project was changed."""
    kept: dict[str, str] = {}
    left = _MOST_DIFFS
    for change in changes:
        left -= len(change.diff)
        kept[change.path] = change.diff if left >= 0 else "(This run's diffs are too large to keep them all.)"
    text = json.dumps(kept, ensure_ascii=False)
    (folder.scratch / _CHANGES).write_text(text, encoding="utf-8", errors="backslashreplace")


def read_file(state: Path, run_id: str, path: str) -> tuple[str, bytes]:
    """Media type and content of a file that came with a run's answer.

    Raises:
        RunNotFound: the run has no such file, or one that is too large to hand on.
    """
    try:
        root = Root.at(_scratch(state, run_id) / _RESULT, linked=True)
    except PathRefused as error:
        raise RunNotFound(f"Run {run_id[:100]} has no files.") from error
    try:
        with root.in_file(split(path)[1]) as (descriptor, found):
            if found.st_size > MOST_BYTES:
                raise RunNotFound(f"{path[:200]} has {found.st_size:,} bytes: too much to hand on whole.")
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return _mime(path), file.read()
    except (PathRefused, OSError) as error:
        words = f"Run {run_id} has no file {path[:200]!r}. get_run(detail='files') lists them."
        raise RunNotFound(words) from error
    finally:
        root.close()


def read_change(state: Path, run_id: str, path: str) -> str:
    """How a file of the project was changed, as a unified diff.

    Raises:
        RunNotFound: the run did not change that file.
    """
    try:
        diffs = json.loads((_scratch(state, run_id) / _CHANGES).read_bytes())
        return str(diffs[path])
    except (OSError, ValueError, KeyError) as error:
        raise RunNotFound(f"Run {run_id[:100]} did not change {path[:200]!r}.") from error


def _scratch(state: Path, run_id: str) -> Path:
    if run_id != Path(run_id).name or run_id.startswith("."):
        raise RunNotFound(f"There is no run {run_id[:100]!r}.")
    return state / RUNS / run_id / "scratch"


def _mime(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
