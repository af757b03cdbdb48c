"""Who is who among callers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
from mcp.server.context import ServerRequestContext

from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import RequestRefused
from massgen_mcp.server.caller import ENDED_KEY
from massgen_mcp.server.presence import Presences

pytestmark = pytest.mark.anyio


def context(era: str, *, request: object = None, client: object = None, number: int = 1) -> Any:
    session = SimpleNamespace(protocol_version=era, client_params=client)
    found = SimpleNamespace(session=session, request=request, request_id=number)
    return cast("ServerRequestContext[Any, Any]", found)


def request() -> object:
    return SimpleNamespace(scope={ENDED_KEY: anyio.Event()})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (context("2026-07-28", request=request()), context("2026-07-28", request=request())),
        (context("2025-11-25", client=object()), context("2025-11-25", client=object())),
        (context("2026-07-28"), context("2026-07-28", number=2)),
    ],
)
async def test_callers_of_different_connections_may_use_the_same_id(one: Any, other: Any):
    async with anyio.create_task_group() as tasks:
        presences = Presences(tasks, ScriptedClock())
        with presences.of(one), presences.of(other):
            presences.told(other, 1, "user-cancel")


async def test_one_caller_may_not_use_an_id_twice_at_once():
    async with anyio.create_task_group() as tasks:
        presences = Presences(tasks, ScriptedClock())
        with presences.of(context("2026-07-28")):
            second = presences.of(context("2026-07-28"))
            with pytest.raises(RequestRefused, match="is in use"):
                second.__enter__()
        with presences.of(context("2026-07-28")):
            pass
