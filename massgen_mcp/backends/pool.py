"""The one HTTP pool of the process, and what everybody talking to the same provider shares."""

from __future__ import annotations

import hashlib
import ssl
import urllib.request
from collections.abc import Iterable, Mapping

import anyio
import anyio.to_thread
import httpx2

from massgen_mcp.address import refuse_url
from massgen_mcp.backends.body import watch_body
from massgen_mcp.backends.pause import SharedPause
from massgen_mcp.backends.pulse import PULSE
from massgen_mcp.network import Gate, Resolve, resolve as look_up, trust

__all__ = ["MAX_RESPONSE", "TIMEOUT", "Pool"]

MAX_RESPONSE = 8 * 1024 * 1024
"""Bytes of one response, or of one event where it is a stream of them, after decompression."""

TIMEOUT = httpx2.Timeout(connect=10.0, write=60.0, read=None, pool=None)
"""Reading is watched by the retry layer, which knows what a request is worth waiting for."""

_LIMITS = httpx2.Limits(max_connections=1_000, max_keepalive_connections=100, keepalive_expiry=30.0)


class Pool:
    """One `httpx2.AsyncClient`, made when first asked for. It belongs to the event loop that asked.

    No redirect is followed, no cookie is kept, a response has a largest size. The operator's proxies and
    certificates hold: `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `NODE_EXTRA_CA_CERTS`. Whoever made it
    closes it; those who borrow the client never do.

    Args:
        http_hosts: hosts, besides this machine, that may be talked to without TLS.
        proxies: scheme to proxy address, `no` to exceptions; absent: as the environment says.
        resolve: how names are looked up.
        max_bytes: the largest response, and the largest event of a stream, which may be eight times that.
        tls: which certificates to trust; absent: as the environment and the system say.
    """

    def __init__(
        self,
        *,
        http_hosts: Iterable[str] = (),
        proxies: Mapping[str, str] | None = None,
        resolve: Resolve = look_up,
        max_bytes: int = MAX_RESPONSE,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._http_hosts = {host.lower() for host in http_hosts}
        self._proxies = proxies
        self._resolve = resolve
        self._max_bytes = max_bytes
        self._tls = tls
        self._lock = anyio.Lock()
        self._client: httpx2.AsyncClient | None = None
        self._pauses: dict[str, SharedPause] = {}
        self._refused: dict[tuple[str, str], set[str]] = {}

    def __repr__(self) -> str:
        return f"Pool({'idle' if self._client is None else 'open'})"

    def allow_http(self, host: str) -> None:
        """Let this host be talked to without TLS: its operator has named it."""
        self._http_hosts.add(host.lower())

    def refuse_url(self, url: str) -> str | None:
        """Why this URL may not be talked to; None when it may."""
        return refuse_url(url, http_hosts=self._http_hosts)

    async def client(self) -> httpx2.AsyncClient:
        """The shared client, borrowed: do not close it."""
        async with self._lock:
            if self._client is None:
                if self._tls is None:
                    # Loading the certificates takes some 50 ms.
                    self._tls = await anyio.to_thread.run_sync(trust)
                self._client = self._make(self._tls)
        return self._client

    def _make(self, context: ssl.SSLContext) -> httpx2.AsyncClient:
        gate = Gate(
            context=context,
            limits=_LIMITS,
            http_hosts=self._http_hosts,
            received=lambda response: watch_body(response, limit=self._max_bytes, pulse=PULSE.get()),
            proxies=urllib.request.getproxies() if self._proxies is None else self._proxies,
            resolve=self._resolve,
        )
        return httpx2.AsyncClient(
            transport=gate,
            timeout=TIMEOUT,
            follow_redirects=False,
            trust_env=False,
            headers={"Accept-Encoding": "gzip, deflate"},
        )

    def pause(self, address: str, api_key: str) -> SharedPause:
        """The pause shared by all who use that key at that address."""
        name = hashlib.sha256(f"{address}\0{api_key}".encode()).hexdigest()
        return self._pauses.setdefault(name, SharedPause())

    def refused_parameters(self, address: str, model: str) -> set[str]:
        """Names of parameters that this model refused here; whoever learns of one adds it."""
        return self._refused.setdefault((address, model), set())

    async def aclose(self) -> None:
        """Close all connections. The pool can be used again afterwards."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
