"""What is kept of replies: the newest, within limits, for its session alone."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp.server.streamable_http import GET_STREAM_KEY, EventMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCResponse

from massgen_mcp.server.http.events import EVENTS, KEPT_SECONDS, Backlog, Limit, SessionEvents

pytestmark = pytest.mark.anyio


def step(number: int = 0) -> JSONRPCNotification:
    params = {"progressToken": 1, "progress": float(number), "message": "at work"}
    return JSONRPCNotification(jsonrpc="2.0", method="notifications/progress", params=params)


def reply(request: str | int = 1, text: str = "4") -> JSONRPCResponse:
    return JSONRPCResponse(jsonrpc="2.0", id=request, result={"text": text})


async def rest(events: SessionEvents, event_id: str) -> list[EventMessage]:
    """All that comes after that event."""
    found: list[EventMessage] = []

    async def take(event: EventMessage) -> None:
        await anyio.lowlevel.checkpoint()
        found.append(event)

    with anyio.fail_after(5):
        await events.replay_events_after(event_id, take)
    return found


def told(found: list[EventMessage]) -> list[JSONRPCMessage]:
    return [event.message for event in found]


async def test_of_ten_thousand_steps_the_newest_are_kept_and_the_reply():
    backlog = Backlog()
    events = SessionEvents(backlog)
    begun = await events.store_event("1", None)
    for number in range(10_000):
        await events.store_event("1", step(number))
    assert backlog.size < 100_000
    last = await events.store_event("1", reply())
    found = await rest(events, begun)
    assert told(found) == [*(step(number) for number in range(10_001 - EVENTS, 10_000)), reply()]
    assert found[-1].event_id == last
    assert await rest(events, last) == []


async def test_messages_come_back_as_they_were():
    events = SessionEvents(Backlog())
    begun = await events.store_event("1", None)
    failed = JSONRPCError(jsonrpc="2.0", id=1, error=ErrorData(code=-32602, message="näh \u2028", data=[1.0]))
    for message in (step(1), failed):
        await events.store_event("1", message)
    sent = [
        event.message.model_dump_json(by_alias=True, exclude_unset=True)
        for event in await rest(events, begun)
    ]
    assert sent == [each.model_dump_json(by_alias=True, exclude_unset=True) for each in (step(1), failed)]


async def test_complete_replies_go_before_open_ones_and_the_oldest_first():
    events = SessionEvents(Backlog(session=Limit(streams=3, size=10_000)))
    begun = {name: await events.store_event(name, None) for name in ("1", "2", "3")}
    for name in ("3", "2"):
        await events.store_event(name, reply(name))
    begun["4"] = await events.store_event("4", None)
    await events.store_event("4", step())
    assert [name for name, event_id in begun.items() if event_id in events] == ["1", "2", "4"]
    await events.store_event("4", reply("4", "x" * 9_900))
    assert [name for name, event_id in begun.items() if event_id in events] == ["1"]
    assert (await events.store_event("1", reply(1, "x" * 20_000))) not in events


async def test_of_ten_thousand_calls_that_say_nothing_the_newest_are_known():
    backlog = Backlog()
    events = SessionEvents(backlog)
    begun = [await events.store_event(str(number), None) for number in range(10_000)]
    assert [event_id in events for event_id in begun] == [False] * (10_000 - 64) + [True] * 64
    assert len(backlog.streams) == 64


async def test_all_sessions_together_have_a_limit_too():
    backlog = Backlog(server=Limit(streams=100, size=4_000))
    mine, other = SessionEvents(backlog), SessionEvents(backlog)
    first = await mine.store_event("1", reply(1, "x" * 2_000))
    second = await other.store_event("1", reply(1, "x" * 2_000))
    assert first not in mine
    assert second in other
    assert backlog.size < 4_000
    other.close()
    mine.close()
    assert (backlog.size, len(backlog.streams)) == (0, 0)


async def test_a_complete_reply_is_kept_for_a_while_after_its_end():
    now = 0.0
    backlog = Backlog(now=lambda: now)
    mine, other = SessionEvents(backlog), SessionEvents(backlog)
    kept = await mine.store_event("1", reply())
    now = KEPT_SECONDS - 1
    await other.store_event("1", reply())
    assert kept in mine
    now = KEPT_SECONDS
    await other.store_event("2", reply(2))
    assert kept not in mine
    assert len(backlog.streams) == 2


async def test_an_id_used_again_begins_another_reply():
    events = SessionEvents(Backlog())
    first = await events.store_event("1", None)
    await events.store_event("1", reply(1, "one"))
    second = await events.store_event("1", None)
    await events.store_event("1", reply(1, "two"))
    closed: list[str] = []
    events.close_stream = closed.append
    assert told(await rest(events, first)) == [reply(1, "one")]
    assert closed == []
    assert told(await rest(events, second)) == [reply(1, "two")]
    assert closed == ["1"]
    third = await events.store_event("1", None)
    fourth = await events.store_event("1", None)
    assert third not in events
    assert fourth in events


async def test_a_reply_too_large_to_keep_still_reaches_who_waits_for_it():
    events = SessionEvents(Backlog(session=Limit(streams=5, size=1_000)))
    begun = await events.store_event("1", None)
    found: list[EventMessage] = []

    async def wait() -> None:
        found.extend(await rest(events, begun))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await events.store_event("1", reply(1, "x" * 5_000))
    assert told(found) == [reply(1, "x" * 5_000)]
    assert begun not in events


async def test_who_waits_gets_each_message_as_it_comes_and_once():
    events = SessionEvents(Backlog())
    begun = await events.store_event("1", None)
    found: list[EventMessage] = []

    async def wait() -> None:
        found.extend(await rest(events, begun))

    sent = [step(1), step(2), reply()]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        for message in sent:
            await anyio.wait_all_tasks_blocked()
            await events.store_event("1", message)
    assert told(found) == sent


async def test_what_can_not_be_written_is_not_kept_and_breaks_nothing():
    events = SessionEvents(Backlog())
    begun = await events.store_event("1", None)
    await events.store_event("1", reply(1, "\ud800"))
    assert await rest(events, begun) == []


async def test_a_closed_session_keeps_nothing_and_sends_readers_away():
    backlog = Backlog()
    events = SessionEvents(backlog)
    begun = await events.store_event("1", None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rest, events, begun)
        await anyio.wait_all_tasks_blocked()
        events.close()
    assert begun not in events
    assert await events.store_event("2", None) not in events
    assert await events.store_event("2", reply(2)) not in events
    assert len(backlog.streams) == 0
    assert await rest(events, begun) == []


async def test_the_stream_of_no_request_is_left_to_the_sdk_after_what_was_missed():
    events = SessionEvents(Backlog())
    note = JSONRPCNotification(jsonrpc="2.0", method="notifications/tools/list_changed")
    first = await events.store_event(GET_STREAM_KEY, note)
    assert (await events.store_event(GET_STREAM_KEY, None)).rpartition("-")[0] == first.rpartition("-")[0]
    unasked: Any = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=-32700, message="Parse error"))
    await events.store_event(GET_STREAM_KEY, unasked)
    found: list[EventMessage] = []

    async def take(event: EventMessage) -> None:
        await anyio.lowlevel.checkpoint()
        found.append(event)

    assert await events.replay_events_after(first, take) == GET_STREAM_KEY
    assert told(found) == [unasked]
    assert first in events
