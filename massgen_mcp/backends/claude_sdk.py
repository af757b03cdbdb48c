"""The official Anthropic package, as the adapter of the Messages API uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
import httpx2

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.pool import TIMEOUT, Pool
from massgen_mcp.backends.sdk import load

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

__all__ = ["open_client", "sdk_errors"]


async def open_client(pool: Pool, account: Account, headers: Mapping[str, str]) -> AsyncAnthropic:
    """A client that asks once, over the shared pool, and takes nothing from the environment or the disk.

    Never close it.

    Raises:
        BackendError: the address may not be talked to.
    """
    account.check_address(pool)
    sdk = await load("anthropic")
    # With a key, neither variables nor profiles are looked at for one; with False, no traces are made by the
    # OTEL_* and ANTHROPIC_* variables: this package makes its own.
    client: AsyncAnthropic = sdk.AsyncAnthropic(
        api_key=account.key,
        webhook_key="",
        base_url=account.base_url,
        http_client=await pool.client(),
        max_retries=0,
        timeout=TIMEOUT,
        open_telemetry=False,
    )
    # ANTHROPIC_CUSTOM_HEADERS was read, which is meant for Anthropic alone, not for whoever is asked here.
    client._custom_headers = dict(headers)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no public setter
    return client


async def sdk_errors() -> tuple[type[Exception], ...]:
    """What a call through the package may raise, for `explain`; broken JSON comes as a plain `ValueError`."""
    sdk = await load("anthropic")
    return (sdk.AnthropicError, httpx2.HTTPError, OSError, anyio.EndOfStream, ValueError, RecursionError)
