"""A connection that breaks in the middle of a call, and a client that comes back for the rest."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp
import pytest
from anyio.abc import SocketAttribute, SocketStream
from mcp.client.streamable_http import streamable_http_client

from massgen_mcp.server.app import build_server
from massgen_mcp.server.http.events import Backlog
from massgen_mcp.server.http.resuming import ResumingSessions
from massgen_mcp.server.http.tokens import add_token
from tests.http.doors import OPERATOR, Served, modern, served
from tests.server.peers import hello
from tests.teams import After, scripted_team

pytestmark = pytest.mark.anyio

INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


class Client:
    """One session of the older era, with each connection in our hands."""

    def __init__(self, http: httpx2.AsyncClient, url: str, session: str) -> None:
        self._http = http
        self._url = url
        self.session = session

    @asynccontextmanager
    async def ask(self, number: int = 1, question: str = "q") -> AsyncGenerator[Events]:
        """Ask the team; what comes on the connection of the call."""
        params = {
            "name": "ask_team",
            "arguments": {"question": question},
            "_meta": {"progressToken": "token"},
        }
        body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
        async with self._http.stream("POST", self._url, json=body, headers=self._headers()) as response:
            yield Events(response)

    @asynccontextmanager
    async def come_back(self, event_id: str) -> AsyncGenerator[Events]:
        """A new connection, for what came after that event."""
        headers = self._headers() | {"last-event-id": event_id}
        async with self._http.stream("GET", self._url, headers=headers) as response:
            yield Events(response)

    async def refused(self, event_id: str, **headers: str) -> tuple[int, str]:
        """Status and words, where such a connection is not wanted."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self._http.get(
            self._url, headers=self._headers() | {"last-event-id": event_id} | more
        )
        return response.status_code, response.json()["error"]["message"]

    def _headers(self) -> dict[str, str]:
        return {"mcp-session-id": self.session, "mcp-protocol-version": "2025-11-25"}


class Events:
    """What comes on one connection."""

    def __init__(self, response: httpx2.Response) -> None:
        assert response.status_code == 200
        self._lines = response.aiter_lines()
        self.ids: list[str] = []
        self.retry: str | None = None

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """The messages, until the connection ends."""
        async for line in self._lines:
            name, _, value = line.partition(": ")
            match name:
                case "id":
                    self.ids.append(value)
                case "retry":
                    self.retry = value
                case "data" if value:
                    yield json.loads(value)
                case _:
                    pass

    async def begun(self) -> str:
        """The id of the event that every stream begins with."""
        async for line in self._lines:
            if line.startswith("id: "):
                return line.removeprefix("id: ")
        raise AssertionError

    async def all(self) -> list[dict[str, Any]]:
        return [message async for message in self]


@asynccontextmanager
async def client(server: Served, token: str = OPERATOR) -> AsyncGenerator[Client]:
    usual = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(headers=usual, timeout=20) as http:
        session = await server.session(token)
        await server.post(INITIALIZED, token=token, mcp_session_id=session)
        yield Client(http, server.url, session)


def answers(messages: list[dict[str, Any]]) -> list[str]:
    return [message["result"]["structuredContent"]["answer"] for message in messages if "result" in message]


async def test_who_comes_back_in_the_middle_of_a_call_gets_the_rest_once():
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4")], b=["answer: 4"])
    async with served(team) as server, client(server) as caller:
        async with caller.ask() as events:
            async for message in events:
                assert message["method"] == "notifications/progress"
                break
            await team.answering.wait()
        first, *_, last = events.ids
        async with caller.come_back(last) as rest:
            gate.set()
            heard = await rest.all()
        async with caller.come_back(first) as everything:
            again = await everything.all()
    assert events.retry == "3000"
    assert answers(heard) == answers(again) == ["4"]
    assert "result" in heard[-1]
    assert heard[-1]["id"] == 1
    steps = [message["params"]["progress"] for message in again[:-1]]
    assert steps == sorted(set(steps))
    assert not set(rest.ids) & set(events.ids)
    assert again[-len(heard) :] == heard


