"""Who pays for Claude Code, and which program is run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from massgen_mcp.backends.claude_code import Options, connect
from massgen_mcp.backends.claude_code_open import open_runtime
from massgen_mcp.backends.claude_code_program import find_program
from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import BackendError
from tests.backends.claude_code_stage import KEY, Stage, refused, reply_of, result, totals
from tests.backends.runtimes import free

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="a script is the program")]


async def test_keys_are_looked_for_in_order(stage: Stage) -> None:
    both = {"CLAUDE_CODE_API_KEY": "sk-ant-the-first-of-two", "ANTHROPIC_API_KEY": KEY}
    async with stage.agent([result("1")], environ=both) as agent:
        await reply_of(agent)
    (environ,) = stage.log("environ")
    assert environ["ANTHROPIC_API_KEY"] == "sk-ant-the-first-of-two"
    assert "CLAUDE_CODE_API_KEY" not in environ


async def test_another_address_gets_the_block_s_own_key_and_no_price_list(stage: Stage) -> None:
    block = {"base_url": "http://127.0.0.1:9", "api_key": "sk-ant-the-block-s-own"}
    turn = [result("x", **totals(0.5, inputTokens=1, outputTokens=1))]
    async with stage.agent(turn, block=block) as agent:
        usage = (await reply_of(agent)).usage
    (environ,) = stage.log("environ")
    assert environ["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"
    assert environ["ANTHROPIC_API_KEY"] == "sk-ant-the-block-s-own"
    assert usage.cost_usd is None


async def test_a_subscription_s_token_pays_and_no_dollars_are_invented(stage: Stage) -> None:
    around = {"ANTHROPIC_API_KEY": KEY, "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-a-token"}
    turn = [result("x", **totals(0.5, inputTokens=1, outputTokens=1))]
    async with stage.agent(turn, environ=around, block={"use_subscription": True}) as agent:
        usage = (await reply_of(agent)).usage
    (environ,) = stage.log("environ")
    assert environ["CLAUDE_CODE_OAUTH_TOKEN"] == "sk-ant-oat01-a-token"
    assert "ANTHROPIC_API_KEY" not in environ
    assert (usage.cost_usd, usage.cost_source) == (0.0, "subscription")
    assert "sk-ant-oat01-a-token" not in stage.secrets.redact("x sk-ant-oat01-a-token")


def log_in(stage: Stage, *, until: float) -> None:
    folder = stage.folder / ".claude"
    folder.mkdir()
    login = {"accessToken": "sk-ant-oat01-stored", "refreshToken": "never", "expiresAt": until * 1000}
    (folder / ".credentials.json").write_text(json.dumps({"claudeAiOauth": login}))


async def test_a_stored_login_lends_its_token_and_nothing_else(stage: Stage) -> None:
    clock = ScriptedClock()
    log_in(stage, until=clock.now() + 3600)
    async with stage.agent([result("x")], environ={}, clock=clock) as agent:
        await reply_of(agent)
    (environ,) = stage.log("environ")
    assert environ["CLAUDE_CODE_OAUTH_TOKEN"] == "sk-ant-oat01-stored"
    assert environ["CLAUDE_CONFIG_DIR"] != str(stage.folder / ".claude")


async def test_a_login_that_has_run_out_says_how_to_renew_it(stage: Stage) -> None:
    log_in(stage, until=1.0)
    failure = await refused(stage, {}, {})
    assert (failure.kind, failure.connected) == ("auth", False)
    assert "Run `claude` once" in failure.remedy


async def test_a_login_that_can_t_be_read_is_no_login(stage: Stage) -> None:
    log_in(stage, until=1.0)
    (stage.folder / ".claude" / ".credentials.json").write_text("{}")
    assert "can't be read" in str(await refused(stage, {}, {}))


async def test_neither_key_nor_login_is_said_before_anything_is_started(stage: Stage) -> None:
    failure = await refused(stage, {}, {})
    assert failure.kind == "auth"
    assert "ANTHROPIC_API_KEY" in failure.remedy


async def test_a_login_goes_to_no_other_address(stage: Stage) -> None:
    block = {"use_subscription": True, "base_url": "http://127.0.0.1:9"}
    failure = await refused(stage, block, {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-a-token"})
    assert "base_url" in failure.remedy


# Which program.


async def test_a_program_that_is_not_there_or_can_t_be_run_is_said_with_its_path(stage: Stage) -> None:
    around = {"ANTHROPIC_API_KEY": KEY}
    absent = await refused(stage, {"cli_path": stage.folder / "absent"}, around)
    assert (absent.kind, absent.connected) == ("unavailable", False)
    assert "absent" in str(absent)
    assert "cli_path" in absent.remedy
    stage.program.chmod(0o600)
    assert "can't be run" in str(await refused(stage, {}, around))


async def test_the_user_s_own_claude_comes_before_the_one_that_the_sdk_brings(stage: Stage) -> None:
    stage.script([result("1")])
    path = os.pathsep.join([str(stage.folder), os.environ["PATH"]])
    options = Options.model_validate({"type": "claude_code"})
    agent = await open_runtime(options, stage.context({"ANTHROPIC_API_KEY": KEY, "PATH": path}), find=free)
    assert (await reply_of(agent)).text == "1"
    await agent.aclose()


async def test_without_one_on_the_path_the_sdk_s_own_is_run(tmp_path: Path) -> None:
    bundled = tmp_path / "_bundled" / "claude"
    with pytest.raises(BackendError, match="no `claude` on PATH") as caught:
        find_program(None, {"PATH": str(tmp_path)}, tmp_path)
    assert caught.value.kind == "unavailable"
    bundled.parent.mkdir()
    bundled.touch()
    assert find_program(None, {"PATH": str(tmp_path)}, tmp_path) == bundled


async def test_options_are_connected_by_the_backend_s_own_door(stage: Stage) -> None:
    with pytest.raises(BackendError, match="neither a key nor a login"):
        await connect(stage.options(), stage.context({}))
