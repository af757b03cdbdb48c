"""The one HTTP pool: where it goes, where it does not, and what it keeps to itself."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpcore2
import httpx2
import pytest

from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.pool import Pool
from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import BackendError
from massgen_mcp.network import AddressRefused, resolve
from massgen_mcp.secrets import Secrets
from tests.backends.chats import HELLO, open_chat, reply_of
from tests.backends.wire import closed_port, http, wire

pytestmark = pytest.mark.anyio

FAILURES = Failures(title="Testy", model="m", key="KEY", secrets=Secrets(), clock=ScriptedClock())


@asynccontextmanager
async def opened(tls: ssl.SSLContext, **options: Any) -> AsyncGenerator[Pool]:
    options.setdefault("proxies", {})
    pool = Pool(tls=tls, **options)
    try:
        yield pool
    finally:
        await pool.aclose()


class Names:
    """A resolver with a table, which counts."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.addresses


async def test_the_client_is_made_once_and_again_after_closing(pool: Pool) -> None:
    assert repr(pool) == "Pool(idle)"
    first = await pool.client()
    assert await pool.client() is first
    await pool.aclose()
    assert first.is_closed
    async with wire(http(200, b"ok")) as server:
        assert (await (await pool.client()).get(server.url)).text == "ok"


async def test_the_system_s_certificates_are_used_unless_others_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", "/nonexistent/extra.pem")
    with pytest.raises(FileNotFoundError):
        await Pool().client()
    monkeypatch.delenv("NODE_EXTRA_CA_CERTS")
    pool = Pool()
    await pool.client()
    await pool.aclose()


async def test_a_name_is_looked_up_once_and_its_checked_address_connected(tls: ssl.SSLContext) -> None:
    # 127.0.0.2 has no server: the next address of the same answer is tried.
    names = Names("127.0.0.2", "127.0.0.1")
    async with wire(HELLO) as server, opened(tls, resolve=names) as pool:
        backend = await open_chat(f"http://gpu-box:{server.port}/v1", pool)
        assert (await reply_of(backend)).text == "Hello."
    assert names.asked == [("gpu-box", server.port)]
    assert server.requests[0].headers["host"] == f"gpu-box:{server.port}"


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1", "169.254.169.254"], ["::ffff:169.254.169.254"], ["224.0.0.1"]]
)
async def test_one_bad_address_among_many_refuses_the_name(tls: ssl.SSLContext, addresses: list[str]) -> None:
    async with wire(HELLO) as server, opened(tls, resolve=Names(*addresses)) as pool:
        backend = await open_chat(f"http://gpu-box:{server.port}/v1", pool)
        with pytest.raises(BackendError) as caught:
            await reply_of(backend)
        assert server.connections == 0
    error = caught.value
    assert (error.kind, error.attempts, error.requests) == ("bad_request", 1, 0)
    assert "may not be talked to" in str(error)


async def test_localhost_must_be_this_machine(tls: ssl.SSLContext) -> None:
    async with opened(tls, resolve=Names("10.9.8.7")) as pool:
        with pytest.raises(AddressRefused, match="not this machine"):
            await (await pool.client()).get(f"http://localhost:{closed_port()}/")


async def test_plain_http_is_only_for_hosts_that_were_named(pool: Pool) -> None:
    client = await pool.client()
    with pytest.raises(AddressRefused, match="plain http"):
        await client.get("http://gpu-box:1/")
    assert pool.refuse_url("http://gpu-box:1/")
    pool.allow_http("GPU-box")
    assert pool.refuse_url("http://gpu-box:1/") is None


@pytest.mark.parametrize(
    "url", ["http://2130706433/", "https://user:word@localhost/", "https://metadata.google.internal/"]
)
async def test_the_policy_holds_for_every_request_of_the_client(pool: Pool, url: str) -> None:
    with pytest.raises(AddressRefused):
        await (await pool.client()).get(url)


async def test_a_name_that_does_not_exist_is_a_network_failure(tls: ssl.SSLContext) -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, f"{host}:{port}")

    async with opened(tls, resolve=nowhere) as pool:
        backend = await open_chat("https://nowhere.example/v1", pool)
        with pytest.raises(BackendError, match=r"nowhere\.example: no such host") as caught:
            await reply_of(backend)
    assert (caught.value.kind, caught.value.attempts, caught.value.requests) == ("network", 2, 0)
    async with opened(tls, resolve=Names()) as pool:
        with pytest.raises(httpx2.ConnectError, match="no such host"):
            await (await pool.client()).get("https://nowhere.example/")


