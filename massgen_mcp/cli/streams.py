"""Text to stdout and stderr: made visible, and never failing for a character that the stream can't carry."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import Any, TextIO

from massgen_mcp.errors import RequestRefused
from massgen_mcp.text import visible

__all__ = ["read_stdin", "say", "say_json", "say_raw"]

_SUSPECT = re.compile(r"[^\n -~]")
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def say(stream: TextIO, text: str) -> None:
    """One or more lines, with whatever hides or reorders text made visible."""
    say_raw(stream, visible(text))


def say_raw(stream: TextIO, text: str) -> None:
    """One or more lines as they are; what the stream can't carry is escaped."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def say_json(stream: TextIO, value: Any, *, indent: int | None = 2) -> None:
    """A JSON value. A reader of JSON gets it unchanged; what would act on a terminal is escaped in it."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    say_raw(stream, _SUSPECT.sub(_escaped, text))


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return json.dumps(character)[1:-1] if ord(character) > 0x7F else f"\\u{ord(character):04x}"  # noqa: PLR2004 - DEL


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
