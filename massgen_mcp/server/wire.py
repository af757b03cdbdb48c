"""Messages over a pair of descriptors, one a line, in a way that never keeps the process from ending.

The SDK's own transport reads in a worker thread that can't be left while it waits for a line, so a server
told to stop would wait for its host's next word. Here the reader is a daemon, and a blocked write is
abandoned.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from massgen_mcp.server.guard import Wire

__all__ = ["LINE_LIMIT", "Streams", "wire_streams"]

_logger = logging.getLogger(__name__)

LINE_LIMIT = 32 * 1024 * 1024
"""Bytes of one message; a longer one is dropped."""
_CHUNK = 65_536

Streams: TypeAlias = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


@asynccontextmanager
async def wire_streams(wire: Wire, *, line_limit: int = LINE_LIMIT) -> AsyncGenerator[Streams]:
    """The messages that come, until the other side closes, and where to send ours."""
    # The SDK takes each message at once and gives it a task, so a bound would bound nothing.
    to_us, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](math.inf)
    outgoing, from_us = anyio.create_memory_object_stream[SessionMessage](0)
    token = anyio.lowlevel.current_token()

    def take(line: bytes | None) -> bool:
        """Hand a line over, or the end; False when nobody takes any more."""
        message = None if line is None else _message(line)
        if line is not None and message is None:
            return True
        try:
            if message is None:
                anyio.from_thread.run_sync(to_us.close, token=token)
            else:
                anyio.from_thread.run_sync(to_us.send_nowait, message, token=token)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, RuntimeError):
            return False  # a loop that is over raises RuntimeError, of one kind or the other
        return message is not None

    reader = threading.Thread(
        target=_read, args=(wire.incoming, take, line_limit), name="massgen-mcp stdin", daemon=True
    )
    with to_us, incoming, outgoing:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_write, wire.outgoing, from_us, tasks.cancel_scope)
            reader.start()
            yield incoming, outgoing
            outgoing.close()  # what was sent before is still written


def _read(descriptor: int, take: Callable[[bytes | None], bool], line_limit: int) -> None:
    """Hand over what comes, line by line and then the end, in a thread of its own."""
    for line in _lines(descriptor, line_limit):
        if not take(line):
            return
    take(None)


def _lines(descriptor: int, limit: int) -> Iterator[bytes]:
    """The lines that come, without those that are too long. What follows the last line end is no line."""
    line, length = bytearray(), 0
    while chunk := _some(descriptor):
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            line += part
            length += len(part)
            if length <= limit:
                yield bytes(line)
            else:
                _logger.warning("dropped a message of %d bytes; %d are taken", length, limit)
            line, length = bytearray(), 0
        length += len(rest)
        line = line + rest if length <= limit else bytearray()


def _some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""  # gone is gone, however it went


def _message(line: bytes) -> SessionMessage | None:
    text = line.decode("utf-8", "replace").strip()
    if not text:
        return None
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(text, by_name=False))
    except ValidationError:
        _logger.warning("dropped a line that is not JSON-RPC (%d bytes)", len(line))
        return None


async def _write(
    descriptor: int, messages: MemoryObjectReceiveStream[SessionMessage], scope: anyio.CancelScope
) -> None:
    async with messages:
        async for message in messages:
            data = message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
            try:
                await anyio.to_thread.run_sync(_write_all, descriptor, data, abandon_on_cancel=True)
            except OSError as error:
                _logger.warning("the other side takes no more messages: %s", error.strerror)
                scope.cancel()
                return


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
