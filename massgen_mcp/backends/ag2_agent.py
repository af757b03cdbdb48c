"""An AG2 agent as an agent runtime: its turns, what they send and what they end in."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, suppress
from types import ModuleType
from typing import Any

import anyio

from massgen_mcp.backends.ag2_code import CodeTool
from massgen_mcp.backends.ag2_model import Model, Models
from massgen_mcp.backends.ag2_tools import TeamTools
from massgen_mcp.backends.ag2_wire import text_of
from massgen_mcp.backends.base import TurnTools
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.runtime_turn import Delivered, HeldTurn
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, ObservedCall, Reply, Request, Spent, ToolCall
from massgen_mcp.secrets import Secrets
from massgen_mcp.text import shorten, visible
from massgen_mcp.usage import Usage

__all__ = ["Ag2Agent"]

_KEPT = 4_000
"""Characters of a call of its own, and of its result, that are kept for the journal."""
_DETAIL = 200


class Ag2Agent:
    """One AG2 agent and its conversation, for one run."""

    def __init__(
        self,
        *,
        info: BackendInfo,
        agent: Any,
        stream: Any,
        events: ModuleType,
        final: ModuleType,
        models: Models,
        secrets: Secrets,
        system: str,
        code: CodeTool | None,
        warnings: Sequence[str],
    ) -> None:
        self.info = info
        """The backend's row."""
        self.model = models.name
        """The model asked first."""
        self._agent = agent
        self._stream = stream
        self._events = events
        self._final = final
        self._models = models
        self._secrets = secrets
        self._system = system
        self._code = code
        self._warnings = tuple(warnings)
        self._delivered = Delivered()

    @property
    def session(self) -> str | None:
        """None: AG2 keeps the conversation in this process alone."""
        return None

    @asynccontextmanager
    async def run_turn(self, request: Request, tools: TurnTools) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt at a turn; leaving stops it."""
        turn = _Turn(tools)
        history, held = list(await self._stream.history.get_events()), self._delivered.held
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._drive, turn, request, len(history))
            try:
                async with aclosing(turn.deltas()) as deltas:
                    yield deltas
            except Exception as error:  # noqa: BLE001 - raised again below, outside of the group that would wrap it
                failure = error
            finally:
                turn.stop()
        if turn.failure is not None or not turn.replies:
            # As if it had not begun: the same request may come again.
            await self._stream.history.replace(history)
            self._delivered.held = held
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        """End what runs its code, and let go of its models."""
        if self._code is not None:
            await self._code.aclose()
        await self._models.aclose()

    async def _drive(self, turn: _Turn, request: Request, begun: int) -> None:
        """Run the turn to its reply or its failure, and close its stream."""
        with turn.scope, turn.open():
            try:
                text = await self._run(turn, request)
                turn.reply = await self._reply(turn, text, begun)
            except Exception as error:  # noqa: BLE001 - raised by who reads the turn
                turn.failure = self._failure(turn, error)

    async def _run(self, turn: _Turn, request: Request) -> str:
        """AG2's own loop; the text it ends with."""
        model = Model(
            self._models,
            events=self._events,
            listen=turn.tell,
            replied=turn.take,
            may_retry=lambda: turn.used,
            tool_choice=request.tool_choice,
            max_tokens=request.max_tokens,
        )
        system = (self._system, *(each.text for each in request.messages if each.role == "system"))
        own = [] if self._code is None else [self._code.tool]
        team = TeamTools(
            request.tools,
            turn,
            events=self._events,
            final=self._final,
            own=own[0].name if own else "",
            show=self._models.conversation.show,
        )
        run = self._agent.run(
            *(message.text for message in self._delivered.news(request)),
            stream=self._stream,
            config=model,
            prompt=[text for text in system if text],
            tools=[team, *own],
        )
        text = ""
        await run.__aenter__()
        try:
            with turn.working:
                text = (await run.result()).body or ""
        finally:
            # The loop must be over before the next turn begins, also when this one is cancelled.
            with anyio.CancelScope(shield=True):
                await run.__aexit__(None, None, None)
        if turn.broken is not None:
            raise turn.broken
        return text

    async def _reply(self, turn: _Turn, text: str, begun: int) -> Reply:
        ended = turn.tools.ended_by
        last = turn.replies[-1]
        warnings = (*self._warnings, *(words for reply in turn.replies for words in reply.warnings))
        self._warnings = ()
        return Reply(
            text=last.text if ended is not None else text,
            calls=() if ended is None else (ended,),
            finish="stop" if ended is None else "tool_calls",
            model=last.model,
            usage=sum((reply.usage for reply in turn.replies), Usage()),
            native=self._own_calls(list(await self._stream.history.get_events())[begun:]) or None,
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _own_calls(self, events: Sequence[Any]) -> list[dict[str, str]]:
        """What the agent did by itself, for the journal."""
        if self._code is None:
            return []
        results = {
            event.parent_id: text_of(self._events, event)
            for event in events
            if isinstance(event, self._events.ToolResultEvent)
        }
        responses = (event for event in events if isinstance(event, self._events.ModelResponse))
        calls = (call for response in responses for call in response.tool_calls.calls)
        return [
            {
                "name": call.name,
                "arguments": self._shown(call.arguments, _KEPT),
                "result": self._shown(results.get(call.id, ""), _KEPT),
            }
            for call in calls
            if call.name == self._code.tool.name
        ]

    def _shown(self, text: str, limit: int) -> str:
        return shorten(visible(self._secrets.redact(text)), limit)

    def _failure(self, turn: _Turn, error: Exception) -> Exception:
        """The failure of the turn, with all requests it made; a defect of AG2 as one of ours."""
        if not isinstance(error, BackendError):
            if error is turn.broken:
                return error
            words = self._shown(f"{type(error).__name__}: {error}", _DETAIL)
            error = BackendError(f"AG2 failed within its turn: {words}", kind="protocol")
        error.requests += sum(reply.usage.requests for reply in turn.replies)
        error.retryable = error.retryable and not turn.used
        return error


class _Turn(HeldTurn):
    """A turn in motion: what its tools, its model and its reader share."""

    def __init__(self, tools: TurnTools) -> None:
        super().__init__(tools)
        self.scope = anyio.CancelScope()
        self.working = anyio.CancelScope()
        """Around AG2's loop: cancelled when a call has ended the turn."""
        self.replies: list[Reply] = []
        self.reply: Reply | None = None
        self.failure: Exception | None = None
        self._send, self._receive = anyio.create_memory_object_stream[Delta](math.inf)

    async def deltas(self) -> AsyncGenerator[Delta]:
        """What streams, then the reply."""
        async for delta in self._receive:
            yield delta
        if self.failure is not None:
            raise self.failure
        if self.reply is not None:
            yield self.reply

    def tell(self, delta: Delta) -> None:
        """Pass on what streams from the model; its replies are parts of the turn's."""
        if not isinstance(delta, Reply):
            with suppress(anyio.BrokenResourceError):  # nobody listens any more
                self._send.send_nowait(delta)

    def take(self, reply: Reply) -> None:
        """A reply of the model has come: a part of what the turn uses."""
        self.replies.append(reply)
        self.tell(Spent(usage=sum((each.usage for each in self.replies), Usage())))

    def stop(self) -> None:
        """Nobody listens any more."""
        self._receive.close()
        self.scope.cancel()

    def open(self) -> AbstractContextManager[object]:
        """The stream of deltas; it ends with the block."""
        return self._send

    def observe(self, call: ToolCall) -> None:
        """The agent uses a tool of its own."""
        self.used = True
        self.tell(ObservedCall(name=call.name, detail=_first_line(call.arguments)))

    def _end(self) -> None:
        self.working.cancel()


def _first_line(arguments: str) -> str:
    """What a piece of code begins with."""
    try:
        code: object = json.loads(arguments).get("code")
    except (ValueError, AttributeError):
        code = None
    lines = code.strip().splitlines() if isinstance(code, str) else []
    return shorten(lines[0], _DETAIL) if lines else ""
