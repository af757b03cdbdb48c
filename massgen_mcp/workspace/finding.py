"""Finding files by name and lines by pattern, within a budget of files, bytes and time."""

from __future__ import annotations

import fnmatch
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache

from massgen_mcp.text import shorten, visible
from massgen_mcp.workspace.areas import Areas, Place
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.names import secret
from massgen_mcp.workspace.pattern import Pattern
from massgen_mcp.workspace.reading import check_readable, explaining
from massgen_mcp.workspace.trees import Entry, open_entry, walk

__all__ = ["Found", "Line", "Spent", "grep", "matches", "search"]

_SKIPPED = frozenset(
    {".git", "node_modules", "__pycache__", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
)
"""Folders not searched unless the path leads into them: nobody means them."""
_BRACES = 64
_MAX_FILE = 16 * 1024 * 1024
_SAMPLE = 8192
_LONGEST_LINE = 300


@dataclass(slots=True)
class Spent:
    """What a search may still use."""

    files: int = 50_000
    size: int = 256 * 1024 * 1024
    until: float = 0.0
    clock: Callable[[], float] = time.monotonic
    why: str = ""

    def over(self) -> bool:
        """Whether it has to stop; `why` says what ran out."""
        if self.why:
            return True
        if self.files < 0:
            self.why = "too many files"
        elif self.size < 0:
            self.why = "too many bytes"
        elif self.clock() > self.until:
            self.why = "it took too long"
        return bool(self.why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that matched, or stands beside one."""

    path: str
    number: int
    text: str
    hit: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found. `stopped` says why there may be more."""

    paths: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    files: int = 0
    """That were looked at."""
    stopped: str = ""


def matches(pattern: str, path: str) -> bool:
    """Whether a glob matches a relative path: `**` is any folders; without a slash only the name counts."""
    parts = tuple(path.split("/"))
    return any(
        _fits(tuple(option.split("/")), parts if "/" in option else parts[-1:])
        for option in _options(pattern.strip("/") or pattern)
    )


@lru_cache(maxsize=256)
def _options(pattern: str) -> tuple[str, ...]:
    """`*.{js,ts}` as `*.js` and `*.ts`."""
    found, ready = [pattern], list[str]()
    while found and len(found) + len(ready) <= _BRACES:
        option = found.pop()
        start = option.find("{")
        end = option.find("}", start)
        if start < 0 or end < 0:
            ready.append(option)
            continue
        found += [
            option[:start] + choice + option[end + 1 :] for choice in option[start + 1 : end].split(",")
        ]
    return tuple(ready)


def _fits(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    """Row by row: which beginnings of the path fit the pattern so far."""
    fitting = {0}
    for piece in pattern:
        if piece == "**":
            fitting = set(range(min(fitting), len(parts) + 1)) if fitting else fitting
        else:
            fitting = {at + 1 for at in fitting if at < len(parts) and fnmatch.fnmatchcase(parts[at], piece)}
    return len(parts) in fitting


def search(
    areas: Areas,
    path: str,
    pattern: str,
    *,
    limit: int = 500,
    seconds: float = 5.0,
    spent: Spent | None = None,
) -> Found:
    """Files and folders below `path` whose path from there matches the glob, as the agent calls them.

    Raises:
        PathRefused: there is no such folder.
    """
    spent = spent or Spent()
    spent.until = spent.clock() + seconds
    paths: list[str] = []
    files = 0
    found = (pair for place in areas.places(path) if not place.area.only for pair in _below(place, spent))
    for place, entry in found:
        files += 1
        relative = "/".join(entry.parts)
        if not matches(pattern, relative):
            continue
        if len(paths) >= limit:
            spent.why = f"only the first {limit} are shown"
            break
        paths.append(visible(Place(place.area, (*place.parts, *entry.parts)).shown) + "/" * entry.is_folder)
    return Found(paths=tuple(paths), files=files, stopped=spent.why)


def _below(place: Place, spent: Spent) -> Generator[tuple[Place, Entry]]:
    with explaining(place), place.area.root.in_folder(place.parts) as folder:
        for entry in walk(folder, into=_worth, most=spent.files + 1):
            spent.files -= 1
            if spent.over():
                return
            yield place, entry


def _worth(entry: Entry) -> bool:
    return entry.name not in _SKIPPED


def grep(
    areas: Areas,
    path: str,
    pattern: str,
    *,
    glob: str = "",
    ignore_case: bool = False,
    context: int = 0,
    limit: int = 200,
    seconds: float = 5.0,
    spent: Spent | None = None,
) -> Found:
    """Lines of text files below `path` (or of that file) that match the regular expression.

    Raises:
        PathRefused: there is nothing there, or the pattern is none.
    """
    compiled = Pattern(pattern, ignore_case=ignore_case)
    spent = spent or Spent()
    spent.until = spent.clock() + seconds
    lines: list[Line] = []
    hits = files = 0
    for shown, descriptor in _files(areas, path, glob, spent):
        files += 1
        for line in _lines(shown, descriptor, compiled, context, spent):
            if line.hit and hits >= limit:
                spent.why = f"only the first {limit} matches are shown"
                return Found(lines=tuple(lines), files=files, stopped=spent.why)
            hits += line.hit
            lines.append(line)
    return Found(lines=tuple(lines), files=files, stopped=spent.why)


def _files(areas: Areas, path: str, glob: str, spent: Spent) -> Iterator[tuple[str, int]]:
    """Every file to look into, open while it is looked at."""
    for place in areas.places(path):
        opened = _one_file(place)
        if opened is None:
            yield from _files_below(place, glob, spent)
            continue
        try:
            check_readable(place)
            yield place.shown, opened
        finally:
            os.close(opened)


def _files_below(place: Place, glob: str, spent: Spent) -> Iterator[tuple[str, int]]:
    for _, entry in _below(place, spent):
        whole = (*place.parts, *entry.parts)
        if not entry.is_file or (glob and not matches(glob, "/".join(entry.parts))):
            continue
        if place.area.project and secret(whole):
            continue
        try:
            descriptor = open_entry(entry, linked=place.area.root.linked)
        except (OSError, PathRefused):  # changed meanwhile, or a link: nothing to look into
            continue
        try:
            yield Place(place.area, whole).shown, descriptor
        finally:
            os.close(descriptor)


def _one_file(place: Place) -> int | None:
    """A descriptor where the path is a file; None where it is a folder."""
    if not place.parts:
        return None
    with explaining(place):
        try:
            return place.area.root.file(place.parts)[0]
        except PathRefused as error:
            if error.kind != "kind":
                raise
    return None


def _lines(shown: str, descriptor: int, pattern: Pattern, context: int, spent: Spent) -> Iterator[Line]:
    text = _text(descriptor, spent)
    if not text or not pattern.possible(text):
        return
    lines = text.split("\n")
    told = until = 0
    for number, line in enumerate(lines, 1):
        if _hit(pattern, line, spent):
            for beside in range(max(told + 1, number - context), number):
                yield _line(shown, beside, lines[beside - 1], hit=False)
            yield _line(shown, number, line, hit=True)
            told, until = number, number + context
        elif number <= until and number < len(lines):
            yield _line(shown, number, line, hit=False)
            told = number
        if spent.why:
            return


def _text(descriptor: int, spent: Spent) -> str:
    """What the file holds; empty where it is no text, or too large."""
    data = os.read(descriptor, _SAMPLE)
    if b"\0" in data or os.fstat(descriptor).st_size > _MAX_FILE:
        return ""
    while piece := os.read(descriptor, _MAX_FILE):
        data += piece
        if len(data) > _MAX_FILE:
            return ""
    spent.size -= len(data)
    return data.decode("utf-8", "replace")


def _hit(pattern: Pattern, line: str, spent: Spent) -> bool:
    if not pattern.possible(line) or spent.over():
        return False
    return pattern.found(line.removesuffix("\r"), give_up=spent.over)


def _line(shown: str, number: int, text: str, *, hit: bool) -> Line:
    return Line(
        path=shown, number=number, text=visible(shorten(text.removesuffix("\r"), _LONGEST_LINE)), hit=hit
    )
