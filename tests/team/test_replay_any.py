"""Teams drawn by lot are cut off after any record: what goes on from there ends, pays nothing again, agrees.

Seeds are few here, for time; each draws another team, with slips, failures, tools, limits, news, deadlines.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import anyio
import pytest

from massgen_mcp.engine import Settings
from massgen_mcp.journal import Record
from massgen_mcp.messages import Reply, Request, ToolCall
from massgen_mcp.usage import Usage
from tests.team.replays import SECRET, Life, World

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

pytestmark = pytest.mark.anyio

WILD = (247,)
"""A seed that found something: a schema from before answering closed."""
CUT_IN_A_CALL = range(2000, 2006)
"""Among them are teams whose process ends in a tool's call: it is made again, or its outcome is unknown."""
FALLEN = (3196, 3237)
"""Those in which a model takes over in a turn that leaves no trace."""
NEWSY = (16, 38)
"""Those in which agents hear of much news, again and again."""


def repeated(*seeds: int) -> list[ParameterSet]:
    """Seeds of which each does what others do, in another order: no lines are counted."""
    return [pytest.param(seed, marks=pytest.mark.no_cover) for seed in seeds]


async def lived(world: World, past: Sequence[Record] = ()) -> Life:
    """One process's part of the run, up to its end."""
    with anyio.fail_after(20):
        life = await world.live(past)
    if life.error is not None:
        raise life.error
    return life


@pytest.mark.parametrize("seed", [*WILD, *CUT_IN_A_CALL, *repeated(*range(2006, 2014))])
async def test_a_run_goes_on_from_any_record_and_pays_for_nothing_again(seed: int):
    world = World(seed)
    whole = await lived(world)
    for cut in range(1, len(whole.records) + 1, 5):
        past = whole.records[:cut]
        life = await lived(world, past)
        check(past, life)
        chance = Random(f"{seed} {cut}")
        again = life.records[: chance.randint(cut, len(life.records))]
        check(again, await lived(world, again))


@pytest.mark.parametrize("seed", [5, *repeated(*range(1, 4), *NEWSY)])
async def test_agents_hear_of_news_where_they_did_before(seed: int):
    world = World(seed, newsy=True)
    whole = await lived(world)
    told = [record.seq for record in whole.records if record.body.get("event") == "NewsTold"]
    again = await lived(world, whole.records)
    assert (again.sent, again.outcome) == ([], whole.outcome)
    for cut in {min(len(whole.records), seq + later) for seq in told[:3] for later in (-1, 0, 4)}:
        check(whole.records[:cut], await lived(world, whole.records[:cut]))


@pytest.mark.parametrize("seed", [*WILD, *repeated(*range(3000, 3014), *FALLEN)])
async def test_a_run_with_all_its_records_is_repeated_without_a_request(seed: int):
    world = World(seed)
    whole = await lived(world)
    again = await lived(world, whole.records)
    assert (again.sent, again.called) == ([], [])
    assert again.outcome == whole.outcome
    assert again.ended is not None
    assert whole.ended is not None
    assert again.ended.board == whole.ended.board
    assert seats(again) == seats(whole)


@pytest.mark.parametrize("seed", [5, 7])
async def test_a_vote_is_written_down_under_the_ballot_that_its_agent_was_asked_in(seed: int):
    world = World(seed, newsy=True)
    settings = replace(world.spec.settings, tell_news=False, max_news=None)
    world.spec = replace(world.spec, settings=settings)
    whole = await lived(world)
    assert whole.ended is not None
    asked = {record.turn: record.body["ballot"] for record in whole.records if record.kind == "TurnStarted"}
    votes = [record for record in whole.records if record.kind == "VoteCast"]
    assert [record.body["ballot"] for record in votes] == [asked[record.turn] for record in votes]
    again = await lived(world, whole.records)
    assert (again.sent, again.outcome) == ([], whole.outcome)


@pytest.mark.parametrize("seed", repeated(*range(10)))
async def test_where_nothing_depends_on_time_the_outcome_is_always_the_same(seed: int):
    world = World(seed, plain=True)
    whole = await lived(world)
    for cut in range(1, len(whole.records) + 1, 9):
        life = await lived(world, whole.records[:cut])
        check(whole.records[:cut], life)
        assert life.outcome == whole.outcome, cut


