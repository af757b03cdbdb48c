"""What becomes of a run when the call that waits for it goes away."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from massgen_mcp.clock import ScriptedClock
from massgen_mcp.runs import Ask, ResolvedTeam, RunHandle, RunResult
from massgen_mcp.runs.settings import OnDisconnect
from massgen_mcp.server.app import build_server
from massgen_mcp.server.presence import why_left
from tests.server.peers import ERAS, Era, Peer, connected
from tests.teams import After, ScriptedTeam

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


def slow(clock: ScriptedClock, *, on_disconnect: OnDisconnect = "auto") -> ScriptedTeam:
    """One agent has answered; of the other nothing will come."""
    scripts = {"a": ["answer: 4"], "b": [After(anyio.Event(), "answer: 4")]}
    return ScriptedTeam(scripts, clock=clock, on_disconnect=on_disconnect)


def server_of(team: ScriptedTeam) -> Any:
    return build_server(team, clock=team.clock)


async def begin(team: ScriptedTeam, peer: Peer, number: int = 1) -> RunHandle:
    """Ask, and wait until the team is at work."""
    await peer.call(number, "ask_team", question="?")
    await team.answering.wait()
    return run_of(team)


def run_of(team: ScriptedTeam) -> RunHandle:
    (handle,) = handles(team)
    return handle


def handles(team: ScriptedTeam) -> list[RunHandle]:
    assert team.runs is not None
    # The front door is what the caller has lost here.
    return list(team.runs._handles.values())  # pyright: ignore[reportPrivateUsage]


async def over(clock: ScriptedClock, handle: RunHandle) -> RunResult:
    """The result, without being one who waits for it."""
    while handle.result is None:
        await clock.advance(0)
    return handle.result


async def settled(clock: ScriptedClock, handle: RunHandle, *, waiting: int = 0) -> None:
    """Let messages arrive and their effects come about."""
    while handle.waiting != waiting:
        await clock.advance(0)
    for _ in range(5):
        await clock.advance(0)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "reason", ["AbortError: user-cancel", "caller cancelled", "This operation was aborted"]
)
async def test_a_users_cancel_stops_the_run(era: Era, reason: str):
    clock = ScriptedClock()
    team = slow(clock)
    async with connected(server_of(team), era) as peer:
        handle = await begin(team, peer)
        await peer.cancel(1, reason)
        result = await over(clock, handle)
    assert (result.stopped_by, result.answer) == ("cancelled", "4")


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "reason", ["SdkError: Request timed out", "timed out after 2.0s", "Timeout", "deadline"]
)
async def test_a_host_that_timed_out_can_collect_the_answer_later(era: Era, reason: str):
    clock, go = ScriptedClock(), anyio.Event()
    team = ScriptedTeam({"a": [After(go, "answer: 4")]}, clock=clock)
    async with connected(server_of(team), era) as peer:
        handle = await begin(team, peer)
        await peer.cancel(1, reason)
        await settled(clock, handle)
        await clock.advance(90)
        assert handle.result is None
        go.set()
        await peer.call(2, "get_run", run_id=handle.run_id, wait_seconds=50)
        reply = await peer.reply(2)
    assert reply["result"]["structuredContent"]["answer"] == "4"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("reason", [None, "", "x"])
async def test_without_a_known_reason_the_run_goes_on_for_a_minute(era: Era, reason: str | None):
    clock = ScriptedClock()
    team = slow(clock)
    async with connected(server_of(team), era) as peer:
        handle = await begin(team, peer)
        await peer.cancel(1, reason)
        await settled(clock, handle)
        await clock.advance(59)
        assert handle.result is None
        await clock.advance(1)
        result = await over(clock, handle)
    assert result.stopped_by == "cancelled"


@pytest.mark.parametrize("era", ERAS)
async def test_a_run_that_somebody_came_back_to_goes_on(era: Era):
    clock = ScriptedClock()
    team = slow(clock)
    async with connected(server_of(team), era) as peer:
        handle = await begin(team, peer)
        await peer.cancel(1)
        await settled(clock, handle)
        await peer.call(2, "get_run", run_id=handle.run_id, wait_seconds=5)
        while handle.waiting == 0:
            await clock.advance(0)
        await clock.advance(5)
        await peer.reply(2)
        await clock.advance(90)
        assert handle.result is None


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancel_leaves_a_run_alone_that_somebody_else_waits_for(era: Era):
    clock = ScriptedClock()
    team = slow(clock)
    async with connected(server_of(team), era, name="claude-code") as peer:
        handle = await begin(team, peer)
        await peer.call(2, "get_run", run_id=handle.run_id, wait_seconds=50)
        while handle.waiting < 2:
            await clock.advance(0)
        await peer.cancel(1, "user-cancel")
        await settled(clock, handle, waiting=1)
        assert handle.result is None
        await peer.cancel(2, "user-cancel")
        result = await over(clock, handle)
    assert result.stopped_by == "cancelled"


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_call_is_not_answered(era: Era):
    clock = ScriptedClock()
    team = slow(clock)
    async with connected(server_of(team), era) as peer:
        handle = await begin(team, peer)
        await peer.cancel(1, "user-cancel")
        await over(clock, handle)
        await peer.call(2, "get_run", run_id=handle.run_id)
        await peer.reply(2)
        assert 1 not in peer.replies


@pytest.mark.parametrize("era", ERAS)
async def test_a_request_id_in_use_does_not_start_a_second_run(era: Era):
    clock = ScriptedClock()
    team = slow(clock)
    async with connected(server_of(team), era) as peer:
        handle = await begin(team, peer)
        await peer.call(1, "ask_team", question="another?")
        reply = await peer.reply(1)
        assert reply["result"]["isError"]
        assert "Request id 1 is in use" in reply["result"]["content"][0]["text"]
        assert handle.result is None
        assert len(handles(team)) == 1


@pytest.mark.parametrize("era", ERAS)
async def test_words_about_a_call_that_is_over_change_nothing(era: Era):
    async with connected(build_server(ScriptedTeam({"a": ["answer: 4"]})), era) as peer:
        await peer.call(1, "ask_team", question="?")
        await peer.reply(1)
        await peer.cancel(1, "user-cancel")
        await peer.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"reason": "x"}})
        await peer.call(2, "get_run")
        rows = (await peer.reply(2))["result"]["structuredContent"]["runs"]
    assert rows[0]["status"] == "completed"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("reason", ["AbortError: user-cancel", "Request timed out", None])
async def test_where_the_operator_says_keep_only_cancel_run_stops_a_run(era: Era, reason: str | None):
    clock = ScriptedClock()
    team = slow(clock, on_disconnect="keep")
    async with connected(server_of(team), era) as peer:
        handle = await begin(team, peer)
        await peer.cancel(1, reason)
        await settled(clock, handle)
        await clock.advance(120)
        assert handle.result is None
        await peer.call(2, "cancel_run", run_id=handle.run_id)
        reply = await peer.reply(2)
    assert reply["result"]["structuredContent"]["stopped_by"] == "cancelled"


async def test_where_the_operator_says_keep_a_run_still_ends_when_its_time_is_over():
    clock = ScriptedClock()
    team = slow(clock, on_disconnect="keep")
    async with connected(server_of(team), "2026-07-28") as peer:
        handle = await begin(team, peer)
        await peer.cancel(1, "user-cancel")
        await settled(clock, handle)
        await clock.advance(600)
        result = await over(clock, handle)
    assert (result.stopped_by, result.answer) == ("decided", "4")  # of the one who answered in time


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("reason", ["AbortError: user-cancel", "Request timed out", None])
async def test_where_the_operator_says_cancel_every_departure_stops_the_run_at_once(
    era: Era, reason: str | None
):
    clock = ScriptedClock()
    team = slow(clock, on_disconnect="cancel")
    async with connected(server_of(team), era) as peer:
        handle = await begin(team, peer)
        await peer.cancel(1, reason)
        result = await over(clock, handle)
        assert clock.monotonic() == 0
    assert (result.stopped_by, result.answer) == ("cancelled", "4")


async def test_where_the_operator_says_cancel_somebody_else_who_waits_keeps_the_run():
    clock = ScriptedClock()
    team = slow(clock, on_disconnect="cancel")
    async with connected(server_of(team), "2025-11-25", name="claude-code") as peer:
        handle = await begin(team, peer)
        await peer.call(2, "get_run", run_id=handle.run_id, wait_seconds=50)
        while handle.waiting < 2:
            await clock.advance(0)
        await peer.cancel(1, "timed out")
        await settled(clock, handle, waiting=1)
        assert handle.result is None
        await peer.cancel(2, "timed out")
        result = await over(clock, handle)
    assert result.stopped_by == "cancelled"


async def test_a_cancel_before_the_team_is_known_starts_nothing():
    held = anyio.Event()

    class Thinking(ScriptedTeam):
        async def resolve(self, ask: Ask) -> ResolvedTeam:
            self.answering.set()
            await held.wait()
            return await super().resolve(ask)

    team = Thinking({})
    async with connected(build_server(team), "2025-11-25") as peer:
        await peer.call(1, "ask_team", question="?")
        await team.answering.wait()
        await peer.cancel(1, "user-cancel")
        await peer.call(2, "get_run")
        assert (await peer.reply(2))["result"]["structuredContent"]["runs"] == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdk_clients_own_time_limit_does_not_stop_the_run(mode: str):
    clock = ScriptedClock()
    team = slow(clock)
    async with Client(server_of(team), mode=mode) as client:
        with pytest.raises(MCPError):
            await client.call_tool("ask_team", {"question": "?"}, read_timeout_seconds=0.3)
        handle = run_of(team)
        await settled(clock, handle)
        await anyio.sleep(0.6)  # until no reason can come any more
        assert handle.result is None


@pytest.mark.parametrize("on_disconnect", ["auto", "cancel"])
async def test_a_server_that_ends_leaves_the_run_interrupted(on_disconnect: OnDisconnect):
    clock = ScriptedClock()
    team = slow(clock, on_disconnect=on_disconnect)
    with anyio.CancelScope() as serving:
        async with connected(server_of(team), "2026-07-28") as peer:
            await begin(team, peer)
            serving.cancel()
    assert team.journal is not None
    (row,) = await team.journal.rows()
    assert row.state == "interrupted"


async def test_a_connection_that_closes_leaves_the_run_interrupted():
    clock = ScriptedClock()
    team = slow(clock)
    async with connected(server_of(team), "2026-07-28") as peer:
        handle = await begin(team, peer)
    assert team.journal is not None
    assert (await team.journal.row(handle.run_id)).state == "interrupted"


def test_a_reason_is_read_for_what_it_says():
    assert [why_left(words) for words in ("Request timed out", "time-out", "TIMEOUT", "timing out")] == [
        "timed_out"
    ] * 4
    assert [why_left(words) for words in ("user interrupt", "Stopped", "AbortError")] == ["meant"] * 3
    assert [why_left(words) for words in (None, "", "because")] == ["unknown"] * 3
