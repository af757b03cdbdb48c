"""What strangers, web pages and broken clients may try, byte by byte. After each the server still serves."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import anyio
import pytest

from massgen_mcp.server.http.body import BODY_LIMIT, BodyRefused, read_body
from massgen_mcp.server.http.connection import listening
from massgen_mcp.server.http.place import Place
from massgen_mcp.server.http.sessions import SessionSeal
from tests.http.doors import OPERATOR, Served, modern, served
from tests.server.peers import envelope, hello
from tests.teams import scripted_team

pytestmark = pytest.mark.anyio

PING = json.dumps(hello()).encode()


async def still_serves(server: Served) -> None:
    assert (await server.call("ask_team", question="q"))["structuredContent"]["answer"] == "4"


def words(body: bytes) -> str:
    text: str = json.loads(body)["error"]["message"]
    return text


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {OPERATOR}",
        OPERATOR,
        f"Bearer {OPERATOR}x",
        f"Bearer {OPERATOR[:-1]}",
        "Bearer \xff\xfe",
    ],
)
async def test_without_its_token_nobody_comes_in(given: str | None):
    async with served(scripted_team(a=["answer: 4"])) as server:
        status, headers, body = await server.post(PING, authorization=given)
        query, _, _ = await server.post(PING, token=None, path=f"/mcp?token={OPERATOR}")
        await still_serves(server)
    assert (status, query) == (401, 401)
    assert headers["www-authenticate"].startswith('Bearer realm="massgen-mcp"')
    assert ("invalid_token" in headers["www-authenticate"]) == bool(given)
    assert OPERATOR not in body.decode()


async def test_nothing_of_a_strangers_body_is_read():
    async with served(scripted_team(a=["answer: 4"])) as server:
        status, _, _ = await server.send(server.request(token="wrong", content_length="999999")[:-2])
        assert status == 401


async def test_a_host_that_is_not_exactly_ours_is_refused():
    async with served(scripted_team(a=["answer: 4"])) as server:
        for host in (
            f"127.0.0.1:{server.port}@evil.example",
            f"127.0.0.1:{server.port}.evil.example",
            f"127.0.0.1:{server.port}0",
            "127.0.0.1",
            f"evil.example:{server.port}",
            f"localhost.:{server.port}",
            f"127.1:{server.port}",
            f"2130706433:{server.port}",
            f"localhost:{server.port}, evil.example",
            "",
        ):
            status, _, body = await server.post(PING, host=host)
            assert status == 421, host
            assert "--allowed-host" in words(body)
        await still_serves(server)


@pytest.mark.parametrize("host", ["LOCALHOST:{port}", "[::1]:{port}", "massgen.example.com"])
async def test_a_host_that_is_ours_or_named_by_the_operator_is_served(host: str):
    async with served(scripted_team(a=[]), allowed_hosts=("massgen.example.com",)) as server:
        assert (await server.post(PING, host=host.format(port=server.port)))[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 200),
        ("http://localhost:{port}", 200),
        ("https://127.0.0.1:{port}", 403),
        ("http://127.0.0.1:{port}@evil.example", 403),
        ("http://127.0.0.1:{port}.evil.example", 403),
        ("http://127.0.0.1:80", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_an_origin_is_ours_or_absent_and_gets_no_leave_to_read(origin: str, status: int):
    async with served(scripted_team(a=[])) as server:
        found, headers, _ = await server.post(PING, origin=origin.format(port=server.port))
        preflight, more, _ = await server.send(
            server.request(b"", method="OPTIONS", origin="https://evil.example", token=None)
        )
    assert (found, preflight) == (status, 403)
    assert not [name for name in {**headers, **more} if name.startswith("access-control")]


@pytest.mark.parametrize(
    "name", ["authorization", "origin", "content-type", "last-event-id", "mcp-session-id"]
)
async def test_a_header_given_twice_is_refused(name: str):
    async with served(scripted_team(a=["answer: 4"])) as server:
        request = server.request(PING, **{name: "one"})
        status, _, body = await server.send(
            request.replace(b"\r\ncontent-length", f"\r\n{name}: two\r\ncontent-length".encode())
        )
        await still_serves(server)
    assert status == 400
    assert name in words(body)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ("application/jsonx", 415),
        ("application/json-patch+json", 415),
        ("text/plain", 415),
        ("application/json; charset=utf-16", 415),
        ("text/plain, application/json", 415),
        (None, 415),
    ],
)
async def test_only_json_is_taken(kind: str | None, status: int):
    async with served(scripted_team(a=[])) as server:
        assert (await server.post(PING, content_type=kind))[0] == status


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/mcp/", "POST", 404), ("/mcp/../mcp", "POST", 404), ("/mcp", "PUT", 405)],
)
async def test_there_is_nothing_elsewhere(path: str, method: str, status: int):
    async with served(scripted_team(a=[])) as server:
        assert (await server.send(server.request(PING, path=path, method=method)))[0] == status


async def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes():
    async with served(scripted_team(a=["answer: 4"])) as server:
        head = server.request(b"", content_length=str(BODY_LIMIT + 1))
        status, headers, body = await server.send(head)
        await still_serves(server)
    assert (status, headers["connection"]) == (413, "close")
    assert "4,194,304" in words(body)


async def test_a_body_that_turns_out_too_long_is_refused():
    async with served(scripted_team(a=["answer: 4"])) as server:
        server.gate.body_limit = 1000
        head = server.request(b"", content_length=None, transfer_encoding="chunked")
        status, _, _ = await server.send(
            head + b"320\r\n" + b" " * 800 + b"\r\n320\r\n" + b" " * 800 + b"\r\n"
        )
        assert status == 413
        server.gate.body_limit = BODY_LIMIT
        await still_serves(server)


async def test_a_body_that_does_not_come_is_not_waited_for():
    async with served(scripted_team(a=["answer: 4"])) as server:
        server.gate.body_seconds = 0.1
        status, _, body = await server.send(server.request(PING)[:-5])
        server.gate.body_seconds = 5
        await still_serves(server)
    assert status == 408
    assert "0.1 s" in words(body)


async def test_a_body_cut_off_is_nothing():
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(BodyRefused, match="closed"):
        await read_body(gone, [])


BROKEN = {
    "raw 0xff": b"\xff",
    "0xff in a text": b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":"\xff"}}',
    "not json": b"{",
    "nothing": b"",
    "nul": b"\x00" * 10,
    "a batch": b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]',
    "a number": b"42",
    "deep": b"[" * 100_000,
    "a huge number": b'{"jsonrpc":"2.0","id":' + b"9" * 10_000 + b',"method":"tools/list"}',
    "half a character": b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
    "half a character in broken json": b'{"\\ud800',
    "no method": b'{"jsonrpc":"2.0","id":1}',
    "a reply": b'{"jsonrpc":"2.0","id":1,"result":{}}',
    "wrong types": b'{"jsonrpc":"2.0","id":{},"method":7,"params":"x"}',
    "a bad envelope": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":7}}',
}


@pytest.mark.parametrize("era", ["2026-07-28", "2025-11-25", "a new client"])
async def test_a_malformed_message_harms_nobody(era: str):
    async with served(scripted_team(a=["answer: 4"])) as server:
        for name, body in BROKEN.items():
            more: dict[str, str] = {}
            if era == "2026-07-28":
                more = modern("tools/list")
            elif era == "2025-11-25":
                more = {"mcp_session_id": await server.session()}
            status, _, _ = await server.post(body, **more)
            # In an open session these are messages: taken, or answered with an error of JSON-RPC's.
            message = era == "2025-11-25" and name in ("a reply", "half a character", "a bad envelope")
            assert 200 <= status < 300 if message else 400 <= status < 500, (name, status)
            if era == "2025-11-25":
                ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'
                assert (await server.post(ping, **more))[0] == 200, name
        await still_serves(server)


async def test_bytes_that_are_no_request_harm_nobody():
    async with served(scripted_team(a=["answer: 4"])) as server:
        for data in (
            b"\xff\xfe\xfd\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
            b"POST /mcp HTTP/1.1\r\n\r\n",
            b"POST /mcp HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            b"POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
            b"POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            b"POST /mcp HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            b"GET /mcp HTTP/1.1\r\nhost: a\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ):
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
                    await stream.send(data)
                    await stream.send_eof()
                    assert b" 4" in (await stream.receive())[:13], data[:40]
        await still_serves(server)


async def test_half_a_character_in_a_question_is_put_right():
    team = scripted_team(a=["answer: 4"])
    async with served(team) as server:
        params = {"name": "ask_team", "arguments": {"question": "a \ud800 b \U0001f600"}, "_meta": envelope()}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        status, _, _ = await server.post(json.dumps(body).encode(), **modern("tools/call", "ask_team"))
        (row,) = (await server.call("get_run"))["structuredContent"]["runs"]
    assert status == 200
    assert row["question"] == "a \ufffd b \U0001f600"


async def test_a_session_belongs_to_the_token_that_opened_it(tmp_path: Any):
    from massgen_mcp.server.http.tokens import add_token  # noqa: PLC0415 - for this test alone

    file = tmp_path / "tokens.json"
    other = add_token(file, "anna")
    ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'
    async with served(scripted_team(a=[]), tokens=file) as server:
        session = await server.session()
        mine, _, _ = await server.post(ping, mcp_session_id=session)
        inner, _, code = session.partition(".")
        wrong = [
            await server.post(ping, token=other, mcp_session_id=session),
            await server.post(ping, mcp_session_id=inner),
            await server.post(ping, mcp_session_id=f"{inner}.{code[:-1]}"),
            await server.post(ping, mcp_session_id=f"{'0' * 32}.{code}"),
            await server.post(ping, mcp_session_id="\xff"),
            await server.post(ping, mcp_session_id=""),
        ]
    assert mine == 200
    assert [status for status, _, _ in wrong] == [404] * 6
    assert len(bytes.fromhex(code)) * 8 == 256


def test_a_session_id_of_one_server_is_none_of_anothers():
    shown = SessionSeal().seal(b"session", "digest")
    assert SessionSeal().unseal(shown, "digest") is None


async def test_one_token_can_not_take_every_place():
    team = scripted_team(a=["answer: 4"])
    async with served(team) as server:
        server.gate._of_token.update({server.gate.tokens.find(OPERATOR).digest: 64})  # type: ignore[union-attr]
        status, headers, _ = await server.post(PING)
    assert (status, headers["retry-after"]) == (429, "5")


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def ended(stream: anyio.abc.SocketStream) -> bytes:
    """Everything that comes until the other side closes."""
    found = b""
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError), anyio.fail_after(5):
        while True:
            found += await stream.receive()
    return found


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /mcp HTT", b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost"],
    ids=["nothing", "half", "half of the next"],
)
async def test_headers_that_do_not_come_are_not_waited_for(sent: bytes):
    place = Place(port=0).open()
    async with (
        listening(answer, place, header_seconds=0.2),
        await anyio.connect_tcp("127.0.0.1", place.getsockname()[1]) as stream,
    ):
        for byte in sent:
            await stream.send(bytes([byte]))
        found = await ended(stream)
    assert found.endswith(b"408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")


async def test_a_connection_too_many_is_told_so_and_the_others_go_on():
    place = Place(port=0).open()
    port = place.getsockname()[1]
    request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    async with listening(answer, place, connections=2), await anyio.connect_tcp("127.0.0.1", port) as one:
        async with (
            await anyio.connect_tcp("127.0.0.1", port),
            await anyio.connect_tcp("127.0.0.1", port) as three,
        ):
            assert (await ended(three)).startswith(b"HTTP/1.1 503")
            await one.send(request)
            assert (await ended(one)).startswith(b"HTTP/1.1 204")
        async with await anyio.connect_tcp("127.0.0.1", port) as again:
            await again.send(request)
            assert (await ended(again)).startswith(b"HTTP/1.1 204")
