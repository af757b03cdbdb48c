"""A model's arguments against the schema that it was shown, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

__all__ = ["wrong_arguments"]

_MOST = 5
_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def wrong_arguments(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """What is wrong, in words for the model; empty when nothing is.

    Understands the schemas that this package makes of annotations; whatever else stands in one is passed.
    """
    problems = list(_object(schema, arguments, ""))
    more = f" (and {len(problems) - _MOST} more)" if len(problems) > _MOST else ""
    return "; ".join(problems[:_MOST]) + more


def _object(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[str]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}{name} is missing"
    for name, item in value.items():
        if name in properties:
            yield from _value(properties[name], item, f"{path}{name}")
        elif schema.get("additionalProperties") is False:
            yield f"there is no {path}{name}; known: {', '.join(properties) or 'none'}"
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from _value(schema["additionalProperties"], item, f"{path}{name}")


def _value(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    if options := schema.get("anyOf"):
        if not any(_fits(option, value) for option in options):
            yield f"{path} fits none of its types"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path} must be one of {', '.join(map(repr, schema['enum']))}"
        return
    kinds = schema.get("type")
    names: list[str] = [kinds] if isinstance(kinds, str) else kinds or []
    if names and not any(_is(value, name) for name in names):
        yield f"{path} must be {' or '.join(names)}, not {_kind(value)}"
    elif isinstance(value, list):
        yield from _array(schema, cast("list[Any]", value), path)
    elif isinstance(value, dict):
        yield from _object(schema, cast("dict[str, Any]", value), f"{path}.")


def _array(schema: Mapping[str, Any], value: list[Any], path: str) -> Iterator[str]:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if len(value) < least or (most is not None and len(value) > most):
        yield f"{path} must have {least} items, not {len(value)}"
    for index, item in enumerate(value):
        yield from _value(schema.get("items", {}), item, f"{path}[{index}]")


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    return next(_value(schema, value, ""), None) is None


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS[kind])


def _kind(value: Any) -> str:
    return next(name for name in ("boolean", "integer", *_KINDS) if _is(value, name))
