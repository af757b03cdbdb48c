"""The body of a request: within its limits, in time, and as text that everything behind can take."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TypeAlias

import anyio
from starlette.types import Message, Receive

__all__ = ["BODY_LIMIT", "BODY_SECONDS", "BodyRefused", "Headers", "read_body", "replayed"]

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes."""
BODY_SECONDS = 30.0
"""For all of a body to come."""

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class BodyRefused(Exception):
    """A body that is not taken: with which status, and why."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


async def read_body(
    receive: Receive, headers: Headers, *, limit: int = BODY_LIMIT, seconds: float = BODY_SECONDS
) -> bytes:
    """The whole body. One that says it is too long is refused before any of it is read.

    Raises:
        BodyRefused: it is too long, too slow, cut off, or no UTF-8.
    """
    too_long = BodyRefused(413, f"The body is too long: at most {limit:,} bytes are taken.")
    declared = next((value for name, value in headers if name == b"content-length"), b"0")
    if int(declared) > limit:  # digits: the parser has seen to that
        raise too_long
    body = bytearray()
    with anyio.move_on_after(seconds):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise BodyRefused(400, "The connection was closed within the body.")
            body += message.get("body", b"")
            if len(body) > limit:
                raise too_long
            if not message.get("more_body", False):
                return _usable(bytes(body))
    raise BodyRefused(408, f"The body did not come within {seconds:g} s.")


def _usable(body: bytes) -> bytes:
    """The same as text that can be written down: half a character, which JSON can spell, is put right."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BodyRefused(400, f"Parse error: the body is not UTF-8 (byte {error.start}).") from None
    if _HALF.search(body):
        try:
            text = json.dumps(json.loads(body), ensure_ascii=False)
        except (ValueError, RecursionError):
            return body  # whoever parses it says what is wrong
        return _LONE_SURROGATE.sub("\ufffd", text).encode()
    return body


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body again, then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
