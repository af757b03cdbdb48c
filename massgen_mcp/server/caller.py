"""Who makes a request: the host that started this process, or somebody who came over HTTP with a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp.server.context import ServerRequestContext

if TYPE_CHECKING:
    from massgen_mcp.runs import User

__all__ = ["LOCAL", "SCOPE_KEY", "Caller", "caller_of"]

SCOPE_KEY: Final = "massgen_mcp.caller"
"""Where the HTTP side leaves the caller in a request's ASGI scope."""


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
