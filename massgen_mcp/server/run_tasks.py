"""Runs as tasks of the protocol: the task's id is the run's, so every other door knows it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from massgen_mcp.errors import MassgenError, RunNotFound
from massgen_mcp.journal import Record, RunRow
from massgen_mcp.runs import RunResult, Runs
from massgen_mcp.runs.lines import Lines
from massgen_mcp.runs.result import Detail
from massgen_mcp.server.app import broke
from massgen_mcp.server.calls import begin_ask, refused, reply_of_ask
from massgen_mcp.server.looks import records_of
from massgen_mcp.server.service import Service
from massgen_mcp.server.tasks import Task, TaskStatus, unknown_task

__all__ = ["RunTasks"]

_POLL_MS: Final = 3_000
_QUIET: Final = 10.0
"""Seconds after which a line is old, and where the run is says more."""
_REMEMBERED: Final = 1_000

_Context = ServerRequestContext[Service, Any]


class RunTasks:
    """The tasks of a server: every run that the caller may see. A `TaskSource`."""

    def __init__(self) -> None:
        self._details: dict[str, Detail] = {}
        """What was asked for beside the answer, where it is not the usual. Other processes give that."""

    async def begin(
        self, ctx: _Context, params: types.CallToolRequestParams
    ) -> Task | types.CallToolResult | None:
        """A run for a call of `ask_team`; its refusal, in words, where it can't be asked."""
        if params.name != "ask_team":
            return None
        try:
            run_id, detail = await begin_ask(ctx, params.arguments)
            self._remember(run_id, detail)
            # Without its result, which would count as delivered: this reply does not carry it.
            return await self._task(ctx, run_id, whole=False)
        except MassgenError as error:
            return refused(ctx, error)
        except Exception as error:  # noqa: BLE001 - the edge of a tool
            return broke(params.name, error)

    async def look(self, ctx: _Context, task_id: str) -> Task:
        """A run of this process or any other on the same state folder."""
        try:
            return await self._task(ctx, task_id, whole=True)
        except MassgenError as error:
            raise _in_protocol(ctx, task_id, error) from error

    async def cancel(self, ctx: _Context, task_id: str) -> None:
        """Ask the run to stop. It ends with the best answer it has, which `get_run` returns."""
        try:
            runs = await ctx.lifespan_context.runs_of(ctx)
            live = runs.live(task_id)
            if live is None:
                await runs.cancel(task_id, _CANCELLED)
            else:
                live.cancel(_CANCELLED)
        except MassgenError as error:
            raise _in_protocol(ctx, task_id, error) from error

    async def update(self, ctx: _Context, task_id: str, responses: Mapping[str, Any]) -> None:
        """Runs ask their client for nothing, so there is nothing to hand over."""
        del responses
        try:
            await self._task(ctx, task_id, whole=False)
        except MassgenError as error:
            raise _in_protocol(ctx, task_id, error) from error

    async def _task(self, ctx: _Context, run_id: str, *, whole: bool) -> Task:
        runs = await ctx.lifespan_context.runs_of(ctx)
        # The result first: of a run that is over by then, all records are there.
        result = await runs.result(run_id)
        row = await (await runs.journal_of(run_id)).row(run_id)
        records = await records_of(runs, run_id)
        status = _status(result)
        reply: types.CallToolResult | None = None
        if whole and status == "completed":
            reply = await reply_of_ask(ctx, result, self._details.get(run_id, "summary"))
        return Task(
            id=run_id,
            status=status,
            created=row.started,
            updated=max([row.started, row.ended or 0.0, *(record.at for record in records[-1:])]),
            message=_message(runs, row, records, result, ctx.lifespan_context.clock.now()),
            ttl_ms=_ttl(runs),
            poll_ms=_POLL_MS if status == "working" else None,
            result=reply,
        )

    def _remember(self, run_id: str, detail: Detail) -> None:
        if detail == "summary":
            return
        self._details[run_id] = detail
        if len(self._details) > _REMEMBERED:
            del self._details[next(iter(self._details))]


_CANCELLED = "tasks/cancel was called"


def _status(result: RunResult) -> TaskStatus:
    """A run without an answer is a call that returned an error: completed, as far as the protocol goes."""
    match result.status:
        case "running":
            return "working"
        case "cancelled":
            return "cancelled"
        case _:
            return "completed"


def _message(runs: Runs, row: RunRow, records: Sequence[Record], result: RunResult, now: float) -> str:
    """The line that a caller who waits would have seen last."""
    lines = Lines(started=row.started, redact=runs.secrets.redact)
    line, at = "", 0.0
    for record in records:
        if told := lines.line(record):
            line, at = told, record.at
    if result.status == "running" and now - at >= _QUIET:
        live = runs.live(row.run_id)
        return lines.heartbeat(now, queued=live.queued if live else "")
    if result.status == "interrupted":
        return "interrupted: the process that drove it is gone"
    return line


def _ttl(runs: Runs) -> int | None:
    days = runs.keep_days
    return None if days is None else max(1, int(timedelta(days=days) / timedelta(milliseconds=1)))


def _in_protocol(ctx: _Context, task_id: str, error: MassgenError) -> MCPError:
    """What the verbs of tasks answer when they can't."""
    if isinstance(error, RunNotFound):
        return unknown_task(task_id)
    words = ctx.lifespan_context.secrets.redact(str(error))
    return MCPError(types.INTERNAL_ERROR, words)
