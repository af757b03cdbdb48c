"""A run as its callers hold it: wait for it, look at it, stop it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import anyio

from massgen_mcp.journal import Journal, Record
from massgen_mcp.runs.remains import Remains
from massgen_mcp.runs.result import RunResult, TeamInfo
from massgen_mcp.runs.shape import running_result
from massgen_mcp.team import Listener, TeamRun

__all__ = ["RunHandle"]


class RunHandle:
    """One run of this process, live or over. Any number of callers may hold it."""

    def __init__(
        self,
        run: TeamRun,
        *,
        team: TeamInfo,
        warnings: list[str],
        usual_seconds: float | None,
        journal: Journal,
        digest: str = "",
        past: Sequence[Record] = (),
        remains: Remains,
    ) -> None:
        self.run = run
        self.team = team
        self.warnings = warnings
        self.journal = journal
        """Where its records are read back from."""
        self.digest = digest
        """What was asked, for those who ask the same; empty: nobody joins."""
        self.past = past
        """Of a run that was taken up again, its records up to then."""
        self.remains = remains
        """Of one that breaks, what its agents had done by then."""
        self.delivered = False
        """Its result has been handed to a caller."""
        self.noted = False
        """The journal of the state folder knows what it has cost, and nothing else of it."""
        self.stopping = False
        """Somebody wants it stopped."""
        self.result: RunResult | None = None
        self.queue = anyio.CancelScope()
        """Cancelled to leave the queue for a place."""
        self.queued = ""
        """What the run waits for before it may begin; empty once it has begun."""
        self._usual = usual_seconds
        self._over = anyio.Event()
        self.waiting = 0
        """Callers of this process that wait for it now."""
        self.waits = 0
        """How often somebody has begun to wait for it."""

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.run.log.run_id

    @property
    def agents(self) -> tuple[str, ...]:
        """Who takes part, in the team's order."""
        return tuple(self.run.seats)

    def status(self) -> RunResult:
        """The result, or how far the run has come."""
        if self.result is not None:
            return self.result
        if self.queued:
            return running_result(
                self.run, team=self.team, eta=None, warnings=self.warnings, phase=self.queued
            )
        eta = None if self._usual is None else round(max(1.0, self._usual - self.run.seconds))
        return running_result(self.run, team=self.team, eta=eta, warnings=self.warnings)

    def finish(self, result: RunResult) -> None:
        """The run is over; wake everybody who waits."""
        self.result = result
        self._over.set()

    async def wait(self, seconds: float | None = None) -> RunResult:
        """The result as soon as there is one, or how far the run has come when `seconds` have passed."""
        self.waiting += 1
        self.waits += 1
        try:
            with anyio.move_on_after(seconds):
                await self._over.wait()
        finally:
            self.waiting -= 1
        return self.status()

    def cancel(self, reason: str) -> None:
        """Ask the run to stop; it ends with the best answer so far. Wait for it to have that."""
        self.stopping = True
        self.run.cancel(reason)
        self.queue.cancel()  # which the run has left once it has begun

    @contextmanager
    def listen(self) -> Generator[Listener]:
        """The run's records from now on."""
        with self.run.log.listen() as listener:
            if self.result is not None:
                listener.close()
            yield listener
