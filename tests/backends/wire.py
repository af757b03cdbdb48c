"""A loopback HTTP server that says exactly what a test wants said, and remembers exactly what it was sent.

```python
async with wire(sse(chunk(...)), [sse_head(), Stall()]) as server:
    ...  # talk to server.url
assert server.requests[0].json["model"] == "m"
```

Each argument of `wire` answers one request, in order: bytes are sent as they are, `Stall` waits until the
client leaves, `Until(event)` waits for a test, `Cut` closes the connection, `Reset` breaks it.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import anyio.abc

from massgen_mcp.backends.base import AgentRuntime, ModelBackend
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.open import open_backend
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.clock import Clock, ScriptedClock, SystemClock
from massgen_mcp.secrets import Secrets

__all__ = [
    "Action",
    "Beside",
    "Cut",
    "Hurried",
    "Recorded",
    "Reset",
    "Stall",
    "Until",
    "Wire",
    "closed_port",
    "http",
    "http_json",
    "make_context",
    "opened",
    "part",
    "sse",
    "sse_head",
    "wire",
]


class Stall:
    """Say nothing more until the client leaves."""


class Cut:
    """Close the connection here."""


class Reset:
    """Break the connection here."""


@dataclass(frozen=True)
class Until:
    """Go on once the event is set."""

    event: anyio.Event


_TLS = b"\x16\x03"
"""How a TLS handshake begins."""

Action: TypeAlias = bytes | Stall | Cut | Reset | Until


@dataclass
class Recorded:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    raw: bytes
    left: anyio.Event = field(default_factory=anyio.Event)
    """Set when the client has closed the connection."""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Beside: TypeAlias = Callable[[Recorded], bytes | None]
"""Answers requests that a script is not about; None for those it is about."""


class Wire:
    """The server's side of the tests."""

    def __init__(
        self, port: int, exchanges: Sequence[Sequence[Action]], beside: Beside | None = None
    ) -> None:
        self._beside = beside
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"
        self.requests: list[Recorded] = []
        self.connections = 0
        self._exchanges = list(exchanges)
        self._came = anyio.Event()

    async def request(self, number: int = 1) -> Recorded:
        """Wait for that many requests; the last of them."""
        with anyio.fail_after(5):
            while len(self.requests) < number:
                self._came = anyio.Event()
                await self._came.wait()
        return self.requests[number - 1]

    def answer(self, *exchanges: bytes | Sequence[Action]) -> None:
        """Further requests, answered after those that are planned: for answers that name the server."""
        self._exchanges += [[each] if isinstance(each, bytes) else each for each in exchanges]

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        async with stream:
            while (request := await _receive(stream)) is not None:
                if self._beside is not None and (answer := self._beside(request)) is not None:
                    await stream.send(answer)
                    continue
                actions = self._exchanges.pop(0) if self._exchanges else [http(500, b"the script is over")]
                self.requests.append(request)
                self._came.set()
                if not await _play(stream, actions, request):
                    return


async def _play(stream: anyio.abc.SocketStream, actions: Sequence[Action], request: Recorded) -> bool:
    for action in actions:
        match action:
            case bytes():
                await stream.send(action)
            case Until(event=event):
                await event.wait()
            case Cut():
                return False
            case Reset():
                raw: socket.socket = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - no Django here
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case Stall():
                try:
                    await stream.receive(1)
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    request.left.set()
                return False
    return True


async def _receive(stream: anyio.abc.SocketStream) -> Recorded | None:
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
            if data.startswith(_TLS):
                await stream.send(http(400, b"this is plain HTTP"))
                return None
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        while len(body) < int(headers.get("content-length", "0")):
            more = await stream.receive()
            body, data = body + more, data + more
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return None
    method, target, _ = first.split(" ")
    return Recorded(method=method, target=target, headers=headers, body=body, raw=data)


class Hurried(SystemClock):
    """Time that is skipped where somebody would wait; `waits` says how long."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    async def sleep(self, seconds: float) -> None:
        self._skipped += max(0.0, seconds)
        self.waits.append(seconds)
        await super().sleep(0)


@asynccontextmanager
async def wire(*exchanges: bytes | Sequence[Action], beside: Beside | None = None) -> AsyncGenerator[Wire]:
    """A server that answers one request with each exchange; those that `beside` answers don't count."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        listener.setblocking(False)
        port: int = listener.getsockname()[1]
        server = Wire(port, [[each] if isinstance(each, bytes) else each for each in exchanges], beside)
        failure: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_accept, listener, server, tasks)
            try:
                yield server
            except Exception as error:  # noqa: BLE001 - raised again outside of the group that would wrap it
                failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _accept(listener: socket.socket, server: Wire, tasks: anyio.abc.TaskGroup) -> None:
    """Serve whoever connects. By hand: anyio looks the host's name up in a thread, for each server."""
    while True:
        await anyio.wait_readable(listener)
        connection, _ = listener.accept()
        connection.setblocking(False)
        tasks.start_soon(server.serve, await anyio.abc.SocketStream.from_socket(connection))


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def http(status: int, body: bytes = b"", content_type: str = "text/plain", **headers: str) -> bytes:
    """A whole response. Underscores in header names stand for dashes."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def http_json(status: int, value: object, **headers: str) -> bytes:
    """A whole response holding JSON."""
    return http(status, json.dumps(value).encode(), "application/json", **headers)


def sse_head(content_type: str = "text/event-stream") -> bytes:
    """The beginning of a response that comes in parts."""
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()


def part(data: bytes) -> bytes:
    """One part of such a response; an empty one ends it."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def sse(*events: object, done: bool = True, end: bool = True) -> bytes:
    """A response of events: JSON values, or bytes as they are; then `[DONE]`, then the end of the body."""
    blocks = [
        event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in events
    ]
    blocks += [b"data: [DONE]\n\n"] if done else []
    return sse_head() + b"".join(part(block) for block in blocks) + (part(b"") if end else b"")


async def opened(options: Options, context: BackendContext) -> ModelBackend:
    """The model of the context's row, through the seam that every backend comes through."""
    backend = await open_backend(options, context)
    assert not isinstance(backend, AgentRuntime)
    return backend


def make_context(
    type: str,  # noqa: A002 - the word of the team file
    pool: Pool,
    *,
    clock: Clock | None = None,
    secrets: Secrets | None = None,
    environ: Mapping[str, str] | None = None,
) -> BackendContext:
    """What a backend is opened with. A variable of its row becomes its key."""
    info = BACKENDS[type]
    environ = environ or {}
    key = next((environ[name] for name in info.env if name in environ), None)
    return BackendContext(
        info=info,
        pool=pool,
        secrets=secrets or Secrets(),
        clock=clock or ScriptedClock(),
        environ=environ,
        api_key=key,
    )
