"""Sessions of the older era are counted by token: whoever opens more than their share ends their own."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from massgen_mcp.server.http.resuming import SESSIONS_OF_ONE
from massgen_mcp.server.http.serve import SESSIONS
from massgen_mcp.server.http.tokens import add_token
from tests.http.doors import OPERATOR, Served, served
from tests.server.peers import hello
from tests.teams import scripted_team

pytestmark = pytest.mark.anyio

HELLO = json.dumps(hello()).encode()
LIST = b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}'


async def begin(server: Served, token: str) -> str:
    session = await server.session(token)
    initialized = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    assert (await server.post(initialized, token=token, mcp_session_id=session))[0] == 202
    return session


async def lives(server: Served, session: str, token: str) -> bool:
    status, _, _ = await server.post(LIST, token=token, mcp_session_id=session)
    assert status in (200, 404)
    return status == 200


async def hold(server: Served, session: str, token: str, stack: AsyncExitStack) -> ByteStream:
    """A request of that session that goes on until the connection ends."""
    stream = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", server.port))
    await stream.send(
        server.request(b"", method="GET", token=token, mcp_session_id=session, accept="text/event-stream")
    )
    head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", 65_536)
    assert head.startswith(b"HTTP/1.1 200")
    return stream


async def test_who_opens_more_ends_their_own_longest_idle_ones_and_nobody_elses(tmp_path: Path):
    tokens = tmp_path / "tokens.json"
    anna, ben = add_token(tokens, "anna"), add_token(tokens, "ben")
    async with served(scripted_team(a=["answer: 4"]), tokens=tokens) as server:
        theirs = {token: await begin(server, token) for token in (ben, OPERATOR)}
        first, second, third = [await begin(server, anna) for _ in range(3)]
        for _ in range(SESSIONS_OF_ONE - 3):
            await server.session(anna)
        assert await lives(server, first, anna)  # and was used last
        await server.session(anna)
        assert await lives(server, first, anna)
        assert not await lives(server, second, anna)
        assert await lives(server, third, anna)
        for token, session in theirs.items():
            assert await lives(server, session, token)


async def test_more_of_one_token_than_there_are_in_all_leave_room_for_everybody(tmp_path: Path):
    assert SESSIONS == 1_000
    sessions, at_once, each = 100, 20, 8
    tokens = tmp_path / "tokens.json"
    anna, ben = add_token(tokens, "anna"), add_token(tokens, "ben")
    begun: list[int] = []

    async def flood(server: Served) -> None:
        for _ in range(each):
            status, _, _ = await server.post(HELLO, token=anna)
            begun.append(status)

    async with served(scripted_team(a=["answer: 4"]), tokens=tokens, sessions=sessions) as server:
        async with anyio.create_task_group() as tasks:
            for _ in range(at_once):
                tasks.start_soon(flood, server)
        # Of twenty at once some may find all others just being opened.
        assert set(begun) <= {200, 429}
        assert begun.count(200) > at_once * each * 0.9 > sessions
        for token in (ben, OPERATOR, anna):
            assert await lives(server, await begin(server, token), token)


async def test_sessions_with_a_request_under_way_are_not_ended_for_others(tmp_path: Path):
    tokens = tmp_path / "tokens.json"
    anna, ben = add_token(tokens, "anna"), add_token(tokens, "ben")
    async with (
        served(scripted_team(a=["answer: 4"]), tokens=tokens) as server,
        AsyncExitStack() as stack,
    ):
        sessions = [await begin(server, anna) for _ in range(SESSIONS_OF_ONE)]
        held = [await hold(server, session, anna, stack) for session in sessions]
        status, headers, body = await server.post(HELLO, token=anna)
        assert (status, headers["retry-after"]) == (429, "5")
        assert json.loads(body)["error"]["message"] == (
            "32 sessions are open with your token, each with a request under way. End one (DELETE) or one of "
            "their requests. The newer protocol (2026-07-28) needs no sessions."
        )
        assert await lives(server, await begin(server, ben), ben)
        for session in sessions:
            assert await lives(server, session, anna)
        await held[5].aclose()
        with anyio.fail_after(5):
            while (await server.post(HELLO, token=anna))[0] == 429:
                pass  # until the server has seen that the connection ended
        assert not await lives(server, sessions[5], anna)
        assert await lives(server, sessions[4], anna)
