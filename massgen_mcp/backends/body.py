"""The body of a response on its way in: measured, unpacked and watched."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Iterator

import httpx2

from massgen_mcp.backends.pulse import Pulse

__all__ = ["EVENTS", "Body", "ResponseTooLarge", "body_of", "watch_body"]

_EXTENSION = "massgen_mcp.body"
_DONE = re.compile(rb"[\r\n]data: ?\[DONE\]")
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
"""What stands between two events."""
_TAIL = 16
"""Bytes kept so that these are found across two reads."""
_PIECE = 256 * 1024
"""Bytes unpacked at a time."""
EVENTS = 8
"""How much larger a stream may be than one event of it.

A response of 128,000 tokens says its text four times and wraps each token into 300 bytes: 50 MiB. Nothing
keeps more of it than its text, and each event is forgotten once read.
"""
_GZIP = 16 + zlib.MAX_WBITS
_PLAIN = frozenset({"", "identity"})
_WBITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


class ResponseTooLarge(httpx2.TransportError):
    """More came than any reply needs."""


class Body(httpx2.AsyncByteStream):
    """A response's bytes, unpacked here so that a small body can't become a large one unseen.

    A whole body may have `limit` bytes. A stream may have that for each event and `EVENTS` times as much in
    all: it says one text several times, with more form than text around each piece.
    """

    def __init__(
        self,
        stream: httpx2.AsyncByteStream,
        *,
        encoding: str,
        limit: int,
        pulse: Pulse | None,
        events: bool = False,
    ) -> None:
        self._stream = stream
        self._unpack = None if encoding in _PLAIN else zlib.decompressobj(_WBITS[encoding])
        self._limit = limit
        self._most = limit * EVENTS if events else limit
        self._events = events
        self._size = 0
        self._begun = 0
        self._pulse = pulse
        self._tail = b"\n"
        self.done = False
        """Whether the line `data: [DONE]` has come."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pulse = self._pulse
        async for chunk in self._stream:
            if pulse is not None:
                pulse.beat()
            for data in self._unpacked(chunk):
                self._look(data)
                yield data
        if self._unpack is not None and not self._unpack.eof:
            raise httpx2.RemoteProtocolError("the compressed body ended early")

    def _unpacked(self, chunk: bytes) -> Iterator[bytes]:
        if self._unpack is None:
            yield chunk
            return
        # In pieces, since a few bytes may stand for a thousand times as many.
        size = _PIECE
        while size == _PIECE and not self._unpack.eof:
            try:
                data = self._unpack.decompress(chunk, _PIECE)
            except zlib.error as error:
                raise httpx2.DecodingError(str(error)) from error
            chunk, size = self._unpack.unconsumed_tail, len(data)
            yield data

    def _look(self, data: bytes) -> None:
        """Measure what comes, and see whether it says that it is over."""
        window = self._tail + data
        start, self._size = self._size - len(self._tail), self._size + len(data)
        ends = (at for end in _ENDS if (at := window.rfind(end)) >= 0)
        if self._events and (at := next(ends, None)) is not None:
            self._begun = start + at
        if self._size > self._most:
            raise _too_large("response", self._most)
        if self._events and self._size - self._begun > self._limit:
            raise _too_large("event", self._limit)
        if not self.done:
            self.done = b"[DONE]" in window and _DONE.search(window) is not None
        self._tail = window[-_TAIL:]

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._stream.aclose()


def _too_large(what: str, most: int) -> ResponseTooLarge:
    return ResponseTooLarge(f"the {what} is larger than {most // (1024 * 1024)} MiB")


def watch_body(response: httpx2.Response, *, limit: int, pulse: Pulse | None) -> None:
    """Put a `Body` in place of a response's stream.

    Raises:
        httpx2.DecodingError: the body is packed in a way that was not asked for.
    """
    stream = response.stream
    if not isinstance(stream, httpx2.AsyncByteStream):
        raise httpx2.DecodingError("the response has no stream")
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in _PLAIN and encoding not in _WBITS:
        raise httpx2.DecodingError(f"the response is packed as {encoding!r}, which was not asked for")
    events = response.headers.get("content-type", "").strip().lower().startswith("text/event-stream")
    body = Body(stream, encoding=encoding, limit=limit, pulse=pulse, events=events)
    response.stream = body
    response.extensions = {**response.extensions, _EXTENSION: body}
    if encoding not in _PLAIN:
        del response.headers["content-encoding"]
        response.headers.pop("content-length", None)


def body_of(response: httpx2.Response) -> Body:
    """The watched body of a response that came through the pool."""
    body: Body = response.extensions[_EXTENSION]
    return body
