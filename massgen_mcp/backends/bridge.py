"""The team's tools for a program that only knows MCP servers it starts itself.

The program starts a small process that is nothing but a pipe to a socket in a folder that is ours alone; what
comes out of it is served here, by the handlers of the turn.
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from massgen_mcp.backends import bridge_child
from massgen_mcp.backends.sdk import load
from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec

__all__ = ["NAME", "Bridge", "open_bridge"]

NAME = "massgen"
"""What the program knows the server by."""

_LINE = 8 * 1024 * 1024
"""Bytes of one message."""

_WAITING = 16
"""Messages that wait to be taken; who sends more waits too."""

Run = Callable[[ToolCall], Awaitable[ToolResult]]


class Bridge:
    """Serves the tools of one agent, turn after turn, at one socket."""

    def __init__(self, socket: Path, *, lowlevel: ModuleType, types: ModuleType, message: ModuleType) -> None:
        self._socket = socket
        self._lowlevel = lowlevel
        self._types = types
        self._message = message
        self._calls = 0

    @property
    def command(self) -> tuple[str, ...]:
        """What the program starts as its server."""
        return (_python(), "-IS", bridge_child.__file__, str(self._socket))

    @property
    def reads(self) -> tuple[Path, ...]:
        """What that needs to see."""
        home = Path(sys.base_prefix).resolve()
        interpreter = () if home.is_relative_to("/usr") else (home,)
        return (Path(bridge_child.__file__).resolve(), self._socket.parent, *interpreter)

    @asynccontextmanager
    async def serving(self, specs: Sequence[ToolSpec], run: Run) -> AsyncGenerator[None]:
        """Serve a turn's tools while the block lasts. `run` raises nothing but a cancellation."""
        server = self._server(specs, run)
        self._socket.unlink(missing_ok=True)
        listener = await anyio.create_unix_listener(self._socket, mode=0o600)
        failure: Exception | None = None
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, partial(self._serve, server))
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised again below, outside of the group that would wrap it
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _server(self, specs: Sequence[ToolSpec], run: Run) -> Any:
        types = self._types
        tools = [
            types.Tool(name=spec.name, description=spec.description, input_schema=dict(spec.parameters))
            for spec in specs
        ]

        async def list_tools(_context: object, _params: object) -> Any:
            return types.ListToolsResult(tools=tools)

        async def call_tool(_context: object, params: Any) -> Any:
            self._calls += 1
            arguments = json.dumps(params.arguments or {}, ensure_ascii=False)
            call = ToolCall(id=f"call_{self._calls}", name=params.name, arguments=arguments)
            result = await run(call)
            return types.CallToolResult(content=_content(types, result), is_error=result.is_error)

        return self._lowlevel.Server(NAME, on_list_tools=list_tools, on_call_tool=call_tool)

    async def _serve(self, server: Any, line: SocketStream) -> None:
        """One connection, until the other side closes it."""
        make = anyio.create_memory_object_stream[Any]
        to_us, incoming = make(_WAITING)
        outgoing, from_us = make(0)
        async with line, anyio.create_task_group() as tasks:
            tasks.start_soon(self._read, line, to_us)
            tasks.start_soon(self._write, line, from_us)
            with incoming, outgoing:
                await server.run(incoming, outgoing, server.create_initialization_options())
            tasks.cancel_scope.cancel()

    async def _read(self, line: SocketStream, to_us: Any) -> None:
        messages = BufferedByteReceiveStream(line)
        adapter = self._types.jsonrpc_message_adapter
        with to_us:
            while True:
                try:
                    text = await messages.receive_until(b"\n", _LINE)
                    message = adapter.validate_json(text, by_name=False)
                except _ENDED:
                    return
                except ValueError:
                    continue  # who sends something else than messages waits for nothing
                try:
                    await to_us.send(self._message.SessionMessage(message))
                except anyio.BrokenResourceError:
                    return

    async def _write(self, line: SocketStream, from_us: Any) -> None:
        with from_us:
            async for message in from_us:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                try:
                    await line.send(text.encode() + b"\n")
                except _ENDED:
                    return


def _content(types: ModuleType, result: ToolResult) -> list[Any]:
    """A result's text and pictures; what is no picture stays with the team."""
    pictures = [image for image in result.images if image.mime.startswith("image/")]
    left_out = len(result.images) - len(pictures)
    told = (
        f"{result.content}\n[{left_out} documents can't be shown to you here.]"
        if left_out
        else result.content
    )
    shown = [
        types.ImageContent(type="image", data=b64encode(each.data).decode(), mime_type=each.mime)
        for each in pictures
    ]
    return [types.TextContent(type="text", text=told), *shown]


_ENDED = (
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.DelimiterNotFound,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)


async def open_bridge(folder: Path) -> Bridge:
    """A bridge whose socket is in that folder, which nobody else may enter."""
    return Bridge(
        folder / "tools.sock",
        lowlevel=await load("mcp.server.lowlevel"),
        types=await load("mcp_types"),
        message=await load("mcp.shared.message"),
    )


def _python() -> str:
    """This interpreter's own file: that of a virtual environment is a link out of what the program sees."""
    return os.path.realpath(sys.executable)
