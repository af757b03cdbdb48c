"""The transport over descriptors, and what the process does with its own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.message import SessionMessage

from massgen_mcp.server.app import build_server
from massgen_mcp.server.guard import Wire, claim_wire, end_quietly
from massgen_mcp.server.opening import make_server_runs
from massgen_mcp.server.stdio import LogFormat, serve
from massgen_mcp.server.wire import Streams, wire_streams
from tests.server.peers import envelope
from tests.server.shown import data
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


class Ends:
    """The host's ends of two pipes, and ours."""

    def __init__(self) -> None:
        incoming, self.to_us = os.pipe()
        self.from_us, outgoing = os.pipe()
        self.wire = Wire(incoming, outgoing)
        self._rest = b""
        self.still_open = {incoming, outgoing, self.to_us, self.from_us}

    def close(self, *descriptors: int) -> None:
        """Close these, or all that are still open."""
        for descriptor in descriptors or tuple(self.still_open):
            self.still_open.remove(descriptor)
            os.close(descriptor)

    async def write(self, data: bytes) -> None:
        await anyio.to_thread.run_sync(os.write, self.to_us, data)

    async def line(self) -> dict[str, Any]:
        """The next message from us."""
        while b"\n" not in self._rest:
            self._rest += await anyio.to_thread.run_sync(os.read, self.from_us, 65_536)
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


@pytest.fixture
def ends() -> Generator[Ends]:
    found, before = Ends(), set(threading.enumerate())
    yield found
    if found.to_us in found.still_open:
        found.close(found.to_us)
    readers = [thread for thread in threading.enumerate() if thread not in before and "stdin" in thread.name]
    for reader in readers:
        reader.join(1)
    if any(reader.is_alive() for reader in readers):
        # It would read from whatever gets the number of its descriptor next.
        found.still_open.discard(found.wire.incoming)
    found.close()


@asynccontextmanager
async def opened(ends: Ends, line_limit: int = 1_000) -> AsyncGenerator[Streams]:
    async with wire_streams(ends.wire, line_limit=line_limit) as streams:
        with anyio.fail_after(10):
            yield streams
        if ends.to_us in ends.still_open:
            ends.close(ends.to_us)  # so that the reader's thread ends, too


async def received(streams: Streams) -> Any:
    message = await streams[0].receive()
    assert isinstance(message, SessionMessage)
    return message.message.model_dump(exclude_unset=True)


async def test_messages_come_and_go_a_line_each(ends: Ends):
    async with opened(ends) as streams:
        await ends.write(PING[:10])
        await ends.write(PING[10:] + b"\r\n" + PING.replace(b"1}", b"2}") + b"\n")
        assert [(await received(streams))["id"], (await received(streams))["id"]] == [1, 1]
        reply = types.JSONRPCResponse(jsonrpc="2.0", id=1, result={"text": "ä\u2028"})
        await streams[1].send(SessionMessage(reply))
        assert await ends.line() == {"jsonrpc": "2.0", "id": 1, "result": {"text": "ä\u2028"}}


async def test_what_is_no_message_is_noted_in_the_log(ends: Ends, caplog: pytest.LogCaptureFixture):
    async with opened(ends) as streams:
        await ends.write(b"\n  \nhello\n\xff\n{}\n" + PING + b"\n")
        assert (await received(streams))["method"] == "ping"
    assert [record.getMessage() for record in caplog.records] == [
        f"dropped a line that is not JSON-RPC ({length} bytes)" for length in (5, 1, 2)
    ]


