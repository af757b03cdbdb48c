"""`ask_team` as a task of the protocol: answered at once, polled, the same run under every door."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.extension import advertise
from mcp.client.streamable_http import streamable_http_client

from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import BackendError, JournalError
from massgen_mcp.journal import MemoryJournal, RunRow, open_journal
from massgen_mcp.runs import Ask, World
from massgen_mcp.server.app import build_server
from massgen_mcp.server.http.tokens import add_token
from massgen_mcp.server.tasks import EXTENSION
from tests.http.doors import Served, served
from tests.server.peers import ERAS, Era, connected, envelope
from tests.server.shown import SPLIT, data, text
from tests.server.taskers import Created, Found, TaskClient, cancel, create, look, update
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


@pytest.fixture
def team_waits() -> tuple[ScriptedTeam, anyio.Event]:
    """A team that answers once the event is set."""
    go = anyio.Event()
    return scripted_team(a=[After(go, "answer: 4")], b=["answer: 4"]), go


def client_of(team: ScriptedTeam, extension: TaskClient | None = None) -> Client:
    return Client(build_server(team), extensions=[extension or TaskClient()])


def declaring() -> dict[str, Any]:
    """The envelope of a client that takes tasks."""
    capabilities: dict[str, Any] = {"extensions": {EXTENSION: {}}}
    return envelope() | {"io.modelcontextprotocol/clientCapabilities": capabilities}


async def until(client: Client, task_id: str, status: str) -> Found:
    """The task, as soon as it has this status."""
    while (found := await look(client.session, task_id)).status != status:
        assert found.status == "working", found
        await anyio.sleep(0.01)
    return found


async def said(client: Client, task_id: str, words: str) -> None:
    """Return as soon as the task's message has these words."""
    found = await look(client.session, task_id)
    while words not in (found.status_message or ""):
        await anyio.sleep(0.01)
        found = await look(client.session, task_id)


@pytest.mark.parametrize("client", ["declares it", "does not"])
@pytest.mark.parametrize("era", ERAS)
async def test_only_a_client_that_declares_the_extension_in_the_newer_era_gets_a_task(era: Era, client: str):
    """Inspector 2.12 declares it in the older era and can do nothing with a task."""
    declared, newer = client == "declares it", era == "2026-07-28"
    # The SDK's client declares an extension with claims in the newer era only.
    extensions = [TaskClient() if newer else advertise(EXTENSION)] if declared else []
    server = build_server(scripted_team(a=["answer: 4"]))
    async with Client(server, mode="auto" if newer else "legacy", extensions=extensions) as found:
        assert found.session.protocol_version == era
        reply = await found.session.call_tool("ask_team", {"question": "?"}, allow_claimed=True)
    assert isinstance(reply, Created) == (declared and newer)


async def test_a_task_is_answered_at_once_and_is_the_run(team_waits: tuple[ScriptedTeam, anyio.Event]):
    team, go = team_waits
    async with client_of(team) as client:
        created = await create(client, wait_seconds=600)
        run = await client.call_tool("get_run", {"run_id": created.task_id})
        assert (created.status, data(run)["status"]) == ("working", "running")
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ", created.created_at)
        assert created.poll_interval_ms == 3_000
        go.set()
        found = await until(client, created.task_id, "completed")
    assert found.result is not None
    assert found.result["structuredContent"]["answer"] == "4"
    assert found.poll_interval_ms is None
    assert found.created_at == created.created_at <= found.last_updated_at


@pytest.mark.parametrize("detail", ["answer", "summary", "votes", None])
async def test_its_result_is_what_the_call_would_have_returned(detail: str | None):
    given = {"question": "?", **({"detail": detail} if detail else {})}
    async with client_of(ScriptedTeam(SPLIT)) as client:
        polled = await client.call_tool("ask_team", given)
    async with Client(build_server(ScriptedTeam(SPLIT))) as client:
        called = await client.call_tool("ask_team", given)
    assert timeless(polled) == timeless(called)


