"""From a Python annotation, as written, to JSON Schema. Nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

__all__ = ["Names", "Schema", "literal_of", "schema_of", "schema_of_value"]

Schema: TypeAlias = dict[str, Any]

_DEEPEST = 12
"""Annotations nest, and an alias may name itself."""
_PLAIN: Mapping[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array"},
    "dict": {"type": "object"},
    "set": {"type": "array", "uniqueItems": True},
    "tuple": {"type": "array"},
    "None": {"type": "null"},
    "Any": {},
    "object": {},
    "Path": {"type": "string"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
}
_MEANS: Mapping[str, str] = {
    "List": "list",
    "Sequence": "list",
    "MutableSequence": "list",
    "Iterable": "list",
    "Collection": "list",
    "Dict": "dict",
    "Mapping": "dict",
    "MutableMapping": "dict",
    "Set": "set",
    "FrozenSet": "set",
    "frozenset": "set",
    "AbstractSet": "set",
    "Tuple": "tuple",
    "Text": "str",
    "PathLike": "Path",
    "NoneType": "None",
}
"""Other names of the same."""
_KINDS: Mapping[str, str] = {
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "str": "string",
    "list": "array",
    "dict": "object",
}
_NO_VALUE = object()


@dataclass(frozen=True, slots=True)
class Names:
    """What names mean in a module: `Opt` that was imported as another, and aliases of types."""

    imported: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name here -> the last part of the name there."""
    aliases: Mapping[str, ast.expr] = field(default_factory=dict[str, ast.expr])
    """Name -> the expression it was given at the top of the module."""


def literal_of(node: ast.expr) -> tuple[bool, Any]:
    """Whether the expression is a plain value that JSON can hold, and that value."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False, None
    plain = _as_json(value)
    return (False, None) if plain is _NO_VALUE else (True, plain)


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        items = [_as_json(item) for item in cast("list[Any]", value)]
        return _NO_VALUE if any(item is _NO_VALUE for item in items) else items
    if isinstance(value, dict):
        pairs = {key: _as_json(item) for key, item in cast("dict[Any, Any]", value).items()}
        good = all(isinstance(key, str) and item is not _NO_VALUE for key, item in pairs.items())
        return pairs if good else _NO_VALUE
    return _NO_VALUE


def schema_of_value(value: Any) -> Schema:
    """The type that a default value suggests; anything for None."""
    kind = _KINDS.get(type(value).__name__)
    return {"type": kind} if kind else {}


def schema_of(node: ast.expr, names: Names) -> tuple[Schema, str]:
    """The schema of an annotation, and the part of it that is not understood, empty for none.

    What is not understood takes any value.
    """
    reader = _Reader(names)
    return reader.read(node, 0), reader.odd


class _Reader:
    def __init__(self, names: Names) -> None:
        self._names = names
        self.odd = ""

    def read(self, node: ast.expr, depth: int) -> Schema:
        match node if depth <= _DEEPEST else None:
            case ast.Constant(value=None):
                return dict(_PLAIN["None"])
            case ast.Constant(value=str() as text):
                return self._text(text, node, depth)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return _either([self.read(left, depth + 1), self.read(right, depth + 1)])
            case ast.Subscript(value=value, slice=inside):
                return self._generic(self._name(value), _items(inside), node, depth)
            case ast.Name() | ast.Attribute():
                return self._plain(node, depth)
            case _:
                return self._unknown(node)

    def _text(self, text: str, node: ast.expr, depth: int) -> Schema:
        try:
            return self.read(ast.parse(text, mode="eval").body, depth + 1)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return self._unknown(node)

    def _name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            name = node.attr
        elif isinstance(node, ast.Name):
            name = self._names.imported.get(node.id, node.id)
        else:
            return ""
        return _MEANS.get(name, name)

    def _plain(self, node: ast.expr, depth: int) -> Schema:
        if isinstance(node, ast.Name) and (alias := self._names.aliases.get(node.id)) is not None:
            return self.read(alias, depth + 1)
        name = self._name(node)
        return dict(_PLAIN[name]) if name in _PLAIN else self._unknown(node)

    def _generic(self, name: str, items: list[ast.expr], node: ast.expr, depth: int) -> Schema:
        readers: Mapping[str, Callable[[list[ast.expr], int], Schema | None]] = {
            "Optional": lambda items, depth: _either([*self._all(items, depth), {"type": "null"}]),
            "Union": lambda items, depth: _either(self._all(items, depth)),
            "Literal": lambda items, _: _enum(items),
            "Annotated": self._annotated,
            "list": self._array,
            "set": self._set,
            "tuple": self._tuple,
            "dict": self._mapping,
            "Final": lambda items, depth: self.read(items[0], depth + 1),
            "Path": lambda _items, _depth: dict(_PLAIN["Path"]),
        }
        found = readers[name](items, depth) if name in readers and items else None
        return self._unknown(node) if found is None else found

    def _all(self, items: list[ast.expr], depth: int) -> list[Schema]:
        return [self.read(item, depth + 1) for item in items]

    def _annotated(self, items: list[ast.expr], depth: int) -> Schema:
        schema = self.read(items[0], depth + 1)
        texts = [text for item in items[1:] if (text := _words(item))]
        return {**schema, "description": texts[0]} if texts else schema

    def _array(self, items: list[ast.expr], depth: int) -> Schema:
        inside = self.read(items[0], depth + 1)
        return {"type": "array", "items": inside} if inside else {"type": "array"}

    def _set(self, items: list[ast.expr], depth: int) -> Schema:
        return {**self._array(items, depth), "uniqueItems": True}

    def _tuple(self, items: list[ast.expr], depth: int) -> Schema:
        if isinstance(items[-1], ast.Constant) and items[-1].value is Ellipsis:
            return self._array(items[:-1], depth)
        # Every provider takes `items`; `prefixItems` only some.
        return {
            "type": "array",
            "items": _either(self._all(items, depth)),
            "minItems": len(items),
            "maxItems": len(items),
        }

    def _mapping(self, items: list[ast.expr], depth: int) -> Schema:
        values = self.read(items[-1], depth + 1)
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}

    def _unknown(self, node: ast.expr) -> Schema:
        self.odd = self.odd or ast.unparse(node)
        return {}


def _items(inside: ast.expr) -> list[ast.expr]:
    return list(inside.elts) if isinstance(inside, ast.Tuple) else [inside]


def _either(schemas: list[Schema]) -> Schema:
    """One of several; simple types side by side, as most providers read that best."""
    if any(not schema for schema in schemas):
        return {}
    different = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
    if len(different) == 1:
        return different[0]
    if all(set(schema) == {"type"} and isinstance(schema["type"], str) for schema in different):
        return {"type": [schema["type"] for schema in different]}
    return {"anyOf": different}


def _enum(items: list[ast.expr]) -> Schema | None:
    values = [literal_of(item) for item in items]
    if not all(plain for plain, _ in values):
        return None
    found = [value for _, value in values]
    kinds = {str(schema_of_value(value).get("type")) for value in found}
    kind = kinds.pop() if len(kinds) == 1 else "None"
    return {"enum": found} if kind == "None" else {"type": kind, "enum": found}


def _words(node: ast.expr) -> str:
    """The description in an `Annotated`: a string, or the `description` of a call such as `Field(...)`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.strip()
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg == "description":
                return _words(keyword.value)
        return _words(node.args[0]) if len(node.args) == 1 else ""
    return ""
