"""What was sent of each reply, kept for a client that lost its connection and comes back for the rest.

In sessions of the older era only: there each message of a reply has an id, and who comes back names the last
one that arrived. An id is worth something in the session it was made in, and nowhere else.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from mcp.server.streamable_http import (
    GET_STREAM_KEY,
    EventCallback,
    EventId,
    EventMessage,
    EventStore,
    StreamId,
)
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCResponse, jsonrpc_message_adapter

__all__ = ["EVENTS", "KEPT_SECONDS", "Backlog", "Limit", "SessionEvents"]

KEPT_SECONDS = 600.0
"""For so long a complete reply is kept: nobody says whether all of it has arrived."""
EVENTS = 100
"""Of one stream. Where there are more they are progress, and old progress is of no use."""
_OVERHEAD = 200
"""Bytes that an event takes beside its message."""
_DIGITS = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much is kept."""

    streams: int
    size: int
    """Bytes."""


_SESSION = Limit(streams=64, size=4 * 1024 * 1024)
_SERVER = Limit(streams=10_000, size=64 * 1024 * 1024)


@dataclass(eq=False, slots=True)
class _Stream:
    """The messages of one reply, numbered from 1."""

    name: StreamId
    owner: SessionEvents
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    events: deque[tuple[int, bytes]] = field(default_factory=deque[tuple[int, bytes]])
    last: int = 0
    ended: float | None = None
    """When its reply was complete."""
    forgotten: bool = False
    news: anyio.Event = field(default_factory=anyio.Event)
    reader: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around whoever has come back for it."""

    @property
    def size(self) -> int:
        return sum(_size(data) for _, data in self.events)

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self.ended is not None or self.forgotten

    def id_of(self, number: int) -> EventId:
        return f"{self.token}-{number}"

    def after(self, number: int) -> tuple[int, bytes] | None:
        """The oldest message that is newer than that."""
        return next((event for event in self.events if event[0] > number), None)

    def tell(self) -> None:
        """Wake who waits for more."""
        self.news.set()
        self.news = anyio.Event()


class _Pile:
    """Streams within a limit. Those that are complete have to go first, and of equals the oldest."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._open: dict[str, _Stream] = {}
        self.ended: dict[str, _Stream] = {}
        """In the order in which they became complete."""
        self.size = 0

    def __len__(self) -> int:
        return len(self._open) + len(self.ended)

    def find(self, token: str) -> _Stream | None:
        return self._open.get(token) or self.ended.get(token)

    def add(self, stream: _Stream) -> None:
        self._open[stream.token] = stream

    def end(self, stream: _Stream) -> None:
        self.ended[stream.token] = self._open.pop(stream.token)

    def drop(self, stream: _Stream) -> None:
        self._open.pop(stream.token, None)
        self.ended.pop(stream.token, None)
        self.size -= stream.size

    def first(self) -> _Stream | None:
        """The stream that would have to go first."""
        return next(iter((self.ended or self._open).values()), None)

    def too_much(self) -> _Stream | None:
        """The stream that has to go now."""
        within = len(self) <= self._limit.streams and self.size <= self._limit.size
        return None if within else self.first()


