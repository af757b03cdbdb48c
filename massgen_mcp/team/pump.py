"""A run in motion: commands become tasks, what they end in becomes events, until the engine says Finish.

Every event is journalled before the engine sees it, so that a run can be replayed from its journal alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, assert_never, cast

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.prices import Prices
from massgen_mcp.engine import (
    Abstained,
    AgentFailed,
    AnswerGiven,
    AnsweringClosed,
    Board,
    BudgetStopped,
    CancelRequested,
    Event,
    Finish,
    Member,
    Notify,
    Outcome,
    RoundDeadline,
    RunDeadline,
    StartTurn,
    StopTurn,
    Strategy,
    ToolLoopEntered,
    Turn,
    VoteCast,
    strategy,
)
from massgen_mcp.team.briefs import Matter
from massgen_mcp.team.budget import Budget
from massgen_mcp.team.calls import Caller
from massgen_mcp.team.inbox import Inbox
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.spec import Made, Ports, TeamSpec, Workshop
from massgen_mcp.team.turn import TurnInMotion
from massgen_mcp.telemetry import turn_span
from massgen_mcp.text import new_tag
from massgen_mcp.usage import Usage

__all__ = ["Ended", "TeamRun"]

_logger = logging.getLogger(__name__)
_ACTIVITY_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that is over."""

    outcome: Outcome
    board: Board
    seconds: float
    made: Made = field(default_factory=Made)


