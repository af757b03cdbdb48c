"""What the agents of a run left beside its answer, kept in the run's folder for every door."""

from __future__ import annotations

import json
import mimetypes
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from massgen_mcp.errors import RunNotFound
from massgen_mcp.runs.inline import sniff
from massgen_mcp.team.spec import ChangedFile, MadeFile
from massgen_mcp.workspace.beneath import PathRefused, Root
from massgen_mcp.workspace.names import split
from massgen_mcp.workspace.run_folder import RUNS, RunFolder
from massgen_mcp.workspace.trees import names_in, remove

__all__ = [
    "GIVEN",
    "MOST_BYTES",
    "MOST_FILES",
    "PICTURES",
    "SPILLED",
    "forget_files",
    "keep_changes",
    "keep_files",
    "read_change",
    "read_file",
]

MOST_BYTES = 4 * 1024 * 1024
"""Of one file that is handed on whole."""
MOST_FILES = 200
"""Files that are listed in a result."""
SPILLED = "tool_results"
"""The folder of a workspace in which results that are too large for a model are kept."""
GIVEN = "given"
"""That in which pictures that came with the question lie, for models that can't see."""
PICTURES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
"""Kinds that hosts show."""
_RESULT = "result"
_CHANGES = "changes.json"
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_UNKNOWN = "application/octet-stream"
_MOST_DIFFS = 8 * 1024 * 1024
"""Characters of all diffs together that are kept."""
_BY_THE_WAY = frozenset(
    {".git", ".mypy_cache", ".pytest_cache", ".venv", "__pycache__", "node_modules", GIVEN, SPILLED}
)
"""Folders that the agent did not make by itself, or not for anyone: kept, and not listed."""


def forget_files(folder: RunFolder) -> None:
    """Clear away files that were laid out for an answer: a run that goes on may end with another.

    Raises:
        PathRefused: they can't be removed.
    """
    root = Root.at(folder.scratch)
    try:
        if _RESULT in names_in(root.fd):
            remove(root.fd, _RESULT)
    finally:
        root.close()


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


def keep_changes(
    folder: RunFolder, changes: Iterable[ChangedFile], *, redact: Callable[[str], str] = str
) -> None:
    """Write down how the project was changed."""
    kept: dict[str, str] = {}
    left = _MOST_DIFFS
    for change in changes:
        left -= len(change.diff)
        kept[change.path] = (
            redact(change.diff) if left >= 0 else "(This run's diffs are too large to keep them all.)"
        )
    text = json.dumps(kept, ensure_ascii=False)
    (folder.scratch / _CHANGES).write_text(text, encoding="utf-8", errors="backslashreplace")


def read_file(state: Path, run_id: str, path: str) -> tuple[str, bytes]:
    """Media type and content of a file that came with a run's answer. Pictures are what their content says.

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
                data = file.read()
    except (PathRefused, OSError) as error:
        words = f"Run {run_id} has no file {path[:200]!r}. get_run(detail='files') lists them."
        raise RunNotFound(words) from error
    finally:
        root.close()
    mime = _mime(path)
    return (sniff(data) or _UNKNOWN if mime in PICTURES else mime), data


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
    if not _RUN.fullmatch(run_id):
        raise RunNotFound(f"There is no run {run_id[:100]!r}.")
    return state / RUNS / run_id / "scratch"


def _mime(path: str) -> str:
    return mimetypes.guess_type(path)[0] or _UNKNOWN