async def test_a_name_server_that_does_not_answer_is_not_awaited_for_ever(tls: ssl.SSLContext) -> None:
    async def slow(host: str, port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        raise AssertionError(host, port)

    async with opened(tls, resolve=slow) as pool:
        with pytest.raises(httpx2.ConnectTimeout, match="took too long"):
            await (await pool.client()).get("https://slow.example/", timeout=0.01)


async def test_the_system_s_resolver_gives_each_address_once() -> None:
    assert set(await resolve("localhost", 80)) <= {"127.0.0.1", "::1"}


async def test_a_server_without_tls_is_not_trusted(pool: Pool) -> None:
    async with wire(HELLO) as server:
        backend = await open_chat(f"https://127.0.0.1:{server.port}/v1", pool)
        with pytest.raises(BackendError, match="No trusted connection") as caught:
            await reply_of(backend)
    assert (caught.value.kind, caught.value.attempts, caught.value.requests) == ("network", 1, 0)


async def test_no_cookie_is_kept_from_one_request_to_the_next(pool: Pool) -> None:
    async with wire(http(200, b"1", set_cookie="sid=abc"), http(200, b"2")) as server:
        client = await pool.client()
        first = await client.get(server.url)
        await client.get(server.url)
    assert "set-cookie" not in first.headers
    assert "cookie" not in server.requests[1].headers


async def test_the_operator_s_proxy_is_used_except_where_it_is_switched_off(tls: ssl.SSLContext) -> None:
    async with (
        wire(http(200, b"by proxy"), http(200, b"by proxy")) as proxy,
        wire(HELLO, http(200, b"ok")) as server,
    ):
        proxies = {"http": f"127.0.0.1:{proxy.port}", "no": " .local, other.example,"}
        names = Names("127.0.0.1")
        async with opened(tls, proxies=proxies, resolve=names) as pool:
            pool.allow_http("gpu-box")
            pool.allow_http("gpu.local")
            client = await pool.client()
            assert (await client.get("http://gpu-box:1/x")).text == "by proxy"
            assert (await client.get("http://gpu-box:1/y")).text == "by proxy"
            assert (await reply_of(await open_chat(server, pool))).text == "Hello."  # this machine: never
            assert (await client.get(f"http://gpu.local:{server.port}/")).text == "ok"
            with pytest.raises(AddressRefused):
                await client.get("http://169.254.169.254/")
    assert [sent.target for sent in proxy.requests] == ["http://gpu-box:1/x", "http://gpu-box:1/y"]


async def test_a_proxy_that_can_not_be_used_is_named(tls: ssl.SSLContext) -> None:
    async with opened(tls, proxies={"all": "socks4://127.0.0.1:1"}) as pool:
        with pytest.raises(httpx2.ConnectError, match="the environment's proxy"):
            await (await pool.client()).get("https://example.com/")


async def test_a_pause_is_shared_by_key_and_address(pool: Pool) -> None:
    pause = pool.pause("https://a.example", "key-1")
    assert pool.pause("https://a.example", "key-1") is pause
    assert pool.pause("https://a.example", "key-2") is not pause
    assert pool.pause("https://b.example", "key-1") is not pause
    assert "key-1" not in repr(vars(pool))


@pytest.mark.parametrize(
    ("error", "words", "connected"),
    [
        (httpx2.ConnectTimeout("slow"), "did not answer in time", False),
        (httpx2.ConnectError("All connection attempts failed"), "All connection attempts failed", False),
        (httpx2.ProxyError("407 Proxy Authentication Required"), "Check HTTPS_PROXY", False),
        (httpx2.ReadError("reset"), "broke before the reply was complete: reset", True),
        (httpx2.RemoteProtocolError(""), "broke before the reply was complete. Try", True),
        (ExceptionGroup("many", [httpx2.ConnectError("x")]), "No connection to Testy", False),
    ],
)
def test_network_failures_say_whether_anything_was_sent(
    error: Exception,
    words: str,
    connected: bool,  # noqa: FBT001 - a row of the table
) -> None:
    failure = FAILURES.network(error)
    assert failure.kind == "network"
    assert words in str(failure)
    assert failure.connected is connected


def test_the_checked_network_is_the_one_the_pool_uses() -> None:
    # httpx2 offers no argument for it: this fails when its transport keeps its pool elsewhere.
    transport = httpx2.AsyncHTTPTransport()
    assert isinstance(vars(transport)["_pool"], httpcore2.AsyncConnectionPool)
