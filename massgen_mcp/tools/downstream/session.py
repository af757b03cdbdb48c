"""Requests and their answers on one connection to a server that is not trusted.

Every request ends: in its result, an error, its time limit, or the loss of the connection. Whatever else the
server sends is answered with a refusal or ignored, counted, and kept to a rate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from massgen_mcp.tools.downstream.failures import CallFailed, Counts, NotSent, Refused, TimedOut, WireLost
from massgen_mcp.tools.downstream.wire import Unreadable, Wire

__all__ = ["FLOOD", "Progress", "Session", "Stamp"]

Progress: TypeAlias = Callable[[float, float | None, str], None]
"""How far a request is: progress, of how much, in which words."""
Stamp: TypeAlias = Callable[[str, dict[str, Any]], tuple[dict[str, Any], dict[str, str]]]
"""Method and parameters to the parameters as sent and the headers beside them."""

_METHOD_NOT_FOUND = -32601
_GREETINGS = frozenset({"initialize", "server/discover"})
"""Requests that may not be called off."""
_PER_SECOND = 50.0
_BURST = 200.0
FLOOD = 20_000
"""Messages above the rate after which the server is cut off."""
_LARGE = 16 * 1024
"""Bytes: a message counts once more for each so many of them, as it takes the longer to read."""
_WORDS = 100_000
"""Characters that are looked at of what is shown in a line: a secret is found before the text is cut."""
_PAUSE = 0.02
"""Seconds between looks at a server that sends above the rate, so that it waits and not we."""
_PIECE = 64
_QUEUE = 256


@dataclass(slots=True)
class _Waiting:
    """A request on its way."""

    progress: Progress | None
    answered: anyio.Event = field(default_factory=anyio.Event)
    signs: int = 0
    result: dict[str, Any] | None = None
    failure: Exception | None = None

    def settle(self, result: dict[str, Any] | None, failure: Exception | None = None) -> None:
        self.result, self.failure = result, failure
        self.answered.set()


class _Rate:
    """A bucket of messages that fills with time."""

    def __init__(self) -> None:
        self._left = _BURST
        self._at = anyio.current_time()

    def take(self, count: int) -> bool:
        now = anyio.current_time()
        self._left = min(_BURST, self._left + (now - self._at) * _PER_SECOND)
        self._at = now
        # One that is larger than all there ever is may come when there is all.
        if self._left < min(count, _BURST):
            return False
        self._left -= count
        return True


def _unstamped(_method: str, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    return params, {}


class Session:
    """One connection. `run` does its reading and writing and ends with the connection."""

    def __init__(
        self,
        wire: Wire,
        *,
        on_changed: Callable[[], None],
        counts: Counts | None = None,
        flood: int = FLOOD,
    ) -> None:
        self.counts = counts or Counts()
        self.stamp: Stamp = _unstamped
        self.lost: WireLost | None = None
        self.ended = anyio.Event()
        self._wire = wire
        self._on_changed = on_changed
        self._flood = flood
        self._above = 0
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._queue, self._queued = anyio.create_memory_object_stream[tuple[dict[str, Any], dict[str, str]]](
            _QUEUE
        )
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        """Read and write until the connection is lost, which fails whatever waits."""
        try:
            async with anyio.create_task_group() as self._tasks:
                if self.lost is None:
                    self._tasks.start_soon(self._write)
                    self._tasks.start_soon(self._read)
        except* WireLost as group:
            self.lose(cast("WireLost", group.exceptions[0]))
        finally:
            self.lose(WireLost("the connection was closed"))
            self._queue.close()
            self._queued.close()
            self.ended.set()

    def lose(self, error: WireLost) -> None:
        """The connection is gone; only the first word on why counts."""
        self.lost = self.lost or error
        waiting, self._waiting = self._waiting, {}
        for request in waiting.values():
            request.settle(None, self.lost)

    async def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        seconds: float,
        most: float | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Ask, and wait for the answer.

        Progress that the server reports begins `seconds` anew, up to `most` in all; absent, it does not. A
        request that is cancelled or takes too long is called off without waiting for a word on it.

        Raises:
            Refused: an error of the protocol came back.
            TimedOut: nothing came in time.
            CallFailed: what came is no answer.
            WireLost: the connection was lost meanwhile; `NotSent` where it was before.
        """
        number = next(self._numbers)
        waiting = _Waiting(progress)
        given = dict(params or {})
        if progress is not None:
            given["_meta"] = {**given.get("_meta", {}), "progressToken": number}
        self._waiting[number] = waiting
        why = "the caller gave up"
        try:
            try:
                self._put(method, given, number)
            except WireLost as lost:
                raise NotSent(str(lost)) from lost
            if not await _answer(waiting, seconds, most):
                why = "time-out"
                raise TimedOut(f"no answer to {method} within {_span(seconds, most)}")
        finally:
            if self._waiting.pop(number, None) is not None and method not in _GREETINGS:
                self._call_off(number, why)
        if waiting.failure is not None:
            raise waiting.failure
        return waiting.result or {}

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Tell the server something, if it can still be told."""
        self._put(method, dict(params or {}))

    def _call_off(self, number: int, why: str) -> None:
        if self.lost is None:
            try:
                self.notify("notifications/cancelled", {"requestId": number, "reason": why})
            except WireLost:
                return

    def _put(self, method: str, params: dict[str, Any], number: int | None = None) -> None:
        params, headers = self.stamp(method, params)
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if number is not None:
            message["id"] = number
        if params:
            message["params"] = params
        self._send(message, headers)

    def _send(self, message: dict[str, Any], headers: dict[str, str]) -> None:
        if self.lost is not None:
            raise self.lost
        try:
            self._queue.send_nowait((message, headers))
        except anyio.WouldBlock as error:
            self.lose(WireLost("it does not read what it is sent"))
            if self._tasks is not None:
                self._tasks.cancel_scope.cancel()
            raise WireLost("it does not read what it is sent") from error
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            raise WireLost("the connection was closed") from error

    async def _write(self) -> None:
        async for message, headers in self._queued:
            await self._wire.send(message, headers)

    async def _read(self) -> None:
        rate = _Rate()
        for number in itertools.count(1):
            before = self._wire.received
            message = await self._wire.receive()
            count = 1 + (self._wire.received - before) // _LARGE
            if not number % _PIECE:
                # A pipe that is always full never makes the reader wait.
                await anyio.lowlevel.checkpoint()
            if self._take(message):
                continue
            if rate.take(count):
                self._answer_unasked(message)
            else:
                await self._drop(count)

    async def _drop(self, count: int) -> None:
        """Ignore a message above the rate."""
        self.counts.dropped += 1
        pauses = (self._above + count) // _PIECE - self._above // _PIECE
        self._above += count
        if self._above >= self._flood:
            raise WireLost(f"it sent more than {self._flood} messages that nobody asked for")
        if pauses:
            await anyio.sleep(pauses * _PAUSE)

    def _take(self, message: object) -> bool:
        """Whether that was a reply, or the wreck of one. Then it is dealt with."""
        if isinstance(message, Unreadable):
            self.counts.unreadable += 1
            for number in message.ids:
                if (waiting := self._waiting.pop(number, None)) is not None:
                    waiting.settle(None, CallFailed(f"its answer can't be read: {message.why}"))
                    return True
            return False
        if not isinstance(message, dict) or "method" in message:
            return False
        reply = cast("dict[str, Any]", message)
        waiting = (
            self._waiting.pop(number, None) if (number := _number(reply.get("id"))) is not None else None
        )
        if waiting is None:
            return False
        waiting.settle(*_outcome(reply))
        return True

    def _answer_unasked(self, message: object) -> None:
        """Deal with a message that is no reply to anything."""
        call = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
        method = call.get("method")
        if isinstance(method, str):
            params = call.get("params")
            self._obey(method, cast("dict[str, Any]", params) if isinstance(params, dict) else {}, call)
        elif "id" in call:
            self.counts.strays += 1
        elif not isinstance(message, Unreadable):
            self.counts.unreadable += 1

    def _obey(self, method: str, params: dict[str, Any], call: dict[str, Any]) -> None:
        number = call.get("id")
        if isinstance(number, str | int) and not isinstance(number, bool):
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
            if method == "ping":
                answer["result"] = {}
            else:
                self.counts.requests += 1
                words = f"{method[:100]} is not offered here"
                answer["error"] = {"code": _METHOD_NOT_FOUND, "message": words}
            self._send(answer, {})
        elif method == "notifications/progress":
            self._progress(params)
        elif method == "notifications/tools/list_changed":
            self._on_changed()

    def _progress(self, params: dict[str, Any]) -> None:
        number = _number(params.get("progressToken"))
        waiting = self._waiting.get(number) if number is not None else None
        progress, total, words = (params.get(name) for name in ("progress", "total", "message"))
        if waiting is None or waiting.progress is None or not _finite(progress):
            return
        waiting.signs += 1
        waiting.progress(
            float(cast("float", progress)),
            float(cast("float", total)) if _finite(total) else None,
            words[:_WORDS] if isinstance(words, str) else "",
        )


async def _answer(waiting: _Waiting, seconds: float, most: float | None) -> bool:
    """Wait for an answer; whether it came in time."""
    until = anyio.current_time() + (most or seconds)
    while True:
        signs = waiting.signs
        with anyio.move_on_after(min(seconds, until - anyio.current_time())):
            await waiting.answered.wait()
            return True
        if most is None or waiting.signs == signs or anyio.current_time() >= until:
            return False


def _span(seconds: float, most: float | None) -> str:
    return f"{seconds:g} s" + (f", or {most:g} s with signs of progress" if most else "")


def _finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _number(value: object) -> int | None:
    """A request's number as servers send it back: some make text of it."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < len(str(2**63)):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _outcome(reply: dict[str, Any]) -> tuple[dict[str, Any] | None, Exception | None]:
    error, result = reply.get("error"), reply.get("result")
    if isinstance(error, dict):
        details = cast("dict[str, Any]", error)
        code, words = details.get("code"), details.get("message")
        code = code if isinstance(code, int) and not isinstance(code, bool) else 0
        words = words[:_WORDS] if isinstance(words, str) else ""
        return None, Refused(code, words or "an error without words")
    if isinstance(result, dict) and error is None:
        return cast("dict[str, Any]", result), None
    return None, CallFailed("its answer holds neither a result nor an error")
