"""Runs that this process does not drive: what their records say, waiting for them, stopping them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from massgen_mcp.clock import Clock
from massgen_mcp.errors import RunOver, RunTaken
from massgen_mcp.journal import RESUMED, Journal, read_intact, summarise
from massgen_mcp.runs.driving import finished_body
from massgen_mcp.runs.past import LATELY, cancelled_result, eta, result_of_record, with_warning
from massgen_mcp.runs.result import RunResult

__all__ = ["Others"]

_LOOK_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Others:
    """The runs of any process on the state folder, as its journal knows them."""

    journal: Callable[[], Awaitable[Journal]]
    clock: Clock

    async def result(self, run_id: str) -> RunResult:
        """What a run came to, or has come to so far.

        Raises:
            RunNotFound: there is no such run.
        """
        return await self._told(await self._look(run_id))

    async def _look(self, run_id: str) -> RunResult:
        journal = await self.journal()
        row = await journal.row(run_id)
        records, damage = await read_intact(journal, run_id)
        result = result_of_record(row, summarise(records, state=row.state))
        return result if damage is None else with_warning(result, str(damage))

    async def _told(self, result: RunResult) -> RunResult:
        """A run still in motion says how long it may take."""
        if result.status != "running":
            return result
        journal = await self.journal()
        row = await journal.row(result.run_id)
        left = eta(result, await journal.rows(limit=LATELY), passed=self.clock.now() - row.started)
        return result.model_copy(update={"eta_seconds": left})

    async def wait(self, run_id: str, seconds: float) -> RunResult:
        """The result as soon as the run is over, or how far it is after `seconds`.

        Raises:
            RunNotFound: there is no such run.
        """
        deadline = self.clock.monotonic() + seconds
        result = await self._look(run_id)
        while result.status == "running" and self.clock.monotonic() < deadline:
            await self.clock.sleep(_LOOK_SECONDS)
            result = await self._look(run_id)
        return await self._told(result)

    async def cancel(self, run_id: str, reason: str, *, within: float) -> RunResult:
        """Stop a run and return what it has, or how far it is after so many seconds.

        Raises:
            RunNotFound: there is no such run.
        """
        result = await self._look(run_id)
        if result.status == "interrupted":
            try:
                return await self._end(result)
            except (RunTaken, RunOver):  # another process was faster
                result = await self._look(run_id)
        if result.status != "running":
            return result
        await (await self.journal()).request_cancel(run_id, reason)
        return await self.wait(run_id, within)

    async def _end(self, interrupted: RunResult) -> RunResult:
        """End an interrupted run with what it has: nobody goes on with it by himself any more.

        Raises:
            RunTaken, RunOver: it is not interrupted any more.
        """
        ended = cancelled_result(interrupted)
        log = await (await self.journal()).take_over(interrupted.run_id, body={"event": RESUMED})
        try:
            await log.append("Finished", finished_body(ended))
        finally:
            await log.leave()  # which changes nothing once it is finished
        return ended
