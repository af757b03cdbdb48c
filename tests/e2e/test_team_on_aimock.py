"""A team of three against a third-party provider, over the real stdio, with the SDK's own client."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent

from tests.e2e.aimock import Aimock, running_aimock
from tests.e2e.stage import KEY, Player, Stage, fixtures_for

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.timeout(120)]

QUESTION = "Which city is the capital of Australia?"

SYDNEY = Player(id="a", answer="Sydney is the capital.", conclusion="Sydney", votes_for="Canberra is")
CANBERRA = Player(
    id="b", answer="Canberra is the capital, since 1927.", conclusion="Canberra", votes_for="Sydney is"
)
MELBOURNE = Player(
    id="c", answer="Melbourne is the capital.", conclusion="Melbourne", votes_for="Canberra is"
)


async def ask(
    stage: Stage, mode: str = "auto", *, into: list[tuple[float, str]] | None = None
) -> CallToolResult:
    """The reply to the question, put to the team `trio` as a host would."""
    seen = into if into is not None else []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message or ""))

    async with Client(stage.server, mode=mode) as client:
        assert client.protocol_version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
        return await client.call_tool(
            "ask_team", {"question": QUESTION, "team": "trio"}, progress_callback=note
        )


def result_of(reply: CallToolResult) -> dict[str, Any]:
    """The structured part, which is all that some hosts show their model."""
    assert reply.structured_content is not None, reply
    return reply.structured_content


def text_of(reply: CallToolResult) -> str:
    return "\n".join(part.text for part in reply.content if isinstance(part, TextContent))


def unused_url() -> str:
    """A loopback URL at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def put_on(stage: Stage, aimock: Aimock, *players: Player) -> None:
    stage.write_team("trio", players, [aimock.url] * len(players))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_clear_ballot_takes_six_requests_and_returns_the_answer_that_won(
    stage: Stage, tmp_path: Path, mode: str
) -> None:
    players = (SYDNEY, CANBERRA, MELBOURNE)
    progress: list[tuple[float, str]] = []
    with running_aimock(tmp_path, fixtures_for(players), keys=[KEY]) as aimock:
        put_on(stage, aimock, *players)
        reply = await ask(stage, mode, into=progress)
        models = aimock.models()

    result = result_of(reply)
    assert not reply.is_error
    assert (result["status"], result["winner"], result["answer"]) == ("completed", "b", CANBERRA.answer)
    assert sorted(models) == ["team-a", "team-a", "team-b", "team-b", "team-c", "team-c"]
    assert result["usage"]["requests"] == 6
    assert CANBERRA.answer in text_of(reply)
    steps = [done for done, _ in progress]
    assert steps == sorted(set(steps))
    assert progress
    assert max(len(message) for _, message in progress) <= 120


async def test_three_equal_conclusions_take_three_requests(stage: Stage, tmp_path: Path) -> None:
    players = tuple(
        Player(id=name, answer=f"It is Canberra, says {name}.", conclusion=conclusion)
        for name, conclusion in (("a", "Canberra"), ("b", "canberra."), ("c", "**Canberra**"))
    )
    with running_aimock(tmp_path, fixtures_for(players), keys=[KEY]) as aimock:
        put_on(stage, aimock, *players)
        result = result_of(await ask(stage))
        models = aimock.models()

    assert (result["status"], result["answer"]) == ("completed", "It is Canberra, says a.")
    assert sorted(models) == ["team-a", "team-b", "team-c"]
    assert result["usage"]["requests"] == 3


async def test_a_split_ballot_takes_a_seventh_request_for_the_presenter(stage: Stage, tmp_path: Path) -> None:
    final = "Canberra is the capital; Sydney and Melbourne are larger."
    players = (
        Player(
            id="a",
            answer="Sydney is the capital.",
            conclusion="Sydney",
            votes_for="Canberra is",
            presents=final,
        ),
        Player(
            id="b", answer="Canberra is it.", conclusion="Canberra", votes_for="Melbourne is", presents=final
        ),
        Player(
            id="c", answer="Melbourne is it.", conclusion="Melbourne", votes_for="Sydney is", presents=final
        ),
    )
    with running_aimock(tmp_path, fixtures_for(players), keys=[KEY]) as aimock:
        put_on(stage, aimock, *players)
        result = result_of(await ask(stage))
        models = aimock.models()

    assert (result["status"], result["answer"]) == ("completed", final)
    assert sorted(models[:6]) == ["team-a", "team-a", "team-b", "team-b", "team-c", "team-c"]
    assert models[6:] == ["team-a"], "of equals, the first in the file presents"
    assert result["usage"]["requests"] == 7


async def test_a_dead_model_leaves_the_others_answer_and_is_named_with_its_cause(
    stage: Stage, tmp_path: Path
) -> None:
    players = (
        Player(id="a", answer="It is Canberra.", conclusion="Canberra"),
        Player(id="b", answer="It is Canberra, of course.", conclusion="Canberra"),
        Player(id="dead", answer="", conclusion=""),
    )
    nobody = unused_url()
    with running_aimock(tmp_path, fixtures_for(players[:2]), keys=[KEY]) as aimock:
        stage.write_team("trio", players, [aimock.url, aimock.url, nobody])
        reply = await ask(stage)
        models = aimock.models()

    result = result_of(reply)
    assert not reply.is_error
    assert (result["status"], result["answer"]) == ("partial", "It is Canberra.")
    assert sorted(models) == ["team-a", "team-b"]
    (dead,) = [agent for agent in result["agents"] if agent["id"] == "dead"]
    assert dead["state"] == "failed"
    assert nobody.removeprefix("http://") in dead["error"]
    assert "refused" in dead["error"]
    assert "dead" in " ".join(result["warnings"])


async def test_refused_keys_end_in_an_error_that_says_for_each_agent_why_and_what_to_do(
    stage: Stage, tmp_path: Path
) -> None:
    players = (SYDNEY, CANBERRA, MELBOURNE)
    with running_aimock(tmp_path, fixtures_for(players), keys=["another key"]) as aimock:
        put_on(stage, aimock, *players)
        reply = await ask(stage)

    assert reply.is_error
    words = text_of(reply)
    for player in players:
        (line,) = [line for line in words.splitlines() if line.startswith(f"{player.id} (")]
        assert "chatcompletion" in line
        assert "refused the key" in line
        assert "api_key" in line
    assert KEY not in reply.model_dump_json()
    assert result_of(reply)["status"] == "failed"
