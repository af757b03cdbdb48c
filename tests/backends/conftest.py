"""A pool for each test, closed when it ends, and a stage for those of Claude Code."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import coverage
import httpx2
import pytest

from massgen_mcp.backends.pool import Pool
from tests.backends.claude_code_stage import Stage


@pytest.fixture(scope="session", autouse=True)
def vendors() -> None:
    """Where lines are counted, the vendors' packages are loaded without that, in half of the time."""
    counting = coverage.Coverage.current()
    if counting is None:
        return
    counting.stop()
    for name in ("openai", "anthropic", "google.genai"):
        importlib.import_module(name)
    counting.start()


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()  # loaded once: it takes 50 ms and more


@pytest.fixture
async def pool(anyio_backend: str, tls: ssl.SSLContext) -> AsyncGenerator[Pool]:
    pool = Pool(proxies={}, tls=tls)
    yield pool
    await pool.aclose()


@pytest.fixture
def stage(tmp_path: Path, pool: Pool) -> Stage:
    return Stage(tmp_path, pool)
