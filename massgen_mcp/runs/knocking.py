"""Which ports of this machine nobody listens on: asked of the system, for all of them in one go.

A client would look the name up in a thread and try each address in turn, many rounds of the loop for a server
that is not there; and lists ask for all of them each time.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack

__all__ = ["nobody_at"]

_ADDRESSES = ("127.0.0.1", "::1")
_MOMENT = 0.005
"""Seconds in which a system that can refuse has done so; the loop stands still for no longer."""
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})
_CLOSED = frozenset({errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def nobody_at(ports: Iterable[int]) -> frozenset[int]:
    """Those of these ports on which, that is certain, nobody listens."""
    wanted = frozenset(ports)
    with ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())
        open_to_question: set[int] = set()
        for port in wanted:
            for address in _ADDRESSES:
                end = _end(address, stack)
                if end is None:
                    continue
                code = end.connect_ex((address, port))
                if code in _UNDER_WAY:
                    waiting.register(end, selectors.EVENT_WRITE, port)
                elif code not in _CLOSED:
                    open_to_question.add(port)
        return wanted - open_to_question - _unrefused(waiting)


def _end(address: str, stack: ExitStack) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        end = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    except OSError:
        return None  # there is no such family here
    end.setblocking(False)
    return end


def _unrefused(waiting: selectors.BaseSelector) -> set[int]:
    """The ports that have not refused within a moment, or that have let somebody in."""
    found: set[int] = set()
    give_up = time.monotonic() + _MOMENT
    while waiting.get_map():
        ready = waiting.select(give_up - time.monotonic())
        for key, _ in ready:
            waiting.unregister(key.fileobj)
            if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) not in _CLOSED:  # type: ignore[union-attr]
                found.add(key.data)
        if not ready:
            return found | {key.data for key in waiting.get_map().values()}
    return found
