"""A grammar for the embedded model's sampler, made from a JSON Schema: compact JSON, every length bounded.

Ready-made converters allow free whitespace, and a small model then writes nothing else. Here a reply has one
form only, without a space between its parts, and always an end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from massgen_mcp.errors import BackendError

__all__ = ["Bounds", "Grammar", "make_grammar"]

_MAX_DEPTH = 12
_NUMBERS = {"integer": "integer", "number": "number"}
_DIGITS = 15
"""What a double holds exactly."""
_RULES = {
    "char": r'[^"\\\x7F\x00-\x1F] | "\\" ["\\/nrt]',
    "integer": f'"-"? ("0" | [1-9] [0-9]{{0,{_DIGITS - 1}}})',
    "number": f'integer ("." [0-9]{{1,{_DIGITS}}})?',
}
_NEEDS = {"number": ("integer",)}
_NOTES = frozenset(
    {"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated"}
)
"""Keywords that constrain nothing."""
_KNOWN: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset(),
    "number": frozenset(),
    "boolean": frozenset(),
    "null": frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits a reply keeps whatever its schema allows, so that it ends."""

    string: int
    """Characters of one string."""
    items: int = 8
    """Items of one array."""
    least: int = 0
    """Characters a string has at least, where its limit leaves room."""
    optional: bool = True
    """Whether properties that are not required may appear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """A GBNF grammar whose start is `root`, and how long its longest reply is."""

    text: str
    length: int
    """Characters of the longest reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """An expression that needs no brackets where it stands in a sequence, and its greatest length."""

    text: str
    length: int


def make_grammar(schema: Mapping[str, Any], bounds: Bounds) -> Grammar:
    """The grammar of the replies that fit a schema, within bounds.

    Understood are objects with named properties (written in the order named, required ones first), arrays,
    strings, numbers, booleans, null, `enum`, `const`, lists of types and `anyOf`.

    Raises:
        BackendError: `bad_request`, naming the place in the schema that can't be held by a grammar.
    """
    maker = _Maker(bounds)
    root = maker.any(schema, "schema", 0)
    lines = [f"root ::= {root.text}", *(f"{name} ::= {_RULES[name]}" for name in sorted(maker.used))]
    return Grammar(text="\n".join(lines) + "\n", length=root.length)


