"""Two people on one server: each has their own runs, teams and money, and knows of no other's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from massgen_mcp.errors import RequestRefused, RunNotFound
from massgen_mcp.journal import MemoryJournal, open_journal
from massgen_mcp.runs import Allowance, User
from massgen_mcp.runs.users import UserJournal, UserTeams
from massgen_mcp.server.caller import LOCAL, caller_of
from massgen_mcp.server.http.tokens import add_token, revoke_token
from tests.http.doors import OPERATOR, Served, served, structured
from tests.teams import After, ScriptedTeam, scripted_team

pytestmark = pytest.mark.anyio


@dataclass
class House:
    """A server with two people who have tokens."""

    server: Served
    team: ScriptedTeam
    tokens: Path
    anna: str
    ben: str


@asynccontextmanager
async def shared(team: ScriptedTeam, folder: Path, **limits: Any) -> AsyncGenerator[House]:
    """The limits are anna's."""
    tokens = folder / "tokens.json"
    anna, ben = add_token(tokens, "anna", **limits), add_token(tokens, "ben")
    async with served(team, tokens=tokens) as server:
        yield House(server, team, tokens, anna, ben)


def said(result: Any) -> str:
    """The words of a refusal."""
    found: Any = result.model_dump(by_alias=True) if hasattr(result, "model_dump") else result
    assert found["isError"], found
    text: str = found["content"][0]["text"]
    return text


