"""How a downstream server can fail, by what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

__all__ = ["CallFailed", "Counts", "NotSent", "Refused", "ServerOff", "TimedOut", "WireLost", "root_cause"]


class WireLost(Exception):
    """The connection is gone; the text says how. What was asked may or may not have been done."""


class NotSent(WireLost):
    """The connection was gone before: what was to be asked never left."""


class ServerOff(Exception):
    """The server is off for the rest of the run; the text says why, with the remedy."""


class CallFailed(Exception):
    """A request got no usable answer; the connection stands. The text is for the model."""


class TimedOut(CallFailed):
    """A request was given up after its limit."""


class Refused(CallFailed):
    """The server answered with an error of the protocol."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code


@dataclass(slots=True)
class Counts:
    """What a server sent that nobody asked for."""

    unreadable: int = 0
    strays: int = 0
    """Replies to nothing, or a second time."""
    requests: int = 0
    """Sampling and the like, refused."""
    dropped: int = 0
    """Notifications and requests above the rate."""

    def __iter__(self) -> Iterator[str]:
        """In words, what there was."""
        for count, words in (
            (self.unreadable, "unreadable messages"),
            (self.strays, "replies to nothing"),
            (self.requests, "requests of its own (refused: nothing of the kind is offered)"),
            (self.dropped, "messages above the rate allowed"),
        ):
            if count:
                yield f"{count} {words}"


def root_cause(error: BaseException) -> BaseException:
    """The first error inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
