"""What one server process has while it serves: its runs, opened at first need, and the tasks they live in."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.server.context import ServerRequestContext

from massgen_mcp.clock import Clock
from massgen_mcp.secrets import Secrets
from massgen_mcp.server.caller import caller_of
from massgen_mcp.server.presence import Presences

if TYPE_CHECKING:
    from massgen_mcp.runs import Runs
    from massgen_mcp.runs.settings import OnDisconnect

__all__ = ["MakeRuns", "Service", "open_service"]

_logger = logging.getLogger(__name__)

MakeRuns: TypeAlias = "Callable[[TaskGroup], AbstractAsyncContextManager[Runs]]"
"""Makes the runs of a server, inside the task group that owns their work."""


class Service:
    """Shared by all calls of a server."""

    def __init__(
        self,
        make_runs: MakeRuns,
        *,
        tasks: TaskGroup,
        keepers: TaskGroup,
        closing: anyio.Event,
        clock: Clock,
    ) -> None:
        self.clock = clock
        self.presences = Presences(tasks, clock, self._on_disconnect)
        self._make_runs = make_runs
        self._tasks = tasks
        self._keepers = keepers
        self._opening = anyio.Lock()
        self._runs: Runs | None = None
        self._closing = closing

    async def runs(self) -> Runs:
        """The runs, made by the first call that needs them; after a failure the next call tries again.

        Raises:
            MassgenError: what they need is not there; the text says why and what to do.
        """
        async with self._opening:
            runs = self._runs
            if runs is None:
                runs = self._runs = await self._keepers.start(self._keep)
            return runs

    def open_soon(self) -> None:
        """Make the runs without waiting for a call that needs them."""
        self._tasks.start_soon(self._open)

    async def _open(self) -> None:
        try:
            await self.runs()
        except Exception:
            # Whatever it is, calls that need the runs say so; it must not end the server.
            _logger.exception("the runs could not be opened yet")

    async def runs_of(self, ctx: ServerRequestContext[Any, Any]) -> Runs:
        """The runs as the caller of this request may see them. Raises as `runs` does."""
        runs, user = await self.runs(), caller_of(ctx).user
        return runs if user is None else runs.for_user(user)

    @property
    def secrets(self) -> Secrets:
        """What must not be shown. Before the runs are made, keys are known by their shape alone."""
        return Secrets() if self._runs is None else self._runs.secrets

    def _on_disconnect(self) -> OnDisconnect:
        """What the operator wants. Before the runs are made there is none to leave."""
        return "auto" if self._runs is None else self._runs.on_disconnect

    async def _keep(self, *, task_status: TaskStatus[Runs]) -> None:
        # In a task of its own: what is entered here is left here, whichever call came first.
        begun = False
        try:
            async with self._make_runs(self._tasks) as runs:
                begun = True
                task_status.started(runs)
                with anyio.CancelScope(shield=True):
                    await self._closing.wait()
        except Exception:
            if not begun:
                raise
            # Shutdown: what was acknowledged is safe, and nobody is left to be told otherwise.
            _logger.exception("the runs could not be closed properly")


@asynccontextmanager
async def open_service(make_runs: MakeRuns, clock: Clock) -> AsyncGenerator[Service]:
    """The service while a server serves. On leaving, runs stop where they are, then the journal closes."""
    closing = anyio.Event()
    async with anyio.create_task_group() as keepers:
        try:
            # Two groups, so that the journal is open for as long as any run can still write to it.
            async with anyio.create_task_group() as tasks:
                yield Service(make_runs, tasks=tasks, keepers=keepers, closing=closing, clock=clock)
                tasks.cancel_scope.cancel()
        finally:
            closing.set()
