"""Sessions of the older era in which a broken connection costs nothing: who comes back gets the rest."""

from __future__ import annotations

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

__all__ = ["RETRY_SECONDS", "ResumingSessions"]

RETRY_SECONDS = 3.0
"""After which clients come back. Common ones try twice: so a network may be gone for as long as that."""
_EVENT_HEADER = LAST_EVENT_ID_HEADER.encode()
_NOT_KEPT = (
    "Nothing is kept of what followed that event. If it was the reply to a call: its run goes on without a "
    "caller, and get_run has the result; without arguments it lists the latest."
)


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
        **limits: Any,
    ) -> None:
        super().__init__(app, retry_interval=int(retry_seconds * 1000), **limits)
        self._backlog = backlog or Backlog()
        self._events: dict[str, SessionEvents] = {}

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. A place to go on from that is not known is refused before a stream begins.

        An empty stream, which is what the SDK replies, has clients come back for ever.
        """
        if self._leads_nowhere(scope):
            error = {"code": INVALID_REQUEST, "message": _NOT_KEPT}
            response = JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=410)
            await response(scope, receive, send)
        else:
            await super().handle_request(scope, receive, send)

    def _leads_nowhere(self, scope: Scope) -> bool:
        if scope["method"] != "GET":
            return False
        given = dict(scope["headers"])
        events = self._events.get(given.get(SESSION_HEADER, b"").decode("latin-1"))
        event_id = given.get(_EVENT_HEADER, b"").decode("latin-1")
        return events is not None and event_id != "" and event_id not in events

    # The two places where the SDK makes and ends a session; it offers no others.

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        events = self.event_store = SessionEvents(self._backlog)
        session = super()._admit_session(requestor)
        if session is not None and session.mcp_session_id is not None:
            events.close_stream = session.close_sse_stream
            self._events[session.mcp_session_id] = events
        return session

    async def _discard_session(self, session_id: str, transport: StreamableHTTPServerTransport) -> None:
        events = self._events.pop(session_id, None)
        if events is not None:
            events.close()
        await super()._discard_session(session_id, transport)
