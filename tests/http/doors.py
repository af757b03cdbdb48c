"""A server over HTTP on a port of its own, and clients for it: the SDK's, and one that writes bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.client.streamable_http import streamable_http_client

from massgen_mcp.server.http.gate import Gate
from massgen_mcp.server.http.place import Place
from massgen_mcp.server.http.resuming import RETRY_SECONDS
from massgen_mcp.server.http.serve import SESSIONS, Doors, serving
from massgen_mcp.server.http.tokens import Tokens
from massgen_mcp.server.service import MakeRuns
from tests.server.peers import envelope, hello

OPERATOR = "the-token-of-the-operator"


@dataclass
class Served:
    """A server that serves."""

    port: int
    gate: Gate

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @asynccontextmanager
    async def client(self, token: str = OPERATOR, *, mode: str = "auto") -> AsyncGenerator[mcp.Client]:
        """The SDK's client."""
        async with (
            httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=20) as http,
            mcp.Client(streamable_http_client(self.url, http_client=http), mode=mode) as client,
        ):
            yield client

    async def send(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Write bytes to a new connection; status, headers and body of the reply."""
        with anyio.fail_after(15):
            async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
                await stream.send(data)
                return await read_reply(BufferedByteReceiveStream(stream))

    async def post(
        self, body: bytes = b"{}", *, token: str | None = OPERATOR, path: str = "/mcp", **headers: Any
    ) -> tuple[int, dict[str, str], bytes]:
        """A POST with these headers (`mcp_session_id="..."`) beside or instead of the usual ones."""
        return await self.send(self.request(body, token=token, path=path, **headers))

    def request(
        self,
        body: bytes = b"{}",
        *,
        token: str | None = OPERATOR,
        path: str = "/mcp",
        method: str = "POST",
        **headers: Any,
    ) -> bytes:
        usual: dict[str, str | None] = {
            "host": f"127.0.0.1:{self.port}",
            "authorization": None if token is None else f"Bearer {token}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "content-length": str(len(body)),
        }
        usual |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{name}: {value}" for name, value in usual.items() if value is not None]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
        return head.encode("latin-1") + body

    async def call(self, tool: str, *, token: str = OPERATOR, **arguments: Any) -> dict[str, Any]:
        """One call in the newer era, by hand; the result."""
        status, headers, body = await self.send(self.asking(tool, token=token, **arguments))
        assert status == 200, body
        if headers["content-type"].startswith("text/event-stream"):
            body = body.split(b"data: ")[-1]
        found: dict[str, Any] = json.loads(body)["result"]
        return found

    def asking(
        self, tool: str, *, token: str = OPERATOR, meta: Mapping[str, Any] | None = None, **arguments: Any
    ) -> bytes:
        """The bytes of such a call."""
        params = {"name": tool, "arguments": arguments, "_meta": {**envelope(), **(meta or {})}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return self.request(json.dumps(body).encode(), token=token, **modern("tools/call", tool))

    async def session(self, token: str = OPERATOR) -> str:
        """A session of the older era."""
        status, headers, _ = await self.post(json.dumps(hello()).encode(), token=token)
        assert status == 200
        return headers["mcp-session-id"]


def modern(method: str, name: str | None = None) -> dict[str, str]:
    """The headers of the newer era."""
    more = {} if name is None else {"mcp_name": name}
    return {"mcp_protocol_version": "2026-07-28", "mcp_method": method} | more


async def read_reply(stream: BufferedByteReceiveStream) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; a body without a length goes until the connection ends."""
    head = (await stream.receive_until(b"\r\n\r\n", 65_536)).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
    if "content-length" in headers:
        return int(head[0].split()[1]), headers, await stream.receive_exactly(int(headers["content-length"]))
    body = b""
    while True:
        size = int(await stream.receive_until(b"\r\n", 100), 16)
        body += (await stream.receive_exactly(size + 2))[:-2]
        if size == 0:
            return int(head[0].split()[1]), headers, body


@asynccontextmanager
async def served(
    make_runs: MakeRuns,
    *,
    tokens: Path | None = None,
    operator: str | None = OPERATOR,
    retry_seconds: float = RETRY_SECONDS,
    sessions: int = SESSIONS,
    **place: Any,
) -> AsyncGenerator[Served]:
    """A server on a port of its own."""
    where = Place(port=0, **place)
    opened = where.open()
    port: int = opened.getsockname()[1]
    doors = Doors(
        place=opened,
        tokens=Tokens(operator=operator, path=tokens),
        hosts=where.hosts(port),
        origins=where.origins(port),
        tls=where.tls(),
    )
    async with serving(make_runs, doors, retry_seconds=retry_seconds, sessions=sessions) as gate:
        with anyio.fail_after(30):
            yield Served(port, gate)


def structured(result: Any) -> Mapping[str, Any]:
    """The structured part of a result of the SDK's client."""
    found: Mapping[str, Any] | None = result.structured_content
    assert found is not None, result.content
    return found
