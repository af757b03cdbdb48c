"""The one retry layer: every model request of this package goes through `ask`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Protocol, runtime_checkable

import anyio

from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.limits import RequestLimits, Watchdog, request_limits
from massgen_mcp.backends.pause import SharedPause
from massgen_mcp.backends.pulse import PULSE, Pulse
from massgen_mcp.clock import Clock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Reply, Request, Restarted
from massgen_mcp.telemetry import record_usage, request_span

__all__ = ["MAX_ATTEMPTS", "Paced", "ask"]

MAX_ATTEMPTS = 5

_LONGEST_WAIT = 60.0
_FIRST_WAIT = 0.5
_FIRST_WAIT_LIMITED = 2.0
"""After a rate limit without a word on how long to wait."""
_RECONNECT = 0.1
_SPREAD = 0.5
"""Those held back by somebody else's rate limit do not all start in the same moment."""


@runtime_checkable
class Paced(Protocol):
    """What a backend may offer the retry layer besides its port."""

    @property
    def pause(self) -> SharedPause:
        """The pause shared by all who use its key."""
        ...

    @property
    def deep(self) -> bool:
        """Whether its model was told to reason at length."""
        ...


def _ignore(delta: Delta) -> None:
    del delta


def _always(requests: int) -> bool:
    del requests
    return True


async def ask(
    backend: ModelBackend,
    request: Request,
    *,
    clock: Clock,
    random: Random,
    listen: Callable[[Delta], None] = _ignore,
    timeout: float | None = None,  # noqa: ASYNC109 - a value of the team file, measured on the given clock
    limits: RequestLimits | None = None,
    deadline: float | None = None,
    pause: SharedPause | None = None,
    may_send: Callable[[int], bool] = _always,
) -> Reply:
    """One complete reply, asked for as often as makes sense.

    At most five tries, with what the provider asks to wait (60 s at most) or a growing random wait between
    them, never past the deadline. A request that never connected is tried once more within 100 ms. A rate
    limit holds back everybody who uses the same key. Each new try sends the whole request again.

    Args:
        backend: whom to ask.
        request: what to ask.
        clock: where time comes from.
        random: where chance comes from.
        listen: told text and reasoning as they stream, and `Restarted` when they become void.
        timeout: seconds for one attempt, first byte to last.
        limits: instead of those of the backend's row.
        deadline: on `clock.monotonic()`; nothing is awaited beyond it.
        pause: instead of the one the backend shares with others of its key.
        may_send: asked before each new try, with the requests that would have reached the provider by then;
            without its consent the last failure stands.

    Raises:
        BackendError: no complete reply came; `attempts` and `requests` say what was tried.
    """
    asking = _Asking(
        backend=backend,
        request=request,
        clock=clock,
        random=random,
        listen=listen,
        limits=limits or request_limits(backend.info, timeout=timeout, deep=_is_deep(backend)),
        deadline=deadline,
        pause=pause or (backend.pause if isinstance(backend, Paced) else SharedPause()),
        may_send=may_send,
    )
    with request_span(provider=backend.info.vendor, model=backend.model) as span:
        reply = await asking.run()
        record_usage(span, reply.usage, served=reply.model, finish=reply.finish, attempts=reply.attempts)
    return reply


def _is_deep(backend: ModelBackend) -> bool:
    return isinstance(backend, Paced) and backend.deep


