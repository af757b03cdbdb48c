"""Values in the events of a command line, looked at before they are used."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

__all__ = ["count", "fields", "logged", "text"]

_LONGEST_LOG = 64 * 1024 * 1024


def fields(value: object) -> Mapping[str, Any]:
    """An object's fields; none where it is something else."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def text(value: object) -> str:
    """A text; empty where it is something else."""
    return value if isinstance(value, str) else ""


def count(value: Mapping[str, Any], name: str) -> int:
    """A number of things; 0 where there is none."""
    found: object = value.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def logged(folder: Path, pattern: str, word: bytes) -> Iterator[Mapping[str, Any]]:
    """The objects, one a line, of the log files that fit the pattern, where they hold that word."""
    for path in folder.glob(pattern):
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            with path.open("rb") as file:
                lines = file.read(_LONGEST_LOG).splitlines()
        except OSError:
            continue  # what is not told is not counted
        yield from (_read(line) for line in lines if word in line)


def _read(line: bytes) -> Mapping[str, Any]:
    try:
        return fields(json.loads(line.decode(errors="replace")))
    except (ValueError, RecursionError):
        return {}  # the line is not whole yet
