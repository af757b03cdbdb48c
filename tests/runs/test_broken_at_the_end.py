"""A run that breaks once its answer is known still gives that answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from massgen_mcp.engine import Settings
from massgen_mcp.runs import Ask, RunResult, Runs
from massgen_mcp.team import TeamSpec
from massgen_mcp.team.spec import Charge, Made, Tell, Workshop
from massgen_mcp.tools.toolset import NoTools, Toolset
from tests.teams import ScriptedTeam

pytestmark = pytest.mark.anyio


class Bench:
    """It can't say what was made."""

    async def toolset(self, agent: str) -> Toolset:
        del agent
        await anyio.lowlevel.checkpoint()
        return NoTools()

    async def made(self, snapshot: str | None) -> Made:
        del snapshot
        raise RuntimeError


@asynccontextmanager
async def open_workshop(run_id: str, spec: TeamSpec, tell: Tell, charge: Charge) -> AsyncGenerator[Workshop]:
    del run_id, spec, tell, charge
    yield Bench()


@pytest.mark.parametrize(
    ("settings", "c", "answer"),
    [
        (Settings(presentation="reuse"), ["answer: 5", "vote: 5"], "5"),
        (
            Settings(present_always=True, presenter="c"),
            ["answer: 5", "vote: 5", "answer: It is 5."],
            "It is 5.",
        ),
    ],
)
async def test_the_answer_that_won_is_given_where_the_end_of_the_run_breaks(
    settings: Settings, c: list[str], answer: str
):
    team = ScriptedTeam(
        {"a": ["answer: 4", "vote: 5"], "b": ["answer: 5", "vote: 5"], "c": c}, settings=settings
    )
    found: list[RunResult] = []
    async with anyio.create_task_group() as tasks:
        runs = Runs(replace(team.world(), open_workshop=open_workshop), tasks)
        handle = await runs.start(Ask(question="2 + 3?"))
        with anyio.fail_after(10):
            found.append(await handle.wait())
        await runs.aclose()
    (result,) = found
    assert (result.status, result.answer) == ("partial", answer)
    assert result.winner != "a"
    assert result.error is not None
    assert "a defect in massgen-mcp" in result.error
