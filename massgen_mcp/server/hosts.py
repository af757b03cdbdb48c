"""What is known of the programs that call us."""

from __future__ import annotations

from typing import Any

from mcp.server.context import ServerRequestContext

__all__ = ["default_wait"]

_PATIENT = ("claude-code", "claude-agent-sdk")
"""Begin of the names of hosts that wait as long as a tool takes."""
_OTHERS = 45.0
"""Several hosts cut a call at 60 seconds."""


def default_wait(ctx: ServerRequestContext[Any, Any]) -> float | None:
    """How many seconds a call may take before it has to return; None: as long as it takes.

    A 2025 client has introduced itself once, a 2026 one does so with each request, if at all.
    """
    client = ctx.session.client_params
    name = client.client_info.name.lower() if client else ""
    return None if name.startswith(_PATIENT) else _OTHERS
