"""One server for the length of a run: started, listed, restarted where that is harmless, and then off."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import anyio

from massgen_mcp.text import shorten, visible
from massgen_mcp.tools.downstream.definitions import Listing, list_tools
from massgen_mcp.tools.downstream.denied import sandbox_hint
from massgen_mcp.tools.downstream.entry import Entry, Outside
from massgen_mcp.tools.downstream.failures import (
    CallFailed,
    Counts,
    NotSent,
    Refused,
    ServerOff,
    WireLost,
    root_cause,
)
from massgen_mcp.tools.downstream.handshake import ParamHeaders, greet
from massgen_mcp.tools.downstream.http import open_address
from massgen_mcp.tools.downstream.launching import plan_launch
from massgen_mcp.tools.downstream.session import Progress, Session
from massgen_mcp.tools.downstream.stdio import open_child
from massgen_mcp.tools.downstream.wire import Wire
from massgen_mcp.workspace.confinement import Confinement

__all__ = ["RUN_OVER", "Connection"]

RUN_OVER = "the run is over"
_LOG = logging.getLogger(__name__)

_CALL_SECONDS = 120.0
_CALL_MOST = 900.0
"""With signs of progress, where the entry has no `timeout`."""
_LIST_SECONDS = 15.0
_BACKOFF = (0.5, 2.0)
"""Seconds before each restart; there are no more than these."""
_IN_A_ROW = 3
"""Calls without a usable answer after which the server gets a pause."""
_PAUSE = 30.0
_RELISTS = 30
_SETTLE = 0.2
"""Seconds in which several words of a changed list count as one."""
_TELL_EVERY = 10.0
_REASON = 1200
_CHANGED = "its definition is not what it was when the run began"
_GONE = "its server no longer offers it"


class Connection:
    """A server and what it was pinned to offer. `run` keeps it up; everybody else asks, and waits."""

    def __init__(self, entry: Entry, outside: Outside) -> None:
        self.entry = entry
        self.listing = Listing(tools=())
        """What the server offered when the run began."""
        self.off = ""
        """Why the server is off for the rest of the run; empty while it is not."""
        self.changed: dict[str, str] = {}
        """Tools that are off because they are not what they were, with the reason."""
        self.counts = Counts()
        self.confinement: Confinement | None = None
        self._outside = outside
        self._headers: ParamHeaders = {}
        self._session: Session | None = None
        self._listed = False
        self._restarts = 0
        self._lost_by = ""
        self._failures = 0
        self._closed_until = 0.0
        self._relists = 0
        self._stale = False
        self._changes = anyio.Event()
        self._wanted = anyio.Event()
        self._news = anyio.Event()

    async def run(self) -> None:
        """Start the server, and again when it is wanted after it was lost. Ends when it is off."""
        try:
            await self._live()
            while not self.off:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                if self._restarts >= len(_BACKOFF):
                    self._turn_off(f"it was lost {self._restarts + 1} times, last because {self._lost_by}")
                    break
                await self._outside.clock.sleep(_BACKOFF[self._restarts])
                self._restarts += 1
                await self._live()
        finally:
            if not self.off:
                self._turn_off(RUN_OVER)

    async def ready(self) -> None:
        """Wait until the server has shown what it offers, or is off."""
        while not (self._listed or self.off):
            await self._news.wait()

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, repeatable: bool, progress: Progress
    ) -> dict[str, Any]:
        """One call's result as it came. What may have been done is asked for once more only if `repeatable`.

        Raises:
            CallFailed: there is none; the text is for the model.
            ServerOff: there will be none in this run.
        """
        params = {"name": tool, "arguments": dict(arguments)}
        asked = 0
        while True:
            session = await self._standing(tool)
            try:
                result = await session.request(
                    "tools/call",
                    params,
                    seconds=self.entry.timeout or _CALL_SECONDS,
                    most=None if self.entry.timeout else _CALL_MOST,
                    progress=progress,
                )
            except NotSent:
                continue
            except WireLost as lost:
                asked += 1
                if repeatable and asked == 1:
                    continue
                raise CallFailed(f"{self._reason(lost)} {_unknown(asked)}") from lost
            except Refused:
                self._failures = 0
                raise
            except CallFailed:
                self._count_failure()
                raise
            self._failures = 0
            return result

    async def _standing(self, tool: str) -> Session:
        """The session to ask for a tool, once there is one and the tool is known to be what it was."""
        while True:
            if self.off:
                raise ServerOff(self.off)
            wait = self._closed_until - self._outside.clock.monotonic()
            if wait > 0:
                raise CallFailed(f"not asked: its last {_IN_A_ROW} calls failed. Again in {wait:.0f} s.")
            if self._session is None or self._session.lost is not None:
                self._wanted.set()
            elif not self._stale:
                if tool in self.changed:
                    raise CallFailed(f"not asked: {self.changed[tool]}.")
                return self._session
            await self._news.wait()

    def _count_failure(self) -> None:
        self._failures += 1
        if self._failures >= _IN_A_ROW:
            self._failures = 0
            self._closed_until = self._outside.clock.monotonic() + _PAUSE

    async def _live(self) -> None:
        """One life of the server, from its start to the loss of the connection."""
        try:
            async with AsyncExitStack() as alone:
                if self.entry.installs:
                    await alone.enter_async_context(self._outside.cache.lock(self.entry))
                await self._start(alone)
        except Exception as group:  # noqa: BLE001 - one server's end, whatever it is, is not the end of the run
            error = root_cause(group)
            if not isinstance(error, WireLost | CallFailed | ServerOff | OSError):
                _LOG.exception("MCP server %s: unexpected failure", self.entry.name)
            self._lost_by = self._reason(error)
            if not self._listed or isinstance(error, ServerOff):
                self._turn_off(self._lost_by)
        finally:
            self._session = None
            self._stale = False
            self._announce()

    async def _start(self, alone: AsyncExitStack) -> None:
        async with self._wire() as wire, anyio.create_task_group() as tasks:
            session = Session(wire, on_changed=self._note_change, counts=self.counts)
            tasks.start_soon(session.run)
            if self.entry.installs:
                tasks.start_soon(self._tell_installing, session)
            with anyio.move_on_after(self.entry.start_seconds) as limit:
                seconds = self.entry.start_seconds
                has_tools = await greet(session, self._headers, seconds=seconds)
                self._accept(await list_tools(session, seconds=seconds) if has_tools else Listing(tools=()))
            if limit.cancelled_caught:
                words = wire.last_words()
                said = f" Its last words: {words}" if words else ""
                raise CallFailed(f"it was not ready within {self.entry.start_seconds:g} s.{said}")
            if self.entry.installs:
                self._outside.cache.remember(self.entry)
            await alone.aclose()
            self._session = session
            self._stale = self._changes.is_set()
            self._wanted = anyio.Event()
            self._announce()
            tasks.start_soon(self._follow_changes, session)
            await session.ended.wait()
            raise session.lost or WireLost("the connection was closed")

    def _wire(self) -> AbstractAsyncContextManager[Wire]:
        if self.entry.url:
            return open_address(self.entry, self._outside)
        plan = plan_launch(self.entry, self._outside)
        self.confinement = plan.confinement
        return open_child(plan, grace=self._outside.grace)

    async def _tell_installing(self, session: Session) -> None:
        begun = anyio.current_time()
        what = "starting" if self._outside.cache.used(self.entry) else "installing, first use"
        await anyio.sleep(self._outside.tell_after)
        while self._session is not session and not session.ended.is_set():
            seconds = anyio.current_time() - begun
            self._outside.tell(f"MCP server {self.entry.name}: {what} ({seconds:.0f} s)")
            await anyio.sleep(_TELL_EVERY)

    def _accept(self, listing: Listing) -> None:
        """Pin what is offered; later, compare with what was pinned."""
        if not self._listed:
            self.listing = listing
            self._headers |= {tool.tool: dict(tool.headers) for tool in listing.tools}
            self._listed = True
            return
        now = {tool.tool: tool.digest for tool in listing.tools}
        for tool in self.listing.tools:
            if tool.tool not in now:
                self.changed.setdefault(tool.tool, _GONE)
            elif now[tool.tool] != tool.digest:
                self.changed[tool.tool] = _CHANGED
            elif self.changed.get(tool.tool) == _GONE:
                del self.changed[tool.tool]

    def _note_change(self) -> None:
        self._stale = self._session is not None
        self._changes.set()

    async def _follow_changes(self, session: Session) -> None:
        """Look again whenever the server says that its list changed; nothing is called meanwhile."""
        while True:
            await self._changes.wait()
            await anyio.sleep(_SETTLE)
            self._changes = anyio.Event()
            self._relists += 1
            if self._relists > _RELISTS:
                raise ServerOff(f"it changed its list of tools more than {_RELISTS} times")
            self._accept(await list_tools(session, seconds=_LIST_SECONDS))
            self._stale = self._changes.is_set()
            self._announce()

    def _turn_off(self, reason: str) -> None:
        self.off = reason
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    def _reason(self, error: BaseException) -> str:
        """Why, in words fit to show, with what the sandbox may have had to do with it."""
        text = shorten(visible(self._outside.redact(str(error) or type(error).__name__)), _REASON)
        hint = sandbox_hint(text, self.confinement)
        return f"{text.rstrip('.')}.{' ' if hint else ''}{hint}"


def _unknown(asked: int) -> str:
    if asked > 1:
        return "The call was made twice."
    return "Whether the call took effect is not known, so it is not repeated."
