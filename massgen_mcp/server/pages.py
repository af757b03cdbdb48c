"""Long things in pages that fit a reply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from massgen_mcp.errors import RequestRefused

__all__ = ["PAGE", "Entry", "page"]

PAGE = 39_000
"""Characters of a page as JSON; hosts put replies of about 50,000 aside, and the rest of ours needs some."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One part of something long: a few words about it, and its text."""

    head: Mapping[str, Any]
    text: str


def page(
    entries: Sequence[Entry], cursor: str | None, *, limit: int = PAGE
) -> tuple[list[dict[str, Any]], str | None]:
    """The entries from `cursor` on that fit, as JSON objects, and the cursor of the next page, if any.

    A text that does not fit goes on on the next page. Cursors stay valid while entries are only added.

    Raises:
        RequestRefused: the cursor is none of ours.
    """
    index, offset = _position(cursor)
    found: list[dict[str, Any]] = []
    room = limit
    while index < len(entries):
        entry = entries[index]
        text, rest = entry.text[offset:], len(entry.text) - offset
        size = _size({**entry.head, "text": text})
        if size > room:
            if found and size <= limit:
                break
            text = _fitting(entry.head, text, room)
            if not text:
                break
        found.append({**entry.head, "text": text})
        room -= _size(found[-1])
        if len(text) < rest:
            offset += len(text)
            break
        index, offset = index + 1, 0
    return found, f"{index}.{offset}" if index < len(entries) else None


def _fitting(head: Mapping[str, Any], text: str, room: int) -> str:
    """As much of the text as fits. Escaped characters take more room, so it is tried."""
    text = text[:room]
    while text and (over := _size({**head, "text": text}) - room) > 0:
        text = text[: -max(1, min(over, len(text)) // 2)]
    return text


def _size(value: Mapping[str, Any]) -> int:
    return len(json.dumps(value, ensure_ascii=False)) + 2


def _position(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    index, _, offset = cursor.partition(".")
    if not (index.isdecimal() and offset.isdecimal()):
        raise RequestRefused(
            "`cursor` is not one of this run. Leave it out for the first page; the reply names the next one."
        )
    return int(index), int(offset)
