"""The real world, put together: files, keys, local servers, the default team, what is listed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.info import BackendInfo, ModelInfo
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.errors import ConfigError, RequestRefused
from massgen_mcp.runs import Allowance, Ask, ResolvedTeam, RunResult, Runs
from massgen_mcp.runs.default_team import Candidate, candidates, choose, loaded_models
from massgen_mcp.runs.open import open_runs
from massgen_mcp.runs.settings import read_settings
from massgen_mcp.runs.teams import OperatorTeams, Place
from massgen_mcp.workspace.sandbox import SandboxUnavailable
from tests.backends.chats import USAGE, chunk, finish
from tests.backends.wire import Until, closed_port, http, http_json, sse, wire

pytestmark = pytest.mark.anyio

TODAY = date(2026, 11, 22)


def answer_call(content: str, conclusion: str) -> bytes:
    """A reply that hands in an answer."""
    arguments = json.dumps({"content": content, "conclusion": conclusion})
    function = {"name": "new_answer", "arguments": arguments}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return sse(chunk(role="assistant", tool_calls=[call]), finish("tool_calls"), USAGE)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    for name in ("home", "here", "config", "teams"):
        (tmp_path / name).mkdir()
    return tmp_path


@asynccontextmanager
async def opened(world: Path, *, place: Place = "server", **environ: str) -> AsyncGenerator[Runs]:
    variables = {"MASSGEN_MCP_STATE_DIR": str(world / "state"), **environ}
    async with anyio.create_task_group() as tasks:
        async with open_runs(
            tasks,
            place=place,
            config_dirs=[world / "teams"],
            environ=variables,
            home=world / "home",
            here=world / "here",
            config_folder=world / "config",
        ) as runs:
            yield runs
        tasks.cancel_scope.cancel()


def write_team(world: Path, text: str, name: str = "mine") -> None:
    (world / "teams" / f"{name}.yaml").write_text(text, encoding="utf-8")


async def ask(runs: Runs, **given: Any) -> RunResult:
    handle = await runs.start(Ask(question="2 + 2?", **given))
    with anyio.fail_after(20):
        return await handle.wait()


def one(url: str, **more: str) -> str:
    keys = "".join(f", {key}: '{value}'" for key, value in more.items())
    return f"{{type: chatcompletion, model: m, base_url: '{url}'{keys}}}"


async def test_a_team_file_asks_its_models_and_the_answer_is_in_the_journal(world: Path):
    reply = answer_call("It is 4.", "4")
    async with wire([reply], [reply]) as server:
        agents = (
            f"agents:\n- {{id: a, backend: {one(server.url)}}}\n- {{id: b, backend: {one(server.url)}}}\n"
        )
        write_team(world, agents)
        async with opened(world) as runs:
            result = await ask(runs, team="mine")
            assert (result.answer, result.status) == ("It is 4.", "completed")
            assert (await runs.rows())[0].run_id == result.run_id
        async with opened(world) as later:
            assert (await later.result(result.run_id)).answer == "It is 4."


async def test_a_key_of_the_file_reaches_the_server_and_nothing_else(world: Path):
    key = "sk-test-0123456789abcdef"
    async with wire([answer_call("4", "4")]) as server:
        write_team(world, f"agent: {{id: a, backend: {one(server.url, api_key='${MY_KEY}')}}}\n")
        async with opened(world, MY_KEY=key) as runs:
            result = await ask(runs, team="mine")
            journal = await runs.journal_of(result.run_id)
            kept = str([dict(record.body) for record in await journal.read(result.run_id)])
        sent = server.requests[0]
    assert sent.headers["authorization"] == f"Bearer {key}"
    assert key not in kept
    assert key not in result.model_dump_json()
    assert key.encode() not in b"".join(path.read_bytes() for path in (world / "state").iterdir())


async def test_with_nothing_configured_a_host_gets_three_remedies_and_the_demo(world: Path):
    async with opened(world, OPENROUTER_KEY="x") as runs:
        with pytest.raises(RequestRefused) as caught:
            await runs.start(Ask(question="q"))
    text = str(caught.value)
    assert "Nothing was spent." in text
    assert all(f"{number}. " in text for number in (1, 2, 3))
    assert 'team="demo"' in text
    assert "OPENROUTER_KEY" in text


async def test_with_nothing_configured_the_terminal_asks_the_demo_team(world: Path):
    async with opened(world, place="terminal") as runs:
        team = await runs.teams.resolve(Ask(question="q"))
    assert (team.name, team.strategy) == ("demo", "vote")
    assert [agent.info.type for agent in team.agents] == ["local"] * 3
    assert len({agent.seed for agent in team.agents}) == 3


async def test_the_operators_own_default_team_answers_when_none_is_named(world: Path):
    write_team(world, f"agent: {{id: a, backend: {one('http://127.0.0.1:1/v1')}}}\n")
    async with opened(world, MASSGEN_MCP_TEAM="mine") as runs:
        team = await runs.teams.resolve(Ask(question="q"))
    assert (team.name, team.why) == ("mine", "MASSGEN_MCP_TEAM names it")


async def test_keys_on_this_machine_make_the_default_team(world: Path):
    groq, together = "gsk_0123456789abcdef", "tg-0123456789abcdef"
    async with opened(world, GROQ_API_KEY=groq, TOGETHER_API_KEY=together) as runs:
        team = await runs.teams.resolve(Ask(question="q"))
    assert team.name == "default"
    assert {agent.info.type for agent in team.agents} <= {"groq", "together"}
    assert team.allowance == Allowance(usd=1.0, tokens=200_000, seconds=600.0)
    assert team.why


async def test_the_operators_limits_hold_where_no_file_says_otherwise(world: Path):
    block = one("http://127.0.0.1:1/v1")
    write_team(world, f"agent: {{id: a, backend: {block}}}\n", "bare")
    write_team(world, f"agent: {{id: a, backend: {block}}}\nbudget: {{usd: 3, seconds: 9}}\n", "own")
    async with opened(
        world, MASSGEN_MCP_MAX_USD="0.25", MASSGEN_MCP_MAX_TOKENS="5000", MASSGEN_MCP_MAX_SECONDS="30"
    ) as runs:
        bare = await runs.teams.resolve(Ask(question="q", team="bare"))
        own = await runs.teams.resolve(Ask(question="q", team="own"))
    assert bare.allowance == Allowance(usd=0.25, tokens=5_000, seconds=30.0)
    assert own.allowance == Allowance(usd=3.0, tokens=None, seconds=9.0)


@pytest.mark.parametrize(("until", "asked"), [(4e12, True), (1.0, False)])
async def test_a_logged_in_claude_code_is_in_the_default_team(world: Path, until: float, *, asked: bool):
    folder = world / "home" / ".claude"
    folder.mkdir()
    login = {"claudeAiOauth": {"accessToken": "sk-ant-oat01-x", "expiresAt": until}}
    (folder / ".credentials.json").write_text(json.dumps(login))
    async with opened(world, HOME=str(world / "home"), OPENAI_API_KEY="k", MASSGEN_MCP_TEAM="") as runs:
        team = await runs.teams.resolve(Ask(question="q"))
    assert ("claude_code" in [agent.info.type for agent in team.agents]) is asked


def test_a_limit_that_is_no_number_is_told_and_the_default_holds():
    settings = read_settings({"MASSGEN_MCP_MAX_USD": "lots", "MASSGEN_MCP_MAX_SECONDS": "-3"})
    assert settings.allowance == Allowance(usd=1.0, tokens=200_000, seconds=600.0)
    assert [problem.split()[0] for problem in settings.problems] == [
        "MASSGEN_MCP_MAX_USD",
        "MASSGEN_MCP_MAX_SECONDS",
    ]


async def test_agents_can_be_named_by_a_caller(world: Path):
    async with opened(world, GROQ_API_KEY="gsk_0123456789abcdef") as runs:
        team = await runs.teams.resolve(Ask(question="q", agents=("groq/a", "groq/b")))
        assert [(agent.id, agent.options.model) for agent in team.agents] == [("groq", "a"), ("groq-2", "b")]
        with pytest.raises(RequestRefused, match="Nothing was spent"):
            await runs.start(Ask(question="q", agents=("together/a",)))


async def test_a_strategy_that_cant_run_is_refused_by_name(world: Path):
    write_team(world, f"agent: {{id: a, backend: {one('http://127.0.0.1:1/v1')}}}\n")
    async with opened(world) as runs:
        assert (await runs.teams.resolve(Ask(question="q", team="mine", strategy="vote"))).strategy == "vote"
        with pytest.raises(RequestRefused, match=r'"refine" is not available\. Use one of: auto, vote'):
            await runs.start(Ask(question="q", team="mine", strategy="refine"))


async def test_what_this_version_cant_run_stops_a_run_before_anything_is_spent(world: Path):
    block = one("http://127.0.0.1:1/v1").rstrip("}") + ", permissions: {a: 1}}"
    write_team(world, f"agents:\n- {{id: a, backend: {block}}}\n")
    async with opened(world) as runs:
        with pytest.raises(ConfigError, match="not available yet"):
            await runs.start(Ask(question="q", team="mine"))
        checked = await runs.teams.validate("mine")
    assert (checked["ok"], checked["runs"]) == (True, False)


async def test_an_agent_without_its_key_stops_a_run_unless_it_is_optional(world: Path):
    groq = "{type: groq, model: m}"
    block = one("http://127.0.0.1:1/v1")
    write_team(world, f"agents:\n- {{id: a, backend: {groq}}}\n- {{id: b, backend: {block}}}\n", "needs")
    text = f"agents:\n- {{id: a, optional: true, backend: {groq}}}\n- {{id: b, backend: {block}}}\n"
    write_team(world, text, "wants")
    write_team(world, f"agents:\n- {{id: a, optional: true, backend: {groq}}}\n", "nobody")
    async with opened(world) as runs:
        with pytest.raises(RequestRefused, match=r"a: GROQ_API_KEY is not set\. Set GROQ_API_KEY"):
            await runs.start(Ask(question="q", team="needs"))
        with pytest.raises(RequestRefused, match="Set one of GROQ_API_KEY"):
            await runs.start(Ask(question="q", team="nobody"))
        team = await runs.teams.resolve(Ask(question="q", team="wants"))
    assert [agent.id for agent in team.agents] == ["b"]
    assert "Sat out for want of a key: a." in team.warnings


async def test_at_most_so_many_agents_take_part_as_the_file_says(world: Path):
    block = one("http://127.0.0.1:1/v1")
    agents = "".join(f"- {{id: a{number}, backend: {block}}}\n" for number in range(4))
    write_team(world, f"agents:\n{agents}orchestrator: {{max_agents: 2}}\n")
    async with opened(world) as runs:
        team = await runs.teams.resolve(Ask(question="q", team="mine"))
    assert [agent.id for agent in team.agents] == ["a0", "a1"]


async def test_an_unknown_team_is_answered_with_the_known_ones(world: Path):
    write_team(world, f"agent: {{id: a, backend: {one('http://127.0.0.1:1/v1')}}}\n")
    async with opened(world) as runs:
        with pytest.raises(RequestRefused, match='Unknown team "mina"') as caught:
            await runs.start(Ask(question="q", team="mina"))
        assert "mine" in runs.teams.names()
    assert "Nothing was spent." in str(caught.value)


async def test_the_list_says_what_is_ready_why_not_and_what_was_spent_and_is_small(world: Path):
    async with opened(world, GROQ_API_KEY="gsk_0123456789abcdef") as runs:
        found = await runs.catalogue()
    rows = {row["backend"]: row for row in found["backends"]}
    assert rows["groq"]["ready"]
    assert rows["groq"]["key"] == "set (GROQ_API_KEY)"
    assert rows["groq"]["can"]["mcp"] == "via_mcp"
    assert rows["together"]["why"] == "TOGETHER_API_KEY is not set"
    assert "scripted" not in rows
    assert found["spent_today_usd"] == 0
    teams = {row["name"]: row for row in found["teams"]}
    assert teams["fast"]["ready"]
    assert not teams["private"]["ready"] or teams["private"]["members"]
    assert "gsk_" not in json.dumps(found)
    assert len(json.dumps(found, separators=(",", ":"))) <= 4_096


async def test_one_backend_is_shown_whole(world: Path):
    async with opened(world) as runs:
        row = (await runs.catalogue("groq"))["backends"][0]
        with pytest.raises(RequestRefused, match=r'Unknown backend "google"\. Did you mean "gemini"'):
            await runs.catalogue("google")
    assert row["ready"] is False
    assert row["remedy"]
    assert {model["name"] for model in row["models"]}
    assert any("usd_per_million" in model for model in row["models"])


async def test_a_task_orders_backends_by_the_selection_guide(world: Path):
    async with opened(world) as runs:
        private = [row["backend"] for row in (await runs.catalogue(task="private"))["backends"]]
        with pytest.raises(RequestRefused, match='Unknown task "cooking"'):
            await runs.catalogue(task="cooking")
    assert private[0] == "lmstudio"


async def test_the_matrix_has_every_cell_of_every_backend(world: Path):
    async with opened(world) as runs:
        matrix = await runs.teams.matrix()
        schema = runs.teams.schema()
    assert all(len(row["can"]) == 9 for row in matrix["backends"])
    assert "built_in" in matrix["legend"]
    assert schema["type"] == "object"


async def test_a_config_can_be_checked_by_name_by_path_and_as_text(world: Path):
    write_team(world, "agents:\n- {id: a, backend: {type: google, model: m}}\n", "bad")
    async with opened(world) as runs:
        by_name = await runs.teams.validate("bad")
        by_path = await runs.teams.validate(str(world / "teams" / "bad.yaml"))
        inline = await runs.teams.validate("agents:\n- {id: a, backend: {type: groq, model: m}}\n")
    assert by_name == by_path
    assert not by_name["ok"]
    assert by_name["problems"][0]["path"] == "agents[0].backend.type"
    assert "Did you mean 'gemini'?" in by_name["problems"][0]["hint"]
    assert inline["ok"]
    assert inline["costs_at_most"]["usd"] == 1.0


async def test_a_team_is_shown_without_its_literal_keys(world: Path):
    key = "sk-live-0123456789abcdef"
    block = (
        one("http://127.0.0.1:1/v1", api_key=key).rstrip("}") + ", extra_headers: {X-Extra: hunter2-hunter2}}"
    )
    write_team(world, f"agent: {{id: a, backend: {block}}}\n")
    async with opened(world) as runs:
        text = await runs.teams.show("mine")
    assert "model: m" in text
    assert key not in text
    assert "hunter2" not in text


async def test_a_key_that_stands_in_the_question_is_not_written_down(world: Path):
    key, other = "plain-key-0123456789", "sk-other-0123456789abcdef"
    async with wire([answer_call("4", "4")]) as server:
        write_team(world, f"agent: {{id: a, backend: {one(server.url, api_key='${MY_KEY}')}}}\n")
        async with opened(world, MY_KEY=key, OPENAI_API_KEY=other) as runs:
            handle = await runs.start(Ask(question=f"Is {key} or {other} a good key?", team="mine"))
            with anyio.fail_after(10):
                await handle.wait()
        kept = b"".join(path.read_bytes() for path in (world / "state").iterdir())
    assert key.encode() not in kept
    assert other.encode() not in kept


async def test_the_list_fits_four_kilobytes_whatever_is_configured(world: Path):
    keys = (
        "OPENAI",
        "ANTHROPIC",
        "GOOGLE",
        "XAI",
        "GROQ",
        "OPENROUTER",
        "TOGETHER",
        "ZAI",
        "CEREBRAS",
        "POE",
    )
    for number in range(40):
        write_team(world, f"agent: {{id: a, backend: {one('http://127.0.0.1:1/v1')}}}\n", f"team{number}")
    for some in ((), keys[:3], keys):
        environ = {f"{key}_API_KEY": "key-0123456789abcdef" for key in some}
        async with opened(world, **environ) as runs:  # pyright: ignore[reportArgumentType] - names are not `place`
            found = await runs.catalogue(limit=4_096)
        assert len(json.dumps(found, separators=(",", ":"))) <= 4_096
        assert {row["backend"] for row in found["backends"] if row["ready"]} >= {
            key.lower() for key in some[4:6]
        }


async def test_a_projects_own_folder_counts_only_when_it_is_trusted(world: Path):
    folder = world / "here" / ".massgen"
    folder.mkdir()
    (folder / "evil.yaml").write_text("agents: []\n", encoding="utf-8")
    async with opened(world) as runs:
        found = await runs.catalogue()
        with pytest.raises(RequestRefused, match="Found, not trusted"):
            await runs.start(Ask(question="q", team="evil"))
    assert found["found_not_trusted"]["to_trust"] == f"massgen-mcp trust {world / 'here'}"
    assert all(row["name"] != "evil" for row in found["teams"])


# The default team.

ROW = BackendInfo(
    type="x",
    title="X",
    vendor="x",
    module="chat",
    models=(
        ModelInfo(name="x-1"),
        ModelInfo(name="x-2"),
        ModelInfo(name="x-old", retires=date(2026, 1, 1)),
        ModelInfo(name="x-3"),
    ),
    default_model="x-1",
    free=True,
)


def candidate(vendor: str, price: float | None) -> Candidate:
    row = replace(ROW, type=vendor, title=vendor.upper(), vendor=vendor)
    return Candidate(info=row, model=f"{vendor}-1", price=price)


async def test_the_default_team_is_one_per_vendor_and_none_far_dearer_than_the_cheapest():
    found = [candidate("a", 0.01), candidate("b", 0.2), candidate("c", 0.02), candidate("a", 0.01)]
    choice = await choose(found, prices=Prices(), today=TODAY)
    assert choice is not None
    assert [member.info.type for member in choice.members] == ["a", "c"]
    assert "not asked: B" in choice.why


async def test_a_cheap_vendor_does_not_push_out_the_preferred_ones():
    found = [candidate("a", 0.02), candidate("b", 0.03), candidate("cheap", 0.001)]
    choice = await choose(found, prices=Prices(), today=TODAY)
    assert choice is not None
    assert [member.info.type for member in choice.members] == ["a", "b"]


async def test_of_two_vendors_far_apart_the_preferred_one_is_asked_and_the_reason_is_true():
    found = [candidate("a", 0.02), candidate("cheap", 0.001)]
    choice = await choose(found, prices=Prices(), today=TODAY)
    assert choice is not None
    assert {member.info.type for member in choice.members} == {"a"}
    assert "A is preferred, others cost far more or less" in choice.why


async def test_three_are_enough():
    found = [candidate(name, None) for name in "abcd"]
    choice = await choose(found, prices=Prices(), today=TODAY)
    assert choice is not None
    assert len(choice.members) == 3
    assert "not asked: D (three are enough" in choice.why


async def test_one_vendor_alone_sends_three_of_its_models_but_none_that_is_retired():
    only = Candidate(info=ROW, model="x-1", price=0.0)
    choice = await choose([only], prices=Prices(), today=TODAY)
    assert choice is not None
    assert [member.model for member in choice.members] == ["x-1", "x-2", "x-3"]


async def test_one_model_alone_is_asked_three_times():
    only = Candidate(info=replace(ROW, models=()), model="x-1", price=0.0)
    choice = await choose([only], prices=Prices(), today=TODAY)
    assert choice is not None
    assert [member.model for member in choice.members] == ["x-1"] * 3
    assert "three samples of x-1" in choice.why


async def test_nothing_found_is_no_team():
    assert await choose([], prices=Prices(), today=TODAY) is None


async def test_only_models_that_a_local_server_has_loaded_count():
    listing = {
        "data": [
            {"id": "loaded", "state": "loaded", "type": "llm"},
            {"id": "on-disk", "state": "not-loaded"},
            {"id": "vectors", "state": "loaded", "type": "embeddings"},
        ]
    }
    async with wire(
        [http_json(200, listing)], [http_json(200, listing)], [http(200, b"<html>")], [http(500, b"")]
    ) as server:
        row = replace(ROW, local=True, base_url=server.url, loaded_path="/api/v0/models")
        pool = Pool()
        assert await loaded_models(row, pool) == ["loaded"]
        assert server.requests[0].target == "/api/v0/models"
        assert await loaded_models(replace(row, loaded_path="models"), pool) == ["loaded"]
        assert server.requests[1].target == "/v1/models"
        assert await loaded_models(row, pool) == []
        assert await loaded_models(row, pool) == []
        await pool.aclose()


async def test_a_local_server_that_is_not_there_is_no_candidate():
    rows = [
        replace(ROW, type="gone", local=True, base_url=f"http://127.0.0.1:{closed_port()}/v1"),
        replace(ROW, type="keyless", env=("X_API_KEY",)),
        replace(ROW, type="keyed", env=("Y_API_KEY",)),
    ]
    pool = Pool()
    found = await candidates(lambda name: name == "Y_API_KEY", pool=pool, prices=Prices(), rows=rows)
    await pool.aclose()
    assert [item.info.type for item in found] == ["keyed"]


async def test_a_local_server_is_asked_one_request_at_a_time(world: Path):
    gate = anyio.Event()
    async with wire([Until(gate), answer_call("4", "4")], [answer_call("4", "4")]) as server:
        block = f"{{type: vllm, model: m, base_url: '{server.url}'}}"
        write_team(world, f"agents:\n- {{id: a, backend: {block}}}\n- {{id: b, backend: {block}}}\n")
        async with opened(world) as runs:
            handle = await runs.start(Ask(question="q", team="mine"))
            await server.request(1)
            await anyio.wait_all_tasks_blocked()
            assert len(server.requests) == 1
            gate.set()
            with anyio.fail_after(10):
                assert (await handle.wait()).status == "completed"
    assert len(server.requests) == 2


# Without a sandbox.

PLAIN = "{type: chatcompletion, model: m, base_url: 'http://127.0.0.1:1/v1'}"
SHELL = PLAIN.replace("}", ", cwd: w, enable_mcp_command_line: true}")


async def unconfined(world: Path, team: str) -> ResolvedTeam:
    """That team, on a machine where nothing can be confined."""

    async def none(environ: Mapping[str, str]) -> object:
        del environ
        raise SandboxUnavailable("no sandbox works here. Install bubblewrap.")

    write_team(world, team)
    async with opened(world) as runs:
        teams = runs.teams
    assert isinstance(teams, OperatorTeams)
    return await replace(teams, find_sandbox=none).resolve(Ask(question="q", team="mine"))


async def test_an_optional_agent_whose_tools_need_a_sandbox_sits_out_where_there_is_none(world: Path):
    agents = f"agents:\n- {{id: a, backend: {PLAIN}}}\n- {{id: b, optional: true, backend: {SHELL}}}\n"
    team = await unconfined(world, f"{agents}orchestrator: {{presenter_agent: b}}\n")
    assert [agent.id for agent in team.agents] == ["a"]
    assert (set(team.equipment.tools), team.settings.presenter) == (set(), None)
    assert "b sat out: no sandbox works here. Install bubblewrap." in team.warnings


async def test_another_agent_takes_the_seat_of_one_that_needs_a_sandbox(world: Path):
    blocks = {"a": SHELL, "b": PLAIN, "c": SHELL, "d": PLAIN, "e": PLAIN}
    rows = "".join(f"- {{id: {name}, optional: true, backend: {block}}}\n" for name, block in blocks.items())
    team = await unconfined(world, f"agents:\n{rows}orchestrator: {{max_agents: 2}}\n")
    assert [agent.id for agent in team.agents] == ["b", "d"]
    why = "sat out: no sandbox works here. Install bubblewrap."
    assert [line for line in team.warnings if "sat out" in line] == [f"a {why}", f"c {why}"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (f"id: a, backend: {SHELL}", r"^a: no sandbox works here\. Install bubblewrap\. Nothing was spent\."),
        (f"id: a, optional: true, backend: {SHELL}", r"has 0 agents that can work and needs 1\. Nothing was"),
    ],
)
async def test_a_team_that_can_not_do_without_such_an_agent_is_refused_before_anything_is_spent(
    world: Path, other: str, words: str
):
    with pytest.raises(RequestRefused, match=words):
        await unconfined(world, f"agents:\n- {{{other}}}\n- {{id: b, optional: true, backend: {SHELL}}}\n")