async def test_the_run_is_asked_for_once_and_goes_on_while_nobody_is_there():
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4")])
    async with served(team) as server, client(server) as caller:
        async with caller.ask() as events:
            begun = await events.begun()
            await team.answering.wait()
        gate.set()
        runs: list[dict[str, Any]] = []
        while not runs or runs[0]["status"] == "running":
            runs = (await server.call("get_run"))["structuredContent"]["runs"]
        async with caller.come_back(begun) as rest:
            assert answers(await rest.all()) == ["4"]
    assert len(runs) == len(team.asked) == 1


async def test_each_message_goes_to_the_newest_connection():
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4")])
    heard: list[list[str]] = []
    async with served(team) as server, client(server) as caller, anyio.create_task_group() as tasks:

        async def listen(events: Events) -> None:
            heard.append(answers(await events.all()))

        async with caller.ask() as first:
            begun = await first.begun()
            await team.answering.wait()
            async with caller.come_back(begun) as second:
                await listen(first)
                async with caller.come_back(begun) as third:
                    await listen(second)
                    tasks.start_soon(listen, third)
                    gate.set()
                    while len(heard) < 3:  # noqa: ASYNC110 - of the third connection's end nobody else tells
                        await anyio.sleep(0.01)
    assert heard == [[], [], ["4"]]


async def test_an_event_leads_nowhere_but_in_its_own_session(tmp_path: Path):
    tokens = tmp_path / "tokens.json"
    anna = add_token(tokens, "anna")
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4")])
    async with (
        served(team, tokens=tokens) as server,
        client(server) as caller,
        client(server) as second,
        client(server, anna) as other,
    ):
        async with caller.ask() as events:
            begun = await events.begun()
        async with other.ask(question="hers") as hers:
            await hers.begun()
        for elsewhere in (second, other):
            status, words = await elsewhere.refused(begun)
            assert status == 410
            assert "get_run" in words
        stolen = await other.refused(begun, mcp_session_id=caller.session)
        unknown = await caller.refused(begun, authorization="Bearer wrong")
        gate.set()
        async with caller.come_back(begun) as rest:
            assert answers(await rest.all()) == ["4"]
    assert (stolen[0], unknown[0]) == (404, 401)


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        "-",
        "1",
        "-1",
        "{token}",
        "{token}-",
        "{token}-999999",
        "{token}--1",
        "{token}-\xb2",
        "{token}-1x",
    ],
)
async def test_an_id_that_was_never_given_out_is_refused(wrong: str):
    async with served(scripted_team(a=["answer: 4"])) as server, client(server) as caller:
        async with caller.ask() as events:
            token = (await events.begun()).rpartition("-")[0]
            await events.all()
        event_id = wrong.format(token=token).encode("latin-1").decode("latin-1")
        request = server.request(b"", method="GET", mcp_session_id=caller.session, last_event_id=event_id)
        status, _, body = await server.send(request)
    assert status == 410
    assert b"get_run" in body
    assert len(token) == 32


async def test_two_sessions_with_the_same_request_id_do_not_meet():
    gates = {"one": anyio.Event(), "two": anyio.Event()}
    team = scripted_team(a=[After(gates["one"], "answer: 1")])
    async with served(team) as server, client(server) as caller, client(server) as other:
        async with caller.ask() as events:
            begun = await events.begun()
            await team.answering.wait()
        ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
        _, _, pong = await server.post(ping, mcp_session_id=other.session)
        gates["one"].set()
        async with caller.come_back(begun) as rest:
            assert answers(await rest.all()) == ["1"]
    assert b'"result":{}' in pong


