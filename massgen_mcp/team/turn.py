"""One agent's turn: prompt, model requests, tool calls, until it ends in an answer or a vote.

A model's calls are run between its requests; an agent runtime makes them itself, through `TurnInMotion.call`.

Every request and tool call is journalled before it is made, every reply and result before it is used. Slips
are answered as the coordination page says; an agent is never dropped for one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import anyio

from massgen_mcp.engine import (
    Abstained,
    AgentFailed,
    AnswerGiven,
    AnswerId,
    Board,
    Event,
    Notify,
    ToolLoopEntered,
    Turn,
    TurnKind,
    VoteCast,
    conclusion_of,
)
from massgen_mcp.errors import BackendError, JournalError, ReplayRefused, RunNotFound, RunTaken
from massgen_mcp.messages import Message, Reply, Request, ToolCall, ToolResult
from massgen_mcp.team.briefs import Matter, brief_turn, handed_on, shown_answers, wanted_vote
from massgen_mcp.team.budget import BudgetSpent
from massgen_mcp.team.calls import Caller
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.prompts import news_text, reminder_text
from massgen_mcp.team.replay import NEWS, NothingKnown
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.spec import Workshop
from massgen_mcp.team.tool_use import ToolUse
from massgen_mcp.team.workflow import (
    WORKFLOW_TOOLS,
    Cast,
    Plain,
    Slip,
    Submit,
    UseTools,
    constrained_schema,
    fit_answer,
    fit_conclusion,
    read_reply,
)
from massgen_mcp.text import shorten
from massgen_mcp.tools.toolset import Situation

__all__ = ["MAX_SLIPS", "TurnInMotion"]

_logger = logging.getLogger(__name__)
MAX_SLIPS = 3
"""Calls in a row that can't be taken before the turn ends."""
_WORKFLOW = frozenset(tool.name for tool in WORKFLOW_TOOLS)


@dataclass(slots=True)
class _Slips:
    """How often this turn has gone wrong, by kind."""

    calls: int = 0
    """In a row: a call that was taken ends the row."""
    votes: int = 0
    plain: int = 0


