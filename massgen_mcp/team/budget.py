"""A run's allowance of money, tokens and requests, kept by reservation.

What a request may cost at most is set aside before it is sent and replaced by what it did cost after. So
agents working side by side cannot overdraw together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from massgen_mcp.errors import MassgenError
from massgen_mcp.usage import Usage

__all__ = ["Budget", "BudgetSpent", "Estimate", "Limit", "Reservation"]

Limit: TypeAlias = Literal["usd", "tokens", "requests"]


class BudgetSpent(MassgenError):
    """The next request does not fit. Answers already paid for stay."""

    def __init__(self, limit: Limit, allowed: float, used: float, asked: float) -> None:
        self.limit: Limit = limit
        super().__init__(
            f"The run's budget of {_amount(limit, allowed)} is used up: {_amount(limit, used)} spent or set "
            f"aside, the next request may need {_amount(limit, asked)}."
        )


def _amount(limit: Limit, value: float) -> str:
    return f"${value:.4f}" if limit == "usd" else f"{value:,.0f} {limit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The most a request is expected to use. `usd` is None where no price is known."""

    tokens: int
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for one request."""

    number: int
    estimate: Estimate


class Budget:
    """The allowance of one run. Any limit may be None.

    `unpriced_tokens` holds where a model's price is not known and no token limit is set: a limit in dollars
    could not be kept.
    """

    def __init__(
        self,
        *,
        usd: float | None = None,
        tokens: int | None = None,
        requests: int | None = None,
        unpriced_tokens: int | None = None,
    ) -> None:
        self.usd = usd
        self._unpriced_tokens = unpriced_tokens
        self.tokens = tokens
        self.requests = requests
        self.spent = Usage()
        self.unpriced = False
        """A request was made whose price is not known: the money limit does not hold for it."""
        self._open: dict[int, Reservation] = {}
        self._count = 0

    def reserve(self, estimate: Estimate) -> Reservation:
        """Set aside one request.

        Raises:
            BudgetSpent: it does not fit beside what is spent and set aside.
        """
        held = list(self._open.values())
        self._check("requests", self.requests, self.spent.requests + len(held), 1)
        tokens = self.spent.tokens + sum(item.estimate.tokens for item in held)
        self._check("tokens", self.tokens, tokens, estimate.tokens)
        if estimate.usd is None:
            self.unpriced = True
            if self.tokens is None:
                self._check("tokens", self._unpriced_tokens, tokens, estimate.tokens)
        else:
            usd = (self.spent.cost_usd or 0.0) + sum(item.estimate.usd or 0.0 for item in held)
            self._check("usd", self.usd, usd, estimate.usd)
        self._count += 1
        reservation = Reservation(self._count, estimate)
        self._open[reservation.number] = reservation
        return reservation

    def settle(self, reservation: Reservation, usage: Usage) -> None:
        """Replace what was set aside by what was used."""
        self._open.pop(reservation.number, None)
        self.spent += usage

    @staticmethod
    def _check(limit: Limit, allowed: float | None, used: float, asked: float) -> None:
        if allowed is not None and used + asked > allowed:
            raise BudgetSpent(limit, allowed, used, asked)