@pytest.mark.parametrize(
    ("line", "code", "asked"),
    [
        (b"hello", types.PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping"', types.PARSE_ERROR, None),
        (b"[" * 900, types.PARSE_ERROR, None),
        (b"{}", types.INVALID_REQUEST, None),
        (b"[]", types.INVALID_REQUEST, None),
        (b"7", types.INVALID_REQUEST, None),
        (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', types.INVALID_REQUEST, 7),
        (b'{"jsonrpc":"2.0","id":"a","method":[]}', types.INVALID_REQUEST, "a"),
        (b'{"jsonrpc":"2.0","id":"\\ud800","method":[]}', types.INVALID_REQUEST, "\ufffd"),
        (b'{"jsonrpc":"2.0","id":true,"method":[]}', types.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":{"a":1},"method":[]}', types.INVALID_REQUEST, None),
    ],
)
async def test_whoever_sends_a_line_that_cant_be_used_is_told_and_it_goes_on(
    ends: Ends, line: bytes, code: int, asked: int | str | None
):
    async with opened(ends) as streams:
        await ends.write(line + b"\n" + PING + b"\n")
        reply = await ends.line()
        assert (reply["id"], reply["error"]["code"]) == (asked, code)
        assert (await received(streams))["method"] == "ping"


async def test_a_reply_that_cant_be_used_is_not_answered(ends: Ends):
    async with opened(ends) as streams:
        await ends.write(b'{"jsonrpc":"2.0","id":{},"result":{}}\n{"jsonrpc":"2.0","id":1,"error":7}\nx\n')
        assert (await ends.line())["error"]["code"] == types.PARSE_ERROR
        await ends.write(PING + b"\n")
        assert (await received(streams))["method"] == "ping"


async def test_half_a_character_in_a_text_does_not_cost_the_message(ends: Ends):
    whole = {"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"a": ["<> 😀 x"], "k<>": 1}}
    line = json.dumps(whole).replace("<>", "\\ud800")
    assert line.count("\\ud800") == 2
    async with opened(ends) as streams:
        await ends.write(line.encode() + b"\n")
        found = await received(streams)
    assert found["params"] == {"a": ["\ufffd 😀 x"], "k\ufffd": 1}


async def test_what_is_refused_last_is_still_told(ends: Ends):
    async with opened(ends) as streams:
        await ends.write(b"hello\n")
        ends.close(ends.to_us)
        with pytest.raises(anyio.EndOfStream):
            await streams[0].receive()
    assert (await ends.line())["error"]["code"] == types.PARSE_ERROR


async def test_a_long_message_comes_whole_in_however_many_pieces(ends: Ends):
    text = "ä" * 500_000
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"t": text}}, ensure_ascii=False)

    async def write_all() -> None:
        data = memoryview(line.encode() + b"\n")
        while data:
            data = data[await anyio.to_thread.run_sync(os.write, ends.to_us, data[:60_000]) :]

    async with opened(ends, line_limit=2_000_000) as streams, anyio.create_task_group() as tasks:
        tasks.start_soon(write_all)
        assert (await received(streams))["params"] == {"t": text}


async def test_a_message_that_is_too_long_fills_no_memory_and_is_refused(
    ends: Ends, caplog: pytest.LogCaptureFixture
):
    async with opened(ends) as streams:
        for _ in range(5):
            await ends.write(b"x" * 600)
        await ends.write(b"x\n" + PING + b"\n")
        assert await ends.line() == {
            "jsonrpc": "2.0",
            "id": None,
            "error": {
                "code": types.INVALID_REQUEST,
                "message": "Invalid request: a message of 3001 bytes; at most 1000 are taken",
            },
        }
        assert (await received(streams))["method"] == "ping"
    assert "dropped a message of 3001 bytes; 1000 are taken" in caplog.text


async def test_the_end_of_the_pipe_is_the_end_of_the_stream(ends: Ends):
    async with opened(ends) as streams:
        await ends.write(PING + b"\n" + PING[:5])
        ends.close(ends.to_us)
        assert [message async for message in streams[0]]
        with pytest.raises(anyio.EndOfStream):
            await streams[0].receive()


async def test_a_reader_that_nobody_listens_to_ends(ends: Ends):
    async with opened(ends):
        await ends.write(PING + b"\n" + PING + b"\n")


async def test_what_was_sent_last_is_still_written(ends: Ends):
    async with opened(ends) as streams:
        await streams[1].send(SessionMessage(types.JSONRPCNotification(jsonrpc="2.0", method="bye")))
    assert (await ends.line())["method"] == "bye"


async def test_a_host_that_listens_no_more_ends_it(ends: Ends):
    async with wire_streams(ends.wire) as (_, outgoing):
        ends.close(ends.from_us)
        message = SessionMessage(types.JSONRPCNotification(jsonrpc="2.0", method="x"))
        with contextlib.suppress(anyio.BrokenResourceError):
            while True:
                await outgoing.send(message)
    ends.close(ends.to_us)


# A whole server over it.


@pytest.fixture
def usual_signals() -> Generator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("usual_signals")
async def test_a_server_ends_with_its_host(ends: Ends):
    limited: list[int] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(_host, ends, hang_up=True))
        assert await serve(build_server(scripted_team()), ends.wire, limit=limited.append) == 0
    assert limited == [0]


