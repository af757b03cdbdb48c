"""How much of a response is taken: a body as a whole, a stream event by event, both measured unpacked."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Sequence

import httpx2
import pytest

from massgen_mcp.backends.body import EVENTS, ResponseTooLarge, body_of, watch_body

pytestmark = pytest.mark.anyio

LIMIT = 1024 * 1024
EVENT = b"data: " + b"x" * 1000 + b"\n\n"


class Said(httpx2.AsyncByteStream):
    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


async def taken(*parts: bytes, content_type: str = "text/event-stream", **headers: str) -> int:
    """How many bytes come through."""
    given = {"content-type": content_type} | {name.replace("_", "-"): text for name, text in headers.items()}
    response = httpx2.Response(200, headers=given, stream=Said(parts))
    watch_body(response, limit=LIMIT, pulse=None)
    return sum([len(part) async for part in response.aiter_bytes()])


async def test_a_stream_may_be_longer_than_any_event_of_it() -> None:
    events = [EVENT] * (2 * LIMIT // len(EVENT))
    assert await taken(*events) == len(events) * len(EVENT)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_events_are_told_apart_by_any_empty_line_also_between_two_reads(end: bytes) -> None:
    event = b"data: " + b"x" * 40_000
    parts = [part for _ in range(60) for part in (event + end[:1], end[1:])]
    assert await taken(*parts) > 2 * LIMIT


async def test_an_event_without_end_is_cut_off() -> None:
    with pytest.raises(ResponseTooLarge, match="the event is larger than 1 MiB"):
        await taken(EVENT, *[b"x" * 60_000] * 18)


async def test_a_stream_without_end_is_cut_off() -> None:
    with pytest.raises(ResponseTooLarge, match=f"the response is larger than {EVENTS} MiB"):
        await taken(*[EVENT * 100] * (EVENTS * LIMIT // len(EVENT) // 100 + 1))


@pytest.mark.parametrize("kind", ["application/json", "text/html", ""])
async def test_a_body_in_one_piece_has_the_limit_of_one_event(kind: str) -> None:
    with pytest.raises(ResponseTooLarge, match="the response is larger than 1 MiB"):
        await taken(*[EVENT] * (LIMIT // len(EVENT) + 1), content_type=kind)


async def test_what_is_packed_comes_whole_however_well_it_packs() -> None:
    plain = EVENT * 5_000
    packed = gzip.compress(plain, mtime=0)
    assert await taken(packed, content_encoding="gzip") == len(plain)
    halves = (packed[:100], packed[100:])
    assert await taken(*halves, content_encoding="gzip") == len(plain)


async def test_a_few_bytes_that_stand_for_many_are_cut_off_before_they_are_unpacked() -> None:
    bomb = gzip.compress(b"data: " + bytes(50 * LIMIT), mtime=0)
    with pytest.raises(ResponseTooLarge, match="the event"):
        await taken(bomb, content_encoding="gzip")


async def test_the_end_of_a_stream_is_seen_across_two_reads() -> None:
    response = httpx2.Response(
        200, headers={"content-type": "text/event-stream"}, stream=Said([b"data: x\n\nda", b"ta: [DONE]\n\n"])
    )
    watch_body(response, limit=LIMIT, pulse=None)
    body = body_of(response)
    async for _ in response.aiter_bytes():
        pass
    assert body.done
