"""`subscriptions/listen`: what a client of the newer era is told without asking again."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.client.subscriptions import ResourceUpdated

from massgen_mcp.journal import open_journal
from massgen_mcp.server.app import build_server
from tests.server.hosts import started
from tests.server.shown import data
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = pytest.mark.timeout(60)


def waiting(go: anyio.Event) -> ScriptedTeam:
    return scripted_team(a=[After(go, "answer: 4")])


@pytest.mark.anyio
@pytest.mark.parametrize("part", ["", "/transcript"])
async def test_a_client_that_listens_for_a_run_is_told_when_it_is_over(part: str):
    go = anyio.Event()
    async with Client(build_server(waiting(go))) as client:
        run_id = data(await client.call_tool("ask_team", {"question": "?", "wait_seconds": 0}))["run_id"]
        uri = f"massgen://runs/{run_id}{part}"
        async with client.listen(resource_subscriptions=[uri]) as news:
            go.set()
            with anyio.fail_after(20):
                assert await anext(aiter(news)) == ResourceUpdated(uri=uri)
        found = data(await client.call_tool("get_run", {"run_id": run_id}))
    assert found["status"] == "completed"


@pytest.mark.anyio
async def test_a_run_of_another_process_is_told_of_too(tmp_path: Path):
    go = anyio.Event()
    away, here = waiting(go), scripted_team(a=[])
    away.journal, here.journal = await open_journal(tmp_path), await open_journal(tmp_path)
    async with Client(build_server(away)) as there, Client(build_server(here)) as client:
        run_id = data(await there.call_tool("ask_team", {"question": "?", "wait_seconds": 0}))["run_id"]
        uri = f"massgen://runs/{run_id}"
        async with client.listen(resource_subscriptions=[uri]) as news:
            go.set()
            with anyio.fail_after(20):
                assert await anext(aiter(news)) == ResourceUpdated(uri=uri)


@pytest.mark.anyio
async def test_of_what_is_over_or_is_not_there_nothing_is_told():
    async with Client(build_server(scripted_team(a=["answer: 4"]))) as client:
        run_id = data(await client.call_tool("ask_team", {"question": "?"}))["run_id"]
        uris = [f"massgen://runs/{run_id}", "massgen://runs/nobody", "massgen://backends"]
        async with client.listen(resource_subscriptions=uris, tools_list_changed=True) as news:
            with anyio.move_on_after(0.5):
                pytest.fail(f"told of {await anext(aiter(news))}")


def test_over_pipes_a_host_that_listens_is_acknowledged_and_may_hang_up(tmp_path: Path):
    """Claude Code 2.1.330 opens such a stream first of all."""
    with started(["-m", "massgen_mcp"], tmp_path) as host:
        host.shake_hands()
        host.listen(7, toolsListChanged=True)
        first = host.read()
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["notifications"] == {"toolsListChanged": True}
        assert first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 7
        assert len(host.request(8, "tools/list")["result"]["tools"]) == 5
        host.hang_up()
        assert host.ended(within=5) == 0
