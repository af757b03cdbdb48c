"""The Tasks extension of the protocol (SEP-2663): a call is answered at once by a task, which is polled.

Nothing here knows of runs: where tasks come from is a `TaskSource`. A task is offered only to a client that
has declared the extension with this very request and speaks the revision that has it; everybody else gets
the ordinary reply. Loading this costs nothing: it is there before the first call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import methods as wire_methods
from pydantic import Field

__all__ = [
    "EXTENSION",
    "REVISION",
    "LoadTasks",
    "Task",
    "TaskSource",
    "TaskStatus",
    "Tasks",
    "extend",
    "offered",
    "require_tasks",
    "unknown_task",
]

EXTENSION: Final = "io.modelcontextprotocol/tasks"
REVISION: Final = "2026-07-28"
"""The revision of the protocol that has it. Clients of 2025 declare it too, and mean another thing."""

TaskStatus: TypeAlias = Literal["working", "input_required", "completed", "failed", "cancelled"]
Context: TypeAlias = "ServerRequestContext[Any, Any]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task at one moment."""

    id: str
    status: TaskStatus
    created: float
    """Seconds since the epoch, as the next."""
    updated: float
    message: str = ""
    """For people: how far it is, or how it ended."""
    ttl_ms: int | None = None
    """How long it can be asked for, from its creation on; None: for ever."""
    poll_ms: int | None = None
    """How long to wait before asking again."""
    result: types.CallToolResult | None = None
    """Of one that is completed: what the call would have returned."""
    error: types.ErrorData | None = None
    """Of one that failed, for a reason of the protocol's."""
    asks: Mapping[str, types.InputRequest] = field(default_factory=dict[str, types.InputRequest])
    """What it waits for from the client."""


class TaskSource(Protocol):
    """Where tasks come from."""

    async def begin(self, ctx: Context, params: types.CallToolRequestParams) -> Task | HandlerResult:
        """The task that answers this call, once it can be asked for; None: the call is answered as usual.

        Anything else is the call's reply as it is: a refusal of its arguments, a question to the client.
        """
        ...

    async def look(self, ctx: Context, task_id: str) -> Task:
        """The task as it is now.

        Raises:
            MCPError: this caller has no such task (`unknown_task`), or it can't be read.
        """
        ...

    async def cancel(self, ctx: Context, task_id: str) -> None:
        """Have it stopped. One that is over stays as it is. Raises as `look` does."""
        ...

    async def update(self, ctx: Context, task_id: str, responses: Mapping[str, Any]) -> None:
        """Hand over what it has asked for; what it has not is passed over. Raises as `look` does."""
        ...


LoadTasks: TypeAlias = "Callable[[], Awaitable[TaskSource]]"
"""Makes a source, at the first call that needs it."""


class _TaskParams(types.RequestParams):
    task_id: str = Field(min_length=1, max_length=200)


class _UpdateParams(_TaskParams):
    input_responses: dict[str, Any]


