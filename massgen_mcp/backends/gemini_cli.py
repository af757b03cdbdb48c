"""Gemini CLI: Google's command line as an agent that brings its own tools and loop."""

from __future__ import annotations

from pathlib import Path

from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.sdk import load

__all__ = ["Options", "connect"]


class Options(BaseOptions):
    """The backend block of `type: gemini_cli`."""

    system_prompt: str | None = None
    """Added to the command line's own instructions."""
    cli_path: Path | None = None


async def connect(options: Options, context: BackendContext) -> AgentRuntime:
    """An agent on Gemini CLI. Its process is started by each turn.

    Raises:
        BackendError: the command line, node or a key is missing; the text says what to do.
    """
    # By name: who only reads options needs no sandbox, which some systems can't even import.
    opening = await load("massgen_mcp.backends.gemini_cli_open")
    return await opening.open_gemini_cli(options, context)
