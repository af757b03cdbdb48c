"""Another model of the same backend takes over when an agent's own can't answer."""

from __future__ import annotations

import anyio
import pytest

from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import Reply, ToolCall
from massgen_mcp.runs import Ask, RunResult
from tests.teams import ScriptedTeam

pytestmark = pytest.mark.anyio


def gone(kind: FailureKind = "not_found") -> BackendError:
    return BackendError("There is no such model.", kind=kind)


async def result_of(team: ScriptedTeam) -> RunResult:
    found: list[RunResult] = []
    async with anyio.create_task_group() as tasks, team(tasks) as runs:
        handle = await runs.start(Ask(question="2 + 2?"))
        with anyio.fail_after(10):
            found.append(await handle.wait())
    return found[0]


async def test_the_next_model_answers_for_the_agent_and_is_named():
    team = ScriptedTeam(
        {"a": [gone()], "b": ["answer: 4"], "second": ["answer: 4"]}, fallbacks={"a": ("second",)}
    )
    result = await result_of(team)
    assert (result.status, result.answer) == ("completed", "4")
    agent = result.agents[0]
    assert (agent.state, agent.model) == ("answered", "second-model")
    assert "a: a-model could not answer (not_found); second took over" in result.warnings
    assert [name for name, _ in team.asked] == ["a", "b", "second"]


async def test_they_are_tried_in_their_order_and_the_agent_fails_when_none_is_left():
    team = ScriptedTeam(
        {"a": [gone()], "b": ["answer: 4"], "second": [gone("refusal")], "third": [gone("quota")]},
        fallbacks={"a": ("second", "third")},
    )
    result = await result_of(team)
    assert result.status == "partial"
    assert result.agents[0].error is not None
    assert "There is no such model." in result.agents[0].error
    assert [name for name, _ in team.asked] == ["a", "b", "second", "third"]


async def test_who_has_taken_over_goes_on_for_the_rest_of_the_run():
    team = ScriptedTeam(
        {"a": [gone()], "b": ["answer: 5", "vote: 4"], "second": ["answer: 4", "vote: 5"]},
        fallbacks={"a": ("second",)},
    )
    await result_of(team)
    assert [name for name, _ in team.asked].count("a") == 1
    assert [name for name, _ in team.asked].count("second") >= 2


@pytest.mark.parametrize("kind", ["auth", "network", "unavailable"])
async def test_what_another_model_would_meet_too_is_not_tried_again(kind: FailureKind):
    team = ScriptedTeam(
        {"a": [gone(kind)], "b": ["answer: 4"], "second": ["answer: 4"]}, fallbacks={"a": ("second",)}
    )
    result = await result_of(team)
    assert result.agents[0].state == "failed"
    assert "second" not in [name for name, _ in team.asked]


async def test_what_the_first_model_said_is_told_to_the_next_without_its_own_items():
    handed_in = ToolCall(id="call-1", name="new_answer", arguments='{"content": "4", "conclusion": "4"}')
    first = [Reply(calls=(handed_in,), finish="tool_calls", native={"of": "a"}), gone("overloaded")]
    team = ScriptedTeam(
        {"a": first, "b": ["answer: 5", "vote: 4"], "second": ["vote: 5"]}, fallbacks={"a": ("second",)}
    )
    await result_of(team)
    (request,) = [request for name, request in team.asked if name == "second"][:1]
    assert any(message.role == "assistant" and message.calls for message in request.messages)
    assert all(message.native is None for message in request.messages)