@pytest.mark.usefixtures("usual_signals")
async def test_a_server_ends_by_a_signal(ends: Ends):
    limited: list[int] = []
    team = ScriptedTeam({"a": [After(anyio.Event(), "answer: 4")]})

    async def interrupt() -> None:
        await _host(ends, hang_up=False)
        await team.answering.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(interrupt)
        assert await serve(build_server(team), ends.wire, limit=limited.append) == 143
    assert limited == [143]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("usual_signals")
async def test_until_there_is_something_to_save_signals_have_their_usual_effect():
    end_quietly()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


async def _host(ends: Ends, *, hang_up: bool) -> None:
    params = {"name": "ask_team", "arguments": {"question": "?"}, "_meta": envelope()}
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": envelope()}}
    await ends.write(json.dumps(ask).encode() + b"\n")
    assert len((await ends.line())["result"]["tools"]) == 5
    if hang_up:
        ends.close(ends.to_us)
    else:
        await ends.write(
            json.dumps(ask | {"id": 2, "method": "tools/call", "params": params}).encode() + b"\n"
        )


def test_standard_descriptors_are_taken_away_for_good(ends: Ends):
    errors, stderr = os.pipe()
    stdin, stdout = os.dup(ends.wire.incoming), os.dup(ends.wire.outgoing)
    wire = claim_wire(stdin=stdin, stdout=stdout, stderr=stderr)
    try:
        os.write(stdout, b"noise")
        assert os.read(errors, 100) == b"noise"
        assert os.read(stdin, 100) == b""
        os.write(ends.to_us, b"in")
        os.write(wire.outgoing, b"out")
        assert (os.read(wire.incoming, 100), os.read(ends.from_us, 100)) == (b"in", b"out")
        assert not os.get_inheritable(wire.incoming)
        assert not os.get_inheritable(wire.outgoing)
        assert min(wire.incoming, wire.outgoing) > 2
    finally:
        for descriptor in (errors, stderr, stdin, stdout, wire.incoming, wire.outgoing):
            os.close(descriptor)


def test_without_a_stderr_stray_output_goes_nowhere(ends: Ends):
    stdin, stdout = os.dup(ends.wire.incoming), os.dup(ends.wire.outgoing)
    wire = claim_wire(stdin=stdin, stdout=stdout, stderr=10_000)
    os.write(stdout, b"noise")
    os.set_blocking(ends.from_us, False)
    with pytest.raises(BlockingIOError):
        os.read(ends.from_us, 100)
    for descriptor in (stdin, stdout, wire.incoming, wire.outgoing):
        os.close(descriptor)


def test_a_log_line_is_redacted_and_visible():
    form = LogFormat()
    form.secrets.add("hunter2-hunter2", "PASSWORD")
    record = logging.LogRecord("x.y", logging.ERROR, "f", 1, "it is %s\u202e", ("hunter2-hunter2",), None)
    assert form.format(record) == "massgen-mcp: ERROR: x.y: it is [PASSWORD][U+202E]"


async def test_the_real_runs_are_made_at_the_first_call_and_their_secrets_kept_out_of_the_log(tmp_path: Path):
    log = LogFormat()
    before = log.secrets
    environ = {"HOME": str(tmp_path), "MASSGEN_MCP_STATE_DIR": str(tmp_path / "state")}
    make_runs = make_server_runs(log, config_dirs=[tmp_path], environ=environ)
    async with Client(build_server(make_runs)) as client:
        await client.list_tools()
        assert log.secrets is before
        result = await client.call_tool("validate_config", {"config": "agents: []\n"})
        assert log.secrets is not before
    assert data(result)["ok"] is False
