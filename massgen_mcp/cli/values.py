"""What an option's value may be, for argparse: text in, value out, or why it can't be taken."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError

__all__ = ["count", "days", "names", "port", "positive"]

_HIGHEST_COUNT = 10_000
_HIGHEST_PORT = 65_535


def positive(text: str) -> float:
    """A number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def days(text: str) -> float:
    """A number of days, 0 too."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a number of days")
    return value


def count(text: str) -> int:
    """A whole number of things."""
    if not text.isdecimal() or not 0 < int(text) <= _HIGHEST_COUNT:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_HIGHEST_COUNT}")
    return int(text)


def port(text: str) -> int:
    """A TCP port; 0 lets the system choose."""
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise ArgumentTypeError(f"{text!r} is not a port: a whole number up to {_HIGHEST_PORT}")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """Names, as `fast,code`."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise ArgumentTypeError(f"{text!r} is not a list of names, as fast,code")
    return found


def _number(text: str) -> float:
    """NaN, which no bound holds, where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
