"""The tool calls of one agent's turn: counted, journalled before and after, within the run's allowance."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import asdict, replace

from massgen_mcp.messages import Message, ToolCall, ToolResult
from massgen_mcp.team.calls import Caller
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.recall import UNKNOWN_OUTCOME, count_call, result_body, result_of
from massgen_mcp.team.replay import NothingKnown
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.workflow import WORKFLOW_TOOLS
from massgen_mcp.telemetry import tool_span
from massgen_mcp.text import fence, shorten
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

    def __init__(self, seat: Seat, turn: int, *, log: EventLog, caller: Caller, tag: str) -> None:
        self._seat = seat
        self._turn = turn
        self._log = log
        self._caller = caller
        self._tag = tag
        self._inside = seat.spec.info.kind == "runtime"
        self.last = 0
        """The number of the newest call."""

    def exhausted(self, more: int = 0) -> str:
        """Why the agent may not make so many more tool calls; empty while it may."""
        if self._seat.tool_calls + more > MAX_TOOL_CALLS:
            return f"It made {MAX_TOOL_CALLS} tool calls without finishing."
        if any(count > _STOP for count in self._seat.repeats.values()):
            return f"It made the same tool call {_STOP} times."
        return ""

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

        What a tool says is fenced by the run's tag, so that it can't pass for our own words behind it.

        Raises:
            BudgetSpent: the run has used more than it may; nothing was called.
        """
        toolset = self._seat.toolset
        self._seat.tool_calls += 1
        known = call.name in {spec.name for spec in toolset.specs}
        changes = known and not toolset.idempotent(call.name)
        count = count_call(self._seat, call.name, call.arguments, changes=changes)
        if not known:
            names = ", ".join(spec.name for spec in (*WORKFLOW_TOOLS, *toolset.specs))
            words = f"There is no tool named {shorten(call.name, 100)!r}. The tools are: {names}."
            return ToolResult(call_id=call.id, content=words, is_error=True)
        result = await self._known(call) or await self._made(call)
        content = fence(result.content, self._tag) if result.content else ""
        if count >= _NUDGE:
            content += f"\n\nYou have made this very call {count} times; its result won't change."
        return replace(result, content=content)

    async def _made(self, call: ToolCall) -> ToolResult:
        """Run the call now. Raises `BudgetSpent`."""
        toolset = self._seat.toolset
        self._caller.check_budget()
        self.last = number = self._caller.next_call()
        body = {"agent": self._seat.spec.id, "name": call.name, "arguments": call.arguments}
        started = body | {"idempotent": toolset.idempotent(call.name)}
        await self._log.append("ToolStarted", started, turn=self._turn, call=number)
        with tool_span(name=call.name, call_id=call.id):
            result = await toolset.call(call)
        charged, self._seat.charged = self._seat.charged, Usage()
        return await self._finished(number, result, charged)

    async def _finished(self, number: int, result: ToolResult, charged: Usage) -> ToolResult:
        body = {"agent": self._seat.spec.id} | result_body(result)
        if charged != Usage():
            body["usage"] = asdict(charged)
        record = await self._log.append("ToolFinished", body, turn=self._turn, call=number)
        return replace(result, content=record.body["result"])

    async def _known(self, call: ToolCall) -> ToolResult | None:
        """What this call came to before the run was taken up again; None: it is to be made.

        One that was under way then is made once more only if that does no harm.

        Raises:
            ReplayRefused: another call was made then.
        """
        past = self._caller.past
        while not self._inside and (step := past.next(tool=True)) is not None:
            begun = step.started.body
            if (begun["name"], begun["arguments"]) != (call.name, call.arguments):
                raise past.past.differs(f"agent {self._seat.spec.id} called another tool")
            outcome = await past.outcome(step)
            if outcome is not None:
                self.last = step.number
                self._caller.count_tool(self._seat, outcome.body)
                return result_of(outcome.body, call.id)
            if not begun["idempotent"]:
                await past.past.over()
                self.last = step.number
                unknown = ToolResult(call_id=call.id, content=UNKNOWN_OUTCOME, is_error=True)
                return await self._finished(step.number, unknown, Usage())
        if past.over:
            raise NothingKnown
        await past.past.over()
        return None


def _shrunk(call: ToolCall) -> ToolCall:
    if len(call.arguments) <= _ECHO_LIMIT:
        return call
    return replace(call, arguments=json.dumps({"cut": shorten(call.arguments, _ECHO_KEPT)}))
