"""What a task may be beside a run: one that asks its client for something, one that fails by the protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError

from tests.conformance.server import build_fixture_server
from tests.server.shown import data
from tests.server.taskers import Created, Found, TaskClient, cancel, create, look, update
from tests.teams import scripted_team

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


@asynccontextmanager
async def client(*, takes_tasks: bool = True) -> AsyncGenerator[Client]:
    """Of a server with the jobs of the conformance suite beside the runs of a team."""
    async with anyio.create_task_group() as tasks:
        team = scripted_team(a=["answer: 4"])
        server = build_fixture_server(team, opened=lambda _: None, tasks=tasks)
        async with Client(server, extensions=[TaskClient()] if takes_tasks else []) as found:
            yield found
        tasks.cancel_scope.cancel()


async def begin(client: Client, job: str, **arguments: Any) -> str:
    found = await client.session.call_tool(job, arguments, allow_claimed=True)
    assert isinstance(found, Created)
    return found.task_id


async def until(client: Client, task_id: str, status: str) -> Found:
    found = await look(client.session, task_id)
    while found.status != status:
        await anyio.sleep(0.01)
        found = await look(client.session, task_id)
    return found


async def test_one_that_asks_goes_on_when_all_of_it_is_answered():
    async with client() as found:
        task_id = await begin(found, "multi_input")
        asked = await until(found, task_id, "input_required")
        assert asked.input_requests is not None
        assert asked.input_requests["first"]["method"] == "elicitation/create"
        await update(found.session, task_id, first={"action": "accept", "content": {"name": "a"}})
        left = await look(found.session, task_id)
        assert (left.status, [*(left.input_requests or {})]) == ("input_required", ["second"])
        await update(found.session, task_id, second={"action": "decline"})
        over = await until(found, task_id, "completed")
    assert over.input_requests is None
    assert over.result is not None


async def test_one_that_fails_by_the_protocol_has_an_error_and_no_result():
    async with client() as found:
        over = await until(found, await begin(found, "protocol_error_job"), "failed")
    assert (over.error, over.result) == ({"code": types.INTERNAL_ERROR, "message": "It broke."}, None)


async def test_one_that_is_cancelled_has_neither():
    async with client() as found:
        task_id = await begin(found, "slow_compute", seconds=60)
        await cancel(found.session, task_id)
        over = await until(found, task_id, "cancelled")
    assert (over.error, over.result) == (None, None)


async def test_a_call_that_can_only_be_a_task_is_refused_to_who_takes_none():
    async with client(takes_tasks=False) as found:
        with pytest.raises(MCPError) as caught:
            await found.call_tool("failing_job", {})
    assert caught.value.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY


async def test_runs_are_tasks_beside_them():
    async with client() as found:
        task_id = (await create(found)).task_id
        await until(found, task_id, "completed")
        assert data(await found.call_tool("get_run", {"run_id": task_id}))["answer"] == "4"
