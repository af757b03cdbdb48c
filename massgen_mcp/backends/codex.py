"""Codex: OpenAI's command line as an agent that brings its own tools and loop."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.reasoning import Effort, Verbosity
from massgen_mcp.backends.sdk import load

__all__ = ["Options", "SandboxMode", "connect"]

SandboxMode = Literal["read-only", "workspace-write"]


class Options(BaseOptions):
    """The backend block of `type: codex`."""

    system_prompt: str | None = None
    """Added to the command line's own instructions."""
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    sandbox_mode: SandboxMode = "workspace-write"
    """What the commands it runs may do, inside our own sandbox."""
    network_access: bool = False
    """Whether those commands have network."""
    cli_path: Path | None = None


async def connect(options: Options, context: BackendContext) -> AgentRuntime:
    """An agent on Codex. Its process is started by each turn.

    Raises:
        BackendError: the command line or a key is missing, or does not work here; the text says what to do.
    """
    # By name: who only reads options needs no sandbox, which some systems can't even import.
    opening = await load("massgen_mcp.backends.codex_open")
    return await opening.open_codex(options, context)
