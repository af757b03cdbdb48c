"""`budget.per_request`, `per_turn` and `per_round` of a team file, through the front door."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client

from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_text
from massgen_mcp.config.schema import json_schema
from massgen_mcp.runs import Allowance, ResolvedTeam
from massgen_mcp.runs.open import open_runs
from massgen_mcp.runs.specs import ready_team
from massgen_mcp.server.app import build_server
from massgen_mcp.team.budget import Share
from tests.server.shown import data, text
from tests.working import agent, answer, ask, call

pytestmark = pytest.mark.anyio

TWO = """
agents:
- {id: quick, backend: {type: groq, model: m, timeout: 20}}
- {id: slow, backend: {type: groq, model: m}}
"""


@asynccontextmanager
async def host(place: Path, budget: dict[str, Any], *agents: dict[str, Any]) -> AsyncGenerator[Client]:
    """A client of a server in which the team `mine` can be asked."""
    for name in ("home", "teams", "project"):
        (place / name).mkdir(exist_ok=True)
    team = {"agents": list(agents), "orchestrator": {"shuffle_seed": 4}, "budget": budget}
    (place / "teams" / "mine.yaml").write_text(yaml.safe_dump(team), encoding="utf-8")
    make_runs = partial(
        open_runs,
        place="server",
        config_dirs=[place / "teams"],
        environ={"MASSGEN_MCP_STATE_DIR": str(place / "state"), "PATH": "/usr/bin:/bin"},
        home=place / "home",
        here=place / "project",
        config_folder=place / "config",
    )
    async with Client(build_server(make_runs)) as client:
        yield client


def loaded(budget: str, agents: str = TWO) -> Loaded:
    key = Environment.of({"GROQ_API_KEY": "gsk_0123456789abcdefghij"})
    return load_text(f"{agents}budget: {budget}\n", environment=key, origin="file", name="mine")


def ready(budget: str, agents: str = TWO) -> ResolvedTeam:
    return ready_team(loaded(budget, agents), name="mine", defaults=Allowance(), why="")


def row(result: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in result["agents"] if one["id"] == name]
    return found


async def test_a_turn_that_wants_more_than_its_part_ends_and_the_others_answer(tmp_path: Path):
    greedy = agent("greedy", call("no_such_tool"), answer("5"))
    agents = (agent("a", answer("4")), greedy, agent("b", answer("4")))
    async with host(tmp_path, {"per_turn": {"requests": 1}}, *agents) as client:
        result = await ask(client)
    assert (result["answer"], result["stopped_by"], result["status"]) == ("4", "decided", "partial")
    assert row(result, "greedy")["state"] == "abstained"
    assert "`budget.per_turn.requests`" in row(result, "greedy")["error"]
    assert "greedy had no budget left." in result["warnings"]


async def test_requests_that_may_need_too_much_are_not_sent_and_the_remedy_is_named(tmp_path: Path):
    agents = (agent("a", answer("4")), agent("b", answer("4"), max_tokens=100))
    async with host(tmp_path, {"per_request": {"tokens": 3_000}}, *agents) as client:
        result = await ask(client)
    assert result["answer"] == "4"
    assert "requests" not in row(result, "a")
    assert "`budget.per_request.tokens`" in row(result, "a")["error"]
    assert "`max_tokens`" in row(result, "a")["error"]


async def test_when_no_request_may_be_sent_the_answer_says_why(tmp_path: Path):
    async with host(tmp_path, {"per_request": {"tokens": 10}}, agent("a", answer("4"))) as client:
        reply = await client.call_tool("ask_team", {"question": "Mend it.", "team": "mine"})
    assert reply.is_error
    assert "`budget.per_request.tokens`" in text(reply)
    assert "usage" not in data(reply)


def test_of_two_limits_of_time_the_lower_holds():
    seconds = "timeout_settings: {initial_round_timeout_seconds: 50, subsequent_round_timeout_seconds: 500}\n"
    team = ready(
        "{per_request: {seconds: 60}, per_round: {seconds: 100}, per_turn: {seconds: 7}}", seconds + TWO
    )
    assert [one.options.timeout for one in team.agents] == [20, 60]
    assert (team.first_round_seconds, team.round_seconds) == (50, 100)
    assert team.shares.turn == Share(seconds=7)


def test_what_the_file_does_not_limit_is_not_limited():
    team = ready("{usd: 1}")
    assert (team.shares.request, team.shares.turn, team.shares.round) == (Share(), Share(), Share())
    assert [one.options.timeout for one in team.agents] == [20, None]


def test_what_is_wrong_in_a_part_is_told_with_its_line():
    found = loaded("\n  per_turn: {usdd: 3, seconds: 0}\n  per_request: {tokens: 1.5}\n  per_round: 5")
    assert [str(problem) for problem in found.problems] == [
        "budget.per_turn.usdd (line 6): unknown key. Did you mean 'usd'?",
        "budget.per_turn.seconds (line 6): must be more than 0",
        "budget.per_request.tokens (line 7): must be a whole number",
        "budget.per_round (line 8): must be a mapping of keys",
    ]


def test_a_limit_of_requests_is_told_not_to_hold_for_an_agent_with_a_loop_of_its_own():
    text_of = "agents:\n- {id: coder, backend: {type: claude_code}}\n" + TWO.partition("agents:\n")[2]
    (problem,) = [
        problem
        for problem in loaded("{per_request: {usd: 1}, per_turn: {usd: 2}}", text_of).problems
        if problem.path == "budget.per_request"
    ]
    assert problem.severity == "warning"
    assert "does not hold for coder" in str(problem)
    assert "per_turn" in str(problem)


def test_the_resolved_team_shows_the_parts_that_are_set():
    found = loaded("{usd: 1, per_turn: {usd: 0.2}}").resolved["budget"]
    assert found == {"usd": 1.0, "per_turn": {"usd": 0.2}}


def test_the_published_schema_says_what_each_limit_means():
    definitions = json_schema()["$defs"]
    for name in ("RequestShare", "TurnShare", "RoundShare"):
        properties = definitions[name]["properties"]
        assert set(properties) == {"usd", "tokens", "requests", "seconds"}
        assert all(value["description"] for value in properties.values())
