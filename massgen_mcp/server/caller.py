"""Who makes a request: the host that started this process, or somebody who came over HTTP with a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.context import ServerRequestContext

if TYPE_CHECKING:
    from massgen_mcp.runs import User

__all__ = ["ENDED_KEY", "LOCAL", "SCOPE_KEY", "Caller", "caller_of", "ended_of"]

SCOPE_KEY: Final = "massgen_mcp.caller"
"""Where the HTTP side leaves the caller in a request's ASGI scope."""
ENDED_KEY: Final = "massgen_mcp.ended"
"""Where it leaves an event that is set when nobody reads the reply to the request any more."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    user: User | None = None
    """None: the operator, who sees every run."""
    local: bool = True
    """On this machine, so that paths mean something to them."""


LOCAL: Final = Caller()
"""The host on the other side of our pipes."""


def caller_of(ctx: ServerRequestContext[Any, Any]) -> Caller:
    """The caller of a request.

    Raises:
        KeyError: it came over HTTP, and nobody has said who makes it. Never taken for the operator.
    """
    if ctx.request is None:
        return LOCAL
    caller: Caller = ctx.request.scope[SCOPE_KEY]
    return caller


def ended_of(ctx: ServerRequestContext[Any, Any]) -> anyio.Event | None:
    """Set when the connection that a request came by has ended; None for the host's pipes."""
    return None if ctx.request is None else ctx.request.scope[ENDED_KEY]
