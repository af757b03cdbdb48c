"""Callers that wait for a run, and what becomes of the run when one goes away.

A call that is cancelled only says so; why it was comes, if at all, in a notification beside it. A user who
cancels wants the run stopped, unless somebody else waits for it. A host that gave up waiting wants the answer
later. Who says nothing gets a while to come back. All that is so unless the operator has decided otherwise.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, assert_never

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from mcp.server.context import ServerRequestContext

from massgen_mcp.clock import Clock
from massgen_mcp.errors import RequestRefused
from massgen_mcp.server.caller import ended_of

if TYPE_CHECKING:
    from massgen_mcp.runs import RunHandle
    from massgen_mcp.runs.settings import OnDisconnect

__all__ = ["Departure", "Presence", "Presences", "why_left"]

_logger = logging.getLogger(__name__)

Departure: TypeAlias = Literal["timed_out", "meant", "unknown"]

_TIMED_OUT = re.compile(r"tim(?:ed?|ing)[\s_-]*out|deadline", re.IGNORECASE)
_MEANT = re.compile(r"cancel|abort|interrupt|stop|user", re.IGNORECASE)
_REASON_SECONDS = 0.5
"""How long a reason may come after the cancellation; over one pipe they come together."""
_PATIENCE = 60.0
"""How long a run goes on for a caller who left without a reason."""


def why_left(reason: str | None) -> Departure:
    """What a cancellation's words mean."""
    if reason and _TIMED_OUT.search(reason):
        return "timed_out"
    return "meant" if reason and _MEANT.search(reason) else "unknown"


@dataclass(slots=True)
class Presence:
    """One call that waits, or has just been cancelled."""

    run: RunHandle | None = None
    reason: str | None = None
    told: anyio.Event = field(default_factory=anyio.Event)
    remote: bool = False
    """Over HTTP a connection can be lost, which says nothing of what the caller wants."""
    watch: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around what watches the connection."""


_Caller: TypeAlias = tuple[int, str]


class Presences:
    """Everybody who waits for a run through this server.

    `on_disconnect` is asked, whenever one goes away, what the operator wants of that.
    """

    def __init__(
        self, tasks: TaskGroup, clock: Clock, on_disconnect: Callable[[], OnDisconnect] = lambda: "auto"
    ) -> None:
        self._tasks = tasks
        self._clock = clock
        self._on_disconnect = on_disconnect
        self._here: dict[_Caller, Presence] = {}
        self._stopping = False

    @contextmanager
    def of(self, ctx: ServerRequestContext[Any, Any]) -> Generator[Presence]:
        """The presence of this call. Name the run in it; if the call is cancelled, the run's fate is decided.

        Raises:
            RequestRefused: a call with the same request id is under way.
        """
        caller = _caller(ctx, ctx.request_id)
        if caller in self._here:
            raise RequestRefused(
                f"Request id {ctx.request_id!r} is in use by a call that is under way. Nothing was spent."
            )
        presence = self._here[caller] = Presence(remote=ctx.request is not None)
        if (ended := ended_of(ctx)) is not None:
            self._tasks.start_soon(self._watch, presence, ended)
        try:
            yield presence
        except anyio.get_cancelled_exc_class():
            self._tasks.start_soon(self._left, caller, presence)
            raise
        except BaseException:
            del self._here[caller]
            raise
        else:
            del self._here[caller]
        finally:
            presence.watch.cancel()

    def told(
        self, ctx: ServerRequestContext[Any, Any], request_id: str | int | None, reason: str | None
    ) -> None:
        """A client says that it has cancelled a call, and perhaps why."""
        presence = self._here.get(_caller(ctx, request_id))
        if presence is not None:
            presence.reason = reason
            presence.told.set()

    def stop(self) -> None:
        """The server is stopping: who goes from here on is sent away, and their runs stay as they are."""
        self._stopping = True

    async def _watch(self, presence: Presence, ended: anyio.Event) -> None:
        """Notice a lost connection where the call is not cancelled by that: in a session of the older era."""
        with presence.watch:
            await ended.wait()
            if presence.run is not None and self._on_disconnect() == "cancel" and not self._stopping:
                _stop(presence.run, "its caller left", still_waiting=1)

    async def _left(self, caller: _Caller, presence: Presence) -> None:
        choice = self._on_disconnect()
        # Nothing is decided in a server that ends; and what is decided already needs no reason.
        await checkpoint()
        if choice == "auto":
            with anyio.move_on_after(_REASON_SECONDS):
                await presence.told.wait()
        del self._here[caller]
        run = presence.run
        if run is None or run.result is not None or self._stopping:
            return
        lost = presence.remote and not presence.told.is_set()
        why = "timed_out" if lost else why_left(presence.reason)
        _logger.info(
            "run %s: its caller left (%s: %r); on_disconnect is %s", run.run_id, why, presence.reason, choice
        )
        match choice:
            case "keep":
                pass
            case "cancel":
                _stop(run, "its caller left")
            case "auto":
                await self._decide(run, why)
            case _:
                assert_never(choice)

    async def _decide(self, run: RunHandle, why: Departure) -> None:
        """What a departure means where the operator leaves that to the reason."""
        waits = run.waits
        match why:
            case "timed_out":
                pass
            case "meant":
                _stop(run, "its caller cancelled")
            case "unknown":
                await self._clock.sleep(_PATIENCE)
                if run.waits == waits:
                    _stop(run, "its caller left and nobody came back")
            case _:
                assert_never(why)


def _stop(run: RunHandle, reason: str, *, still_waiting: int = 0) -> None:
    """Stop a run, unless somebody waits for it beside so many calls that nobody listens to any more."""
    if run.waiting <= still_waiting:
        run.cancel(reason)


def _caller(ctx: ServerRequestContext[Any, Any], request_id: str | int | None) -> _Caller:
    """Who a request or notification is from: ids are unique within one connection only.

    A 2025 connection has one `client_params` for all its messages. A 2026 one has none of its own: over a
    pipe there is just one peer, over HTTP each request is alone and cancelled by closing its stream.
    """
    if ctx.request is not None and ctx.session.protocol_version >= _MODERN:
        peer = id(ctx.request)
    elif ctx.session.protocol_version >= _MODERN:
        peer = 0
    else:
        peer = id(ctx.session.client_params)
    return peer, str(request_id)


_MODERN = "2026-07-28"
