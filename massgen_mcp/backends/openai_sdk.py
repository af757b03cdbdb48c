"""The official OpenAI package, as all adapters that speak through it use it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import anyio
import httpx2

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.pool import TIMEOUT, Pool
from massgen_mcp.backends.sdk import load
from massgen_mcp.errors import BackendError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["explain", "forget_environment", "open_client", "sdk_errors"]

_BROKEN_LINE = (httpx2.HTTPError, OSError, ssl.SSLError, anyio.EndOfStream)


async def open_client(pool: Pool, account: Account, headers: Mapping[str, str]) -> AsyncOpenAI:
    """A client that asks once, over the shared pool, and takes nothing from the environment. Never close it.

    Raises:
        BackendError: the address may not be talked to.
    """
    account.check_address(pool)
    sdk = await load("openai")
    client: AsyncOpenAI = sdk.AsyncOpenAI(
        api_key=account.key,
        base_url=account.base_url,
        http_client=await pool.client(),
        max_retries=0,
        timeout=TIMEOUT,
    )
    forget_environment(client, headers)
    return client


def forget_environment(client: AsyncOpenAI, headers: Mapping[str, str]) -> None:
    """Leave these headers alone in what a client sends by itself.

    Absent arguments were filled from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, which are
    meant for OpenAI alone, not for whoever is asked here.
    """
    client.organization = client.project = client.admin_api_key = None
    client._custom_headers = dict(headers)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public setter


async def sdk_errors() -> tuple[type[Exception], ...]:
    """What a call through the package may raise, for `explain`; broken JSON comes as a plain `ValueError`."""
    sdk = await load("openai")
    return (sdk.OpenAIError, *_BROKEN_LINE, ValueError, RecursionError)


def explain(error: Exception, failures: Failures) -> BackendError:
    """One of `sdk_errors` as ours. Raise it `from None`: the other holds the key and unredacted words."""
    status: object = getattr(error, "status_code", None)
    response: object = getattr(error, "response", None)
    body: object = getattr(error, "body", None)
    if isinstance(status, int) and isinstance(response, httpx2.Response):
        signs = (getattr(error, name, None) for name in ("code", "type", "error_code"))
        code = " ".join(str(sign) for sign in signs if sign)
        return failures.status(status, body or response.text, headers=response.headers, code=code)
    if any(isinstance(cause, _BROKEN_LINE) for cause in _causes(error)):
        return failures.network(error)
    if body:
        return failures.reported(body)
    if isinstance(error, ValueError | RecursionError):
        return failures.broken("a part of it is not JSON")
    return failures.broken(str(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
