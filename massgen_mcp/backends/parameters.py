"""The parameters of a request: what is wanted, what the model refuses, what was left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["Parameters"]


class Parameters:
    """What to send besides the conversation and the tools.

    Args:
        wanted: by name, `reasoning.effort` for a field of a field; None is left out.
        refused: names that this model refused before.
    """

    def __init__(self, wanted: Mapping[str, Any], refused: Collection[str]) -> None:
        present = {name: value for name, value in wanted.items() if value is not None}
        self.left_out = tuple(sorted(name for name in present if name in refused))
        self._sent = {name: value for name, value in present.items() if name not in refused}

    @property
    def names(self) -> frozenset[str]:
        """What is sent."""
        return frozenset(self._sent)

    def fields(self) -> dict[str, Any]:
        """As fields of the request's body."""
        body: dict[str, Any] = {}
        for name, value in self._sent.items():
            *outer, last = name.split(".")
            inner = body
            for field in outer:
                inner = inner.setdefault(field, {})
            inner[last] = value
        return body
