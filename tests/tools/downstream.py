"""What the tests of downstream servers share: entries, their surroundings, and calls."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from massgen_mcp.clock import SystemClock
from massgen_mcp.messages import ToolCall, ToolResult
from massgen_mcp.tools.downstream import DownstreamTools, Entry, Outside, PackageCache

__all__ = ["QuickClock", "Spilled", "ask", "hostile", "opened", "surroundings"]

_HOSTILE = Path(__file__).with_name("hostile.py")


class QuickClock(SystemClock):
    """Real time, without the pauses."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await anyio.lowlevel.checkpoint()


class Spilled:
    """Keeps what did not fit."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def __call__(self, name: str, data: bytes) -> str:
        await anyio.lowlevel.checkpoint()
        self.kept[name] = data
        return f"spilled/{name}"


def hostile(start: str, folder: Path, **more: Any) -> Entry:
    """The server that misbehaves. No sandbox: it is the client that is tested."""
    command = (sys.executable, "-IS", str(_HOSTILE), start, str(folder))
    given: dict[str, Any] = {"name": "evil", "command": command, "sandbox": "off", "timeout": 10.0, **more}
    return Entry(**given)


def surroundings(folder: Path, **more: Any) -> Outside:
    given: dict[str, Any] = {
        "folder": folder / "servers",
        "cache": PackageCache(folder / "cache"),
        "clock": QuickClock(),
        "grace": 0.3,
        **more,
    }
    return Outside(**given)


@asynccontextmanager
async def opened(entry: Entry, folder: Path, **more: Any) -> AsyncGenerator[DownstreamTools]:
    """The tools of one server, ready."""
    outside = surroundings(folder)
    with anyio.fail_after(45):
        async with DownstreamTools([entry], replace(outside, **more)) as tools:
            await tools.ready()
            yield tools


async def ask(tools: DownstreamTools, name: str, **arguments: Any) -> ToolResult:
    return await tools.call(ToolCall(id="c", name=name, arguments=json.dumps(arguments)))
