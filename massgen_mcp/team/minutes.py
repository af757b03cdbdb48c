"""What becomes of a run's turns, written down before the engine is told and before agents go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, assert_never

from massgen_mcp.engine import (
    Abstained,
    AgentFailed,
    AgentId,
    AnswerGiven,
    AnsweringClosed,
    Board,
    BudgetStopped,
    CancelRequested,
    Event,
    RoundDeadline,
    RunDeadline,
    StopTurn,
    ToolLoopEntered,
    Turn,
    VoteCast,
)
from massgen_mcp.journal.records import Entry
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.seat import Seat

__all__ = ["Minutes"]


class Minutes:
    """The minutes of one run."""

    def __init__(self, log: EventLog, seats: Mapping[AgentId, Seat]) -> None:
        self._log = log
        self._seats = seats

    async def turns(self, *, stopped: Sequence[StopTurn], started: Sequence[Turn]) -> None:
        """Turns that are stopped and started by one step."""
        ends = [_end(stop.agent, stop.turn, {"how": "stopped"}) for stop in stopped]
        begins = [
            Entry(
                kind="TurnStarted",
                body={"agent": turn.agent, "kind": turn.kind, "ballot": turn.ballot, "shown": [*turn.shown]},
                turn=turn.id,
            )
            for turn in started
        ]
        if ends or begins:
            await self._log.append_all([*ends, *begins])

    async def event(self, event: Event, board: Board) -> Event:
        """What the engine is about to be told; returned as it was written, so without secrets."""
        match event:
            case AnswerGiven() | VoteCast() | Abstained() | AgentFailed() | ToolLoopEntered():
                running = board.turns.get(event.agent)
                if running is not None and running.id == event.turn:
                    return await self._of_turn(event, board)
                await self._notice(event, late=True)
            case RoundDeadline() | AnsweringClosed() | RunDeadline() | BudgetStopped() | CancelRequested():
                await self._notice(event)
            case _:
                assert_never(event)
        return event

    async def ended(self, agent: AgentId, turn: int, how: str) -> None:
        """How a turn ended of which all else is written."""
        await self._log.append_all([_end(agent, turn, {"how": how})])

    async def _of_turn(
        self, event: AnswerGiven | VoteCast | Abstained | AgentFailed | ToolLoopEntered, board: Board
    ) -> Event:
        agent, turn = event.agent, event.turn
        match event:
            case AnswerGiven():
                first = Entry(kind="AnswerGiven", body=_answer_body(event, board), turn=turn)
                end = _end(agent, turn, {"how": "answer"})
                written = (await self._log.append_all([first, end]))[0].body
                return replace(event, content=written["content"], conclusion=written["conclusion"])
            case VoteCast():
                first = Entry(kind="VoteCast", body=_vote_body(event, board), turn=turn)
                end = _end(agent, turn, {"how": "vote"})
                written = (await self._log.append_all([first, end]))[0].body
                return replace(event, reason=written["reason"])
            case Abstained(why=why):
                await self._without_result(agent, turn, "abstained", why)
            case AgentFailed(error=error):
                await self._without_result(agent, turn, "failed", error)
            case ToolLoopEntered():
                await self._notice(event)
        return event

    async def _without_result(self, agent: AgentId, turn: int, how: str, why: str) -> None:
        body = {"how": how, "why": why, "kind": self._seats[agent].error_kind}
        await self._log.append_all([_end(agent, turn, body)])

    async def _notice(self, event: Event, *, late: bool = False) -> None:
        body = {"event": type(event).__name__, **asdict(event)} | ({"late": True} if late else {})
        await self._log.append("Notice", body)


def _end(agent: AgentId, turn: int, body: Mapping[str, str]) -> Entry:
    kept = {key: value for key, value in body.items() if value}
    return Entry(kind="TurnEnded", body={"agent": agent, **kept}, turn=turn)


def _answer_body(event: AnswerGiven, board: Board) -> dict[str, Any]:
    latest = board.latest(event.agent)
    revision = latest.revision + 1 if latest else 1
    return {
        "agent": event.agent,
        "id": f"{event.agent}.{revision}",
        "label": f"{board.labels[event.agent]}.{revision}",
        "revision": revision,
        "content": event.content,
        "conclusion": event.conclusion,
    } | ({"snapshot": event.snapshot} if event.snapshot else {})


def _vote_body(event: VoteCast, board: Board) -> dict[str, Any]:
    return {
        "agent": event.agent,
        "answer": event.answer,
        "label": board.label(board.answer(event.answer)),
        "reason": event.reason,
        "add": list(event.add),
        "ballot": board.turns[event.agent].ballot,
    }
