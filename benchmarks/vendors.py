"""The vendors' own wire formats on loopback, in a process of its own, so that its CPU is not ours.

`python -m benchmarks.vendors` prints its port. Every reply streams a text in a hundred pieces, and calls
`new_answer` where that is offered. The model's name says what else it does: `bad-key` answers 401, as do
the words in the last message, and `limited` asks for two seconds' patience each first time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, TypeAlias

_Json: TypeAlias = dict[str, Any]

_PIECES = [f"word {number}, " for number in range(100)]
_TEXT = "".join(_PIECES)
_CALL = {"content": "It is 4.", "conclusion": "4"}
_JSON = "application/json"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen: ClassVar[list[_Json]] = []
    """When each request came, to where, and what it said, for `GET /` to give back."""
    patient: ClassVar[bool] = False
    """Whether the next request for `limited` has waited."""

    def do_GET(self) -> None:
        """Every request so far, as a JSON list; they are forgotten then."""
        if self.path != "/":
            self._send(404, b"{}", _JSON)
            return
        requests, Handler.seen = Handler.seen, []
        self._send(200, json.dumps(requests).encode(), _JSON)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def do_POST(self) -> None:
        """Stream one reply."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.partition("?")[0]
        Handler.seen.append({"at": time.time(), "path": path, "body": body})
        model = str(body.get("model") or path)
        if "bad-key" in model or "bad-key" in json.dumps(list(body.get("messages", ()))[-1:]):
            self._send(401, b'{"error": {"message": "No such key.", "code": "invalid_api_key"}}', _JSON)
        elif "limited" in model and not Handler.patient:
            Handler.patient = True
            self._send(429, b'{"error": {"message": "Slow down."}}', _JSON, retry_after="2")
        else:
            Handler.patient = False
            self._send(200, _reply(path, calls=_offered(body)), "text/event-stream")

    def _send(self, status: int, data: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


def _offered(body: _Json) -> str:
    """The tool that hands in an answer, by the name it has here; empty where there are no tools at all."""
    names = [str(tool.get("name", "new_answer")) for tool in body.get("tools") or ()]
    return next((name for name in names if name.endswith("new_answer")), "new_answer" if names else "")


def _reply(path: str, *, calls: str) -> bytes:
    if path.endswith("/responses"):
        events = _responses(calls=bool(calls))
    elif path.endswith("/messages"):
        events = _messages(calls=calls)
    elif path.endswith(":streamGenerateContent"):
        events = _generate(calls=bool(calls))
    else:
        events = _chat(calls=bool(calls))
    lines = [(f"event: {event['type']}\n" if "type" in event else "", json.dumps(event)) for event in events]
    said = [f"{name}data: {data}\n\n" for name, data in lines]
    return "".join([*said, "data: [DONE]\n\n"] if "/chat/" in path else said).encode()


def _responses(*, calls: bool) -> Iterator[_Json]:
    """Each event as long as OpenAI's are."""
    base: _Json = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": []}
    yield {"type": "response.created", "sequence_number": 0, "response": base | {"status": "in_progress"}}
    part: _Json = {"type": "output_text", "annotations": [], "logprobs": [], "text": _TEXT}
    said: _Json = {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    place: _Json = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    yield {
        "type": "response.output_item.added",
        "sequence_number": 1,
        "output_index": 0,
        "item": said | {"status": "in_progress", "content": []},
    }
    for number, piece in enumerate(_PIECES, 2):
        yield {
            "type": "response.output_text.delta",
            "sequence_number": number,
            "delta": piece,
            "obfuscation": "x" * 12,
            **place,
        }
    yield {"type": "response.output_text.done", "sequence_number": 200, "text": _TEXT, **place}
    items: list[_Json] = [said]
    if calls:
        call: _Json = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1"}
        items.append(call | {"name": "new_answer", "arguments": json.dumps(_CALL)})
    for index, item in enumerate(items):
        yield {
            "type": "response.output_item.done",
            "sequence_number": 300,
            "output_index": index,
            "item": item,
        }
    counted: _Json = {"input_tokens": 500, "output_tokens": 150, "total_tokens": 650}
    details: _Json = {
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    whole: _Json = base | {"status": "completed", "output": items, "usage": counted | details}
    yield {"type": "response.completed", "sequence_number": 400, "response": whole}


def _messages(*, calls: str) -> Iterator[_Json]:
    opened: _Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage: _Json = {"input_tokens": 500, "output_tokens": 1}
    started: _Json = opened | {"stop_reason": None, "stop_sequence": None, "usage": usage}
    yield {"type": "message_start", "message": started}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for piece in _PIECES:
        delta: _Json = {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    if calls:
        block: _Json = {"type": "tool_use", "id": "toolu_1", "name": calls, "input": {}}
        yield {"type": "content_block_start", "index": 1, "content_block": block}
        delta: _Json = {"type": "input_json_delta", "partial_json": json.dumps(_CALL)}
        yield {"type": "content_block_delta", "index": 1, "delta": delta}
        yield {"type": "content_block_stop", "index": 1}
    ended: _Json = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 150}}
    yield {"type": "message_stop"}


def _generate(*, calls: bool) -> Iterator[_Json]:
    counted: _Json = {"promptTokenCount": 500, "candidatesTokenCount": 150, "totalTokenCount": 650}
    base: _Json = {"modelVersion": "m", "responseId": "r", "usageMetadata": counted}
    for piece in _PIECES:
        content: _Json = {"role": "model", "parts": [{"text": piece}]}
        yield base | {"candidates": [{"content": content, "index": 0}]}
    call: _Json = {"functionCall": {"id": "c1", "name": "new_answer", "args": _CALL}}
    content: _Json = {"role": "model", "parts": [call] if calls else [{"text": ""}]}
    yield base | {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}]}


def _chat(*, calls: bool) -> Iterator[_Json]:
    base: _Json = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    for piece in _PIECES:
        yield base | {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
    if calls:
        function = {"name": "new_answer", "arguments": json.dumps(_CALL)}
        call: _Json = {"index": 0, "id": "call_1", "type": "function", "function": function}
        yield base | {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}
    reason = "tool_calls" if calls else "stop"
    yield base | {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    usage: _Json = {"prompt_tokens": 500, "completion_tokens": 150, "total_tokens": 650}
    yield base | {"choices": [], "usage": usage}


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
