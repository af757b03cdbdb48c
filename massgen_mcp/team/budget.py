"""A run's allowance of money, tokens and requests, kept by reservation.

What a request may cost at most is set aside before it is sent and replaced by what it did cost after. So
agents working side by side cannot overdraw together. What is only set aside is not used up: a request that
fits beside what is spent waits until enough of it is free again.

A round and a turn have budgets of their own, parts of the run's: what is set aside there is set aside in the
whole, too. Where both are used up, the whole is what is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal, TypeAlias

import anyio

from massgen_mcp.errors import MassgenError
from massgen_mcp.usage import Usage

__all__ = ["Budget", "BudgetSpent", "Estimate", "Limit", "Reservation", "Scope", "Share"]

Limit: TypeAlias = Literal["usd", "tokens", "requests"]
Scope: TypeAlias = Literal["run", "round", "turn", "request"]
"""What a limit holds for."""


class BudgetSpent(MassgenError):
    """The next request does not fit. Answers already paid for stay."""

    def __init__(
        self, limit: Limit, allowed: float, used: float, asked: float, *, scope: Scope = "run"
    ) -> None:
        self.limit: Limit = limit
        self.scope: Scope = scope
        most, needed = _amount(limit, allowed), _amount(limit, asked)
        if scope == "request":
            words = (
                f"One request may use {most} (`budget.per_request.{limit}`), and the next may need {needed}: "
                "its prompt and `max_tokens`. Raise the one or lower the other."
            )
        else:
            key = "" if scope == "run" else f" (`budget.per_{scope}.{limit}`)"
            words = (
                f"The {scope}'s budget of {most}{key} is used up: {_amount(limit, used)} spent, the next "
                f"request may need {needed}."
            )
        super().__init__(words)

    @property
    def ends_run(self) -> bool:
        """Whether no turn has anything left to spend; else only this one ends, and others go on."""
        return self.scope == "run"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a part of a run may use; None: no limit but the run's."""

    usd: float | None = None
    tokens: int | None = None
    requests: int | None = None
    seconds: float | None = None


class _Account:
    """What is allowed, spent and set aside in one run, or one part of it."""

    def __init__(self, scope: Scope, share: Share, *, unpriced_tokens: int | None = None) -> None:
        self.scope: Scope = scope
        self.share = share
        self.unpriced_tokens = unpriced_tokens
        self.spent = Usage()
        self.unpriced = False
        self.open: dict[int, Reservation] = {}

    @property
    def held(self) -> tuple[Reservation, ...]:
        """What is set aside."""
        return tuple(self.open.values())

    def has_requests(self, reservation: Reservation, requests: int) -> bool:
        """Whether so many requests fit in the place of one reservation."""
        others = sum(item.requests for item in self.held if item.number != reservation.number)
        most = self.share.requests
        return most is None or self.spent.requests + others + requests <= most

    def under_way(self, reservation: Reservation) -> list[Reservation]:
        """What the others of those under way have used, as if no more had been set aside for them."""
        return [
            replace(item, estimate=_scaled(item.estimate, item.used), requests=item.used.requests)
            for item in self.held
            if item.number != reservation.number and (item.used.tokens or item.used.requests)
        ]

    def check(self, held: Sequence[Reservation], estimate: Estimate, *, requests: int = 1) -> None:
        """Whether so much fits beside what is spent and held.

        Raises:
            BudgetSpent: it does not.
        """
        share, scope = self.share, self.scope
        sent = self.spent.requests + sum(item.requests for item in held)
        _fit("requests", share.requests, sent, requests, scope)
        tokens = self.spent.tokens + sum(item.estimate.tokens for item in held)
        _fit("tokens", share.tokens, tokens, estimate.tokens, scope)
        if estimate.usd is None:
            self.unpriced = True
            if share.tokens is None:
                _fit("tokens", self.unpriced_tokens, tokens, estimate.tokens, scope)
        else:
            usd = (self.spent.cost_usd or 0.0) + sum(item.estimate.usd or 0.0 for item in held)
            _fit("usd", share.usd, usd, estimate.usd, scope)


class _Queue:
    """Who waits for something to be settled, and the number of the next reservation."""

    def __init__(self) -> None:
        self.settled = anyio.Event()
        self.numbers = count(1)

    def wake(self) -> None:
        self.settled.set()
        self.settled = anyio.Event()


