"""What the documentation takes from the code is what the code says now."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest
from pydantic import BaseModel

from docs import generate
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.registry import options_class, public_backends
from massgen_mcp.config.agent_tools import AgentTools, ContextPath, CustomTool
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import load_text
from massgen_mcp.config.models import AgentKeys, Budget, Coordination, Orchestrator, TeamKeys, Timeouts
from massgen_mcp.config.servers import McpServer
from massgen_mcp.runs.lines import RULES
from massgen_mcp.runs.result import ResultStatus
from massgen_mcp.server.catalogue import RESOURCES, TEMPLATES
from tests.docs.pages import DOCS, tables

CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
TOOLS = (DOCS / "tools.md").read_text(encoding="utf-8")


def _written(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose first column has that heading."""
    return next(table[1:] for table in tables(text) if table[0][0] == head)


def test_every_generated_part_is_current_and_no_key_lacks_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, f"{capsys.readouterr().err}Run make snapshots."


@pytest.mark.parametrize(
    "model",
    [
        TeamKeys,
        AgentKeys,
        AgentTools,
        McpServer,
        CustomTool,
        ContextPath,
        Orchestrator,
        Coordination,
        Timeouts,
        Budget,
    ],
)
def test_every_key_of_a_team_file_is_told(model: type[BaseModel]) -> None:
    told = [{row[0].strip("`") for row in table[1:]} for table in tables(CONFIGURATION)]
    assert set(model.model_fields) in told


@pytest.mark.parametrize("info", public_backends(), ids=lambda info: info.type)
def test_every_key_of_a_backend_is_told(info: BackendInfo) -> None:
    assert re.search(rf"^### .*`{info.type}`", CONFIGURATION, re.MULTILINE)
    keys = options_class(info).model_fields
    assert [key for key in keys if f"| `{key}` |" not in CONFIGURATION] == []


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("mcp_servers", "agent: {id: a, backend: {type: groq, mcp_servers: [{name: s, command: x}]}}"),
        ("cwd", "agent: {id: a, backend: {type: groq, cwd: w}}"),
        ("enable_mcp_command_line", "agent: {id: a, backend: {type: groq, enable_mcp_command_line: true}}"),
        (
            "auto_discover_custom_tools",
            "agent: {id: a, backend: {type: groq, auto_discover_custom_tools: true}}",
        ),
        ("fallbacks", "agent: {id: a, fallbacks: [m], backend: {type: groq}}"),
        ("weight", "agent: {id: a, weight: 2, backend: {type: groq}}"),
        ("max_rounds", "agent: {id: a, backend: {type: groq}}\norchestrator: {max_rounds: 2}"),
        (
            "broadcast",
            "agent: {id: a, backend: {type: groq}}\norchestrator: {coordination: {broadcast: agents}}",
        ),
    ],
)
def test_what_a_run_does_about_a_key_is_told_as_it_is(key: str, line: str) -> None:
    environment = Environment.of({"GROQ_API_KEY": "a-key"})
    loaded = load_text(line, environment=environment, origin="file", name="shown")
    without = [problem for problem in loaded.problems if "goes without" in problem.message]
    wanted = "refused" if loaded.unavailable else "goes without" if without else ""
    rows = [row for table in tables(CONFIGURATION) for row in table if row[0] == f"`{key}`"]
    assert rows
    # A table in which every key does what it says has no column for it.
    assert [row[2] for row in rows if len(row) == 4] in ([[wanted]] if wanted else [[], [""]])


def test_only_what_stands_between_markers_is_renewed() -> None:
    page = "# A\n\n<!-- generated: legend -->\nold\n<!-- end -->\n\nAfter.\n"
    new = generate.renewed(page)
    assert "old" not in new
    assert new.startswith("# A\n\n<!-- generated: legend -->\n")
    assert new.endswith("<!-- end -->\n\nAfter.\n")
    assert generate.renewed(new) == new


def test_words_of_a_person_stay_when_a_table_is_renewed() -> None:
    page = (
        "<!-- generated: keys Budget -->\n\n| key | value | meaning |\n| --- | --- | --- |\n"
        "| `usd` | old | Mine. |\n| `gone` | old | Gone. |\n\n<!-- end -->\n"
    )
    new = generate.renewed(page)
    assert "| `usd` | number above 0 | Mine. |" in new
    assert "gone" not in new
    assert "| `tokens` | whole number above 0 |  |" in new


def test_the_variables_in_server_json_keep_the_operators_settings_and_drop_what_no_backend_reads() -> None:
    entries = [
        {"name": "GONE_API_KEY", "description": "x"},
        {"name": "MASSGEN_MCP_TEAM", "description": "mine"},
    ]
    old = {"version": "0", "packages": [{"version": "0", "environmentVariables": entries}]}
    new = json.loads(generate.server_json(json.dumps(old)))
    names = [entry["name"] for entry in new["packages"][0]["environmentVariables"]]
    assert "GONE_API_KEY" not in names
    assert "GROQ_API_KEY" in names
    assert new["packages"][0]["environmentVariables"][-1]["description"] == "mine"


# Tables that people write, of things that the code has a list of.


def test_every_status_and_rule_is_told() -> None:
    statuses = {row[0].strip("`") for row in _written(TOOLS, "`status`")}
    assert statuses == set(get_args(ResultStatus))
    rules = {row[0].strip("`") for row in _written(TOOLS, "`agreement.rule`")}
    assert rules == set(RULES)


def test_every_resource_is_told() -> None:
    told = {row[0].strip("`") for row in _written(TOOLS, "address")}
    assert told == {str(found.uri) for found in RESOURCES} | {found.uri_template for found in TEMPLATES}
