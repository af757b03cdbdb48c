"""What the coordination page promises, asked of a server by a client: the answer, the rule, the requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from mcp import Client

from massgen_mcp.engine import Settings
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Request
from massgen_mcp.server.app import build_server
from tests.server.shown import data
from tests.teams import Script, ScriptedTeam, scripted_team

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]

DOWN = BackendError("xAI refused the key.", kind="auth")


async def ask(team: ScriptedTeam) -> dict[str, Any]:
    async with Client(build_server(team)) as client:
        return data(await client.call_tool("ask_team", {"question": "Which?", "detail": "votes"}))


@pytest.mark.parametrize(
    ("scripts", "rule", "answer", "requests"),
    [
        ({"a": ["answer: 4"], "b": ["answer: **4.**"], "c": ["answer: 4"]}, "agreement", "4", 3),
        (
            {
                "a": ["answer: 4", "vote: 5"],
                "b": ["answer: 5", "vote: 6"],
                "c": ["answer: 6", "vote: 5"],
            },
            "ballot",
            "5",
            6,
        ),
        (
            {
                "a": ["answer: 4", "vote: 5", "answer: four"],
                "b": ["answer: 5", "vote: 6"],
                "c": ["answer: 6", "vote: 4"],
            },
            "presented",
            "four",
            7,
        ),
        (
            {
                "a": ["answer: 4", "vote: 5 add 6"],
                "b": ["answer: 5", "vote: 4 add 6", "answer: five, as six says"],
                "c": ["answer: 6", "vote: 5"],
            },
            "presented",
            "five, as six says",
            7,
        ),
        ({"a": ["answer: 4", "vote: 5"], "b": ["answer: 5", "vote: 5"]}, "ballot", "5", 4),
        (
            {
                "a": ["answer: 4", "vote: 4", "answer: they differ"],
                "b": ["answer: 5", "vote: 5", "answer: they differ"],
            },
            "synthesis",
            "they differ",
            5,
        ),
        ({"a": ["answer: 4"]}, "single_agent", "4", 1),
        ({"a": ["answer: 4"], "b": [DOWN], "c": [DOWN]}, "only_answer", "4", 3),
    ],
    ids=["agree", "clear", "split", "half add", "two settle", "two split", "one", "one left"],
)
async def test_auto_takes_so_many_requests(
    scripts: Mapping[str, Script], rule: str, answer: str, requests: int
):
    found = await ask(scripted_team(**scripts))
    assert (found["agreement"]["rule"], found["answer"]) == (rule, answer)
    assert found["usage"]["requests"] == requests


@pytest.mark.parametrize(
    ("settings", "rule", "requests"),
    [(Settings(), "presented", 7), (Settings(presentation="reuse"), "ballot", 6)],
    ids=["presented", "reused"],
)
async def test_vote_takes_seven_requests_and_six_with_reuse(settings: Settings, rule: str, requests: int):
    team = scripted_team(
        a=["answer: 4", "vote: 5"], b=["answer: 5", "vote: 4", "answer: five"], c=["answer: 6", "vote: 5"]
    )
    team.strategy, team.settings = "vote", settings
    found = await ask(team)
    assert (found["agreement"]["rule"], found["winner"]) == (rule, "b")
    assert found["usage"]["requests"] == requests


async def test_a_quorum_saves_what_still_runs_and_the_vote():
    team = scripted_team(a=["answer: 4"], b=["answer: 4"], c=["answer: 6"])
    team.settings = Settings(quorum=2)
    found = await ask(team)
    assert (found["agreement"]["rule"], found["answer"]) == ("quorum", "4")


def task(request: Request) -> Message:
    return request.messages[-1]


async def test_the_presenter_reads_the_votes_reasons_and_the_named_additions_and_nobodys_name():
    team = scripted_team(
        a=["answer: 4", "vote: 5 add 6 because it is odd"],
        b=["answer: 5", "vote: 4 add 6 because it is even", "answer: five"],
        c=["answer: 6", "vote: 5"],
    )
    await ask(team)
    asked = task([request for agent, request in team.asked if agent == "b"][-1])
    assert asked.role == "user"
    assert "it is odd\nit is even\n</data-" in asked.text
    labels = {label: content for label, _, content in team.asked[-1][1].brief.answers}  # type: ignore[union-attr]
    added = next(label for label, content in labels.items() if content == "6")
    assert f"Take over the correct points of {added}." in asked.text
    assert all(name not in asked.text for name in ("a.1", "b.1", "c.1", "a-model", "c-model"))


async def test_each_reader_has_an_order_of_its_own_and_the_same_labels():
    names = "abcdef"
    team = scripted_team(**{name: [f"answer: is {name}", "vote: is a", "answer: end"] for name in names})
    await ask(team)
    votes = [request.brief for _, request in team.asked if request.brief and request.brief.kind == "vote"]
    orders = {tuple(label for label, _, _ in brief.answers) for brief in votes}
    meanings = {frozenset((label, content) for label, _, content in brief.answers) for brief in votes}
    assert len(orders) > 1
    assert len(meanings) == 1
