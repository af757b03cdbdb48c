from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from massgen_mcp.backends.local_grammar import Bounds, Grammar, make_grammar
from massgen_mcp.errors import BackendError

ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": ["new_answer"]},
        "content": {"type": "string", "description": "The whole answer."},
        "conclusion": {"type": "string", "maxLength": 80},
    },
    "required": ["action", "content", "conclusion"],
    "additionalProperties": False,
}
VOTE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": ["vote"]},
        "add": {"type": "array", "items": {"enum": ["agent1.1", "agent2.1"]}, "maxItems": 2},
        "answer": {"type": "string", "enum": ["agent1.1", "agent2.1"]},
        "reason": {"type": "string", "maxLength": 200},
    },
    "required": ["action", "answer", "reason"],
    "additionalProperties": False,
}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\w+|\{\d+,\d*\}|[|()?]|\s+')

_ESCAPES = {"n": "\n", "r": "\r"}


def language(grammar: Grammar) -> re.Pattern[str]:
    """The grammar as a regular expression: none of ours is recursive."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.text.splitlines())

    def expand(expression: str) -> str:
        parts: list[str] = []
        for token in _TOKEN.findall(expression):
            if token[0] == '"':
                literal = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token[1:-1])
                parts.append(f"(?:{re.escape(literal)})")
            elif token in rules:
                parts.append(f"(?:{expand(rules[token])})")
            elif not token.isspace():
                parts.append("(?:" if token == "(" else token)
        return "".join(parts)

    return re.compile(expand(rules["root"]), re.DOTALL)


def fits(schema: Mapping[str, Any], text: str, bounds: Bounds | None = None) -> bool:
    grammar = make_grammar(schema, bounds or Bounds(string=60))
    found = language(grammar).fullmatch(text)
    assert found is None or len(text) <= grammar.length
    return found is not None


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        (
            ANSWER,
            '{"action":"new_answer","content":"x","conclusion":""}',
            '{"action":"new_answer","content":"x"}',
        ),
        (ANSWER, '{"action":"new_answer","content":"a\\n\\"b\\"","conclusion":"b"}', "{}"),
        (ANSWER, '{"action":"new_answer","content":"é 中","conclusion":"b"}', '{"action": "new_answer"}'),
        (
            VOTE,
            '{"action":"vote","answer":"agent2.1","reason":"r"}',
            '{"action":"vote","answer":"me","reason":"r"}',
        ),
        (
            VOTE,
            '{"action":"vote","answer":"agent2.1","reason":"r","add":["agent1.1","agent2.1"]}',
            '{"action":"vote","answer":"agent2.1","reason":"r","add":["agent1.1","agent2.1","agent1.1"]}',
        ),
        (
            VOTE,
            '{"action":"vote","answer":"agent1.1","reason":"r","add":[]}',
            '{"action":"vote","answer":"agent1.1"}',
        ),
        ({"anyOf": [ANSWER, VOTE]}, '{"action":"vote","answer":"agent1.1","reason":""}', "null"),
        ({"type": "integer"}, "-12", "1.5"),
        ({"type": "integer"}, "0", "007"),
        ({"type": "number"}, "3.25", "1e5"),
        ({"type": "boolean"}, "true", "True"),
        ({"type": ["string", "null"]}, "null", "nil"),
        ({"type": ["string", "null"], "maxLength": 2}, '"ab"', '"abc"'),
        ({"const": 'a "b" \\ c\n'}, json.dumps('a "b" \\ c\n'), '"a"'),
        ({"enum": [1, "one", None, {"a": 1}]}, '{"a":1}', "2"),
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"ab"', '"a"'),
        ({"type": "string", "minLength": 70}, json.dumps("x" * 70), json.dumps("x" * 71)),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}, "[1,2]", "[]"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, "[1,2]", "[1]"),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 1}, "[1]", "[1,2]"),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, "[]", "[1]"),
        ({"type": "array", "items": {"anyOf": [{"const": 1}, {"const": 2}]}}, "[1,2,1]", "[1 2]"),
        (
            {"type": "array", "items": {"type": "boolean"}},
            f"[{','.join(['true'] * 8)}]",
            f"[{','.join(['true'] * 9)}]",
        ),
        ({"properties": {"a": {"type": "null"}}, "required": ["a"]}, '{"a":null}', '{"a": null}'),
        ({"type": "object"}, "{}", "{ }"),
    ],
)
def test_a_grammar_takes_what_fits_the_schema_and_nothing_else(
    schema: dict[str, Any], yes: str, no: str
) -> None:
    assert fits(schema, yes)
    assert not fits(schema, no)


@pytest.mark.parametrize("text", ['"\\u00e9"', '"\\ud800"', '"\x07"', '"\n"', '"\\b"', '"unfinished'])
def test_escapes_that_can_hide_something_are_not_written(text: str) -> None:
    assert not fits({"type": "string"}, text)


def test_bounds_hold_where_the_schema_has_none() -> None:
    bounds = Bounds(string=3, items=1, least=1, optional=False)

    assert fits({"type": "string"}, '"abc"', bounds)
    assert not fits({"type": "string"}, '"abcd"', bounds)
    assert not fits({"type": "string"}, '""', bounds)
    assert fits({"type": "string", "maxLength": 0}, '""', bounds)
    assert not fits({"type": "array", "items": {"type": "integer"}}, "[1,2]", bounds)
    assert not fits(VOTE, '{"action":"vote","answer":"agent1.1","reason":"r","add":[]}', bounds)


@settings(deadline=None)
@given(
    content=st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60),
    conclusion=st.text('ab "\\\n', max_size=30),
)
def test_whatever_fits_is_taken(content: str, conclusion: str) -> None:
    value = {"action": "new_answer", "content": content, "conclusion": conclusion}

    assert fits(ANSWER, json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    assert not fits(ANSWER, json.dumps(value, ensure_ascii=False))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "pattern": "a+"}, "schema uses pattern"),
        ({"type": "integer", "minimum": 3}, "schema uses minimum"),
        ({"$ref": "#/$defs/a"}, "no type that is known"),
        ({"type": "date"}, "no type that is known here ('date')"),
        ({"type": ["string", 3]}, "no type that is known here (3)"),
        ({"type": []}, "schema.type is not a list"),
        ({"anyOf": []}, "schema.anyOf is not a list"),
        ({"anyOf": [{"type": "null"}], "type": "null"}, "has type beside anyOf"),
        ({"enum": "a"}, "schema.enum is not a list"),
        ({"type": "array"}, "schema.items is not an object"),
        ({"type": "array", "items": {"type": "null"}, "maxItems": -1}, "maxItems that is not a whole number"),
        ({"type": "string", "maxLength": True}, "maxLength that is not a whole number"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "maxLength below its minLength"),
        ({"properties": {"a": {"type": "x"}}, "required": ["a"]}, "schema.a has no type"),
        ({"properties": {}, "required": ["a"]}, "requires a, which it does not describe"),
        ({"properties": {"a": {"type": "null"}}}, "requires none of its properties"),
    ],
)
def test_what_a_grammar_cannot_hold_is_refused_by_place(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(BackendError, match=re.escape(words)) as caught:
        make_grammar(schema, Bounds(string=60))

    assert caught.value.kind == "bad_request"
    assert not caught.value.connected


def test_a_schema_that_never_ends_is_refused() -> None:
    schema: dict[str, Any] = {"type": "array"}
    schema["items"] = schema

    with pytest.raises(BackendError, match="nested more than"):
        make_grammar(schema, Bounds(string=60))
