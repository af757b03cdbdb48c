"""A record's body as JSON text and back, and the checksum that finds a damaged one."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from massgen_mcp.errors import JournalError

__all__ = ["Redact", "checksum", "decode", "encode", "untouched"]

Redact: TypeAlias = Callable[[Any], Any]
"""Takes a JSON value and returns it without secrets. Called from more than one thread.

What it finds in a text it finds in a longer one, too, that holds the same between quotation marks.
"""


_PLAIN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def untouched(value: Any) -> Any:
    """The value as it is: for a journal that is given nothing to redact."""
    return value


def encode(body: Mapping[str, Any], redact: Redact) -> str:
    """A body as JSON text without secrets. Numbers that JSON lacks (NaN, the infinities) become null.

    Raises:
        JournalError: the body holds something that is no JSON value.
    """
    text = _clean(body, redact)
    if text is not None:
        return text

    def plain(value: object) -> Any:
        # Mappings that are no dicts pass the redactor unseen, so they meet it here.
        if isinstance(value, Mapping):
            return _finite(redact(dict(cast("Mapping[str, Any]", value))))
        raise TypeError(f"{type(value).__name__} is not a JSON value")

    value: Any = redact(dict(body))
    try:
        try:
            text = _dumps(value, plain)
        except ValueError:
            value = _finite(value)
            text = _dumps(value, plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise JournalError(f"A record's body can't be written as JSON: {error}.") from error
    if _is_utf8(text):
        return text
    # Half a surrogate pair, as models stream them, has no UTF-8 but has an escape.
    return _dumps(value, plain, ascii_only=True)


def _clean(body: Mapping[str, Any], redact: Redact) -> str | None:
    """The text of a body of plain JSON values that holds no secret; None where that takes a closer look.

    To look at one long text is quicker than to look at each value. Without escapes in it every key and value
    stands there as it is.
    """
    try:
        text = _PLAIN.encode(dict(body))
    except (TypeError, ValueError, RecursionError):
        return None
    seen = text
    if "\\" in seen:
        # Escaped backslashes are put aside first, behind a character that JSON text never holds: a tool's
        # arguments are JSON themselves, so that what looks like another escape may be the rest of one.
        seen = seen.replace("\\\\", "\0").replace("\\n", "\n").replace('\\"', '"').replace("\\t", "\t")
        if "\\" in seen:
            return None
        seen = seen.replace("\0", "\\")
    return text if redact(seen) == seen and _is_utf8(text) else None


def _dumps(value: Any, plain: Callable[[object], Any], *, ascii_only: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"), default=plain)


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast("list[Any]", value)]
    return value


def decode(text: str) -> Mapping[str, Any]:
    """A body from its text.

    Raises:
        ValueError: the text is no JSON object.
    """
    value: object = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a body is a JSON object")  # noqa: TRY004 - one error type for damaged text
    return cast("dict[str, Any]", value)


def checksum(
    body: bytes,
    *,
    run_id: str,
    seq: int,
    schema: int,
    at: float,
    kind: str,
    turn: int | None,
    call: int | None,
) -> int:
    """CRC-32 over everything a record says, so that a flipped bit or a swapped line is noticed."""
    head = f"{run_id}\n{seq}\n{schema}\n{at!r}\n{kind}\n{turn}\n{call}\n"
    return zlib.crc32(body, zlib.crc32(head.encode("utf-8", "surrogatepass")))
