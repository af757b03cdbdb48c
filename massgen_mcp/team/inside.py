"""What an agent runtime calls from inside its own loop: its tools, and what its turn ends in."""

from __future__ import annotations

from collections.abc import Callable

from massgen_mcp.messages import Reply, ToolCall, ToolResult
from massgen_mcp.team.budget import BudgetSpent
from massgen_mcp.team.news import News
from massgen_mcp.team.slips import Slips
from massgen_mcp.team.tool_use import ToolUse
from massgen_mcp.team.view import View
from massgen_mcp.team.workflow import WORKFLOW_TOOLS, Cast, Slip, read_reply

__all__ = ["Inside"]

_WORKFLOW = frozenset(tool.name for tool in WORKFLOW_TOOLS)


class Inside:
    """The team's side of one request to a runtime, in which it makes any number of calls.

    Args:
        view: what its turn may end in.
        slips: of its turn.
        tool_use: of its turn.
        news: of its turn.
        enter_tools: told before its first call of a tool.
    """

    def __init__(
        self, view: View, slips: Slips, tool_use: ToolUse, news: News, *, enter_tools: Callable[[], None]
    ) -> None:
        self._view = view
        self._slips = slips
        self._tool_use = tool_use
        self._news = news
        self._enter_tools = enter_tools
        self.ended_by: ToolCall | None = None
        """The call that ended the turn."""
        self.spent: BudgetSpent | None = None
        """Why its last tool call was not made."""

    def handed_in(self, before: ToolCall | None = None) -> ToolCall | None:
        """The answer or vote that the turn has ended in; `before`: what the journal says that did."""
        call = self.ended_by or before
        return call if call is not None and call.name in _WORKFLOW else None

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call; `ended_by` says whether the turn is over with that."""
        if self.ended_by is not None:
            return _refused(call, "Your turn is over. Stop now.")
        if call.name not in _WORKFLOW:
            return await self._use(call)
        decision = read_reply(Reply(calls=(call,)), workflow="tools", wanted=self._view.wanted)
        match decision:
            case Cast() | Slip() if self._view.news:
                return await self._news.after(_refused(call, "Not recorded."))
            case Slip():
                return self._slip(call, decision)
            case _:
                self.ended_by = call
                return ToolResult(call_id=call.id, content="Recorded. Your turn is over: stop now.")

    async def _use(self, call: ToolCall) -> ToolResult:
        self._enter_tools()
        try:
            result = await self._tool_use.run(call)
        except BudgetSpent as error:
            self.spent = error
            return _refused(call, f"{error} Hand in now.")
        # Of calls in parallel one may have handed in an answer by now, and that stands.
        if self.ended_by is None and self._tool_use.exhausted():
            self.ended_by = call
        return await self._news.after(result)

    def _slip(self, call: ToolCall, slip: Slip) -> ToolResult:
        """Tell the runtime what was wrong. The slip that is one too many ends the turn, and counts then."""
        if self._slips.ends_with(slip):
            self.ended_by = call
        else:
            self._slips.refused(slip)
        return _refused(call, slip.why)


def _refused(call: ToolCall, words: str) -> ToolResult:
    return ToolResult(call_id=call.id, content=words, is_error=True)
