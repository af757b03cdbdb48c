"""Where something stands in a team file: a path of keys, and the line and column of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from massgen_mcp.errors import Problem, Severity

__all__ = ["KeyPath", "Mark", "Places", "path_text"]

KeyPath: TypeAlias = tuple[str | int, ...]


_LONGEST_KEY = 60


class Mark(NamedTuple):
    """A place in a file, both numbers from 1."""

    line: int
    column: int


def path_text(path: KeyPath) -> str:
    """The path as people write it: `agents[1].backend.type`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = "".join(letter if letter.isprintable() else "?" for letter in part[:_LONGEST_KEY])
            text += f".{key}" if text else key
    return text


@dataclass(frozen=True, slots=True)
class Places:
    """The mark of every key and list item of a file."""

    marks: Mapping[KeyPath, Mark]

    def problem(
        self, path: KeyPath, message: str, *, severity: Severity = "error", hint: str = ""
    ) -> Problem:
        """A problem at that path, placed at the nearest key above it that is in the file."""
        mark = self._nearest(path)
        message = message.rstrip(".") + ("." if hint else "")
        return Problem(
            path=path_text(path),
            message=message,
            severity=severity,
            line=mark.line if mark else None,
            column=mark.column if mark else None,
            hint=hint,
        )

    def _nearest(self, path: KeyPath) -> Mark | None:
        for length in range(len(path), 0, -1):
            if mark := self.marks.get(path[:length]):
                return mark
        return None
