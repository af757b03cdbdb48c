"""Claude Code as an agent, through the real SDK: the command line is a script that says what a test wants."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.base import AgentRuntime, RuntimeTurn
from massgen_mcp.backends.claude_code import Options, connect
from massgen_mcp.backends.claude_code_access import TOKEN, Access
from massgen_mcp.backends.claude_code_open import open_runtime
from massgen_mcp.backends.claude_code_place import Place, open_place
from massgen_mcp.backends.claude_code_program import find_program
from massgen_mcp.backends.claude_code_settings import settings
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import ScriptedClock, SystemClock
from massgen_mcp.errors import BackendError, JournalError
from massgen_mcp.messages import (
    Delta,
    Image,
    Message,
    ObservedCall,
    ReasoningDelta,
    Reply,
    Request,
    Spent,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox
from tests.backends.runtimes import free
from tests.backends.wire import make_context

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="a script is the program")]

KEY = "sk-ant-a-key-of-these-tests"
NEW_ANSWER = ToolSpec(
    name="new_answer",
    description="Hand in your answer.",
    parameters={"type": "object", "properties": {"content": {"type": "string"}}},
)
SYSTEM = Message(role="system", text="You are agent one.")
QUESTION = Message(role="user", text="What is 6 x 7?")
REQUEST = Request(messages=(SYSTEM, QUESTION), tools=(NEW_ANSWER,))
SONNET = "claude-sonnet-5-5"


class Tools:
    """The team's side: it records what it is asked, and one call ends the turn."""

    def __init__(
        self,
        *,
        ends: str = "new_answer",
        breaks: Exception | None = None,
        images: tuple[Image, ...] = (),
        together: int = 0,
    ) -> None:
        self.calls: list[ToolCall] = []
        self.ended_by: ToolCall | None = None
        self._ends = ends
        self._breaks = breaks
        self._images = images
        self._together = together
        self._all = anyio.Event()

    async def call(self, call: ToolCall) -> ToolResult:
        self.calls.append(call)
        if self._breaks is not None:
            raise self._breaks
        if len(self.calls) >= self._together:
            self._all.set()
        await self._all.wait()
        if call.name == self._ends:
            self.ended_by = call
        return ToolResult(call_id=call.id, content=f"{call.name} is done", images=self._images)


# What the command line says.


def assistant(*blocks: Mapping[str, Any], number: int = 1, **more: Any) -> dict[str, Any]:
    message = {"id": f"msg_{number}", "model": SONNET, "content": list(blocks)}
    return {"say": {"type": "assistant", "message": message, "parent_tool_use_id": None, **more}}


