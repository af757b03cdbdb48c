"""The port every backend fills: one request in, a borrowed stream of deltas out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.messages import Delta, Request

__all__ = ["ModelBackend"]


class ModelBackend(Protocol):
    """One model of one provider. The agent loop above it owns tools, turns and retries.

    `stream` makes one attempt. Its deltas end in exactly one `Reply`, complete as the provider said, or the
    iteration raises `BackendError`. Leaving the block closes the connection, however one leaves.
    """

    @property
    def info(self) -> BackendInfo:
        """The backend's row."""
        ...

    @property
    def model(self) -> str:
        """The model asked for."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt at a reply."""
        ...

    async def aclose(self) -> None:
        """Let go of what this backend alone holds; shared pools stay open."""
        ...
