"""Connections that go only where the address policy allows, through the operator's proxy where one is set."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, cast

import anyio
import httpcore2
import httpx2

from massgen_mcp.address import is_loopback, refuse_address, refuse_url

__all__ = ["AddressRefused", "Gate", "Received", "Resolve", "resolve", "trust"]

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host and a port to the addresses they stand for."""
Received: TypeAlias = Callable[[httpx2.Response], None]
"""Is shown every response before its body is read, and may replace its stream."""

_NEXT_ADDRESS = 3.0
"""Seconds given to an address while there is another one to try."""


class AddressRefused(httpx2.ConnectError):
    """The address policy does not allow this connection; nothing was sent."""


class _Refused(httpcore2.ConnectError):
    """The same below httpx2, which would make it an ordinary `ConnectError`."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, in the system's order of preference."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Looks a name up once, checks every address it stands for, and connects to those very addresses."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._network = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore2's port
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._look_up(host, port, timeout)
        for address in addresses:
            if refused := refuse_address(address, host=host):
                raise _Refused(refused)
        *others, last = addresses
        for address in others:
            limit = min(timeout or _NEXT_ADDRESS, _NEXT_ADDRESS)
            try:
                return await self._network.connect_tcp(address, port, limit, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._network.connect_tcp(last, port, timeout, local_address, socket_options)

    async def _look_up(self, host: str, port: int, limit: float | None) -> Sequence[str]:
        try:
            with anyio.fail_after(limit):
                addresses = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"looking up {host} took too long") from error
        except OSError as error:
            raise httpcore2.ConnectError(f"no such host: {host}") from error
        if not addresses:
            raise httpcore2.ConnectError(f"no such host: {host}")
        return addresses


class _Direct(httpx2.AsyncHTTPTransport):
    """httpx2's own transport over checked connections."""

    def __init__(self, *, context: ssl.SSLContext, limits: httpx2.Limits, resolve: Resolve) -> None:
        super().__init__(verify=context, trust_env=False, limits=limits)
        # httpx2 offers no argument for the network below its pool; httpcore2 does.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_CheckedNetwork(resolve),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except httpx2.ConnectError as error:
            if isinstance(error.__cause__, _Refused):
                raise AddressRefused(str(error), request=request) from error
            raise


class Gate(httpx2.AsyncBaseTransport):
    """The transport of every client here: policy, proxy, and a watched body for every response."""

    def __init__(
        self,
        *,
        context: ssl.SSLContext,
        limits: httpx2.Limits,
        http_hosts: set[str],
        received: Received,
        proxies: Mapping[str, str],
        resolve: Resolve,
    ) -> None:
        self._context = context
        self._limits = limits
        self._http_hosts = http_hosts
        self._received = received
        self._environment = dict(proxies)
        self._direct = _Direct(context=context, limits=limits, resolve=resolve)
        self._proxied: dict[str, httpx2.AsyncHTTPTransport] = {}
        self._allowed: set[tuple[str, str, int | None]] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request where the policy allows it.

        Raises:
            AddressRefused: it does not.
        """
        self._check(request)
        response = await self._route(request.url).handle_async_request(request)
        # One client serves many keys, so nobody's cookies are kept.
        response.headers.pop("set-cookie", None)
        self._received(response)
        return response

    def _check(self, request: httpx2.Request) -> None:
        url = request.url
        origin = (url.scheme, url.host, url.port)
        if origin in self._allowed:
            return
        if refused := refuse_url(str(url), http_hosts=self._http_hosts):
            raise AddressRefused(refused, request=request)
        self._allowed.add(origin)

    def _route(self, url: httpx2.URL) -> httpx2.AsyncHTTPTransport:
        proxy = self._environment.get(url.scheme) or self._environment.get("all")
        if not proxy or is_loopback(url.host) or _bypassed(url, self._environment):
            return self._direct
        if proxy not in self._proxied:
            self._proxied[proxy] = self._through(proxy)
        return self._proxied[proxy]

    def _through(self, proxy: str) -> httpx2.AsyncHTTPTransport:
        address = proxy if "://" in proxy else f"http://{proxy}"
        try:
            return httpx2.AsyncHTTPTransport(
                verify=self._context, trust_env=False, limits=self._limits, proxy=address
            )
        except (ImportError, ValueError) as error:
            raise httpx2.ConnectError(
                "the environment's proxy can't be used; give an http:// one, or install socksio for SOCKS"
            ) from error

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in (self._direct, *self._proxied.values()):
            await transport.aclose()


def _bypassed(url: httpx2.URL, environment: Mapping[str, str]) -> bool:
    """Whether `no_proxy` names the host, a domain above it, or everything."""
    host = url.host.lower()
    entries = (entry.strip().lower() for entry in environment.get("no", "").split(","))
    return any(
        entry == "*" or host == entry.lstrip(".") or host.endswith(f".{entry.lstrip('.')}")
        for entry in entries
        if entry
    )


def trust() -> ssl.SSLContext:
    """The certificates that the environment and the system trust. Loading them takes some 50 ms."""
    context = httpx2.create_ssl_context()
    if extra := os.environ.get("NODE_EXTRA_CA_CERTS"):
        context.load_verify_locations(extra)
    return context
