"""A tap between a program and an HTTP server: what was sent, whole. aimock keeps no body over 64 KB."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Tap", "running_tap"]

_UPSTREAM_SECONDS = 120.0
_NOT_PASSED_ON = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """What went through, oldest first."""

    url: str
    sent: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    """Path and JSON body of each POST."""

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """The bodies posted to a path."""
        return [body for where, body in self.sent if urlsplit(where).path == path]


@contextmanager
def running_tap(upstream: str) -> Generator[Tap]:
    """A tap in front of `upstream` until the block is left."""
    sent: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_HEAD(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            sent.append((self.path, json.loads(body or b"null")))
            self._pass_on(body)

        def _pass_on(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=_UPSTREAM_SECONDS)
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON
            }
            connection.request(self.command, self.path, body, headers)
            reply = connection.getresponse()
            self.send_response(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in _NOT_PASSED_ON:
                    self.send_header(name, value)
            self.end_headers()
            while chunk := reply.read1():
                self.wfile.write(chunk)
            connection.close()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: standard error is pytest's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Tap(url=f"http://127.0.0.1:{server.server_address[1]}", sent=sent)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
