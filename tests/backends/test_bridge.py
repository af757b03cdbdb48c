"""The team's tools behind a pipe: served over a socket that only we may enter."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from massgen_mcp.backends.bridge import Bridge, open_bridge
from massgen_mcp.messages import ToolCall, ToolResult
from tests.backends.runtimes import LOOK

pytestmark = pytest.mark.anyio

GREETING = {
    "method": "initialize",
    "id": 1,
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


class Client:
    """What a program does with the pipe."""

    def __init__(self, process: Process) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._in = process.stdin
        self._out = BufferedByteReceiveStream(process.stdout)

    async def say(self, message: object) -> None:
        text = message if isinstance(message, str) else json.dumps({"jsonrpc": "2.0", **dict(message)})  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownArgumentType] - the tests' own
        await self._in.send(text.encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        with anyio.fail_after(20):
            return json.loads(await self._out.receive_until(b"\n", 1_000_000))

    async def leave(self) -> None:
        await self._in.aclose()


@asynccontextmanager
async def joined(bridge: Bridge) -> AsyncGenerator[Client]:
    process = await anyio.open_process(bridge.command, stderr=None)
    try:
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def test_calls_go_through_and_come_back_in_any_order(tmp_path: Path) -> None:
    second = anyio.Event()

    async def run(call: ToolCall) -> ToolResult:
        if call.id == "call_1":
            await second.wait()
        else:
            second.set()
        return ToolResult(
            call_id=call.id, content=f"{call.name} {call.arguments}", is_error=call.id == "call_2"
        )

    bridge = await open_bridge(tmp_path)
    async with bridge.serving([LOOK], run), joined(bridge) as client:
        socket = tmp_path / "tools.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        await client.say("this is no message")
        await client.say(GREETING)
        assert (await client.hear())["result"]["serverInfo"]["name"] == "massgen"
        await client.say({"method": "notifications/initialized"})
        await client.say({"method": "tools/list", "id": 2})
        listed = (await client.hear())["result"]["tools"]
        for number in (3, 4):
            params = {"name": "look", "arguments": {"at": "é"}}
            await client.say({"method": "tools/call", "id": number, "params": params})
        answers = [await client.hear(), await client.hear()]
    assert [(tool["name"], tool["inputSchema"]) for tool in listed] == [("look", dict(LOOK.parameters))]
    assert [answer["id"] for answer in answers] == [4, 3]
    assert [answer["result"]["isError"] for answer in answers] == [True, False]
    assert answers[0]["result"]["content"][0]["text"] == 'look {"at": "é"}'


async def test_the_pipe_ends_with_either_side(tmp_path: Path) -> None:
    async def run(call: ToolCall) -> ToolResult:
        return ToolResult(call_id=call.id, content="")

    bridge = await open_bridge(tmp_path)
    async with bridge.serving([LOOK], run):
        async with joined(bridge) as client:
            await client.say(GREETING)
            await client.hear()
            await client.leave()
            with anyio.fail_after(20):
                assert await client.process.wait() == 0
        async with joined(bridge) as client:
            await client.say(GREETING)
            await client.hear()
            other = client.process
            async with anyio.create_task_group() as tasks:
                tasks.cancel_scope.cancel()
    async with bridge.serving([LOOK], run), joined(bridge) as again:
        await again.say(GREETING)
        assert (await again.hear())["id"] == 1
    assert other.returncode is not None


async def test_a_failure_of_the_turn_is_not_wrapped(tmp_path: Path) -> None:
    async def run(call: ToolCall) -> ToolResult:
        return ToolResult(call_id=call.id, content="")

    bridge = await open_bridge(tmp_path)
    with pytest.raises(KeyError, match="mine"):
        async with bridge.serving([], run):
            raise KeyError("mine")


async def test_the_pipe_s_program_needs_to_see_no_more_than_it_is_said(tmp_path: Path) -> None:
    bridge = await open_bridge(tmp_path)
    assert tmp_path in bridge.reads
    assert all(path.exists() for path in bridge.reads)
