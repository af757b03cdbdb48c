"""A run's allowance of money, tokens and requests, kept by reservation.

What a request may cost at most is set aside before it is sent and replaced by what it did cost after. So
agents working side by side cannot overdraw together. What is only set aside is not used up: a request that
fits beside what is spent waits until enough of it is free again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import anyio

from massgen_mcp.errors import MassgenError
from massgen_mcp.usage import Usage

__all__ = ["Budget", "BudgetSpent", "Estimate", "Limit", "Reservation"]

Limit: TypeAlias = Literal["usd", "tokens", "requests"]


class BudgetSpent(MassgenError):
    """The next request does not fit. Answers already paid for stay."""

    def __init__(self, limit: Limit, allowed: float, used: float, asked: float) -> None:
        self.limit: Limit = limit
        super().__init__(
            f"The run's budget of {_amount(limit, allowed)} is used up: {_amount(limit, used)} spent, the "
            f"next request may need {_amount(limit, asked)}."
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
    requests: int = 1
    """More than one once tries of it have failed, or a turn under way has made more."""
    used: Usage = field(default_factory=Usage)
    """What a turn under way has used by now, as it says itself."""


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
        self._settled = anyio.Event()

    async def reserve(self, estimate: Estimate) -> Reservation:
        """Set aside one request, as soon as it fits beside what is spent and set aside.

        Raises:
            BudgetSpent: it does not fit beside what is spent, whatever the open requests come to.
        """
        while True:
            self._check((), estimate)
            try:
                self._check(tuple(self._open.values()), estimate)
            except BudgetSpent:
                await self._settled.wait()
            else:
                break
        self._count += 1
        reservation = Reservation(self._count, estimate)
        self._open[reservation.number] = reservation
        return reservation

    def extend(self, reservation: Reservation, requests: int) -> bool:
        """Set aside so many requests in all for one that is tried again; False where they do not fit."""
        others = sum(item.requests for item in self._open.values() if item.number != reservation.number)
        if self.requests is not None and self.spent.requests + others + requests > self.requests:
            return False
        self._open[reservation.number] = replace(reservation, requests=requests)
        return True

    def grow(self, reservation: Reservation, used: Usage) -> None:
        """Set aside more for a turn under way that has used so much by now.

        Raises:
            BudgetSpent: that is more than there is beside what is spent and what other turns under way have
                used; the turn has to stop.
        """
        held = self.held(reservation)
        self._open[reservation.number] = replace(
            held,
            estimate=_grown(held.estimate, used),
            requests=max(held.requests, used.requests),
            used=used,
        )
        begun = [item for item in self._open.values() if item.used.tokens or item.used.requests]
        others = [
            replace(item, estimate=_scaled(item.estimate, item.used), requests=item.used.requests)
            for item in begun
            if item.number != reservation.number
        ]
        self._check(others, _scaled(held.estimate, used), requests=max(1, used.requests))

    def check(self) -> None:
        """Whether there is anything left, before something is used whose price is known only after it.

        Raises:
            BudgetSpent: more than there was is spent already.
        """
        self._check((), Estimate(tokens=0, usd=0.0), requests=0)

    def charge(self, usage: Usage) -> None:
        """Count what was used without having been set aside."""
        self.spent += usage

    def held(self, reservation: Reservation) -> Reservation:
        """What is set aside by now for what was reserved then."""
        return self._open.get(reservation.number, reservation)

    def settle(self, reservation: Reservation, usage: Usage) -> None:
        """Replace what was set aside by what was used, and let those who wait for it try again."""
        self._open.pop(reservation.number, None)
        self.spent += usage
        self._settled.set()
        self._settled = anyio.Event()

    def _check(self, held: Sequence[Reservation], estimate: Estimate, *, requests: int = 1) -> None:
        sent = self.spent.requests + sum(item.requests for item in held)
        _fit("requests", self.requests, sent, requests)
        tokens = self.spent.tokens + sum(item.estimate.tokens for item in held)
        _fit("tokens", self.tokens, tokens, estimate.tokens)
        if estimate.usd is None:
            self.unpriced = True
            if self.tokens is None:
                _fit("tokens", self._unpriced_tokens, tokens, estimate.tokens)
        else:
            usd = (self.spent.cost_usd or 0.0) + sum(item.estimate.usd or 0.0 for item in held)
            _fit("usd", self.usd, usd, estimate.usd)


def _scaled(estimate: Estimate, used: Usage) -> Estimate:
    """What was used, at its own price, else at that of what was set aside."""
    if estimate.usd is None or used.cost_usd is not None:
        return Estimate(tokens=used.tokens, usd=used.cost_usd)
    return Estimate(tokens=used.tokens, usd=estimate.usd * used.tokens / max(1, estimate.tokens))


def _grown(estimate: Estimate, used: Usage) -> Estimate:
    """What has to be set aside by now: never less than before."""
    return estimate if used.tokens <= estimate.tokens else _scaled(estimate, used)


def _fit(limit: Limit, allowed: float | None, used: float, asked: float) -> None:
    if allowed is not None and used + asked > allowed:
        raise BudgetSpent(limit, allowed, used, asked)
