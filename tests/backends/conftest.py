"""A pool for each test, closed when it ends."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator

import httpx2
import pytest

from massgen_mcp.backends.pool import Pool


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()  # loaded once: it takes 50 ms and more


@pytest.fixture
async def pool(anyio_backend: str, tls: ssl.SSLContext) -> AsyncGenerator[Pool]:
    pool = Pool(proxies={}, tls=tls)
    yield pool
    await pool.aclose()
