"""How long one attempt at a reply may take, and the watchdog that ends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import anyio

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.pulse import Pulse
from massgen_mcp.clock import Clock
from massgen_mcp.errors import BackendError

__all__ = ["RequestLimits", "Watchdog", "request_limits"]

_Passed: TypeAlias = Literal["first_byte", "idle", "total", "deadline"]
_SILENT_TRIES = 2
"""A provider that goes silent is asked once more: each silence costs a whole limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Seconds for one attempt; None: no limit of its own."""

    first_byte: float | None = None
    """Until anything of the reply's body comes."""
    idle: float | None = None
    """Between two signs of life from then on; keep-alives are signs of life."""
    total: float | None = None


def request_limits(info: BackendInfo, *, timeout: float | None = None, deep: bool = False) -> RequestLimits:
    """The limits of a row, with `timeout` of a team file as the total.

    Args:
        info: the row.
        timeout: seconds for one attempt, first byte to last.
        deep: whether the model was told to reason at length, and may be silent for longer.
    """
    limits = info.limits
    idle = max(limits.idle, limits.deep_idle) if deep else limits.idle
    return RequestLimits(first_byte=max(limits.first_byte, idle if deep else 0.0), idle=idle, total=timeout)


class Watchdog:
    """Cancels a scope once a limit has passed. One task for an attempt, asleep until a limit may have."""

    def __init__(
        self, *, limits: RequestLimits, pulse: Pulse, clock: Clock, deadline: float | None, title: str
    ) -> None:
        self._limits = limits
        self._pulse = pulse
        self._clock = clock
        self._started = clock.monotonic()
        self._deadline = deadline
        self._title = title
        self._passed: _Passed | None = None
        self._watching = anyio.CancelScope()

    async def watch(self, scope: anyio.CancelScope) -> None:
        """Sleep until a limit has passed, then cancel the scope."""
        with self._watching:
            while ends := self._ends():
                end, which = min(ends)
                left = end - self._clock.monotonic()
                if left <= 0:
                    self._passed = which
                    scope.cancel()
                    return
                await self._clock.sleep(left)

    def stop(self) -> None:
        """The attempt has ended by itself. Cancelling its scope instead would reach the host task too."""
        self._watching.cancel()

    def _ends(self) -> list[tuple[float, _Passed]]:
        limits, last = self._limits, self._pulse.last
        ends: list[tuple[float | None, float, _Passed]] = [
            (limits.total, self._started, "total"),
            (self._deadline, 0.0, "deadline"),
            (limits.idle, last, "idle") if self._pulse.begun else (limits.first_byte, last, "first_byte"),
        ]
        return [(start + seconds, which) for seconds, start, which in ends if seconds is not None]

    def failure(self) -> BackendError | None:
        """The failure that ended the attempt; None when no limit has passed."""
        match self._passed:
            case None:
                return None
            case "first_byte":
                return self._late(f"sent nothing for {self._limits.first_byte:g} s", retryable=True)
            case "idle":
                return self._late(f"went silent for {self._limits.idle:g} s", retryable=True)
            case "total":
                limit = "the `timeout` of the backend block or `budget.per_request.seconds`"
                what = f"had not finished after {self._limits.total:g} s, {limit}"
                return self._late(what, remedy="Raise `timeout`, or ask for less.")
            case "deadline":
                return self._late("had not finished when the time of the run was over")

    def _late(self, what: str, *, remedy: str = "", retryable: bool = False) -> BackendError:
        return BackendError(
            f"{self._title} {what}. {remedy}".rstrip(),
            kind="timeout",
            retryable=retryable,
            remedy=remedy,
            max_attempts=_SILENT_TRIES,
        )
