"""What is known of Claude's models by their names. It only spares requests: what is wrong here is learned."""

from __future__ import annotations

import re

__all__ = ["generation", "most_output", "thinks_adaptively", "thinks_unasked"]

_NUMBERS = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?![\d])")
_NEWEST = (99, 0)
_NO_CLAUDE = (0, 0)

_MOST_OUTPUT: tuple[tuple[tuple[int, int], int], ...] = (
    ((4, 6), 128_000),
    ((4, 2), 64_000),
    ((4, 0), 32_000),
    ((3, 7), 64_000),
    ((3, 5), 8_192),
    ((1, 0), 4_096),
    (_NO_CLAUDE, 8_192),
)
"""From that generation on, the most tokens of one reply, by the vendor's tables of November 2026.

Other models are served in this dialect as well; theirs is what most servers have room for.
"""


def generation(model: str) -> tuple[int, int]:
    """`claude-opus-4-6` is (4, 6), `claude-sonnet-4-20250514` (4, 0); without numbers it is the newest."""
    if "claude" not in model:
        return _NO_CLAUDE
    found = _NUMBERS.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else _NEWEST


def most_output(model: str) -> int:
    """The most tokens that one reply may have, thinking included."""
    born = generation(model)
    return next(most for since, most in _MOST_OUTPUT if born >= since)


def thinks_adaptively(model: str) -> bool:
    """Whether it decides itself how long to think, rather than by a budget."""
    return generation(model) >= (4, 6)


def thinks_unasked(model: str) -> bool:
    """Whether it thinks unless told not to."""
    return generation(model) >= (5, 0)
