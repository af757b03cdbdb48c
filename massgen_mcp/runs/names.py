"""Names of runs: short enough to say, sortable by time, unlikely to meet."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

__all__ = ["new_run_id"]

_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"
"""Without characters that look like others."""


def new_run_id(now: float, random: Random) -> str:
    """`20261122-0241-k7f3qx`: the minute in UTC, and six characters of chance."""
    stamp = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%d-%H%M")
    return f"{stamp}-{''.join(random.choice(_ALPHABET) for _ in range(6))}"
