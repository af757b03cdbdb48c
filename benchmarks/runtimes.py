"""Claude Code as an agent, on a scripted model: its first turn, its end, and a refused key."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TypeAlias

import anyio

from benchmarks.world import vendor_server
from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.claude_code import Options
from massgen_mcp.backends.claude_code_open import open_runtime
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Reply, Request, ToolCall, ToolResult, ToolSpec
from massgen_mcp.secrets import Secrets

__all__ = ["figures"]

Figure: TypeAlias = tuple[str, str, str, bool]

_CLAUDE = Path(__file__).parents[1] / "e2e" / "node_modules" / ".bin" / "claude"
_ROUNDS = 5
_WORD = {"type": "string"}
_TOOL = ToolSpec(
    name="new_answer",
    description="Hand in your answer.",
    parameters={
        "type": "object",
        "properties": {"content": _WORD, "conclusion": _WORD},
        "required": ["content"],
    },
)


class _Tools:
    """The team's side of a turn."""

    def __init__(self) -> None:
        self.ended_by: ToolCall | None = None

    async def call(self, call: ToolCall) -> ToolResult:
        self.ended_by = call
        return ToolResult(call_id=call.id, content="Recorded.")


async def _turn(agent: AgentRuntime, question: str) -> float:
    """Seconds of one turn."""
    system = Message(role="system", text="You are an agent of a benchmark.")
    request = Request(messages=(system, Message(role="user", text=question)), tools=(_TOOL,))
    tools = _Tools()
    began = time.perf_counter()
    async with agent.run_turn(request, tools) as deltas:
        said = [delta async for delta in deltas]
    assert isinstance(said[-1], Reply)
    assert tools.ended_by is not None
    return time.perf_counter() - began


async def _refused(agent: AgentRuntime) -> float:
    """Seconds until a turn has failed for its key."""
    began = time.perf_counter()
    try:
        await _turn(agent, "bad-key")
    except BackendError as error:
        if error.kind != "auth":
            raise
    else:
        raise AssertionError("the key was taken")
    return time.perf_counter() - began


def _children() -> int:
    """Processes below this one, but for the model's."""
    parents = {
        int(stat.parent.name): int(
            stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
        )
        for stat in Path("/proc").glob("[0-9]*/stat")
        if stat.exists()
    }
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return len(found) - 1


async def _round(port: int, folder: Path) -> tuple[float, float, float, bool]:
    """Seconds of a first turn with the start, of a refusal later, and of the end; whether all are gone."""
    pool = Pool()
    (folder / "workspace").mkdir()
    context = BackendContext(
        info=BACKENDS["claude_code"],
        pool=pool,
        secrets=Secrets(),
        clock=SystemClock(),
        environ={"PATH": os.environ["PATH"], "HOME": str(folder)},
        workspace=folder / "workspace",
    )
    block = {"type": "claude_code", "cli_path": _CLAUDE, "api_key": "sk-of-the-benchmark"}
    before = _children()
    options = Options.model_validate(block | {"base_url": f"http://127.0.0.1:{port}"})
    agent = await open_runtime(options, context)
    try:
        first, refusal = await _turn(agent, "How many?"), await _refused(agent)
    finally:
        began = time.perf_counter()
        await agent.aclose()
        end = time.perf_counter() - began
        await pool.aclose()
    return first, refusal, end, _children() == before


async def _measure(port: int) -> list[Figure]:
    rounds: list[tuple[float, float, float, bool]] = []
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(await _round(port, Path(folder)))
    first, refusal, end = (statistics.median(part) for part in list(zip(*rounds, strict=True))[:3])
    gone = all(gone for *_, gone in rounds)
    return [
        ("Claude Code: first turn, with its start", "<= 2 s", f"{first:.2f} s", first <= 2),
        ("Claude Code: a refused key, process up", "< 1 s", f"{refusal:.2f} s", refusal < 1),
        (
            "Claude Code: all its processes gone after the end",
            "<= 1 s",
            f"{end:.2f} s{'' if gone else ', and some are left'}",
            end <= 1 and gone,
        ),
    ]


def figures() -> list[Figure]:
    """Figures of agent runtimes whose programs are installed."""
    if not _CLAUDE.exists():
        return [("Claude Code as an agent", "-", "skipped: run e2e/install first", True)]
    with vendor_server() as port:
        return anyio.run(_measure, port)
