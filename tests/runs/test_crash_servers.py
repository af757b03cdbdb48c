"""Two servers on one state folder are killed again and again: each run ends once, and is paid once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from massgen_mcp.journal import Record, RunRow
from massgen_mcp.journal.summary import RESUMED
from tests.runs.crash import CALLS, Zygote, all_left

# What a server does, others cover.
pytestmark = pytest.mark.no_cover

_LIVES = 5
_QUESTIONS = 10
"""Of each server."""


@pytest.fixture(scope="module")
def zygotes() -> Iterator[tuple[Zygote, Zygote]]:
    with Zygote() as one, Zygote() as other:
        yield one, other


def _serve(zygote: Zygote, place: Path, name: str, chance: Random) -> int:
    """A server that is started anew whenever it was killed. Returns how often it was."""
    questions = [f"{name}{number}" for number in range(_QUESTIONS)]
    for life in range(_LIVES):
        if not zygote.work(place, serve=questions, die_at=chance.randint(10, 150)).killed:
            return life
    assert not zygote.work(place, serve=questions).killed
    return _LIVES


@pytest.mark.parametrize("seed", range(2))
def test_runs_of_two_servers_that_are_killed_at_any_time_end_exactly_once(
    zygotes: tuple[Zygote, Zygote], in_memory: Path, seed: int
):
    names = ("one", "other")
    with ThreadPoolExecutor() as threads:
        killed = [
            threads.submit(_serve, zygote, in_memory, name, Random(f"{seed}{name}"))
            for name, zygote in zip(names, zygotes, strict=True)
        ]
        assert sum(future.result() for future in killed) > 1
    found = all_left(in_memory)
    assert Counter(row.question for row, _ in found) == Counter(
        f"{name}{number}" for name in names for number in range(_QUESTIONS)
    )
    sent = (in_memory / CALLS).read_text().splitlines()
    resumed = sum(_check(row, records, sent) for row, records in found)
    assert resumed > 0


def _check(row: RunRow, found: Sequence[Record], sent: Sequence[str]) -> int:
    """One run that is over. Returns how often it was taken up."""
    kinds = Counter(record.kind for record in found)
    assert [record.seq for record in found] == list(range(1, len(found) + 1))
    assert (row.state, kinds["Finished"], found[-1].kind) == ("completed", 1, "Finished")
    assert found[-1].body["answer"] == "a at last"
    begun = {(record.turn, record.call): record for record in found if record.kind == "CallStarted"}
    over = {(record.turn, record.call) for record in found if record.kind == "CallReplied"}
    asked = Counter(
        f"{row.question} {record.body['agent']} {record.body['digest']}" for record in begun.values()
    )
    mine = Counter(line for line in sent if line.startswith(f"{row.question} "))
    assert not mine - asked
    replied = Counter((key[0], begun[key].body["digest"]) for key in over)
    assert max(replied.values()) == 1
    assert row.cost_usd == pytest.approx(len(over) * 0.01)
    return sum(record.body.get("event") == RESUMED for record in found)
