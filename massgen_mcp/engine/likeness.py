"""How much two texts have in common."""

from __future__ import annotations

import re

__all__ = ["likeness"]

_WORD = re.compile(r"\w+")


def likeness(one: str, other: str) -> float:
    """The share of all their different words, in lower case, that stand in both texts: 0 to 1.

    The Jaccard index that MassGen's `answer_novelty_requirement` goes by.
    """
    mine, theirs = (set(_WORD.findall(text.casefold())) for text in (one, other))
    return len(mine & theirs) / len(mine | theirs) if mine or theirs else 1.0
