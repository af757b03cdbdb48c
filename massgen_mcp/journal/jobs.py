"""Errands for a thread: put in a queue on the event loop, answered there when they are done.

The threads are daemons of our own and not anyio's workers, since the interpreter waits for those at exit, and
a disk may take as long as it likes. anyio has no way to wake a task from a foreign thread without blocking
that thread, so the answers come through asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

import anyio

from massgen_mcp.errors import JournalError

__all__ = ["Job", "Outcome", "Post"]

T = TypeVar("T")

_MOST_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One errand. `future` belongs to the event loop."""

    work: Callable[[Any], Any]
    """Takes the thread's connection."""
    future: asyncio.Future[Any]
    durable: bool = False
    """Has to survive power loss before it is answered."""
    alone: bool = False
    """Has to run outside of any transaction."""
    done: Callable[[Any], None] | None = None
    """Told the result in the thread, once it is committed and before anything else happens there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: its result, or an error for the one who waits."""

    job: Job
    result: Any = None
    error: Exception | None = None


class Post:
    """The queue between one event loop and one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._closed = False
        self._ended = anyio.Event()
        self._unanswered = 0

    @property
    def closed(self) -> bool:
        """Whether the last job has been sent."""
        return self._closed

    @property
    def idle(self) -> bool:
        """Whether everything that was sent has been answered; on the event loop."""
        return not self._unanswered

    def send(
        self,
        work: Callable[[Any], T],
        *,
        durable: bool = False,
        alone: bool = False,
        done: Callable[[Any], None] | None = None,
    ) -> asyncio.Future[T]:
        """Queue a job; on the event loop. A waiter that is cancelled does not call it back once it is begun.

        Raises:
            JournalError: no more jobs are taken.
        """
        if self._closed:
            raise JournalError("The journal is closed.")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._unanswered += 1
        self._queue.put(Job(work, future, durable, alone, done))
        return cast("asyncio.Future[T]", future)

    def close(self) -> None:
        """Take no more jobs; the thread ends when it has done those it has."""
        self._closed = True
        self._queue.put(None)

    async def join(self) -> None:
        """Wait until the thread has let go of its file."""
        await self._ended.wait()

    def end(self) -> None:
        """The last thing that the thread says."""
        self.call(self._ended.set)

    def take(self, timeout: float | None) -> Sequence[Job | None]:
        """All jobs that wait, or those that come first; none after `timeout` seconds. In the thread.

        None among them is the last one.
        """
        jobs: list[Job | None] = []
        with suppress(Empty):
            jobs.append(self._queue.get(timeout=timeout))
            while len(jobs) < _MOST_AT_ONCE and jobs[-1] is not None and not self._queue.empty():
                jobs.append(self._queue.get_nowait())
        return jobs

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        """Wake those who wait; from the thread."""
        self.call(self._settle, outcomes)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a function on the event loop, soon; from the thread."""
        # A loop that has ended has nobody left to be told.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        self._unanswered -= len(outcomes)
        for outcome in outcomes:
            if outcome.job.future.done():
                continue
            if outcome.error is None:
                outcome.job.future.set_result(outcome.result)
            else:
                outcome.job.future.set_exception(outcome.error)
