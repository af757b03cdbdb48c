"""One agent's turn: prompt, model requests, tool calls, until it ends in an answer or a vote.

A model's calls are run between its requests; an agent runtime makes them itself, through `Inside`.

Every request and tool call is journalled before it is made, every reply and result before it is used. Slips
are answered as the coordination page says; an agent is never dropped for one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence

from massgen_mcp.engine import (
    Abstained,
    AgentFailed,
    AnswerGiven,
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
from massgen_mcp.messages import Reply, Request, ToolCall, ToolResult
from massgen_mcp.team.briefs import Matter, brief_turn
from massgen_mcp.team.budget import BudgetSpent
from massgen_mcp.team.calls import Caller
from massgen_mcp.team.conversation import Conversation
from massgen_mcp.team.inside import Inside
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.news import News
from massgen_mcp.team.outfit import Outfit
from massgen_mcp.team.prompts import reminder_text
from massgen_mcp.team.replay import NothingKnown
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.slips import Slips
from massgen_mcp.team.spec import Workshop
from massgen_mcp.team.tool_use import ToolUse
from massgen_mcp.team.view import View
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

__all__ = ["TurnInMotion"]

_logger = logging.getLogger(__name__)


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
        start = brief_turn(seat, turn, board, matter)
        self._seat = seat
        self._turn = turn
        self._board = board
        self._brief = start.brief
        self._view = View(turn, board, start, matter.tag)
        self._conversation = Conversation(start.messages)
        self._caller = caller
        self.past = caller.past
        """What was journalled of it before."""
        self._outfit = Outfit(seat, turn, board, caller=caller, workshop=workshop)
        self._tool_use = ToolUse(seat, turn.id, log=log, caller=caller, tag=matter.tag)
        self._news = News(turn, self._view, self._outfit, log=log, caller=caller, tool_use=self._tool_use)
        self._slips = Slips()
        self._inside = Inside(
            self._view, self._slips, self._tool_use, self._news, enter_tools=self._enter_tools
        )
        self._tell = tell
        self._forced: str | None = None
        self._in_tools = False
        self._cast: Reply | None = None
        """The reply with its vote, once it is over with that."""
        self._spent: BudgetSpent | None = None
        """Why a request was not made."""

    # What the pump tells it.

    def notify(self, command: Notify, board: Board) -> None:
        """Answers have come in while the agent uses tools: it reads of them with its next tool result."""
        self._board = board
        self._view.update(command, board)

    def follow(self, turn: Turn) -> None:
        """Answering has closed while the turn runs: from the next request on it can only end in a vote."""
        self._view.follow(turn)

    def take_back(self) -> bool:
        """Whether its vote was cast before its agent could read of newer answers. Run it again then."""
        if not self._view.news or self._cast is None:
            return False
        self._conversation.reopen()
        return True

    def commit(self) -> None:
        """The answer or vote was taken: the agent goes on from here. A stopped turn leaves no trace."""
        if self._conversation.kept:
            self._seat.conversation = self._conversation.kept
            self._seat.seen |= self._view.seen

    def run_out(self, seconds: float) -> Event | None:
        """Its own time is over: one for an answer fails, one for a vote abstains; None for an old one."""
        if self.past.over:
            return None
        self._seat.error_kind = "timeout"
        why = f"Its turn had not ended after {seconds:g} s (`budget.per_turn.seconds`)."
        return self._abstain(why) if self._turn.kind is TurnKind.VOTE else self._fail(why, "timeout")

    @property
    def has_handed_in(self) -> bool:
        """Whether an agent runtime has answered or voted, and only has to stop."""
        return self._handed_in is not None

    @property
    def out_of_budget(self) -> bool:
        """Whether the turn ended since nothing was left to spend for any other, either."""
        return any(error is not None and error.ends_run for error in (self._spent, self._inside.spent))

    # From its beginning to its end.

    def leave(self) -> None:
        """It works no further."""
        self._caller.leave(self._seat)

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
            self._spent = error
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
            self._outfit.note(self._seat.toolset.warnings)

    async def _work(self) -> Event:
        taken_back, self._cast = self._cast, None
        if taken_back is None:
            await self._outfit.take(self._view, self._conversation)
        else:
            await self._tell_news(taken_back)
        while True:
            reply = await self._reply()
            self._view.offer()
            self._conversation.hear(reply)
            wanted = self._view.wanted
            decision = read_reply(reply, workflow=self._seat.spec.info.workflow, wanted=wanted)
            match decision:
                case Submit():
                    self._conversation.keep(reply.calls, "Recorded.")
                    return await self._answer(decision.content, decision.conclusion)
                case Cast() | Slip() if await self._news.due():
                    end = await self._tell_news(reply)
                case Cast():
                    self._cast = reply
                    self._conversation.keep(reply.calls, "Recorded.")
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
        self._inside.ended_by = None
        if await self.past.hears_news():
            self._view.take_news()
        try:
            return await self._asked()
        except (BackendError, BudgetSpent) as error:
            call = self._handed_in
            if call is None:
                raise
            self._spent = error if isinstance(error, BudgetSpent) else None
            return Reply(calls=(call,))

    async def _asked(self) -> Reply:
        """The model's reply, or that of the first fallback that gives one."""
        while True:
            try:
                return await self._caller.request(
                    self._seat, self._turn, self._request(), self._inside, observed=self._enter_tools
                )
            except BackendError as error:
                if self._handed_in is not None:
                    raise
                if not await self._caller.fall_back(self._seat, self._turn, error):
                    raise
                self._conversation.forget_native()

    @property
    def _handed_in(self) -> ToolCall | None:
        """The answer or vote that a runtime's turn has ended in."""
        return self._inside.handed_in(self._caller.handed_in)

    @property
    def _owns_loop(self) -> bool:
        return self._seat.spec.info.kind == "runtime"

    def _request(self) -> Request:
        workflow = self._seat.spec.info.workflow
        tools = self._seat.toolset.specs
        if workflow == "tools":
            tools = (*WORKFLOW_TOOLS, *tools)
        return Request(
            messages=self._conversation.messages,
            tools=tools,
            tool_choice=self._forced if workflow == "tools" else None,
            schema=constrained_schema(self._view.offered) if workflow == "json_schema" else None,
            max_tokens=self._seat.spec.options.max_tokens,
            brief=self._brief,
        )

    # How it ends.

    async def _answer(self, content: str, conclusion: str) -> Event:
        return AnswerGiven(
            agent=self._turn.agent,
            turn=self._turn.id,
            content=content,
            conclusion=conclusion,
            snapshot=await self._outfit.snapshot(),
        )

    def _vote(self, cast: Cast) -> Event:
        return VoteCast(
            agent=self._turn.agent,
            turn=self._turn.id,
            answer=self._view.answer(cast.label),
            reason=cast.reason,
            add=tuple(self._view.answer(label) for label in cast.add),
        )

    def _abstain(self, why: str) -> Event:
        self._seat.state = "abstained"
        self._seat.error = why
        return Abstained(agent=self._turn.agent, turn=self._turn.id, why=why)

    def _fail(self, why: str, kind: str) -> Event:
        self._seat.state = "failed"
        self._seat.error = why
        return AgentFailed(agent=self._turn.agent, turn=self._turn.id, error=why, kind=kind)

    def _recall(self) -> None:
        """A turn that ended well and is not known step by step: the conversation holds what it came to."""
        given = self.past.given
        said = given.content if isinstance(given, AnswerGiven) else ""
        if isinstance(given, VoteCast):
            said = f"I vote for {self._board.label(self._board.answer(given.answer))}. {given.reason}"
        self._conversation.sum_up(said)

    # What does not end it yet.

    async def _plain(self, text: str) -> Event | None:
        wanted = self._view.wanted
        if wanted.answer and not wanted.labels:
            self._conversation.keep()
            return await self._answer(fit_answer(text), fit_conclusion(conclusion_of(text)))
        if self._slips.text_instead_of_vote():
            return self._abstain("It replied in plain text twice instead of voting.")
        self._forced = "required" if wanted.answer else "vote"
        self._conversation.say(reminder_text(wanted.labels, may_answer=wanted.answer))
        return None

    async def _slip(self, reply: Reply, slip: Slip) -> Event | None:
        if self._slips.refused(slip):
            missing = "valid vote" if self._view.wanted.labels else "readable answer"
            return self._abstain(f"It handed in no {missing}. {slip.why}")
        if self._owns_loop or self._seat.spec.info.workflow != "tools":
            self._conversation.say(slip.why)
            return None
        self._shrink_last(slip.errors)
        others = [call for call in reply.calls if call.id not in slip.errors]
        ran = [await self._tool_use.run(call) for call in others]
        self._conversation.give(*(_refused(call_id, words) for call_id, words in slip.errors.items()), *ran)
        return None

    async def _use_tools(self, calls: Sequence[ToolCall]) -> Event | None:
        if why := self._tool_use.exhausted(len(calls)):
            return self._fail(why, "protocol")
        known = {spec.name for spec in self._seat.toolset.specs}
        if self._slips.strays(taken=any(call.name in known for call in calls)):
            return self._abstain(
                f"It called tools that are not there, such as {shorten(calls[0].name, 100)!r}."
            )
        self._shrink_last(())
        self._enter_tools()
        results = [await self._tool_use.run(call) for call in calls]
        self._view.offer()
        if why := self._tool_use.exhausted():
            return self._fail(why, "protocol")
        results[-1] = await self._news.after(results[-1])
        self._conversation.give(*results)
        return None

    def _shrink_last(self, refused: Container[str]) -> None:
        self._conversation.last = self._tool_use.shrunk(self._conversation.last, refused)

    def _enter_tools(self) -> None:
        """From now on news reach the agent with a tool's result, and its turn is not begun anew for them."""
        if not self._in_tools:
            self._in_tools = True
            if ToolLoopEntered.__name__ not in self.past.told:
                self._tell(ToolLoopEntered(agent=self._turn.agent, turn=self._turn.id))

    async def _tell_news(self, reply: Reply) -> None:
        """A vote that was cast before its agent could read of newer answers is asked for again."""
        news = await self._news.tell()
        if reply.calls and not self._owns_loop:
            self._shrink_last({call.id for call in reply.calls})
            self._conversation.give(*(_refused(call.id, f"Not recorded: {news}") for call in reply.calls))
        else:
            self._conversation.say(news)


def _refused(call_id: str, words: str) -> ToolResult:
    return ToolResult(call_id=call_id, content=words, is_error=True)
