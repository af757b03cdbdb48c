"""The official Google package, as the adapter of generateContent uses it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.gemini_failures import status_failure
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.sdk import load
from massgen_mcp.errors import BackendError

if TYPE_CHECKING:
    from google import genai

__all__ = ["ERRORS", "Client", "Refused", "explain", "open_client"]

_SUCCESS = 200
_REPLACED = "The body's contents stand here."
_BROKEN_LINE = (httpx2.HTTPError, OSError, anyio.EndOfStream)


class Refused(Exception):
    """A response with a status other than success. Its body is read."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(f"status {response.status_code}")
        self.response = response
        self.status_code = response.status_code

    @property
    def body(self) -> object:
        """What it says: JSON as parsed, else text."""
        try:
            return self.response.json()
        except (ValueError, RecursionError):
            return self.response.text


ERRORS = (Refused, *_BROKEN_LINE, ValueError, RecursionError)
"""What a request or the reading of its response may raise, for `explain`; broken JSON is a `ValueError`."""


@dataclass(slots=True)
class _Kept:
    response: httpx2.Response | None = None


_KEPT: ContextVar[_Kept] = ContextVar("massgen_mcp_gemini_response")
"""Where the response of the request that this task makes is kept."""


class _Line(httpx2.AsyncClient):
    """The shared client as the package is given it. Who asks gets the response; the package, an empty one.

    Its types lose the fields and parts that they do not know, its generators close a connection that is left
    early only when they are collected, and errors in other words than Google's break it.
    """

    def __init__(self, shared: httpx2.AsyncClient) -> None:
        super().__init__(transport=httpx2.AsyncBaseTransport(), trust_env=False)
        self._shared = shared

    def build_request(self, *args: Any, **options: Any) -> httpx2.Request:
        # The package asks for no limit at all, which would hold for connecting too.
        options.pop("timeout", None)
        return self._shared.build_request(*args, **options)

    async def send(self, *args: Any, **options: Any) -> httpx2.Response:
        response = await self._shared.send(*args, **options)
        if response.status_code != _SUCCESS:
            try:
                await response.aread()
            finally:
                await response.aclose()
            raise Refused(response)
        _KEPT.get().response = response
        return httpx2.Response(_SUCCESS, request=response.request)


class Client:
    """Asks generateContent, once for each call."""

    def __init__(self, sdk: genai.Client) -> None:
        self._models: Any = sdk.aio.models

    @asynccontextmanager
    async def generate(self, model: str, body: Mapping[str, Any]) -> AsyncGenerator[httpx2.Response]:
        """Borrow the response to a request that was taken, its body unread.

        Args:
            model: its name.
            body: the request, by the names that go over the wire.
        """
        kept = _Kept()
        try:
            await self._send(model, body, kept)
            if kept.response is None:
                raise AssertionError
            yield kept.response
        finally:
            if kept.response is not None:
                await kept.response.aclose()

    async def _send(self, model: str, body: Mapping[str, Any], kept: _Kept) -> None:
        token = _KEPT.set(kept)
        try:
            chunks = await self._models.generate_content_stream(
                model=model,
                contents=_REPLACED,
                # All of it as `extra_body`, so that parts of kinds that the types do not know go back as they
                # came. Nothing is called and no further request made behind our back.
                config={
                    "http_options": {"extra_body": dict(body)},
                    "automatic_function_calling": {"disable": True},
                    "automatic_continuation": False,
                },
            )
            await anext(chunks, None)  # the package sends when it is asked for the first
        finally:
            _KEPT.reset(token)


async def open_client(
    pool: Pool, account: Account, headers: Mapping[str, str], *, api_version: str
) -> Client:
    """A client that asks once, over the shared pool, and takes nothing from the environment.

    Raises:
        BackendError: the address may not be talked to.
    """
    account.check_address(pool)
    sdk = await load("google.genai")
    # The package loads all certificates twice for connections of its own, 0.1 s each time; it makes none.
    unused = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    options = sdk.types.HttpOptions(
        base_url=account.base_url,
        api_version=api_version,
        headers=dict(headers),
        httpx_async_client=_Line(await pool.client()),
        client_args={"verify": unused},
        async_client_args={"verify": unused, "ssl": unused},
    )
    # Variables may ask for Vertex AI, or for a replay instead of requests.
    debug = sdk.client.DebugConfig(client_mode=None, replays_directory=None, replay_id=None)
    try:
        client = sdk.Client(vertexai=False, api_key=account.key, debug_config=debug, http_options=options)
    except ImportError as error:
        raise account.failures.make(
            "unavailable",
            "The package 'google.genai' can't be used as the environment asks",
            words=str(error),
            remedy="Unset GOOGLE_GENAI_HTTP_CLIENT.",
            connected=False,
        ) from None
    return Client(client)


def explain(error: Exception, failures: Failures) -> BackendError:
    """One of `sdk_errors` as ours. Raise it `from None`: the other holds the key and unredacted words."""
    if isinstance(error, Refused):
        response = error.response
        return status_failure(response.status_code, error.body, failures, headers=response.headers)
    if isinstance(error, _BROKEN_LINE):
        return failures.network(error)
    if isinstance(error, UnicodeEncodeError):
        return failures.make(
            "auth",
            f"The key in {failures.key} holds characters that can't be sent",
            remedy="Set a valid key, or give `api_key` in the backend block.",
            connected=False,
        )
    return failures.broken("a part of it is not JSON")
