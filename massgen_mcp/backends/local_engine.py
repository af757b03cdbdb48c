"""The embedded model's process as seen from here: started at first use, shared, restarted, let go of."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import anyio
from anyio.lowlevel import RunVar

from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.workspace.children import Child, ChildLost, launch

__all__ = ["Done", "Engine", "EngineSpec", "Event", "Facts", "Working", "Written", "lease", "release"]

_MOST_LOSSES = 3
"""Ends of the process in a row after which it is not started again."""
_FAREWELL = 1.0
"""Seconds that telling the process of a cancellation may take."""
_INSTALL = 'Install it: pip install "massgen-mcp[local]".'
_CHECK_FILE = "Check that the path names a complete GGUF file."
_DAMAGED = re.compile(
    r"corrupted|incomplete|not within the file|failed to read tensor|gguf_init", re.IGNORECASE
)
_LOGGED = re.compile(r"^[\d.]+ E +")
"""How each line of the engine's log begins."""
_ANOTHER = "Use a smaller model or a smaller context_size, or another backend."


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """What makes two agents share one process."""

    path: Path
    context: int | None
    """Tokens for each slot; None: what the model was trained for, within reason."""
    threads: int
    slots: int
    command: tuple[str, ...]
    environ: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the loaded model is."""

    name: str
    template: bool
    context: int
    """Tokens for each slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A piece of the reply."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """Alive, with nothing to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The reply is over, and why."""

    finish: str
    input: int
    output: int
    cached: int


Event: TypeAlias = Written | Working | Done


class _Call:
    """One request in the process, and what came for it."""

    __slots__ = ("events", "lost", "over")

    def __init__(self) -> None:
        self.events: deque[Mapping[str, Any]] = deque()
        self.lost = ""
        """How the process was lost while this was running."""
        self.over = False


class Engine:
    """One process with one model. Requests beyond its slots wait here, where they can be cancelled at once.

    Nobody reads in the background: of the tasks waiting for events, one reads and hands the others theirs.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self._child: Child | None = None
        self._facts: Facts | None = None
        self._calls: dict[int, _Call] = {}
        self._numbers = itertools.count(1)
        self._starting = anyio.Lock()
        self._reading = anyio.Lock()
        self._slots = anyio.Semaphore(spec.slots)
        self._losses = 0
        self._closed = False
        self.users = 0
        """Leases not given back."""

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._child.pid if self._child and not self._child.ended else None

    async def facts(self) -> Facts:
        """What the model is; loads it when it is not loaded.

        Raises:
            BackendError: `unavailable`, when it can't be loaded.
        """
        async with self._starting:
            if self._closed:
                raise self._gone("it was stopped")
            if self._child and self._child.ended:
                await self._drop(self._child, "it ended while it had nothing to do")
            facts = self._facts
            if self._child is None or facts is None:
                facts = self._facts = await self._start()
                if self._closed:
                    await self.aclose()
                    raise self._gone("it was stopped")
            return facts

    @asynccontextmanager
    async def call(
        self, kind: Literal["chat", "completion"], body: Mapping[str, Any]
    ) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Borrow the events of one request, which end in `Done`. Leaving the block frees its slot.

        Raises:
            BackendError: the request was refused, or the process was lost.
        """
        async with self._slots:
            await self.facts()
            number, call = next(self._numbers), _Call()
            self._calls[number] = call
            try:
                await self._send({"op": "complete", "id": number, "kind": kind, "body": body})
                async with contextlib.aclosing(self._events(call)) as events:
                    yield events
            finally:
                del self._calls[number]
                if not call.over and not call.lost:
                    await self._cancel(number)

    async def aclose(self) -> None:
        """End the process for good. Requests still in it fail."""
        self._closed = True
        child, self._child = self._child, None
        if child is not None:
            self._mark_lost("it was stopped")
            await child.stop()

    async def _start(self) -> Facts:
        if self._losses >= _MOST_LOSSES:
            raise self._failure("unavailable", f"ended {self._losses} times in a row", _ANOTHER)
        try:
            child = await launch(self.spec.command, environ=dict(self.spec.environ))
        except OSError as error:
            raise self._failure("unavailable", f"can't be started ({error})", _INSTALL) from error
        try:
            facts = await self._load(child)
        except BaseException:
            await child.stop(0)
            raise
        self._child = child
        return facts

    async def _load(self, child: Child) -> Facts:
        spec = self.spec
        load = {"op": "load", "path": str(spec.path), "context": spec.context or 0}
        try:
            await child.send(_line({**load, "threads": spec.threads, "slots": spec.slots}))
            event = _parse(await child.receive())
        except (ChildLost, ValueError) as error:
            self._losses += 1
            raise self._failure("unavailable", f"did not load: {error}", _ANOTHER) from error
        match event:
            case {"event": "ready", "name": str(name), "template": bool(template), "context": int(context)}:
                return Facts(name=name, template=template, context=context)
            case {"why": "missing", "text": str(text)}:
                raise self._failure("unavailable", f"needs xllamacpp ({text})", _INSTALL)
            case {"why": "file", "text": str(text)}:
                raise self._failure("not_found", f"can't be read: {text}", _CHECK_FILE)
            case {"why": "load", "text": str(text)}:
                raise self._not_loaded(text, child)
            case _:
                raise self._failure(
                    "unavailable", "did not load: it sent something that is not understood", _ANOTHER
                )

    def _not_loaded(self, text: str, child: Child) -> BackendError:
        """Why the engine does not load the model: its error is always the same, its log says more."""
        lines = [_LOGGED.sub("", line) for line in child.last_words(12, 4000).split(" / ")]
        why = f"{lines[0]} ({text})" if lines[0] else text
        if any(_DAMAGED.search(line) for line in lines):
            return self._failure("not_found", f"is damaged or not complete: {why}", _CHECK_FILE)
        return self._failure("unavailable", f"did not load: {why}", _ANOTHER)

    async def _events(self, call: _Call) -> AsyncGenerator[Event]:
        while not call.over:
            event = await self._next(call)
            match event:
                case {"event": "text", "text": str(text)}:
                    yield Written(text=text)
                case {"event": "busy"}:
                    yield Working()
                case {
                    "event": "done",
                    "finish": str(finish),
                    "input": int(read),
                    "output": int(wrote),
                    "cached": int(cached),
                }:
                    call.over, self._losses = True, 0
                    yield Done(finish=finish, input=read, output=wrote, cached=cached)
                case {"event": "error", "why": str(why), "text": str(text)}:
                    call.over = True
                    raise self._refused(why, text)
                case _:
                    raise self._failure("protocol", "sent something that is not understood", retryable=True)

    async def _next(self, call: _Call) -> Mapping[str, Any]:
        while not call.events:
            async with self._reading:
                if not call.events and not call.lost:
                    await self._read()
            if call.lost and not call.events:
                raise self._gone(call.lost)
        return call.events.popleft()

    async def _read(self) -> None:
        """Take one line and give it to the request it belongs to. One of a cancelled request is dropped."""
        child = self._child
        if child is None:
            raise AssertionError("a request that is not lost has a process")
        try:
            event = _parse(await child.receive())
        except ChildLost as error:
            await self._drop(child, str(error))
        except ValueError:
            await self._drop(child, "it sent something that is no message")
        else:
            if call := self._calls.get(event.get("id", 0)):
                call.events.append(event)

    async def _send(self, message: Mapping[str, Any]) -> None:
        child = self._child
        if child is None:
            raise self._gone("it was stopped")
        try:
            await child.send(_line(message))
        except ChildLost as error:
            await self._drop(child, str(error))
            raise self._gone(str(error)) from error

    async def _cancel(self, number: int) -> None:
        with anyio.move_on_after(_FAREWELL, shield=True), contextlib.suppress(BackendError):
            await self._send({"op": "cancel", "id": number})

    async def _drop(self, child: Child, why: str) -> None:
        """A process is lost, with all that was running in it. Whoever notices second changes nothing."""
        if self._child is child:
            self._child = None
            self._losses += 1
            self._mark_lost(why)
            await child.stop(0)

    def _mark_lost(self, why: str) -> None:
        for call in self._calls.values():
            call.lost = call.lost or why

    def _gone(self, why: str) -> BackendError:
        return self._failure("network", f"was lost: {why}", "It is started again.", retryable=True, most=2)

    def _refused(self, why: str, text: str) -> BackendError:
        if why == "exceed_context_size_error":
            remedy = "Raise context_size, give less context, or use a model with a larger window."
            return self._failure("context", f"has no room for the conversation: {text}", remedy)
        if why == "invalid_request_error":
            return self._failure("bad_request", f"did not take the request: {text}")
        return self._failure("protocol", f"failed: {text}", retryable=True, most=2)

    def _failure(
        self,
        kind: FailureKind,
        what: str,
        remedy: str = "",
        *,
        retryable: bool = False,
        most: int | None = None,
    ) -> BackendError:
        text = f"local: the embedded model {self.spec.path.name} {what.rstrip('.')}. {remedy}".rstrip()
        return BackendError(
            text,
            kind=kind,
            remedy=remedy,
            retryable=retryable,
            max_attempts=most,
            connected=kind not in {"unavailable", "not_found"},
        )


_engines: RunVar[dict[EngineSpec, Engine]] = RunVar("massgen_mcp_engines")
"""Of the running event loop: a process's pipes belong to the loop that opened them."""


def lease(spec: EngineSpec) -> Engine:
    """A share in the engine of that specification, to be given back by `release`."""
    engines = _engines.get(None)
    if engines is None:
        engines = dict[EngineSpec, Engine]()
        _engines.set(engines)
    engine = engines.setdefault(spec, Engine(spec))
    engine.users += 1
    return engine


async def release(engine: Engine) -> None:
    """Give a share back. The last one ends the process."""
    engine.users -= 1
    if engine.users > 0:
        return
    _engines.get().pop(engine.spec)
    await engine.aclose()


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def _parse(line: bytes) -> Mapping[str, Any]:
    value: object = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error type for whatever is no message
    return cast("Mapping[str, Any]", value)
