"""`subscriptions/listen`: a client that asks to is told when a run is over.

What the server lists never changes while it runs, so of that there is never news.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated

from massgen_mcp.errors import MassgenError
from massgen_mcp.server.service import Service

__all__ = ["listen"]

_RUN: Final = re.compile(r"massgen://runs/([^/]+)")
_WATCHED: Final = 64
"""Runs of one stream that are looked at."""
_LOOK_SECONDS: Final = 1.0

_Context = ServerRequestContext[Service, Any]


async def listen(
    ctx: _Context, params: types.SubscriptionsListenRequestParams
) -> types.SubscriptionsListenResult:
    """Hold the stream for as long as the client does, and say on it when a run it has named is over."""
    bus = InMemorySubscriptionBus()
    async with _watching(ctx, bus, params.notifications.resource_subscriptions or ()):
        return await ListenHandler(bus)(ctx, params)


@asynccontextmanager
async def _watching(ctx: _Context, bus: InMemorySubscriptionBus, uris: Sequence[str]) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as tasks:
        for uri in uris[:_WATCHED]:
            if match := _RUN.match(uri):
                tasks.start_soon(_watch, ctx, bus, uri, match[1])
        yield
        tasks.cancel_scope.cancel()


async def _watch(ctx: _Context, bus: InMemorySubscriptionBus, uri: str, run_id: str) -> None:
    """Tell of a run's end; of one that is over, or not this caller's, there is nothing to tell."""
    try:
        while await _is_running(ctx, run_id):
            await ctx.lifespan_context.clock.sleep(_LOOK_SECONDS)
            if not await _is_running(ctx, run_id):
                await bus.publish(ResourceUpdated(uri=uri))
    except MassgenError:
        return


async def _is_running(ctx: _Context, run_id: str) -> bool:
    runs = await ctx.lifespan_context.runs_of(ctx)
    live = runs.live(run_id)
    if live is not None:
        return live.result is None
    return (await (await runs.journal_of(run_id)).row(run_id)).state == "running"
