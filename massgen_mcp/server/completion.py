"""Completion of the arguments of resource templates, and of prompts by the same names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

from massgen_mcp.engine import available_strategies
from massgen_mcp.errors import MassgenError
from massgen_mcp.runs import Runs
from massgen_mcp.server.looks import summary_of
from massgen_mcp.server.service import Service

__all__ = ["complete"]

_MOST = 100
"""What the protocol allows."""


async def complete(
    ctx: ServerRequestContext[Service, Any], params: types.CompleteRequestParams
) -> types.CompleteResult:
    """The values that begin with what was typed. Where nothing can be known there are none."""
    others = (params.context.arguments if params.context else None) or {}
    try:
        runs = await ctx.lifespan_context.runs_of(ctx)
        values = await _values(runs, params.argument.name, others.get("run_id", ""))
    except MassgenError:
        values = ()  # a completion is a kindness: why there is none, the call itself will say
    found = [value for value in values if value.startswith(params.argument.value)]
    completion = types.Completion(values=found[:_MOST], total=len(found), has_more=len(found) > _MOST)
    return types.CompleteResult(completion=completion)


async def _values(runs: Runs, argument: str, run_id: str) -> Sequence[str]:
    match argument:
        case "name" | "team":
            return runs.teams.names()
        case "run_id":
            return [row.run_id for row in await runs.rows(limit=_MOST)]
        case "label":
            summary = await summary_of(runs, run_id)
            return ["final", *(answer.label for answer in summary.answers)]
        case "strategy":
            return available_strategies()
        case _:
            return ()
