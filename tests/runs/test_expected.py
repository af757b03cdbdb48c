"""What a question is expected to need, told before it is asked."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.engine.strategy import STRATEGIES
from massgen_mcp.runs import Runs
from massgen_mcp.runs.cost import course_of
from massgen_mcp.runs.open import open_runs

pytestmark = pytest.mark.anyio

PRICE = "price: {input: 1, output: 10}"
KEYS = {"GROQ_API_KEY": "gsk_0123456789abcdefghij"}


@asynccontextmanager
async def opened(folder: Path, **environ: str) -> AsyncGenerator[Runs]:
    async with anyio.create_task_group() as tasks:
        async with open_runs(
            tasks,
            place="server",
            config_dirs=[folder],
            environ={"MASSGEN_MCP_STATE_DIR": str(folder / "state"), **environ},
            home=folder,
            here=folder,
            config_folder=folder,
        ) as runs:
            yield runs
        tasks.cancel_scope.cancel()


def agents(count: int, more: str = PRICE) -> str:
    return "agents:\n" + "".join(
        f"- {{id: a{number}, backend: {{type: groq, model: m, {more}}}}}\n" for number in range(count)
    )


async def expected(folder: Path, config: str, **environ: str) -> dict[str, Any]:
    async with opened(folder, **environ) as runs:
        found = await runs.teams.validate(config)
    assert found["ok"], found["problems"]
    return found["expected"]


async def test_three_agents_that_may_agree_or_vote_and_present(tmp_path: Path):
    found = await expected(tmp_path, agents(3), **KEYS)
    # An answer is $0.0115, a vote $0.007, what the presenter writes $0.015.
    assert found == {
        "requests": [3, 7],
        "tokens": [7_500, 29_100],
        "seconds": [20, 120],
        "usd": [0.0345, 0.0705],
        "agents": [{"id": f"a{number}", "usd": [0.0115, 0.0185]} for number in range(3)],
        "assumes": found["assumes"],
    }
    assert "1,500 tokens" in found["assumes"]
    assert len(json.dumps(found)) < 500


@pytest.mark.parametrize(
    ("more", "requests"),
    [
        ("strategy: vote", [7, 10]),
        ("strategy: vote, presentation: reuse", [6, 9]),
        ("presentation: reuse", [3, 6]),
        ("presentation: synthesize", [4, 7]),
        ("skip_voting: true", [3, 4]),
        ("max_rounds: 1", [3, 4]),
        ("coordination: {enable_planning_mode: true}", [4, 7]),
        ("max_agents: 2", [2, 5]),
        ("max_agents: 1", [1, 1]),
    ],
)
async def test_how_a_team_works_together_is_counted(tmp_path: Path, more: str, requests: list[int]):
    found = await expected(tmp_path, f"{agents(3)}orchestrator: {{{more}}}\n", **KEYS)
    assert found["requests"] == requests


async def test_whose_price_is_not_known_is_named_and_in_no_sum(tmp_path: Path):
    config = agents(1) + "- {id: dark, backend: {type: groq, model: unheard-of}}\n"
    found = await expected(tmp_path, config, **KEYS)
    assert found["no_price"] == ["dark"]
    assert [row["id"] for row in found["agents"]] == ["a0"]
    alone = await expected(tmp_path, "agent: {id: dark, backend: {type: groq, model: unheard-of}}\n", **KEYS)
    assert "usd" not in alone
    assert (alone["requests"], alone["no_price"]) == ([1, 1], ["dark"])


async def test_an_optional_agent_without_a_key_is_not_counted_but_inline_yaml_learns_of_no_key(
    tmp_path: Path,
):
    config = agents(1) + "- {id: b, optional: true, backend: {type: openai, model: gpt-5}}\n"
    (tmp_path / "mine.yaml").write_text(config, encoding="utf-8")
    assert (await expected(tmp_path, "mine", **KEYS))["requests"] == [1, 1]
    assert (await expected(tmp_path, config, **KEYS))["requests"] == [2, 5]


async def test_a_team_that_cant_be_run_is_expected_to_need_nothing(tmp_path: Path):
    async with opened(tmp_path, **KEYS) as runs:
        found = await runs.teams.validate(agents(2) + "orchestrator: {strategy: cascade}\n")
        broken = await runs.teams.validate("agents: []\n")
    assert not found["runs"]
    assert "expected" not in found
    assert "expected" not in broken


async def test_the_default_team_and_a_file_are_told_by_the_same_figures(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(agents(3), encoding="utf-8")
    async with opened(tmp_path, **KEYS) as runs:
        found = await runs.catalogue()
    (mine,) = [row for row in found["teams"] if row["name"] == "mine"]
    assert mine["expected_usd"] == pytest.approx(3 * 0.0185)
    assert found["default_team"]["expected_seconds"] == "20 to 120"


def test_every_strategy_has_its_course() -> None:
    found = {
        name: (course.least.requests(3), course.most.requests(3))
        for name in STRATEGIES
        for course in [course_of(name, 3)]
    }
    assert found == {
        "auto": (3, 7),
        "vote": (7, 10),
        "synthesize": (5, 5),
        "refine": (6, 9),
        "best_of": (3, 6),
        "verify": (3, 6),
        "review": (4, 4),
        "cascade": (1, 3),
        "decompose": (5, 5),
    }
