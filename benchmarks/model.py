"""A chat completions server on loopback, in a process of its own, so that its CPU is not ours.

`python -m benchmarks.model` prints its port. The model's name says what it does: `m-ANSWER` answers ANSWER
and votes for the first valid label, `split-ANSWER` votes for the last, `bad-key` answers 401.
"""

from __future__ import annotations

import json
import re
import sys
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

_PIECE = 4
_LABELS = re.compile(r"Valid labels: ([^ ]+(?:, [^ ]+)*)")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    latency = 0.0
    seen: ClassVar[list[bytes]] = []
    """The bodies received, for `GET /` to give back."""

    def do_GET(self) -> None:
        """Every body received so far, as a JSON list; they are forgotten then."""
        bodies, Handler.seen = Handler.seen, []
        self._send(200, "application/json", b"[" + b",".join(bodies) + b"]")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_POST(self) -> None:
        """Stream one completion."""
        data = self.rfile.read(int(self.headers["content-length"]))
        Handler.seen.append(data)
        body = json.loads(data)
        model: str = body["model"]
        if model == "bad-key":
            self._send(
                401, "application/json", b'{"error": {"message": "Incorrect API key provided", "code": "x"}}'
            )
            return
        data = _events(model, _label(model, str(body["messages"][-1].get("content") or "")))
        time.sleep(self.latency)
        self._send(200, "text/event-stream", data)

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    """Takes a crowd that comes at once."""

    request_queue_size = 1_024
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of requests that were cut off."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _label(model: str, last: str) -> str:
    """Whom to vote for; empty where an answer is asked for."""
    found = _LABELS.search(last)
    if found is None:
        return ""
    labels = [label.rstrip(".,") for label in found.group(1).split(", ")]
    return labels[-1] if model.startswith("split") else min(labels)


@cache
def _events(model: str, label: str) -> bytes:
    """The whole stream, made once, so that a model's CPU leaves ours alone."""
    answer = model.rpartition("-")[2]
    name, arguments = "new_answer", {"content": f"It is {answer}. " * 4, "conclusion": answer}
    if label:
        name, arguments = (
            "vote",
            {"answer": label, "reason": "It is right, and says so in enough words to stream."},
        )
    text = json.dumps(arguments)
    head: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": [call]}]
    deltas += [
        {"tool_calls": [{"index": 0, "function": {"arguments": text[at : at + _PIECE]}}]}
        for at in range(0, len(text), _PIECE)
    ]
    chunks: list[dict[str, Any]] = [head | {"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    usage = {"prompt_tokens": 500, "completion_tokens": 50, "total_tokens": 550}
    chunks.append(head | {"choices": [], "usage": usage})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


if __name__ == "__main__":
    Handler.latency = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
