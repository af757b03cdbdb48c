"""Text to stdout and stderr: made visible, and never failing for a character that the stream can't carry."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import Any, TextIO, cast

from massgen_mcp.errors import RequestRefused
from massgen_mcp.text import visible

__all__ = ["read_stdin", "say", "say_json", "say_record"]

_NOT_PLAIN = re.compile(r"[^ -~]")
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def say(stream: TextIO, text: str) -> None:
    """One or more lines, with whatever hides or reorders text made visible."""
    _write(stream, visible(text))


def say_json(stream: TextIO, value: Any) -> None:
    """A JSON value, every text in it made visible as the MCP tools do."""
    _write(stream, json.dumps(_shown(value), ensure_ascii=False, indent=2))


def say_record(stream: TextIO, line: str) -> None:
    """A line of JSON that its reader gets unchanged; what would act on a terminal is escaped in it."""
    _write(stream, _NOT_PLAIN.sub(_escaped, line))


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {visible(key): _shown(item) for key, item in items}
    if isinstance(value, list):
        return [_shown(item) for item in cast("list[Any]", value)]
    return value


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    if unicodedata.category(character) not in _HIDDEN:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True))


def read_stdin(what: str) -> str:
    """All of stdin as text.

    Raises:
        RequestRefused: it is not UTF-8.
    """
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise RequestRefused(
            f"{what}: stdin is not text in {sys.stdin.encoding} ({error.reason} at byte {error.start})."
        ) from error