def timeless(result: types.CallToolResult) -> str:
    """What is not of this moment alone."""
    found = result.model_dump_json(by_alias=True, exclude_none=True, exclude={"meta"})
    return re.sub(r"\d{8}-\d{4}-\w{6}|\"seconds\":[\d.]+,?|\d+ s ·", "", found)


async def test_its_message_is_the_line_that_a_waiting_caller_would_see():
    go, clock = anyio.Event(), ScriptedClock()
    team = ScriptedTeam({"a": [After(go, "answer: 4")], "b": ["answer: 4"]}, clock=clock)
    async with Client(build_server(team, clock=clock), extensions=[TaskClient()]) as client:
        created = await create(client)
        await said(client, created.task_id, "b answered")
        await clock.advance(15)
        quiet = await look(client.session, created.task_id)
        go.set()
        over = await until(client, created.task_id, "completed")
    assert quiet.status_message == "1/2 answered, 15 s, $0.01; at work: a"
    assert over.status_message == "completed: a's answer (the answers agree), 15 s, $0.02"


async def test_a_cancelled_task_ends_and_what_it_has_is_kept(team_waits: tuple[ScriptedTeam, anyio.Event]):
    team, _ = team_waits
    async with client_of(team) as client:
        created = await create(client)
        await said(client, created.task_id, "b answered")
        reply = await cancel(client.session, created.task_id)
        found = await until(client, created.task_id, "cancelled")
        again = await cancel(client.session, created.task_id)
        run = await client.call_tool("get_run", {"run_id": created.task_id})
    assert {*reply.model_dump(exclude_none=True)} <= {"meta"}
    assert {*again.model_dump(exclude_none=True)} <= {"meta"}
    assert (found.result, found.error) == (None, None)
    assert data(run)["answer"] == "4"


async def test_an_update_is_taken_although_no_run_asks_for_anything(
    team_waits: tuple[ScriptedTeam, anyio.Event],
):
    team, _ = team_waits
    async with client_of(team) as client:
        created = await create(client)
        await update(client.session, created.task_id)
        assert (await look(client.session, created.task_id)).status == "working"


@pytest.mark.parametrize("verb", [look, cancel, update])
async def test_an_unknown_id_is_an_error_of_the_protocol(verb: Any):
    async with client_of(scripted_team(a=["answer: 4"])) as client:
        with pytest.raises(MCPError, match="There is no task 'nobody'") as caught:
            await verb(client.session, "nobody")
    assert caught.value.code == types.INVALID_PARAMS


@pytest.mark.parametrize("verb", [look, cancel, update])
async def test_who_has_not_declared_the_extension_is_told_what_is_missing(verb: Any):
    async with Client(build_server(scripted_team(a=["answer: 4"]))) as client:
        with pytest.raises(MCPError) as caught:
            await verb(client.session, "nobody")
    assert caught.value.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY
    assert caught.value.error.data == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


@pytest.mark.parametrize("verb", [look, cancel, update])
async def test_the_older_era_does_not_have_the_verbs(verb: Any):
    server = build_server(scripted_team(a=["answer: 4"]))
    async with Client(server, mode="legacy", extensions=[advertise(EXTENSION)]) as client:
        with pytest.raises(MCPError) as caught:
            await verb(client.session, "nobody")
    assert caught.value.code == types.METHOD_NOT_FOUND


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"questoin": "?"}, "Did you mean `question`?"),
        ({"question": " "}, "`question` is empty"),
        ({"question": "?", "team": "nobody"}, 'Unknown team "nobody"'),
    ],
)
async def test_bad_arguments_are_refused_before_there_is_a_task(arguments: dict[str, Any], words: str):
    team = scripted_team(a=["answer: 4"])
    extension = TaskClient()
    async with client_of(team, extension) as client:
        result = await client.call_tool("ask_team", arguments)
        runs = await client.call_tool("get_run", {})
    assert result.is_error
    assert words in text(result)
    assert "Nothing was spent." in text(result)
    assert (extension.seen, data(runs)["runs"]) == ([], [])


