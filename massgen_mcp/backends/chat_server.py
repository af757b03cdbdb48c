"""A server of one's own that speaks chat completions, with remedies of its own for what goes wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from massgen_mcp.backends.chat import Backend as ChatBackend
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.pause import SharedPause
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Request

__all__ = ["ChatServer"]


class ChatServer(ABC):
    """Chat completions of a server whose failures have a remedy there."""

    def __init__(self, chat: ChatBackend) -> None:
        self._chat = chat

    @property
    def info(self) -> BackendInfo:
        """The backend's row."""
        return self._chat.info

    @property
    def model(self) -> str:
        """The model asked for."""
        return self._chat.model

    @property
    def pause(self) -> SharedPause:
        """The pause shared by all who use this server."""
        return self._chat.pause

    @property
    def deep(self) -> bool:
        """Whether the model was told to reason at length."""
        return self._chat.deep

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt."""
        async with aclosing(self._deltas(request)) as deltas:
            yield deltas

    async def aclose(self) -> None:
        """Let go of what this backend alone holds. The server and its models stay as they are."""
        await self._chat.aclose()

    async def _deltas(self, request: Request) -> AsyncGenerator[Delta]:
        try:
            async with self._chat.stream(request) as deltas:
                async for delta in deltas:
                    yield delta
        except BackendError as error:
            if remedy := self._remedy(error):
                text = str(error)
                error.args = (text.replace(error.remedy, remedy) if error.remedy else f"{text} {remedy}",)
                error.remedy = remedy
            raise error from None

    @abstractmethod
    def _remedy(self, error: BackendError) -> str:
        """What to do about a failure at this server; empty where nothing better is known."""