def event(**fields: Any) -> dict[str, Any]:
    return {"say": {"type": "stream_event", "event": fields, "parent_tool_use_id": None}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def uses(name: str, **put_in: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_x", "name": name, "input": put_in}


def result(words: str = "", **fields: Any) -> dict[str, Any]:
    return {"say": {"type": "result", "result": words, **fields}}


def failed(words: str, *, status: int | None = None, error: str = "", **fields: Any) -> list[dict[str, Any]]:
    said = assistant(text(words), error=error or None)
    said["say"]["message"]["model"] = "<synthetic>"
    ends = {"is_error": True, "api_error_status": status, "terminal_reason": "api_error"}
    return [said, result(words, **{**ends, **fields})]


def totals(cost: float, **counts: int) -> dict[str, Any]:
    return {"total_cost_usd": cost, "modelUsage": {SONNET: counts}}


def retry(status: int | None, error: str, delay: int = 2000) -> dict[str, Any]:
    fields = {"attempt": 1, "max_retries": 3, "retry_delay_ms": delay, "error_status": status, "error": error}
    return {"say": {"type": "system", "subtype": "api_retry", **fields}}


# The stage.


async def unconfined(environ: Mapping[str, str]) -> Sandbox:
    return await find_sandbox(environ, mode="off")


async def no_sandbox(environ: Mapping[str, str]) -> Sandbox:
    raise SandboxUnavailable("no sandbox works here (bwrap: not installed)")


class Stage:
    """A folder with the command line in it, its script and its log."""

    def __init__(self, folder: Path, pool: Pool) -> None:
        self.folder = folder
        self.pool = pool
        self.secrets = Secrets()
        self.program = folder / "claude"
        source = (Path(__file__).parent / "fake_claude.py").read_text()
        self.program.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n{source}")
        self.program.chmod(0o700)

    def script(self, *turns: Sequence[Mapping[str, Any]]) -> None:
        (self.folder / "script.json").write_text(json.dumps(turns))

    def context(self, environ: Mapping[str, str] | None = None, **more: Any) -> BackendContext:
        around = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **(environ or {})}
        context = make_context("claude_code", self.pool, secrets=self.secrets, environ=around)
        return BackendContext(
            **{name: getattr(context, name) for name in context.__slots__} | more  # pyright: ignore[reportArgumentType]
        )

    def options(self, **block: Any) -> Options:
        return Options.model_validate({"type": "claude_code", "cli_path": self.program, **block})

    @asynccontextmanager
    async def agent(
        self,
        *turns: Sequence[Mapping[str, Any]],
        find: Callable[..., Any] = free,
        environ: Mapping[str, str] | None = None,
        block: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AsyncGenerator[AgentRuntime]:
        self.script(*turns)
        around = {"ANTHROPIC_API_KEY": KEY} if environ is None else environ
        runtime = await open_runtime(self.options(**(block or {})), self.context(around, **more), find=find)
        try:
            yield runtime
        finally:
            await runtime.aclose()

    def has(self, path: str) -> bool:
        return Path(path).exists()

    def text_of(self, path: str) -> str:
        return Path(path).read_text()

    def log(self, kind: str) -> list[Any]:
        path = self.folder / "log.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [entry[kind] for entry in entries if kind in entry]

    @property
    def said(self) -> list[list[dict[str, Any]]]:
        """What the command line was told in each turn."""
        return [heard["message"]["content"] for heard in self.log("heard") if heard["type"] == "user"]


@pytest.fixture
def stage(tmp_path: Path, pool: Pool) -> Stage:
    return Stage(tmp_path, pool)


async def deltas_of(
    agent: AgentRuntime, request: Request = REQUEST, tools: Tools | None = None
) -> list[Delta]:
    with anyio.fail_after(20):
        async with agent.run_turn(request, tools or Tools()) as deltas:
            return [delta async for delta in deltas]


async def reply_of(agent: AgentRuntime, request: Request = REQUEST, tools: Tools | None = None) -> Reply:
    reply = (await deltas_of(agent, request, tools))[-1]
    assert isinstance(reply, Reply)
    return reply


async def failure_of(agent: AgentRuntime, tools: Tools | None = None) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await deltas_of(agent, tools=tools)
    return caught.value


# Turns.


async def test_text_and_thinking_stream_and_the_turn_ends_in_a_reply_with_its_usage(stage: Stage) -> None:
    turn = [
        event(type="message_start", message={"usage": {"input_tokens": 100, "cache_read_input_tokens": 50}}),
        event(type="content_block_delta", delta={"type": "thinking_delta", "thinking": "Hm."}),
        event(type="content_block_delta", delta={"type": "text_delta", "text": "It is "}),
        event(type="content_block_delta", delta={"type": "text_delta", "text": "42."}),
        assistant(text("It is 42.")),
        event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 30}),
        result(
            "It is 42.",
            **totals(0.5, inputTokens=100, outputTokens=30, cacheReadInputTokens=50, thinkingTokens=7),
        ),
    ]
    async with stage.agent(turn) as agent:
        deltas = await deltas_of(agent)

    assert deltas[:3] == [ReasoningDelta(text="Hm."), TextDelta(text="It is "), TextDelta(text="42.")]
    spent, reply = deltas[3:]
    assert isinstance(spent, Spent)
    assert spent.usage.tokens == 180
    assert isinstance(reply, Reply)
    assert (reply.text, reply.calls, reply.model) == ("It is 42.", (), SONNET)
    usage = reply.usage
    assert (usage.requests, usage.input, usage.output, usage.cached, usage.reasoning) == (1, 150, 30, 50, 7)
    assert (usage.cost_usd, usage.cost_source) == (0.5, "provider")


async def test_running_totals_become_what_each_turn_took(stage: Stage) -> None:
    first = [result("one", **totals(0.5, inputTokens=100, outputTokens=10))]
    second = [result("two", **totals(0.75, inputTokens=160, outputTokens=30))]
    async with stage.agent(first, second) as agent:
        await reply_of(agent)
        usage = (await reply_of(agent)).usage
    assert (usage.input, usage.output, usage.cost_usd) == (60, 20, 0.25)


