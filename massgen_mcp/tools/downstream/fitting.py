"""Whether a value fits a JSON Schema that a stranger wrote, in a bounded number of steps.

A schema can make a full validator work for ever: by its patterns, or by references that branch. So patterns
are not run, and what takes too many steps is not decided: fault is found only where there certainly is some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

__all__ = ["misfit"]

_STEPS = 20_000
_SHOWN = 80


class _Undecided(Exception):
    """Too many steps, or a keyword whose meaning is not followed here."""


def misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """Where and how the value does not fit; empty where it does, or where that can't be told."""
    try:
        return _Fitting(schema).problem(value, schema, "")
    except (_Undecided, RecursionError):
        return ""


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool)
        and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}


class _Fitting:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _STEPS

    def problem(self, value: Any, schema: Any, path: str) -> str:
        self._left -= 1
        if self._left < 0:
            raise _Undecided
        if schema is False:
            return f"{path or 'it'} is not to be there"
        if not isinstance(schema, dict):
            return ""
        rules = cast("dict[str, Any]", schema)
        return next(filter(None, self._problems(value, rules, path)), "")

    def _problems(self, value: Any, rules: dict[str, Any], path: str) -> Iterator[str]:
        where = path or "it"
        if (reference := rules.get("$ref")) is not None:
            yield self.problem(value, self._target(reference), path)
        kinds = rules.get("type")
        if kinds is not None:
            wanted = cast("list[Any]", kinds) if isinstance(kinds, list) else [kinds]
            if all(kind in _TYPES for kind in wanted) and not any(_TYPES[kind](value) for kind in wanted):
                yield f"{where} is not of type {' or '.join(wanted)}"
        if "const" in rules and not _same(value, rules["const"]):
            yield f"{where} is not {rules['const']!r}"[:_SHOWN]
        choices = rules.get("enum")
        if isinstance(choices, list) and not any(_same(value, one) for one in cast("list[Any]", choices)):
            yield f"{where} is none of the values allowed"
        yield from self._combined(value, rules, path)
        if isinstance(value, dict):
            yield from self._members(cast("dict[str, Any]", value), rules, path)
        elif isinstance(value, list) and isinstance(rules.get("items"), dict) and "prefixItems" not in rules:
            for number, item in enumerate(cast("list[Any]", value)):
                yield self.problem(item, rules["items"], f"{path}/{number}")

    def _combined(self, value: Any, rules: dict[str, Any], path: str) -> Iterator[str]:
        for part in _listed(rules.get("allOf")):
            yield self.problem(value, part, path)
        for key in ("anyOf", "oneOf"):
            parts = _listed(rules.get(key))
            if parts and all(self.problem(value, part, path) for part in parts):
                yield f"{path or 'it'} fits none of {key}"

    def _members(self, value: dict[str, Any], rules: dict[str, Any], path: str) -> Iterator[str]:
        for name in _listed(rules.get("required")):
            if isinstance(name, str) and name not in value:
                yield f"{path}/{name} is missing"
        found: object = rules.get("properties")
        known = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        for name, item in value.items():
            if name in known:
                yield self.problem(item, known[name], f"{path}/{name}")
            elif "additionalProperties" in rules and "patternProperties" not in rules:
                yield self.problem(item, rules["additionalProperties"], f"{path}/{name}")

    def _target(self, reference: object) -> Any:
        """What a reference inside the document means."""
        if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
            raise _Undecided
        found: Any = self._root
        for key in reference.split("/")[1:]:
            name = key.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                raise _Undecided
            found = cast("Mapping[str, Any]", found)[name]
        return found


def _listed(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _same(value: Any, other: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)