async def test_a_run_without_an_answer_is_a_completed_task_with_an_error_in_it():
    refused = BackendError("The key was refused. Set a valid one.", kind="auth", connected=True)
    extension = TaskClient()
    async with client_of(scripted_team(a=[refused]), extension) as client:
        result = await client.call_tool("ask_team", {"question": "?"})
    assert result.is_error
    assert "The key was refused. Set a valid one." in text(result)
    assert extension.seen[-1].status == "completed"
    assert extension.seen[-1].error is None


async def test_a_defect_is_told_in_words(caplog: pytest.LogCaptureFixture):
    team = scripted_team(a=["answer: 4"])

    async def broken(ask: Ask) -> Any:
        raise RuntimeError(ask.question)

    team.resolve = broken  # type: ignore[method-assign]
    async with client_of(team) as client:
        result = await client.call_tool("ask_team", {"question": "why"})
    assert result.is_error
    assert text(result).startswith("ask_team broke: a defect in massgen-mcp (RuntimeError)")
    assert "why" in caplog.text


async def test_other_tools_are_answered_as_always():
    async with client_of(scripted_team(a=["answer: 4"])) as client:
        found = data(await client.call_tool("list_backends", {}))
    assert found["backends"]


async def test_a_caller_who_looks_on_and_leaves_does_not_stop_it(
    team_waits: tuple[ScriptedTeam, anyio.Event],
):
    team, go = team_waits
    async with connected(build_server(team), "2026-07-28") as peer:
        await peer.request(1, "tools/call", name="ask_team", arguments={"question": "?"}, _meta=declaring())
        run_id = (await peer.reply(1))["result"]["taskId"]
        await peer.call(2, "get_run", run_id=run_id, wait_seconds=50)
        assert team.runs is not None
        handle = team.runs.live(run_id)
        assert handle is not None
        while not handle.waits:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.01)
        await peer.cancel(2, "user cancelled")
        await anyio.sleep(1.0)  # a run that is stopped for it is by then
        assert handle.result is None
        go.set()
        await handle.wait()
    assert handle.status().status == "completed"


async def test_it_is_there_after_a_restart(tmp_path: Path):
    team = scripted_team(a=["answer: 4"])
    team.journal = await open_journal(tmp_path)
    async with client_of(team) as client:
        created = await create(client)
        first = await until(client, created.task_id, "completed")
    second = scripted_team(a=["answer: 5"])
    second.journal = await open_journal(tmp_path)
    async with client_of(second) as client:
        found = await look(client.session, created.task_id)
        await cancel(client.session, created.task_id)
    assert found.result == first.result
    assert (found.status, found.created_at) == ("completed", first.created_at)


async def test_a_run_that_another_process_drives_can_be_watched_and_stopped(tmp_path: Path):
    away, here = (scripted_team(a=[After(anyio.Event(), "answer: 4")]) for _ in range(2))
    away.journal, here.journal = await open_journal(tmp_path), await open_journal(tmp_path)
    async with client_of(away) as there, client_of(here) as client:
        created = await create(there)
        watched = await look(client.session, created.task_id)
        await cancel(client.session, created.task_id)
        found = await until(client, created.task_id, "cancelled")
    assert (watched.status, watched.created_at) == ("working", created.created_at)
    assert found.task_id == created.task_id


async def test_a_run_whose_driver_is_gone_is_over_and_says_so(tmp_path: Path):
    team = scripted_team(a=[After(anyio.Event(), "answer: 4")])
    team.journal = await open_journal(tmp_path)
    async with client_of(team) as client:
        created = await create(client)
        await team.answering.wait()
    after = scripted_team(a=["answer: 4"])
    after.journal = await open_journal(tmp_path)
    async with client_of(after) as client:
        found = await look(client.session, created.task_id)
    assert found.status == "completed"
    assert found.result is not None
    assert found.result["isError"]
    assert found.result["structuredContent"]["status"] == "interrupted"
    assert found.status_message == "interrupted: the process that drove it is gone"


