"""The runner's tools that are answered by tasks, through our own extension."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
import mcp_types as types
from anyio.abc import TaskGroup
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError

from massgen_mcp.server.app import load_run_tasks
from massgen_mcp.server.tasks import Task, TaskSource, TaskStatus, require_tasks, unknown_task
from tests.conformance.asking import ask_name, form
from tests.conformance.tools import EMPTY, Call, said, tool

__all__ = ["Jobs"]

_Context: TypeAlias = ServerRequestContext[Any, Any]


@dataclass(eq=False)
class Job:
    """One task, and what it waits for."""

    id: str
    created: float = field(default_factory=time.time)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    status: TaskStatus = "working"
    result: types.CallToolResult | None = None
    error: types.ErrorData | None = None
    asks: dict[str, types.InputRequest] = field(default_factory=dict[str, types.InputRequest])
    given: dict[str, Any] = field(default_factory=dict[str, Any])
    news: anyio.Event = field(default_factory=anyio.Event)

    async def ask(self, **asks: types.InputRequest) -> Mapping[str, Any]:
        """What the client answers, once all of it is there."""
        self.asks, self.status = dict(asks), "input_required"
        while self.asks:
            await self.news.wait()
            self.news = anyio.Event()
        self.status = "working"
        return self.given


Work: TypeAlias = Callable[[Job, Mapping[str, Any]], Awaitable[types.CallToolResult]]


async def _slow_compute(job: Job, arguments: Mapping[str, Any]) -> types.CallToolResult:
    del job
    await anyio.sleep(arguments.get("seconds", 0))
    return said(f"computed {arguments.get('label', '')}")


async def _failing_job(job: Job, arguments: Mapping[str, Any]) -> types.CallToolResult:
    del job, arguments
    await anyio.sleep(0.1)
    return said("It did not work.", is_error=True)


async def _protocol_error_job(job: Job, arguments: Mapping[str, Any]) -> types.CallToolResult:
    del job, arguments
    await anyio.sleep(0.1)
    raise MCPError(types.INTERNAL_ERROR, "It broke.")


async def _confirm_delete(job: Job, arguments: Mapping[str, Any]) -> types.CallToolResult:
    given = await job.ask(confirm=form(f"Delete {arguments.get('filename')}?", confirm={"type": "boolean"}))
    return said(f"answered: {given['confirm']}")


async def _multi_input(job: Job, arguments: Mapping[str, Any]) -> types.CallToolResult:
    del arguments
    given = await job.ask(first=ask_name("The first?"), second=ask_name("The second?"))
    return said(f"answered: {sorted(given)}")


async def _greet_later(job: Job, arguments: Mapping[str, Any]) -> types.CallToolResult:
    del job
    await anyio.sleep(0.1)
    return said(f"Hello, {arguments['name']}!")


_WORK: Mapping[str, Work] = {
    "slow_compute": _slow_compute,
    "failing_job": _failing_job,
    "protocol_error_job": _protocol_error_job,
    "confirm_delete": _confirm_delete,
    "multi_input": _multi_input,
}
_ALWAYS = ("failing_job", "protocol_error_job", "confirm_delete", "multi_input", "test_tool_with_task")
"""Answered by a task or not at all."""


class Jobs:
    """The jobs of one server, and beside them its runs. A `TaskSource`."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count(1)
        self._runs: TaskSource | None = None

    async def load(self) -> TaskSource:
        """This, as `build_server` wants it."""
        self._runs = await load_run_tasks()
        return self

    @property
    def _others(self) -> TaskSource:
        assert self._runs is not None
        return self._runs

    async def begin(self, ctx: _Context, params: types.CallToolRequestParams) -> Task | HandlerResult:
        arguments = params.arguments or {}
        if params.name == "test_tool_with_task":
            reply: Any = (params.input_responses or {}).get("user_name")
            if reply is None:
                return types.InputRequiredResult(input_requests={"user_name": ask_name()})
            return _shown(self._start(_greet_later, reply.content or {}))
        work = _WORK.get(params.name)
        if work is None:
            return await self._others.begin(ctx, params)
        return _shown(self._start(work, arguments))

    async def look(self, ctx: _Context, task_id: str) -> Task:
        job = self._jobs.get(task_id)
        return await self._others.look(ctx, task_id) if job is None else _shown(job)

    async def cancel(self, ctx: _Context, task_id: str) -> None:
        job = self._jobs.get(task_id)
        if job is None:
            await self._others.cancel(ctx, task_id)
        else:
            job.scope.cancel()

    async def update(self, ctx: _Context, task_id: str, responses: Mapping[str, Any]) -> None:
        del ctx
        job = self._jobs.get(task_id)
        if job is None:
            raise unknown_task(task_id)
        for key in [key for key in responses if key in job.asks]:
            job.given[key] = responses[key]
            del job.asks[key]
        job.news.set()

    def _start(self, work: Work, arguments: Mapping[str, Any]) -> Job:
        job = Job(f"job-{next(self._numbers)}")
        self._jobs[job.id] = job
        self._tasks.start_soon(self._run, job, work, arguments)
        return job

    async def _run(self, job: Job, work: Work, arguments: Mapping[str, Any]) -> None:
        with job.scope:
            try:
                job.result = await work(job, arguments)
                job.status = "completed"
            except MCPError as error:
                job.error, job.status = error.error, "failed"
        if job.scope.cancelled_caught:
            job.status = "cancelled"


def _shown(job: Job) -> Task:
    return Task(
        id=job.id,
        status=job.status,
        created=job.created,
        updated=time.time(),
        message=f"{job.status}, as scripted",
        ttl_ms=600_000,
        poll_ms=100,
        result=job.result,
        error=job.error,
        asks=job.asks,
    )


_TIMED: Mapping[str, Any] = {"type": "object", "properties": {"seconds": {"type": "number"}}}


def _plain(name: str) -> None:
    """The tool for clients that take no tasks."""

    async def answer(call: Call) -> HandlerResult:
        if name in _ALWAYS:
            require_tasks(call.ctx)
        return await _WORK[name](Job("plain"), call.arguments)

    answer.__name__ = name
    answer.__doc__ = f"The runner's {name}, as a task."
    tool(_TIMED if name == "slow_compute" else EMPTY)(answer)


for _name in (*_WORK, "test_tool_with_task"):
    _plain(_name)
