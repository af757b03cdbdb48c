"""What a request has to pass before it is a message: its address, its origin, its token, its size.

In this order, so that nothing is read of a stranger but the headers. There are no CORS headers: no web page
is meant to call this server.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from massgen_mcp.server.caller import ENDED_KEY, SCOPE_KEY
from massgen_mcp.server.http.body import BODY_LIMIT, BODY_SECONDS, BodyRefused, Headers, read_body, replayed
from massgen_mcp.server.http.sessions import SESSION_HEADER, SessionSeal
from massgen_mcp.server.http.tokens import Known, Tokens

__all__ = ["PATH", "Gate"]

_logger = logging.getLogger(__name__)

PATH = "/mcp"
_METHODS = ("GET", "POST", "DELETE")
_ONCE = (b"host", b"origin", b"authorization", b"content-type", b"last-event-id", SESSION_HEADER)
"""Headers that may come once only."""
_AT_ONCE = 64
"""Requests of one token under way, streams included: nobody takes all connections."""
_STOPPING = (
    "The server is stopping. A run that was under way is kept as interrupted, with what it has: get_run, as "
    "soon as the server is back."
)


class _Refusal(Exception):
    """A request that is not let through."""

    def __init__(self, status: int, words: str, headers: Headers = (), code: int = INVALID_REQUEST) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.headers = headers
        self.code = code


def _stopping() -> _Refusal:
    return _Refusal(503, _STOPPING, ((b"retry-after", b"10"),), INTERNAL_ERROR)


@dataclass(slots=True)
class Gate:
    """An ASGI application around another."""

    app: ASGIApp
    tokens: Tokens
    hosts: frozenset[str]
    """Values of `Host` that mean this server, port included."""
    origins: frozenset[str]
    """Values of `Origin` that a page of this server's own would have."""
    ready: Callable[[], bool] = lambda: True
    stopping: Callable[[], None] = lambda: None
    """Told before those who wait are sent away."""
    body_limit: int = BODY_LIMIT
    body_seconds: float = BODY_SECONDS
    _seal: SessionSeal = field(default_factory=SessionSeal)
    _stopping: bool = False
    _under_way: set[anyio.CancelScope] = field(default_factory=set[anyio.CancelScope])
    _of_token: Counter[str] = field(default_factory=Counter[str])
    _settled: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            if scope["path"] in ("/healthz", "/readyz"):
                await self._probe(scope, send)
                return
            known = self._check(scope)
            if scope["method"] == "POST":
                body = await self._body(scope, receive)
                receive = replayed(body, receive)
        except _Refusal as refusal:
            _logger.info("refused %s: %d %s", scope.get("client"), refusal.status, refusal.words)
            await _refuse(send, refusal)
            return
        await self._pass(known, scope, receive, send)

    async def drain(self, seconds: float) -> None:
        """Take no more requests; those under way have so long to end, then they are told."""
        self._stopping = True
        self.stopping()
        with anyio.move_on_after(seconds):
            while self._under_way:
                self._settled = anyio.Event()
                await self._settled.wait()
        for scope in self._under_way:
            scope.cancel()

    async def _probe(self, scope: Scope, send: Send) -> None:
        """For supervisors, which have no token: whether it runs, and whether it takes work."""
        if scope["method"] not in ("GET", "HEAD"):
            raise _Refusal(405, "Method not allowed.", ((b"allow", b"GET, HEAD"),))
        good = scope["path"] == "/healthz" or (self.ready() and not self._stopping)
        words = b"ok\n" if good else b"stopping\n" if self._stopping else b"not ready: see the server's log\n"
        await _answer(send, 200 if good else 503, words, b"text/plain; charset=utf-8")

    def _check(self, scope: Scope) -> Known:
        """Whose request this is, if it may come in at all."""
        given = _given(scope["headers"])
        self._check_address(scope["path"], given)
        if self._stopping:
            raise _stopping()
        known = self._known(given.get(b"authorization"))
        if scope["method"] not in _METHODS:
            raise _Refusal(405, "Method not allowed.", ((b"allow", ", ".join(_METHODS).encode()),))
        if scope["method"] == "POST":
            if not _is_json(given.get(b"content-type", "")):
                raise _Refusal(415, "Content-Type must be application/json.")
            _replace(scope, b"content-type", b"application/json")  # the SDK knows no other spelling
        if self._of_token[known.digest] >= _AT_ONCE:
            words = f"{_AT_ONCE} requests with your token are under way; end some of them."
            raise _Refusal(429, words, ((b"retry-after", b"5"),))
        if SESSION_HEADER in given:
            _replace(scope, SESSION_HEADER, self._session(given[SESSION_HEADER], known))
        return known

    def _check_address(self, path: str, given: Mapping[bytes, str]) -> None:
        if given.get(b"host", "").lower() not in self.hosts:
            words = "This server does not answer to that Host. Its operator can name it: --allowed-host."
            raise _Refusal(421, words)
        if b"origin" in given and given[b"origin"].lower() not in self.origins:
            raise _Refusal(403, "Requests from other origins are not served.")
        if path != PATH:
            raise _Refusal(404, f"There is nothing here; MCP is served at {PATH}.")

    def _known(self, authorization: str | None) -> Known:
        scheme, _, token = (authorization or "").partition(" ")
        known = self.tokens.find(token.strip()) if scheme.lower() == "bearer" else None
        if known is None:
            challenge = b'Bearer realm="massgen-mcp"' + (b', error="invalid_token"' if authorization else b"")
            words = "Send `Authorization: Bearer TOKEN` with a token of this server's. Its operator has them."
            raise _Refusal(401, words, ((b"www-authenticate", challenge),))
        return known

    def _session(self, shown: str, known: Known) -> bytes:
        """The SDK's session id for the one that the client knows."""
        session = self._seal.unseal(shown.encode("latin-1"), known.digest)
        if session is None:
            raise _Refusal(404, "Session not found. Begin a new one with `initialize`.")
        return session

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        try:
            return await read_body(
                receive, scope["headers"], limit=self.body_limit, seconds=self.body_seconds
            )
        except BodyRefused as refused:
            code = PARSE_ERROR if refused.status == 400 else INVALID_REQUEST  # noqa: PLR2004 - HTTP's own number
            # What is left of the body is not read: the connection ends with the reply.
            raise _Refusal(refused.status, str(refused), ((b"connection", b"close"),), code) from refused

    async def _pass(self, known: Known, scope: Scope, receive: Receive, send: Send) -> None:
        scope[SCOPE_KEY] = known.caller
        # The SDK's own word for it: a session belongs to who opened it, and is counted as theirs.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=known.digest, scopes=[]))
        over = scope[ENDED_KEY] = anyio.Event()
        begun = ended = False

        async def sealed(message: Message) -> None:
            nonlocal begun, ended
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = list(self._sealed(message.get("headers", ()), known))
            else:
                ended = not message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as scope_of_request:
            self._under_way.add(scope_of_request)
            self._of_token[known.digest] += 1
            try:
                await self.app(scope, receive, sealed)
            finally:
                over.set()
                self._under_way.discard(scope_of_request)
                self._of_token[known.digest] -= 1
                if not self._of_token[known.digest]:
                    del self._of_token[known.digest]
                self._settled.set()
        if not begun:
            if scope_of_request.cancelled_caught:
                await _refuse(send, _stopping())
        elif not ended:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _sealed(self, headers: Iterable[tuple[bytes, bytes]], known: Known) -> Iterable[tuple[bytes, bytes]]:
        for name, value in headers:
            session = name.lower() == SESSION_HEADER
            yield name, self._seal.seal(value, known.digest) if session else value


