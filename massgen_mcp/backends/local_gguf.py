"""The head of a GGUF file: what a model says of itself, read without loading it.

Runs in the embedded model's own process and imports nothing outside the standard library.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

__all__ = ["Head", "NotGguf", "read_head"]

Value: TypeAlias = "str | int | float | bool | None"

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_PAIRS = 65_536
_MAX_TEXT = 1 << 24
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32, _U64 = _SCALARS[4], _SCALARS[10]


class NotGguf(ValueError):
    """The file is not a GGUF model, or it is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the embedded engine needs to know of a model."""

    name: str
    context: int | None
    """Tokens of context it was trained for."""
    template: bool
    """Whether it brings a chat template; without one it is taken for a base model."""


def read_head(path: Path) -> Head:
    """What the model in a file says of itself.

    Raises:
        NotGguf: it is no GGUF file, or its head is damaged.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        try:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise NotGguf("the file is empty") from error
        with view:
            try:
                pairs = _Reader(view).pairs()
            except (struct.error, IndexError, UnicodeDecodeError) as error:
                raise NotGguf("its head is damaged or cut") from error
    architecture = pairs.get("general.architecture")
    context = pairs.get(f"{architecture}.context_length")
    name = pairs.get("general.name")
    return Head(
        name=name if isinstance(name, str) else "",
        context=context if isinstance(context, int) else None,
        template=bool(pairs.get("tokenizer.chat_template")),
    )


class _Reader:
    """Walks the key-value pairs. Arrays are passed over: a vocabulary has hundreds of thousands of words."""

    def __init__(self, view: mmap.mmap) -> None:
        self._view = view
        self._at = 0

    def pairs(self) -> dict[str, Value]:
        if self._view[:4] != _MAGIC:
            raise NotGguf("it does not begin with GGUF")
        self._at = 4
        version, _tensors, count = self._number(_U32), self._number(_U64), self._number(_U64)
        if version not in _VERSIONS:
            raise NotGguf(f"its GGUF version is {version}, not 2 or 3")
        if count > _MAX_PAIRS:
            raise NotGguf("its head is damaged or cut")
        return {self._text(): self._value(self._number(_U32)) for _ in range(count)}

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            self._skip_array()
            return None
        if kind not in _SCALARS:
            raise NotGguf(f"its head has a value of unknown type {kind}")
        return self._number(_SCALARS[kind])

    def _skip_array(self) -> None:
        kind, count = self._number(_U32), self._number(_U64)
        if kind in _SCALARS:
            self._move(_SCALARS[kind].size * count)
            return
        if kind != _STRING:
            raise NotGguf(f"its head has an array of unknown type {kind}")
        view, at, unpack = self._view, self._at, _U64.unpack_from
        size = len(view)
        for _ in range(count):
            at += 8 + unpack(view, at)[0]
            if at > size:
                raise NotGguf("its head is damaged or cut")
        self._at = at

    def _text(self) -> str:
        length = self._number(_U64)
        if length > _MAX_TEXT:
            raise NotGguf("its head is damaged or cut")
        start = self._at
        self._move(length)
        return self._view[start : self._at].decode()

    def _number(self, form: struct.Struct) -> int:
        (value,) = form.unpack_from(self._view, self._at)
        self._at += form.size
        return value

    def _move(self, size: int) -> None:
        self._at += size
        if self._at > len(self._view):
            raise NotGguf("its head is damaged or cut")
