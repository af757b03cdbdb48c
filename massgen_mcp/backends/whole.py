"""What a successful response says that it is: a stream of events, a reply in one piece, or neither."""

from __future__ import annotations

import httpx2

from massgen_mcp.backends.failures import Failures

__all__ = ["is_whole"]

_STREAM = "text/event-stream"
_WHOLE = "application/json"


def is_whole(response: httpx2.Response, failures: Failures) -> bool:
    """Whether the reply came in one piece although a stream was asked for, as some gateways do.

    Raises:
        BackendError: it is something else than a stream or a reply.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {_STREAM, _WHOLE}:
        raise failures.no_stream(kind)
    return kind == _WHOLE