async def test_usage_adds_up_over_turns_of_which_one_failed_and_one_was_cut_off(stage: Stage) -> None:
    def told(cost: float, put_in: int, **more: Any) -> dict[str, Any]:
        return {**totals(cost, inputTokens=put_in, outputTokens=10), **more}

    start = event(type="message_start", message={"usage": {"input_tokens": 400}})
    end = event(type="message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 0})
    turns: list[list[dict[str, Any]]] = [
        [result("one", **told(0.5, 100))],
        [result("no", is_error=True, api_error_status=400, **told(0.75, 300))],
        [start, end, {"call": ["new_answer", {}]}, {"hang": True}],
        [result("four", **told(1.5, 750))],
        [result("five", **told(2.0, 800))],
    ]
    async with stage.agent(*turns) as agent:
        first = (await reply_of(agent)).usage
        await failure_of(agent)
        cut, fourth, fifth = [(await reply_of(agent)).usage for _ in range(3)]
    assert [usage.input for usage in (first, cut, fourth, fifth)] == [100, 400, 50, 50]
    # The dollars of the fourth turn's totals are those of the one before, too: nobody can say how many.
    assert [usage.cost_usd for usage in (first, cut, fourth, fifth)] == [0.5, None, None, 0.5]


async def test_totals_that_begin_anew_are_the_turn_s_own(stage: Stage) -> None:
    first = [result("one", **totals(0.5, inputTokens=100, outputTokens=10))]
    second = [result("two", **totals(0.25, inputTokens=60, outputTokens=5))]
    async with stage.agent(first, second) as agent:
        await reply_of(agent)
        usage = (await reply_of(agent)).usage
    assert (usage.input, usage.output, usage.cost_usd) == (60, 5, 0.25)


async def test_a_result_without_totals_counts_by_itself_and_has_no_price(stage: Stage) -> None:
    counts = {"input_tokens": 5, "output_tokens": 7, "cache_creation_input_tokens": 3}
    async with stage.agent([result("x", usage=counts, total_cost_usd=0)]) as agent:
        usage = (await reply_of(agent)).usage
    assert (usage.input, usage.cache_write, usage.output, usage.cost_usd) == (8, 3, 7, None)


async def test_its_own_tools_are_observed_and_ours_are_called_in_this_process(stage: Stage) -> None:
    turn = [
        assistant(text("Let me look."), uses("Bash", command="ls  -l\n src")),
        assistant(uses("TodoWrite"), number=2),
        assistant(uses("mcp__massgen__new_answer", content="42"), number=3),
        {"call": ["new_answer", {"content": "42"}]},
        result("", terminal_reason="completed"),
    ]
    tools = Tools()
    async with stage.agent(turn) as agent:
        deltas = await deltas_of(agent, tools=tools)
        session = agent.session

    observed = [delta for delta in deltas if isinstance(delta, ObservedCall)]
    assert observed == [ObservedCall(name="Bash", detail="ls -l src"), ObservedCall(name="TodoWrite")]
    (called,) = tools.calls
    assert (called.id, called.name, json.loads(called.arguments)) == (
        "toolu_3",
        "new_answer",
        {"content": "42"},
    )
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert (reply.calls, reply.finish) == ((called,), "tool_calls")
    assert reply.native == {
        "session": session,
        "tools": ["Bash", "TodoWrite"],
        "requests": 3,
        "end": "completed",
    }
    (back,) = stage.log("back")
    assert back["result"]["_meta"] == {"claude/endTurn": True}, "ends the turn without another request"
    (listed,) = stage.log("tools")
    assert [tool["name"] for tool in listed["result"]["tools"]] == ["new_answer"]


async def test_what_subagents_say_is_not_its_own_text(stage: Stage) -> None:
    inner = {"parent_tool_use_id": "toolu_task"}
    delta = event(type="content_block_delta", delta={"type": "text_delta", "text": "inner"})
    delta["say"] |= inner
    turn = [
        delta,
        {"say": {**assistant(text("inner"), uses("Read", file_path="a"))["say"], **inner}},
        assistant(text("Whole.")),
        {"say": {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed"}}},
        result(""),
    ]
    async with stage.agent(turn) as agent:
        deltas = await deltas_of(agent)
    assert deltas[:-1] == [ObservedCall(name="Read", detail="a")]
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.model) == ("Whole.", SONNET)


async def test_a_call_that_does_not_end_the_turn_comes_back_and_the_turn_goes_on(stage: Stage) -> None:
    turn: list[dict[str, Any]] = [{"call": ["read", {}]}, result("It is 42.")]
    async with stage.agent(turn) as agent:
        reply = await reply_of(agent, tools=Tools())
    (back,) = stage.log("back")
    assert "_meta" not in back["result"]
    assert back["result"]["content"] == [{"type": "text", "text": "read is done"}]
    assert (reply.text, reply.calls) == ("It is 42.", ())


async def test_the_pictures_of_a_tool_s_result_are_passed_on(stage: Stage) -> None:
    images = (Image(mime="image/png", data=b"png"), Image(mime="application/pdf", data=b"pdf"))
    async with stage.agent([{"call": ["read", {}]}, result("It is green.")]) as agent:
        await reply_of(agent, tools=Tools(images=images))
    (back,) = stage.log("back")
    words, picture = back["result"]["content"]
    assert words["text"] == "read is done\n[1 documents can't be shown to you here.]"
    assert picture == {"type": "image", "data": "cG5n", "mimeType": "image/png"}


async def test_calls_made_together_run_together(stage: Stage) -> None:
    tools = Tools(together=2)
    async with stage.agent([{"together": ["read", "look"]}, result("Both.")]) as agent:
        reply = await reply_of(agent, tools=tools)
    assert (reply.text, [call.name for call in tools.calls]) == ("Both.", ["read", "look"])


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


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


async def test_what_breaks_on_our_side_ends_the_turn_as_it_is(stage: Stage) -> None:
    tools = Tools(breaks=JournalError("the disk is full"))
    async with stage.agent([{"call": ["new_answer", {}]}, {"wait": True}]) as agent:
        with pytest.raises(JournalError, match="the disk is full"):
            await deltas_of(agent, tools=tools)


async def test_later_turns_send_only_what_the_session_does_not_hold(stage: Stage) -> None:
    vote = Message(role="user", text="Now vote.")
    later = Request(
        messages=(SYSTEM, QUESTION, Message(role="assistant", text="42"), vote), tools=(NEW_ANSWER,)
    )
    async with stage.agent([result("1")], [result("2")], [result("3")]) as agent:
        await reply_of(agent)
        await reply_of(agent, later)
        await reply_of(agent, later)
    assert stage.said == [[text(QUESTION.text)], [text("Now vote.")], [text("Now vote.")]]


async def test_pictures_and_documents_are_shown(stage: Stage) -> None:
    shown = Message(
        role="user",
        text="See.",
        images=(Image(mime="image/png", data=b"png"), Image(mime="application/pdf", data=b"pdf")),
    )
    async with stage.agent([result("1")]) as agent:
        await reply_of(agent, Request(messages=(shown,)))
    picture, document, words = stage.said[0]
    assert (picture["type"], document["type"], words) == ("image", "document", text("See."))
    assert picture["source"] == {"type": "base64", "media_type": "image/png", "data": "cG5n"}


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


async def leave_after_a_word(agent: AgentRuntime) -> None:
    with anyio.fail_after(20):
        async with agent.run_turn(REQUEST, Tools()) as deltas:
            async for _ in deltas:
                break


WORD = event(type="content_block_delta", delta={"type": "text_delta", "text": "Well,"})


async def test_an_end_without_a_result_is_no_reply(stage: Stage) -> None:
    async with stage.agent([WORD, {"exit": 0}]) as agent:
        failure = await failure_of(agent)
    assert (failure.kind, failure.retryable) == ("protocol", True)
    assert "before its turn was complete" in str(failure)


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
        with anyio.move_on_after(1):
            await deltas_of(agent)
    escaped = stage.log("escaped")
    assert len(escaped) == 2
    assert all(gone(pid) for pid in escaped)


# What it is started with.


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
    place = await place_of(stage, free)
    place.remove()
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
    place = await place_of(stage, free)
    place.remove()
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
    place = await open_place(
        program=stage.program,
        workspace=None,
        readable=(shown,),
        environ={"PATH": os.environ["PATH"]},
        find=free,
    )
    place.remove()
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


async def test_a_new_system_prompt_continues_the_session_in_a_new_process(stage: Stage) -> None:
    other = Request(messages=(Message(role="system", text="You present."), QUESTION))
    async with stage.agent([result("1")], [result("2")]) as agent:
        await reply_of(agent)
        await reply_of(agent, other)
        session = agent.session
    assert f"--resume={session}" in stage.log("argv")[1]


# Who pays.


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


async def refused(stage: Stage, block: Mapping[str, Any], environ: Mapping[str, str]) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await open_runtime(stage.options(**block), stage.context(environ), find=free)
    return caught.value


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


async def test_a_program_that_does_not_start_is_said_with_its_last_words_and_no_key(stage: Stage) -> None:
    async with stage.agent() as agent:
        steps = [{"stderr": f"error: unknown option (key {KEY})"}, {"exit": 1}]
        (stage.folder / "script.json").write_text(json.dumps({"start": steps}))
        stage.secrets.add(KEY, "ANTHROPIC_API_KEY")
        failure = await failure_of(agent)
    assert (failure.kind, failure.retryable, failure.connected) == ("unavailable", False, False)
    assert "unknown option" in str(failure)
    assert KEY not in str(failure)


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


# Where it runs.


async def place_of(stage: Stage, find: Callable[..., Any], **environ: str) -> Place:
    around = {"PATH": os.environ["PATH"], **environ}
    return await open_place(program=stage.program, workspace=None, environ=around, find=find)


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap and Landlock are Linux's")
async def test_commands_of_its_shell_run_confined_where_a_sandbox_works(stage: Stage) -> None:
    try:
        await find_sandbox({"PATH": os.environ["PATH"]})
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    place = await place_of(stage, find_sandbox)
    command = place.command([str(place.fixed / "shell"), "echo ran > made; env; cat ../fixed/shell"])
    said = await anyio.run_process(command, check=False, env={"PATH": os.environ["PATH"], TOKEN: "a-token"})
    made = (place.cwd / "made").read_text() if place.has_shell else ""
    place.remove()
    assert (place.has_shell, place.why) == (True, "")
    assert made == "ran\n"
    assert b"a-token" not in said.stdout


class Broken:
    """A sandbox in which nothing runs."""

    level = "bwrap"

    def command(self, argv: Sequence[str], confinement: object) -> Sequence[str]:
        return ("/bin/sh", "-c", "echo it is broken >&2; exit 1")


class Absent(Broken):
    """A sandbox whose program is gone."""

    def command(self, argv: Sequence[str], confinement: object) -> Sequence[str]:
        return ("/nowhere/sandbox",)


@pytest.mark.parametrize(
    ("made", "words"), [(Broken, "it is broken"), (Absent, "/nowhere/sandbox")], ids=["broken", "absent"]
)
async def test_a_shell_that_can_t_be_confined_is_left_out_with_the_reason(
    stage: Stage, made: type[Broken], words: str
) -> None:
    async def find(environ: Mapping[str, str]) -> Any:
        return made()

    place = await place_of(stage, find)
    place.remove()
    assert not place.has_shell
    assert words in place.why


async def test_a_script_is_given_what_runs_it_and_certificates_are_seen(stage: Stage) -> None:
    authority = stage.folder / "authority.pem"
    authority.touch()
    place = await place_of(stage, no_sandbox, NODE_EXTRA_CA_CERTS=str(authority))
    place.remove()
    assert {stage.folder, authority} <= set(place.needed)
    assert place.variables()["NODE_EXTRA_CA_CERTS"] == str(authority)


# Failures.


FAILURES: Mapping[str, tuple[list[dict[str, Any]], str, bool]] = {
    "key": (failed("Invalid API key", status=401, error="authentication_failed"), "auth", False),
    "Log in with `claude`": (failed("Not logged in", error="authentication_failed"), "auth", False),
    "what the account has access to": (failed("API Error: 403 no", status=403), "auth", False),
    "balance is too low": (
        failed("Credit balance is too low", status=400, error="billing_error"),
        "quota",
        False,
    ),
    "used up": (failed("Credit balance", error="billing_error"), "quota", False),
    "slow down": (failed("slow down", status=429, error="rate_limit"), "rate_limit", True),
    "Overloaded": (failed("Overloaded", status=529), "overloaded", True),
    "no model": (failed("no model", status=404, error="model_not_found"), "not_found", False),
    "too long": (failed("Too much", status=400, terminal_reason="prompt_too_long"), "context", False),
    "bad thing": (failed("bad thing", status=400), "bad_request", False),
    "safeguards": (
        failed("safeguards", error="invalid_request", stop_reason="refusal"),
        "refusal",
        False,
    ),
    "max_tokens": (failed("too much", error="max_output_tokens"), "length", False),
    "ECONNREFUSED": (failed("Connection refused (ECONNREFUSED)", error="server_error"), "network", False),
    "malformed": (failed("an empty or malformed response", error="unknown"), "protocol", True),
    "max_turns": ([result("", subtype="error_max_turns", is_error=True)], "length", False),
    "max_budget_usd": ([result("", subtype="error_max_budget_usd")], "quota", False),
    "it broke": (
        [result("", subtype="error_during_execution", is_error=True, errors=["it broke"])],
        "network",
        False,
    ),
    "reply is empty": ([result("")], "protocol", True),
}
"""What a failure's text has to say -> how the command line reports it, its kind, whether to try again."""


async def test_each_failure_has_its_kind_and_its_remedy(stage: Stage) -> None:
    found: dict[str, tuple[str, bool]] = {}
    async with stage.agent(*(steps for steps, _, _ in FAILURES.values())) as agent:
        for words in FAILURES:
            failure = await failure_of(agent)
            assert words in str(failure)
            found[words] = (failure.kind, failure.retryable)
    assert found == {words: (kind, retryable) for words, (_, kind, retryable) in FAILURES.items()}


async def test_after_a_tool_was_used_nothing_is_simply_asked_again(stage: Stage) -> None:
    turn = [assistant(uses("Write", file_path="a.py")), *failed("Overloaded", status=529)]
    async with stage.agent(turn) as agent:
        failure = await failure_of(agent)
    assert (failure.kind, failure.retryable) == ("overloaded", False)


@pytest.mark.parametrize(
    ("said", "kind", "retryable", "after"),
    [
        (retry(401, "authentication_failed"), "auth", False, None),
        (retry(429, "rate_limit"), "rate_limit", True, 2.0),
        (retry(None, "overloaded", 500), "overloaded", True, 0.5),
    ],
    ids=["key", "rate", "overloaded"],
)
async def test_its_own_retries_are_left_to_the_one_retry_layer(
    stage: Stage, said: dict[str, Any], kind: str, retryable: object, after: float | None
) -> None:
    async with stage.agent([said, {"wait": True}]) as agent:
        begun = time.monotonic()
        failure = await failure_of(agent)
        assert time.monotonic() - begun < 2
    assert (failure.kind, failure.retryable, failure.retry_after) == (kind, retryable, after)
    assert failure.requests == 1


async def test_its_own_retries_hold_once_a_tool_was_used_or_nobody_was_reached(stage: Stage) -> None:
    turn = [
        retry(None, "unknown"),
        assistant(uses("Bash", command="make")),
        retry(529, "overloaded"),
        result("done"),
    ]
    async with stage.agent(turn) as agent:
        assert (await reply_of(agent)).text == "done"


async def test_a_used_up_plan_says_when_it_resets_and_is_not_asked_again(stage: Stage) -> None:
    clock = ScriptedClock()
    until = int(clock.now()) + 3600
    info = {"status": "rejected", "resetsAt": until, "rateLimitType": "five_hour"}
    turn = [
        {"say": {"type": "rate_limit_event", "rate_limit_info": info}},
        *failed("You've hit your 5-hour limit", status=429, error="rate_limit"),
    ]
    around = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-a-token"}
    async with stage.agent(turn, environ=around, clock=clock) as agent:
        failure = await failure_of(agent)
    assert (failure.kind, failure.retryable) == ("rate_limit", False)
    assert failure.retry_after == pytest.approx(3600, abs=1)
    assert "2025-06-15 16:06 UTC" in str(failure)


async def test_an_older_message_of_a_used_up_plan_is_read_too(stage: Stage) -> None:
    turn = failed("Claude AI usage limit reached|1750003600", status=429)
    async with stage.agent(turn, clock=ScriptedClock(start=1_750_000_000.0)) as agent:
        failure = await failure_of(agent)
    assert (failure.kind, failure.retry_after) == ("rate_limit", pytest.approx(3600, abs=1))


async def test_words_that_nobody_can_read_end_the_turn(stage: Stage) -> None:
    async with stage.agent([{"say": {"type": "assistant"}}]) as agent:
        failure = await failure_of(agent)
    assert failure.kind == "protocol"


async def test_the_retry_layer_asks_the_same_session_again(stage: Stage) -> None:
    async with stage.agent([retry(529, "overloaded", 10), {"wait": True}], [result("It is 42.")]) as agent:
        reply = await ask(RuntimeTurn(agent, Tools()), REQUEST, clock=SystemClock(), random=Random(1))
    assert (reply.text, reply.attempts, reply.usage.requests) == ("It is 42.", 2, 2)
    assert stage.said == [[text(QUESTION.text)]] * 2
