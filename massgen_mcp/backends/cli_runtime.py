"""A vendor's command line as an agent runtime: one process a turn, which says in JSON lines what it does."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import anyio

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.base import TurnTools
from massgen_mcp.backends.bridge import Bridge
from massgen_mcp.backends.cli_place import Place
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.runtime_turn import Delivered, HeldTurn
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, ObservedCall, Reply, Request, Spent
from massgen_mcp.text import shorten, visible
from massgen_mcp.usage import Usage
from massgen_mcp.workspace.children import Child, ChildLost, launch

__all__ = ["STARTS", "CliRuntime", "Dialect", "Heard"]

_LINE = 8 * 1024 * 1024
_DETAIL = 200
_MOST_CALLS = 200
_SETTLES = 1.0
"""Seconds that a program has to write down what its last request used, once a call has ended the turn."""
_LOOK = 0.15
_LEAVES = 1.0
"""Seconds that a program has to write its session down, once it has said its last word."""
STARTS = 120.0
"""Seconds until a program says its first word; it starts the server of the team's tools before that."""
_TOLD_EVERY = 1.0
"""Seconds between two looks at what a turn has used so far."""
_BOND_ENDS = 2.0


@dataclass(slots=True)
class Heard:
    """What a program has said in a turn."""

    session: str | None = None
    text: str = ""
    done: bool = False
    failed: str | None = None
    """Its own words on why the turn failed."""
    usage: Usage = field(default_factory=Usage)
    """What it says that the turn used, where it comes to say it."""
    model: str = ""
    calls: list[ObservedCall] = field(default_factory=list[ObservedCall])
    warnings: list[str] = field(default_factory=list[str])


class Dialect(Protocol):
    """What is different between the command lines."""

    cwd: Path
    """The folder it starts in."""

    def arguments(self, session: str | None, images: Sequence[Path]) -> Sequence[str]:
        """Arguments for a turn, continuing that session and showing it that; its prompt is its input."""
        ...

    def environ(self) -> Mapping[str, str]:
        """Variables of its own, its key among them."""
        ...

    async def prepare(self, system: str) -> None:
        """Write its settings before a turn."""
        ...

    def prompt(self, texts: Sequence[str]) -> str:
        """What it is told of a turn."""
        ...

    def read(self, event: Mapping[str, Any], heard: Heard) -> Iterator[Delta]:
        """Take in one event."""
        ...

    def failure(self, words: str, errors: str, code: int | None) -> BackendError:
        """A failure as one of ours: its words, the end of its stderr, its exit code."""
        ...

    async def used(self, session: str) -> Sequence[Usage]:
        """What each request of the session used, oldest first, as it keeps it for itself."""
        ...


