"""What a request, an agent or a run used: tokens, requests and money."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["CostSource", "Usage"]

CostSource: TypeAlias = Literal["provider", "table", "config", "free", "subscription", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Normalised usage. `input` includes what was cached, `output` includes reasoning.

    `cost_usd` is None when no price is known; a sum over parts with an unknown one is the sum of the known,
    and `unpriced` counts the requests it leaves out.
    """

    requests: int = 0
    """Requests that reached a provider."""
    input: int = 0
    output: int = 0
    cached: int = 0
    """Input tokens read from the provider's prompt cache."""
    cache_write: int = 0
    reasoning: int = 0
    searches: int = 0
    """Web searches that the provider made by itself, and bills apart from tokens."""
    cost_usd: float | None = None
    cost_source: CostSource = "unknown"
    unpriced: int = 0

    @property
    def tokens(self) -> int:
        """Input and output together: what a token budget counts."""
        return self.input + self.output

    def __add__(self, other: Usage) -> Usage:
        costs = [part.cost_usd for part in (self, other) if part.cost_usd is not None]
        source = self.cost_source if self.cost_usd is not None else other.cost_source
        return Usage(
            requests=self.requests + other.requests,
            input=self.input + other.input,
            output=self.output + other.output,
            cached=self.cached + other.cached,
            cache_write=self.cache_write + other.cache_write,
            reasoning=self.reasoning + other.reasoning,
            searches=self.searches + other.searches,
            cost_usd=sum(costs) if costs else None,
            cost_source=source,
            unpriced=self.unpriced + other.unpriced,
        )
