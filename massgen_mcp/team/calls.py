"""One model request of a turn: its reservation, its records, its price, its use of the seat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count

import anyio
from pydantic import TypeAdapter

from massgen_mcp.backends import prices
from massgen_mcp.backends.retry import ask
from massgen_mcp.engine import Turn
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, ReasoningDelta, Reply, Request, Restarted, TextDelta
from massgen_mcp.team.budget import Budget, Estimate, Reservation
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.spec import Ports
from massgen_mcp.usage import Usage

__all__ = ["Caller", "estimate"]

_CHARS_PER_TOKEN = 3
"""Fewer than most languages have, so that an estimate is rather too high."""
_EXPECTED_OUTPUT = 4_096
"""Tokens set aside for a reply where the configuration does not bound it."""


def estimate(request: Request) -> int:
    """Tokens a request may use at most, roughly."""
    chars = sum(len(message.text) + sum(len(call.arguments) for call in message.calls) for message in request.messages)
    chars += sum(len(result.content) for message in request.messages for result in message.results)
    chars += sum(len(tool.description) + len(str(tool.parameters)) for tool in request.tools)
    return chars // _CHARS_PER_TOKEN + (request.max_tokens or _EXPECTED_OUTPUT)


class Caller:
    """Makes the model requests of one turn."""

    def __init__(self, *, log: EventLog, budget: Budget, ports: Ports, deadline: float) -> None:
        self._log = log
        self._budget = budget
        self._ports = ports
        self._deadline = deadline
        self._numbers = count(1)

    def next_call(self) -> int:
        """A number for the next request or tool call of this turn."""
        return next(self._numbers)
