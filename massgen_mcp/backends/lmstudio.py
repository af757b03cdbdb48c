"""LM Studio: a chat-completions server on this machine, with models that `lms` can fetch and load."""

from __future__ import annotations

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.chat import Options as ChatOptions, connect as connect_chat
from massgen_mcp.backends.context import BackendContext

__all__ = ["Options", "connect"]


class Options(ChatOptions):
    """The backend block of `type: lmstudio`."""

    auto_download: bool = False
    """Fetch the model with `lms get` when it is not there: gigabytes, so only when asked for."""
    auto_install: bool = False
    """Install `lms` when it is not there, which runs an installer from the network."""


async def connect(options: Options, context: BackendContext) -> ModelBackend:
    """Open it like any chat-completions server.

    Raises:
        BackendError: as for those.
    """
    return await connect_chat(options, context)
