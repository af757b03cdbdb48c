"""A run is killed at each record, in each request, and again while it goes on: it always ends the same."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from massgen_mcp.journal import Record, RunRow
from massgen_mcp.journal.summary import RESUMED
from massgen_mcp.workspace.run_folder import RunFolder
from tests.runs.crash import CALLS, TOOLS, End, Zygote, left

# What a run does, others cover: here it is done some two hundred times.
pytestmark = pytest.mark.no_cover

CHUNKS = 12
_RECORDS = 120
"""More than the run has."""
_REQUESTS = 24
_PRICE = 0.01


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as found:
        yield found


def outcome(end: End) -> tuple[Any, ...]:
    """What must be the same however often a run was interrupted."""
    result = end.result
    return (
        result.get("answer"),
        result.get("winner"),
        result.get("status"),
        [file["path"] for file in result.get("files", ())],
        [change["path"] for change in result.get("changes", ())],
        result.get("refused"),
    )


WHOLE = ("the best", "b", "completed", ["better.txt"], ["done.txt"], None)


def test_a_run_that_nobody_kills_is_what_all_others_are_compared_with(zygote: Zygote, in_memory: Path):
    end = zygote.work(in_memory)
    assert outcome(end) == WHOLE
    check(in_memory, end)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_run_killed_at_any_record_goes_on_to_the_same_end(zygote: Zygote, in_memory: Path, chunk: int):
    for number in range(1 + chunk, _RECORDS, CHUNKS):
        place = in_memory / str(number)
        if not zygote.work(place, die_at=number).killed:
            assert left(place)[1][-1].kind == "Finished"
            break
        _go_on(zygote, place, number)
        shutil.rmtree(place)
    else:
        raise AssertionError("the run has more records than are tried")


@pytest.mark.parametrize("chunk", range(3))
def test_a_run_killed_in_any_request_goes_on_to_the_same_end(zygote: Zygote, in_memory: Path, chunk: int):
    for number in range(1 + chunk, _REQUESTS, 3):
        place = in_memory / str(number)
        if not zygote.work(place, die_at_call=number).killed:
            break
        _go_on(zygote, place, number)
        shutil.rmtree(place)
    else:
        raise AssertionError("the run has more requests than are tried")


@pytest.mark.parametrize("seed", range(6))
def test_a_run_killed_again_while_it_goes_on_still_comes_to_the_same_end(
    zygote: Zygote, in_memory: Path, seed: int
):
    chance = Random(seed)
    assert zygote.work(in_memory, die_at=chance.randint(2, 60)).killed
    for _ in range(2):
        zygote.work(in_memory, die_at=chance.randint(1, 40), resume=True)
        if left(in_memory)[1][-1].kind == "Finished":
            break
    _go_on(zygote, in_memory, seed)


def _go_on(zygote: Zygote, place: Path, number: int) -> None:
    if left(place)[1][-1].kind == "Finished":
        return
    end = zygote.work(place, resume=True)
    assert outcome(end) == WHOLE, (number, end.result)
    check(place, end)


def check(place: Path, end: End) -> None:
    """What holds for every run, however often it was killed."""
    row, found = left(place)
    kinds = Counter(record.kind for record in found)
    assert [record.seq for record in found] == list(range(1, len(found) + 1))
    assert kinds["Finished"] == 1
    _check_paid_once(place, row, found, end.result)
    _check_done_once(place, found)
    _check_snapshots(place, found)


def _check_paid_once(place: Path, row: RunRow, found: Sequence[Record], result: Mapping[str, Any]) -> None:
    begun = {(record.turn, record.call): record for record in found if record.kind == "CallStarted"}
    over = {(record.turn, record.call) for record in found if record.kind in {"CallReplied", "CallFailed"}}
    lost = {key: record for key, record in begun.items() if key not in over}
    sent = (place / CALLS).read_text().splitlines()
    # Each was under way when the process died, or when its turn was stopped.
    killed = [record for record in lost.values() if _end_of(record, found) == RESUMED]
    stopped = [record for record in lost.values() if _end_of(record, found) == "stopped"]
    assert len(killed) + len(stopped) == len(lost)
    assert len(sent) <= len(over) + len(lost)
    asked = Counter((key[0], record.body["digest"]) for key, record in begun.items() if key in over)
    assert max(asked.values()) == 1
    usage = result["usage"]
    assert usage["cost_usd"] == pytest.approx(len(over) * _PRICE)
    assert row.cost_usd == pytest.approx(len(over) * _PRICE)
    # One that was stopped before it was sent is not lost.
    counted = usage["lost"] or {"requests": 0, "tokens": 0}
    assert len(killed) <= counted["requests"] <= len(lost)
    assert _reserved(killed) <= counted["tokens"] <= _reserved(lost.values())


def _reserved(begun: Iterable[Record]) -> int:
    return sum(record.body["reserved_tokens"] for record in begun)


def _end_of(begun: Record, found: Sequence[Record]) -> str:
    """What ended a request that has no outcome: a new process, or how its turn ended."""
    for record in found[begun.seq :]:
        if record.body.get("event") == RESUMED:
            return RESUMED
        if record.kind == "TurnEnded" and record.turn == begun.turn:
            return str(record.body["how"])
    return ""


def _check_done_once(place: Path, found: Sequence[Record]) -> None:
    """No call of a tool was made again that had ended, or that may not be repeated."""
    made = Counter((place / TOOLS).read_text().splitlines())
    allowed: Counter[str] = Counter()
    for record in found:
        if record.kind == "ToolStarted":
            body = record.body
            allowed[json.dumps([body["agent"], body["name"], body["arguments"]])] += 1
    assert not made - allowed
    for record in found:
        if record.kind == "ToolStarted" and not record.body["idempotent"]:
            body = record.body
            assert allowed[json.dumps([body["agent"], body["name"], body["arguments"]])] == 1


def _check_snapshots(place: Path, found: Sequence[Record]) -> None:
    """Each answer's files can be had whole."""
    taken = [record.body["snapshot"] for record in found if record.body.get("snapshot") and not record.call]
    with RunFolder.snapshots_of(place / "state", found[0].run_id) as snapshots:
        for snapshot in taken:
            assert len(list(snapshots.files(snapshot))) == snapshots.get(snapshot).files
            for path, _ in snapshots.files(snapshot):
                assert snapshots.read(snapshot, path)
