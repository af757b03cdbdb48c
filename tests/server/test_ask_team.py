"""`ask_team`: a question in, the team's answer out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
import pytest
from anyio.abc import TaskGroup
from mcp import Client

from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import BackendError, ConfigError, JournalError, Problem, RequestRefused
from massgen_mcp.journal import Journal, MemoryJournal
from massgen_mcp.messages import Reply, Request, ToolCall
from massgen_mcp.runs import Allowance, Runs
from massgen_mcp.server.app import build_server
from massgen_mcp.usage import Usage
from tests.server.peers import ERAS, Era, connected
from tests.server.shown import SPLIT, data, text
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


async def ask(team: ScriptedTeam, mode: str = "auto", /, **arguments: Any) -> types.CallToolResult:
    async with Client(build_server(team), mode=mode) as client:
        return await client.call_tool("ask_team", {"question": "2 + 2?", **arguments})


async def test_equal_conclusions_end_the_run_without_a_vote(mode: str):
    team = scripted_team(a=["answer: 4"], b=["answer: 4"], c=["answer: 4."])
    result = await ask(team, mode)
    assert not result.is_error
    assert data(result)["usage"]["requests"] == 3
    assert data(result)["agreement"]["rule"] == "agreement"


async def test_the_structured_part_is_complete_alone_with_the_answer_first(mode: str):
    found = data(await ask(ScriptedTeam(SPLIT), mode))
    assert next(iter(found)) == "answer"
    assert (found["answer"], found["status"], found["winner"]) == ("5\nfive", "completed", "b")
    assert found["dissent"][0] == {"agent": "a", "conclusion": "4"}
    assert [row["id"] for row in found["agents"]] == ["a", "b", "c"]
    assert found["usage"]["cost_usd"] == pytest.approx(0.06)


async def test_the_text_is_the_answer_and_one_line_about_it():
    team = scripted_team(a=["answer: **4**"], b=["answer: 4"])
    words = text(await ask(team))
    assert words.startswith("**4**\n\n---\ncompleted · a's answer (the answers agree) · $0.02 · ")
    assert words.splitlines()[-1].count("run 20") == 1


async def test_detail_decides_what_comes_beside_the_answer():
    small = data(await ask(ScriptedTeam(SPLIT), detail="answer"))
    whole = data(await ask(ScriptedTeam(SPLIT), detail="votes"))
    assert not {"agents", "ballot", "dissent"} & small.keys()
    assert whole["ballot"][0] == {"voter": "a", "chose": "b", "reason": "it is right"}


async def test_the_reply_for_three_agents_is_small():
    team = scripted_team(a=["answer: 4"], b=["answer: 4"], c=["answer: 4"])
    result = await ask(team)
    assert len(str(data(result))) - len(data(result)["answer"]) <= 2_000


async def test_no_answer_is_an_error_with_the_cause_for_each_agent(mode: str):
    refused = BackendError(
        "The key in XAI_API_KEY was refused. Set a valid one.", kind="auth", connected=True
    )
    over = BackendError("No quota is left. Add credit.", kind="quota")
    result = await ask(scripted_team(a=[refused], b=[over]), mode)
    assert result.is_error
    assert "a (scripted): The key in XAI_API_KEY was refused. Set a valid one." in text(result)
    assert "b (scripted): No quota is left. Add credit.\nNothing is known to have been spent." in text(result)
    assert data(result)["status"] == "failed"
    assert data(result)["error"].endswith("Nothing is known to have been spent.")


async def test_an_error_says_what_was_spent_without_an_answer():
    refused = BackendError("No quota is left. Add credit.", kind="quota")
    call, used = ToolCall(id="1", name="no_tool", arguments="{}"), Usage(requests=1, input=300)
    result = await ask(scripted_team(a=[Reply(calls=(call,), finish="tool_calls", usage=used), refused]))
    assert result.is_error
    assert data(result)["error"].endswith("\n$0.03 was spent.")


async def test_an_agent_that_fails_makes_the_answer_partial_and_is_named():
    over = BackendError("No quota is left. Add credit.", kind="quota")
    result = await ask(scripted_team(a=["answer: 4"], b=[over], c=["answer: 4"]))
    assert not result.is_error
    assert data(result)["status"] == "partial"
    assert data(result)["warnings"] == ["b failed: No quota is left. Add credit."]
    assert text(result).splitlines()[-1].endswith(" · b failed: No quota is left. Add credit.")


async def test_waiting_zero_seconds_starts_in_the_background_and_names_the_next_call(mode: str):
    go = anyio.Event()
    team = scripted_team(a=[After(go, "answer: 4")], b=["answer: 4"])
    async with Client(build_server(team), mode=mode) as client:
        found = data(await client.call_tool("ask_team", {"question": "?", "wait_seconds": 0}))
        assert found["status"] == "running"
        assert found["next"] == f'get_run(run_id="{found["run_id"]}", wait_seconds=45)'
        go.set()
        later = await client.call_tool("get_run", {"run_id": found["run_id"], "wait_seconds": 20})
    assert data(later)["answer"] == "4"


async def test_a_wait_that_passes_says_how_far_the_team_is():
    team = scripted_team(a=[After(anyio.Event(), "answer: 4")], b=["answer: 4"])
    result = await ask(team, wait_seconds=0.3)
    assert not result.is_error
    assert data(result)["done"] == "1/2"
    assert text(result).startswith('The team is still at work. Collect its answer with get_run(run_id="')
    assert "running: answering 1/2" in text(result)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("host", ["claude-code", "Claude-Agent-SDK"])
async def test_a_host_known_to_wait_is_kept_waiting(era: Era, host: str):
    go, clock = anyio.Event(), ScriptedClock()
    team = ScriptedTeam({"a": [After(go, "answer: 4")]}, clock=clock)
    async with connected(build_server(team, clock=clock), era, name=host) as peer:
        await peer.call(1, "ask_team", question="?")
        await team.answering.wait()
        await clock.advance(100)
        go.set()
        reply = await peer.reply(1)
    assert reply["result"]["structuredContent"]["answer"] == "4"


@pytest.mark.parametrize("era", ERAS)
async def test_any_other_host_is_answered_after_45_seconds(era: Era):
    clock = ScriptedClock()
    team = ScriptedTeam({"a": [After(anyio.Event(), "answer: 4")]}, clock=clock)
    async with connected(build_server(team, clock=clock), era, name="cursor") as peer:
        await peer.call(1, "ask_team", question="?")
        await team.answering.wait()
        await clock.advance(45)
        reply = await peer.reply(1)
    assert reply["result"]["structuredContent"]["status"] == "running"


async def test_all_problems_with_arguments_are_told_at_once(mode: str):
    async with Client(build_server(scripted_team()), mode=mode) as client:
        result = await client.call_tool("ask_team", {"query": "?", "wait_seconds": "45", "detail": "full"})
    assert result.is_error
    assert text(result) == (
        "`question` is missing. "
        '`wait_seconds` must be a number, not "45". '
        "`detail` must be one of 'answer', 'summary' or 'votes', not \"full\". "
        "Unknown argument `query`. Did you mean `question`? Known: question, team, agents, context, files, "
        "images, strategy, continue_run, budget, wait_seconds, detail. Nothing was spent."
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"budget": {"usd": 0}}, "`budget.usd` must be above 0, not 0."),
        ({"budget": {"tokens": 1.5}}, "`budget.tokens` must be a whole number, not 1.5."),
        ({"budget": {"cost": 1}}, "Unknown argument `budget.cost`. Known: usd, tokens, requests, seconds."),
        ({"budget": 1}, "`budget` must be an object, not 1."),
        ({"agents": []}, "`agents` must not be empty."),
        ({"agents": "gpt-5"}, '`agents` must be a list of strings, not "gpt-5".'),
        ({"agents": [3]}, "`agents.0` must be a string, not 3: a model's name."),
        (
            {"agents": [{"model": "gpt-5", "base_url": "http://x"}]},
            "a model's name. Addresses and keys are the operator's.",
        ),
        ({"agents": ["a"] * 13}, "`agents` is too long: at most 12 are taken."),
        ({"wait_seconds": -1}, "`wait_seconds` must be at least 0, not -1."),
        ({"question": ""}, "`question` is empty. Put the whole question in it."),
        ({"teem": "x"}, "Unknown argument `teem`. Did you mean `team`?"),
        ({"zzzz": "x"}, "Unknown argument `zzzz`. Known: question,"),
    ],
)
async def test_a_wrong_argument_is_named_with_what_is_taken(arguments: dict[str, Any], words: str):
    result = await ask(scripted_team(a=["answer: 4"]), **arguments)
    assert result.is_error
    assert words in text(result)
    assert text(result).endswith("Nothing was spent.")


async def test_what_is_known_is_said_once_however_much_is_unknown():
    result = await ask(scripted_team(), teem=1, zzzz=1, budget={"cost": 1})
    assert text(result) == (
        "Unknown argument `budget.cost`. Unknown argument `teem`. Did you mean `team`? Unknown argument "
        "`zzzz`. Known: question, team, agents, context, files, images, strategy, continue_run, budget, "
        "wait_seconds, detail. In `budget`: usd, tokens, requests, seconds. Nothing was spent."
    )


async def test_null_for_an_optional_argument_is_absence():
    result = await ask(scripted_team(a=["answer: 4"]), team=None, budget=None, context=None, detail=None)
    assert data(result)["answer"] == "4"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"team": "fast2"}, 'Unknown team "fast2". Known: test. Call list_backends for what is ready.'),
        ({"question": "  "}, "`question` is empty."),
        ({"team": "test", "agents": ["a"]}, "Give `team` or `agents`, not both."),
        ({"context": "x" * 200_001}, "`context` has 200,001 characters"),
    ],
)
async def test_a_question_that_cannot_be_asked_is_refused_before_it_costs(
    arguments: dict[str, Any], words: str, mode: str
):
    team = scripted_team(a=["answer: 4"])
    result = await ask(team, mode, **arguments)
    assert result.is_error
    assert words in text(result)
    assert "Nothing was spent." in text(result)
    assert team.asked == []


async def test_a_budget_lowers_what_a_run_may_use():
    team = ScriptedTeam({"a": ["answer: 4"], "b": ["answer: 5"]}, allowance=Allowance(requests=9))
    result = await ask(team, budget={"requests": 1})
    assert len(team.asked) == 1
    assert data(result)["stopped_by"] == "budget"


async def test_the_context_reaches_the_team_as_data():
    team = scripted_team(a=["answer: 4"])
    await ask(team, context="a log line")
    request: Request = team.asked[0][1]
    assert "a log line" in request.messages[-1].text


async def test_what_is_secret_or_hides_does_not_reach_the_caller(mode: str):
    team = scripted_team(a=["answer: the key is hunter2-hunter2\nand \u202ereversed"])
    team.secrets.add("hunter2-hunter2", "DB_PASSWORD")
    result = await ask(team, mode)
    for words in (text(result), str(data(result))):
        assert "hunter2" not in words
        assert "\u202e" not in words
        assert "[DB_PASSWORD]" in words
        assert "[U+202E]" in words


async def test_a_defect_is_told_without_its_details_and_logged(mode: str, caplog: pytest.LogCaptureFixture):
    class Broken(ScriptedTeam):
        async def validate(self, config: str) -> dict[str, Any]:
            raise ZeroDivisionError(f"the inner workings of {config}")

    async with Client(build_server(Broken({})), mode=mode) as client:
        result = await client.call_tool("validate_config", {"config": "x"})
    assert result.is_error
    assert text(result).startswith("validate_config broke: a defect in massgen-mcp (ZeroDivisionError)")
    assert "inner workings" not in text(result)
    assert "the inner workings" in caplog.text


async def test_without_a_place_for_the_journal_it_says_why_and_asks_nobody(mode: str):
    class NoDisk(ScriptedTeam):
        async def _open_journal(self) -> Journal:
            raise JournalError("The journal can't be kept in /nowhere: read-only. Set MASSGEN_MCP_STATE_DIR.")

    team = NoDisk({"a": ["answer: 4"]})
    async with Client(build_server(team), mode=mode) as client:
        tools = await client.list_tools()
        result = await client.call_tool("ask_team", {"question": "?"})
    assert len(tools.tools) == 5
    assert result.is_error
    assert "Set MASSGEN_MCP_STATE_DIR." in text(result)
    assert team.asked == []


async def test_a_broken_team_file_is_told_whole_and_costs_nothing(mode: str):
    class BadFile(ScriptedTeam):
        async def resolve(self, ask: Any) -> Any:
            del ask
            problem = Problem(path="agents[1].backend.type", message="unknown backend 'google'", line=9)
            raise ConfigError([problem], name="fast")

    result = await ask(BadFile({}), mode)
    assert result.is_error
    assert text(result) == (
        "fast: agents[1].backend.type (line 9): unknown backend 'google'. Nothing was spent."
    )


async def test_runs_that_cannot_be_made_are_tried_again_by_the_next_call():
    team = scripted_team(a=["answer: 4"])
    tries: list[int] = []

    @asynccontextmanager
    async def make_runs(tasks: TaskGroup) -> AsyncGenerator[Runs]:
        tries.append(1)
        if len(tries) == 1:
            raise RequestRefused("The disk is not there yet.")
        async with team(tasks) as runs:
            yield runs

    async with Client(build_server(make_runs)) as client:
        first = await client.call_tool("ask_team", {"question": "?"})
        second = await client.call_tool("ask_team", {"question": "?"})
    assert text(first) == "The disk is not there yet. Nothing was spent."
    assert data(second)["answer"] == "4"


async def test_runs_that_cannot_be_closed_do_not_break_the_end(caplog: pytest.LogCaptureFixture):
    class StuckDisk(MemoryJournal):
        async def aclose(self) -> None:
            raise JournalError("The disk is gone.")

    result = await ask(ScriptedTeam({"a": ["answer: 4"]}, journal=StuckDisk()))
    assert data(result)["answer"] == "4"
    assert "The disk is gone." in caplog.text


async def test_an_unknown_tool_is_answered_with_the_tools_there_are(mode: str):
    async with Client(build_server(scripted_team()), mode=mode) as client:
        result = await client.call_tool("ask_teams", {})
    assert result.is_error
    assert 'Unknown tool "ask_teams". Did you mean ask_team? Tools: ask_team, get_run,' in text(result)


async def test_runs_side_by_side_do_not_meet():
    team = scripted_team(a=["answer: 4"], b=["answer: 4"])
    found: list[str] = []
    async with Client(build_server(team)) as client:

        async def one(number: int) -> None:
            result = await client.call_tool("ask_team", {"question": f"{number}?"})
            found.append(data(result)["run_id"])

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(one, number)
    assert len(set(found)) == 5
    assert team.opened == 1
