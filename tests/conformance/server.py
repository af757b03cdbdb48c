"""Our server with the conformance runner's fixtures on it: the same factory, door and extension as always."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mcp_types as types
from anyio.abc import TaskGroup
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError

from massgen_mcp.server.app import answer_call, build_server
from massgen_mcp.server.service import MakeRuns, Service
from tests.conformance import jobs, shelf
from tests.conformance.tools import TOOLS, Call, Fixture, said

__all__ = ["build_fixture_server"]

_Context = ServerRequestContext[Any, Any]


def build_fixture_server(
    make_runs: MakeRuns, /, *, opened: Callable[[Service], None], tasks: TaskGroup
) -> Server[Service]:
    """The server that `build_server` makes, with more to call and to read."""
    bus = InMemorySubscriptionBus()
    tools = TOOLS | {
        name: _trigger(name, bus, event)
        for name, event in (
            ("test_trigger_tool_change", ToolsListChanged()),
            ("test_trigger_prompt_change", PromptsListChanged()),
        )
    }

    async def call_tool(ctx: _Context, params: types.CallToolRequestParams) -> HandlerResult:
        fixture = tools.get(params.name)
        return await (answer_call(ctx, params) if fixture is None else fixture.answer(Call(ctx, params)))

    source = jobs.Jobs(tasks)
    server = build_server(make_runs, opened=opened, call_tool=call_tool, load_tasks=source.load)
    server.middleware.append(
        RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name)
    )
    _list_more(server, [fixture.definition for fixture in tools.values()])
    _read_more(server)
    _follow(server)
    server.add_request_handler(
        "subscriptions/listen", types.SubscriptionsListenRequestParams, ListenHandler(bus)
    )
    return server


def _trigger(name: str, bus: InMemorySubscriptionBus, event: ServerEvent) -> Fixture:
    async def answer(call: Call) -> HandlerResult:
        del call
        await bus.publish(event)
        return said("changed")

    definition = types.Tool(
        name=name, description=f"Publish {type(event).__name__}.", input_schema={"type": "object"}
    )
    return Fixture(definition, answer)


def _before(server: Server[Service], method: str) -> Callable[[_Context, Any], Any]:
    """What has answered that method until now."""
    entry = server.get_request_handler(method)
    assert entry is not None
    return entry.handler


def _list_more(server: Server[Service], tools: list[types.Tool]) -> None:
    """Add to the lists; each begins with our own."""
    ours, resources = _before(server, "tools/list"), _before(server, "resources/list")
    templates, prompts = _before(server, "resources/templates/list"), _before(server, "prompts/list")

    async def list_tools(ctx: _Context, params: Any) -> HandlerResult:
        found = await ours(ctx, params)
        return found.model_copy(update={"tools": [*found.tools, *tools]})

    async def list_resources(ctx: _Context, params: Any) -> HandlerResult:
        found = await resources(ctx, params)
        return found.model_copy(update={"resources": [*found.resources, *shelf.RESOURCES]})

    async def list_templates(ctx: _Context, params: Any) -> HandlerResult:
        found = await templates(ctx, params)
        more = [*found.resource_templates, *shelf.TEMPLATES]
        return found.model_copy(update={"resource_templates": more})

    async def list_prompts(ctx: _Context, params: Any) -> HandlerResult:
        found = await prompts(ctx, params)
        return found.model_copy(update={"prompts": [*found.prompts, *shelf.PROMPTS]})

    for method, handler in (
        ("tools/list", list_tools),
        ("resources/list", list_resources),
        ("resources/templates/list", list_templates),
        ("prompts/list", list_prompts),
    ):
        server.add_request_handler(method, types.PaginatedRequestParams, handler)


def _read_more(server: Server[Service]) -> None:
    """Resources and prompts of the runner's; what is not, is answered as always."""
    read = _before(server, "resources/read")
    complete = _before(server, "completion/complete")

    async def read_resource(ctx: _Context, params: types.ReadResourceRequestParams) -> HandlerResult:
        found = shelf.resource(str(params.uri))
        return await read(ctx, params) if found is None else found

    async def get_prompt(ctx: _Context, params: types.GetPromptRequestParams) -> HandlerResult:
        del ctx
        found = shelf.prompt(params)
        if found is None:
            raise MCPError(types.INVALID_PARAMS, f"There is no prompt {params.name!r}.")
        return found

    async def complete_more(ctx: _Context, params: types.CompleteRequestParams) -> HandlerResult:
        if isinstance(params.ref, types.PromptReference):
            return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))
        found: HandlerResult = await complete(ctx, params)
        return found

    server.add_request_handler("resources/read", types.ReadResourceRequestParams, read_resource)
    server.add_request_handler("prompts/get", types.GetPromptRequestParams, get_prompt)
    server.add_request_handler("completion/complete", types.CompleteRequestParams, complete_more)


def _follow(server: Server[Service]) -> None:
    """What the older era asks of servers that log and tell of resources: taken, and no more."""

    async def done(ctx: _Context, params: Any) -> HandlerResult:
        del ctx, params
        return types.EmptyResult()

    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, done)
    server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, done)
    server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, done)
