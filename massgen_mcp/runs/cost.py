"""What a question would cost, before it is asked."""

from __future__ import annotations

from collections.abc import Iterable

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.usage import Usage

__all__ = ["expected_usd"]

_ANSWER = Usage(requests=1, input=1_500, output=1_000)
_VOTE = Usage(requests=1, input=5_000, output=200)
"""A vote reads the answers of all."""


async def expected_usd(agents: Iterable[tuple[BackendInfo, Options]], prices: Prices) -> float | None:
    """US dollars for a typical question with one ballot; None as soon as one price is not known."""
    total = 0.0
    for info, options in agents:
        cost, _ = await prices.cost(info, options, _ANSWER + _VOTE)
        if cost is None:
            return None
        total += cost
    return round(total, 4)
