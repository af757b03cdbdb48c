"""What every store of runs promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import anyio
import pytest

from massgen_mcp.errors import AlreadyAsked, JournalError, RunNotFound, RunOver, RunTaken
from massgen_mcp.journal import (
    Entry,
    Journal,
    Kind,
    MemoryJournal,
    Noted,
    Record,
    RunLog,
    RunRow,
    open_journal,
)
from massgen_mcp.secrets import Secrets

pytestmark = pytest.mark.anyio

DAY = 86_400.0

Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


class MovingClock(Protocol):
    time: float

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


@pytest.fixture
def secrets() -> Secrets:
    found = Secrets()
    found.add("correct-horse-battery", "API_KEY")
    return found


@pytest.fixture(params=["sqlite", "memory"])
async def journal(
    request: pytest.FixtureRequest, folder: Path, clock: MovingClock, secrets: Secrets
) -> AsyncIterator[Journal]:
    store: Journal
    if request.param == "sqlite":
        store = await open_journal(folder, clock=clock, redact=secrets.redact_value)
    else:
        store = MemoryJournal(clock=clock, redact=secrets.redact_value)
    yield store
    await store.aclose()


async def begin(journal: Journal, run_id: str = "r1", question: str = "Why?", **body: Any) -> RunLog:
    return await journal.begin(run_id, question=question, team="fast", body={"question": question, **body})


async def test_a_run_begins_with_its_row_and_its_first_record(journal: Journal, clock: MovingClock) -> None:
    log = await begin(journal, seed=7)

    (record,) = await journal.read("r1")
    row = await journal.row("r1")
    assert log.run_id == "r1"
    assert record == Record(
        run_id="r1", seq=1, at=clock.time, kind="RunStarted", body={"question": "Why?", "seed": 7}
    )
    assert (row.state, row.question, row.team, row.started) == ("running", "Why?", "fast", clock.time)
    assert row.ended is None
    assert row.owner is not None
    assert row.heartbeat == clock.time


async def test_what_was_appended_is_read_in_order_and_as_it_was_returned(
    journal: Journal, clock: MovingClock
) -> None:
    log = await begin(journal)
    clock.time += 1.5
    first = await log.append("TurnStarted", {"agent": "a", "shown": ("x", "y")}, turn=1)
    second = await log.append("CallStarted", {"agent": "a"}, turn=1, call=2)

    assert await journal.read("r1", after=1) == [first, second]
    assert (first.seq, first.turn, first.call, first.at) == (2, 1, None, clock.time)
    assert (second.seq, second.turn, second.call) == (3, 1, 2)
    assert first.body == {"agent": "a", "shown": ["x", "y"]}


async def test_several_records_are_appended_behind_one_another(journal: Journal, clock: MovingClock) -> None:
    log = await begin(journal)
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            pair = [
                Entry(kind="AnswerGiven", body={"content": f"{number}"}, turn=number),
                Entry(kind="TurnEnded", body={"how": "answer"}, turn=number, call=2),
            ]
            tasks.start_soon(log.append_all, pair)
    records = (await journal.read("r1"))[1:]
    assert [record.seq for record in records] == list(range(2, 12))
    for answer, end in zip(records[::2], records[1::2], strict=True):
        assert (answer.kind, end.kind, answer.turn) == ("AnswerGiven", "TurnEnded", end.turn)

    written = await log.append_all(
        [
            Entry(kind="CallReplied", body={"usage": {"cost_usd": 0.25}}, turn=7, call=1),
            Entry(kind="CallReplied", body={"usage": {"cost_usd": 0.5}, "key": "correct-horse-battery"}),
        ]
    )
    assert written == (await journal.read("r1", after=11))
    assert written[1].body["key"] == "[API_KEY]"
    assert written[0].at == clock.time
    assert (await journal.row("r1")).cost_usd == 0.75
    assert list(await log.append_all([])) == []


async def test_of_several_records_all_are_written_or_none(journal: Journal) -> None:
    log = await begin(journal)
    notice, end = Entry(kind="Notice", body={}), Entry(kind="Finished", body={"status": "completed"})
    for refused in (
        [notice, Entry(kind="Notice", body={"value": object()})],
        [notice, end, notice],
        [notice, Entry(kind="Finished", body={"status": "well"})],
    ):
        with pytest.raises(JournalError):
            await log.append_all(refused)
    assert len(await journal.read("r1")) == 1
    assert [record.seq for record in await log.append_all([notice, end])] == [2, 3]
    row = await journal.row("r1")
    assert (row.state, row.ended is None) == ("completed", False)
    with pytest.raises(JournalError, match="is finished"):
        await log.append_all([notice, notice])
    assert len(await journal.read("r1")) == 3


@pytest.mark.parametrize(
    "text",
    [
        "correct-horse-battery",
        'she said "correct-horse-battery"\nand left\t',
        "a\\correct-horse-battery\\n",
        "\x01correct-horse-battery",
        "\ud800 correct-horse-battery",
        "line\nsk-abcdefghijklmnop",
        "Bearer correct-horse-battery",
    ],
)
async def test_a_secret_is_found_whatever_stands_around_it(journal: Journal, text: str) -> None:
    log = await begin(journal)
    for body in (
        {"text": text},
        {"deep": [{"er": (1.5, text)}]},
        {text: None},
        {"nan": float("nan"), "t": text},
    ):
        record = await log.append("Notice", body)
        assert "correct-horse" not in str(record.body)
        assert "abcdefghij" not in str(record.body)


async def test_a_run_s_row_says_what_it_was_billed_for_and_then_its_total(journal: Journal) -> None:
    log = await begin(journal)
    assert (await journal.row("r1")).cost_usd == 0
    for cost in (0.25, None, 0.5, float("nan"), -1.0, True, "0.1"):
        await log.append("CallReplied", {"usage": {"requests": 1, "cost_usd": cost}})
    await log.append("CallReplied", {"usage": None})
    assert (await journal.row("r1")).cost_usd == 0.75
    await log.append("CallFailed", {"requests": 1, "usage": {"cost_usd": 2.0}})
    await log.append("ToolFinished", {"usage": {"cost_usd": 4.0}})
    await log.append("Notice", {"usage": {"cost_usd": 8.0}})
    assert (await journal.row("r1")).cost_usd == 6.75
    await log.append("Finished", {"status": "completed", "usage": {"cost_usd": 0.8}})
    assert (await journal.row("r1")).cost_usd == 0.8
    assert [row.cost_usd for row in await journal.rows()] == [0.8]


async def test_a_total_that_is_not_known_leaves_the_sum_of_the_replies(journal: Journal) -> None:
    log = await begin(journal)
    await log.append("CallReplied", {"usage": {"cost_usd": 0.25}})
    await log.append("Finished", {"status": "completed", "usage": {"cost_usd": None}})
    assert (await journal.row("r1")).cost_usd == 0.25


@pytest.mark.parametrize(("cost", "whole"), [(0.5, 0.75), (None, 0.35)])
async def test_what_was_cut_off_counts_as_spent_beside_the_total(
    journal: Journal, cost: float | None, whole: float
) -> None:
    log = await begin(journal)
    await log.append("CallReplied", {"usage": {"cost_usd": 0.1}})
    lost = {"requests": 1, "tokens": 500, "cost_usd": 0.25}
    await log.append("Finished", {"status": "cancelled", "usage": {"cost_usd": cost, "lost": lost}})
    assert (await journal.row("r1")).cost_usd == pytest.approx(whole)
    assert await journal.spent(0.0) == pytest.approx(whole)


@pytest.mark.parametrize("lost", [None, {}, {"requests": 1}, {"cost_usd": "much"}, 0.25])
async def test_nothing_is_added_where_it_is_not_said_what_was_cut_off(journal: Journal, lost: Any) -> None:
    log = await begin(journal)
    await log.append("Finished", {"status": "cancelled", "usage": {"cost_usd": 0.5, "lost": lost}})
    assert await journal.spent(0.0) == 0.5


async def test_amounts_of_runs_that_are_not_kept_are_counted_by_day_and_user(
    journal: Journal, clock: MovingClock
) -> None:
    midnight = clock.time - clock.time % DAY
    clock.time = midnight + 100
    await journal.note_spent(0.25)
    await journal.note_spent(0.5, user="anna", at=midnight - 1)
    clock.time += 100
    await journal.note_spent(0.25, user="anna")
    await journal.note_spent(0.5, user="anna")
    await journal.note_spent(0.0, user="bert")
    log = await begin(journal)
    await log.append("CallReplied", {"usage": {"cost_usd": 2.0}})

    assert await journal.spent(midnight) == 3.0
    assert await journal.spent(midnight, user="anna") == 0.75
    assert await journal.spent(midnight, user="") == 2.25
    assert await journal.spent(midnight, user="bert") == 0
    assert await journal.spent(midnight - 1, user="anna") == 1.25
    assert await journal.spent(midnight + DAY) == 0
    today = [Noted(day=midnight, user="", usd=0.25), Noted(day=midnight, user="anna", usd=0.75)]
    assert await journal.noted(midnight) == today
    before = Noted(day=midnight - DAY, user="anna", usd=0.5)
    assert await journal.noted(midnight - 1, user="anna") == [today[1], before]
    await journal.prune(older_than_days=0)
    assert await journal.spent(midnight, user="anna") == 0.75
    assert [row.run_id for row in await journal.rows()] == ["r1"]


async def test_what_an_interrupted_run_had_under_way_counts_as_spent_at_what_was_set_aside_for_it(
    journal: Journal, clock: MovingClock
) -> None:
    async def ask(call: int, *, replied: bool = False) -> None:
        begun = {"agent": "a", "reserved_tokens": 100, "reserved_usd": 2.0**call}
        await log.append("CallStarted", begun, turn=1, call=call)
        if replied:
            await log.append("CallReplied", {"agent": "a", "usage": {"cost_usd": 0.5}}, turn=1, call=call)

    log = await begin(journal)
    await ask(0, replied=True)
    await ask(1)
    await ask(2)
    await log.append("CallFailed", {"agent": "a"}, turn=1, call=2)
    assert await journal.spent(0.0) == 0.5  # as long as its outcome may still come
    await log.leave()
    assert await journal.spent(0.0) == 2.5
    log = await journal.take_over("r1", body={"event": "Resumed"})
    await ask(1, replied=True)
    await ask(3)
    assert await journal.spent(0.0) == 1.0
    await log.leave()
    assert await journal.spent(0.0) == 1.0 + 2.0 + 8.0
    assert await journal.spent(0.0, user="anna") == 0
    assert await journal.spent(clock.time + 1) == 0
    log = await journal.take_over("r1", body={"event": "Resumed"})
    await log.append(
        "Finished", {"status": "cancelled", "usage": {"cost_usd": 1.0, "lost": {"cost_usd": 10.0}}}
    )
    assert await journal.spent(0.0) == 11.0


async def test_what_was_spent_since_a_moment_is_that_of_the_runs_begun_since(
    journal: Journal, clock: MovingClock
) -> None:
    assert await journal.spent(0.0) == 0
    for number in range(3):
        log = await begin(journal, f"r{number}")
        await log.append("CallReplied", {"usage": {"cost_usd": 2.0**number}})
        clock.time += 100
    assert await journal.spent(0.0) == 7
    assert await journal.spent(clock.time - 200) == 6
    assert await journal.spent(clock.time) == 0


async def test_records_are_read_in_pages(journal: Journal) -> None:
    log = await begin(journal)
    for number in range(5):
        await log.append("Notice", {"number": number})

    assert [record.seq for record in await journal.read("r1", after=2, limit=3)] == [3, 4, 5]
    assert [record.seq for record in await journal.read("r1", limit=2)] == [1, 2]
    assert list(await journal.read("r1", after=6)) == []


async def test_records_appended_at_once_get_numbers_without_gaps(journal: Journal) -> None:
    log = await begin(journal)
    records: list[Record] = []

    async def append(number: int) -> None:
        records.append(await log.append("Notice", {"number": number}))

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(append, number)

    assert sorted(record.seq for record in records) == list(range(2, 52))
    assert sorted(records, key=lambda record: record.seq) == list(await journal.read("r1", after=1))


async def test_a_finished_run_says_how_it_ended_and_takes_nothing_more(
    journal: Journal, clock: MovingClock
) -> None:
    log = await begin(journal)
    await log.activity("a", "thinking")
    clock.time += 9
    await log.append("Finished", {"status": "partial"})

    row = await journal.row("r1")
    assert (row.state, row.ended) == ("partial", clock.time)
    assert await journal.activities("r1") == {}
    with pytest.raises(JournalError, match="'r1' is finished"):
        await log.append("Notice", {})
    await log.activity("a", "still thinking")
    assert await journal.activities("r1") == {}


async def test_a_finish_without_a_status_is_refused_and_the_run_goes_on(journal: Journal) -> None:
    log = await begin(journal)
    with pytest.raises(JournalError, match="needs a status"):
        await log.append("Finished", {"status": "interrupted"})

    assert (await log.append("Finished", {"status": "failed"})).seq == 2


async def test_two_runs_can_not_have_one_name(journal: Journal) -> None:
    await begin(journal)
    with pytest.raises(JournalError, match="already a run 'r1'"):
        await begin(journal)
    assert len(await journal.read("r1")) == 1


async def test_an_unknown_run_is_not_found(journal: Journal) -> None:
    for ask in (
        journal.read("r9"),
        journal.row("r9"),
        journal.activities("r9"),
        journal.request_cancel("r9", "enough"),
        journal.take_over("r9", body={}),
        journal.deliver("r9"),
    ):
        with pytest.raises(RunNotFound, match="'r9'"):
            await ask


async def test_runs_are_listed_newest_first_in_pages(journal: Journal, clock: MovingClock) -> None:
    for number in range(4):
        await begin(journal, f"r{number}")
        clock.time += 1
    await begin(journal, "r4")
    await begin(journal, "r5")

    async def names(**where: Any) -> list[str]:
        rows: list[RunRow] = list(await journal.rows(**where))
        return [row.run_id for row in rows]

    assert await names() == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert await names(limit=3) == ["r5", "r4", "r3"]
    assert await names(before=clock.time - 1, limit=2) == ["r2", "r1"]


async def test_a_listing_shows_the_beginning_of_a_long_question(journal: Journal) -> None:
    await begin(journal, question="x" * 1000)
    row = await journal.row("r1")
    assert len(row.question) == 200
    assert (await journal.read("r1"))[0].body["question"] == "x" * 1000


async def test_the_newest_activity_of_each_agent_can_be_seen(journal: Journal, until: Until) -> None:
    log = await begin(journal)
    for number in range(100):
        await log.activity("a", f"a {number}")
    await log.activity("b", "b" * 5000)

    async def both() -> bool:
        return await journal.activities("r1") == {"a": "a 99", "b": "b" * 2000}

    await until(both)


async def test_the_owner_learns_of_a_request_to_stop(journal: Journal) -> None:
    log = await begin(journal)
    assert await log.cancel_requested() is None

    await journal.request_cancel("r1", "enough")
    await journal.request_cancel("r1", "really")

    with anyio.fail_after(1):
        assert await log.wait_cancel() == "enough"
    assert await log.cancel_requested() == "enough"
    assert (await journal.row("r1")).cancel_requested == "enough"


async def test_stopping_a_finished_run_changes_nothing(journal: Journal) -> None:
    log = await begin(journal)
    await log.append("Finished", {"status": "completed"})
    await journal.request_cancel("r1", "too late")
    assert (await journal.row("r1")).cancel_requested is None


async def test_secrets_are_written_nowhere(journal: Journal, until: Until) -> None:
    secret = "correct-horse-battery"
    log = await begin(journal, question=f"Is {secret} good?")
    nested = {"deep": [{"key": secret}], "view": MappingProxyType({"key": secret, "price": float("nan")})}
    record = await log.append("CallReplied", nested)
    await log.activity("a", f"using {secret}")
    await journal.request_cancel("r1", f"leaked {secret}")

    async def shown() -> bool:
        return bool(await journal.activities("r1"))

    await until(shown)
    everything = [
        *(await journal.read("r1")),
        record,
        await journal.row("r1"),
        await journal.activities("r1"),
    ]
    assert secret not in repr(everything)
    assert record.body == {"deep": [{"key": "[API_KEY]"}], "view": {"key": "[API_KEY]", "price": None}}
    assert (await journal.row("r1")).question == "Is [API_KEY] good?"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("half an emoji \ud83d", "half an emoji \ud83d"),
        ("日本語 🙂 \0 \u2028", "日本語 🙂 \0 \u2028"),
        ([float("nan"), (float("-inf"), {"x": float("inf")}), 1.5], [None, [None, {"x": None}], 1.5]),
        (2**80, 2**80),
    ],
)
async def test_odd_values_of_providers_are_kept(journal: Journal, value: Any, read: Any) -> None:
    log = await begin(journal)
    await log.append("CallReplied", {"value": value})
    assert (await journal.read("r1"))[1].body == {"value": read}


async def test_a_body_that_is_not_json_is_refused_and_leaves_no_gap(journal: Journal) -> None:
    log = await begin(journal)
    with pytest.raises(JournalError, match="object is not a JSON value"):
        await log.append("Notice", {"value": object()})
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(JournalError, match="can't be written as JSON"):
        await log.append("Notice", {"value": MappingProxyType({"loop": (loop,)})})
    assert (await log.append("Notice", {})).seq == 2


async def test_old_runs_are_pruned_and_running_ones_stay(journal: Journal, clock: MovingClock) -> None:
    old = await begin(journal, "old")
    await begin(journal, "running")
    await old.append("Finished", {"status": "completed"})
    clock.time += 20 * DAY
    young = await begin(journal, "young")
    await young.append("Finished", {"status": "completed"})
    clock.time += 20 * DAY

    assert await journal.prune() == ["old"]
    assert {row.run_id for row in await journal.rows()} == {"running", "young"}
    with pytest.raises(RunNotFound):
        await journal.read("old")
    assert await journal.prune() == []
    assert await journal.prune(older_than_days=10) == ["young"]


async def test_a_closed_journal_takes_nothing_more(journal: Journal) -> None:
    log = await begin(journal)
    await journal.aclose()
    await journal.aclose()
    with pytest.raises(JournalError, match="closed"):
        await log.append("Notice", {})
    with pytest.raises(JournalError, match="closed"):
        await begin(journal, "r2")


async def test_without_anything_to_redact_bodies_stay_as_they_are() -> None:
    journal = MemoryJournal()
    log = await begin(journal, key="sk-0123456789abcdef")
    assert (await journal.read(log.run_id))[0].body["key"] == "sk-0123456789abcdef"


async def test_a_run_left_open_in_memory_shows_as_interrupted() -> None:
    journal = MemoryJournal()
    log = await begin(journal)
    await log.activity("a", "thinking")
    await journal.aclose()
    assert (await journal.row("r1")).state == "interrupted"
    assert await journal.activities("r1") == {}
    assert len(await journal.read("r1")) == 1


async def test_a_users_runs_and_what_they_cost_can_be_had_alone(journal: Journal, clock: MovingClock) -> None:
    for number, user in enumerate(("anna", "", "ben", "anna")):
        log = await journal.begin(f"r{number}", question="Why?", team="fast", body={}, user=user)
        await log.append("CallReplied", {"usage": {"cost_usd": 2.0**number}})
        clock.time += 100
    assert [row.run_id for row in await journal.rows(user="anna")] == ["r3", "r0"]
    assert [row.run_id for row in await journal.rows(user="anna", before=clock.time - 100, limit=5)] == ["r0"]
    assert [(row.run_id, row.user) for row in await journal.rows(limit=2)] == [("r3", "anna"), ("r2", "ben")]
    assert [row.run_id for row in await journal.rows(user="")] == ["r1"]
    assert (await journal.row("r2")).user == "ben"
    assert [await journal.spent(0.0, user=user) for user in ("anna", "ben", "", "carl", None)] == [
        9,
        4,
        2,
        0,
        15,
    ]


# Going on with a run.


async def test_a_run_that_was_let_go_of_is_taken_over_where_it_stopped(
    journal: Journal, clock: MovingClock, secrets: Secrets
) -> None:
    del secrets
    log = await begin(journal)
    await log.append("CallReplied", {"usage": {"cost_usd": 0.25}}, turn=1, call=1)
    await log.leave()
    assert (await journal.row("r1")).state == "interrupted"
    clock.time += 60

    again = await journal.take_over("r1", body={"event": "Resumed", "why": "correct-horse-battery"})

    row = await journal.row("r1")
    assert (again.run_id, row.state, row.ended, row.heartbeat) == ("r1", "running", None, clock.time)
    notice = (await journal.read("r1"))[2]
    assert (notice.seq, notice.kind, notice.at) == (3, "Notice", clock.time)
    assert notice.body == {"event": "Resumed", "why": "[API_KEY]"}
    assert (await again.append("CallReplied", {"usage": {"cost_usd": 0.5}}, turn=1, call=2)).seq == 4
    assert (await journal.row("r1")).cost_usd == 0.75
    await again.append("Finished", {"status": "completed", "usage": {"cost_usd": 0.8}})
    row = await journal.row("r1")
    assert (row.state, row.cost_usd, row.started, row.ended) == (
        "completed",
        0.8,
        clock.time - 60,
        clock.time,
    )


async def test_a_pen_that_let_go_or_lost_its_run_writes_nothing(journal: Journal, until: Until) -> None:
    log = await begin(journal)
    await log.leave()
    await log.leave()
    with pytest.raises(JournalError, match="'r1' was let go of"):
        await log.append("Notice", {})
    assert await journal.activities("r1") == {}
    again = await journal.take_over("r1", body={})
    kinds: tuple[Kind, ...] = ("Notice", "CallReplied", "Finished")
    for kind in kinds:
        with pytest.raises(RunTaken, match="r1 was taken over by process"):
            await log.append(kind, {"status": "failed"})
    await log.activity("old", "still here")
    await log.leave()
    await again.activity("new", "at work")

    async def shown() -> bool:
        return bool(await journal.activities("r1"))

    await until(shown)
    assert await journal.activities("r1") == {"new": "at work"}
    assert (await journal.row("r1")).state == "running"
    assert len(await journal.read("r1")) == 2
    with anyio.fail_after(1):
        assert await log.wait_cancel() == "another process has taken this run over"
    assert await log.cancel_requested() == "another process has taken this run over"
    assert await again.cancel_requested() is None


async def test_a_run_that_is_driven_is_not_taken_over(journal: Journal) -> None:
    log = await begin(journal)
    owner = (await journal.row("r1")).owner
    assert owner is not None
    words = rf"^Run r1 is driven by process {owner.pid} on {owner.host} and alive; wait for it with get_run"
    with pytest.raises(RunTaken, match=words):
        await journal.take_over("r1", body={})
    assert (await log.append("Notice", {})).seq == 2


@pytest.mark.parametrize("state", ["completed", "partial", "failed", "cancelled"])
async def test_a_run_that_is_over_is_not_taken_over(journal: Journal, state: str) -> None:
    log = await begin(journal)
    await log.append("Finished", {"status": state})
    await log.leave()
    with pytest.raises(RunOver, match=rf"^Run r1 is over \({state}\): get_run returns its result\.$"):
        await journal.take_over("r1", body={})
    assert (await journal.row("r1")).state == state
    assert len(await journal.read("r1")) == 2


async def test_a_wish_to_stop_from_before_is_forgotten_and_a_new_one_is_heard(journal: Journal) -> None:
    log = await begin(journal)
    await journal.request_cancel("r1", "enough")
    await log.leave()
    again = await journal.take_over("r1", body={})
    assert (await journal.row("r1")).cancel_requested is None
    assert await again.cancel_requested() is None
    await journal.request_cancel("r1", "really")
    with anyio.fail_after(1):
        assert await again.wait_cancel() == "really"


async def test_a_take_over_whose_body_is_not_json_changes_nothing(journal: Journal) -> None:
    await (await begin(journal)).leave()
    with pytest.raises(JournalError, match="not a JSON value"):
        await journal.take_over("r1", body={"value": object()})
    assert (await journal.row("r1")).state == "interrupted"


async def test_of_several_that_take_a_run_over_at_once_one_succeeds(journal: Journal) -> None:
    await (await begin(journal)).leave()
    taken: list[RunLog] = []
    refused: list[RunTaken] = []

    async def take() -> None:
        try:
            taken.append(await journal.take_over("r1", body={"event": "Resumed"}))
        except RunTaken as error:
            refused.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(take)
    assert (len(taken), len(refused)) == (1, 7)
    assert [record.kind for record in await journal.read("r1")] == ["RunStarted", "Notice"]
    assert (await taken[0].append("Notice", {})).seq == 3


async def test_interrupted_runs_are_listed_oldest_first(journal: Journal, clock: MovingClock) -> None:
    async def leave(run_id: str, user: str = "") -> None:
        log = await journal.begin(run_id, question="?", team="t", body={}, user=user)
        clock.time += 10
        await log.leave()

    await leave("too old")
    since = clock.time
    clock.time += 10
    await leave("r1")
    await begin(journal, "driven")
    await leave("r2", user="anna")
    await (await begin(journal, "over")).append("Finished", {"status": "failed"})
    await leave("to be stopped")
    await journal.request_cancel("to be stopped", "never mind")
    await leave("r3")

    async def names(**where: Any) -> list[str]:
        return [row.run_id for row in await journal.interrupted(since=since, **where)]

    assert await names() == ["r1", "r2", "r3"]
    assert await names(limit=2) == ["r1", "r2"]
    assert await names(user="") == ["r1", "r3"]
    assert await names(user="anna", limit=1) == ["r2"]
    await journal.take_over("r1", body={})
    assert await names() == ["r2", "r3"]
    assert (await journal.row("to be stopped")).cancel_requested == "never mind"


# Attaching.


async def same(journal: Journal, digest: str = "#1", user: str | None = None) -> str | None:
    row = await journal.same(digest, user=user)
    return None if row is None else row.run_id


async def ask(journal: Journal, run_id: str, digest: str = "#1", user: str = "") -> RunLog:
    return await journal.begin(run_id, question="?", team="t", body={}, user=user, digest=digest)


async def test_a_driven_run_is_found_by_its_digest(journal: Journal) -> None:
    assert await same(journal) is None
    await ask(journal, "other", "#2")
    await ask(journal, "r1")
    await ask(journal, "r2")
    await begin(journal, "none")
    assert await same(journal) == "r2"
    assert await same(journal, "#2") == "other"
    assert await same(journal, "") is None
    assert (await journal.row("r1")).digest == "#1"
    assert (await journal.row("none")).digest == ""
    await journal.request_cancel("r2", "enough")
    assert await same(journal) == "r1"


@pytest.mark.parametrize(
    ("state", "found"), [("completed", "r1"), ("partial", "r1"), ("failed", None), ("cancelled", None)]
)
async def test_an_answer_is_found_until_it_was_delivered(
    journal: Journal, state: str, found: str | None
) -> None:
    await (await ask(journal, "r1")).append("Finished", {"status": state})
    assert await same(journal) == found
    assert not (await journal.row("r1")).delivered
    await journal.deliver("r1")
    await journal.deliver("r1")
    assert (await journal.row("r1")).delivered
    assert [row.delivered for row in await journal.rows()] == [True]
    assert await same(journal) is None


async def test_an_interrupted_run_serves_nobody_until_it_is_driven_again(journal: Journal) -> None:
    await (await ask(journal, "r1")).leave()
    assert await same(journal) is None
    await journal.deliver("r1")
    log = await journal.take_over("r1", body={})
    assert await same(journal) == "r1"
    await log.append("Finished", {"status": "completed"})
    assert await same(journal) == "r1"


async def test_of_several_that_ask_the_same_at_once_one_begins_and_the_others_hear_of_it(
    journal: Journal,
) -> None:
    began: list[str] = []
    heard: list[str] = []

    async def join(run_id: str, digest: str = "#1", user: str = "") -> None:
        try:
            await journal.begin(
                run_id, question="?", team="fast", body={}, digest=digest, user=user, join=True
            )
        except AlreadyAsked as error:
            heard.append(error.run_id)
        else:
            began.append(run_id)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(join, f"r{number}")
    assert len(began) == 1
    assert heard == began * 4
    assert [row.run_id for row in await journal.rows()] == began
    await join("another", digest="#2")
    await join("of anna", user="anna")
    await join("no digest", digest="")
    await join("none either", digest="")
    assert began[1:] == ["another", "of anna", "no digest", "none either"]
    # Who wants a run of their own has one, and one that is to stop serves nobody.
    await ask(journal, "own")
    for run_id in (began[0], "own"):
        await journal.request_cancel(run_id, "enough")
    await join("after")
    assert began[-1] == "after"


async def test_a_run_of_another_user_serves_nobody_else(journal: Journal) -> None:
    await ask(journal, "annas", user="anna")
    assert await same(journal) is None
    assert await same(journal, user="") is None
    assert await same(journal, user="ben") is None
    assert await same(journal, user="anna") == "annas"
    await ask(journal, "ours")
    assert await same(journal) == "ours"
    assert await same(journal, user="anna") == "annas"