def _given(headers: Headers) -> Mapping[bytes, str]:
    """The headers that decide. Of two, somebody before us might have looked at the other."""
    names = [name for name, _ in headers]
    if twice := [name.decode() for name in _ONCE if names.count(name) > 1]:
        raise _Refusal(400, f"Header given twice: {', '.join(twice)}.")
    return {name: value.decode("latin-1") for name, value in headers if name in _ONCE}


def _replace(scope: Scope, name: bytes, value: bytes) -> None:
    scope["headers"] = [*(pair for pair in scope["headers"] if pair[0] != name), (name, value)]


def _is_json(content_type: str) -> bool:
    """Exactly JSON: a prefix would let through what a web page may send unasked."""
    media, _, rest = content_type.partition(";")
    return media.strip().lower() == "application/json" and rest.strip().lower() in ("", "charset=utf-8")


async def _refuse(send: Send, refusal: _Refusal) -> None:
    error = {"code": refusal.code, "message": refusal.words}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
    await _answer(send, refusal.status, body, b"application/json", refusal.headers)


async def _answer(send: Send, status: int, body: bytes, media: bytes, headers: Headers = ()) -> None:
    fixed = ((b"content-type", media), (b"content-length", str(len(body)).encode()))
    start = {"type": "http.response.start", "status": status, "headers": [*fixed, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
