"""The bookkeeping of one connection, over a wire in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from massgen_mcp.tools.downstream.failures import CallFailed, NotSent, Refused, TimedOut, WireLost
from massgen_mcp.tools.downstream.session import FLOOD, Session
from massgen_mcp.tools.downstream.wire import Unreadable, read_message

pytestmark = pytest.mark.anyio


class Memory:
    """A wire whose other end is the test."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.blocked = anyio.Event()
        self.blocked.set()
        self.news = anyio.Event()
        self.received = 0
        self.bytes_each = 100
        self.put, self._got = anyio.create_memory_object_stream[object](50_000)

    async def send(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        del headers
        await self.blocked.wait()
        self.sent.append(message)
        self.news.set()

    async def receive(self) -> object:
        try:
            message = await self._got.receive()
        except anyio.EndOfStream as error:
            raise WireLost("the other end went away") from error
        self.received += self.bytes_each
        return message

    def last_words(self) -> str:
        return ""

    def close(self) -> None:
        self.put.close()
        self._got.close()


@asynccontextmanager
async def running(wire: Memory, *, flood: int = FLOOD) -> AsyncGenerator[Session]:
    session = Session(wire, on_changed=lambda: None, flood=flood)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.run)
            try:
                yield session
            finally:
                tasks.cancel_scope.cancel()
                wire.close()


async def test_what_is_asked_after_the_end_was_never_sent() -> None:
    wire = Memory()
    async with running(wire) as session:
        wire.put.close()
        await session.ended.wait()
        with pytest.raises(NotSent, match="the other end went away"):
            await session.request("x", seconds=5)


async def test_what_waits_fails_with_the_end() -> None:
    wire = Memory()
    async with running(wire) as session, anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(WireLost, match="the other end went away"):
                await session.request("x", seconds=5)

        tasks.start_soon(ask)
        await wire.news.wait()
        wire.put.close()


async def test_a_server_that_does_not_read_is_given_up() -> None:
    wire = Memory()
    wire.blocked = anyio.Event()
    async with running(wire) as session:
        for _ in range(256):
            session.notify("x")
        with pytest.raises(WireLost, match="it does not read what it is sent"):
            session.notify("x")
        await session.ended.wait()
        assert str(session.lost) == "it does not read what it is sent"


async def test_a_server_that_never_stops_talking_is_cut_off() -> None:
    wire = Memory()
    async with running(wire, flood=500) as session:
        for _ in range(1000):
            wire.put.send_nowait({"jsonrpc": "2.0", "method": "notifications/message"})
        await session.ended.wait()

        assert str(session.lost) == "it sent more than 500 messages that nobody asked for"
        assert session.counts.dropped == 500
    assert FLOOD == 20_000, "of a real one"


async def test_large_messages_that_nobody_asked_for_count_by_their_size() -> None:
    wire = Memory()
    wire.bytes_each = 8 * 1024 * 1024
    async with running(wire, flood=1500) as session:
        for _ in range(10):
            wire.put.send_nowait({"jsonrpc": "2.0", "method": "notifications/message"})
        await session.ended.wait()

        assert session.counts.dropped == 3, "one is let through, since there was nothing before"


async def test_a_large_answer_is_no_flood() -> None:
    wire = Memory()
    wire.bytes_each = 8 * 1024 * 1024
    async with running(wire, flood=500) as session:
        for number in range(1, 6):
            wire.put.send_nowait({"jsonrpc": "2.0", "id": number, "result": {}})
            assert await session.request("x", seconds=5) == {}
        assert session.counts.dropped == 0


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"error": {"code": -5, "message": "no"}}, Refused),
        ({"error": {"code": True}}, Refused),
        ({"result": []}, CallFailed),
        ({"result": {}, "error": 1}, CallFailed),
    ],
)
async def test_every_answer_but_a_result_is_a_failure(reply: dict[str, Any], error: type[Exception]) -> None:
    wire = Memory()
    async with running(wire) as session, anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(error):
                await session.request("x", seconds=5)

        tasks.start_soon(ask)
        await wire.news.wait()
        wire.put.send_nowait({"jsonrpc": "2.0", "id": wire.sent[0]["id"], **reply})


async def test_signs_of_progress_begin_the_limit_anew_up_to_another() -> None:
    wire, begun = Memory(), anyio.current_time()
    seen: list[tuple[float, float | None, str]] = []

    def note(progress: float, total: float | None, words: str) -> None:
        seen.append((progress, total, words))

    async with running(wire) as session, anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(TimedOut, match=r"within 0.2 s, or 0.7 s with signs of progress"):
                await session.request("x", seconds=0.2, most=0.7, progress=note)
            tasks.cancel_scope.cancel()

        tasks.start_soon(ask)
        await wire.news.wait()
        params = {"progressToken": wire.sent[0]["id"], "progress": 1, "total": 2, "message": 7}
        while True:
            wire.put.send_nowait({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
            await anyio.sleep(0.05)
    assert anyio.current_time() - begun >= 0.7
    assert seen[0] == (1.0, 2.0, "")


async def test_handshakes_are_never_called_off() -> None:
    wire = Memory()
    async with running(wire) as session:
        for method in ("initialize", "x"):
            with pytest.raises(TimedOut):
                await session.request(method, seconds=0.05)
        while len(wire.sent) < 3:
            wire.news = anyio.Event()
            await wire.news.wait()

        assert [message["method"] for message in wire.sent] == ["initialize", "x", "notifications/cancelled"]


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"a":NaN}}', (7,)),
        (b'{"result":' + b"[" * 5000 + b',"id" : 12,"jsonrpc":"2.0"', (12,)),
        (b'{"jsonrpc":"2.0","id":"7",', ()),
        (b'DEBUG {"jsonrpc":"2.0","id":7,', ()),
        (b'{"id":7,', ()),
        (b'{"jsonrpc":"2.0","id":7.5,', ()),
        (b"\xff\xfe", ()),
    ],
)
def test_what_can_not_be_read_still_tells_what_it_answers(line: bytes, ids: tuple[int, ...]) -> None:
    found = read_message(line)

    assert isinstance(found, Unreadable)
    assert found.ids == ids
