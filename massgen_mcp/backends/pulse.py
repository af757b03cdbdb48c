"""How the watchdog of a request knows that its provider is alive.

Tool arguments, keep-alive comments and status events are life without being content: they move no text, so
whoever reads the bytes beats the pulse of the request they belong to.
"""

from __future__ import annotations

from contextvars import ContextVar

from massgen_mcp.clock import Clock

__all__ = ["PULSE", "Pulse"]


class Pulse:
    """When a request was last seen alive."""

    __slots__ = ("_clock", "begun", "last")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.last = clock.monotonic()
        self.begun = False
        """Whether anything of the reply's body has come."""

    def beat(self) -> None:
        """Something came."""
        self.last = self._clock.monotonic()
        self.begun = True


PULSE: ContextVar[Pulse | None] = ContextVar("massgen_mcp_pulse", default=None)
"""The pulse of the request that this task makes, for the transport below the vendors' packages."""
