"""Messages over a pair of descriptors, one a line, in a way that never keeps the process from ending.

The SDK's own transport reads in a worker thread that can't be left while it waits for a line, so a server
told to stop would wait for its host's next word. Here the reader is a daemon, and a blocked write is
abandoned. A line that can't be used is answered, since whoever sent it waits.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

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
"""Bytes of one message; a longer one is refused."""
_CHUNK = 65_536
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

Streams: TypeAlias = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]
_Taken: TypeAlias = "types.JSONRPCMessage | _Refused"


@dataclass(frozen=True, slots=True)
class _Refused:
    """A line that is no message for us, and what is said about it."""

    reply: types.JSONRPCError


@dataclass(frozen=True, slots=True)
class _TooLong:
    """A line that was not kept."""

    length: int


@asynccontextmanager
async def wire_streams(wire: Wire, *, line_limit: int = LINE_LIMIT) -> AsyncGenerator[Streams]:
    """The messages that come, until the other side closes, and where to send ours."""
    # The SDK takes each message at once and gives it a task, so a bound would bound nothing.
    to_us, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](math.inf)
    outgoing, from_us = anyio.create_memory_object_stream[SessionMessage](0)
    refusing, refused = anyio.create_memory_object_stream[SessionMessage](math.inf)
    token = anyio.lowlevel.current_token()

    def take(line: bytes | _TooLong | None) -> bool:
        """Hand a line over, or the end; False when nobody takes any more."""
        taken = None if line is None else _read_line(line, line_limit)
        if line is not None and taken is None:
            return True
        try:
            match taken:
                case None:
                    anyio.from_thread.run_sync(to_us.close, token=token)
                case _Refused(reply=reply):
                    anyio.from_thread.run_sync(refusing.send_nowait, SessionMessage(reply), token=token)
                case message:
                    anyio.from_thread.run_sync(to_us.send_nowait, SessionMessage(message), token=token)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, RuntimeError):
            return False  # a loop that is over raises RuntimeError, of one kind or the other
        return taken is not None

    reader = threading.Thread(
        target=_read, args=(wire.incoming, take, line_limit), name="massgen-mcp stdin", daemon=True
    )
    with to_us, incoming, outgoing, refusing:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_write, wire.outgoing, from_us, tasks.cancel_scope)
            tasks.start_soon(_pass_on, refused, outgoing.clone())
            reader.start()
            yield incoming, outgoing
            refusing.close()
            outgoing.close()  # what was sent before is still written


def _read(descriptor: int, take: Callable[[bytes | _TooLong | None], bool], line_limit: int) -> None:
    """Hand over what comes, line by line and then the end, in a thread of its own."""
    for line in _lines(descriptor, line_limit):
        if not take(line):
            return
    take(None)


def _lines(descriptor: int, limit: int) -> Iterator[bytes | _TooLong]:
    """The lines that come, the length alone of one too long. What follows the last line end is no line."""
    line, length = bytearray(), 0
    while chunk := _some(descriptor):
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            length += len(part)
            if length <= limit:
                line += part
                yield bytes(line)
            else:
                yield _TooLong(length)
            line, length = bytearray(), 0
        length += len(rest)
        if length <= limit:
            line += rest
        else:
            line.clear()


def _some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""  # gone is gone, however it went


def _read_line(line: bytes | _TooLong, limit: int) -> _Taken | None:
    """The message in a line, or what is said of a line that has none; None where nobody waits for a word."""
    if isinstance(line, _TooLong):
        _logger.warning("dropped a message of %d bytes; %d are taken", line.length, limit)
        words = f"Invalid request: a message of {line.length} bytes; at most {limit} are taken"
        return _refused(types.INVALID_REQUEST, words)
    text = line.decode("utf-8", "replace").strip()
    if not text:
        return None
    try:
        return types.jsonrpc_message_adapter.validate_json(text, by_name=False)
    except ValidationError:
        taken = _second_look(text)
    if taken is None or isinstance(taken, _Refused):
        _logger.warning("dropped a line that is not JSON-RPC (%d bytes)", len(line))
    return taken


def _second_look(text: str) -> _Taken | None:
    """The same for a line that a strict reader does not take: half a character in a text is put right."""
    try:
        value: Any = json.loads(text)
        mended = _LONE_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False))
    except (ValueError, RecursionError):
        return _refused(types.PARSE_ERROR, "Parse error: the line is not JSON, or nested too deeply")
    try:
        return types.jsonrpc_message_adapter.validate_json(mended, by_name=False)
    except ValidationError:
        fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        if "method" not in fields and ("result" in fields or "error" in fields):
            # A reply of the other side's: its id is one of ours, and would be taken for one of theirs.
            return None
        return _refused(types.INVALID_REQUEST, "Invalid request: not a JSON-RPC message", fields.get("id"))


def _refused(code: int, words: str, asked: object = None) -> _Refused:
    known = isinstance(asked, str | int) and not isinstance(asked, bool)
    to = _LONE_SURROGATE.sub("\ufffd", asked) if isinstance(asked, str) else asked
    error = types.ErrorData(code=code, message=words)
    return _Refused(
        types.JSONRPCError(jsonrpc="2.0", id=cast("str | int", to) if known else None, error=error)
    )


async def _pass_on(
    messages: MemoryObjectReceiveStream[SessionMessage], out: MemoryObjectSendStream[SessionMessage]
) -> None:
    # A host that listens no more is told by the writer.
    with contextlib.suppress(anyio.BrokenResourceError):
        async with messages, out:
            async for message in messages:
                await out.send(message)


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
