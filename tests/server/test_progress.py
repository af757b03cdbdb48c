"""Progress: a line for what a person wants to see, at most one a second, one every ten seconds at least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from mcp import Client

from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import JournalError
from massgen_mcp.journal import MemoryJournal, Record
from massgen_mcp.server.app import build_server
from tests.server.peers import ERAS, Era, connected
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


@pytest.mark.parametrize("era", ERAS)
async def test_each_answer_is_told_with_the_count_the_time_and_the_money(era: Era):
    gates = [anyio.Event(), anyio.Event(), anyio.Event()]
    clock = ScriptedClock()
    scripts = {name: [After(gate, "answer: 4")] for name, gate in zip("abc", gates, strict=True)}
    team = ScriptedTeam(scripts, clock=clock)
    async with connected(build_server(team, clock=clock), era, name="claude-code") as peer:
        await peer.call(1, "ask_team", token=7, question="?")
        await peer.told(1)
        for number, gate in enumerate(gates[:2], 1):
            await clock.advance(6)
            gate.set()
            await peer.told(1 + number)
        await clock.advance(1)
        gates[2].set()
        await peer.reply(1)
    assert [note["message"] for note in peer.progress[:3]] == [
        "test begins: a, b, c",
        "a answered (1/3), 6 s, $0.01",
        "b answered (2/3), 12 s, $0.02",
    ]
    assert {note["progressToken"] for note in peer.progress} == {7}


@pytest.mark.parametrize("era", ERAS)
async def test_numbers_grow_with_every_message(era: Era):
    clock = ScriptedClock()
    team = ScriptedTeam({"a": [After(anyio.Event(), "answer: 4")]}, clock=clock)
    async with connected(build_server(team, clock=clock), era, name="claude-code") as peer:
        await peer.call(1, "ask_team", token=7, question="?")
        await peer.told(1)
        await clock.advance(45)
        await peer.told(5)
        await peer.cancel(1, "timed out")
    numbers = [note["progress"] for note in peer.progress]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("era", ERAS)
async def test_a_silent_team_is_heard_of_every_ten_seconds(era: Era):
    clock = ScriptedClock()
    team = ScriptedTeam({"a": ["answer: 4"], "b": [After(anyio.Event(), "answer: 4")]}, clock=clock)
    async with connected(build_server(team, clock=clock), era, name="claude-code") as peer:
        await peer.call(1, "ask_team", token=7, question="?")
        await peer.told(1)
        await clock.advance(1)
        await peer.told(2)
        await clock.advance(30)
        lines = await peer.told(5)
        await peer.cancel(1, "timed out")
    assert lines[1] == "a answered (1/2), 0 s, $0.01"
    assert lines[2:5] == [
        "1/2 answered, 11 s, $0.01; at work: b",
        "1/2 answered, 21 s, $0.01; at work: b",
        "1/2 answered, 31 s, $0.01; at work: b",
    ]


async def test_of_what_happens_within_a_second_the_newest_is_told():
    clock = ScriptedClock()
    scripts = {"a": ["answer: 4", "vote: 5"], "b": ["answer: 5", After(anyio.Event(), "vote: 4")]}
    team = ScriptedTeam(scripts, clock=clock)
    async with connected(build_server(team, clock=clock), "2026-07-28", name="claude-code") as peer:
        await peer.call(1, "ask_team", token=7, question="?")
        await peer.told(1)
        while len(team.asked) < 4:
            await clock.advance(0)
        await clock.advance(1)
        lines = await peer.told(2)
        await peer.cancel(1, "timed out")
    assert lines[:2] == ["test begins: a, b", "a voted for b (1/2), 0 s, $0.03"]


async def test_without_a_token_nothing_is_sent():
    clock = ScriptedClock()
    team = ScriptedTeam({"a": [After(anyio.Event(), "answer: 4")]}, clock=clock)
    async with connected(build_server(team, clock=clock), "2025-11-25") as peer:
        await peer.call(1, "ask_team", question="?")
        await team.answering.wait()
        await clock.advance(45)
        await peer.reply(1)
    assert peer.progress == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdk_client_is_told_too(mode: str):
    lines: list[tuple[float, str | None]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        lines.append((progress, message))

    async with Client(build_server(scripted_team(a=["answer: 4"])), mode=mode) as client:
        await client.call_tool("ask_team", {"question": "?"}, progress_callback=listen)
    assert lines[0] == (1.0, "test begins: a")


async def test_who_looks_at_a_run_half_way_is_told_where_it_is():
    go, clock = anyio.Event(), ScriptedClock()
    team = ScriptedTeam({"a": ["answer: 4"], "b": [After(go, "answer: 4")]}, clock=clock)
    async with connected(build_server(team, clock=clock), "2026-07-28") as peer:
        await peer.call(1, "ask_team", question="?", wait_seconds=5)
        await team.answering.wait()
        await clock.advance(5)
        run_id = (await peer.reply(1))["result"]["structuredContent"]["run_id"]
        await peer.call(2, "get_run", token=8, run_id=run_id, wait_seconds=50)
        await peer.told(1)
        await clock.advance(11)
        lines = await peer.told(2)
        go.set()
        await peer.reply(2)
    assert lines == ["a answered (1/2), 0 s, $0.01", "1/2 answered, 15 s, $0.01; at work: b"]


async def test_progress_goes_on_where_the_past_cannot_be_read():
    class Unreadable(MemoryJournal):
        async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[Record]:
            raise JournalError(f"{run_id} can't be read from {after} to {limit}.")

    clock = ScriptedClock()
    team = ScriptedTeam({"a": ["answer: 4"]}, clock=clock, journal=Unreadable(clock=clock))
    async with connected(build_server(team, clock=clock), "2026-07-28") as peer:
        await peer.call(1, "ask_team", token=7, question="?")
        assert (await peer.reply(1))["result"]["structuredContent"]["answer"] == "4"
    assert "a answered (1/1), 0 s, $0.01" in await peer.told(1)


async def test_what_is_told_is_short_redacted_and_visible():
    clock = ScriptedClock()
    agent = "a" * 150
    scripts: dict[str, Any] = {agent: ["answer: 4"], "b-hunter2-hunter2\u202e": ["answer: 4"]}
    team = ScriptedTeam(scripts, clock=clock)
    team.secrets.add("hunter2-hunter2", "PASSWORD")
    async with connected(build_server(team, clock=clock), "2026-07-28") as peer:
        await peer.call(1, "ask_team", token=7, question="?", agents=["b-hunter2-hunter2\u202e"])
        await peer.reply(1)
        await peer.call(2, "ask_team", token=8, question="?", agents=[agent])
        await peer.reply(2)
    assert peer.progress[0]["message"] == "test begins: b-[PASSWORD][U+202E]"
    assert len(peer.progress[1]["message"]) == 120
