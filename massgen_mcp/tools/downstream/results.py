"""What a server returned, as the model will read it: cleaned, cut, and never more than was agreed on."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import anyio.to_thread

from massgen_mcp.messages import Image, ToolResult
from massgen_mcp.text import shorten, visible
from massgen_mcp.tools.downstream.definitions import Definition
from massgen_mcp.tools.downstream.entry import Outside
from massgen_mcp.tools.downstream.fitting import misfit

__all__ = ["shape_result"]

_MAX_TEXT = 64 * 1024
_MAX_IMAGES = 4 * 1024 * 1024
"""Bytes of all images of one result together."""
_MAX_BLOCKS = 1000
_IMAGES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
_NOTE = 300
_NO_TEXT = "(the tool returned nothing)"


@dataclass(slots=True)
class _Reading:
    """The parts of a result."""

    texts: list[str] = field(default_factory=list[str])
    images: list[Image] = field(default_factory=list[Image])
    size: int = 0

    def note(self, words: str) -> None:
        self.texts.append(f"[{_brief(words)}]")


async def shape_result(
    call_id: str, name: str, raw: Mapping[str, Any], definition: Definition, outside: Outside
) -> ToolResult:
    """The result of a call from what its server sent. What does not fit its own schema is an error."""
    kind = raw.get("resultType", "complete")
    if kind != "complete":
        words = f"the server wants {kind!r} instead of answering; nobody here can give that"
        return ToolResult(call_id=call_id, content=f"{name}: {_brief(words)}", is_error=True)
    failed = raw.get("isError") is True
    structured = raw.get("structuredContent")
    if definition.output is not None and not failed and (problem := _misfit(raw, definition)):
        words = f"{name}: what the server returned does not fit its own schema: {problem}"
        return ToolResult(call_id=call_id, content=_brief(words), is_error=True)
    reading = _Reading()
    content = raw.get("content", [])
    if not isinstance(content, list):
        return ToolResult(
            call_id=call_id, content=f"{name}: the server's answer can't be read.", is_error=True
        )
    blocks = cast("list[Any]", content)
    for block in blocks[:_MAX_BLOCKS]:
        await _read_block(block, reading, outside, name)
    if len(blocks) > _MAX_BLOCKS:
        reading.note(f"{len(blocks) - _MAX_BLOCKS} more parts are left out")
    if structured is not None and not any(text.strip() for text in reading.texts):
        reading.texts.append(_json(structured))
    text = await _cleaned("\n".join(reading.texts), outside)
    if not text.strip() and not reading.images:
        text = _NO_TEXT
    return ToolResult(
        call_id=call_id,
        content=await _fit(text, outside, name),
        is_error=failed,
        images=tuple(reading.images),
    )


def _brief(words: str) -> str:
    """A server's words within a line of ours, however long they are."""
    return shorten(visible(words[: 4 * _NOTE]), _NOTE)


async def _cleaned(text: str, outside: Outside) -> str:
    """The text made visible and without secrets; of a long one, that is the work of a thread."""
    if len(text) <= _MAX_TEXT:
        return outside.redact(visible(text))
    return await anyio.to_thread.run_sync(lambda: outside.redact(visible(text)))


def _misfit(raw: Mapping[str, Any], definition: Definition) -> str:
    if "structuredContent" not in raw:
        return "its structured content is missing"
    return misfit(raw["structuredContent"], definition.output or {})


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "[structured content, nested too deeply to be shown]"


async def _read_block(block: Any, reading: _Reading, outside: Outside, name: str) -> None:
    part = cast("dict[str, Any]", block) if isinstance(block, dict) else {}
    match part:
        case {"type": "text", "text": str() as text}:
            reading.texts.append(text)
        case {"type": "image", "data": str() as data, "mimeType": str() as mime}:
            _read_image(data, mime, reading)
        case {"type": "audio", "data": str() as data}:
            await _keep(data, str(part.get("mimeType", "audio")), reading, outside, name)
        case {"type": "resource", "resource": {"text": str() as text, **more}}:
            reading.note(f"resource {more.get('uri', '')}")
            reading.texts.append(text)
        case {"type": "resource", "resource": {"blob": str() as data, **more}}:
            mime = str(more.get("mimeType", "application/octet-stream"))
            if mime in _IMAGES:
                _read_image(data, mime, reading)
            else:
                await _keep(data, mime, reading, outside, name)
        case {"type": "resource_link", "uri": str() as uri}:
            reading.note(f"link to {uri} {part.get('name', '')}".strip())
        case _:
            reading.note(f"a part of unknown kind {part.get('type')!r} is left out")


def _decode(data: str) -> bytes | None:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def _read_image(data: str, mime: str, reading: _Reading) -> None:
    found = _decode(data)
    if mime not in _IMAGES or not found:
        reading.note(f"an image that can't be read ({mime}) is left out")
    elif reading.size + len(found) > _MAX_IMAGES:
        reading.note(f"an image of {len(found)} bytes is left out: {_MAX_IMAGES} in all are shown")
    else:
        reading.size += len(found)
        reading.images.append(Image(mime=mime, data=found))


async def _keep(data: str, mime: str, reading: _Reading, outside: Outside, name: str) -> None:
    """Keep what no model reads as it is, where there is a place for it."""
    found = _decode(data)
    if not found:
        reading.note(f"a part that can't be read ({mime}) is left out")
    elif outside.spill is None:
        reading.note(f"{len(found)} bytes of {mime} are left out")
    else:
        reading.note(f"{len(found)} bytes of {mime} are in {await outside.spill(f'{name}.bin', found)}")


async def _fit(text: str, outside: Outside, name: str) -> str:
    """The text within its limit: its head and tail, and where the whole is."""
    data = text.encode("utf-8", "replace")
    if len(data) <= _MAX_TEXT:
        return text
    where = "the whole is not kept"
    if outside.spill is not None:
        where = f"the whole is in {await outside.spill(f'{name}.txt', data)}"
    half = (_MAX_TEXT - _NOTE) // 2
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head}\n[{len(data) - 2 * half} bytes are left out here; {shorten(where, _NOTE - 80)}]\n{tail}"
