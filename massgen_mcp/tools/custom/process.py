"""The child process of an agent's custom tools, as its parent sees it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias, cast

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.messages import Image
from massgen_mcp.workspace.children import Child, ChildLost

__all__ = ["MAX_LINE", "Ended", "Failed", "Gave", "Runner", "TookTooLong"]

MAX_LINE = 8 * 1024 * 1024
_PIECE = 2000
"""Characters of a piece that are told on."""
_ACKNOWLEDGE = 1.0
"""Seconds that a call has to end after it was told to."""

Tell: TypeAlias = Callable[[str], None]


class Failed(Exception):
    """The function raised; the text says what."""


class Ended(Exception):
    """The process ended; the text says how."""


class TookTooLong(Exception):
    """The call did not end in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gave:
    """What a function gave."""

    text: str
    images: tuple[Image, ...] = ()


@dataclass(slots=True)
class _Pending:
    tell: Tell
    done: anyio.Event = field(default_factory=anyio.Event)
    answer: Mapping[str, Any] | None = None


class Runner:
    """A running child that serves calls, many at a time."""

    def __init__(self, child: Child, tasks: TaskGroup) -> None:
        self._child = child
        self._numbers = count(1)
        self._calls: dict[int, _Pending] = {}
        self._scope, self._watching = anyio.CancelScope(), anyio.CancelScope()
        self.lost = ""
        """How it ended, once it has."""
        self.stuck = False
        """Whether a call of it may run on although nobody waits for it."""
        tasks.start_soon(self._read)
        tasks.start_soon(self._watch)

    @property
    def busy(self) -> bool:
        """Whether calls are waiting for it."""
        return bool(self._calls)

    async def ask(self, request: Mapping[str, Any], tell: Tell, *, seconds: float) -> Gave:
        """One call.

        Raises:
            Failed: the function raised.
            Ended: the process ended meanwhile.
            TookTooLong: it did not end within `seconds`.
        """
        number = next(self._numbers)
        pending = self._calls[number] = _Pending(tell)
        try:
            line = json.dumps({**request, "call": number}, ensure_ascii=False).encode(errors="replace")
            with anyio.move_on_after(seconds) as limit:
                await self._send(line)
                await pending.done.wait()
        finally:
            if not pending.done.is_set():
                await self._give_up(number, pending)
            del self._calls[number]
        if pending.answer is None:
            raise TookTooLong if limit.cancelled_caught and not self.lost else Ended(self.lost)
        if "cancelled" in pending.answer:
            raise TookTooLong if limit.cancelled_caught else Failed("it cancelled itself")
        return _read_answer(pending.answer)

    async def _send(self, line: bytes) -> None:
        try:
            await self._child.send(line)
        except ChildLost as error:
            self.lost = self.lost or str(error)
            raise Ended(str(error)) from error

    async def _give_up(self, number: int, pending: _Pending) -> None:
        """Tell it to stop. What runs in a thread can't be stopped: it goes on until the process ends."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(_ACKNOWLEDGE):
            try:
                await self._child.send(json.dumps({"cancel": number}).encode())
            except ChildLost:
                return
            await pending.done.wait()
        answer = pending.answer
        if answer is None or answer.get("running"):
            self.stuck = True

    async def _read(self) -> None:
        with self._scope:
            try:
                while True:
                    self._take(await self._child.receive())
            except ChildLost as error:
                self.lost = str(error)
            for pending in self._calls.values():
                pending.done.set()

    async def _watch(self) -> None:
        # What functions print is waited for: Python fails where it can't write.
        with self._watching:
            await self._child.watch_errors()

    def _take(self, line: bytes) -> None:
        try:
            message: Any = json.loads(line)
        except (ValueError, RecursionError):
            raise ChildLost("it wrote what is not JSON") from None
        if not isinstance(message, dict):
            raise ChildLost("it wrote what is no message")
        fields = cast("dict[str, Any]", message)
        number = fields.get("call")
        pending = self._calls.get(number) if isinstance(number, int) else None
        if pending is None or pending.done.is_set():
            return
        if "piece" in fields:
            pending.tell(str(fields["piece"])[:_PIECE])
            return
        pending.answer = fields
        pending.done.set()

    async def stop(self) -> None:
        """End it, by force if need be. It is gone when this returns; calls under way end with `Ended`."""
        self.lost = self.lost or "it was stopped"
        self._scope.cancel()
        self._watching.cancel()
        # A function that hangs would use up any grace.
        await self._child.stop(0.2 if self.stuck else None)
        for pending in self._calls.values():
            pending.done.set()


def _read_answer(answer: Mapping[str, Any]) -> Gave:
    if "error" in answer:
        text = str(answer.get("text") or "")
        raise Failed(f"{answer['error']}\nBefore that it gave:\n{text}" if text else str(answer["error"]))
    given = answer.get("images")
    found = cast("list[Any]", given) if isinstance(given, list) else []
    images = [image for image in map(_image, found) if image]
    return Gave(text=str(answer.get("done", "")), images=tuple(images))


def _image(value: Any) -> Image | None:
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    try:
        return Image(mime=str(fields["mime"]), data=base64.b64decode(fields["data"], validate=True))
    except (KeyError, TypeError, binascii.Error, ValueError):
        return None
