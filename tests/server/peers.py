"""A client that writes its JSON-RPC by hand, for what the SDK's client would not send."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage

Era: TypeAlias = Literal["2026-07-28", "2025-11-25"]
ERAS: tuple[Era, ...] = ("2026-07-28", "2025-11-25")


def envelope(client: str = "someone") -> dict[str, Any]:
    """What each request of a 2026 client carries."""
    prefix = "io.modelcontextprotocol/"
    return {
        f"{prefix}protocolVersion": "2026-07-28",
        f"{prefix}clientInfo": {"name": client, "version": "1"},
        f"{prefix}clientCapabilities": {},
    }


def hello(client: str = "someone") -> dict[str, Any]:
    """The first request of a 2025 client."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": client, "version": "1"},
    }
    return {"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params}


class Peer:
    """One side of a connection."""

    def __init__(self, out: MemoryObjectSendStream[SessionMessage | Exception], era: Era, name: str) -> None:
        self.era = era
        self.progress: list[dict[str, Any]] = []
        self._out = out
        self._name = name
        self.replies: dict[Any, dict[str, Any]] = {}
        self._news = anyio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message as it is."""
        await self._out.send(SessionMessage(types.jsonrpc_message_adapter.validate_python(message)))

    async def request(self, number: int, method: str, **params: Any) -> None:
        """Send a request of this era."""
        meta = params.pop("_meta", {})
        if self.era == "2026-07-28":
            meta = envelope(self._name) | meta
        await self.send(
            {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": meta}}
        )

    async def call(self, number: int, tool: str, *, token: int | None = None, **arguments: Any) -> None:
        """Call a tool and don't wait for the reply."""
        meta = {} if token is None else {"progressToken": token}
        await self.request(number, "tools/call", name=tool, arguments=arguments, _meta=meta)

    async def cancel(self, number: int, reason: str | None = None) -> None:
        """Say that a request is no longer wanted."""
        params = {"requestId": number} | ({} if reason is None else {"reason": reason})
        await self.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    async def reply(self, number: Any) -> dict[str, Any]:
        """The reply to a request."""
        while number not in self.replies:
            await self._news.wait()
        return self.replies[number]

    async def told(self, count: int) -> list[str]:
        """The progress messages, as soon as there are so many."""
        while len(self.progress) < count:
            await self._news.wait()
        return [note["message"] for note in self.progress]

    async def hang_up(self) -> None:
        """Close the connection."""
        await self._out.aclose()

    async def listen(self, incoming: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Take what the server sends."""
        async for message in incoming:
            found = message.message.model_dump(by_alias=True, mode="json", exclude_unset=True)
            if "id" in found:
                self.replies[found["id"]] = found
            elif found["method"] == "notifications/progress":
                self.progress.append(found["params"])
            self._news.set()
            self._news = anyio.Event()


@asynccontextmanager
async def connected(server: Server[Any], era: Era, *, name: str = "someone") -> AsyncGenerator[Peer]:
    """A peer of a server, over streams in memory, in one era of the protocol."""
    to_server, server_in = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    server_out, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    peer = Peer(to_server, era, name)
    async with server_out, from_server, server_in, to_server, anyio.create_task_group() as tasks:
        tasks.start_soon(peer.listen, from_server)
        tasks.start_soon(server.run, server_in, server_out, server.create_initialization_options())
        if era == "2025-11-25":
            await peer.send(hello(name))
            await peer.reply("hello")
            await peer.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        with anyio.fail_after(20):
            yield peer
        await peer.hang_up()
