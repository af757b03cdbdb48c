"""Pictures and documents, on every backend whose row says that it takes them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.messages import Image, Message, ToolCall, ToolResult
from tests.backends.contract.seats import REQUEST, TOOLS, Seat, beside, reply_of, seats
from tests.backends.wire import wire

pytestmark = pytest.mark.anyio

PICTURE = Image(mime="image/png", data=b"\x89PNG")
DOCUMENT = Image(mime="application/pdf", data=b"%PDF")


@seats(lambda seat: seat.row.image_input)
@pytest.mark.parametrize("place", ["user", "tool"])
async def test_pictures_and_documents_are_shown(pool: Pool, seat: Seat, place: str) -> None:
    call = ToolCall(id="c1", name="vote", arguments="{}")
    told = Message(role="user", text="Look.", images=(PICTURE, DOCUMENT))
    if place == "tool":
        result = ToolResult(call_id="c1", content="shot")
        told = Message(role="tool", results=(result,), images=(PICTURE, DOCUMENT))
    turns = (*REQUEST.messages, Message(role="assistant", calls=(call,)), told)
    request = replace(TOOLS, messages=turns if place == "tool" else (*REQUEST.messages, told))
    async with wire(seat.dialect.said("A cat."), beside=beside) as server:
        await reply_of(await seat.open(server, pool), request)
    assert seat.dialect.shown(server.requests[0].json) == [PICTURE, DOCUMENT]
