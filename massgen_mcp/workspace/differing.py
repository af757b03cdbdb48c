"""What differs between two texts, as a unified diff whose cost stays in proportion to the texts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["TextDiff", "diff"]

_AROUND = 3
_PRODUCT = 1_000_000
"""Lines of one side times lines of the other that are compared line by line; more becomes one block."""
_LONGEST = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDiff:
    """Lines added and removed, and the unified diff; empty for what is no text."""

    added: int = 0
    removed: int = 0
    text: str = ""


def diff(old: bytes | None, new: bytes | None, path: str, *, limit: int = _LONGEST) -> TextDiff:
    """What it takes to get from the old content of a file to the new; None where there is no such file."""
    try:
        before, after = _lines(old or b""), _lines(new or b"")
    except UnicodeDecodeError:
        return TextDiff()
    codes = [code for code in _operations(before, after) if code[0] != "equal"]
    removed = sum(to - start for _, start, to, _, _ in codes)
    added = sum(to - start for _, _, _, start, to in codes)
    head = [
        f"--- {f'a/{path}' if old is not None else '/dev/null'}\n",
        f"+++ {f'b/{path}' if new is not None else '/dev/null'}\n",
    ]
    pieces, size = head, sum(len(line) for line in head)
    for line in _hunks(codes, before, after):
        size += len(line)
        if size > limit:
            pieces.append(f"[the diff goes on; it is longer than {limit:,} characters]\n")
            break
        pieces.append(line)
    return TextDiff(added=added, removed=removed, text="".join(pieces) if codes else "")


def _lines(data: bytes) -> list[str]:
    if b"\0" in data:
        raise UnicodeDecodeError("utf-8", data, 0, 1, "binary")
    # Not `splitlines`: form feeds and the like don't end a line in a diff.
    lines = data.decode().split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


_Code = tuple[str, int, int, int, int]


def _operations(before: Sequence[str], after: Sequence[str]) -> list[_Code]:
    shorter = min(len(before), len(after))
    start = 0
    while start < shorter and before[start] == after[start]:
        start += 1
    end = 0
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if not old and not new:
        return []
    if len(old) * len(new) > _PRODUCT:
        return [("replace", start, start + len(old), start, start + len(new))]
    codes = difflib.SequenceMatcher(None, old, new).get_opcodes()
    return [(tag, a + start, b + start, c + start, d + start) for tag, a, b, c, d in codes]


def _hunks(codes: Sequence[_Code], before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    group: list[_Code] = []
    for code in codes:
        if group and code[1] - group[-1][2] > 2 * _AROUND:
            yield from _hunk(group, before, after)
            group = []
        group.append(code)
    if group:
        yield from _hunk(group, before, after)


def _hunk(group: Sequence[_Code], before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    first, last = group[0], group[-1]
    lead = min(_AROUND, first[1])
    tail = min(_AROUND, len(before) - last[2])
    old, new = (first[1] - lead, last[2] + tail), (first[3] - lead, last[4] + tail)
    yield f"@@ -{_range(*old)} +{_range(*new)} @@\n"
    position = old[0]
    for _, start, end, new_start, new_end in group:
        yield from _marked(" ", before[position:start])
        yield from _marked("-", before[start:end])
        yield from _marked("+", after[new_start:new_end])
        position = end
    yield from _marked(" ", before[position : old[1]])


def _range(start: int, end: int) -> str:
    if end - start == 1:
        return f"{start + 1}"
    return f"{start + 1 if end > start else start},{end - start}"


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield f"{mark}{line}"
        if not line.endswith("\n"):
            yield "\n\\ No newline at end of file\n"
