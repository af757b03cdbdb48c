"""Servers at an address: what they may do, and where we go."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from massgen_mcp.tools.downstream import Entry
from tests.tools.downstream import ask, opened

pytestmark = pytest.mark.anyio

JSON = "application/json"
EVENTS = "text/event-stream"


@dataclass
class Asked:
    """One request as it came."""

    method: str
    headers: dict[str, str]
    message: dict[str, Any]


@dataclass
class Web:
    """A web server that answers as it is told."""

    answer: Callable[[Asked, SocketStream], Awaitable[None]]
    asked: list[Asked] = field(default_factory=list[Asked])
    url: str = ""

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            reader = BufferedByteReceiveStream(stream)
            try:
                while True:
                    head = (await reader.receive_until(b"\r\n\r\n", 65536)).decode()
                    first, *lines = head.split("\r\n")
                    headers = {
                        name.lower(): value.strip()
                        for name, _, value in (one.partition(":") for one in lines)
                    }
                    body = await reader.receive_exactly(int(headers.get("content-length", "0")))
                    asked = Asked(first.partition(" ")[0], headers, json.loads(body or b"{}"))
                    self.asked.append(asked)
                    await self.answer(asked, stream)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                return


@asynccontextmanager
async def web(answer: Callable[[Asked, SocketStream], Awaitable[None]]) -> AsyncGenerator[Web]:
    found = Web(answer)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, found.serve)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
        found.url = f"http://127.0.0.1:{port}/mcp"
        yield found
        tasks.cancel_scope.cancel()


async def respond(stream: SocketStream, status: int, body: bytes = b"", **headers: str) -> None:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    await stream.send("\r\n".join([*lines, "", ""]).encode() + body)


def result(asked: Asked) -> dict[str, Any]:
    match asked.message.get("method"):
        case "initialize":
            info = {"name": "web", "version": "0"}
            return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            return {
                "tools": [
                    {"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "stream", "big")
                ]
            }
        case _:
            arguments = asked.message.get("params", {}).get("arguments", {})
            return {"content": [{"type": "text", "text": json.dumps(arguments)}]}


def reply(asked: Asked) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": asked.message["id"], "result": result(asked)}).encode()


async def well(asked: Asked, stream: SocketStream) -> None:
    """A server as it should be."""
    if asked.method == "GET":
        await respond(stream, 405)
    elif asked.method == "DELETE" or "id" not in asked.message:
        await respond(stream, 202 if asked.method == "POST" else 200)
    elif asked.message["method"] == "tools/call" and asked.message["params"]["name"] == "stream":
        token = asked.message["params"]["_meta"]["progressToken"]
        step = {"progressToken": token, "progress": 1, "message": "half"}
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": step})
        body = f"data: {note}\n\ndata: {reply(asked).decode()}\n\n".encode()
        await respond(stream, 200, body, Content_Type=EVENTS)
    elif asked.message["method"] == "tools/call" and asked.message["params"]["name"] == "big":
        await respond(stream, 200, b'{"x": "' + b"x" * 9_000_000 + b'"}', Content_Type=JSON)
    else:
        await respond(stream, 200, reply(asked), Content_Type=JSON, Mcp_Session_Id="s-1")


def entry(url: str, **more: Any) -> Entry:
    return Entry(name="web", url=url, timeout=10.0, **more)


async def test_calls_go_out_with_the_entrys_headers_and_come_back(tmp_path: Path) -> None:
    told: list[str] = []
    async with web(well) as server:
        headers = (("Authorization", "Bearer t-123456789"),)
        async with opened(entry(server.url, headers=headers), tmp_path, tell=told.append) as tools:
            assert [spec.name for spec in tools.specs] == ["web__echo", "web__stream", "web__big"]
            assert (await ask(tools, "web__echo", a=1)).content == '{"a": 1}'
            assert (await ask(tools, "web__stream", b=2)).content == '{"b": 2}'

        assert told == ["web__stream: half"]
        assert {one.headers["authorization"] for one in server.asked} == {"Bearer t-123456789"}
        assert server.asked[-1].method == "DELETE", "the session is left"
        called = server.asked[-2].headers
        assert called["mcp-protocol-version"] == "2025-06-18"
        assert called["mcp-session-id"] == "s-1"
        assert called["accept-encoding"] == "identity"


async def test_a_large_event_of_a_stream_is_no_failure(tmp_path: Path) -> None:
    async with web(well) as server, opened(entry(server.url), tmp_path) as tools:
        outcome = await ask(tools, "web__stream", text="x" * 3 * 1024 * 1024)

        assert not outcome.is_error
        assert "bytes are left out here" in outcome.content


async def test_a_body_that_is_too_large_ends_the_connection(tmp_path: Path) -> None:
    async with web(well) as server, opened(entry(server.url), tmp_path) as tools:
        outcome = await ask(tools, "web__big")

        assert outcome.is_error
        assert (await ask(tools, "web__echo")).content == "{}", "it is connected to again"


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async def elsewhere(asked: Asked, stream: SocketStream) -> None:
        del asked
        await respond(stream, 307, Location="/other")

    async with web(elsewhere) as server, opened(entry(server.url), tmp_path) as tools:
        assert tools.down == {"web"}
        assert "it redirects elsewhere, which is not followed" in tools.warnings[0]
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "It answered with HTTP status 401. Set its `headers`, such as Authorization."),
        (404, "It answered with HTTP status 404. Check its `url`."),
        (500, "It answered with HTTP status 500."),
    ],
)
async def test_a_refusal_is_told_with_its_status_and_a_remedy(
    status: int, words: str, tmp_path: Path
) -> None:
    async def refuse(asked: Asked, stream: SocketStream) -> None:
        del asked
        await respond(stream, status)

    async with web(refuse) as server, opened(entry(server.url), tmp_path) as tools:
        assert words in tools.warnings[0]


async def test_a_packed_answer_that_was_not_asked_for_is_refused(tmp_path: Path) -> None:
    async def pack(asked: Asked, stream: SocketStream) -> None:
        await respond(stream, 200, reply(asked), Content_Type=JSON, Content_Encoding="gzip")

    async with web(pack) as server, opened(entry(server.url), tmp_path) as tools:
        assert "packed in a way that was not asked for" in tools.warnings[0]


async def test_a_page_that_is_no_server_is_named(tmp_path: Path) -> None:
    async def page(asked: Asked, stream: SocketStream) -> None:
        del asked
        await respond(stream, 200, b"<html>", Content_Type="text/html")

    async with web(page) as server, opened(entry(server.url), tmp_path) as tools:
        assert "Unexpected content type: text/html" in tools.warnings[0]


async def test_nobody_there_is_told(tmp_path: Path) -> None:
    async with opened(entry("http://127.0.0.1:9/mcp"), tmp_path) as tools:
        assert tools.warnings[0].startswith("MCP server web is off: All connection attempts failed")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/mcp", "plain http is only for this machine"),
        ("http://169.254.169.254/", "link-local or metadata address"),
        ("https://2130706433/", "a number in an unusual form"),
    ],
)
async def test_the_address_policy_holds(url: str, why: str, tmp_path: Path) -> None:
    async with opened(entry(url), tmp_path) as tools:
        assert why in tools.warnings[0]


async def test_the_address_that_a_name_stands_for_is_checked(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["169.254.169.254"]

    async with opened(entry("https://innocent.example/mcp"), tmp_path, resolve=resolve) as tools:
        assert "169.254.169.254 is a link-local or metadata address" in tools.warnings[0]


async def test_a_server_of_the_newer_generation_gets_its_headers(tmp_path: Path) -> None:
    async def modern(asked: Asked, stream: SocketStream) -> None:
        number = asked.message.get("id")
        match asked.message.get("method"):
            case "initialize":
                error = {"code": -32022, "message": "modern only", "data": {"supported": ["2026-07-28"]}}
                body = json.dumps({"jsonrpc": "2.0", "id": number, "error": error}).encode()
                await respond(stream, 400, body, Content_Type=JSON)
                return
            case "server/discover":
                found: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            case "tools/list":
                place = {"type": "string", "x-mcp-header": "City"}
                tool = {"name": "sky", "inputSchema": {"type": "object", "properties": {"city": place}}}
                found = {"tools": [tool]}
            case _:
                found = result(asked)
        more = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
        body = json.dumps({"jsonrpc": "2.0", "id": number, "result": {**found, **more}}).encode()
        await respond(stream, 200, body, Content_Type=JSON)

    async with web(modern) as server, opened(entry(server.url), tmp_path) as tools:
        assert (await ask(tools, "web__sky", city="Köln")).content == '{"city": "K\\u00f6ln"}'

        called = server.asked[-1]
        assert called.headers["mcp-protocol-version"] == "2026-07-28"
        assert called.headers["mcp-method"] == "tools/call"
        assert called.headers["mcp-name"] == "sky"
        assert called.headers["mcp-param-city"].startswith("=?base64?")
        assert called.message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


async def test_a_stream_that_ends_without_an_answer_is_an_error(tmp_path: Path) -> None:
    async def cut(asked: Asked, stream: SocketStream) -> None:
        if asked.message.get("method") == "tools/call":
            await respond(stream, 200, b": nothing\n\n", Content_Type=EVENTS)
        else:
            await well(asked, stream)

    async with web(cut) as server, opened(entry(server.url), tmp_path) as tools:
        outcome = await ask(tools, "web__echo")

        assert outcome.is_error
        assert "SSE stream ended without a response" in outcome.content


async def test_the_operators_proxy_is_used(tmp_path: Path) -> None:
    async with web(well) as proxy:
        environ = {"HTTPS_PROXY": proxy.url, "no_proxy": "elsewhere"}
        async with opened(
            entry("https://far.example/mcp", start_limit=1.0), tmp_path, environ=environ
        ) as tools:
            assert tools.down == {"web"}
        (asked,) = proxy.asked
        assert asked.method == "CONNECT"
