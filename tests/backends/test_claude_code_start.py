"""What Claude Code is started with: the block's options, and nothing of the user's."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from massgen_mcp.backends.claude_code import Options
from massgen_mcp.backends.claude_code_access import Access
from massgen_mcp.backends.claude_code_place import Place
from massgen_mcp.backends.claude_code_settings import settings
from tests.backends.claude_code_stage import (
    KEY,
    SONNET,
    Stage,
    no_sandbox,
    place_of,
    reply_of,
    result,
)

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="a script is the program")]


async def test_it_is_started_with_the_block_s_options_and_nothing_of_the_user_s(stage: Stage) -> None:
    block = {
        "model": "claude-sonnet-4",
        "system_prompt": "You know Python.",
        "max_tokens": 1000,
        "timeout": 90,
        "effort": "minimal",
        "fallback_model": "claude-haiku-4-5",
        "max_turns": 7,
        "max_budget_usd": 1.5,
        "extra_body": {"metadata": {"user_id": "u"}},
        "extra_headers": {"x-team": "blue"},
        "disallowed_tools": ["WebSearch", "Bash(curl*)", "write_file"],
    }
    around = {
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "ANTHROPIC_BASE_URL": "http://elsewhere",
        "HTTPS_PROXY": "http://proxy:1",
    }
    workspace = stage.folder / "workspace"
    workspace.mkdir()
    async with stage.agent([result("1")], environ=around, block=block, workspace=workspace) as agent:
        await reply_of(agent)
        (argv,) = stage.log("argv")
        prompt = stage.text_of(argv[argv.index("--append-system-prompt-file") + 1])

    def value(flag: str) -> str:
        return argv[argv.index(flag) + 1]

    assert prompt.startswith("You know Python.\n\n")
    assert prompt.endswith("\n\nYou are agent one.")
    assert value("--model") == "claude-sonnet-4-20250514"
    assert value("--max-thinking-tokens") == "8000"
    assert value("--effort") == "low"
    assert value("--fallback-model") == "claude-haiku-4-5"
    assert (value("--max-turns"), value("--max-budget-usd")) == ("7", "1.5")
    assert value("--permission-mode") == "bypassPermissions"
    assert "--strict-mcp-config" in argv
    assert "--setting-sources=" in argv
    refused = value("--disallowedTools").split(",")
    assert {"Bash(rm*)", "Bash(sudo*)", "Bash(curl*)", "WebSearch"} <= set(refused)
    assert "write_file" not in refused, "not one of its own"
    assert "WebSearch" not in value("--tools").split(",")
    assert KEY not in " ".join(argv)

    (environ,) = stage.log("environ")
    assert environ["ANTHROPIC_API_KEY"] == KEY
    assert environ["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "1000"
    assert environ["API_TIMEOUT_MS"] == "90000"
    assert json.loads(environ["CLAUDE_CODE_EXTRA_BODY"]) == {"metadata": {"user_id": "u"}}
    assert environ["ANTHROPIC_CUSTOM_HEADERS"] == "x-team: blue"
    assert environ["HTTPS_PROXY"] == "http://proxy:1"
    assert environ["PWD"] == str(workspace)
    assert not {"ANTHROPIC_BASE_URL", "CLAUDE_CODE_USE_BEDROCK", "PYTEST_CURRENT_TEST"} & set(environ)
    assert environ["HOME"] != str(stage.folder)
    assert not stage.has(environ["HOME"]), "its folder is gone with it"


async def test_its_own_instructions_can_be_left_out(stage: Stage) -> None:
    async with stage.agent([result("1")], block={"use_default_prompt": False}) as agent:
        await reply_of(agent)
    (argv,) = stage.log("argv")
    assert "--system-prompt-file" in argv
    assert "--append-system-prompt-file" not in argv


def settings_of(place: Place, **block: Any) -> dict[str, Any]:
    options = Options.model_validate({"type": "claude_code", **block})
    return settings(options, place, Access(name="x"), model=options.model or SONNET)


@pytest.mark.parametrize(
    ("block", "thinking"),
    [
        ({"model": "claude-opus-5-5"}, {"type": "adaptive"}),
        ({"model": "opus"}, {"type": "adaptive"}),
        ({"max_thinking_tokens": 0}, {"type": "disabled"}),
        ({"effort": "none"}, {"type": "disabled"}),
        (
            {"model": "claude-opus-4-1", "max_thinking_tokens": 10000},
            {"type": "enabled", "budget_tokens": 10000},
        ),
    ],
    ids=["new", "alias", "zero", "effort-none", "budget"],
)
async def test_thinking_is_asked_for_as_the_model_takes_it(
    stage: Stage, block: dict[str, Any], thinking: dict[str, Any]
) -> None:
    place = await place_of(stage)
    await place.remove()
    assert settings_of(place, **block)["thinking"] == thinking


@pytest.mark.parametrize(
    ("block", "mode", "tools", "allowed"),
    [
        ({"permission_mode": "dontAsk"}, "dontAsk", {"Bash", "Read"}, []),
        ({"allowed_tools": ["Read", "Task"]}, "bypassPermissions", {"Read", "Task"}, ["Read", "Task"]),
        ({"allowed_tools": ["Bash(git *)"]}, "dontAsk", {"Bash"}, ["Bash(git *)"]),
        ({"enable_web_search": False}, "bypassPermissions", {"Bash", "Read"}, []),
        ({"enable_code_execution": False}, "bypassPermissions", {"Read", "WebSearch"}, []),
    ],
    ids=["mode", "names", "pattern", "no-web", "no-code"],
)
async def test_tools_and_permissions_are_as_the_block_says(
    stage: Stage, block: dict[str, Any], mode: str, tools: set[str], allowed: list[str]
) -> None:
    place = await place_of(stage)
    await place.remove()
    told = settings_of(place, **block)
    had = set(told["tools"])
    assert tools <= had
    assert told["permission_mode"] == mode
    assert told["allowed_tools"] == ["mcp__massgen", *allowed]
    if "allowed_tools" in block:
        assert had == tools
    assert ("WebSearch" in had) == ("enable_web_search" not in block and "allowed_tools" not in block)
    assert ("Bash" in had) == ("Bash" in tools)


async def test_what_an_agent_may_look_at_is_readable_and_no_more(stage: Stage) -> None:
    shown = stage.folder / "shown"
    place = await place_of(stage, readable=(shown,))
    await place.remove()
    assert settings_of(place)["allowed_tools"] == ["mcp__massgen", f"Read(/{shown}/**)"]


async def test_dangerous_patterns_are_lifted_by_the_operator_s_word_alone(stage: Stage) -> None:
    async with stage.agent([result("1")], block={"allow_dangerous_tools": True}) as agent:
        await reply_of(agent)
    (argv,) = stage.log("argv")
    assert "Bash(rm*)" not in argv[argv.index("--disallowedTools") + 1]


async def test_without_a_sandbox_there_is_no_shell_and_the_first_reply_says_so(stage: Stage) -> None:
    async with stage.agent([result("1")], [result("2")], find=no_sandbox) as agent:
        first, second = await reply_of(agent), await reply_of(agent)
    (warning,) = first.warnings
    assert "Bash" in warning
    assert "bwrap: not installed" in warning
    assert second.warnings == ()
    (argv,) = stage.log("argv")
    assert "Bash" not in argv[argv.index("--tools") + 1].split(",")
    assert argv[argv.index("--permission-mode") + 1] == "acceptEdits"
    (environ,) = stage.log("environ")
    assert "IS_SANDBOX" not in environ