async def test_where_the_operator_says_cancel_who_comes_back_hears_that_it_was():
    team = scripted_team(a=["answer: 4"], b=[After(anyio.Event(), "answer: 5")])
    team.on_disconnect = "cancel"
    async with served(team) as server, client(server) as caller:
        async with caller.ask() as events:
            begun = await events.begun()
            await team.answering.wait()
        async with caller.come_back(begun) as rest:
            (result,) = [message["result"] for message in await rest.all() if "result" in message]
    assert result["structuredContent"]["status"] == "cancelled"


async def test_the_sdks_client_does_not_notice_that_its_connection_broke():
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4")])
    heard: list[float] = []
    results: list[Any] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    headers = {"authorization": f"Bearer {OPERATOR}"}
    async with (
        served(team, retry_seconds=0.05) as server,
        breakable(server.port) as (port, cut),
        httpx2.AsyncClient(headers=headers | {"host": f"127.0.0.1:{server.port}"}, timeout=20) as http,
        mcp.Client(
            streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http), mode="legacy"
        ) as sdk,
        anyio.create_task_group() as tasks,
    ):

        async def ask() -> None:
            results.append(await sdk.call_tool("ask_team", {"question": "q"}, progress_callback=hear))

        tasks.start_soon(ask)
        await team.answering.wait()
        while not heard:  # noqa: ASYNC110 - the callback has nothing to wait for
            await anyio.sleep(0.01)
        await cut()
        gate.set()
    assert results[0].structured_content["answer"] == "4"
    assert heard == sorted(set(heard))
    assert len(team.asked) == 1


@asynccontextmanager
async def breakable(server: int) -> AsyncGenerator[tuple[int, Any]]:
    """A port that leads to the server, and what breaks all connections that came by it."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    opened: list[SocketStream] = []

    async def copy(source: SocketStream, target: SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                await target.send(await source.receive())
        await anyio.aclose_forcefully(target)

    async def pass_on(near: SocketStream) -> None:
        async with near, await anyio.connect_tcp("127.0.0.1", server) as far:
            opened.append(near)
            async with anyio.create_task_group() as both:
                both.start_soon(copy, near, far)
                both.start_soon(copy, far, near)

    async def cut() -> None:
        for near in opened:
            await anyio.aclose_forcefully(near)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, pass_on)
        yield listener.extra(SocketAttribute.local_port), cut  # noqa: S610 - no database is near
        tasks.cancel_scope.cancel()


async def test_the_newer_era_has_no_events_to_come_back_to():
    async with served(scripted_team(a=["answer: 4"])) as server:
        status, headers, body = await server.send(
            server.asking("ask_team", question="q", meta={"progressToken": 1})
        )
        assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        assert b"\nid: " not in b"\n" + body
        request = server.request(b"", method="GET", last_event_id="x-1", **modern("tools/call"))
        assert (await server.send(request))[0] == 405


async def test_what_a_session_kept_goes_with_it():
    backlog = Backlog()
    sessions = ResumingSessions(build_server(scripted_team(a=[])), backlog=backlog, max_sessions=1)
    usual = {"accept": "application/json, text/event-stream"}
    async with (
        sessions.run(),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=sessions.handle_request), base_url="http://x", headers=usual
        ) as http,
    ):
        reply = await http.post("/mcp", json=hello())
        session = {"mcp-session-id": reply.headers["mcp-session-id"]}
        assert backlog.size > 0
        assert (await http.post("/mcp", json=hello())).status_code == 503
        event_id = reply.text.partition("id: ")[2].split()[0]
        assert (await http.get("/mcp", headers=session | {"last-event-id": "x-1"})).status_code == 410
        again = await http.get("/mcp", headers=session | {"last-event-id": event_id})
        assert again.text.count('"serverInfo"') == 1
        assert (await http.delete("/mcp", headers=session)).status_code == 200
        assert (backlog.size, len(backlog.streams)) == (0, 0)
        assert (await http.get("/mcp", headers=session | {"last-event-id": event_id})).status_code == 404
