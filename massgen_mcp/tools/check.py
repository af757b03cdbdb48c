"""A call's arguments against its tool's schema, with errors that a model learns from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from massgen_mcp.messages import ToolCall, ToolSpec, parse_arguments

__all__ = ["checked_arguments"]

_TYPES: dict[str, tuple[type, str]] = {
    "string": (str, "a string"),
    "integer": (int, "a whole number"),
    "boolean": (bool, "true or false"),
}


def checked_arguments(spec: ToolSpec, call: ToolCall) -> dict[str, Any]:
    """The arguments of a call of that tool. For flat schemas of strings, whole numbers and booleans.

    Raises:
        ValueError: with everything that is wrong, for the model to read.
    """
    try:
        given = parse_arguments(call)
    except ValueError as error:
        raise ValueError(f"The arguments of {spec.name} can't be read: {error}.") from error
    properties: Mapping[str, Any] = spec.parameters["properties"]
    given = {name: value for name, value in given.items() if value is not None or name not in properties}
    wrong = [f"{name} is missing" for name in spec.parameters["required"] if name not in given]
    wrong += [problem for name, value in given.items() if (problem := _problem(properties, name, value))]
    if wrong:
        raise ValueError(f"{spec.name}: {'; '.join(wrong)}. It takes {_signature(spec)}.")
    return given


def _problem(properties: Mapping[str, Any], name: str, value: object) -> str:
    if name not in properties:
        near = difflib.get_close_matches(name, properties, 1)
        return f"{name[:60]!r} is not known" + (f" (did you mean {near[0]}?)" if near else "")
    schema = properties[name]
    kind, words = _TYPES[schema["type"]]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return f"{name} must be {words}"
    if isinstance(value, int):
        if value < schema.get("minimum", value):
            return f"{name} must be at least {schema['minimum']}"
        if value > schema.get("maximum", value):
            return f"{name} must be at most {schema['maximum']}"
    return ""


def _signature(spec: ToolSpec) -> str:
    required = spec.parameters["required"]
    return ", ".join(
        f"{name}{'' if name in required else '?'}: {schema['type']}"
        for name, schema in spec.parameters["properties"].items()
    )
