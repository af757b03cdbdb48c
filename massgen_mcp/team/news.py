"""How the agent of one turn hears of answers that came in while it was at work."""

from __future__ import annotations

from dataclasses import replace

from massgen_mcp.engine import Turn
from massgen_mcp.messages import ToolResult
from massgen_mcp.team.calls import Caller
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.outfit import Outfit
from massgen_mcp.team.replay import NEWS
from massgen_mcp.team.tool_use import ToolUse
from massgen_mcp.team.view import View

__all__ = ["News"]


class News:
    """Told with a tool's result, or in place of a vote that was cast too soon; written down first."""

    def __init__(
        self, turn: Turn, view: View, outfit: Outfit, *, log: EventLog, caller: Caller, tool_use: ToolUse
    ) -> None:
        self._turn = turn
        self._view = view
        self._outfit = outfit
        self._log = log
        self._caller = caller
        self._past = caller.past
        self._tool_use = tool_use

    @property
    def _last(self) -> int:
        """The number of the newest request or tool call."""
        return max(self._caller.last, self._tool_use.last)

    async def due(self) -> bool:
        """Whether the agent is to be told of new answers now.

        What was told, or not told, before the run was taken up again is so again.
        """
        if await self._past.told_news(self._last):
            return True
        return bool(self._view.news) and not self._past.steps and not self._past.over

    async def tell(self) -> str:
        """Write down that the agent hears of new answers. Returns all that has come in until then.

        From now on it may look into the work behind them.
        """
        if self._last not in self._past.news:
            body = {"event": NEWS, "agent": self._turn.agent}
            await self._log.append("Notice", body, turn=self._turn.id, call=self._last)
        words = self._view.take_news()
        self._view.offer()
        await self._outfit.look(self._view)
        return words

    async def after(self, result: ToolResult) -> ToolResult:
        """A call's result, with what is due to be told."""
        if not await self.due():
            return result
        words = await self.tell()
        # Of a runtime's calls in parallel another one may have been told by now.
        return replace(result, content=f"{result.content}\n\n{words}") if words else result