class TurnInMotion:
    """A turn from its prompt to the event it ends in."""

    def __init__(
        self,
        *,
        seat: Seat,
        turn: Turn,
        board: Board,
        matter: Matter,
        log: EventLog,
        caller: Caller,
        workshop: Workshop,
        tell: Callable[[Event], None],
    ) -> None:
        self._seat = seat
        self._turn = turn
        self._board = board
        self._matter = matter
        self._caller = caller
        self.past = caller.past
        """What was journalled of it before."""
        self._log = log
        self._workshop = workshop
        self._tool_use = ToolUse(seat, turn.id, log=log, caller=caller)
        self._tell = tell
        start = brief_turn(seat, turn, board, matter)
        self._messages = list(start.messages)
        self._wanted = start.wanted
        """What it may end in now."""
        self._offered = start.wanted
        """The same as of the newest record: the next request is built of that, in a replay too."""
        self._labels = dict(start.labels)
        self._brief = start.brief
        self._shown = tuple(turn.shown)
        self._inside = seat.spec.info.kind == "runtime"
        self._news = ""
        """What is to be told of new answers."""
        self._new: tuple[AnswerId, ...] = ()
        """Those answers."""
        self._kept: tuple[Message, ...] = ()
        self._cast: Reply | None = None
        """The reply with its vote, once it is over with that."""
        self._forced: str | None = None
        self._slips = _Slips()
        self._in_tools = False
        self.ended_by: ToolCall | None = None
        """The call that ended an agent runtime's turn."""
        self.out_of_budget = False
        """Whether the turn ended since nothing was left to spend for any other, either."""

    def notify(self, command: Notify, board: Board) -> None:
        """Answers have come in while the agent uses tools: it reads of them with its next tool result."""
        self._board, self._shown = board, command.shown
        answers = [board.answer(answer_id) for answer_id in command.shown]
        self._labels |= {board.label(answer): answer.id for answer in answers}
        turn = board.turns[command.agent]
        self._wanted = wanted_vote(turn, board)
        # What came in before and was not told yet is news still.
        self._new = tuple(item for item in command.shown if item in (*self._new, *command.new))
        new = [board.answer(answer_id) for answer_id in self._new]
        self._news = news_text(
            shown_answers(board, new, command.agent), self._wanted.labels, self._matter.tag
        )

    def follow(self, turn: Turn) -> None:
        """Answering has closed while the turn runs: from the next request on it can only end in a vote."""
        if turn.kind is TurnKind.VOTE and not turn.may_answer:
            self._wanted = replace(self._wanted, answer=False)

    def take_back(self) -> bool:
        """Whether its vote was cast before its agent could read of newer answers. Run it again then."""
        if not self._news or self._cast is None:
            return False
        self._kept = ()
        while self._messages[-1].role != "assistant":
            self._messages.pop()
        return True

    async def run(self) -> Event | None:
        """Work until the turn ends, and say in what; None for one that was over before the run was resumed.

        Raises:
            JournalError, RunTaken, RunNotFound: what it does can't be kept, so it must not be paid for: the
                run ends.
            ReplayRefused: what it did before can't be used again.
        """
        event = await self._ended()
        if not self.past.over:
            return event
        if not isinstance(event, AnswerGiven | VoteCast):
            self._recall()
        return None

    async def _ended(self) -> Event | None:
        try:
            return await self._work()
        except NothingKnown:
            return None
        except BudgetSpent as error:
            self.out_of_budget = error.ends_run
            self._seat.error_kind = "budget"
            return self._abstain(str(error))
        except BackendError as error:
            self._seat.error_kind = error.kind
            return self._fail(str(error), error.kind)
        except (JournalError, ReplayRefused, RunTaken, RunNotFound):
            raise
        except Exception:
            # The edge of a turn: a defect costs one agent, and is told.
            _logger.exception("the turn of agent %s broke", self._turn.agent)
            return self._fail(
                "A defect in massgen-mcp ended its turn; the log on stderr has the details.", ""
            )
        finally:
            self._note(self._seat.toolset.warnings)

    async def _work(self) -> Event:
        taken_back, self._cast = self._cast, None
        if taken_back is None:
            await self._take_tools()
        else:
            await self._tell_news(taken_back)
        while True:
            reply = await self._reply()
            self._offered = self._wanted
            self._messages.append(reply.message())
            decision = read_reply(reply, workflow=self._seat.spec.info.workflow, wanted=self._wanted)
            match decision:
                case Submit():
                    self._close(reply, "Recorded.")
                    return await self._answer(decision.content, decision.conclusion)
                case Cast() | Slip() if await self._news_due():
                    end = await self._tell_news(reply)
                case Cast():
                    self._cast = reply
                    self._close(reply, "Recorded.")
                    return self._vote(decision)
                case UseTools():
                    end = await self._use_tools(decision.calls)
                case Plain():
                    end = await self._plain(decision.text)
                case Slip():
                    end = await self._slip(reply, decision)
            if end is not None:
                return end

    async def _reply(self) -> Reply:
        """What the agent says next. A runtime that handed something in has done so, however it ends then."""
        self.ended_by = None
        if await self.past.hears_news():
            self._news, self._new = "", ()
        try:
            return await self._asked()
        except (BackendError, BudgetSpent) as error:
            call = self._handed_in()
            if call is None:
                raise
            self.out_of_budget = isinstance(error, BudgetSpent) and error.ends_run
            return Reply(calls=(call,))

    async def _asked(self) -> Reply:
        """The model's reply, or that of the first fallback that gives one."""
        while True:
            try:
                return await self._caller.request(
                    self._seat, self._turn, self._request(), self, observed=self._enter_tools
                )
            except BackendError as error:
                if self._handed_in() is not None or not self._caller.fall_back(self._seat, error):
                    raise
                # One model's own items mean nothing to another.
                self._messages = [replace(message, native=None) for message in self._messages]

    @property
    def has_handed_in(self) -> bool:
        """Whether an agent runtime has answered or voted, and only has to stop."""
        return self._handed_in() is not None

    def run_out(self, seconds: float) -> Event | None:
        """Its own time is over: one for an answer fails, one for a vote abstains; None for an old one."""
        if self.past.over:
            return None
        self._seat.error_kind = "timeout"
        why = f"Its turn had not ended after {seconds:g} s (`budget.per_turn.seconds`)."
        return self._abstain(why) if self._turn.kind is TurnKind.VOTE else self._fail(why, "timeout")

    def _handed_in(self) -> ToolCall | None:
        """The answer or vote that a runtime's turn has ended in."""
        call = self.ended_by or self._caller.handed_in
        return call if call is not None and call.name in _WORKFLOW else None

    async def _take_tools(self) -> None:
        """The agent's tools, as they are for this turn; the first turn waits until they are up."""
        seat = self._seat
        failure: BackendError | None = None
        async with anyio.create_task_group() as tasks:
            if not self.past.over:
                tasks.start_soon(self._caller.prepare, seat)
            try:
                seat.toolset = await self._workshop.toolset(seat.spec.id)
            except BackendError as error:
                failure = error
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        self._note(seat.toolset.warnings)
        label, start = handed_on(self._turn, self._board) if seat.toolset.workspace else ("", "")
        await self._begin(start)
        if start:
            task = self._messages[-1]
            words = f"Your workspace now holds the files of {label}."
            self._messages[-1] = replace(task, text=f"{task.text}\n\n{words}")
        if self._presenting and seat.toolset.presenting:
            task = self._messages[-1]
            self._messages[-1] = replace(task, text=f"{task.text}\n\n{seat.toolset.presenting}")
        if not seat.conversation and seat.toolset.guidance:
            opening = self._messages[0]
            self._messages[0] = replace(opening, text=f"{opening.text}\n\n{seat.toolset.guidance}")

    async def _begin(self, start: str) -> None:
        """Make the agent's folders ready. A turn that had begun goes on with what it left there."""
        if self.past.over and not self._presenting:
            return
        if self.past.begun:
            start = self._restart()
        situation = Situation(
            presents=self._presenting, shown=self._snapshots(), start=start, resumed=self.past.begun
        )
        await self._seat.toolset.begin(situation)

    def _restart(self) -> str:
        """The snapshot that a runtime's turn began with, where that turn was cut off; else empty."""
        steps = self.past.steps
        if not self._inside or not steps or steps[-1].outcome is not None:
            return ""
        self._note(["its turn was under way when the process ended, and ran again from its beginning"])
        return str(steps[-1].started.body.get("snapshot", ""))

    def _note(self, warnings: Sequence[str]) -> None:
        self._seat.warnings += [words for words in warnings if words not in self._seat.warnings]

    def _snapshots(self) -> dict[str, str]:
        """Label -> snapshot of each answer that may be looked into now."""
        answers = [self._board.answer(answer_id) for answer_id in self._shown]
        return {self._board.label(answer): answer.snapshot for answer in answers if answer.snapshot}

    def _request(self) -> Request:
        workflow = self._seat.spec.info.workflow
        tools = self._seat.toolset.specs
        if workflow == "tools":
            tools = (*WORKFLOW_TOOLS, *tools)
        return Request(
            messages=tuple(self._messages),
            tools=tools,
            tool_choice=self._forced if workflow == "tools" else None,
            schema=constrained_schema(self._offered) if workflow == "json_schema" else None,
            max_tokens=self._seat.spec.options.max_tokens,
            brief=self._brief,
        )

    # How a turn ends.

    async def _answer(self, content: str, conclusion: str) -> Event:
        snapshot = "" if self.past.over else await self._seat.toolset.snapshot()
        return AnswerGiven(
            agent=self._turn.agent,
            turn=self._turn.id,
            content=content,
            conclusion=conclusion,
            snapshot=snapshot or None,
        )

    def _vote(self, cast: Cast) -> Event:
        return VoteCast(
            agent=self._turn.agent,
            turn=self._turn.id,
            answer=self._labels[cast.label],
            reason=cast.reason,
            add=tuple(self._labels[label] for label in cast.add),
        )

    def _abstain(self, why: str) -> Event:
        self._seat.state = "abstained"
        self._seat.error = why
        return Abstained(agent=self._turn.agent, turn=self._turn.id, why=why)

    def _fail(self, why: str, kind: str) -> Event:
        self._seat.state = "failed"
        self._seat.error = why
        return AgentFailed(agent=self._turn.agent, turn=self._turn.id, error=why, kind=kind)

    @property
    def _presenting(self) -> bool:
        return self._turn.kind in {TurnKind.PRESENT, TurnKind.SYNTHESIZE}

    def _close(self, reply: Reply, words: str) -> None:
        """Answer every open call, so that a later turn can go on from here; keep the conversation."""
        if reply.calls:
            results = tuple(ToolResult(call_id=call.id, content=words) for call in reply.calls)
            self._messages.append(Message(role="tool", results=results))
        self._keep()

    def _keep(self) -> None:
        """The turn has ended well: its conversation is what the agent's next one begins with."""
        self._kept = tuple(self._messages)

    def commit(self) -> None:
        """The answer or vote was taken: the agent goes on from here. A stopped turn leaves no trace."""
        if self._kept:
            self._seat.conversation = self._kept
            self._seat.seen |= set(self._labels.values())

    def _recall(self) -> None:
        """A turn that ended well and is not known step by step: the conversation holds what it came to."""
        given = self.past.given
        said = given.content if isinstance(given, AnswerGiven) else ""
        if isinstance(given, VoteCast):
            said = f"I vote for {self._board.label(self._board.answer(given.answer))}. {given.reason}"
        self._messages = [message for message in self._messages if message.role in {"system", "user"}]
        self._messages.append(Message(role="assistant", text=said))
        self._keep()

    # What does not end it yet.

    async def _plain(self, text: str) -> Event | None:
        if self._wanted.answer and not self._wanted.labels:
            self._keep()
            return await self._answer(fit_answer(text), fit_conclusion(conclusion_of(text)))
        self._slips.plain += 1
        if self._slips.plain > 1:
            return self._abstain("It replied in plain text twice instead of voting.")
        self._forced = None if self._wanted.answer else "vote"
        words = reminder_text(self._wanted.labels, may_answer=self._wanted.answer)
        self._messages.append(Message(role="user", text=words))
        return None

    async def _slip(self, reply: Reply, slip: Slip) -> Event | None:
        self._slips.calls += 1
        self._slips.votes += slip.vote
        if self._slips.votes > 1 or (self._wanted.labels and self._slips.calls >= MAX_SLIPS):
            return self._abstain(f"It handed in no valid vote. {slip.why}")
        if self._slips.calls >= MAX_SLIPS:
            return self._fail(f"It handed in no readable answer. {slip.why}", "protocol")
        if self._inside or self._seat.spec.info.workflow != "tools":
            self._messages.append(Message(role="user", text=slip.why))
            return None
        self._messages[-1] = self._tool_use.shrunk(self._messages[-1], slip.errors)
        others = [call for call in reply.calls if call.id not in slip.errors]
        ran = [await self._tool_use.run(call) for call in others]
        refused = [
            ToolResult(call_id=call_id, content=words, is_error=True)
            for call_id, words in slip.errors.items()
        ]
        self._messages.append(Message(role="tool", results=(*refused, *ran)))
        return None

    async def _tell_news(self, reply: Reply) -> None:
        """A vote that was cast before its agent could read of newer answers is asked for again."""
        news = await self._hear_news()
        if reply.calls and not self._inside:
            self._messages[-1] = self._tool_use.shrunk(self._messages[-1], {call.id for call in reply.calls})
            words = f"Not recorded: {news}"
            results = tuple(ToolResult(call_id=call.id, content=words, is_error=True) for call in reply.calls)
            self._messages.append(Message(role="tool", results=results))
        else:
            self._messages.append(Message(role="user", text=news))

    async def _use_tools(self, calls: tuple[ToolCall, ...]) -> Event | None:
        if why := self._tool_use.exhausted(len(calls)):
            return self._fail(why, "protocol")
        known = {spec.name for spec in self._seat.toolset.specs}
        self._slips.calls = 0 if any(call.name in known for call in calls) else self._slips.calls + 1
        if self._slips.calls >= MAX_SLIPS:
            why = f"It called tools that are not there, such as {shorten(calls[0].name, 100)!r}."
            return self._abstain(why) if self._wanted.labels else self._fail(why, "protocol")
        self._messages[-1] = self._tool_use.shrunk(self._messages[-1], ())
        self._enter_tools()
        results = [await self._tool_use.run(call) for call in calls]
        self._offered = self._wanted
        if why := self._tool_use.exhausted():
            return self._fail(why, "protocol")
        results[-1] = await self._with_news(results[-1])
        self._messages.append(Message(role="tool", results=tuple(results)))
        return None

    def _enter_tools(self) -> None:
        """From now on news reach the agent with a tool's result, and its turn is not begun anew for them."""
        if not self._in_tools:
            self._in_tools = True
            if ToolLoopEntered.__name__ in self.past.told:
                return
            self._tell(ToolLoopEntered(agent=self._turn.agent, turn=self._turn.id))

    @property
    def _last(self) -> int:
        """The number of the newest request or tool call."""
        return max(self._caller.last, self._tool_use.last)

    async def _news_due(self) -> bool:
        """Whether the agent is to be told of new answers now.

        What was told, or not told, before the run was taken up again is so again.
        """
        if await self.past.told_news(self._last):
            return True
        return bool(self._news) and not self.past.steps and not self.past.over

    async def _hear_news(self) -> str:
        """Write down that the agent hears of new answers. Returns all that has come in until then.

        From now on it may look into the work behind them.
        """
        if self._last not in self.past.news:
            body = {"event": NEWS, "agent": self._turn.agent}
            await self._log.append("Notice", body, turn=self._turn.id, call=self._last)
        words, self._news, self._new, self._offered = self._news, "", (), self._wanted
        if not self.past.over:
            await self._seat.toolset.begin(Situation(presents=self._presenting, shown=self._snapshots()))
        return words

    async def _with_news(self, result: ToolResult) -> ToolResult:
        if not await self._news_due():
            return result
        words = await self._hear_news()
        # Of a runtime's calls in parallel another one may have been told by now.
        return replace(result, content=f"{result.content}\n\n{words}") if words else result

    # What an agent runtime calls in its own loop.

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call of a runtime; `ended_by` says whether its turn is over with that."""
        if self.ended_by is not None:
            return ToolResult(call_id=call.id, content="Your turn is over. Stop now.", is_error=True)
        if call.name not in _WORKFLOW:
            self._enter_tools()
            try:
                result = await self._tool_use.run(call)
            except BudgetSpent as error:
                self.out_of_budget = error.ends_run
                return ToolResult(call_id=call.id, content=f"{error} Hand in now.", is_error=True)
            # Of calls in parallel one may have handed in an answer by now, and that stands.
            if self.ended_by is None and self._tool_use.exhausted():
                self.ended_by = call
            return await self._with_news(result)
        decision = read_reply(Reply(calls=(call,)), workflow="tools", wanted=self._wanted)
        match decision:
            case Slip() if not self._news:
                return self._runtime_slip(call, decision)
            case Cast() | Slip() if self._news:
                refused = ToolResult(call_id=call.id, content="Not recorded.", is_error=True)
                return await self._with_news(refused)
            case _:
                self.ended_by = call
                return ToolResult(call_id=call.id, content="Recorded. Your turn is over: stop now.")

    def _runtime_slip(self, call: ToolCall, decision: Slip) -> ToolResult:
        """Tell a runtime what was wrong. The slip that is one too many ends its turn."""
        last = self._slips.calls + 1 >= MAX_SLIPS or (decision.vote and self._slips.votes)
        if last:
            self.ended_by = call
        else:
            self._slips.calls += 1
            self._slips.votes += decision.vote
        return ToolResult(call_id=call.id, content=decision.why, is_error=True)