@asynccontextmanager
async def tasker(server: Served, token: str) -> AsyncGenerator[Client]:
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=20) as http,
        Client(streamable_http_client(server.url, http_client=http), extensions=[TaskClient()]) as client,
    ):
        yield client


async def test_over_http_each_user_has_their_own_tasks(tmp_path: Path):
    tokens = tmp_path / "tokens.json"
    anna, ben = add_token(tokens, "anna"), add_token(tokens, "ben")
    team = scripted_team(a=[After(anyio.Event(), "answer: 4")])
    async with (
        served(team, tokens=tokens) as server,
        tasker(server, anna) as hers,
        tasker(server, ben) as his,
    ):
        created = await create(hers)
        for verb in (look, cancel, update):
            with pytest.raises(MCPError, match="There is no task"):
                await verb(his.session, created.task_id)
        assert (await look(hers.session, created.task_id)).status == "working"
        await cancel(hers.session, created.task_id)
        await until(hers, created.task_id, "cancelled")


async def test_over_http_the_connection_may_go(tmp_path: Path):
    tokens = tmp_path / "tokens.json"
    anna = add_token(tokens, "anna")
    go = anyio.Event()
    async with served(scripted_team(a=[After(go, "answer: 4")]), tokens=tokens) as server:
        async with tasker(server, anna) as client:
            created = await create(client)
        go.set()
        async with tasker(server, anna) as client:
            found = await until(client, created.task_id, "completed")
    assert found.result is not None


async def test_over_http_the_header_has_to_name_the_same_task():
    async with served(scripted_team(a=["answer: 4"])) as server:
        for name in ("another", None):
            body = types.JSONRPCRequest(
                jsonrpc="2.0", id=1, method="tasks/get", params={"taskId": "one", "_meta": declaring()}
            )
            headers: dict[str, Any] = {
                "mcp_protocol_version": "2026-07-28",
                "mcp_method": "tasks/get",
                "mcp_name": name,
            }
            status, _, reply = await server.post(
                body.model_dump_json(by_alias=True, exclude_none=True).encode(), **headers
            )
            assert status == 400
            assert b"-32020" in reply


@pytest.mark.parametrize(("days", "ttl"), [(None, None), (2.0, 172_800_000), (1e-12, 1)])
async def test_a_task_can_be_asked_for_as_long_as_runs_are_kept(days: float | None, ttl: int | None):
    class Kept(ScriptedTeam):
        def world(self) -> World:
            return replace(super().world(), keep_days=days)

    async with client_of(Kept({"a": ["answer: 4"]})) as client:
        assert (await create(client)).ttl_ms == ttl


async def test_a_journal_that_cannot_be_read_is_an_error_that_says_why():
    class Torn(MemoryJournal):
        torn = False

        async def row(self, run_id: str) -> RunRow:
            if self.torn:
                raise JournalError("The disk is gone.")
            return await super().row(run_id)

    team = scripted_team(a=[After(anyio.Event(), "answer: 4")])
    team.journal = journal = Torn(clock=team.clock, redact=team.secrets.redact_value)
    async with client_of(team) as client:
        created = await create(client)
        journal.torn = True
        with pytest.raises(MCPError, match="The disk is gone") as caught:
            await look(client.session, created.task_id)
        with pytest.raises(MCPError, match="The disk is gone"):
            await cancel(client.session, "20250101-0000-another")
        journal.torn = False
    assert caught.value.code == types.INTERNAL_ERROR


async def test_asking_the_same_again_is_the_same_task_until_its_result_is_fetched():
    team = scripted_team(a=["answer: 4"])
    async with client_of(team) as client:
        first = await create(client)
        assert team.runs is not None
        handle = team.runs.live(first.task_id)
        assert handle is not None
        await handle.wait()
        again = await create(client)
        fetched = await until(client, again.task_id, "completed")
        anew = await create(client)
    assert (again.task_id, again.status) == (first.task_id, "completed")
    assert fetched.result is not None
    assert anew.task_id != first.task_id
