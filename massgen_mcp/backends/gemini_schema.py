"""JSON Schema as Gemini reads it: nearly whole, or in the narrower form that older interfaces know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

__all__ = ["has_parameters", "to_narrow", "without_empty_properties"]

_Schema: TypeAlias = Mapping[str, Any]

_ONE = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"})
_SEVERAL = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_SAYS_NOTHING = frozenset({"type", "title", "description", "required", "additionalProperties", "$schema"})

_KEPT = (
    "title",
    "description",
    "nullable",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
)
_FORMATS = frozenset({"date-time", "enum", "int32", "int64", "float", "double"})
_NULL = {"type": "null"}


def without_empty_properties(schema: _Schema) -> dict[str, Any]:
    """The schema as it is, but for `properties` that name none: Gemini rejects a schema with those."""
    return {
        name: _cleaned(name, value) for name, value in schema.items() if name != "properties" or value != {}
    }


def _cleaned(name: str, value: Any) -> Any:
    if name in _NAMED and (named := _mapping(value)):
        return {key: _clean(inner) for key, inner in named.items()}
    if name in _SEVERAL and (several := _list(value)):
        return [_clean(inner) for inner in several]
    return _clean(value) if name in _ONE else value


def _clean(value: Any) -> Any:
    return without_empty_properties(cast("_Schema", value)) if isinstance(value, Mapping) else value


def has_parameters(schema: _Schema) -> bool:
    """Whether a function of that schema, cleaned, takes anything."""
    return bool(schema.get("additionalProperties")) or not set(schema) <= _SAYS_NOTHING


def to_narrow(schema: _Schema) -> dict[str, Any]:
    """The same in the subset of OpenAPI that the fields `parameters` and `responseSchema` know.

    References are resolved. What can't be said there is left out, so that it allows more than the schema.
    """
    return _narrow(schema, schema, frozenset())


def _narrow(value: object, root: _Schema, seen: frozenset[str]) -> dict[str, Any]:
    schema = _mapping(value)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in seen:
            return {}
        target = _narrow(_find(root, reference), root, seen | {reference})
        beside = {name: inner for name, inner in schema.items() if name != "$ref"}
        return target | _narrow(beside, root, seen)
    narrow = {name: schema[name] for name in _KEPT if name in schema}
    narrow |= _of_kind(schema.get("type")) | _of_values(schema)
    if schema.get("format") in _FORMATS:
        narrow["format"] = schema["format"]
    if properties := _mapping(schema.get("properties")):
        narrow["properties"] = {name: _narrow(inner, root, seen) for name, inner in properties.items()}
        narrow |= {"required": schema["required"]} if schema.get("required") else {}
    if narrow.get("type") == "array":
        narrow["items"] = _narrow(schema.get("items"), root, seen) or {"type": "string"}
    for part in _list(schema.get("allOf")):
        narrow = _both(narrow, _narrow(part, root, seen))
    return _of_choices(schema, root, seen) | narrow


def _find(root: _Schema, reference: str) -> object:
    found: object = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        found = _mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
    return found


def _of_kind(kind: object) -> dict[str, Any]:
    if isinstance(kind, str):
        return {"type": kind}
    kinds = _list(kind)
    named = [name for name in kinds if name != "null"]
    nullable: dict[str, Any] = {"nullable": True} if len(named) < len(kinds) else {}
    if len(named) == 1:
        return nullable | {"type": named[0]}
    return nullable | ({"anyOf": [{"type": name} for name in named]} if named else {})


def _of_values(schema: _Schema) -> dict[str, Any]:
    """The texts to choose from; numbers and the like can't be listed."""
    values = [schema["const"]] if "const" in schema else _list(schema.get("enum"))
    real = [value for value in values if value is not None]
    if not real or not all(isinstance(value, str) for value in real):
        return {}
    return {"type": "string", "enum": real} | ({"nullable": True} if len(real) < len(values) else {})


def _of_choices(schema: _Schema, root: _Schema, seen: frozenset[str]) -> dict[str, Any]:
    choices = _list(schema.get("anyOf") or schema.get("oneOf"))
    real = [_narrow(choice, root, seen) for choice in choices if choice != _NULL]
    nullable: dict[str, Any] = {"nullable": True} if len(real) < len(choices) else {}
    return nullable | (real[0] if len(real) == 1 else {"anyOf": real} if real else {})


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = other | one
    if "properties" in one and "properties" in other:
        merged["properties"] = other["properties"] | one["properties"]
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged


def _mapping(value: object) -> _Schema:
    return cast("_Schema", value) if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return list(cast("list[Any]", value)) if isinstance(value, list | tuple) else []
