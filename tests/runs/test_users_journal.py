"""A user of a shared server attaches to, and goes on with, their own runs alone."""

from __future__ import annotations

import pytest

from massgen_mcp.errors import RunNotFound
from massgen_mcp.journal import MemoryJournal
from massgen_mcp.runs.users import UserJournal

pytestmark = pytest.mark.anyio


async def test_the_same_question_of_two_users_is_two_runs() -> None:
    everything = MemoryJournal()
    anna, ben = UserJournal(everything, "anna"), UserJournal(everything, "ben")
    await anna.begin("r1", question="q", team="t", body={}, digest="#1")
    assert await ben.same("#1", user="anna") is None
    assert await everything.same("#1") is None
    found = await anna.same("#1", user="ben")
    assert found is not None
    assert (found.run_id, found.user, found.digest) == ("r1", "anna", "#1")


async def test_a_user_goes_on_with_their_own_runs_alone() -> None:
    everything = MemoryJournal()
    anna, ben = UserJournal(everything, "anna"), UserJournal(everything, "ben")
    log = await anna.begin("r1", question="q", team="t", body={})
    await log.leave()
    assert await ben.interrupted(since=0.0, user="anna") == []
    for ask in (ben.take_over("r1", body={}), ben.deliver("r1")):
        with pytest.raises(RunNotFound):
            await ask
    assert [row.run_id for row in await anna.interrupted(since=0.0)] == ["r1"]
    again = await anna.take_over("r1", body={"event": "Resumed"})
    await again.append("Finished", {"status": "completed"})
    await anna.deliver("r1")
    assert (await everything.row("r1")).delivered
