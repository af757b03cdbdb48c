"""The strategies by name. A module of this package with a known name and a `STRATEGY` is one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType

from massgen_mcp.engine.commands import Strategy
from massgen_mcp.errors import RequestRefused

__all__ = ["STRATEGIES", "StrategyNotFound", "available_strategies", "strategy"]

STRATEGIES: Mapping[str, str] = MappingProxyType(
    {
        "auto": "stops when blind answers agree, else one vote, else the leader's author once more",
        "vote": "blind answers, votes or better answers until all have voted; the winner presents",
        "synthesize": "answers, a comparison of them, one writer",
        "refine": "answers, each revises once seeing all, a vote",
        "best_of": "one model several times, until enough agree",
        "verify": "answers ranked by an executable check; the vote breaks ties",
        "review": "an author, critics with fixed roles, the author's revision",
        "cascade": "the cheapest agent first, the next on low confidence or disagreement",
        "decompose": "each agent owns a part; a presenter merges them",
    }
)
"""Every name there is or will be, with what it does."""


class StrategyNotFound(RequestRefused, LookupError):
    """No strategy of that name can be used."""


def available_strategies() -> tuple[str, ...]:
    """The names that `strategy` takes, the default first."""
    return tuple(name for name in STRATEGIES if _exists(name))


def strategy(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        StrategyNotFound: there is none, or it is known but not available yet; the text lists those that are.
    """
    if name not in STRATEGIES or not _exists(name):
        state = "is known but not available yet" if name in STRATEGIES else "is unknown"
        raise StrategyNotFound(f"Strategy {name!r} {state}. Available: {', '.join(available_strategies())}.")
    found: Strategy = import_module(f"{__package__}.{name}").STRATEGY
    return found


def _exists(name: str) -> bool:
    return find_spec(f"{__package__}.{name}") is not None
