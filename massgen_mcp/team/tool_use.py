"""The tool calls of one agent's turn: counted, journalled before and after, within the run's allowance."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import asdict, replace
from typing import Any

from massgen_mcp.messages import Message, ToolCall, ToolResult
from massgen_mcp.team.calls import Caller
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.workflow import WORKFLOW_TOOLS
from massgen_mcp.telemetry import tool_span
from massgen_mcp.text import shorten
from massgen_mcp.usage import Usage

__all__ = ["MAX_TOOL_CALLS", "ToolUse"]

MAX_TOOL_CALLS = 100
"""Tool calls of one agent in a run."""
_ECHO_LIMIT, _ECHO_KEPT = 16_000, 2_000
"""Arguments of a call that was not taken: from this size on only their beginning is sent back."""
_NUDGE, _STOP = 5, 8
"""Identical calls of one tool: after so many the agent is told, after so many more it is stopped."""


class ToolUse:
    """How an agent uses its tools in one turn."""

    def __init__(self, seat: Seat, turn: int, *, log: EventLog, caller: Caller) -> None:
        self._seat = seat
        self._turn = turn
        self._log = log
        self._caller = caller

    def exhausted(self, more: int = 0) -> str:
        """Why the agent may not make so many more tool calls; empty while it may."""
        if self._seat.tool_calls + more > MAX_TOOL_CALLS:
            return f"It made {MAX_TOOL_CALLS} tool calls without finishing."
        if any(count > _STOP for count in self._seat.repeats.values()):
            return f"It made the same tool call {_STOP} times."
        return ""

    def _counted(self, call: ToolCall) -> int:
        """How often this very call was made. After another one that may have changed something it is new."""
        key, repeats = (call.name, call.arguments), self._seat.repeats
        if key not in repeats and not self._seat.toolset.idempotent(call.name):
            repeats.clear()
        repeats[key] = repeats.get(key, 0) + 1
        return repeats[key]

    def shrunk(self, message: Message, refused: Container[str]) -> Message:
        """Don't send huge arguments back that nobody used: those of refused calls and of unknown tools.

        The provider's own items of the message hold them too, so they go with them.
        """
        known = {spec.name for spec in (*WORKFLOW_TOOLS, *self._seat.toolset.specs)}
        calls = tuple(
            _shrunk(call) if call.id in refused or call.name not in known else call for call in message.calls
        )
        return message if calls == message.calls else replace(message, calls=calls, native=None)

    async def run(self, call: ToolCall) -> ToolResult:
        """Run one call. Failures are results with `is_error`.

        Raises:
            BudgetSpent: the run has used more than it may; nothing was called.
        """
        toolset = self._seat.toolset
        self._seat.tool_calls += 1
        count = self._counted(call)
        if call.name not in {spec.name for spec in toolset.specs}:
            known = ", ".join(spec.name for spec in (*WORKFLOW_TOOLS, *toolset.specs))
            words = f"There is no tool named {shorten(call.name, 100)!r}. The tools are: {known}."
            return ToolResult(call_id=call.id, content=words, is_error=True)
        self._caller.check_budget()
        number = self._caller.next_call()
        body = {"agent": self._seat.spec.id, "name": call.name, "arguments": call.arguments}
        started = body | {"idempotent": toolset.idempotent(call.name)}
        await self._log.append("ToolStarted", started, turn=self._turn, call=number)
        with tool_span(name=call.name, call_id=call.id):
            result = await toolset.call(call)
        finished: dict[str, Any] = {
            "agent": self._seat.spec.id,
            "result": result.content,
            "is_error": result.is_error,
        }
        charged, self._seat.charged = self._seat.charged, Usage()
        if charged != Usage():
            finished["usage"] = asdict(charged)
        await self._log.append("ToolFinished", finished, turn=self._turn, call=number)
        if count >= _NUDGE:
            words = f"You have made this very call {count} times; its result won't change."
            return replace(result, content=f"{result.content}\n\n{words}")
        return result


def _shrunk(call: ToolCall) -> ToolCall:
    if len(call.arguments) <= _ECHO_LIMIT:
        return call
    return replace(call, arguments=json.dumps({"cut": shorten(call.arguments, _ECHO_KEPT)}))
