"""What a request costs: the configuration's word, nothing for what is free, else the price table's."""

from __future__ import annotations

from types import ModuleType

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options, Price
from massgen_mcp.backends.sdk import load
from massgen_mcp.usage import CostSource, Usage

__all__ = ["Prices", "cost_at", "reported_cost", "reported_stands"]

_MILLION = 1_000_000
_MOST_USD = 1_000
"""No request costs more; who says so counts in another unit, or wants to end the run."""


def cost_at(price: Price, usage: Usage) -> float:
    """US dollars for a usage at given prices; what the cache gave costs `cached`, or as much as new input."""
    cached_price = price.input if price.cached is None else price.cached
    cached = min(usage.cached, usage.input)
    new = usage.input - cached
    return (new * price.input + cached * cached_price + usage.output * price.output) / _MILLION


def reported_cost(value: object, *, per_usd: int = 1) -> float | None:
    """US dollars as a provider reports them for one request; None for what can't be a cost.

    Args:
        value: what the provider sent.
        per_usd: how many of its units make a dollar.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # Neither infinity nor what is not a number lies between; only then may it be divided.
    return value / per_usd if 0 <= value <= _MOST_USD * per_usd else None


def reported_stands(reported: float | None, price: Price | None) -> bool:
    """Whether the provider's own word on a cost holds; a 0, which some always send, yields to a price."""
    return reported is not None and (reported > 0 or price is None)


class Prices:
    """The price table of a package that is loaded when the first price is asked for; never online."""

    def __init__(self) -> None:
        self._module: ModuleType | None = None

    async def cost(
        self, info: BackendInfo, options: Options, usage: Usage, *, served: str = ""
    ) -> tuple[float | None, CostSource]:
        """US dollars for a usage, and who says so; None and `unknown` where nobody knows.

        Web searches that the provider made are part of it, as the table prices them; code that it ran is not.

        Args:
            info: the backend's row.
            options: its block of the team file; a `price` there wins.
            usage: what is to be paid.
            served: the model as the provider named it, tried before the one asked for.
        """
        if options.price is not None:
            searches = Usage(searches=usage.searches)
            beside = await self._listed(info, options, searches, served) if usage.searches else None
            return cost_at(options.price, usage) + (beside or 0.0), "config"
        if info.free:
            return 0.0, "free"
        cost = await self._listed(info, options, usage, served)
        return cost, "unknown" if cost is None else "table"

    async def _listed(self, info: BackendInfo, options: Options, usage: Usage, served: str) -> float | None:
        """What the table says; None where it does not know the model."""
        if info.price_provider is None:
            return None
        if self._module is None:
            self._module = await load("genai_prices")
        asked = options.model or info.default_model or ""
        for model in dict.fromkeys((served, info.aliases.get(asked, asked))):
            cost = _look_up(self._module, info.price_provider, model, usage)
            if cost is not None:
                return cost
        return None

    async def context_window(self, info: BackendInfo, options: Options) -> int | None:
        """How many tokens a model takes in, where the table knows."""
        if info.price_provider is None:
            return None
        if self._module is None:
            self._module = await load("genai_prices")
        asked = options.model or info.default_model or ""
        counts = self._module.Usage(input_tokens=1, output_tokens=1)
        try:
            found = self._module.calc_price(
                counts, info.aliases.get(asked, asked), provider_id=info.price_provider
            )
        except (LookupError, ValueError):
            return None
        window: int | None = found.model.context_window
        return window


def _look_up(table: ModuleType, provider: str, model: str, usage: Usage) -> float | None:
    if not model:
        return None
    # The table refuses a cache share above the whole, which some gateways report.
    cached = min(usage.cached, usage.input)
    written = min(usage.cache_write, usage.input - cached)
    counts = table.Usage(
        input_tokens=usage.input,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=usage.output,
        web_searches=usage.searches,
    )
    try:
        return float(table.calc_price(counts, model, provider_id=provider).total_price)
    except (LookupError, ValueError):
        return None
