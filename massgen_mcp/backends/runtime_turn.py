"""What the turns of agent runtimes have in common: what they are told, and their calls of the team."""

from __future__ import annotations

from abc import ABC, abstractmethod

import anyio

from massgen_mcp.backends.base import TurnTools
from massgen_mcp.backends.pulse import PULSE
from massgen_mcp.messages import Message, Request, ToolCall, ToolResult

__all__ = ["Delivered", "HeldTurn"]


class Delivered:
    """Which of the user's entries a runtime's session holds."""

    def __init__(self) -> None:
        self.held: tuple[Message, ...] = ()
        """May be set back, as when a turn never began."""

    def news(self, request: Request) -> list[Message]:
        """What the user says that the session does not hold yet, the last entry in any case."""
        users = [message for message in request.messages if message.role == "user"]
        new = [message for message in users[:-1] if message not in self.held] + users[-1:]
        self.held += tuple(new)
        return new


class HeldTurn(ABC):
    """A turn in motion. A call that ends it never returns: its runtime is held there until it is ended."""

    def __init__(self, tools: TurnTools) -> None:
        self.tools = tools
        self.used = False
        """Whether a tool was used, so that the turn can't be replayed."""
        self.broken: Exception | None = None
        """What a team's tool raised, such as a journal that can't be written."""
        self._pulse = PULSE.get()

    async def call(self, call: ToolCall) -> ToolResult:
        """Run a call of the team's."""
        self.used = True
        self._beat()
        try:
            result = await self.tools.call(call)
        except Exception as error:  # noqa: BLE001 - raised by who reads the turn; a runtime would tell its model
            self.broken = self.broken or error
        else:
            self._beat()
            if self.tools.ended_by is None:
                return result
        self._end()
        await anyio.sleep_forever()
        raise AssertionError

    @abstractmethod
    def _end(self) -> None:
        """See that the runtime's loop stops."""

    def _beat(self) -> None:
        """A tool's work is life, also where nothing streams."""
        if self._pulse is not None:
            self._pulse.beat()
