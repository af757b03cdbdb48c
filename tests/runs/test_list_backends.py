"""What `list_backends` promises: ready or why not, what each backend can do, prices, teams, spending."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.info import Capability, Support
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.registry import BACKENDS, public_backends
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import load_text
from massgen_mcp.config.search import TeamFile
from massgen_mcp.journal import open_journal
from massgen_mcp.runs import Runs
from massgen_mcp.runs.catalogue import agent_states, backend_row, backend_rows, fitting, team_row
from massgen_mcp.runs.local_servers import Here, LocalServer, local_servers
from massgen_mcp.runs.open import open_runs
from tests.backends.wire import closed_port, http_json, wire

pytestmark = pytest.mark.anyio

NOTHING = Environment.of({})
KEY = "gsk_0123456789abcdefghij"
DOWN = {info.type: LocalServer() for info in public_backends() if info.local and info.base_url}


def rows_of(environment: Environment = NOTHING, **local: LocalServer) -> dict[str, dict[str, Any]]:
    return {row["backend"]: row for row in backend_rows(environment, Here(servers={**DOWN, **local}), None)}


@asynccontextmanager
async def opened(folder: Path, **environ: str) -> AsyncGenerator[Runs]:
    variables = {"MASSGEN_MCP_STATE_DIR": str(folder / "state"), **environ}
    async with anyio.create_task_group() as tasks:
        async with open_runs(
            tasks, place="server", environ=variables, home=folder, here=folder, config_folder=folder
        ) as runs:
            yield runs
        tasks.cancel_scope.cancel()


# A row each.


def test_every_public_backend_has_a_row_that_says_whether_it_is_ready() -> None:
    rows = rows_of()
    assert list(rows) == [info.type for info in public_backends()]
    for name, row in rows.items():
        assert row["ready"] or row["why"], name


def test_what_is_not_ready_says_what_to_do() -> None:
    rows = rows_of()
    assert rows["openai"] == {"backend": "openai", "ready": False, "why": "OPENAI_API_KEY is not set"}
    assert rows["vllm"]["why"] == "no server with a model answers"
    assert rows["vllm"]["remedy"] == "Start it: vllm serve MODEL --port 8000."
    assert rows["chatcompletion"]["remedy"]


def test_what_is_ready_says_which_model_which_key_and_what_it_can_do_by_the_legend_s_words() -> None:
    row = rows_of(Environment.of({"GROQ_API_KEY": KEY}))["groq"]
    assert (row["ready"], row["model"], row["key"]) == (True, "openai/gpt-oss-120b", "set (GROQ_API_KEY)")
    words = {support.value for support in Support}
    assert {value.partition(" ")[0] for value in row["can"].values()} <= words
    assert row["can"]["image"] == "via_custom_tool (both, needs OPENAI_API_KEY)"
    assert KEY not in json.dumps(row)


async def test_a_backend_whose_extra_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Python's own way to say that a module can't be had.
    monkeypatch.setitem(sys.modules, "ag2", None)
    assert rows_of(Environment.of({"OPENAI_API_KEY": KEY}))["ag2"] == {
        "backend": "ag2",
        "ready": False,
        "why": "the package ag2 is not installed",
        "remedy": "Install it: pip install 'massgen-mcp[ag2]'.",
    }


def test_claude_code_is_ready_where_a_key_or_a_login_pays_for_it() -> None:
    pytest.importorskip("claude_agent_sdk")
    path = {"PATH": os.environ["PATH"]}
    row = rows_of(Environment.of(path))["claude_code"]
    assert (row["ready"], row["why"]) == (False, "neither a key nor a good login is there")
    assert row["remedy"].startswith("Log in with `claude`")
    keyed = Environment.of({**path, "ANTHROPIC_API_KEY": KEY})
    assert rows_of(keyed)["claude_code"]["ready"]
    there = Here(servers=DOWN, logged_in=True)
    assert next(row for row in backend_rows(NOTHING, there, None) if row["backend"] == "claude_code")["ready"]


@pytest.mark.parametrize("logged_in", [True, False])
async def test_a_team_counts_on_claude_code_only_where_somebody_pays(*, logged_in: bool) -> None:
    pytest.importorskip("claude_agent_sdk")
    text = "agent: {id: a, backend: {type: claude_code}}"
    loaded = load_text(text, environment=NOTHING, origin="file", name="mine")
    file = TeamFile(name="mine", path=Path("mine.yaml"), folder=Path(), place="operator")
    row = await team_row(file, loaded, Here(servers=DOWN, logged_in=logged_in), Prices())
    assert row["ready"] is logged_in


async def test_one_backend_has_every_column_the_legend_its_switches_its_setup_and_its_models() -> None:
    row = await backend_row("gemini", NOTHING, Here(servers=DOWN), Prices())
    assert set(row["can"]) == {capability.value for capability in Capability}
    assert set(row["legend"]) == {support.value for support in Support}
    assert set(row["flags"]) == {"enable_web_search", "enable_code_execution", "enable_code_interpreter"}
    assert row["setup"] == "Set GOOGLE_API_KEY (or GEMINI_API_KEY)."
    assert row["key"] == "missing (GOOGLE_API_KEY or GEMINI_API_KEY)"
    assert row["why"].startswith("GOOGLE_API_KEY or GEMINI_API_KEY is not set")
    assert row["remedy"]
    models = {model["name"]: model for model in row["models"]}
    old = models["gemini-2.5-flash"]
    assert (old["retires"], old["successor"]) == ("2026-12-01", "gemini-3.8-flash")
    assert old["usd_per_million"]["input"] > 0
    assert old["context"] >= 1_000_000


# Servers on this machine.


def test_a_server_whose_models_are_on_disk_is_ready_and_says_that_it_loads_on_demand() -> None:
    row = rows_of(lmstudio=LocalServer(on_demand=("qwen3:8b", "gemma3:1b")))["lmstudio"]
    assert (row["ready"], row["model"]) == (True, "qwen3:8b")
    assert row["loads"] == "on demand, by the first request"


def test_what_is_in_memory_comes_first() -> None:
    server = LocalServer(loaded=("gemma3:1b",), on_demand=("qwen3:8b",))
    row = rows_of(lmstudio=server)["lmstudio"]
    assert row["model"] == "gemma3:1b"
    assert "loads" not in row


def test_lm_studio_is_ready_where_lms_can_start_it(tmp_path: Path) -> None:
    assert not rows_of()["lmstudio"]["ready"]
    program = tmp_path / ".lmstudio" / "bin" / "lms"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    row = rows_of(Environment.of({"HOME": str(tmp_path)}))["lmstudio"]
    assert (row["ready"], row["loads"]) == (True, "started by `lms` when asked")


async def test_one_local_backend_lists_what_is_loaded_and_what_would_be() -> None:
    local = {**DOWN, "lmstudio": LocalServer(loaded=("a",), on_demand=("b",))}
    row = await backend_row("lmstudio", NOTHING, Here(servers=local), Prices())
    assert (row["loaded"], row["loaded_on_demand"]) == (["a"], ["b"])


async def test_lm_studio_s_own_list_says_both_and_leaves_out_embeddings() -> None:
    listing = {
        "data": [
            {"id": "loaded", "state": "loaded", "type": "llm"},
            {"id": "on-disk", "state": "not-loaded", "type": "vlm"},
            {"id": "vectors", "state": "not-loaded", "type": "embeddings"},
        ]
    }
    async with wire(http_json(200, listing), http_json(200, listing)) as server:
        pool = Pool(proxies={})
        found = await local_servers(pool, [replace(BACKENDS["lmstudio"], base_url=server.url)])
        await pool.aclose()
    assert found["lmstudio"] == LocalServer(loaded=("loaded",), on_demand=("on-disk",))


async def test_a_server_that_is_not_there_has_nothing() -> None:
    pool = Pool(proxies={})
    row = replace(BACKENDS["lmstudio"], base_url=f"http://localhost:{closed_port()}/v1")
    assert await local_servers(pool, [row]) == {"lmstudio": LocalServer()}
    await pool.aclose()


@pytest.mark.parametrize(
    ("server", "ready"), [(LocalServer(), False), (LocalServer(on_demand=("m",)), True)], ids=["down", "up"]
)
async def test_a_team_counts_a_local_agent_as_its_server_is(server: LocalServer, *, ready: bool) -> None:
    text = "agent: {id: a, backend: {type: lmstudio, model: m}}"
    loaded = load_text(text, environment=NOTHING, origin="file", name="mine")
    file = TeamFile(name="mine", path=Path("mine.yaml"), folder=Path(), place="operator")
    row = await team_row(file, loaded, Here(servers={**DOWN, "lmstudio": server}), Prices())
    assert (row["name"], row["ready"], row["members"]) == ("mine", ready, ["lmstudio/m"])
    assert ready or "why" in row


# All of it.


async def test_the_whole_list_has_the_teams_the_default_team_and_the_spending(tmp_path: Path) -> None:
    async with opened(tmp_path, GROQ_API_KEY=KEY) as runs:
        found = await runs.catalogue(limit=4_096)
    assert len(json.dumps(found, separators=(",", ":"))) <= 4_096
    default = found["default_team"]
    assert default["members"]
    assert default["expected_usd"] > 0
    assert default["expected_seconds"]
    (fast,) = [team for team in found["teams"] if team["name"] == "fast"]
    assert fast["ready"]
    assert all(member.startswith("groq/") for member in fast["members"])
    assert fast["expected_usd"] > 0
    assert found["spent_today_usd"] == 0
    assert KEY not in json.dumps(found)


async def test_with_nothing_configured_it_says_within_its_room_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ANTROPIC_API_KEY=x\n", encoding="utf-8")
    async with opened(tmp_path, OPENAI_KEY=KEY) as runs:
        found = await runs.catalogue(limit=4_096)
    assert len(json.dumps(found, separators=(",", ":"))) <= 4_096
    words = found["default_team"]["remedy"]
    for part in (
        "1. Set a key, such as OPENAI_API_KEY",
        "desktop apps do not hand over the shell's variables",
        "2. Start a server with a model on this machine: Ollama, LM Studio",
        "3. Log in with Claude Code: run `claude`",
        f"looked in the process's environment, {tmp_path / '.env'}",
        "may be meant as keys: ANTROPIC_API_KEY, OPENAI_KEY.",
        'team="demo"',
    ):
        assert part in words
    assert KEY not in json.dumps(found)
    assert all(row["why"] for row in found["backends"] if not row["ready"])


async def test_a_key_set_or_a_server_started_shows_in_the_next_list(tmp_path: Path) -> None:
    """What is kept from one list to the next is what has not changed."""
    async with opened(tmp_path, GROQ_API_KEY=KEY) as runs:
        before = await runs.catalogue()
        assert await runs.catalogue() == before
        (tmp_path / "mine.yaml").write_text("agent: {id: a, backend: {type: groq}}", encoding="utf-8")
        added = {team["name"]: team for team in (await runs.catalogue())["teams"]}
        assert added["mine"]["ready"]
        (tmp_path / "mine.yaml").write_text("agent: {id: a, backend: {type: grok}}", encoding="utf-8")
        changed = {team["name"]: team for team in (await runs.catalogue())["teams"]}
        assert not changed["mine"]["ready"]


@pytest.mark.parametrize(
    "backend",
    ["{type: codex, api_key: '${MY_KEY}'}", "{type: codex, api_key: '${MY_KEY}', cli_path: PROGRAMS/codex}"],
    ids=["by PATH", "by its own path"],
)
async def test_a_program_that_is_installed_makes_a_team_ready_in_the_next_list(tmp_path: Path, backend: str):
    """The row of codex itself stays as it was, and so does the folder of the team's file."""
    home, programs, state = (tmp_path / name for name in ("home", "bin", "state"))
    for folder in (home, programs):
        folder.mkdir()
    team = f"agent: {{id: a, backend: {backend.replace('PROGRAMS', str(programs))}}}"
    (home / "mine.yaml").write_text(team, encoding="utf-8")
    found: list[dict[str, Any]] = []
    environ = {"MASSGEN_MCP_STATE_DIR": str(state), "MY_KEY": KEY, "PATH": str(programs)}
    async with opened(home, **environ) as runs:
        for _ in range(2):
            teams = (await runs.catalogue())["teams"]
            found.append(next(team for team in teams if team["name"] == "mine"))
            (programs / "codex").write_text("#!/bin/sh\n", encoding="utf-8")
            (programs / "codex").chmod(0o755)
    assert [row["ready"] for row in found] == [False, True]


