"""Connections: so many at once, and each has to say soon what it wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from socket import socket
from typing import Any

import anyio
import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

__all__ = ["CONNECTIONS", "HEADER_SECONDS", "listening"]

CONNECTIONS = 256
"""At once; a further one is told so and closed."""
HEADER_SECONDS = 10.0
"""For the headers of a request, and for a TLS handshake."""
_HEADER_BYTES = 64 * 1024
_CLOSING_SECONDS = 1.0
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n"
)
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _Connection(H11Protocol):
    """One connection. uvicorn bounds neither how many there are nor how long headers take."""

    most = CONNECTIONS
    seconds = HEADER_SECONDS
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.write(_FULL)
            transport.close()
        else:
            self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        # After a reply the wait for the next request is uvicorn's own, until its first byte.
        if self.conn.their_state is h11.IDLE and (self._timer is not None or self.conn.trailing_data[0]):
            self._wait_for_headers()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self._late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self.transport.write(_LATE)
        self.transport.close()


@asynccontextmanager
async def listening(
    app: ASGIApp,
    place: socket,
    *,
    tls: ssl.SSLContext | None = None,
    connections: int = CONNECTIONS,
    header_seconds: float = HEADER_SECONDS,
) -> AsyncGenerator[None]:
    """Answer requests that come to this socket, for the time of the block.

    On leaving no connection is taken any more; those that are open are closed, within a second.
    """
    protocol = type("_LimitedConnection", (_Connection,), {"most": connections, "seconds": header_seconds})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
    config.load()
    state = ServerState()

    def connect() -> asyncio.Protocol:
        return protocol(config=config, server_state=state, app_state={})

    # asyncio's own, since anyio has no protocols; and not uvicorn's server, which takes the signals.
    loop = asyncio.get_running_loop()
    more: dict[str, Any] = {"ssl": tls, "ssl_handshake_timeout": header_seconds} if tls else {}
    server = await loop.create_server(connect, sock=place, **more)
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        with anyio.move_on_after(_CLOSING_SECONDS, shield=True):
            while state.tasks:  # noqa: ASYNC110 - uvicorn tells nobody
                await anyio.sleep(0.01)
        for task in state.tasks:
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue, reportOptionalMemberAccess] - untyped there
