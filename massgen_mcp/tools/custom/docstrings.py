"""A docstring's own words: what a function is for, and what each parameter means."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Documented", "read_docstring"]

_SECTIONS = frozenset(
    {
        "args",
        "arguments",
        "attributes",
        "example",
        "examples",
        "keyword args",
        "keyword arguments",
        "note",
        "notes",
        "other parameters",
        "parameters",
        "params",
        "raises",
        "references",
        "return",
        "returns",
        "see also",
        "security",
        "supported file types",
        "todo",
        "warning",
        "warnings",
        "yield",
        "yields",
    }
)
_PARAMETERS = frozenset(
    {"args", "arguments", "keyword args", "keyword arguments", "other parameters", "parameters", "params"}
)
_KEPT = frozenset({"example", "examples", "note", "notes"})
"""Sections that tell a model how to use it."""
_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\w+)*)(?:\s*:.*)?")
_SPHINX = re.compile(r":param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
_FIELD = re.compile(r":\w+[^:]*:")
_RULE = re.compile(r"-{3,}\s*")


@dataclass(frozen=True, slots=True)
class Documented:
    """What a docstring says."""

    description: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])


def read_docstring(text: str | None) -> Documented:
    """Read Google's, numpy's or Sphinx's form, whichever it is."""
    lines = inspect.cleandoc(text or "").splitlines()
    kept: list[str] = []
    found: dict[str, str] = {}
    for title, body in _sections(lines):
        if title == "" or title in _KEPT:
            kept += [*([f"{title.capitalize()}:"] if title else []), *_without_fields(body, found)]
        elif title in _PARAMETERS:
            found |= _parameters(body)
    description = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    return Documented(description, found)


def _sections(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    title, body = "", list[str]()
    index = 0
    while index < len(lines):
        name = lines[index].strip().lower()
        underlined = index + 1 < len(lines) and bool(_RULE.fullmatch(lines[index + 1]))
        bare = name.removesuffix(":")
        if bare in _SECTIONS and not lines[index].startswith(" ") and (underlined or name.endswith(":")):
            yield title, body
            title, body = bare, []
            index += 2 if underlined else 1
            continue
        body.append(lines[index])
        index += 1
    yield title, body


def _parameters(body: Sequence[str]) -> dict[str, str]:
    """Google's `name (type): text` on deeper lines, or numpy's `name : type` with the text below."""
    depths = [len(line) - len(line.lstrip()) for line in body if line.strip()]
    shallow = min(depths, default=0)
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in body:
        words = line.strip()
        if not words:
            continue
        if len(line) - len(line.lstrip()) > shallow:
            for name in names:
                found[name].append(words)
        elif shallow and (match := _GOOGLE.fullmatch(words)):
            names = [match[1]]
            found[match[1]] = [match[2]]
        elif match := _NUMPY.fullmatch(words):
            names = re.split(r"\s*,\s*", match[1])
            found |= {name: list[str]() for name in names}
        else:
            names = []
    return {name: " ".join(words).strip() for name, words in found.items()}


def _without_fields(body: Sequence[str], found: dict[str, str]) -> list[str]:
    """The lines that are not Sphinx fields; what `:param name:` says goes into `found`."""
    kept: list[str] = []
    name: str | None = None
    inside = False
    for line in body:
        words = line.strip()
        if match := _SPHINX.match(words):
            name, inside = str(match[1]), True
            found[name] = match[2]
        elif _FIELD.match(words):
            name, inside = None, True
        elif inside and line.startswith(" ") and words:
            if name is not None:
                found[name] = f"{found[name]} {words}".strip()
        else:
            name, inside = None, False
            kept.append(line)
    return kept
