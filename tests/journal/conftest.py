"""A folder, a clock that stands still, and another process that drives a run."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

import massgen_mcp
from tests.memory import folder_in_memory

ROOT = Path(massgen_mcp.__file__).parents[1]
DRIVER = Path(__file__).with_name("driver.py")


class Other:
    """A process in which `driver.py` runs."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self.process = process
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def line(self) -> str:
        """The next line it prints."""
        with anyio.fail_after(10):
            return (await self._lines.receive_until(b"\n", 1000)).decode()

    async def tell(self) -> None:
        """Write it a line."""
        assert self.process.stdin is not None
        await self.process.stdin.send(b"\n")

    async def kill(self) -> list[str]:
        """What `kill -9` does. Returns the whole lines that it had printed."""
        self.process.kill()
        with anyio.fail_after(10):
            await self.process.wait()
        lines: list[str] = []
        with suppress(anyio.IncompleteRead, anyio.EndOfStream):
            while True:
                lines.append(await self.line())
        return lines


Until: TypeAlias = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
Drive: TypeAlias = Callable[..., AbstractAsyncContextManager[Other]]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def until() -> Until:
    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for what another thread or process writes without telling."""
        with anyio.fail_after(5):
            while not await condition():  # noqa: ASYNC110 - there is no event to wait for
                await anyio.sleep(0.01)

    return wait


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a journal may be; not there yet."""
    with folder_in_memory(tmp_path) as place:
        yield place / "state"


@pytest.fixture
def drive(folder: Path) -> Drive:
    @asynccontextmanager
    async def start(what: str, run_id: str) -> AsyncGenerator[Other]:
        command = [sys.executable, str(DRIVER), what, str(folder), run_id]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        async with await anyio.open_process(command, env=environ, stderr=None) as process:
            try:
                yield Other(process)
            finally:
                if process.returncode is None:
                    process.kill()

    return start
