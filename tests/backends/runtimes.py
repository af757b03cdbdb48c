"""The team's side of an agent runtime's turn, for tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

from massgen_mcp.backends.base import AgentRuntime, RuntimeTurn
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import SystemClock
from massgen_mcp.messages import Delta, Image, Message, Reply, Request, ToolCall, ToolResult, ToolSpec
from massgen_mcp.workspace.confinement import Confinement

__all__ = ["LOOK", "VOTE", "Free", "Tools", "asking", "free", "turn_deltas", "turn_reply"]

LOOK = ToolSpec(
    name="look",
    description="Look at something.",
    parameters={"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
)
VOTE = ToolSpec(
    name="vote",
    description="Vote. Ends your turn.",
    parameters={
        "type": "object",
        "properties": {"answer": {"type": "string"}, "reason": {"type": "string"}},
        "required": ["answer", "reason"],
    },
)


class Free:
    """No sandbox, and no process of ours between, which takes longer to start than most tests."""

    level = "off"
    why = ""

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The same, in its folder."""
        script = 'cd "$0" && export HOME="$1" && shift && exec "$@"'
        return ("/bin/sh", "-c", script, str(confinement.cwd), str(confinement.home), *argv)


async def free(environ: Mapping[str, str], *, mode: str = "off") -> Any:
    """How it is found."""
    del environ, mode
    return Free()


class Tools:
    """Takes every call down; `vote` ends the turn, a call of anything unknown is an error."""

    def __init__(
        self,
        during: Callable[[ToolCall], Awaitable[None]] | None = None,
        *,
        images: tuple[Image, ...] = (),
    ) -> None:
        self.calls: list[ToolCall] = []
        self.ended_by: ToolCall | None = None
        self._during = during
        self._images = images

    async def call(self, call: ToolCall) -> ToolResult:
        """What the tool is said to have seen."""
        self.calls.append(call)
        if self._during is not None:
            await self._during(call)
        if call.name == "vote":
            self.ended_by = call
            return ToolResult(call_id=call.id, content="Recorded.")
        if call.name != "look":
            return ToolResult(call_id=call.id, content="There is no such tool.", is_error=True)
        return ToolResult(call_id=call.id, content="It is green.", images=self._images)


def asking(*texts: str, **fields: Any) -> Request:
    """A request with that conversation of the user's, and the two tools."""
    users = tuple(Message(role="user", text=text) for text in texts)
    return Request(
        messages=(Message(role="system", text="You are agent1."), *users), tools=(LOOK, VOTE), **fields
    )


async def turn_deltas(runtime: AgentRuntime, request: Request, tools: Tools | None = None) -> list[Delta]:
    """All deltas of one attempt at a turn."""
    async with runtime.run_turn(request, tools or Tools()) as deltas:
        return [delta async for delta in deltas]


async def turn_reply(
    runtime: AgentRuntime, request: Request, tools: Tools | None = None, **options: Any
) -> Reply:
    """A turn through the retry layer, on the machine's clock."""
    turn = RuntimeTurn(runtime, tools or Tools())
    return await ask(turn, request, clock=SystemClock(), random=Random(1), **options)
