"""The parameters of a chat completion: what the team file sets, what a model refuses, what was left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from massgen_mcp.backends import parameters

__all__ = ["Parameters", "refused_by"]

_ORDINARY_WORDS = frozenset({"plugins", "reasoning", "seed", "stop", "thinking"})
_QUOTE = "['\"`]"


class Parameters(parameters.Parameters):
    """Those of a chat completion."""

    def __init__(self, wanted: Mapping[str, Any], refused: Collection[str]) -> None:
        super().__init__(wanted, refused)
        if "max_tokens" in self.left_out and "max_completion_tokens" not in refused:
            # The same limit under the name that newer models want.
            self._sent["max_completion_tokens"] = wanted["max_tokens"]
            self.left_out = tuple(name for name in self.left_out if name != "max_tokens")

    def body(self, extra_body: Mapping[str, Any]) -> dict[str, Any]:
        """Their part of the request's body; `extra_body` of the team file wins over all others."""
        return {**self.fields(), **extra_body}


def refused_by(sent: Collection[str], param: str | None, words: str) -> str | None:
    """Which of the parameters sent a provider's refusal is about; None when it is about something else.

    Args:
        sent: names of parameters.
        param: the field the provider names, as `reasoning.effort`.
        words: what it says.
    """
    field = (param or "").replace("[", ".").split(".")[0]
    if field in sent:
        return field
    found = [name for name in sorted(sent, key=len, reverse=True) if _mentions(words, name)]
    return found[0] if found else None


def _mentions(words: str, name: str) -> bool:
    quoted = rf"{_QUOTE}{name}(?:{_QUOTE}|\.)"
    named = rf"\b(?:parameter|argument|field|option|key)s?\b:? ?(?:supplied: ?)?{name}\b"
    if re.search(f"{quoted}|{named}", words):
        return True
    return name not in _ORDINARY_WORDS and re.search(rf"\b{name}\b", words) is not None
