"""A queue with one reader, for things told from any task of the same loop. Putting never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

import anyio

__all__ = ["Inbox"]

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """What has been put and not yet read.

    Args:
        limit: how many may wait; beyond that the oldest is lost. None: all are kept.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._items: deque[Item] = deque(maxlen=limit)
        self._news = anyio.Event()
        self._closed = False

    def put(self, item: Item) -> None:
        """Hand something over."""
        self._items.append(item)
        self._news.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._news.set()

    async def receive(self) -> Item:
        """The next thing, as soon as there is one.

        Raises:
            EndOfStream: the inbox is closed and empty.
        """
        while not self._items:
            if self._closed:
                raise anyio.EndOfStream
            self._news = anyio.Event()
            await self._news.wait()
        return self._items.popleft()

    async def __aiter__(self) -> AsyncIterator[Item]:
        """Everything as it comes, until the inbox is closed."""
        while True:
            try:
                item = await self.receive()
            except anyio.EndOfStream:
                return
            yield item
