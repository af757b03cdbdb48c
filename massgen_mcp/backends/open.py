"""From a row and its options to a backend that can be asked: the seam every backend comes through."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Any

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.options import Options
from massgen_mcp.errors import BackendError

__all__ = ["open_backend"]


async def open_backend(options: Options, context: BackendContext) -> Backend:
    """The backend of the context's row: its module's `connect`, called with the options.

    Raises:
        BackendError: it can't be run here, or can't be connected; nothing was sent to a model.
    """
    info = context.info
    if not info.executes:
        raise BackendError(
            f"{info.title} ({info.type}) can't answer in this version: a team file naming it is checked, but "
            "not run. Use another backend.",
            kind="unavailable",
            remedy="Use another backend.",
            connected=False,
        )
    if options.api_key is not None:
        context.secrets.add(options.api_key.get_secret_value(), f"{info.type}.api_key")
    if context.api_key:
        context.secrets.add(context.api_key, info.env[0] if info.env else f"{info.type}.api_key")
    module = importlib.import_module(f"massgen_mcp.backends.{info.module}")
    connect: Callable[[Any, BackendContext], Awaitable[Backend]] = module.connect
    return await connect(options, context)
