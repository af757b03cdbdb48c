# ruff: noqa: INP001 - beside the pages that it serves, not a package
"""Small pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["code", "table", "variables_as_code"]


def code(names: Iterable[str]) -> str:
    """The names as code, with commas between."""
    return ", ".join(f"`{name}`" for name in names)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, a line each row."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def variables_as_code(text: str) -> str:
    """The text with the names of environment variables in it as code."""
    return re.sub(r"\b[A-Z]+(?:_[A-Z]+)+\b", lambda match: f"`{match.group()}`", text)
