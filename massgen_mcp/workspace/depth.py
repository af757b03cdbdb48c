"""How deep this process is inside teams that have teams for tools."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DEPTH", "MAX_DEPTH", "deeper", "depth_problem"]

DEPTH = "MASSGEN_MCP_DEPTH"
"""Set for every server we start: one more than our own."""
MAX_DEPTH = "MASSGEN_MCP_MAX_DEPTH"
"""How deep a team may still be asked; handed on, so that it holds below us, too."""
_DEFAULT = 1


def _read(environ: Mapping[str, str], name: str, default: int) -> int | None:
    text = environ.get(name, "").strip() or str(default)
    return int(text) if text.isascii() and text.isdigit() and len(text) < len("1000") else None


def deeper(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a child of the process with this environment."""
    depth = _read(environ, DEPTH, 0)
    handed_on = {MAX_DEPTH: environ[MAX_DEPTH]} if MAX_DEPTH in environ else {}
    # Who can't tell its own depth must not let its children begin anew.
    return {DEPTH: environ[DEPTH] if depth is None else str(depth + 1), **handed_on}


def depth_problem(environ: Mapping[str, str]) -> str:
    """Why a process with this environment asks no team; empty where it may."""
    depth, most = _read(environ, DEPTH, 0), _read(environ, MAX_DEPTH, _DEFAULT)
    if depth is None or most is None:
        return f"{DEPTH if depth is None else MAX_DEPTH} is no number, so it can't be told how deep this is."
    if depth <= most:
        return ""
    return (
        f"This server was started by a team, {depth} deep; the limit is {most}. A team that asks itself "
        f"would never end: take massgen-mcp out of the inner team's mcp_servers, or set {MAX_DEPTH} for the "
        "outermost server."
    )
