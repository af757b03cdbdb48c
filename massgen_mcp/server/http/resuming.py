"""Sessions of the older era in which a broken connection costs nothing: who comes back gets the rest.

And one token gets so many of them: whoever opens more ends their own, and never anybody else's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import LAST_EVENT_ID_HEADER, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import INVALID_REQUEST
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from massgen_mcp.server.http.events import Backlog, SessionEvents
from massgen_mcp.server.http.sessions import SESSION_HEADER

__all__ = ["RETRY_SECONDS", "SESSIONS_OF_ONE", "ResumingSessions"]

_logger = logging.getLogger(__name__)

RETRY_SECONDS = 3.0
"""After which clients come back. Common ones try twice: so a network may be gone for as long as that."""
SESSIONS_OF_ONE = 32
"""Open with one token at once."""
_EVENT_HEADER = LAST_EVENT_ID_HEADER.encode()
_NOT_KEPT = (
    "Nothing is kept of what followed that event. If it was the reply to a call: its run goes on without a "
    "caller, and get_run has the result; without arguments it lists the latest."
)


class _TooMany(Exception):
    """This token has as many sessions as one may have, with a request under way in each."""


class ResumingSessions(StreamableHTTPSessionManager):
    """The SDK's sessions, each with events of its own.

    The SDK would share one store among all, where one session's request 7 is the same as another's.
    """

    def __init__(
        self,
        app: Server[Any],
        *,
        backlog: Backlog | None = None,
        retry_seconds: float = RETRY_SECONDS,
        sessions_of_one: int = SESSIONS_OF_ONE,
        **limits: Any,
    ) -> None:
        super().__init__(app, retry_interval=int(retry_seconds * 1000), **limits)
        self._of_one = sessions_of_one
        self._backlog = backlog or Backlog()
        self._events: dict[str, SessionEvents] = {}

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. A place to go on from that is not known is refused before a stream begins.

        An empty stream, which is what the SDK replies, has clients come back for ever.
        """
        if self._leads_nowhere(scope):
            await _refusal(410, _NOT_KEPT)(scope, receive, send)
            return
        try:
            await super().handle_request(scope, receive, send)
        except _TooMany:
            words = (
                f"{self._of_one} sessions are open with your token, each with a request under way. End one "
                "(DELETE) or one of their requests. The newer protocol (2026-07-28) needs no sessions."
            )
            await _refusal(429, words, {"retry-after": "5"})(scope, receive, send)

    def _leads_nowhere(self, scope: Scope) -> bool:
        if scope["method"] != "GET":
            return False
        given = dict(scope["headers"])
        events = self._events.get(given.get(SESSION_HEADER, b"").decode("latin-1"))
        event_id = given.get(_EVENT_HEADER, b"").decode("latin-1")
        return events is not None and event_id != "" and event_id not in events

    # The two places where the SDK makes and ends a session; it offers no others.

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        self._make_room(requestor)
        events = self.event_store = SessionEvents(self._backlog)
        session = super()._admit_session(requestor)
        if session is not None and session.mcp_session_id is not None:
            events.close_stream = session.close_sse_stream
            self._events[session.mcp_session_id] = events
        return session

    def _make_room(self, requestor: AuthorizationContext | None) -> None:
        """End the longest idle session of a token that has as many as it may have.

        Raises:
            _TooMany: none of them is idle.
        """
        theirs = [name for name, owner in self._session_owners.items() if owner == requestor]
        if len(theirs) < self._of_one:
            return
        idle = min(theirs, key=lambda name: _idle_until(self._server_instances[name]))
        transport = self._server_instances[idle]
        scope = transport.idle_scope
        if scope is None or math.isinf(_idle_until(transport)):
            raise _TooMany
        _logger.info("a token has %d sessions: the one that was idle longest ends", len(theirs))
        # As if its time had run out, and unknown from now on: two that begin at once must end two.
        del self._server_instances[idle], self._session_owners[idle]
        scope.cancel()

    async def _discard_session(self, session_id: str, transport: StreamableHTTPServerTransport) -> None:
        events = self._events.pop(session_id, None)
        if events is not None:
            events.close()
        await super()._discard_session(session_id, transport)


def _idle_until(transport: StreamableHTTPServerTransport) -> float:
    """When the session would end by itself; never, while a request is under way or about to be."""
    return math.inf if transport.idle_scope is None else transport.idle_scope.deadline


def _refusal(status: int, words: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    error = {"code": INVALID_REQUEST, "message": words}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=status, headers=headers)
