"""The MCP server: what it offers, and which function answers what.

Nothing heavy is imported here. Until the first call only the SDK and the snapshot of the tools are loaded:
hosts start the server for every window and give up on one that is slow to answer.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from threading import Lock
from typing import Any, Final, TypeAlias

import anyio.to_thread
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server

from massgen_mcp import __version__
from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.server.catalogue import INSTRUCTIONS, RESOURCES, TEMPLATES
from massgen_mcp.server.listening import listen
from massgen_mcp.server.service import MakeRuns, Service, open_service
from massgen_mcp.server.snapshot import load_tools
from massgen_mcp.server.tasks import LoadTasks, Tasks, TaskSource, extend

__all__ = ["CallTool", "answer_call", "broke", "build_server", "load_run_tasks"]

_logger = logging.getLogger(__name__)

Context: TypeAlias = "ServerRequestContext[Service, Any]"
CallTool: TypeAlias = "Callable[[Context, types.CallToolRequestParams], Awaitable[Any]]"
"""What answers `tools/call`."""

_HOUR: Final = CacheHint(ttl_ms=3_600_000, scope="public")
"""What is listed is the same for everybody and changes with the version only."""


def build_server(
    make_runs: MakeRuns,
    *,
    clock: Clock | None = None,
    opened: Callable[[Service], None] | None = None,
    call_tool: CallTool | None = None,
    load_tasks: LoadTasks | None = None,
) -> Server[Service]:
    """A server for the runs that `make_runs` makes; it is called when the first call needs them.

    It always starts. What is missing is said by the calls that need it.

    Args:
        make_runs: makes the runs.
        clock: where time comes from.
        opened: told of the service once the server begins to serve.
        call_tool: answers calls instead of `answer_call`.
        load_tasks: makes the source of tasks instead of `load_run_tasks`, when the first call needs it.
    """
    time = clock or SystemClock()

    @asynccontextmanager
    async def lifespan(_: Server[Service]) -> AsyncGenerator[Service]:
        async with open_service(make_runs, time) as service:
            if opened is not None:
                opened(service)
            yield service

    server = Server(
        "massgen",
        version=__version__,
        title="MassGen",
        description="Ask a team of AI models: they answer, compare, vote, and return one answer.",
        instructions=INSTRUCTIONS,
        lifespan=lifespan,
        cache_hints={
            "tools/list": _HOUR,
            "prompts/list": _HOUR,
            "resources/list": _HOUR,
            "resources/templates/list": _HOUR,
        },
        on_list_tools=_list_tools,
        on_call_tool=call_tool or answer_call,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=_read_resource,
        on_list_prompts=_list_prompts,
        on_completion=_complete,
        on_subscriptions_listen=listen,
    )
    server.add_notification_handler("notifications/cancelled", types.CancelledNotificationParams, _cancelled)
    extend(server, Tasks(load_tasks or load_run_tasks))
    return server


async def _list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    del ctx, params
    return types.ListToolsResult(tools=load_tools())


async def answer_call(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    """The reply of one of the five tools."""
    try:
        calls = await _module("massgen_mcp.server.calls")
        result: types.CallToolResult = await calls.call_tool(ctx, params.name, params.arguments)
    except Exception as error:  # noqa: BLE001 - the edge of a tool
        return broke(params.name, error)
    return result


def broke(tool: str, error: Exception) -> types.CallToolResult:
    """The reply where a tool broke: its caller gets words, the log on stderr the rest."""
    _logger.error("%s broke", tool, exc_info=error)
    words = (
        f"{tool} broke: a defect in massgen-mcp ({type(error).__name__}); its log on stderr has "
        "the details. A run that was started goes on: get_run without arguments lists the latest."
    )
    return types.CallToolResult(is_error=True, content=[types.TextContent(type="text", text=words)])


async def load_run_tasks() -> TaskSource:
    """The runs as tasks: every run that a caller may see, under its own name."""
    module = await _module("massgen_mcp.server.run_tasks")
    source: TaskSource = module.RunTasks()
    return source


async def _list_resources(
    ctx: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourcesResult:
    del ctx, params
    return types.ListResourcesResult(resources=list(RESOURCES))


async def _list_templates(
    ctx: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    del ctx, params
    return types.ListResourceTemplatesResult(resource_templates=list(TEMPLATES))


async def _read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    resources = await _module("massgen_mcp.server.resources")
    result: types.ReadResourceResult = await resources.read_resource(ctx, str(params.uri))
    return result


async def _list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    # There are none yet; hosts ask all the same.
    del ctx, params
    return types.ListPromptsResult(prompts=[])


async def _complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    completion = await _module("massgen_mcp.server.completion")
    result: types.CompleteResult = await completion.complete(ctx, params)
    return result


async def _cancelled(ctx: Context, params: types.CancelledNotificationParams) -> None:
    ctx.lifespan_context.presences.told(ctx, params.request_id, params.reason)


_importing = Lock()


async def _module(name: str) -> Any:
    """A module of ours that a start must not wait for. In a thread, so that messages are read meanwhile."""
    return await anyio.to_thread.run_sync(_imported, name)


def _imported(name: str) -> Any:
    # One at a time: two threads that import modules which need each other may meet one half made.
    with _importing:
        return import_module(name)
