"""A client's half of the Tasks extension, on the SDK's client: it waits for a task as if it were a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import anyio
import mcp_types as types
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.session import ClientSession

from massgen_mcp.server.tasks import EXTENSION

__all__ = ["Created", "Found", "TaskClient", "cancel", "create", "look", "update"]


class Created(types.Result):
    """What answers a call at once."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    status_message: str | None = None
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int | None = None


class Found(types.Result):
    """What `tasks/get` says."""

    result_type: Literal["complete"] = "complete"
    task_id: str
    status: str
    status_message: str | None = None
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    input_requests: dict[str, Any] | None = None


class Params(types.RequestParams):
    task_id: str
    input_responses: dict[str, Any] | None = None


class Verb(types.Request[Params, str]):
    """One of the three."""

    name_param: ClassVar[str | None] = "taskId"
    method: str
    params: Params


async def look(session: ClientSession, task_id: str) -> Found:
    """The task now."""
    return await session.send_request(Verb(method="tasks/get", params=Params(task_id=task_id)), Found)


async def cancel(session: ClientSession, task_id: str) -> types.Result:
    """Have it stopped."""
    return await session.send_request(
        Verb(method="tasks/cancel", params=Params(task_id=task_id)), types.Result
    )


async def update(session: ClientSession, task_id: str, **responses: Any) -> types.Result:
    """Hand over what it has asked for; by default something that nobody has."""
    given = responses or {"nobody-asked": {"action": "accept"}}
    params = Params(task_id=task_id, input_responses=given)
    return await session.send_request(Verb(method="tasks/update", params=params), types.Result)


async def create(client: Client, **arguments: Any) -> Created:
    """Ask the team, and take what answers the call at once."""
    found = await client.session.call_tool("ask_team", {"question": "?", **arguments}, allow_claimed=True)
    assert isinstance(found, Created), found
    return found


class TaskClient(ClientExtension):
    """Waits for tasks. It polls more often than it is told to, since these runs take no time."""

    identifier = EXTENSION

    def __init__(self) -> None:
        self.seen: list[Found] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Created, resolve=self._resolve)]

    async def _resolve(self, created: Created, context: ClaimContext) -> types.CallToolResult:
        while True:
            found = await look(context.session, created.task_id)
            self.seen.append(found)
            if found.status == "completed":
                return types.CallToolResult.model_validate(found.result)
            assert found.status == "working", found
            await anyio.sleep(0.01)
