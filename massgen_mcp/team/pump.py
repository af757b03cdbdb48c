"""A run in motion: commands become tasks, what they end in becomes events, until the engine says Finish.

Every event is journalled before the engine sees it, so that a run can be replayed from its journal alone.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import assert_never, cast

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
    Command,
    Event,
    Finish,
    Member,
    Notify,
    Outcome,
    StartTurn,
    StopTurn,
    Strategy,
    Turn,
    TurnKind,
    VoteCast,
    strategy,
)
from massgen_mcp.journal.records import Record
from massgen_mcp.team.briefs import Matter
from massgen_mcp.team.budget import Budget
from massgen_mcp.team.calls import Caller
from massgen_mcp.team.deadlines import Deadlines, in_time
from massgen_mcp.team.inbox import Inbox
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.minutes import Minutes
from massgen_mcp.team.reading import PastEvent, seconds_used
from massgen_mcp.team.recall import account, take_over
from massgen_mcp.team.replay import Past, PastTurn
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.shares import TurnBudgets
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
    snapshot: str = ""
    """Of the files that came with the answer."""
    made: Made = field(default_factory=Made)


class TeamRun:
    """One run of one team. `drive` it once; `cancel` it from any task of the same loop."""

    def __init__(
        self,
        spec: TeamSpec,
        *,
        ports: Ports,
        prices: Prices,
        log: EventLog,
        past: Sequence[Record] = (),
    ) -> None:
        self.spec = spec
        self.log = log
        self._past = Past(past)
        self._pasts: dict[int, PastTurn] = {}
        self._used = seconds_used(past)
        members = [Member(id=agent.id, weight=agent.weight) for agent in spec.agents]
        self.board = Board.begin(members, spec.settings)
        self.outcome: Outcome | None = None
        """What the engine has said that the run comes to; it may still break before it has ended."""
        self.seats = {agent.id: Seat(spec=agent, label=self.board.labels[agent.id]) for agent in spec.agents}
        limits = spec.limits
        self.budget = Budget(
            usd=limits.usd,
            tokens=limits.tokens,
            requests=limits.requests,
            unpriced_tokens=limits.unpriced_tokens,
        )
        self._budgets = TurnBudgets(self.budget, limits.shares)
        self._ports = ports
        self._prices = prices
        self._strategy: Strategy = strategy(spec.strategy)
        self._matter = Matter(
            question=spec.question,
            context=spec.context,
            tag=spec.tag or new_tag(ports.random),
            attached=spec.attached,
            earlier=spec.earlier,
        )
        self._minutes = Minutes(log, self.seats)
        self._inbox: Inbox[Event] = Inbox()
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._turns: dict[int, TurnInMotion] = {}
        self._places = {agent.id: anyio.Lock() for agent in spec.agents}
        """Of each agent: a turn begins when the one that was stopped for it has let go of tools and files."""
        self._began = ports.clock.monotonic() - self._used

    @property
    def seconds(self) -> float:
        """How long the run has been in motion, by all processes that drove it."""
        return self._ports.clock.monotonic() - self._began

    def cancel(self, reason: str) -> None:
        """Stop the run; it ends with the best answer so far."""
        self._tell(CancelRequested(reason=reason))

    async def drive(self) -> Ended:
        """Run the team to its outcome. Leaves no task and no connection behind.

        Raises:
            JournalError: the journal can't be written, so nothing more may be paid for.
            ReplayRefused: what the run did before can't be used again.
        """
        self._began = self._ports.clock.monotonic() - self._used
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
        self._budgets.charge(agent, usage)

    async def _drive(self, workshop: Workshop) -> Ended:
        ended: Ended | None = None
        deadlines = Deadlines(self.spec.limits, self._ports.clock, self._began, self._tell)
        closed = AnsweringClosed.__name__ in self._past.notices
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(deadlines.of_run, closed=closed))
            tasks.start_soon(self._watch)
            outcome = await self._pump(tasks, workshop, deadlines)
            ended = Ended(outcome=outcome, board=self.board, seconds=self.seconds)
            tasks.cancel_scope.cancel()
        if ended is None:
            raise AssertionError
        snapshot = self._files_of(ended.outcome)
        return replace(ended, snapshot=snapshot or "", made=await workshop.made(snapshot))

    def _files_of(self, outcome: Outcome) -> str | None:
        """The snapshot of the answer; of a presenter without a workspace that of what it presents."""
        answer = outcome.answer
        if answer is None or answer.snapshot or self.seats[answer.agent].toolset.workspace is not None:
            return answer.snapshot if answer else None
        return self.board.answer(self.board.chosen).snapshot if self.board.chosen else None

    async def _pump(self, tasks: TaskGroup, workshop: Workshop, deadlines: Deadlines) -> Outcome:
        step = self._strategy.start(self.board)
        while True:
            rounds = self.board.round
            self.board, self.outcome = step.board, _outcome_of(step.commands)
            self._at_once(step.commands)
            await self._write_down(step.commands)
            for command in step.commands:
                match command:
                    case StartTurn(turn=turn):
                        self._start(turn, tasks, workshop)
                    case StopTurn() | Notify():
                        pass
                    case Finish(outcome=outcome):
                        return outcome
                    case _:
                        assert_never(command)
            if self.board.round > rounds:
                tasks.start_soon(deadlines.of_round, self.board.round)
            event = await self._next(tasks)
            step = self._strategy.receive(self.board, event)
            if isinstance(event, AnsweringClosed | BudgetStopped):
                self._tell_turns(step.board)

    def _at_once(self, commands: Sequence[Command]) -> None:
        """What agents at work are told, before anything else can happen: so a replay tells them then."""
        for command in commands:
            if isinstance(command, Notify) and command.turn in self._turns:
                self._turns[command.turn].notify(command, self.board)
            elif isinstance(command, StopTurn):
                self._stop(command.agent, command.turn)

    async def _write_down(self, commands: Sequence[Command]) -> None:
        """The turns that a step stops and starts, as far as that is not written."""
        stops = [command for command in commands if isinstance(command, StopTurn)]
        turns = [command.turn for command in commands if isinstance(command, StartTurn)]
        self._pasts |= {turn.id: self._past.turn(turn) for turn in turns}
        await self._minutes.turns(
            stopped=[stop for stop in stops if not self._past.stopped(stop.turn)],
            started=[turn for turn in turns if self._pasts[turn.id].started is None],
        )

    async def _next(self, tasks: TaskGroup) -> Event:
        """What the engine is told next: what it was told before, then what happens now."""
        item = await self._past.next_event()
        return await self._live(tasks) if item is None else await self._repeated(item)

    async def _live(self, tasks: TaskGroup) -> Event:
        await self._past.over()
        event = await self._inbox.receive()
        while isinstance(event, VoteCast) and self._take_back(event, tasks):
            event = await self._inbox.receive()
        event = await self._minutes.event(event, self.board)
        if isinstance(event, AnswerGiven | VoteCast):
            self._take(event)
        return event

    async def _repeated(self, item: PastEvent) -> Event:
        event = item.event
        if isinstance(event, AnswerGiven | VoteCast):
            if not item.whole:
                how = "answer" if isinstance(event, AnswerGiven) else "vote"
                await self._minutes.ended(event.agent, event.turn, how)
            self._take(event)
        elif isinstance(event, Abstained | AgentFailed):
            seat, body = self.seats[event.agent], self._past.ended(event.turn)
            seat.state = "failed" if isinstance(event, AgentFailed) else "abstained"
            seat.error, seat.error_kind = body.get("why", ""), body.get("kind", "")
        return event

    def _take_back(self, event: VoteCast, tasks: TaskGroup) -> bool:
        """A vote cast while new answers came in: its agent reads of them and votes again."""
        turn = self.board.turns.get(event.agent)
        motion = self._turns[event.turn]
        if turn is None or turn.id != event.turn or not motion.take_back():
            return False
        scope = self._scopes[turn.id] = anyio.CancelScope()
        tasks.start_soon(self._work, motion, turn, scope)
        return True

    def _take(self, event: AnswerGiven | VoteCast) -> None:
        """A turn ended well. That counts unless it was stopped."""
        turn, seat = self.board.turns.get(event.agent), self.seats[event.agent]
        if turn is None or turn.id != event.turn:
            return
        presents = turn.kind in {TurnKind.PRESENT, TurnKind.SYNTHESIZE}
        seat.state = "voted" if isinstance(event, VoteCast) else "presented" if presents else "answered"
        seat.error = ""
        self._turns[event.turn].commit()

    def _tell(self, event: Event) -> None:
        self._inbox.put(event)

    # Turns.

    def _start(self, turn: Turn, tasks: TaskGroup, workshop: Workshop) -> None:
        past, seat = self._pasts[turn.id], self.seats[turn.agent]
        seat.state = "working"
        own_loop = seat.spec.info.kind == "runtime"
        budget = self._budgets.begin(turn.agent, self.board.round, own_loop=own_loop)
        account(seat, budget, past.inside, again=past.again)
        if not past.repeated:
            for record in past.fell_back:
                take_over(seat, record.body["model"], record.body["kind"])
            return
        self.log.activity(turn.agent, "", fresh=True)
        deadline = self._began + self.spec.limits.seconds
        motion = TurnInMotion(
            seat=seat,
            turn=turn,
            board=self.board,
            matter=self._matter,
            log=self.log,
            caller=Caller(
                log=self.log,
                budget=budget,
                ports=self._ports,
                prices=self._prices,
                deadline=deadline,
                past=past,
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
        try:
            with scope, span:
                async with self._places[turn.agent]:
                    event = await in_time(motion, self.spec.limits.shares.turn.seconds, self._ports.clock)
                if event is not None and motion.out_of_budget:
                    self._tell(BudgetStopped())
                if event is not None:
                    self._tell(event)
        finally:
            motion.leave()
        self._scopes.pop(turn.id, None)

    def _stop(self, agent: str, turn_id: int) -> None:
        scope = self._scopes.pop(turn_id, None)
        if scope is not None:
            scope.cancel()
        seat = self.seats[agent]
        if seat.state == "working":
            seat.state = "answered" if self.board.latest(agent) else "stopped"

    # Beside the turns.

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
                    for backend in (seat.backend, *seat.retired):
                        if backend is not None:
                            tasks.start_soon(_closed, seat.spec.id, backend)


def _outcome_of(commands: Sequence[Command]) -> Outcome | None:
    return next((command.outcome for command in commands if isinstance(command, Finish)), None)


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
