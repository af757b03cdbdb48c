"""Teams whose agents come from different providers, each in its own dialect, against a third-party mock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import CallToolResult

from tests.e2e.aimock import Aimock, Fixture, running_aimock
from tests.e2e.stage import KEY, Player, Stage, fixtures_for

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.timeout(120)]

QUESTION = "Which city is the capital of Australia?"
RIGHT = "Canberra is the capital, since 1927."
INPUT, OUTPUT = 1_000, 100
"""Tokens of every scripted reply."""
PRICE = {"input": 2.0, "output": 10.0}
COST = (INPUT * PRICE["input"] + OUTPUT * PRICE["output"]) / 1_000_000
ROUTED_COST = 0.0042
"""What OpenRouter itself says that a request cost."""

CITIES = {
    "openai": ("Sydney", {"type": "openai"}, "/v1"),
    "claude": ("Canberra", {"type": "claude"}, ""),
    "gemini": ("Melbourne", {"type": "gemini"}, ""),
    "openrouter": ("Perth", {"type": "openrouter"}, "/api/v1"),
    "azure": ("Hobart", {"type": "azure_openai", "api_version": "v1"}, ""),
    "deployment": ("Darwin", {"type": "azure_openai", "api_version": "2024-02-15-preview"}, ""),
}
"""By agent: what it answers first, its backend, what follows the address."""

PATHS = {
    "openai": "/v1/responses",
    "claude": "/v1/messages",
    "gemini": "/v1beta/models/team-gemini:streamGenerateContent",
    "openrouter": "/api/v1/chat/completions",
    "azure": "/openai/v1/responses",
    "deployment": "/openai/deployments/team-deployment/chat/completions",
}
USED: Mapping[str, dict[str, Any]] = {
    "openai": {"input_tokens": INPUT, "output_tokens": OUTPUT},
    "claude": {"input_tokens": INPUT, "output_tokens": OUTPUT},
    "gemini": {"promptTokenCount": INPUT, "candidatesTokenCount": OUTPUT},
    "openrouter": {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "cost": ROUTED_COST},
    "azure": {"input_tokens": INPUT, "output_tokens": OUTPUT},
    "deployment": {"prompt_tokens": INPUT, "completion_tokens": OUTPUT},
}
"""Tokens, by the names that each provider has for them."""


def player(agent: str) -> Player:
    """It answers with its own city and votes for Canberra; who said Canberra itself votes for Sydney."""
    city = CITIES[agent][0]
    if city == "Canberra":
        return Player(id=agent, answer=RIGHT, conclusion=city, votes_for="Sydney is")
    return Player(id=agent, answer=f"{city} is the capital.", conclusion=city, votes_for="Canberra is")


def billed(fixtures: list[Fixture]) -> list[Fixture]:
    """The same, with the tokens that each provider counts."""
    for fixture in fixtures:
        agent = fixture["match"]["model"].removeprefix("team-")
        fixture["response"]["usage"] = USED[agent]
    return fixtures


def put_on(stage: Stage, aimock: Aimock, *agents: str) -> None:
    blocks: dict[str, dict[str, Any]] = {}
    for agent in agents:
        _, backend, path = CITIES[agent]
        blocks[agent] = {
            "model": f"team-{agent}",
            "base_url": f"{aimock.url}{path}",
            "price": PRICE,
            **backend,
        }
    stage.write_agents("mixed", blocks)


async def ask(stage: Stage) -> tuple[CallToolResult, dict[str, Any]]:
    async with Client(stage.server) as client:
        reply = await client.call_tool("ask_team", {"question": QUESTION, "team": "mixed"})
    assert reply.structured_content is not None, reply
    return reply, reply.structured_content


def rows_of(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in result["agents"]}


async def test_six_dialects_answer_blind_disagree_and_vote_each_with_its_own_numbers(
    stage: Stage, tmp_path: Path
) -> None:
    agents = tuple(CITIES)
    fixtures = fixtures_for([player(agent) for agent in agents])
    with running_aimock(tmp_path, billed(fixtures), keys=[KEY]) as aimock:
        put_on(stage, aimock, *agents)
        reply, result = await ask(stage)
        journal = aimock.journal()

    assert not reply.is_error, result
    assert (result["status"], result["winner"], result["answer"]) == ("completed", "claude", RIGHT)
    assert sorted(entry["path"].partition("?")[0] for entry in journal) == sorted([*PATHS.values()] * 2)
    first = [str(entry["body"]) for entry in journal[: len(agents)]]
    assert not any(f"{city} is" in sent for sent in first for city, _, _ in CITIES.values()), "blind"
    assert KEY not in reply.model_dump_json()

    rows = rows_of(result)
    for agent, row in rows.items():
        cost = ROUTED_COST if agent == "openrouter" else COST
        assert row["backend"] == CITIES[agent][1]["type"], agent
        assert (row["requests"], row["attempts"], row["tokens"]) == (2, 2, 2 * (INPUT + OUTPUT)), agent
        assert row["cost_usd"] == pytest.approx(2 * cost), agent
        assert row["state"] == "voted", agent
    usage = result["usage"]
    assert (usage["requests"], usage["input"], usage["output"]) == (12, 12 * INPUT, 12 * OUTPUT)
    assert usage["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in rows.values()))


async def test_arguments_that_can_not_be_read_go_back_to_the_model_and_the_team_goes_on(
    stage: Stage, tmp_path: Path
) -> None:
    """Every agent slips once. Of broken arguments aimock makes an empty object for Claude and Gemini."""
    empty = "`content` must be your whole answer"
    told = {"openai": "not valid JSON", "openrouter": "not valid JSON", "claude": empty, "gemini": empty}
    fixtures: list[Fixture] = []
    for agent in told:
        call = {"name": "new_answer", "arguments": '{"content": "Canberra is the cap'}
        match = {"model": f"team-{agent}", "turnIndex": 0}
        fixtures.append({"match": match, "response": {"toolCalls": [call]}})
        for fixture in fixtures_for([player(agent)]):
            fixture["match"]["turnIndex"] += 1
            fixtures.append(fixture)
    with running_aimock(tmp_path, billed(fixtures), keys=[KEY]) as aimock:
        put_on(stage, aimock, *told)
        reply, result = await ask(stage)
        journal = aimock.journal()

    assert not reply.is_error, result
    assert (result["status"], result["winner"]) == ("completed", "claude")
    for agent, words in told.items():
        sent = [str(entry["body"]) for entry in journal if entry["body"]["model"] == f"team-{agent}"]
        assert [words in body for body in sent] == [False, True, True], agent
        row = rows_of(result)[agent]
        assert (row["state"], row["requests"], row["tokens"]) == ("voted", 3, 3 * (INPUT + OUTPUT)), agent


async def test_a_provider_that_is_down_makes_the_result_partial_and_is_named(
    stage: Stage, tmp_path: Path
) -> None:
    agents = ("openai", "claude", "gemini")
    fixtures = billed(fixtures_for([player("openai"), player("claude")]))
    down: Fixture = {
        "match": {"model": "team-gemini"},
        "response": {"content": "never sent"},
        "chaos": {"dropRate": 1.0},
    }
    with running_aimock(tmp_path, [*fixtures, down], keys=[KEY]) as aimock:
        put_on(stage, aimock, *agents)
        reply, result = await ask(stage)
        tries = [entry for entry in aimock.journal() if "team-gemini" in entry["path"]]

    assert not reply.is_error, result
    assert result["status"] == "partial"
    row = rows_of(result)["gemini"]
    assert row["state"] == "failed"
    assert (row["requests"], row["attempts"]) == (len(tries), len(tries)) == (5, 5)
    assert "(500)" in row["error"]
    assert any("gemini" in warning for warning in result["warnings"])
    assert "cost_usd" not in row or not row["cost_usd"]