def looks_again(agent: str, request: Request, chance: Random) -> Reply:
    """`a` looks four times in its vote and gives up; presenting it looks once more. `b` votes for it."""
    del chance
    assert request.brief is not None
    usage, kind = Usage(requests=1, input=9, output=1), request.brief.kind
    seen = sum("seen" in result.content for message in request.messages for result in message.results)
    if agent == "a" and seen < {"answer": 0, "vote": 4, "present": 1}[kind]:
        look = ToolCall(id=f"{kind} {seen}", name="look", arguments="{}")
        return Reply(calls=(look,), usage=usage)
    if agent == "a" and kind == "vote":
        return Reply(text="I can't tell.", usage=usage)
    if kind == "vote":
        label = next(label for label, _, content in request.brief.answers if content == "It is a.")
        done = {"answer": label, "reason": "right"}
    else:
        done = {"content": f"It is {agent}.", "conclusion": agent}
    name = "vote" if kind == "vote" else "new_answer"
    return Reply(calls=(ToolCall(id=kind, name=name, arguments=json.dumps(done)),), usage=usage)


async def test_calls_of_a_turn_that_is_not_executed_again_count_as_repeated_all_the_same():
    world = World(0, plain=True)
    tools = replace(world.rows["a"], workflow="tools")
    world.rows, world.tooled, world.reply = {"a": tools, "b": tools}, frozenset("a"), looks_again
    agents = tuple(replace(world.spec.agents[0], id=name, info=tools) for name in "ab")
    settings = Settings(seed=1, present_always=True)
    world.spec = replace(world.spec, agents=agents, settings=settings, strategy="auto")
    whole = await lived(world)
    assert [record.body["how"] for record in whole.records if record.kind == "TurnEnded"].count("abstained")
    again = await lived(world, whole.records)
    assert (again.sent, again.outcome) == ([], whole.outcome)
    assert again.run is not None
    assert again.run.seats["a"].repeats == {("look", "{}"): 5}


@pytest.mark.no_cover
async def test_the_teams_that_are_drawn_meet_everything_that_a_run_can_meet():
    seen: Counter[str] = Counter()
    for seed in range(4000, 4036):
        for record in (await lived(World(seed, newsy=seed % 6 == 0))).records:
            seen[record.kind] += 1
            seen[str(record.body.get("event"))] += 1
            seen[str(record.body.get("how"))] += 1
    for word in (
        "NewsTold", "ToolLoopEntered", "RoundDeadline", "AnsweringClosed", "RunDeadline", "BudgetStopped",
        "CancelRequested", "CallFailed", "ToolFinished", "stopped", "failed", "abstained", "vote", "answer",
    ):  # fmt: skip
        assert seen[word], word


def seats(life: Life) -> list[tuple[object, ...]]:
    """Which models agents have come to, and what they have used."""
    assert life.run is not None
    return [(seat.spec.options.model, seat.fallen, seat.usage) for seat in life.run.seats.values()]


def check(past: Sequence[Record], life: Life) -> None:
    """What holds for a run that goes on, wherever it was cut off."""
    found, new = life.records, life.records[len(past) :]
    assert list(found[: len(past)]) == list(past)
    assert [record.seq for record in found] == list(range(1, len(found) + 1))
    assert all(SECRET not in str(record.body) for record in found)
    begun = {(record.turn, record.call): record.body for record in past if record.kind == "CallStarted"}
    known = {
        (record.turn, begun[record.turn, record.call]["digest"])
        for record in past
        if record.kind in {"CallReplied", "CallFailed"}
    }
    asked = [record for record in new if record.kind == "CallStarted"]
    assert not known & {(record.turn, record.body["digest"]) for record in asked}
    check_tools(past, new, life)


def check_tools(past: Sequence[Record], new: Sequence[Record], life: Life) -> None:
    """No call was made again that had ended, or that must not be."""
    over = {(record.turn, record.call) for record in past if record.kind == "ToolFinished"}
    done = {
        (record.turn, record.body["arguments"])
        for record in past
        if record.kind == "ToolStarted" and '"at"' in record.body["arguments"]
        if (record.turn, record.call) in over or not record.body["idempotent"]
    }
    made = [record for record in new if record.kind == "ToolStarted"]
    assert len(life.called) <= len(made)
    assert not done & {(record.turn, record.body["arguments"]) for record in made}
