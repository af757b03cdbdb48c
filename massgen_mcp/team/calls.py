"""One model request of a turn: its reservation, its records, its price, its use of the seat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from itertools import count
from typing import Any

import anyio

from massgen_mcp.backends.base import AgentRuntime, Backend, ModelBackend, RuntimeTurn, TurnTools
from massgen_mcp.backends.prices import Prices, reported_stands
from massgen_mcp.backends.retry import ask
from massgen_mcp.engine import Turn
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import (
    Delta,
    ObservedCall,
    ReasoningDelta,
    Reply,
    Request,
    Restarted,
    Spent,
    TextDelta,
    ToolCall,
)
from massgen_mcp.team.budget import Budget, BudgetSpent, Estimate, Reservation
from massgen_mcp.team.log import EventLog
from massgen_mcp.team.recall import (
    account,
    count_failure,
    count_reply,
    count_tool,
    failure_of,
    lose,
    reply_of,
    take_over,
    use,
)
from massgen_mcp.team.replay import FELL_BACK, NothingKnown, PastTurn
from massgen_mcp.team.seat import Seat
from massgen_mcp.team.spec import Ports
from massgen_mcp.usage import Usage

__all__ = ["Caller", "estimate_tokens", "reply_body"]

_CHARS_PER_TOKEN = 3
"""Fewer than most languages have, so that an estimate is rather too high."""
_IMAGE_CHARS = 4_500
"""What a picture costs, about, in characters of text."""
_SAME_ELSEWHERE: frozenset[FailureKind] = frozenset({"auth", "network", "unavailable"})
"""Failures that another model of the same backend would meet, too."""
_EXPECTED_OUTPUT = 4_096
"""Tokens set aside for a reply where the configuration does not bound it."""


def estimate_tokens(request: Request) -> tuple[int, int]:
    """Input and output tokens that a request may use at most, roughly."""
    chars = sum(
        len(message.text)
        + sum(len(call.arguments) for call in message.calls)
        + sum(len(result.content) for result in message.results)
        for message in request.messages
    )
    chars += _IMAGE_CHARS * sum(len(message.images) for message in request.messages)
    chars += sum(len(tool.description) + len(str(tool.parameters)) for tool in request.tools)
    return chars // _CHARS_PER_TOKEN, request.max_tokens or _EXPECTED_OUTPUT


def reply_body(agent: str, reply: Reply, usage: Usage) -> dict[str, Any]:
    """A reply as the journal keeps it: all that is needed to use it again without asking again."""
    return {
        "agent": agent,
        "reply": {
            "text": reply.text,
            "calls": [
                {"id": call.id, "name": call.name, "arguments": call.arguments} for call in reply.calls
            ],
            "finish": reply.finish,
            "model": reply.model,
            "native": reply.native,
            "attempts": reply.attempts,
            "seconds": round(reply.seconds, 3),
            "warnings": list(reply.warnings),
        },
        "usage": asdict(usage),
    }


class Caller:
    """Makes the model requests of one turn."""

    def __init__(
        self, *, log: EventLog, budget: Budget, ports: Ports, prices: Prices, deadline: float, past: PastTurn
    ) -> None:
        self._log = log
        self._budget = budget
        self._ports = ports
        self._prices = prices
        self._deadline = deadline
        self.past = past
        """What was journalled of this turn before; used again before anything is asked anew."""
        self._numbers = count(past.last + 1)
        self.last = 0
        """The number of the newest request."""
        self._tries = 0
        self._spent = Usage()
        """Of an agent runtime's turn under way, as it says itself."""
        self.handed_in: ToolCall | None = None
        """The call that had ended an agent runtime's turn before its request failed, as was journalled."""
        self._unopened: BackendError | None = None
        self._observed: Callable[[], None] = lambda: None

    def check_budget(self) -> None:
        """Before a tool call, which may cost, too.

        Raises:
            BudgetSpent: the run has used more than it may.
        """
        self._budget.check()

    def next_call(self) -> int:
        """A number for the next request or tool call of this turn."""
        return next(self._numbers)

    def count_tool(self, seat: Seat, finished: Mapping[str, Any]) -> None:
        """Count what a tool call used that was made before the run was taken up again."""
        count_tool(seat, self._budget, finished)

    async def prepare(self, seat: Seat) -> None:
        """Open a model while its agent's tools get ready. What fails is told when it is asked."""
        if seat.backend is None and seat.spec.info.kind == "model":
            try:
                seat.backend = await self._ports.open_backend(seat.spec, seat.toolset)
            except BackendError as error:
                self._unopened = error

    async def request(
        self,
        seat: Seat,
        turn: Turn,
        request: Request,
        tools: TurnTools,
        *,
        observed: Callable[[], None] = lambda: None,
    ) -> Reply:
        """One reply, journalled before it is returned, and paid for: once. A journalled one is used again.

        Of an agent runtime that is a whole turn, in which it uses `tools` by itself, and tools of its own:
        each of those is `observed`.

        Raises:
            BudgetSpent: there is nothing left for it; nothing was sent.
            BackendError: no complete reply came, after retries.
        """
        self.handed_in = None
        known = await self._known(seat, request)
        if known is not None:
            return known
        if self._unopened is not None:
            raise self._unopened
        if seat.backend is None:
            seat.backend = await self._ports.open_backend(seat.spec, seat.toolset)
        self._observed = observed
        estimate = await self._estimate(seat, request)
        # The place comes first: who queues for one holds no money, and loses none when stopped.
        async with self._ports.place(seat.spec):
            number, reply, usage = await self._paid(seat, seat.backend, turn, request, tools, estimate)
        record = await self._log.append(
            "CallReplied", reply_body(seat.spec.id, reply, usage), turn=turn.id, call=number
        )
        # As it was written down, without secrets: what follows is then the same when it is used again.
        return reply_of(record.body)

    async def fall_back(self, seat: Seat, turn: Turn, error: BackendError) -> bool:
        """Go on with the agent's next fallback model, for the rest of the run; False where none can help.

        It is written down: whatever becomes of the turn, the model has the seat when the run is resumed.
        """
        spec, past = seat.spec, self.past
        if error.kind in _SAME_ELSEWHERE or seat.fallen >= len(spec.fallbacks):
            return False
        model = spec.fallbacks[seat.fallen]
        known = bool(past.fell_back or past.steps or past.over)
        if past.fell_back:
            model = past.fell_back.popleft().body["model"]
        if not known:
            # A turn that was stopped meanwhile ends here, so that its agent's next one is not crossed.
            await past.past.over()
            if self._ports.clock.monotonic() >= self._deadline:
                return False
        take_over(seat, model, error.kind)
        self._unopened = None
        if not known:
            body = {"event": FELL_BACK, "agent": spec.id, "model": model, "kind": error.kind}
            with anyio.CancelScope(shield=True):
                await self._log.append("Notice", body, turn=turn.id, call=self.last)
        return True

    def leave(self, seat: Seat) -> None:
        """The turn is over. A request of before that it was stopped ahead of coming to is lost, too."""
        account(seat, self._budget, self.past.open_requests())
        self.past.leave()

    async def _known(self, seat: Seat, request: Request) -> Reply | None:
        """The reply that was journalled for it; None when the run is live.

        Raises:
            BackendError: the failure that was.
            ReplayRefused: another request was made then.
        """
        while (step := self.past.next(tool=False)) is not None:
            # Looked at before its turn in the order has come: what waits for that must not go on then.
            if step.outcome is not None and step.started.body["digest"] != request.digest():
                raise self.past.past.differs(f"agent {seat.spec.id} would be asked something else")
            outcome = await self.past.outcome(step)
            if outcome is None:
                lose(seat, self._budget, step)
                continue
            self.last = step.number
            if outcome.kind == "CallFailed":
                count_failure(seat, self._budget, outcome.body)
                handed_in = outcome.body.get("handed_in")
                self.handed_in = ToolCall(**handed_in) if handed_in else None
                raise failure_of(outcome.body)
            reply = reply_of(outcome.body)
            count_reply(seat, self._budget, reply)
            return reply
        if self.past.over:
            raise NothingKnown
        await self.past.past.over()
        return None

    async def _paid(
        self,
        seat: Seat,
        backend: Backend,
        turn: Turn,
        request: Request,
        tools: TurnTools,
        estimate: Estimate,
    ) -> tuple[int, Reply, Usage]:
        """The reply under its number, with what it used. However it ends, what was set aside is settled."""
        reservation = await self._budget.reserve(estimate)
        self.last = number = self.next_call()
        started: dict[str, Any] = {
            "agent": seat.spec.id,
            "digest": request.digest(),
            "reserved_tokens": estimate.tokens,
            "reserved_usd": estimate.usd,
        }
        model: ModelBackend
        if isinstance(backend, AgentRuntime):
            started |= {"session": backend.session, "snapshot": await seat.toolset.snapshot(empty=True)}
            model = RuntimeTurn(backend, tools)
        else:
            model = backend
        self._tries = 0
        try:
            await self._log.append("CallStarted", started, turn=turn.id, call=number)
            reply = await self._ask(seat, model, request, reservation, tools)
            usage = await self._price(seat, request, reply)
        except BackendError as error:
            await self._failed(seat, turn, number, reservation, error, tools.ended_by)
            raise
        except BudgetSpent as error:
            if tools.ended_by is None:
                self._stopped(seat, reservation)
            else:
                cut = BackendError(str(error), kind="quota")
                await self._failed(seat, turn, number, reservation, cut, tools.ended_by)
            raise
        except BaseException:
            self._stopped(seat, reservation)
            raise
        use(seat, reply, usage)
        self._budget.settle(reservation, usage)
        return number, reply, usage

    async def _ask(
        self,
        seat: Seat,
        backend: ModelBackend,
        request: Request,
        reservation: Reservation,
        tools: TurnTools,
    ) -> Reply:
        agent = seat.spec.id
        self._tries, self._spent = 1, Usage()

        def listen(delta: Delta) -> None:
            match delta:
                case TextDelta(text=text) | ReasoningDelta(text=text):
                    self._log.activity(agent, text)
                case ObservedCall(name=name, detail=detail):
                    self._observed()
                    self._log.activity(agent, f"[{name}: {detail}] " if detail else f"[{name}] ")
                case Spent(usage=usage):
                    self._spent = usage
                    self._budget.grow(reservation, usage)
                case Restarted(attempt=attempt, why=why):
                    self._tries = attempt
                    self._log.activity(agent, f"[attempt {attempt}: {why}] ", fresh=True)
                case Reply():
                    pass

        return await ask(
            backend,
            request,
            timeout=seat.spec.options.timeout if seat.spec.info.kind == "model" else None,
            clock=self._ports.clock,
            random=self._ports.random,
            listen=listen,
            deadline=self._deadline,
            may_send=lambda requests: tools.ended_by is None and self._budget.extend(reservation, requests),
        )

    async def _estimate(self, seat: Seat, request: Request) -> Estimate:
        put_in, put_out = estimate_tokens(request)
        worst = Usage(requests=1, input=put_in, output=put_out)
        cost, _ = await self._prices.cost(seat.spec.info, seat.spec.options, worst)
        return Estimate(tokens=worst.tokens, usd=cost)

    async def _price(self, seat: Seat, request: Request, reply: Reply) -> Usage:
        """The reply's usage with its cost: as the provider says, else the configuration, else the table."""
        usage = replace(reply.usage, requests=max(1, reply.usage.requests))
        if usage.tokens == 0:
            usage = _assumed(seat, request, usage)
        if reported_stands(usage.cost_usd, seat.spec.options.price):
            return usage
        cost, source = await self._prices.cost(seat.spec.info, seat.spec.options, usage, served=reply.model)
        return replace(
            usage, cost_usd=cost, cost_source=source, unpriced=usage.requests if cost is None else 0
        )

    async def _failed(
        self,
        seat: Seat,
        turn: Turn,
        number: int,
        reservation: Reservation,
        error: BackendError,
        handed_in: ToolCall | None,
    ) -> None:
        usage = replace(self._spent, requests=max(error.requests, self._spent.requests))
        if usage.tokens:
            cost, source = await self._prices.cost(seat.spec.info, seat.spec.options, usage)
            usage = replace(usage, cost_usd=cost, cost_source=source)
        self._budget.settle(reservation, usage)
        seat.usage += usage
        seat.attempts += error.attempts
        seat.retries += max(0, error.attempts - 1)
        body: Mapping[str, Any] = {
            "agent": seat.spec.id,
            "kind": error.kind,
            "error": str(error),
            "attempts": error.attempts,
            "requests": usage.requests,
            **({"usage": asdict(usage)} if usage.tokens else {}),
            **({"handed_in": asdict(handed_in)} if handed_in else {}),
        }
        await self._log.append("CallFailed", body, turn=turn.id, call=number)

    def _stopped(self, seat: Seat, reservation: Reservation) -> None:
        """A request cut off on its way can't be fetched again: it counts as lost, at what was set aside."""
        estimate, lost = self._budget.held(reservation).estimate, Usage()
        if self._tries:
            lost = Usage(
                requests=max(self._tries, self._spent.requests), input=estimate.tokens, cost_usd=estimate.usd
            )
        self._budget.settle(reservation, lost)
        seat.lost += lost
        seat.attempts += self._tries
        seat.retries += max(0, self._tries - 1)


_NO_USAGE = "its server reports no usage"


def _assumed(seat: Seat, request: Request, usage: Usage) -> Usage:
    """What was set aside, where the provider does not say what was used; told once an agent."""
    put_in, put_out = estimate_tokens(request)
    if not any(words.startswith(_NO_USAGE) for words in seat.warnings):
        seat.warnings.append(f"{_NO_USAGE}; {put_in + put_out:,} tokens are assumed a request")
    return replace(usage, input=put_in, output=put_out)