class _Asking:
    """One question on its way, over all its attempts."""

    def __init__(
        self,
        *,
        backend: ModelBackend,
        request: Request,
        clock: Clock,
        random: Random,
        listen: Callable[[Delta], None],
        limits: RequestLimits,
        deadline: float | None,
        pause: SharedPause,
        may_send: Callable[[int], bool],
    ) -> None:
        self._backend = backend
        self._request = request
        self._clock = clock
        self._random = random
        self._listen = listen
        self._limits = limits
        self._deadline = deadline
        self._pause = pause
        self._may_send = may_send
        self._requests = 0

    async def run(self) -> Reply:
        """All attempts."""
        started = self._clock.monotonic()
        for attempt in itertools.count(1):
            await self._keep_pause(attempt)
            try:
                reply = await self._attempt()
            except BackendError as error:
                await self._recover(error, attempt)
                continue
            usage = replace(reply.usage, requests=self._requests + max(1, reply.usage.requests))
            seconds = self._clock.monotonic() - started
            return replace(reply, attempts=attempt, seconds=seconds, usage=usage)
        raise AssertionError

    async def _keep_pause(self, attempt: int) -> None:
        """Wait as long as anybody with this key has to; ask nothing when the time is over already."""
        if self._too_late(0.0):
            raise self._counted(self._over(), attempt - 1)
        while left := self._pause.remaining(self._clock.monotonic()):
            wait = left + self._random.uniform(0, _SPREAD)
            if self._too_late(wait):
                raise self._counted(self._held_back(), attempt - 1)
            await self._clock.sleep(wait)

    async def _recover(self, error: BackendError, attempt: int) -> None:
        """Wait for the next try, or raise the error when there is none."""
        self._requests += error.requests
        wait = self._wait(error, attempt)
        if wait is None or self._too_late(wait) or not self._may_send(self._requests + 1):
            raise self._counted(error, attempt)
        if error.kind == "rate_limit":
            self._pause.hold(self._clock.monotonic() + wait)
        self._listen(Restarted(attempt=attempt + 1, why=error.kind.replace("_", " ")))
        await self._clock.sleep(wait)

    def _over(self) -> BackendError:
        what = f"The time of the run was over before {self._backend.info.title} was asked."
        return BackendError(what, kind="timeout", connected=False)

    def _held_back(self) -> BackendError:
        title = self._backend.info.title
        return BackendError(
            f"{title} asked this key to send less, for longer than the run has time. Try again later, or let "
            "fewer agents use this key.",
            kind="rate_limit",
            connected=False,
        )

    def _counted(self, error: BackendError, attempts: int) -> BackendError:
        error.attempts = attempts
        error.requests = self._requests
        return error

    def _too_late(self, wait: float) -> bool:
        return self._deadline is not None and self._clock.monotonic() + wait >= self._deadline

    def _wait(self, error: BackendError, attempt: int) -> float | None:
        """Seconds until the next try; None when another one makes no sense."""
        if not error.retryable or attempt >= min(MAX_ATTEMPTS, error.max_attempts or MAX_ATTEMPTS):
            return None
        if not error.connected:
            return self._random.uniform(0, _RECONNECT)
        first = _FIRST_WAIT_LIMITED if error.kind == "rate_limit" else _FIRST_WAIT
        jittered = self._random.uniform(0, min(_LONGEST_WAIT, first * 2 ** (attempt - 1)))
        return max(min(error.retry_after or 0.0, _LONGEST_WAIT), jittered)

    async def _attempt(self) -> Reply:
        pulse = Pulse(self._clock)
        title = self._backend.info.title
        watchdog = Watchdog(
            limits=self._limits, pulse=pulse, clock=self._clock, deadline=self._deadline, title=title
        )
        reply: Reply | None = None
        failure: Exception | None = None
        token = PULSE.set(pulse)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watchdog.watch, tasks.cancel_scope)
                try:
                    reply = await self._read(pulse)
                except Exception as error:  # noqa: BLE001 - raised again below, outside of the group that would wrap it
                    failure = error
                watchdog.stop()
        finally:
            PULSE.reset(token)
        if reply is None:
            failure = watchdog.failure() or failure
        if failure is not None:
            raise failure
        return self._checked(reply)

    async def _read(self, pulse: Pulse) -> Reply | None:
        reply: Reply | None = None
        async with self._backend.stream(self._request) as deltas:
            async for delta in deltas:
                pulse.beat()
                if isinstance(delta, Reply):
                    reply = delta
                else:
                    self._listen(delta)
        return reply

    def _checked(self, reply: Reply | None) -> Reply:
        """A reply with something in it."""
        if reply is not None and (reply.text.strip() or reply.calls):
            return reply
        title, model = self._backend.info.title, self._backend.model
        what = "ended its stream without a reply" if reply is None else "sent an empty reply"
        raise BackendError(
            f"{title} {what} for {model!r}. Try again, or use another backend.",
            kind="protocol",
            retryable=True,
            max_attempts=2,
        )
