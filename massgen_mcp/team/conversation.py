"""The conversation of one agent in one turn. It only grows at its end, so that providers' caches hit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from massgen_mcp.messages import Message, Reply, ToolCall, ToolResult

__all__ = ["Conversation", "without_native"]


def without_native(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The same without the provider's own items: another model takes over, to which they mean nothing."""
    return tuple(replace(message, native=None) for message in messages)


class Conversation:
    """The messages of one turn, from those it begins with."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = list(messages)
        self.kept: tuple[Message, ...] = ()
        """What the agent's next turn begins with, once this one has ended well."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """All of it by now."""
        return tuple(self._messages)

    @property
    def last(self) -> Message:
        """The newest entry."""
        return self._messages[-1]

    @last.setter
    def last(self, message: Message) -> None:
        self._messages[-1] = message

    def add_to_opening(self, words: str) -> None:
        """Say more in the system text."""
        opening = self._messages[0]
        self._messages[0] = replace(opening, text=f"{opening.text}\n\n{words}")

    def add_to_task(self, words: str) -> None:
        """Say more in the newest entry."""
        self.last = replace(self.last, text=f"{self.last.text}\n\n{words}")

    def hear(self, reply: Reply) -> None:
        """The agent has replied."""
        self._messages.append(reply.message())

    def say(self, words: str) -> None:
        """Tell the agent something."""
        self._messages.append(Message(role="user", text=words))

    def give(self, *results: ToolResult) -> None:
        """Hand over what calls came to."""
        self._messages.append(Message(role="tool", results=results))

    def keep(self, calls: Sequence[ToolCall] = (), words: str = "") -> None:
        """The turn has ended well; open calls are answered, so that the next one can go on from here."""
        if calls:
            self.give(*(ToolResult(call_id=call.id, content=words) for call in calls))
        self.kept = self.messages

    def forget_native(self) -> None:
        """Drop the provider's own items."""
        self._messages = list(without_native(self._messages))

    def reopen(self) -> None:
        """The turn has not ended after all: go back to what the agent said last."""
        self.kept = ()
        while self.last.role != "assistant":
            self._messages.pop()

    def sum_up(self, said: str) -> None:
        """Keep what the agent came to, where it is not known how."""
        self._messages = [message for message in self._messages if message.role in {"system", "user"}]
        self._messages.append(Message(role="assistant", text=said))
        self.keep()
