"""Problems in words: what pydantic found, unknown keys, and whole lists of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.config.tree import Value
from massgen_mcp.errors import Problem

__all__ = ["in_order", "of_validation", "report", "unknown_key"]

_REPORT_BYTES = 4_000
_CLOSE = 0.7
_OWN_FORMS = ("agent_config",)
"""Keys that a model folds into the mapping around them."""

_WORDS: Mapping[str, str] = {
    "missing": "required, and missing",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long",
    "string_pattern_mismatch": "holds characters that are not allowed here",
    "too_short": "must not be empty",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("must be more than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
}
_QUOTES = "Put it in quotes."


def of_validation(
    error: ValidationError, model: type[BaseModel], value: Value, path: KeyPath, places: Places
) -> Iterator[Problem]:
    """What pydantic found below `path`, one problem a place, without any value."""
    found: dict[KeyPath, list[tuple[str, str]]] = {}
    for detail in error.errors(include_url=False):
        at = (*path, *_in_file(detail["loc"], value))
        if detail["type"] == "extra_forbidden":
            yield unknown_key(str(at[-1]), at, _keys_below(model), places)
            continue
        found.setdefault(at, []).append(_words(cast("dict[str, Any]", detail)))
    for at, texts in found.items():
        # The alternatives of a union are one problem.
        message = " or ".join(dict.fromkeys(message for message, _ in texts))
        yield places.problem(at, message, hint=next((hint for _, hint in texts if hint), ""))


def _keys_below(model: type[BaseModel]) -> set[str]:
    """Every key that the model or a model inside it has."""
    schema = model.model_json_schema()
    parts: list[dict[str, Any]] = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", ())}


def _in_file(location: Sequence[str | int], value: Value) -> list[str | int]:
    """The location as it is in the file: without the parts that models and unions add."""
    here = value
    path: list[str | int] = []
    known = True
    for part in location:
        steps = _steps(here, part, counted=known)
        known = bool(steps)
        for key, below in steps:
            path.append(key)
            here = below
    missing = location[-1] if location and not known else None
    return [*path, missing] if isinstance(missing, str) and isinstance(here, dict) else path


def _steps(here: Value, part: str | int, *, counted: bool) -> list[tuple[str | int, Value]]:
    """The keys from here to where the part leads; none when the file has no such part.

    `counted`: a number may mean the nth key, of a mapping that a model made a list of.
    """
    match here:
        case list() if isinstance(part, int) and part < len(here):
            return [(part, here[part])]
        case dict() if isinstance(part, int) and counted and part < len(here):
            return [list(here.items())[part]]
        case dict() if isinstance(part, str) and part in here:
            return [(part, here[part])]
        case dict() if isinstance(part, str):
            for form in _OWN_FORMS:
                inner = here.get(form)
                if isinstance(inner, dict) and part in inner:
                    return [(form, inner), (part, inner[part])]
            return []
        case _:
            return []


def _words(detail: dict[str, Any]) -> tuple[str, str]:
    kind: str = detail["type"]
    context: Mapping[str, Any] = detail.get("ctx") or {}
    if kind == "value_error":
        return str(context.get("error", "is not valid")), ""
    if kind == "string_type":
        return _text_words(detail.get("input"))
    if kind == "literal_error":
        return _choice(str(context.get("expected", "")), detail.get("input"))
    if kind in _BOUNDS:
        text, key = _BOUNDS[kind]
        return text.format(_number(context.get(key))), ""
    return _WORDS.get(kind, "is not valid"), ""


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _text_words(value: object) -> tuple[str, str]:
    if isinstance(value, bool):
        return "must be text, and YAML reads yes, no, on and off as true or false", _QUOTES
    if isinstance(value, int | float):
        return "must be text, and this is a number", _QUOTES
    return "must be text", ""


def _choice(expected: str, value: object) -> tuple[str, str]:
    choices = [word.strip().strip("'") for word in expected.replace(" or ", ", ").split(",")]
    choices = [{"False": "false", "True": "true"}.get(word, word) for word in choices]
    close = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.6) if isinstance(value, str) else []
    return f"must be one of {', '.join(choices)}", f"Did you mean {close[0]!r}?" if close else ""


def unknown_key(
    key: str, path: KeyPath, known: Iterable[str], places: Places, *, elsewhere: str = "", more: str = ""
) -> Problem:
    """An unknown key, with where it belongs, else with the one that was probably meant."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=_CLOSE)
    hints = [f"Did you mean {close[0]!r}?"] if close and not elsewhere else []
    return places.problem(path, "unknown key", hint=" ".join([*hints, elsewhere or more]).strip())


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sorted by line, those about the file as a whole first; nothing twice."""
    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=lambda problem: (problem.line or 0, problem.column or 0)))


def report(problems: Iterable[Problem]) -> str:
    """The problems as text of at most 4 kB, errors first."""
    ranked = sorted(problems, key=lambda problem: ("error", "warning", "notice").index(problem.severity))
    lines = [str(problem) for problem in ranked]
    text = "\n".join(lines)
    left = 0
    while len(text.encode()) > _REPORT_BYTES and lines:
        lines.pop()
        left += 1
        text = "\n".join([*lines, f"... and {left} more"])
    return text