class CliRuntime:
    """One agent that is a command line, for one run."""

    def __init__(
        self,
        context: BackendContext,
        account: Account,
        *,
        place: Place,
        bridge: Bridge,
        dialect: Dialect,
        warnings: Sequence[str] = (),
        starts: float = STARTS,
    ) -> None:
        self.info = context.info
        """The backend's row."""
        self.model = account.model
        """The model asked for."""
        self._place = place
        self._bridge = bridge
        self._dialect = dialect
        self._secrets = context.secrets
        self._warnings = tuple(warnings)
        self._starts = starts
        self._session: str | None = None
        self._delivered = Delivered()
        self._paid = 0
        """Requests of the session that earlier turns have accounted for."""

    @property
    def session(self) -> str | None:
        """The vendor's id of the conversation; None before the first turn."""
        return self._session

    @asynccontextmanager
    async def run_turn(self, request: Request, tools: TurnTools) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Borrow the stream of one attempt at a turn; leaving ends its process."""
        turn = _Turn(tools)
        held, session, paid = self._delivered.held, self._session, self._paid
        try:
            async with self._bridge.serving(request.tools, turn.call):
                child = await self._start(request)
                try:
                    async with aclosing(self._deltas(turn, child)) as deltas:
                        yield deltas
                finally:
                    await child.stop(_LEAVES if turn.heard.done else 0.0)
        finally:
            if not turn.replied and not turn.used:
                # As if it had not begun: a new session is forgotten, an older one asked again.
                self._delivered.held = held
                if session != self._session:
                    self._session, self._paid = session, paid

    async def aclose(self) -> None:
        """Delete what is its alone; its process ended with its turn."""
        await self._place.remove()

    async def _start(self, request: Request) -> Child:
        system = "\n\n".join(each.text for each in request.messages if each.role == "system")
        await self._dialect.prepare(system)
        new = self._delivered.news(request)
        prompt = self._place.fixed / "prompt"
        await self._place.write(prompt, self._dialect.prompt([message.text for message in new]))
        images = [image for message in new for image in message.images]
        command = self._place.turn(
            self._dialect.arguments(self._session, await self._place.show(images)),
            prompt=prompt,
            cwd=self._dialect.cwd,
            reads=self._bridge.reads,
        )
        environ = self._place.variables(self._dialect.environ())
        grace = 0.0 if self._place.held else _BOND_ENDS
        try:
            return await launch(command, environ=environ, max_line=_LINE, term_grace=grace)
        except OSError as error:
            what = f"{self.info.title} can't be started: {error}"
            raise BackendError(what, kind="unavailable", connected=False) from error

    async def _deltas(self, turn: _Turn, child: Child) -> AsyncGenerator[Delta]:
        heard = turn.heard
        lost: str | None = None
        try:
            line = await self._first_line(turn, child)
            while line is not None:
                for delta in self._read(line, heard):
                    turn.used = turn.used or isinstance(delta, ObservedCall)
                    yield delta
                self._session = heard.session or self._session
                if spent := await self._spent(turn):
                    yield spent
                line = None if heard.done else await turn.next_line(child)
        except ChildLost as error:
            lost = str(error)
        if turn.broken is not None:
            raise turn.broken
        words = lost if lost is not None else heard.failed
        if turn.tools.ended_by is None and words is not None:
            usage = await self._usage(turn, wait=False)
            if usage.tokens:
                yield Spent(usage=usage)
            raise await self._failed(turn, child, words, usage)
        reply = await self._reply(turn)
        if not reply.text.strip() and not reply.calls:
            raise self._wordless(turn)
        turn.replied = True
        yield reply

    async def _first_line(self, turn: _Turn, child: Child) -> bytes | None:
        """Its first word; one that has none hangs, or asks something that nobody can answer.

        Raises:
            BackendError: it said nothing.
        """
        with anyio.move_on_after(self._starts):
            return await turn.next_line(child)
        said = self._clean(child.last_words(), 300)
        what = f"{self.info.title} said nothing within {self._starts:g} s of its start" + (
            f": {said}" if said else ""
        )
        remedy = f"Run it once in a terminal: it may wait for a person. {self.info.setup}".strip()
        raise BackendError(f"{what}. {remedy}", kind="unavailable", remedy=remedy, connected=False)

    async def _spent(self, turn: _Turn) -> Spent | None:
        """What the turn has used by now, where that is more than was told; looked up now and then."""
        now = anyio.current_time()
        if self._session is None or (now < turn.looks_at and not turn.heard.done):
            return None
        turn.looks_at = now + _TOLD_EVERY
        new = (await self._dialect.used(self._session))[self._paid :]
        if len(new) <= turn.told:
            return None
        turn.told = len(new)
        return Spent(usage=sum(new, Usage()))

    def _wordless(self, turn: _Turn) -> BackendError:
        what = f"{self.info.title} ended its turn without a word. Try again, or use another backend."
        return BackendError(what, kind="protocol", retryable=not turn.used, max_attempts=2)

    def _read(self, line: bytes, heard: Heard) -> Iterator[Delta]:
        try:
            event: object = json.loads(line.decode(errors="replace"))
        except (ValueError, RecursionError):
            return  # a word of warning between the events
        if isinstance(event, dict):
            for delta in self._dialect.read(cast("dict[str, Any]", event), heard):
                yield self._shown(delta, heard)

    def _shown(self, delta: Delta, heard: Heard) -> Delta:
        if not isinstance(delta, ObservedCall):
            return delta
        call = ObservedCall(name=delta.name, detail=self._clean(delta.detail, _DETAIL))
        if len(heard.calls) < _MOST_CALLS:
            heard.calls.append(call)
        return call

    def _clean(self, text: str, limit: int) -> str:
        return shorten(visible(self._secrets.redact(text)), limit)

    async def _reply(self, turn: _Turn) -> Reply:
        heard, ended = turn.heard, turn.tools.ended_by
        warnings, self._warnings = (*self._warnings, *heard.warnings), ()
        return Reply(
            text=heard.text,
            calls=() if ended is None else (ended,),
            finish="stop" if ended is None else "tool_calls",
            model=heard.model or self.model,
            usage=await self._usage(turn, wait=ended is not None),
            native=[{"name": call.name, "detail": call.detail} for call in heard.calls] or None,
            warnings=tuple(dict.fromkeys(self._clean(words, 300) for words in warnings)),
        )

    async def _usage(self, turn: _Turn, *, wait: bool) -> Usage:
        """What the turn used: the sum of what was written down, else what the program says of itself."""
        if self._session is None:
            return turn.heard.usage
        new = (await self._dialect.used(self._session))[self._paid :]
        with anyio.move_on_after(_SETTLES):
            # The call that ended the turn may have come before its request was written down.
            while wait:
                await anyio.sleep(_LOOK)
                before, new = new, (await self._dialect.used(self._session))[self._paid :]
                wait = not new or len(new) > len(before)
        self._paid += len(new)
        return sum(new, Usage()) if new else turn.heard.usage

    async def _failed(self, turn: _Turn, child: Child, words: str, usage: Usage) -> BackendError:
        code = await child.ending()
        error = self._dialect.failure(words, child.last_words(60, 8000), code)
        error.requests = max(error.requests, usage.requests)
        error.retryable = error.retryable and not turn.used
        return error


class _Turn(HeldTurn):
    """A turn in motion: what its process and the team's tools share."""

    def __init__(self, tools: TurnTools) -> None:
        super().__init__(tools)
        self.heard = Heard()
        self.replied = False
        self.told = 0
        """Requests of it that were told of."""
        self.looks_at = 0.0
        """When they are looked up again."""
        self._reading: anyio.CancelScope | None = None
        self._over = False

    async def next_line(self, child: Child) -> bytes | None:
        """What the program says next; None once a call has ended the turn."""
        line: bytes | None = None
        if not self._over:
            with anyio.CancelScope() as self._reading:
                line = await child.receive()
        return line

    def _end(self) -> None:
        self._over = True
        if self._reading is not None:
            self._reading.cancel()