def test_a_login_is_part_of_an_agents_state_also_beside_a_key_that_it_does_not_use() -> None:
    pytest.importorskip("claude_agent_sdk")
    text = "agent: {id: a, backend: {type: claude_code, use_subscription: true}}"
    environment = Environment.of({"ANTHROPIC_API_KEY": KEY})
    loaded = load_text(text, environment=environment, origin="file", name="mine")
    states = [agent_states(loaded, Here(servers=DOWN, logged_in=known)) for known in (False, True)]
    assert [state.ready for (state,) in states] == [False, True]


def test_remedies_are_the_first_to_go_where_there_is_no_room() -> None:
    found: dict[str, Any] = {"backends": list(rows_of().values()), "teams": [], "default_team": {}}
    small = fitting(found, len(json.dumps(found, separators=(",", ":"))) - 1)
    assert [row["backend"] for row in small["backends"]] == [row["backend"] for row in found["backends"]]
    assert all(row.get("why") for row in small["backends"] if not row["ready"])
    assert not any("remedy" in row for row in small["backends"])
    assert "list_backends(backend=" in small["more"]


async def test_today_s_spending_is_that_of_every_process_however_many_runs_there_were(tmp_path: Path) -> None:
    journal = await open_journal(tmp_path / "state")
    for number in range(250):
        log = await journal.begin(f"run-{number}", question="q", team="t", body={})
        await log.append("CallReplied", {"usage": {"cost_usd": 0.25}})
    async with opened(tmp_path) as runs:
        assert (await runs.catalogue())["spent_today_usd"] == 62.5
        assert (await runs.catalogue("groq"))["spent_today_usd"] == 62.5
    await journal.aclose()
