"""The port of transports: JSON messages in and out, whatever carries them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["MAX_MESSAGE", "Unreadable", "Wire", "read_message"]

MAX_MESSAGE = 8 * 1024 * 1024
"""Bytes of one message. Whoever sends more is cut off."""

_ID = re.compile(rb'"id"\s*:\s*(-?\d{1,15})(?![\d.eE])')
_EDGE = 4096
"""Bytes looked at, at either end, for the id of a message that can't be read."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something came that is no message. `ids` are the requests it may have meant to answer."""

    why: str
    ids: tuple[int, ...] = ()


class Wire(Protocol):
    """A connection to one server. One task sends, one receives."""

    received: int
    """Bytes of all messages so far, where the transport tells."""

    async def send(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Hand over one message.

        Raises:
            WireLost: it can't be handed over any more.
        """
        ...

    async def receive(self) -> object:
        """The next message, a JSON value, or `Unreadable`.

        Raises:
            WireLost: there will be none.
        """
        ...

    def last_words(self) -> str:
        """What the server said beside the protocol, the end of it; empty for nothing."""
        ...


def read_message(line: bytes) -> object:
    """One line as a JSON value, or as `Unreadable`; never an error."""
    try:
        return json.loads(line, parse_constant=_refuse)
    except RecursionError:
        return Unreadable("it is nested too deeply", _ids(line))
    except ValueError as error:
        return Unreadable(f"it is not JSON ({str(error)[:80]})", _ids(line))


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _ids(line: bytes) -> tuple[int, ...]:
    # A line of log on stdout is no reply, whatever it holds.
    if not line.lstrip().startswith(b"{") or b'"jsonrpc"' not in line[:_EDGE] + line[-_EDGE:]:
        return ()
    found = _ID.findall(line[:_EDGE]) + _ID.findall(line[-_EDGE:])
    return tuple(dict.fromkeys(int(text) for text in found))