@pytest.mark.parametrize("journal", ["on disk", "in memory", "off"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_another_users_run_is_not_there(journal: str, mode: str, tmp_path: Path):
    team = scripted_team(a=["answer: 4"])
    if journal == "on disk":
        team.journal = await open_journal(tmp_path / "state")
    team.journalled = journal != "off"
    async with (
        shared(team, tmp_path) as house,
        house.server.client(house.anna, mode=mode) as anna,
        house.server.client(house.ben, mode=mode) as ben,
    ):
        run_id = structured(await anna.call_tool("ask_team", {"question": "a secret"}))["run_id"]
        mine = structured(await anna.call_tool("get_run", {"run_id": run_id}))
        assert mine["answer"] == "4"
        for tool, arguments in (
            ("get_run", {"run_id": run_id}),
            ("get_run", {"run_id": run_id, "wait_seconds": 1}),
            *(
                ("get_run", {"run_id": run_id, "detail": detail})
                for detail in ("answers", "votes", "files", "transcript")
            ),
            ("get_run", {"run_id": run_id, "detail": "files", "path": "a.txt"}),
            ("get_run", {"run_id": run_id, "detail": "files", "path": "changes/a.txt"}),
            ("cancel_run", {"run_id": run_id}),
        ):
            refused = said(await ben.call_tool(tool, arguments))
            assert "run" in refused
            assert "secret" not in refused
        for rest in ("", "/transcript", "/answers/final", "/files/a.txt", "/changes/a.txt"):
            with pytest.raises(Exception, match=r"(?i)no run"):
                await ben.read_resource(f"massgen://runs/{run_id}{rest}")
        assert structured(await ben.call_tool("get_run", {}))["runs"] == []
        ref = {"type": "ref/resource", "uri": "massgen://runs/{run_id}"}
        for client, known in ((ben, []), (anna, [run_id] if journal != "off" else [])):
            completion = await client.complete(ref, {"name": "run_id", "value": ""})  # type: ignore[arg-type]
            assert completion.completion.values == known


async def test_the_operator_sees_everybodys_runs_and_a_user_what_they_spent(tmp_path: Path):
    async with shared(scripted_team(a=["answer: 4"]), tmp_path) as house:
        await house.server.call("ask_team", token=house.anna, question="one")
        await house.server.call("ask_team", token=house.ben, question="two")
        await house.server.call("ask_team", question="three")
        seen: dict[str, list[str]] = {}
        for name, token in (("anna", house.anna), ("ben", house.ben), ("all", OPERATOR)):
            listed = await house.server.call("get_run", token=token)
            seen[name] = [row["question"] for row in listed["structuredContent"]["runs"]]
        spent = [
            (await house.server.call("list_backends", **who))["structuredContent"]["spent_today_usd"]
            for who in ({"token": house.anna}, {})
        ]
    assert seen == {"anna": ["one"], "ben": ["two"], "all": ["three", "two", "one"]}
    assert spent == pytest.approx([0.01, 0.03])


async def test_a_user_may_ask_the_teams_of_their_token_alone(tmp_path: Path):
    async with shared(scripted_team(a=["answer: 4"]), tmp_path, teams=["test", "other"]) as house:
        call = house.server.call
        first = await call("ask_team", token=house.anna, question="q")
        assert first["structuredContent"]["team"]["name"] == "test"
        assert "your token is for test, other" in said(
            await call("ask_team", token=house.anna, question="q", team="deep")
        )
        assert "`agents` is not open to you" in said(
            await call("ask_team", token=house.anna, question="q", agents=["a"])
        )
        listed = await call("list_backends", token=house.anna)
        checked = await call("validate_config", token=house.anna, config="agents: []")
        assert not checked.get("isError")
    assert [row["name"] for row in listed["structuredContent"]["teams"]] == ["test"]


async def test_what_a_user_may_not_ask_they_are_not_shown(tmp_path: Path):
    async with (
        shared(scripted_team(a=["answer: 4"]), tmp_path, teams=["other"]) as house,
        house.server.client(house.anna) as anna,
        house.server.client(house.ben) as ben,
    ):
        with pytest.raises(Exception, match="not open to you"):
            await anna.read_resource("massgen://teams/test")
        assert (await ben.read_resource("massgen://teams/test")).contents
        ref = {"type": "ref/resource", "uri": "massgen://teams/{name}"}
        assert (await anna.complete(ref, {"name": "name", "value": ""})).completion.values == []  # type: ignore[arg-type]
        assert structured(await anna.call_tool("list_backends", {}))["teams"] == []
        for uri in ("massgen://backends", "massgen://schema/config"):
            assert (await anna.read_resource(uri)).contents


async def test_a_user_has_only_so_many_runs_at_once(tmp_path: Path):
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4")])
    async with shared(team, tmp_path, runs=1) as house:
        call = house.server.call
        first = await call("ask_team", token=house.anna, question="one", wait_seconds=0)
        refused = said(await call("ask_team", token=house.anna, question="two"))
        await call("ask_team", token=house.ben, question="three", wait_seconds=0)
        gate.set()
        await call("get_run", token=house.anna, run_id=first["structuredContent"]["run_id"], wait_seconds=10)
        again = await call("ask_team", token=house.anna, question="two")
    assert "You have 1 runs in motion" in refused
    assert "Nothing was spent." in refused
    assert again["structuredContent"]["answer"] == "4"


async def test_a_users_day_is_over_when_its_money_is_spent_or_set_aside(tmp_path: Path):
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4")])
    team.allowance = Allowance(usd=5.0)
    async with shared(team, tmp_path, usd_per_day=0.05) as house:
        call = house.server.call
        first = await call("ask_team", token=house.anna, question="one", wait_seconds=0)
        run_id = first["structuredContent"]["run_id"]
        refused = said(await call("ask_team", token=house.anna, question="two"))
        gate.set()
        await call("get_run", token=house.anna, run_id=run_id, wait_seconds=10)
        second = await call("ask_team", token=house.anna, question="two")
        third = await call("ask_team", token=house.anna, question="three")
        other = await call("ask_team", token=house.ben, question="four")
    assert "$0.05 are set aside" in refused
    assert second["structuredContent"]["answer"] == "4"
    assert "budget of $0.0300" in str(third)
    assert other["structuredContent"]["answer"] == "4"


async def test_two_questions_at_once_do_not_spend_the_same_money(tmp_path: Path):
    gate = anyio.Event()
    team = scripted_team(a=[After(gate, "answer: 4")])
    found: list[dict[str, Any]] = []
    async with shared(team, tmp_path, usd_per_day=1.0) as house:

        async def ask(question: str) -> None:
            found.append(
                await house.server.call("ask_team", token=house.anna, question=question, wait_seconds=0)
            )

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(ask, str(number))
        gate.set()
    assert sorted(result.get("isError", False) for result in found) == [False, True, True, True, True]


async def test_a_revoked_token_opens_nothing_and_a_new_one_at_once(tmp_path: Path):
    async with shared(scripted_team(a=["answer: 4"]), tmp_path) as house:
        session = await house.server.session(house.anna)
        revoke_token(house.tokens, "anna")
        assert (await house.server.post(token=house.anna))[0] == 401
        assert (await house.server.post(token=house.anna, mcp_session_id=session))[0] == 401
        again = add_token(house.tokens, "anna")
        ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'
        assert (await house.server.post(ping, token=again, mcp_session_id=session))[0] == 404
        assert (await house.server.call("get_run", token=again))["structuredContent"]["runs"] == []
        assert (await house.server.call("get_run", token=house.ben))["structuredContent"]["runs"] == []


async def test_limits_that_change_hold_from_the_next_question(tmp_path: Path):
    async with shared(scripted_team(a=["answer: 4"]), tmp_path) as house:
        first = await house.server.call("ask_team", token=house.anna, question="q")
        text = house.tokens.read_text("utf-8").replace('"name": "anna",', '"name": "anna", "teams": ["x"],')
        house.tokens.write_text(text, "utf-8")
        refused = said(await house.server.call("ask_team", token=house.anna, question="q", team="test"))
        rows = (await house.server.call("get_run", token=house.anna))["structuredContent"]["runs"]
    assert "your token is for x" in refused
    assert [row["run_id"] for row in rows] == [first["structuredContent"]["run_id"]]


async def test_while_the_file_is_unusable_no_named_token_is_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with shared(scripted_team(a=["answer: 4"]), tmp_path) as house:
        text = house.tokens.read_text("utf-8")
        house.tokens.write_text("{", "utf-8")
        assert (await house.server.post(token=house.anna))[0] == 401
        await house.server.call("get_run")
        house.tokens.unlink()
        assert (await house.server.post(token=house.anna))[0] == 401
        house.tokens.touch(mode=0o600)
        house.tokens.write_text(text, "utf-8")
        await house.server.call("get_run", token=house.anna)
    assert [record.levelname for record in caplog.records if "tokens.json" in record.message] == ["ERROR"] * 2


async def test_a_users_journal_holds_their_runs_alone():
    everything = MemoryJournal()
    anna, ben = UserJournal(everything, "anna"), UserJournal(everything, "ben")
    log = await anna.begin("r1", question="q", team="t", body={}, user="ben")
    await log.activity("a", "thinking")
    assert (await anna.row("r1")).user == "anna"
    assert await anna.activities("r1") == {"a": "thinking"}
    assert len(await anna.read("r1")) == 1
    assert await ben.rows(user="anna") == []
    assert await ben.spent(0, user="anna") == 0
    for look in (ben.row, ben.read, ben.activities):
        with pytest.raises(RunNotFound):
            await look("r1")
    with pytest.raises(RunNotFound):
        await ben.request_cancel("r1", "no reason")
    await anna.request_cancel("r1", "enough")
    assert await log.cancel_requested() == "enough"
    with pytest.raises(RequestRefused, match="Only the operator"):
        await anna.prune()
    await anna.aclose()
    assert len(await everything.rows()) == 1


class Named(ScriptedTeam):
    async def validate(self, config: str) -> dict[str, Any]:
        return {"ok": True, "name": config, "source": f"/etc/massgen-mcp/{config}.yaml"}

    async def catalogue(self, backend: str | None = None, task: str | None = None) -> dict[str, Any]:
        more = {"default_team": {"name": "deep"}, "found_not_trusted": {"folder": "/home/x"}}
        return await super().catalogue(backend, task) | more


async def test_a_team_of_others_is_neither_checked_nor_shown():
    teams = UserTeams(Named({"a": []}), User(name="anna", teams=("test",)))
    assert (await teams.validate("test"))["ok"]
    with pytest.raises(RequestRefused, match='"deep" is not open to you'):
        await teams.validate("deep")
    found = await teams.catalogue()
    assert found["default_team"]["name"] == "test"
    assert "found_not_trusted" not in found


def test_a_request_over_http_that_nobody_vouched_for_is_not_the_operators():
    request = SimpleNamespace(scope={})
    with pytest.raises(KeyError):
        caller_of(SimpleNamespace(request=request))  # type: ignore[arg-type]
    assert caller_of(SimpleNamespace(request=None)) == LOCAL  # type: ignore[arg-type]
