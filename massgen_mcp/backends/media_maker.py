"""One account that makes things beside its models' replies: how an order is placed and paid."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

import anyio

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.errors import BackendError
from massgen_mcp.usage import Usage

__all__ = ["Explain", "MediaMaker"]

_SECONDS = 300.0
"""A large picture takes two minutes."""

Explain: TypeAlias = Callable[[Exception, Failures], BackendError]


class MediaMaker:
    """What the makers of all providers share.

    Args:
        context: the row, for prices.
        account: who is asked, with the model for pictures.
        prices: the table.
        errors: what calls through the provider's client may raise.
        explain: makes one of them ours.
    """

    def __init__(
        self,
        context: BackendContext,
        account: Account,
        prices: Prices,
        *,
        errors: tuple[type[Exception], ...],
        explain: Explain,
    ) -> None:
        self._info = context.info
        self._failures = account.failures
        self._painter = account.model
        self._prices = prices
        self._errors = errors
        self._explain = explain
        self.seconds = _SECONDS
        """Limit of one order."""

    @contextmanager
    def _order(self, model: str) -> Generator[Failures]:
        """One order of that model, within the limit and never repeated: it may have been made."""
        failures = replace(self._failures, model=model)
        try:
            with anyio.fail_after(self.seconds):
                yield failures
        except TimeoutError:
            what = f"{failures.title} took longer than {self.seconds:g} s"
            raise failures.make("timeout", what, remedy="Ask for less.") from None
        except (BackendError, *self._errors) as error:
            failure = error if isinstance(error, BackendError) else self._explain(error, failures)
            failure.retryable = False
            raise failure from None

    async def _priced(self, usage: Usage, model: str, *, served: str = "") -> Usage:
        options = Options(type=self._info.type, model=model)
        cost, source = await self._prices.cost(self._info, options, usage, served=served)
        return replace(usage, cost_usd=cost, cost_source=source)
