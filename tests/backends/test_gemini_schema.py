"""JSON Schema in the two forms that Gemini takes."""

from __future__ import annotations

from typing import Any

import pytest

from massgen_mcp.backends.gemini_schema import has_parameters, to_narrow, without_empty_properties


def test_only_empty_properties_are_left_out_at_any_depth() -> None:
    nothing: dict[str, Any] = {"type": "object", "properties": {}}
    schema: dict[str, Any] = {
        "properties": {"properties": nothing, "list": {"items": nothing}},
        "anyOf": [nothing, True],
        "$defs": {"x": nothing},
        "not": nothing,
        "default": nothing,
        "enum": [nothing],
    }
    assert without_empty_properties(schema) == {
        "properties": {"properties": {"type": "object"}, "list": {"items": {"type": "object"}}},
        "anyOf": [{"type": "object"}, True],
        "$defs": {"x": {"type": "object"}},
        "not": {"type": "object"},
        "default": nothing,
        "enum": [nothing],
    }


@pytest.mark.parametrize(
    ("schema", "takes"),
    [
        ({"type": "object"}, False),
        ({"type": "object", "additionalProperties": False, "title": "x"}, False),
        ({"type": "object", "additionalProperties": True}, True),
        ({"type": "object", "properties": {"a": {}}}, True),
        ({"$ref": "#/$defs/x"}, True),
        ({}, False),
    ],
)
def test_a_function_may_take_nothing(
    schema: dict[str, Any],
    takes: bool,  # noqa: FBT001 - a row of the table
) -> None:
    assert has_parameters(schema) is takes


@pytest.mark.parametrize(
    ("schema", "narrow"),
    [
        ({"type": "string", "minLength": 1, "multipleOf": 2}, {"type": "string", "minLength": 1}),
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        ({"type": ["null"]}, {"nullable": True}),
        ({"enum": ["a", "b", None]}, {"type": "string", "enum": ["a", "b"], "nullable": True}),
        ({"type": "integer", "enum": [1, 2]}, {"type": "integer"}),
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"type": "string", "format": "uri"}, {"type": "string"}),
        ({"type": "array"}, {"type": "array", "items": {"type": "string"}}),
        (
            {"type": "array", "items": {"type": "number"}},
            {"type": "array", "items": {"type": "number"}},
        ),
        ({"type": "object", "required": ["a"]}, {"type": "object"}),
        (
            {"type": "object", "properties": {"a": True}, "required": ["a"], "additionalProperties": False},
            {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        ),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "integer", "nullable": True}),
        (
            {"oneOf": [{"type": "integer"}, {"const": "x"}], "description": "d"},
            {"anyOf": [{"type": "integer"}, {"type": "string", "enum": ["x"]}], "description": "d"},
        ),
        ({"anyOf": [{"type": "null"}]}, {"nullable": True}),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "string"}}, "required": ["b"], "title": "t"},
                ],
                "properties": {"c": {"type": "string"}},
            },
            {
                "properties": {"b": {"type": "string"}, "a": {"type": "string"}, "c": {"type": "string"}},
                "required": ["a", "b"],
                "title": "t",
            },
        ),
        (
            {"$ref": "#/$defs/a~1b", "description": "mine", "$defs": {"a/b": {"type": "string"}}},
            {"type": "string", "description": "mine"},
        ),
        ({"allOf": [{"type": "string"}], "minLength": 1}, {"type": "string", "minLength": 1}),
        ({"$ref": "#/$defs/absent"}, {}),
        (
            {
                "properties": {"next": {"$ref": "#/$defs/N"}},
                "$defs": {"N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}},
            },
            {"properties": {"next": {"type": "object", "properties": {"next": {}}}}},
        ),
    ],
)
def test_the_narrow_form_says_what_can_be_said_there(schema: dict[str, Any], narrow: dict[str, Any]) -> None:
    assert to_narrow(schema) == narrow