class Backlog:
    """What is kept of all sessions of a server.

    Args:
        session: how much of each.
        server: how much of all together.
        now: seconds, from anywhere.
    """

    def __init__(
        self,
        *,
        session: Limit = _SESSION,
        server: Limit = _SERVER,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.streams = _Pile(server)
        self.now = now

    @property
    def size(self) -> int:
        """Bytes."""
        return self.streams.size

    def too_old(self) -> _Stream | None:
        """A stream that was kept for long enough."""
        first = next(iter(self.streams.ended.values()), None)
        ended = None if first is None else first.ended
        return None if ended is None or ended + KEPT_SECONDS > self.now() else first


class SessionEvents(EventStore):
    """What is kept of one session.

    Of each reply that is the newest messages, from its beginning until `KEPT_SECONDS` after its end; less of
    it where the session or the server would hold more than its limit.
    """

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._mine = _Pile(backlog.session)
        self._piles = (self._mine, backlog.streams)
        self._current: dict[StreamId, _Stream] = {}
        self._closed = False
        self.close_stream: Callable[[StreamId], None] | None = None
        """Ends the connection on which a reply was first sent."""

    def __contains__(self, event_id: str) -> bool:
        return self._find(event_id) is not None

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """Keep a message; its id. None stands for the beginning of a reply."""
        stream = self._stream(stream_id, begins=message is None)
        stream.last += 1
        if message is not None and not self._closed:
            self._keep(stream, message)
            stream.tell()
        self._make_room()
        return stream.id_of(stream.last)

    async def replay_events_after(
        self, last_event_id: EventId, send_callback: EventCallback
    ) -> StreamId | None:
        """Send what came after that event, then all that comes until the reply is complete.

        Who came for the reply before is sent away: each message goes to one connection. So the caller has
        nothing to add, and is told of no stream; but of the one that belongs to no request, which never ends,
        and whose connections are the caller's business.
        """
        found = self._find(last_event_id)
        if found is None:
            return None
        stream, number = found
        if stream.name == GET_STREAM_KEY:
            await _send(stream, number, send_callback)
            return GET_STREAM_KEY
        stream.reader.cancel()
        if self.close_stream is not None and self._current.get(stream.name) is stream:
            self.close_stream(stream.name)
        with anyio.CancelScope() as stream.reader:
            number = await _send(stream, number, send_callback)
            while not stream.over:
                await stream.news.wait()
                number = await _send(stream, number, send_callback)
        return None

    def close(self) -> None:
        """Forget everything; nothing is kept from here on."""
        self._closed = True
        self.close_stream = None
        while (stream := self._mine.first()) is not None:
            self.forget(stream)

    def forget(self, stream: _Stream) -> None:
        """Let go of a stream of this session. Who reads it gets to the end of what there is."""
        stream.forgotten = True
        for pile in self._piles:
            pile.drop(stream)
        if self._current.get(stream.name) is stream:
            del self._current[stream.name]
        stream.tell()

    def _find(self, event_id: EventId) -> tuple[_Stream, int] | None:
        token, _, digits = event_id.rpartition("-")
        stream = self._mine.find(token)
        if stream is None or not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
            return None
        return (stream, int(digits)) if int(digits) <= stream.last else None

    def _stream(self, name: StreamId, *, begins: bool) -> _Stream:
        """The stream of that name. Clients may use the id of a request again once it was answered."""
        stream = self._current.get(name)
        if stream is not None and stream.ended is None and (not begins or name == GET_STREAM_KEY):
            return stream
        if stream is not None and stream.ended is None:
            self.forget(stream)
        stream = _Stream(name, self)
        if not self._closed:
            self._current[name] = stream
            for pile in self._piles:
                pile.add(stream)
        return stream

    def _keep(self, stream: _Stream, message: JSONRPCMessage) -> None:
        try:
            data = message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        except ValueError:
            pass  # It can't be sent either; who tries says so.
        else:
            stream.events.append((stream.last, data))
            grown = _size(data)
            if len(stream.events) > EVENTS:
                grown -= _size(stream.events.popleft()[1])
            for pile in self._piles:
                pile.size += grown
        if stream.name != GET_STREAM_KEY and isinstance(message, JSONRPCResponse | JSONRPCError):
            stream.ended = self._backlog.now()
            for pile in self._piles:
                pile.end(stream)

    def _make_room(self) -> None:
        while (
            stream := self._backlog.too_old() or self._mine.too_much() or self._backlog.streams.too_much()
        ) is not None:
            stream.owner.forget(stream)


def _size(data: bytes) -> int:
    return len(data) + _OVERHEAD


async def _send(stream: _Stream, number: int, send: EventCallback) -> int:
    """Send all that is kept after that number; the last one sent."""
    while (event := stream.after(number)) is not None:
        number, data = event
        message = jsonrpc_message_adapter.validate_json(data, by_name=False)
        await send(EventMessage(message, stream.id_of(number)))
    return number
