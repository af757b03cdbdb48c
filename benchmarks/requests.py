"""CPU per model request of a whole run, against the same request made bare with the openai SDK."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import openai
from anyio.abc import TaskGroup
from mcp import Client

from benchmarks.world import model_server, opened_runs, team_file
from massgen_mcp.runs import Runs
from massgen_mcp.server.app import build_server

__all__ = ["figures"]

_RUNS = 30


async def _bare(port: int, requests: list[dict[str, Any]]) -> float:
    """CPU seconds for each of these requests, streamed and read to the end."""
    client: Any = openai.AsyncOpenAI(api_key="EMPTY", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
    spent = 0.0
    for warm in (True, False):
        began = time.process_time()
        for request in requests[:6] if warm else requests:
            stream = await client.chat.completions.create(**request)
            async for chunk in stream:
                assert chunk.id
        spent = time.process_time() - began
    await client.close()
    return spent / len(requests)


async def _progress(progress: float, total: float | None, message: str | None) -> None:
    del progress, total, message


async def _ours(port: int) -> tuple[float, list[dict[str, Any]]]:
    """CPU seconds for each model request of runs asked by a client with progress, and those requests."""
    files = {"clear": team_file(port, ["m-4", "m-5", "m-6"])}
    asked = {"question": "How many?", "team": "clear"}
    spent, made = 0.0, 1
    async with opened_runs(**files) as runs:

        @asynccontextmanager
        async def make(tasks: TaskGroup) -> AsyncGenerator[Runs]:
            del tasks
            yield runs

        async with Client(build_server(make)) as client:
            for warm in (True, False):
                made = 0
                began = time.process_time()
                for _ in range(3 if warm else _RUNS):
                    found = await client.call_tool("ask_team", asked, progress_callback=_progress)
                    assert found.structured_content is not None
                    made += found.structured_content["usage"]["requests"]
                spent = time.process_time() - began
    async with httpx2.AsyncClient() as browser:
        bodies = (await browser.get(f"http://127.0.0.1:{port}/")).json()
    return spent / made, bodies[-made:]


async def _measure(port: int) -> list[tuple[str, str, str, bool]]:
    ours, requests = await _ours(port)
    bare = await _bare(port, requests)
    ratio = ours / bare
    words = f"{ratio:.2f}x ({ours * 1000:.1f} ms against {bare * 1000:.1f} ms)"
    return [("CPU per model request, journal and progress on", "<= 2x bare SDK", words, ratio <= 2)]


def figures() -> list[tuple[str, str, str, bool]]:
    """The one ratio."""
    with model_server() as port:
        return anyio.run(_measure, port)
