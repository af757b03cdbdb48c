"""The same server over HTTP: both eras, what a lost connection means, how it ends."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from massgen_mcp.errors import JournalError
from massgen_mcp.journal import Journal, open_journal
from massgen_mcp.runs.result import FileRow, RunResult
from massgen_mcp.runs.settings import OnDisconnect
from tests.http.doors import Served, read_reply, served, structured
from tests.server.peers import hello
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = pytest.mark.anyio

MODES = ("auto", "legacy")


@pytest.mark.parametrize("mode", MODES)
async def test_the_sdks_client_asks_a_team_and_hears_how_it_goes(mode: str):
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    team = scripted_team(a=["answer: 4"], b=["answer: 4"])
    async with served(team) as server, server.client(mode=mode) as client:
        assert len((await client.list_tools()).tools) == 5
        result = await client.call_tool("ask_team", {"question": "2 + 2?"}, progress_callback=hear)
        again = await client.call_tool("get_run", {"run_id": structured(result)["run_id"]})
        report = await client.read_resource(structured(result)["report"])
    assert structured(result)["answer"] == structured(again)["answer"] == "4"
    assert "2 + 2?" in str(report.contents[0])
    assert heard


async def test_probes_need_no_token_and_tell_when_it_takes_work():
    async with served(scripted_team(a=["answer: 4"])) as server:
        probe = server.request(token=None, method="GET", path="/readyz", host="10.0.0.7:1")
        while (await server.send(probe))[0] != 200:  # noqa: ASYNC110 - a supervisor asks again, too
            await anyio.sleep(0.01)
        assert (await server.send(probe.replace(b"/readyz", b"/healthz")))[0] == 200
        assert (await server.send(probe.replace(b"GET", b"POST")))[0] == 405
        await server.gate.drain(0)
        assert (await server.send(probe))[0] == 503
        assert (await server.send(probe.replace(b"/readyz", b"/healthz")))[0] == 200
        status, headers, body = await server.post()
    assert (status, headers["retry-after"]) == (503, "10")
    assert "stopping" in json.loads(body)["error"]["message"]


async def ask_and_hang_up(server: Served, team: ScriptedTeam, era: str) -> None:
    """Ask, and close the connection once the team is at work."""
    request = server.asking("ask_team", question="q")
    if era == "2025-11-25":
        params = {"name": "ask_team", "arguments": {"question": "q"}}
        body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        session = await server.session()
        await server.post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', mcp_session_id=session)
        request = server.request(json.dumps(body).encode(), mcp_session_id=session)
    async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
        await stream.send(request)
        await team.answering.wait()


@pytest.mark.parametrize("era", ["2026-07-28", "2025-11-25"])
async def test_a_lost_connection_stops_the_run_where_the_operator_says_cancel(era: str):
    team = scripted_team(a=[After(anyio.Event(), "answer: 4")])
    team.on_disconnect = "cancel"
    async with served(team) as server:
        await ask_and_hang_up(server, team, era)
        (row,) = (await server.call("get_run"))["structuredContent"]["runs"]
        while row["status"] == "running":
            await anyio.sleep(0.01)
            (row,) = (await server.call("get_run"))["structuredContent"]["runs"]
    assert row["status"] == "cancelled"


@pytest.mark.parametrize("era", ["2026-07-28", "2025-11-25"])
async def test_a_lost_connection_leaves_the_run_to_be_collected(era: str):
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4")])
    async with served(team) as server:
        await ask_and_hang_up(server, team, era)
        rows = (await server.call("get_run"))["structuredContent"]["runs"]
        assert [row["status"] for row in rows] == ["running"]
        await anyio.sleep(0.7)  # longer than a reason may come late
        gate.set()
        found = await server.call("get_run", run_id=rows[0]["run_id"], wait_seconds=10)
    assert found["structuredContent"]["answer"] == "4"


async def test_a_cancel_in_an_older_session_stops_the_run():
    team = scripted_team(a=[After(anyio.Event(), "answer: 4")])
    async with served(team) as server:
        session = await server.session()
        await server.post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', mcp_session_id=session)
        params = {"name": "ask_team", "arguments": {"question": "q"}}
        body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(server.request(json.dumps(body).encode(), mcp_session_id=session))
            await team.answering.wait()
            note = {"requestId": 7, "reason": "the user cancelled"}
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": note}
            await server.post(json.dumps(cancel).encode(), mcp_session_id=session)
            rows = (await server.call("get_run"))["structuredContent"]["runs"]
            found = await server.call("get_run", run_id=rows[0]["run_id"], wait_seconds=10)
    assert found["structuredContent"]["status"] == "cancelled"


@pytest.mark.parametrize("on_disconnect", ["auto", "cancel"])
async def test_a_drain_answers_who_waits_and_leaves_the_run_interrupted(
    tmp_path: Path, on_disconnect: OnDisconnect
):
    team = scripted_team(a=["answer: 4"], b=[After(anyio.Event(), "answer: 5")])
    team.on_disconnect = on_disconnect
    team.journal = await open_journal(tmp_path)
    replies: list[tuple[int, dict[str, str], bytes]] = []
    async with (
        served(team) as server,
        await anyio.connect_tcp("127.0.0.1", server.port) as stream,
        anyio.create_task_group() as tasks,
    ):

        async def wait() -> None:
            replies.append(await read_reply(BufferedByteReceiveStream(stream)))

        await stream.send(server.asking("ask_team", question="q"))
        tasks.start_soon(wait)
        await team.answering.wait()
        await server.gate.drain(0.05)
        await anyio.wait_all_tasks_blocked()
    assert replies[0][0] == 503
    assert b"get_run" in replies[0][2]
    journal = await open_journal(tmp_path)
    (row,) = await journal.rows()
    await journal.aclose()
    assert row.state == "interrupted"


async def test_nothing_more_is_answered_once_it_is_closed():
    async with served(scripted_team(a=[])) as server:
        pass
    with pytest.raises(OSError, match=r"."):
        await server.post()


def test_paths_of_the_server_are_left_out_for_those_elsewhere():
    row = FileRow(path="a.txt", mime="text/plain", bytes=1, local_path="/srv/a.txt", uri="massgen://x")
    shown = RunResult(status="completed", run_id="r", files=[row]).elsewhere().public()
    assert shown["files"] == [{"path": "a.txt", "mime": "text/plain", "bytes": 1, "uri": "massgen://x"}]


async def test_a_session_ends_when_its_client_says_so():
    async with served(scripted_team(a=[])) as server:
        session = await server.session()
        end = server.request(b"", method="DELETE", mcp_session_id=session)
        assert (await server.send(end))[0] == 200
        status, _, _ = await server.post(json.dumps(hello()).encode(), mcp_session_id=session)
    assert status == 404


async def test_it_speaks_tls_and_nothing_else_where_it_is_told_to(tmp_path: Path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    try:
        await anyio.run_process([*make, *names, "-keyout", str(key), "-out", str(cert)])
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    context = ssl.create_default_context(cafile=str(cert))
    async with (
        served(scripted_team(a=[]), tls_cert=cert, tls_key=key) as server,
        httpx2.AsyncClient(verify=context) as client,
    ):
        assert (await client.get(f"https://127.0.0.1:{server.port}/healthz")).text == "ok\n"
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError, anyio.IncompleteRead)):
            await server.post()


@pytest.mark.parametrize("era", ["2026-07-28", "2025-11-25"])
async def test_a_drain_ends_the_streams_that_are_open(era: str):
    team = scripted_team(a=["answer: 4"], b=[After(anyio.Event(), "answer: 5")])
    async with served(team) as server:
        if era == "2025-11-25":
            session = await server.session()
            request = server.request(b"", method="GET", mcp_session_id=session, content_length=None)
        else:
            request = server.asking("ask_team", question="q", meta={"progressToken": 1})
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(request)
            reader = BufferedByteReceiveStream(stream)
            head = await reader.receive_until(b"\r\n\r\n", 65_536)
            if era == "2026-07-28":
                assert b"notifications/progress" in await reader.receive_until(b"\r\n\r\n", 65_536)
            await server.gate.drain(0.05)
            assert b"0\r\n\r\n" in await reader.receive_until(b"0\r\n\r\n", 65_536) + b"0\r\n\r\n"
    assert head.startswith(b"HTTP/1.1 200")
    assert b"text/event-stream" in head


@pytest.mark.parametrize("kind", [JournalError, ValueError])
async def test_it_is_not_ready_while_its_journal_can_not_be_opened(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
):
    class Broken(ScriptedTeam):
        async def _open_journal(self) -> Journal:
            raise kind("The journal in /x can't be used: the disk is full.")

    async with served(Broken({"a": ["answer: 4"]})) as server:
        while "the disk is full" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await anyio.sleep(0.01)
        probe = server.request(token=None, method="GET", path="/readyz")
        status, _, body = await server.send(probe)
        refused = await server.call("ask_team", question="q")
    assert (status, body) == (503, b"not ready: see the server's log\n")
    assert refused["isError"]
    assert ("the disk is full" in str(refused)) == (kind is JournalError)
