"""A client that cuts its calls after a minute gets the answer of a longer run by its handle."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from mcp import Client

from massgen_mcp.clock import ScriptedClock
from massgen_mcp.server.app import build_server
from tests.server.shown import data, text
from tests.teams import After, ScriptedTeam

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]

CUT_AT = 60
TAKES = 100
MODES = ("auto", "legacy")


class Impatient:
    """The SDK's client, which knows nothing of this server and gives up on a call after a minute."""

    def __init__(self, client: Client, clock: ScriptedClock) -> None:
        self._client = client
        self._clock = clock

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The reply; it has to come within the minute."""
        replies: list[Any] = []
        began = self._clock.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(self._reply, replies, tool, arguments))
            while not replies:
                await wait_all_tasks_blocked()
                await self._clock.advance(1)
                assert self._clock.monotonic() - began < CUT_AT, f"{tool} was cut"
        return replies[0]

    async def _reply(self, replies: list[Any], tool: str, arguments: dict[str, Any]) -> None:
        replies.append(await self._client.call_tool(tool, arguments))


def named(call: str) -> tuple[str, dict[str, Any]]:
    """The tool and arguments of a call as it is written in `next`."""
    tool, _, rest = call.partition("(")
    found = re.findall(r'(\w+)=(?:"([^"]*)"|(\d+))', rest)
    return tool, {name: words or int(number) for name, words, number in found}


@pytest.mark.parametrize("mode", MODES)
async def test_the_call_named_in_next_returns_the_answer(mode: str):
    clock, done = ScriptedClock(), anyio.Event()
    team = ScriptedTeam({"a": [After(done, "answer: 4")]}, clock=clock)

    async def finish() -> None:
        await clock.sleep(TAKES)
        done.set()

    found: dict[str, Any] = {}
    made: list[tuple[str, dict[str, Any]]] = []
    async with (
        anyio.create_task_group() as tasks,
        Client(build_server(team, clock=clock), mode=mode) as client,
    ):
        tasks.start_soon(finish)
        await client.call_tool("get_run", {})  # what is loaded by the first call takes no time of the clock
        host = Impatient(client, clock)
        reply = await host.call("ask_team", question="?")
        while (found := data(reply))["status"] == "running":
            assert not reply.is_error
            assert found["next"] in text(reply), "hosts that show text alone name it, too"
            tool, arguments = named(found["next"])
            made.append((tool, arguments))
            reply = await host.call(tool, **arguments)
    assert found["answer"] == "4"
    assert made
    assert set(map(str, made)) == {str(("get_run", {"run_id": found["run_id"], "wait_seconds": 45}))}
    assert clock.monotonic() >= TAKES
    assert len(team.asked) == 1, "nothing was asked twice"