class _Maker:
    """Walks one schema."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.used: set[str] = set()

    def any(self, schema: object, where: str, depth: int) -> _Part:
        if not isinstance(schema, Mapping):
            raise _refusal(where, "is not an object")
        if depth > _MAX_DEPTH:
            raise _refusal(where, f"is nested more than {_MAX_DEPTH} deep")
        schema = cast("Mapping[str, Any]", schema)
        rest = {key: value for key, value in schema.items() if key not in _NOTES}
        if "const" in rest:
            return _literals([rest["const"]])
        if "enum" in rest:
            return _literals(_sequence(rest["enum"], f"{where}.enum"))
        if "anyOf" in rest:
            if unknown := sorted(rest.keys() - {"anyOf"}):
                raise _refusal(where, f"has {', '.join(unknown)} beside anyOf")
            choices = _sequence(rest["anyOf"], f"{where}.anyOf")
            return _choice(
                [
                    self.any(choice, f"{where}.anyOf[{index}]", depth + 1)
                    for index, choice in enumerate(choices)
                ]
            )
        return self._typed(rest, where, depth)

    def _typed(self, schema: Mapping[str, Any], where: str, depth: int) -> _Part:
        named = schema.get("type", "object" if "properties" in schema else None)
        types: list[Any] = (
            [named] if named is None or isinstance(named, str) else _sequence(named, f"{where}.type")
        )
        if unknown := [kind for kind in types if not (isinstance(kind, str) and kind in _KNOWN)]:
            raise _refusal(where, f"has no type that is known here ({unknown[0]!r})")
        allowed = frozenset({"type"}).union(*(_KNOWN[kind] for kind in types))
        if unknown := sorted(schema.keys() - allowed):
            raise _refusal(where, f"uses {', '.join(unknown)}")
        return _choice([self._one(kind, schema, where, depth) for kind in types])

    def _one(self, kind: str, schema: Mapping[str, Any], where: str, depth: int) -> _Part:
        match kind:
            case "object":
                return self._object(schema, where, depth)
            case "array":
                return self._array(schema, where, depth)
            case "string":
                return self._string(schema, where)
            case "integer" | "number":
                self._use(kind)
                return _Part(text=kind, length=2 * _DIGITS + 2)
            case "boolean":
                return _literals([True, False])
            case _:
                return _literals([None])

    def _object(self, schema: Mapping[str, Any], where: str, depth: int) -> _Part:
        properties = cast("Mapping[str, Any]", schema.get("properties", {}))
        required = set(_sequence(schema.get("required", []), f"{where}.required"))
        if unknown := sorted(required - properties.keys()):
            raise _refusal(where, f"requires {', '.join(unknown)}, which it does not describe")
        first = [name for name in properties if name in required]
        then = [name for name in properties if name not in required] if self._bounds.optional else []
        if then and not first:
            raise _refusal(where, "requires none of its properties")
        parts: list[str] = []
        length = 2
        for name in (*first, *then):
            value = self.any(properties[name], f"{where}.{name}", depth + 1)
            key = json.dumps(name, ensure_ascii=False) + ":"
            comma = "," if parts else ""
            pair = f"{_quoted(comma + key)} {value.text}"
            parts.append(pair if name in required else f"({pair})?")
            length += len(comma + key) + value.length
        return _Part(text=" ".join(['"{"', *parts, '"}"']), length=length)

    def _array(self, schema: Mapping[str, Any], where: str, depth: int) -> _Part:
        item = self.any(schema.get("items"), f"{where}.items", depth + 1)
        least = _count(schema, "minItems", where) or 0
        most = _count(schema, "maxItems", where)
        most = max(least, self._bounds.items if most is None else min(most, self._bounds.items))
        if most == 0:
            return _Part(text='"[]"', length=2)
        more = f' ("," {_bracketed(item.text)}){{{max(0, least - 1)},{most - 1}}}' if most > 1 else ""
        filled = f"{_bracketed(item.text)}{more}"
        body = filled if least else f"({filled})?"
        return _Part(text=f'"[" {body} "]"', length=2 + most * (item.length + 1))

    def _string(self, schema: Mapping[str, Any], where: str) -> _Part:
        self._use("char")
        least = _count(schema, "minLength", where) or 0
        most = _count(schema, "maxLength", where)
        if most is not None and most < least:
            raise _refusal(where, "has a maxLength below its minLength")
        bound = max(self._bounds.string, least)
        most = bound if most is None else min(most, bound)
        least = min(max(least, self._bounds.least), most)
        return _Part(text=f'"\\"" char{{{least},{most}}} "\\""', length=2 + most)

    def _use(self, rule: str) -> None:
        self.used.update((rule, *_NEEDS.get(rule, ())))


def _literals(values: Sequence[object]) -> _Part:
    texts = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values]
    return _choice([_Part(text=_quoted(text), length=len(text)) for text in texts])


def _choice(parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    text = " | ".join(part.text for part in parts)
    return _Part(text=f"({text})", length=max(part.length for part in parts))


def _bracketed(text: str) -> str:
    return f"({text})"


def _quoted(text: str) -> str:
    """A literal of the grammar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _sequence(value: object, where: str) -> list[Any]:
    if not isinstance(value, list | tuple) or (not value and not where.endswith(".required")):
        raise _refusal(where, "is not a list with something in it")
    return list(cast("Sequence[Any]", value))


def _count(schema: Mapping[str, Any], key: str, where: str) -> int | None:
    value = schema.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise _refusal(where, f"has a {key} that is not a whole number")
    return value


def _refusal(where: str, why: str) -> BackendError:
    remedy = "Use objects, arrays, strings, numbers, booleans, enum, const and anyOf only."
    return BackendError(
        f"local: the reply's JSON Schema can't be made into a grammar: {where} {why}. {remedy}",
        kind="bad_request",
        remedy=remedy,
        connected=False,
    )
