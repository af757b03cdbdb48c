"""A server at an address, through the MCP SDK's Streamable HTTP transport over connections we check."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import anyio.to_thread
import httpx2
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import jsonrpc_message_adapter

from massgen_mcp.network import Gate, trust
from massgen_mcp.tools.downstream.entry import Entry, Outside
from massgen_mcp.tools.downstream.failures import WireLost, root_cause
from massgen_mcp.tools.downstream.wire import MAX_MESSAGE, Unreadable, Wire

__all__ = ["open_address"]

_TIMEOUT = httpx2.Timeout(connect=10.0, write=60.0, read=None, pool=None)
"""Reading is bounded by each request's own limit."""
_LIMITS = httpx2.Limits(max_connections=20, max_keepalive_connections=4, keepalive_expiry=30.0)
_FAREWELL = 1.0
_PROXY = "_proxy"
_BAD = 400
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_REMEDIES = {
    _UNAUTHORIZED: " Set its `headers`, such as Authorization.",
    _FORBIDDEN: " Set its `headers`, such as Authorization.",
    404: " Check its `url`.",
}


class _Capped(httpx2.AsyncByteStream):
    """A body of a largest size."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_MESSAGE:
                raise httpx2.RemoteProtocolError(f"it sent more than {MAX_MESSAGE} bytes in one answer")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Reception:
    """Looks at every response, and remembers what the transport above does not tell."""

    def __init__(self) -> None:
        self.session = ""
        self.status = 0

    def __call__(self, response: httpx2.Response) -> None:
        """Refuse redirects and packed bodies; bound the rest."""
        if response.is_redirect:
            raise httpx2.RemoteProtocolError("it redirects elsewhere, which is not followed; give that url")
        if response.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
            raise httpx2.RemoteProtocolError("its answer is packed in a way that was not asked for")
        self.status = response.status_code if response.status_code >= _BAD else 0
        self.session = response.headers.get(MCP_SESSION_ID, self.session)
        events = response.headers.get("content-type", "").strip().lower().startswith("text/event-stream")
        if not events and isinstance(response.stream, httpx2.AsyncByteStream):
            # Of a stream of events, the transport above bounds each.
            response.stream = _Capped(response.stream)

    def words(self) -> str:
        """The last refusal, with what to do."""
        if not self.status:
            return ""
        return f" It answered with HTTP status {self.status}.{_REMEDIES.get(self.status, '')}"


class _AddressWire:
    """The SDK's streams as messages."""

    def __init__(self, read: Any, write: Any, reception: _Reception) -> None:
        self._read_stream = read
        self._write_stream = write
        self._reception = reception
        self.received = 0
        """The transport tells nothing of sizes; it bounds each message."""

    async def send(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        # Without `by_name`, what is validated are the names on the wire.
        parsed = jsonrpc_message_adapter.validate_python(dict(message), by_name=False)
        metadata = ClientMessageMetadata(headers=dict(headers)) if headers else None
        try:
            await self._write_stream.send(SessionMessage(parsed, metadata))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise WireLost(f"the connection was closed.{self._reception.words()}") from error

    async def receive(self) -> object:
        try:
            item = await self._read_stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise WireLost(f"the connection was closed.{self._reception.words()}") from error
        if isinstance(item, Exception):
            return Unreadable(type(item).__name__)
        message = cast("SessionMessage", item).message
        found = message.model_dump(by_alias=True, mode="json", exclude_unset=True)
        if self._reception.status and isinstance(found.get("error"), dict):
            found["error"]["message"] = f"{found['error'].get('message', '')}.{self._reception.words()}"
        return found

    def last_words(self) -> str:
        return self._reception.words().strip()


@asynccontextmanager
async def open_address(entry: Entry, outside: Outside) -> AsyncGenerator[Wire]:
    """Connect to a server where the address policy allows it; a connection that breaks raises in the block.

    Raises:
        WireLost: it can't be reached, or is lost.
    """
    reception = _Reception()
    gate = Gate(
        context=await anyio.to_thread.run_sync(trust),
        limits=_LIMITS,
        http_hosts=set(outside.http_hosts),
        received=reception,
        proxies=_proxies(outside.environ),
        resolve=outside.resolve,
    )
    headers = {"Accept-Encoding": "identity", **dict(entry.headers)}
    client = httpx2.AsyncClient(
        transport=gate, timeout=_TIMEOUT, follow_redirects=False, trust_env=False, headers=headers
    )
    try:
        async with client:
            try:
                async with streamable_http_client(
                    entry.url, http_client=client, terminate_on_close=False, max_sse_event_size=MAX_MESSAGE
                ) as (read, write):
                    yield _AddressWire(read, write, reception)
            finally:
                await _leave(client, entry.url, reception.session)
    except Exception as error:
        cause = root_cause(error)
        if isinstance(cause, httpx2.HTTPError):
            raise WireLost(f"{cause or type(cause).__name__}") from error
        raise


async def _leave(client: httpx2.AsyncClient, url: str, session: str) -> None:
    """Say goodbye to a server that keeps sessions, without waiting long."""
    if session:
        headers = {MCP_SESSION_ID: session}
        with anyio.move_on_after(_FAREWELL, shield=True), contextlib.suppress(httpx2.HTTPError):
            await client.delete(url, headers=headers)


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """The operator's proxies by scheme, and under `no` what goes around them; small letters win."""
    names = sorted(name for name in environ if name.lower().endswith(_PROXY) and environ[name])
    return {name.lower().removesuffix(_PROXY): environ[name] for name in names}
