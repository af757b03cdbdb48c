"""A stage for tests of Claude Code as an agent: the command line is a script that says what a test wants."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.agent_place import FindSandbox
from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.claude_code import Options
from massgen_mcp.backends.claude_code_open import open_runtime
from massgen_mcp.backends.claude_code_place import Place, open_place
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.pool import Pool
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import (
    Delta,
    Image,
    Message,
    Reply,
    Request,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox
from tests.backends.runtimes import free
from tests.backends.wire import make_context

__all__ = [
    "KEY",
    "NEW_ANSWER",
    "QUESTION",
    "REQUEST",
    "SONNET",
    "SYSTEM",
    "WORD",
    "Stage",
    "Tools",
    "assistant",
    "deltas_of",
    "event",
    "failed",
    "failure_of",
    "gone",
    "leave_after_a_word",
    "no_sandbox",
    "place_of",
    "refused",
    "reply_of",
    "result",
    "text",
    "totals",
    "unconfined",
    "uses",
]

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


WORD = event(type="content_block_delta", delta={"type": "text_delta", "text": "Well,"})


async def unconfined(environ: Mapping[str, str], *, mode: str) -> Sandbox:
    """Nobody is held."""
    del mode
    return await find_sandbox(environ, mode="off")


async def no_sandbox(environ: Mapping[str, str], *, mode: str) -> Sandbox:
    """There is none."""
    del environ, mode
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
        return replace(context, **more)

    def options(self, **block: Any) -> Options:
        return Options.model_validate({"type": "claude_code", "cli_path": self.program, **block})

    @asynccontextmanager
    async def agent(
        self,
        *turns: Sequence[Mapping[str, Any]],
        find: FindSandbox = free,
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


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


async def leave_after_a_word(agent: AgentRuntime) -> None:
    with anyio.fail_after(20):
        async with agent.run_turn(REQUEST, Tools()) as deltas:
            async for _ in deltas:
                break


async def refused(stage: Stage, block: Mapping[str, Any], environ: Mapping[str, str]) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await open_runtime(stage.options(**block), stage.context(environ), find=free)
    return caught.value


async def place_of(
    stage: Stage, find: FindSandbox = free, *, readable: tuple[Path, ...] = (), **environ: str
) -> Place:
    """Where it would run."""
    return await open_place(stage.context(environ, readable=readable), stage.program, find=find)