class Tasks(Extension):
    """The extension for one source."""

    identifier = EXTENSION

    def __init__(self, load: LoadTasks) -> None:
        self._load = load
        self._loaded: TaskSource | None = None

    async def _source(self) -> TaskSource:
        loaded = self._loaded or await self._load()
        if self._loaded is None:  # nor has another call loaded it meanwhile
            self._loaded = loaded
        return self._loaded

    async def intercept_tool_call(
        self, params: types.CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """A task instead of the call's reply, where the client takes one and the source has one."""
        begun = await (await self._source()).begin(ctx, params) if offered(ctx) else None
        if begun is None:
            return await call_next(ctx)
        return {"resultType": "task", **_head(begun)} if isinstance(begun, Task) else begun

    def methods(self) -> Sequence[MethodBinding]:
        """`tasks/get`, `tasks/update` and `tasks/cancel`."""
        only = frozenset({REVISION})
        return [
            MethodBinding("tasks/get", _TaskParams, self._get, only),
            MethodBinding("tasks/update", _UpdateParams, self._update, only),
            MethodBinding("tasks/cancel", _TaskParams, self._cancel, only),
        ]

    async def _get(self, ctx: Context, params: _TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        task = await (await self._source()).look(ctx, params.task_id)
        return _whole(task, ctx.protocol_version)

    async def _update(self, ctx: Context, params: _UpdateParams) -> HandlerResult:
        _check(ctx, params.task_id)
        await (await self._source()).update(ctx, params.task_id, params.input_responses)
        return {}

    async def _cancel(self, ctx: Context, params: _TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        await (await self._source()).cancel(ctx, params.task_id)
        return {}


def extend(server: Server[Any], extension: Extension) -> None:
    """Add an extension to a server that has its own handlers already.

    The SDK does this for its `MCPServer` only.
    """
    for method in extension.methods():
        server.add_request_handler(method.method, method.params_type, _of_revision(method))
    handler = server.get_request_handler("tools/call")
    if handler is not None:
        server.add_request_handler(
            "tools/call", types.CallToolRequestParams, _intercepted(extension, handler.handler)
        )
    server.extensions[extension.identifier] = extension.settings()


_Handler: TypeAlias = Callable[[Context, Any], Awaitable[HandlerResult]]


def _of_revision(method: MethodBinding) -> _Handler:
    async def gated(ctx: Context, params: Any) -> HandlerResult:
        versions = method.protocol_versions
        if versions is not None and ctx.protocol_version not in versions:
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", method.method)
        return await method.handler(ctx, params)

    return gated


def _intercepted(extension: Extension, handler: _Handler) -> _Handler:
    async def call(ctx: Context, params: types.CallToolRequestParams) -> HandlerResult:
        async def call_next(ctx: Context) -> HandlerResult:
            return await handler(ctx, params)

        return await extension.intercept_tool_call(params, ctx, call_next)

    return call


def offered(ctx: Context) -> bool:
    """Whether this request may be answered by a task: it says so, and is of the right revision."""
    capabilities = ctx.session.client_capabilities
    declared = (capabilities.extensions if capabilities else None) or {}
    return ctx.protocol_version == REVISION and EXTENSION in declared


def require_tasks(ctx: Context) -> None:
    """Go on only if this request may be answered by a task.

    Raises:
        MCPError: it does not declare the extension.
    """
    if not offered(ctx):
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"The client has not declared {EXTENSION} with this request.",
            {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        )


def unknown_task(task_id: str) -> MCPError:
    """What is said of a task that there is not, or that is somebody else's."""
    return MCPError(types.INVALID_PARAMS, f"There is no task {task_id[:100]!r}.")


def _check(ctx: Context, task_id: str) -> None:
    """The client takes tasks, and over HTTP what routes the request names the same task as its body.

    Raises:
        MCPError: one of the two is not so.
    """
    require_tasks(ctx)
    if ctx.request is not None and decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(types.HEADER_MISMATCH, "The Mcp-Name header does not match the body's taskId.")


def _head(task: Task) -> dict[str, Any]:
    """What is said of a task whatever its status."""
    head: dict[str, Any] = {
        "taskId": task.id,
        "status": task.status,
        "createdAt": _moment(task.created),
        "lastUpdatedAt": _moment(task.updated),
        "ttlMs": task.ttl_ms,
    }
    if task.message:
        head["statusMessage"] = task.message
    if task.poll_ms is not None:
        head["pollIntervalMs"] = task.poll_ms
    return head


def _whole(task: Task, version: str) -> dict[str, Any]:
    """A task with what came of it."""
    found = {"resultType": "complete", **_head(task)}
    match task.status:
        case "completed" if task.result is not None:
            # Exactly what the call would have returned: the same pass that shapes every reply.
            plain = task.result.model_dump(by_alias=True, mode="json", exclude_none=True)
            found["result"] = wire_methods.serialize_server_result("tools/call", version, plain)
        case "failed" if task.error is not None:
            found["error"] = task.error.model_dump(by_alias=True, mode="json", exclude_none=True)
        case "input_required":
            found["inputRequests"] = {
                key: cast("Any", ask).model_dump(by_alias=True, mode="json", exclude_none=True)
                for key, ask in task.asks.items()
            }
        case _:
            pass
    return found


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