class TeamRun:
    """One run of one team. `drive` it once; `cancel` it from any task of the same loop."""

    def __init__(self, spec: TeamSpec, *, ports: Ports, prices: Prices, log: EventLog) -> None:
        self.spec = spec
        self.log = log
        members = [Member(id=agent.id, weight=agent.weight) for agent in spec.agents]
        self.board = Board.begin(members, spec.settings)
        self.seats = {agent.id: Seat(spec=agent, label=self.board.labels[agent.id]) for agent in spec.agents}
        limits = spec.limits
        self.budget = Budget(
            usd=limits.usd,
            tokens=limits.tokens,
            requests=limits.requests,
            unpriced_tokens=limits.unpriced_tokens,
        )
        self._ports = ports
        self._prices = prices
        self._strategy: Strategy = strategy(spec.strategy)
        self._matter = Matter(
            question=spec.question,
            context=spec.context,
            tag=new_tag(ports.random),
            attached=spec.attached,
        )
        self._inbox: Inbox[Event] = Inbox()
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._turns: dict[int, TurnInMotion] = {}
        self._places = {agent.id: anyio.Lock() for agent in spec.agents}
        """Of each agent: a turn begins when the one that was stopped for it has let go of tools and files."""
        self._began = ports.clock.monotonic()

    @property
    def seconds(self) -> float:
        """How long the run has been in motion."""
        return self._ports.clock.monotonic() - self._began

    def cancel(self, reason: str) -> None:
        """Stop the run; it ends with the best answer so far."""
        self._tell(CancelRequested(reason=reason))

    async def drive(self) -> Ended:
        """Run the team to its outcome. Leaves no task and no connection behind.

        Raises:
            JournalError: the journal can't be written, so nothing more may be paid for.
        """
        self._began = self._ports.clock.monotonic()
        try:
            async with self._ports.open_workshop(
                self.log.run_id, self.spec, self._told, self._charged
            ) as workshop:
                return await self._drive(workshop)
        except BaseExceptionGroup as group:
            raise _cause(group) from group
        finally:
            await self._close()

    def _told(self, agent: str, words: str) -> None:
        """What an agent's tools are doing is something to show, like its own words."""
        self.log.activity(agent, f"[{words}] ")

    def _charged(self, agent: str, usage: Usage) -> None:
        """What a tool used of a provider counts like the agent's own requests."""
        seat = self.seats[agent]
        seat.usage += usage
        seat.charged += usage
        self.budget.charge(usage)

    async def _drive(self, workshop: Workshop) -> Ended:
        ended: Ended | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_time)
            tasks.start_soon(self._watch)
            ended = Ended(outcome=await self._pump(tasks, workshop), board=self.board, seconds=self.seconds)
            tasks.cancel_scope.cancel()
        if ended is None:
            raise AssertionError
        return replace(ended, made=await workshop.made(self._files_of(ended.outcome)))

    def _files_of(self, outcome: Outcome) -> str | None:
        """The snapshot of the answer; of a presenter without a workspace that of what it presents."""
        answer = outcome.answer
        if answer is None or answer.snapshot or self.seats[answer.agent].toolset.workspace is not None:
            return answer.snapshot if answer else None
        return self.board.answer(self.board.chosen).snapshot if self.board.chosen else None

    async def _pump(self, tasks: TaskGroup, workshop: Workshop) -> Outcome:
        step = self._strategy.start(self.board)
        while True:
            rounds = self.board.round
            self.board = step.board
            for command in step.commands:
                match command:
                    case StartTurn(turn=turn):
                        await self._start(turn, tasks, workshop)
                    case StopTurn(agent=agent, turn=turn_id):
                        await self._stop(agent, turn_id)
                    case Notify(turn=turn_id):
                        self._turns[turn_id].notify(command, self.board)
                    case Finish(outcome=outcome):
                        return outcome
                    case _:
                        assert_never(command)
            if self.board.round > rounds:
                tasks.start_soon(self._end_round, self.board.round)
            event = await self._inbox.receive()
            await self._journal(event)
            step = self._strategy.receive(self.board, event)
            if isinstance(event, AnsweringClosed | BudgetStopped):
                self._tell_turns(step.board)

    def _tell(self, event: Event) -> None:
        self._inbox.put(event)

    # Turns.

    async def _start(self, turn: Turn, tasks: TaskGroup, workshop: Workshop) -> None:
        body = {"agent": turn.agent, "kind": turn.kind, "ballot": turn.ballot, "shown": list(turn.shown)}
        await self.log.append("TurnStarted", body, turn=turn.id)
        seat = self.seats[turn.agent]
        seat.state = "working"
        self.log.activity(turn.agent, "", fresh=True)
        deadline = self._began + self.spec.limits.seconds
        motion = TurnInMotion(
            seat=seat,
            turn=turn,
            board=self.board,
            matter=self._matter,
            log=self.log,
            caller=Caller(
                log=self.log, budget=self.budget, ports=self._ports, prices=self._prices, deadline=deadline
            ),
            workshop=workshop,
            tell=self._tell,
        )
        self._turns[turn.id] = motion
        scope = self._scopes[turn.id] = anyio.CancelScope()
        tasks.start_soon(self._work, motion, turn, scope)

    def _tell_turns(self, board: Board) -> None:
        """Turns under way hear that answering is over; one yet to start begins with that."""
        for turn in board.turns.values():
            if turn.id in self._turns:
                self._turns[turn.id].follow(turn)

    async def _work(self, motion: TurnInMotion, turn: Turn, scope: anyio.CancelScope) -> None:
        span = turn_span(agent=turn.agent, kind=turn.kind, turn=turn.id, ballot=turn.ballot)
        with scope, span:
            async with self._places[turn.agent]:
                event = await motion.run()
            if motion.out_of_budget:
                self._tell(BudgetStopped())
            self._tell(event)
        self._scopes.pop(turn.id, None)

    async def _stop(self, agent: str, turn_id: int) -> None:
        scope = self._scopes.pop(turn_id, None)
        if scope is not None:
            scope.cancel()
            seat = self.seats[agent]
            seat.state = "answered" if self.board.latest(agent) else "stopped"
        await self.log.append("TurnEnded", {"agent": agent, "how": "stopped"}, turn=turn_id)

    # The journal.

    async def _journal(self, event: Event) -> None:
        """Write down what the engine is about to be told."""
        match event:
            case AnswerGiven() | VoteCast() | Abstained() | AgentFailed() | ToolLoopEntered():
                running = self.board.turns.get(event.agent)
                if running is None or running.id != event.turn:
                    await self._notice(event, late=True)
                else:
                    await self._journal_of_turn(event)
            case RoundDeadline() | AnsweringClosed() | RunDeadline() | BudgetStopped() | CancelRequested():
                await self._notice(event)
            case _:
                assert_never(event)

    async def _journal_of_turn(
        self, event: AnswerGiven | VoteCast | Abstained | AgentFailed | ToolLoopEntered
    ) -> None:
        agent, turn = event.agent, event.turn
        match event:
            case AnswerGiven():
                latest = self.board.latest(agent)
                revision = latest.revision + 1 if latest else 1
                body: Mapping[str, Any] = {
                    "agent": agent,
                    "id": f"{agent}.{revision}",
                    "label": f"{self.board.labels[agent]}.{revision}",
                    "revision": revision,
                    "content": event.content,
                    "conclusion": event.conclusion,
                } | ({"snapshot": event.snapshot} if event.snapshot else {})
                await self.log.append("AnswerGiven", body, turn=turn)
                await self._turn_ended(agent, turn, "answer")
            case VoteCast():
                answer = self.board.answer(event.answer)
                body = {
                    "agent": agent,
                    "answer": event.answer,
                    "label": self.board.label(answer),
                    "reason": event.reason,
                    "add": list(event.add),
                    "ballot": self.board.ballot,
                }
                await self.log.append("VoteCast", body, turn=turn)
                await self._turn_ended(agent, turn, "vote")
            case Abstained(why=why):
                await self._turn_ended(agent, turn, "abstained", why)
            case AgentFailed(error=error):
                await self._turn_ended(agent, turn, "failed", error)
            case ToolLoopEntered():
                await self._notice(event)

    async def _turn_ended(self, agent: str, turn: int, how: str, why: str = "") -> None:
        body = {"agent": agent, "how": how} | ({"why": why} if why else {})
        await self.log.append("TurnEnded", body, turn=turn)

    async def _notice(self, event: Event, *, late: bool = False) -> None:
        body = {"event": type(event).__name__, **asdict(event)} | ({"late": True} if late else {})
        await self.log.append("Notice", body)

    # Time.

    async def _keep_time(self) -> None:
        limits, clock = self.spec.limits, self._ports.clock
        await clock.sleep(limits.answering_seconds)
        self._tell(AnsweringClosed())
        await clock.sleep(self._began + limits.seconds - clock.monotonic())
        self._tell(RunDeadline())

    async def _end_round(self, number: int) -> None:
        seconds = self.spec.limits.round(number)
        if seconds is not None:
            await self._ports.clock.sleep(seconds)
            self._tell(RoundDeadline(round=number))

    async def _watch(self) -> None:
        """Show other processes what goes on, and listen to their wish to stop."""
        while True:
            await self._ports.clock.sleep(_ACTIVITY_SECONDS)
            await self.log.show_activity()
            reason = await self.log.cancel_requested()
            if reason is not None:
                self._tell(CancelRequested(reason=reason))
                return

    async def _close(self) -> None:
        """Let all backends go, side by side: processes of agents take their time to end."""
        with anyio.move_on_after(5, shield=True):
            async with anyio.create_task_group() as tasks:
                for seat in self.seats.values():
                    if seat.backend is not None:
                        tasks.start_soon(_closed, seat.spec.id, seat.backend)


async def _closed(agent: str, backend: Backend) -> None:
    try:
        await backend.aclose()
    except Exception:
        # Shutdown of a run: what one backend leaves behind costs neither the answer nor the others' end.
        _logger.exception("the backend of agent %s was not closed well", agent)


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error that ended a run; a cancellation from outside only if there is nothing else."""
    leaves = [
        _cause(cast("BaseExceptionGroup[BaseException]", error))
        if isinstance(error, BaseExceptionGroup)
        else error
        for error in group.exceptions
    ]
    return next((error for error in leaves if isinstance(error, Exception)), leaves[0])
