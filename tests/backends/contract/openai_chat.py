"""Chat completions, as every server of that kind says them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from massgen_mcp.messages import Image, ToolCall
from tests.backends.chats import USAGE, chunk, finish
from tests.backends.contract.dialect import BAD_REQUEST, Body, Dialect, Fault
from tests.backends.wire import http_json, part, sse, sse_head

__all__ = ["ChatDialect", "openai_faults"]


def openai_faults(words: str) -> Mapping[str, Fault]:
    """Refusals as OpenAI and those who copy it word them."""

    def fault(status: int, kind: str, code: str | None = None, **headers: str) -> Fault:
        said = f"{BAD_REQUEST}: {words}" if kind == "invalid_request_error" and code is None else words
        return Fault(status, {"error": {"message": said, "type": kind, "param": None, "code": code}}, headers)

    return {
        "auth": fault(401, "invalid_request_error", "invalid_api_key"),
        "forbidden": fault(403, "permission_error"),
        "not_found": fault(404, "invalid_request_error", "model_not_found"),
        "rate_limit": fault(429, "tokens", "rate_limit_exceeded", retry_after="2"),
        "quota": fault(429, "insufficient_quota", "insufficient_quota"),
        "broken": fault(500, "server_error"),
        "busy": fault(503, "server_error"),
        "context": fault(400, "invalid_request_error", "context_length_exceeded"),
        "bad_request": fault(400, "invalid_request_error"),
        "policy": fault(400, "invalid_request_error", "invalid_prompt"),
    }


class ChatDialect(Dialect):
    """`/chat/completions`."""

    name = "chat"
    key_headers = frozenset({"authorization", "api-key"})

    def said(self, *pieces: str, reasoning: Sequence[str] = ()) -> bytes:
        thoughts = [chunk(reasoning_content=piece) for piece in reasoning]
        return sse(*thoughts, *(chunk(content=piece) for piece in pieces), finish(), USAGE)

    def called(self, *calls: ToolCall) -> bytes:
        return sse(*self._calls(*calls), finish("tool_calls"), USAGE)

    def _calls(self, *calls: ToolCall) -> list[Body]:
        chunks: list[Body] = []
        for index, call in enumerate(calls):
            middle = len(call.arguments) // 2
            first = {"name": call.name, "arguments": call.arguments[:middle]}
            begun = {"index": index, "id": call.id, "type": "function", "function": first}
            rest = {"index": index, "function": {"arguments": call.arguments[middle:]}}
            chunks += [chunk(tool_calls=[begun]), chunk(tool_calls=[rest])]
        return chunks

    def native(self) -> tuple[bytes, list[Body]]:
        function = {"name": "vote", "arguments": '{ "answer":"agent1.1" }'}
        call = {"id": "c1", "type": "function", "function": function}
        said = sse(
            chunk(reasoning_content="Hm.", brand_new={"kept": True}),
            chunk(content="I vote."),
            {**chunk(), "brand_new": 1, "object": "brand.new"},
            *self._calls(ToolCall(id="c1", name="vote", arguments=function["arguments"])),
            finish("tool_calls"),
            USAGE,
        )
        return said, [{"role": "assistant", "content": "I vote.", "tool_calls": [call]}]

    def counted(self) -> bytes:
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 60},
            "completion_tokens_details": {"reasoning_tokens": 30},
        }
        return sse(chunk(content="Hello."), finish(), {**USAGE, "usage": usage})

    def begun(self) -> bytes:
        return sse_head() + part(b"data: " + json.dumps(chunk(content="Hel")).encode() + b"\n\n")

    def early(self) -> bytes:
        return sse(chunk(content="Hel"), done=False)

    def cut_off(self) -> bytes:
        return sse(chunk(content="Hel"), finish("length"), USAGE)

    def declined(self, words: str) -> bytes:
        return sse(chunk(refusal=words), finish(), USAGE)

    def reported(self, words: str) -> bytes:
        return sse(chunk(content="Hel"), {"error": {"message": words, "type": "overloaded_error"}})

    def empty(self) -> bytes:
        return sse({**chunk(), "choices": []}, USAGE)

    def faults(self, words: str) -> Mapping[str, Fault]:
        return openai_faults(words)

    def refusing(self, parameter: str) -> bytes:
        told = f"Unsupported parameter: {parameter!r} is not supported with this model."
        error = {"message": told, "type": "invalid_request_error", "param": parameter, "code": "unsupported"}
        return http_json(400, {"error": error})

    def echoed(self, body: Body) -> list[Body]:
        return [message for message in body["messages"] if message["role"] == "assistant"][-1:]

    def results(self, body: Body) -> list[tuple[str, str]]:
        """Messages of their own, right behind the assistant's."""
        messages: list[Body] = body["messages"]
        last = max(place for place, message in enumerate(messages) if message["role"] == "assistant")
        after = messages[last + 1 :]
        assert {message["role"] for message in after} == {"tool"}
        return [(message["tool_call_id"], message["content"]) for message in after]

    def forced(self, body: Body) -> str | None:
        choice: Any = body.get("tool_choice")
        return choice if choice is None or isinstance(choice, str) else choice["function"]["name"]

    def shown(self, body: Body) -> list[Image]:
        parts: list[Body] = body["messages"][-1]["content"]
        addresses = [
            part["image_url"]["url"] if part["type"] == "image_url" else part["file"]["file_data"]
            for part in parts
            if part["type"] != "text"
        ]
        return [_image(address) for address in addresses]

    def parameter(self, body: Body, key: str) -> object:
        return body.get(key)


def _image(address: str) -> Image:
    head, _, data = address.partition(";base64,")
    return Image(mime=head.removeprefix("data:"), data=base64.b64decode(data))
