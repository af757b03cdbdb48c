"""The body of a response on its way in: measured, unpacked and watched."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator

import httpx2

from massgen_mcp.backends.pulse import Pulse

__all__ = ["Body", "ResponseTooLarge", "body_of", "watch_body"]

_EXTENSION = "massgen_mcp.body"
_DONE = re.compile(rb"[\r\n]data: ?\[DONE\]")
_TAIL = 16
"""Bytes kept so that a terminal event is found across two reads."""
_GZIP = 16 + zlib.MAX_WBITS
_PLAIN = frozenset({"", "identity"})
_WBITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


class ResponseTooLarge(httpx2.TransportError):
    """More came than any reply needs."""


class Body(httpx2.AsyncByteStream):
    """A response's bytes, unpacked here so that a small body can't become a large one unseen."""

    def __init__(
        self, stream: httpx2.AsyncByteStream, *, encoding: str, limit: int, pulse: Pulse | None
    ) -> None:
        self._stream = stream
        self._unpack = None if encoding in _PLAIN else zlib.decompressobj(_WBITS[encoding])
        self._left = limit
        self._limit = limit
        self._pulse = pulse
        self._tail = b"\n"
        self.done = False
        """Whether the line `data: [DONE]` has come."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pulse = self._pulse
        async for chunk in self._stream:
            if pulse is not None:
                pulse.beat()
            data = self._take(chunk)
            if not self.done:
                self._look(data)
            yield data
        if self._unpack is not None and not self._unpack.eof:
            raise httpx2.RemoteProtocolError("the compressed body ended early")

    def _take(self, chunk: bytes) -> bytes:
        if self._unpack is not None:
            try:
                chunk = self._unpack.decompress(chunk, self._left + 1)
            except zlib.error as error:
                raise httpx2.DecodingError(str(error)) from error
        self._left -= len(chunk)
        if self._left < 0:
            raise ResponseTooLarge(f"the response is larger than {self._limit // (1024 * 1024)} MiB")
        return chunk

    def _look(self, data: bytes) -> None:
        window = self._tail + data
        self.done = b"[DONE]" in window and _DONE.search(window) is not None
        self._tail = window[-_TAIL:]

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._stream.aclose()


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
    body = Body(stream, encoding=encoding, limit=limit, pulse=pulse)
    response.stream = body
    response.extensions = {**response.extensions, _EXTENSION: body}
    if encoding not in _PLAIN:
        del response.headers["content-encoding"]
        response.headers.pop("content-length", None)


def body_of(response: httpx2.Response) -> Body:
    """The watched body of a response that came through the pool."""
    body: Body = response.extensions[_EXTENSION]
    return body
