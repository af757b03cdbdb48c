"""Resources, completion, and the two tools that only look."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from massgen_mcp.errors import JournalError
from massgen_mcp.journal import Journal
from massgen_mcp.server.app import build_server
from tests.server.shown import SPLIT, data, text
from tests.teams import ScriptedTeam, scripted_team

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


@asynccontextmanager
async def asked(team: ScriptedTeam, mode: str = "auto") -> AsyncGenerator[tuple[Client, str]]:
    async with Client(build_server(team), mode=mode) as client:
        result = await client.call_tool("ask_team", {"question": "Which?"})
        yield client, data(result)["run_id"]


async def read(client: Client, uri: str) -> tuple[str | None, str]:
    (found,) = (await client.read_resource(uri)).contents
    assert isinstance(found, types.TextResourceContents)
    assert str(found.uri) == uri
    return found.mime_type, found.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_runs_report_tells_who_said_what_and_why_it_was_chosen(mode: str):
    async with asked(ScriptedTeam(SPLIT), mode) as (client, run_id):
        mime, report = await read(client, f"massgen://runs/{run_id}")
    assert mime == "text/markdown"
    for words in (f"# Run {run_id}", "> Which?", "> five", "it is right", "it won the vote"):
        assert words in report


async def test_each_answer_can_be_read_by_its_label_its_agent_or_as_final():
    async with asked(ScriptedTeam(SPLIT)) as (client, run_id):
        answers = await client.call_tool("get_run", {"run_id": run_id, "detail": "answers"})
        label = data(answers)["answers"][2]["label"]
        base = f"massgen://runs/{run_id}/answers"
        assert await read(client, f"{base}/{label}") == ("text/markdown", "6\nsix")
        assert (await read(client, f"{base}/a"))[1] == "4\nfour"
        assert (await read(client, f"{base}/final"))[1] == "5\nfive"
        with pytest.raises(MCPError, match=r"has no answer 'z'. It has: agent\d.1, .*final"):
            await read(client, f"{base}/z")


async def test_the_final_answer_is_whole_where_the_reply_had_to_cut_it():
    long = "4\n" + "x" * 60_000
    async with asked(scripted_team(a=[f"answer: {long}"])) as (client, run_id):
        reply = data(await client.call_tool("get_run", {"run_id": run_id}))
        _, whole = await read(client, f"massgen://runs/{run_id}/answers/final")
    assert len(reply["answer"]) <= 45_000
    assert whole == long


async def test_the_transcript_is_one_text():
    async with asked(ScriptedTeam(SPLIT)) as (client, run_id):
        _, whole = await read(client, f"massgen://runs/{run_id}/transcript")
    assert whole.startswith("### 1. RunStarted\n\nTeam test: a, b, c")
    assert "completed, stopped by: decided, b's answer (ballot)" in whole


async def test_teams_backends_strategies_and_the_schema_can_be_read():
    async with Client(build_server(scripted_team(a=[]))) as client:
        assert await read(client, "massgen://teams/test") == ("application/yaml", "agents:\n  - id: a\n")
        mime, backends = await read(client, "massgen://backends")
        assert (mime, json.loads(backends)["backends"][0]["backend"]) == ("application/json", "scripted")
        assert "- `auto`: " in (await read(client, "massgen://strategies"))[1]
        mime, schema = await read(client, "massgen://schema/config")
        assert (mime, json.loads(schema)) == ("application/schema+json", {"type": "object"})


@pytest.mark.parametrize(
    "uri",
    [
        "massgen://nothing",
        "massgen://runs/20200101-0000-aaaaaa",
        "massgen://runs/x/y/z",
        "massgen://teams/other",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize(("mode", "code"), [("auto", -32602), ("legacy", -32002)])
async def test_what_is_not_there_is_refused_with_its_address(uri: str, mode: str, code: int):
    async with Client(build_server(scripted_team(a=[])), mode=mode) as client:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
    assert refused.value.code == code
    assert refused.value.data == {"uri": uri}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_breaks_while_reading_is_told_in_words_without_paths(
    mode: str, caplog: pytest.LogCaptureFixture
):
    class Locked(ScriptedTeam):
        async def show(self, name: str) -> str:
            raise PermissionError(13, "Permission denied", f"/home/someone/{name}.yaml")

    async with Client(build_server(Locked({})), mode=mode) as client:
        with pytest.raises(MCPError, match="Reading this resource broke") as broken:
            await client.read_resource("massgen://teams/test")
    assert broken.value.code == types.INTERNAL_ERROR
    assert "PermissionError" in str(broken.value)
    for inside in ("/home", "Errno", "denied"):
        assert inside not in str(broken.value)
    assert "/home/someone/test.yaml" in caplog.text


async def test_resources_show_no_secrets():
    team = scripted_team(a=["answer: it is hunter2-hunter2"])
    team.secrets.add("hunter2-hunter2", "PASSWORD")
    async with asked(team) as (client, run_id):
        for part in ("", "/transcript", "/answers/final"):
            assert "hunter2" not in (await read(client, f"massgen://runs/{run_id}{part}"))[1]


async def complete(client: Client, argument: str, value: str, **context: str) -> list[str]:
    ref = types.ResourceTemplateReference(uri="massgen://runs/{run_id}/answers/{label}")
    found = await client.complete(ref, {"name": argument, "value": value}, context)
    return found.completion.values


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_names_runs_labels_and_strategies_complete(mode: str):
    async with asked(ScriptedTeam(SPLIT), mode) as (client, run_id):
        assert await complete(client, "name", "te") == ["test"]
        assert await complete(client, "name", "x") == []
        assert await complete(client, "run_id", run_id[:4]) == [run_id]
        assert await complete(client, "strategy", "au") == ["auto"]
        assert len(await complete(client, "label", "agent", run_id=run_id)) == 3
        assert await complete(client, "label", "fi", run_id=run_id) == ["final"]
        assert await complete(client, "label", "fi", run_id="no-such-run") == []
        assert await complete(client, "color", "") == []


async def test_completion_without_a_journal_is_just_empty():
    class NoDisk(ScriptedTeam):
        async def _open_journal(self) -> Journal:
            raise JournalError("no disk")

    async with Client(build_server(NoDisk({}))) as client:
        assert await complete(client, "run_id", "") == []


async def test_list_backends_says_what_is_ready():
    async with Client(build_server(scripted_team(a=[]))) as client:
        result = await client.call_tool("list_backends", {"task": "coding"})
        unknown = await client.call_tool("list_backends", {"backend": "gogle"})
        wrong = await client.call_tool("list_backends", {"task": "cooking"})
    found = data(result)
    assert found["backends"] == [{"backend": "scripted", "ready": True}]
    assert found["task"] == "coding"
    assert json.loads(text(result)) == found
    assert unknown.is_error
    assert wrong.is_error
    assert text(wrong).startswith("`task` must be one of 'research',")


async def test_validate_config_tells_problems_without_being_an_error_itself():
    async with Client(build_server(scripted_team(a=[]))) as client:
        good = await client.call_tool("validate_config", {"config": "good"})
        bad = await client.call_tool("validate_config", {"config": "bad"})
        none = await client.call_tool("validate_config", {})
    assert (good.is_error, data(good)) == (False, {"ok": True, "problems": []})
    assert not bad.is_error
    assert data(bad) == {"ok": False, "problems": [{"path": "agents", "message": "bad"}]}
    assert text(none) == "`config` is missing. Nothing was spent."
