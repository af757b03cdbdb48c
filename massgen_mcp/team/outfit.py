"""An agent's tools and folders, made ready for one turn."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from massgen_mcp.engine import Board, Turn, TurnKind
from massgen_mcp.errors import BackendError
from massgen_mcp.team.briefs import handed_on
from massgen_mcp.team.calls import Caller
from massgen_mcp.team.conversation import Conversation
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.spec import Workshop
from massgen_mcp.team.view import View
from massgen_mcp.tools.toolset import Situation

__all__ = ["Outfit"]


class Outfit:
    """What the agent of one turn works with, beside its model."""

    def __init__(self, seat: Seat, turn: Turn, board: Board, *, caller: Caller, workshop: Workshop) -> None:
        self._seat = seat
        self._turn = turn
        self._board = board
        self._caller = caller
        self._past = caller.past
        self._workshop = workshop
        self._presents = turn.kind in {TurnKind.PRESENT, TurnKind.SYNTHESIZE}

    async def take(self, view: View, conversation: Conversation) -> None:
        """Get the agent's tools, its folders as they are for this turn, and tell it of them.

        The first turn waits until the tools are up; its model is opened meanwhile.

        Raises:
            BackendError: the tools can't be had as the team file wants them.
        """
        seat = self._seat
        await self._take_tools()
        self.note(seat.toolset.warnings)
        label, start = handed_on(self._turn, self._board) if seat.toolset.workspace else ("", "")
        await self._begin(view, start)
        if start:
            conversation.add_to_task(f"Your workspace now holds the files of {label}.")
        if self._presents and seat.toolset.presenting:
            conversation.add_to_task(seat.toolset.presenting)
        if not seat.conversation and seat.toolset.guidance:
            conversation.add_to_opening(seat.toolset.guidance)

    async def look(self, view: View) -> None:
        """Let it look into the work behind the answers that it has been told of."""
        if not self._past.over:
            await self._seat.toolset.begin(Situation(presents=self._presents, shown=view.snapshots))

    async def snapshot(self) -> str | None:
        """What its workspace holds as it hands in an answer."""
        return None if self._past.over else await self._seat.toolset.snapshot() or None

    def note(self, warnings: Sequence[str]) -> None:
        """Say what could not be had, once."""
        self._seat.warnings += [words for words in warnings if words not in self._seat.warnings]

    async def _take_tools(self) -> None:
        failure: BackendError | None = None
        async with anyio.create_task_group() as tasks:
            if not self._past.over:
                tasks.start_soon(self._caller.prepare, self._seat)
            try:
                self._seat.toolset = await self._workshop.toolset(self._seat.spec.id)
            except BackendError as error:
                failure = error
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _begin(self, view: View, start: str) -> None:
        """Make the folders ready. A turn that had begun goes on with what it left there."""
        if self._past.over and not self._presents:
            return
        if self._past.begun:
            start = self._restart()
        situation = Situation(
            presents=self._presents, shown=view.snapshots, start=start, resumed=self._past.begun
        )
        await self._seat.toolset.begin(situation)

    def _restart(self) -> str:
        """The snapshot that a runtime's turn began with, where that turn was cut off; else empty."""
        steps = self._past.steps
        if self._seat.spec.info.kind != "runtime" or not steps or steps[-1].outcome is not None:
            return ""
        self.note(["its turn was under way when the process ended, and ran again from its beginning"])
        return str(steps[-1].started.body.get("snapshot", ""))
