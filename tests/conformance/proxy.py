"""A door in front of the server that adds the token: the conformance runner can't send one.

It changes nothing else: of a request it sets the token, says that the connection ends with it, and names the
server where the request named this door. Everything after the headers passes as it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

__all__ = ["token_door"]

_HEAD = 65_536
_ENDS = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError)
"""How either side ends an exchange."""


@asynccontextmanager
async def token_door(server: int, token: str) -> AsyncGenerator[int]:
    """The port of a door to the server at that port of this machine."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    door: int = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no database is near

    async def pass_on(client: SocketStream) -> None:
        async with client, await anyio.connect_tcp("127.0.0.1", server) as far:
            with suppress(*_ENDS):
                buffered = BufferedByteReceiveStream(client)
                head = await buffered.receive_until(b"\r\n\r\n", _HEAD)
                await far.send(_with_token(head, token, door, server))
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_copy, buffered, far, tasks.cancel_scope)
                    await _copy(far, client, tasks.cancel_scope)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, pass_on)
        yield door
        tasks.cancel_scope.cancel()


async def _copy(source: ByteReceiveStream, target: ByteSendStream, scope: anyio.CancelScope) -> None:
    """Until one of the two has ended, and with it the exchange."""
    with suppress(*_ENDS):
        while True:
            await target.send(await source.receive())
    scope.cancel()


def _with_token(head: bytes, token: str, door: int, server: int) -> bytes:
    first, *lines = head.split(b"\r\n")
    kept = [line for line in lines if not line.lower().startswith((b"connection:", b"authorization:"))]
    renamed = [
        line.replace(b":%d" % door, b":%d" % server)
        if line.lower().startswith((b"host:", b"origin:"))
        else line
        for line in kept
    ]
    added = [b"connection: close", f"authorization: Bearer {token}".encode()]
    return b"\r\n".join([first, *renamed, *added]) + b"\r\n\r\n"
