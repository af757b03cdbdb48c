"""Figures as people read them."""

from __future__ import annotations

__all__ = ["count_of", "duration", "money", "short_count"]

_MINUTE = 60
_THOUSAND = 1_000
_TEN_THOUSAND = 10_000
_MILLION = 1_000_000


def duration(seconds: float) -> str:
    """`4.2 s`, `12 s`, `1 min 05 s`."""
    if seconds < 9.95:  # noqa: PLR2004 - below it a tenth of a second says something
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < _MINUTE else f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"


def money(usd: float | None) -> str:
    """`$0.0213`, `$1.25`; empty where no price is known."""
    if usd is None:
        return ""
    return f"${usd:.4f}" if 0 < usd < 1 else f"${usd:.2f}"


def short_count(number: int) -> str:
    """`950`, `4.2k`, `31k`, `1.2M`."""
    if number < _THOUSAND:
        return str(number)
    if number < _TEN_THOUSAND:
        return f"{number / _THOUSAND:.1f}k"
    return f"{number // _THOUSAND}k" if number < _MILLION else f"{number / _MILLION:.1f}M"


def count_of(number: int, noun: str) -> str:
    """`1 request`, `4,210 tokens`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
