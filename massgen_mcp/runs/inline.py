"""Content that came with a request, and what kind of picture some bytes are."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from massgen_mcp.errors import RequestRefused

__all__ = ["inline_bytes", "sniff"]

_MAGIC = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"%PDF-", "application/pdf"))
_GIF = (b"GIF87a", b"GIF89a")
_MAX_NAME = 200
_FORMS = "{name, text} or {name, base64, mime}"


def sniff(data: bytes) -> str | None:
    """The media type of a picture or PDF, by its first bytes; None for anything else."""
    if data.startswith(_GIF):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for start, mime in _MAGIC if data.startswith(start)), None)


def inline_bytes(item: Mapping[str, Any], argument: str, *, limit: int) -> tuple[str, bytes, str]:
    """Name, content and media type of an object with its content.

    Raises:
        RequestRefused: it is not of one of the two forms, or too large.
    """
    name, text, packed = item.get("name"), item.get("text"), item.get("base64")
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _MAX_NAME:
        raise _refused(argument, f"an item needs a `name` of at most {_MAX_NAME} printable characters")
    if (text is None) == (packed is None) or set(item) - {"name", "text", "base64", "mime"}:
        raise _refused(argument, f"{name} must be a path, or an object as {_FORMS}")
    if isinstance(text, str):
        data = text.encode("utf-8", "replace")
    elif isinstance(packed, str):
        data = _unpacked(packed, name, argument, limit)
    else:
        raise _refused(argument, f"the content of {name} must be text")
    if len(data) > limit:
        raise _refused(
            argument, f"{name} is larger than {limit // 1024 // 1024} MiB; give the part that matters"
        )
    mime = item.get("mime")
    return name, data, mime if isinstance(mime, str) else ""


def _unpacked(text: str, name: str, argument: str, limit: int) -> bytes:
    if len(text) > limit * 2:
        raise _refused(argument, f"{name} is larger than {limit // 1024 // 1024} MiB")
    head, comma, rest = text.partition(",")
    packed = rest if comma and head.startswith("data:") else text
    try:
        return base64.b64decode("".join(packed.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _refused(argument, f"the `base64` of {name} is not base64") from None


def _refused(argument: str, what: str) -> RequestRefused:
    return RequestRefused(f"`{argument}`: {what}. Nothing was spent.")
