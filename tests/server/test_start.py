"""A start is quick and always works, whatever is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.server.hosts import started

pytestmark = pytest.mark.timeout(60)

HEAVY = ("openai", "anthropic", "google.genai", "xllamacpp", "genai_prices", "rich", "yaml", "sqlite3")
OURS = {
    "massgen_mcp",
    "massgen_mcp.__main__",
    "massgen_mcp.clock",
    "massgen_mcp.errors",
    "massgen_mcp.secrets",
    "massgen_mcp.text",
}
"""Beside the server's own modules."""


def test_until_the_first_call_nothing_heavy_is_loaded(tmp_path: Path):
    unmeasured = {"COVERAGE_PROCESS_CONFIG": ""}
    with started(["-X", "importtime", "-m", "massgen_mcp"], tmp_path, environ=unmeasured, warm=False) as host:
        host.shake_hands()
        host.request(1, "prompts/list")
        host.request(2, "resources/list")
        host.request(3, "resources/templates/list")
        assert len(host.request(4, "tools/list")["result"]["tools"]) == 5
        host.hang_up()
        host.ended(within=5)
    loaded = set(re.findall(r"^import time:.*\|\s+(\S+)$", host.errors, re.MULTILINE))
    assert "mcp.server.lowlevel.server" in loaded
    assert not [name for name in loaded if name.startswith(HEAVY)]
    ours = {name for name in loaded if name.startswith("massgen_mcp")}
    assert {name for name in ours if not name.startswith("massgen_mcp.server")} <= OURS
    heavy = {"arguments", "calls", "definitions", "looks", "progress", "replies", "resources", "transcript"}
    assert not {f"massgen_mcp.server.{name}" for name in heavy} & ours


def test_with_nothing_configured_it_starts_and_says_what_to_do(tmp_path: Path):
    with started(["-m", "massgen_mcp"], tmp_path, warm=False) as host:
        host.shake_hands()
        assert len(host.request(1, "tools/list")["result"]["tools"]) == 5
        host.begin(2, "ask_team", question="?")
        result = host.reply(2)["result"]
    assert result["isError"]
    words = result["content"][0]["text"]
    assert "No backend is ready" in words
    assert "Nothing was spent" in words


def test_with_a_state_folder_that_cannot_be_written_it_starts_and_refuses_before_it_costs(tmp_path: Path):
    (tmp_path / "file").write_text("not a folder")
    environ = {
        "MASSGEN_MCP_STATE_DIR": str(tmp_path / "file" / "state"),
        "GROQ_API_KEY": "gsk_0123456789abcdef",
    }
    with started(["-m", "massgen_mcp"], tmp_path, environ=environ) as host:
        host.shake_hands()
        assert len(host.request(1, "tools/list")["result"]["tools"]) == 5
        host.begin(2, "ask_team", question="?")
        result = host.reply(2)["result"]
    assert result["isError"]
    assert "MASSGEN_MCP_STATE_DIR" in result["content"][0]["text"]


def test_an_unknown_log_level_is_told_and_does_no_harm(tmp_path: Path):
    with started(["-m", "massgen_mcp"], tmp_path, environ={"MASSGEN_MCP_LOG": "loud"}) as host:
        host.shake_hands()
        assert "MASSGEN_MCP_LOG is 'LOUD'; known levels: " in host.errors
        host.hang_up()
        assert host.ended(within=5) == 0


def test_the_log_shows_no_keys(tmp_path: Path):
    key = "sk-proj-0123456789abcdefghij"
    with started(["-m", "massgen_mcp"], tmp_path, environ={"MASSGEN_MCP_LOG": "debug"}) as host:
        host.shake_hands()
        host.begin(1, "ask_team", question=f"What is {key}?", context="x" * 300_000)
        host.reply(1)
        host.write(key.encode() + b"\n")
        host.request(2, "tools/list")
        assert "DEBUG" in host.errors
        assert key not in host.errors
