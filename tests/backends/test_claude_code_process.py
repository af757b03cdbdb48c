"""The process of Claude Code over its turns: it is started, stopped, lost, resumed and gone."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.claude_code_open import open_runtime
from massgen_mcp.messages import (
    Message,
    Request,
)
from tests.backends.claude_code_stage import (
    KEY,
    QUESTION,
    REQUEST,
    WORD,
    Stage,
    Tools,
    deltas_of,
    failure_of,
    gone,
    leave_after_a_word,
    no_sandbox,
    reply_of,
    result,
    text,
    unconfined,
)
from tests.backends.runtimes import free

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="a script is the program")]


async def test_one_that_goes_on_after_its_turn_has_ended_is_interrupted(stage: Stage) -> None:
    tools = Tools()
    async with stage.agent([{"call": ["new_answer", {}]}, {"wait": True}], [result("again")]) as agent:
        reply = await reply_of(agent, tools=tools)
        assert reply.calls == (tools.ended_by,)
        assert (await reply_of(agent)).text == "again", "the session goes on"
    assert len(stage.log("pid")) == 1, "in the same process"


async def test_one_that_hears_nothing_after_its_turn_has_ended_is_ended(stage: Stage) -> None:
    tools = Tools()
    async with stage.agent([{"call": ["new_answer", {}]}, {"hang": True}]) as agent:
        reply = await reply_of(agent, tools=tools)
        assert reply.calls == (tools.ended_by,)
    (pid,) = stage.log("pid")
    assert gone(pid)


async def test_a_lost_process_is_followed_by_one_that_resumes_the_session(stage: Stage) -> None:
    async with stage.agent([{"exit": 3}], [result("again")]) as agent:
        failure = await failure_of(agent)
        reply = await reply_of(agent)
        session = agent.session
    assert (failure.kind, failure.retryable, failure.max_attempts) == ("protocol", True, 2)
    assert "exit code 3" in str(failure)
    assert reply.text == "again"
    first, second = stage.log("argv")
    assert f"--session-id={session}" in first
    assert f"--resume={session}" in second


async def test_what_can_t_be_resumed_begins_anew_and_is_told_everything(stage: Stage) -> None:
    later = Request(messages=(*REQUEST.messages, Message(role="user", text="Now vote.")), tools=REQUEST.tools)
    (stage.folder / "forgetful").touch()
    async with stage.agent([{"exit": 1}], [result("again")]) as agent:
        before = agent.session
        await failure_of(agent)
        reply = await reply_of(agent, later)
        assert agent.session != before
    assert reply.text == "again"
    assert stage.said[1] == [text(QUESTION.text), text("Now vote.")]


async def test_a_new_system_prompt_continues_the_session_in_a_new_process(stage: Stage) -> None:
    other = Request(messages=(Message(role="system", text="You present."), QUESTION))
    async with stage.agent([result("1")], [result("2")]) as agent:
        await reply_of(agent)
        await reply_of(agent, other)
        session = agent.session
    assert f"--resume={session}" in stage.log("argv")[1]


async def test_a_turn_that_is_left_stops_and_the_session_can_go_on(stage: Stage) -> None:
    async with stage.agent([WORD, {"wait": True}], [result("again")]) as agent:
        await leave_after_a_word(agent)
        assert (await reply_of(agent)).text == "again"
    assert len(stage.log("pid")) == 1


async def test_a_turn_that_can_t_be_stopped_is_ended_with_its_process(stage: Stage) -> None:
    async with stage.agent([WORD, {"hang": True}], [result("again")]) as agent:
        await leave_after_a_word(agent)
        (pid,) = stage.log("pid")
        assert gone(pid)
        assert (await reply_of(agent)).text == "again"


async def test_a_process_that_does_not_leave_is_gone_within_a_second(stage: Stage) -> None:
    (stage.folder / "stubborn").touch()
    async with stage.agent([result("1")]) as agent:
        await reply_of(agent)
        (pid,) = stage.log("pid")
        begun = time.monotonic()
        await agent.aclose()
        assert gone(pid)
        assert time.monotonic() - begun < 1


async def test_a_start_that_is_cancelled_leaves_no_process(stage: Stage) -> None:
    async with stage.agent() as agent:
        (stage.folder / "stubborn").touch()
        (stage.folder / "script.json").write_text(json.dumps({"start": [{"hang": True}]}))
        begun = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deltas_of, agent)
            while not stage.log("pid"):  # noqa: ASYNC110 - another process's file
                await anyio.sleep(0.01)
            begun = time.monotonic()
            tasks.cancel_scope.cancel()
        assert time.monotonic() - begun < 1
        (pid,) = stage.log("pid")
        assert gone(pid)


async def test_one_that_does_not_greet_is_ended_and_said(stage: Stage) -> None:
    stage.script([])
    (stage.folder / "script.json").write_text(json.dumps({"start": [{"stderr": "Log in:"}, {"hang": True}]}))
    context = stage.context({"ANTHROPIC_API_KEY": KEY})
    agent = await open_runtime(stage.options(), context, find=free, starts=1.0)
    failure = await failure_of(agent)
    (pid,) = stage.log("pid")
    assert gone(pid)
    await agent.aclose()
    await agent.aclose()
    assert (failure.kind, failure.connected) == ("unavailable", False)
    assert "did not greet in time after its start: Log in:" in str(failure)
    assert "claude update" in failure.remedy


async def test_a_program_that_does_not_start_is_said_with_its_last_words_and_no_key(stage: Stage) -> None:
    async with stage.agent() as agent:
        steps = [{"stderr": f"error: unknown option (key {KEY})"}, {"exit": 1}]
        (stage.folder / "script.json").write_text(json.dumps({"start": steps}))
        stage.secrets.add(KEY, "ANTHROPIC_API_KEY")
        failure = await failure_of(agent)
    assert (failure.kind, failure.retryable, failure.connected) == ("unavailable", False, False)
    assert "unknown option" in str(failure)
    assert KEY not in str(failure)


async def test_one_that_would_expand_what_others_wrote_is_refused_with_the_version_needed(
    stage: Stage,
) -> None:
    old = {"say": {"type": "system", "subtype": "init", "claude_code_version": "2.1.100"}}
    async with stage.agent([old, {"wait": True}]) as agent:
        failure = await failure_of(agent)
    assert (failure.kind, failure.retryable) == ("unavailable", False)
    assert "has version 2.1.100; 2.1.248 or later is needed" in str(failure)


@pytest.mark.parametrize("find", [unconfined, no_sandbox])
async def test_what_it_started_ends_with_it_where_no_sandbox_holds_it(stage: Stage, find: Any) -> None:
    turns = [[{"escapes": True}, result("1")], [{"escapes": True}, {"hang": True}]]
    async with stage.agent(*turns, find=find) as agent:
        await reply_of(agent)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deltas_of, agent)
            with anyio.fail_after(20):
                while len(stage.log("escaped")) < len(turns):  # noqa: ASYNC110 - another process's file
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    escaped = stage.log("escaped")
    assert len(escaped) == 2
    assert all(gone(pid) for pid in escaped)