class Budget:
    """The allowance of one run, or of a part of it. Any limit may be None.

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
        part: tuple[Budget, Scope] | None = None,
        each: Share | None = None,
    ) -> None:
        whole, scope = part or (None, "run")
        share = Share(usd=usd, tokens=tokens, requests=requests)
        self._own = _Account(scope, share, unpriced_tokens=unpriced_tokens)
        self._each = each or Share()
        self._accounts: tuple[_Account, ...] = (self._own,)
        """The run's first: what is used up there ends more than what is used up here."""
        self._queue = _Queue()
        if whole is not None:
            self._accounts = (*whole._accounts, self._own)  # noqa: SLF001 - of this class
            self._queue = whole._queue  # noqa: SLF001 - of this class

    @property
    def usd(self) -> float | None:
        """The limit in US dollars."""
        return self._own.share.usd

    @property
    def spent(self) -> Usage:
        """What is used and settled."""
        return self._own.spent

    @property
    def unpriced(self) -> bool:
        """Whether a request was made whose price is not known: the money limit does not hold for it."""
        return self._own.unpriced

    def part(self, scope: Scope, share: Share, *, each: Share | None = None) -> Budget:
        """A budget for a part of this one. What is set aside, used and charged there counts here, too.

        Args:
            scope: what kind of part.
            share: what may be used there; its seconds are not kept here.
            each: what each single request there may need: tokens and dollars, and how often it is sent.
        """
        return Budget(
            usd=share.usd, tokens=share.tokens, requests=share.requests, part=(self, scope), each=each
        )

    async def reserve(self, estimate: Estimate) -> Reservation:
        """Set aside one request, as soon as it fits beside what is spent and set aside.

        Raises:
            BudgetSpent: it does not fit beside what is spent, whatever the open requests come to.
        """
        while True:
            for account in self._accounts:
                account.check((), estimate)
            self._check_each(estimate)
            try:
                for account in self._accounts:
                    account.check(account.held, estimate)
            except BudgetSpent:
                await self._queue.settled.wait()
            else:
                break
        reservation = Reservation(next(self._queue.numbers), estimate)
        self._hold(reservation)
        return reservation

    def extend(self, reservation: Reservation, requests: int) -> bool:
        """Set aside so many requests in all for one that is tried again; False where they do not fit."""
        if self._each.requests is not None and requests > self._each.requests:
            return False
        if not all(account.has_requests(reservation, requests) for account in self._accounts):
            return False
        self._hold(replace(reservation, requests=requests))
        return True

    def grow(self, reservation: Reservation, used: Usage) -> None:
        """Set aside more for a turn under way that has used so much by now.

        Raises:
            BudgetSpent: that is more than there is beside what is spent and what other turns under way have
                used; the turn has to stop.
        """
        held = self.held(reservation)
        estimate, requests = _grown(held.estimate, used), max(held.requests, used.requests)
        self._hold(replace(held, estimate=estimate, requests=requests, used=used))
        for account in self._accounts:
            others = account.under_way(reservation)
            account.check(others, _scaled(held.estimate, used), requests=max(1, used.requests))

    def check(self) -> None:
        """Whether there is anything left, before something is used whose price is known only after it.

        Raises:
            BudgetSpent: more than there was is spent already.
        """
        for account in self._accounts:
            account.check((), Estimate(tokens=0, usd=0.0), requests=0)

    def charge(self, usage: Usage) -> None:
        """Count what was used without having been set aside."""
        for account in self._accounts:
            account.spent += usage

    def held(self, reservation: Reservation) -> Reservation:
        """What is set aside by now for what was reserved then."""
        return self._own.open.get(reservation.number, reservation)

    def settle(self, reservation: Reservation, usage: Usage) -> None:
        """Replace what was set aside by what was used, and let those who wait for it try again."""
        for account in self._accounts:
            account.open.pop(reservation.number, None)
        self.charge(usage)
        self._queue.wake()

    def _hold(self, reservation: Reservation) -> None:
        for account in self._accounts:
            account.open[reservation.number] = reservation

    def _check_each(self, estimate: Estimate) -> None:
        _fit("tokens", self._each.tokens, 0, estimate.tokens, "request")
        if estimate.usd is not None:
            _fit("usd", self._each.usd, 0.0, estimate.usd, "request")


def _scaled(estimate: Estimate, used: Usage) -> Estimate:
    """What was used, at its own price, else at that of what was set aside."""
    if estimate.usd is None or used.cost_usd is not None:
        return Estimate(tokens=used.tokens, usd=used.cost_usd)
    return Estimate(tokens=used.tokens, usd=estimate.usd * used.tokens / max(1, estimate.tokens))


def _grown(estimate: Estimate, used: Usage) -> Estimate:
    """What has to be set aside by now: never less than before."""
    return estimate if used.tokens <= estimate.tokens else _scaled(estimate, used)


def _fit(limit: Limit, allowed: float | None, used: float, asked: float, scope: Scope) -> None:
    if allowed is not None and used + asked > allowed:
        raise BudgetSpent(limit, allowed, used, asked, scope=scope)
