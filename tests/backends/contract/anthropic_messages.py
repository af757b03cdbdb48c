"""The Messages API, as Anthropic says it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from massgen_mcp.messages import Image, ToolCall
from tests.backends.claudes import block, called, event, message, refusal, start, stop, thought, written
from tests.backends.contract.dialect import BAD_REQUEST, Body, Dialect, Fault

__all__ = ["MessagesDialect"]

_UNKNOWN: Body = {"type": "brand_new", "found": [{"deep": None}]}
_SHOWN = frozenset({"image", "document"})


class MessagesDialect(Dialect):
    """`/v1/messages`."""

    name = "messages"
    key_headers = frozenset({"authorization", "x-api-key"})

    def said(self, *pieces: str, reasoning: Sequence[str] = ()) -> bytes:
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in reasoning]
        signed = {"type": "signature_delta", "signature": "c2ln"}
        thoughts = [block(0, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, signed)]
        return message(start(), *(thoughts if reasoning else []), written(1, *pieces), stop())

    def called(self, *calls: ToolCall) -> bytes:
        blocks = [
            called(place, call.name, *_halves(call.arguments), id=call.id) for place, call in enumerate(calls)
        ]
        return message(start(), *blocks, stop("tool_use"))

    def native(self) -> tuple[bytes, list[Body]]:
        arguments = {"answer": "agent1.1"}
        said = message(
            start(),
            thought(0, "Hm.", "c2ln"),
            block(1, {"type": "redacted_thinking", "data": "ZGFyaw=="}),
            block(2, _UNKNOWN),
            written(3, "I vote."),
            called(4, "vote", json.dumps(arguments), id="c1"),
            stop("tool_use"),
        )
        return said, [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZGFyaw=="},
            _UNKNOWN,
            {"type": "text", "text": "I vote."},
            {"type": "tool_use", "id": "c1", "name": "vote", "input": arguments},
        ]

    def counted(self) -> bytes:
        # What was read from the cache, or written to it, stands beside the input, not in it.
        began = start(input_tokens=30, cache_read_input_tokens=60, cache_creation_input_tokens=10)
        details = {"thinking_tokens": 30}
        return message(began, written(0, "Hello."), stop(output_tokens=50, output_tokens_details=details))

    def begun(self) -> bytes:
        return message(start(), _open("Hel"), end=False)

    def early(self) -> bytes:
        return message(start(), _open("Hel"))

    def cut_off(self) -> bytes:
        return message(start(), written(0, "Hel"), stop("max_tokens"))

    def declined(self, words: str) -> bytes:
        details = {"stop_details": {"type": "refusal", "category": "bio", "explanation": words}}
        return message(start(), stop("refusal", delta=details))

    def reported(self, words: str) -> bytes:
        error = {"type": "overloaded_error", "message": words}
        return message(start(), _open("Hel"), event("error", error=error))

    def empty(self) -> bytes:
        return message(start(), stop())

    def faults(self, words: str) -> Mapping[str, Fault]:
        def fault(status: int, kind: str, said: str = words, **headers: str) -> Fault:
            error = {"type": kind, "message": said}
            return Fault(status, {"type": "error", "error": error, "request_id": "req_1"}, headers)

        return {
            "auth": fault(401, "authentication_error"),
            "forbidden": fault(403, "permission_error"),
            "not_found": fault(404, "not_found_error"),
            "rate_limit": fault(429, "rate_limit_error", retry_after="2"),
            "quota": fault(402, "billing_error"),
            "broken": fault(500, "api_error"),
            "busy": fault(529, "overloaded_error"),
            "context": fault(400, "invalid_request_error", f"prompt is too long: {words}"),
            "bad_request": fault(400, "invalid_request_error", f"{BAD_REQUEST}: {words}"),
        }

    def refusing(self, parameter: str) -> bytes:
        return refusal(f"`{parameter}` is not supported for this model.")

    def echoed(self, body: Body) -> list[Body]:
        turns: list[Body] = [turn for turn in body["messages"] if turn["role"] == "assistant"]
        return turns[-1]["content"]

    def results(self, body: Body) -> list[tuple[str, str]]:
        """Blocks of one message behind the assistant's, before all others in it."""
        before, last = body["messages"][-2:]
        assert (before["role"], last["role"]) == ("assistant", "user")
        blocks: list[Body] = last["content"]
        assert {each["type"] for each in blocks} == {"tool_result"}
        return [(each["tool_use_id"], each["content"]) for each in blocks]

    def forced(self, body: Body) -> str | None:
        choice: Any = body.get("tool_choice")
        return choice and ("required" if choice["type"] == "any" else choice["name"])

    def shown(self, body: Body) -> list[Image]:
        blocks: list[Body] = body["messages"][-1]["content"]
        sources = [(each["type"], each["source"]) for each in blocks if each["type"] in _SHOWN]
        for kind, source in sources:
            assert (kind == "document") == (source["media_type"] == "application/pdf")
        return [
            Image(mime=source["media_type"], data=base64.b64decode(source["data"])) for _, source in sources
        ]

    def parameter(self, body: Body, key: str) -> object:
        return body.get(key)


def _open(text: str) -> bytes:
    """A block of text that goes on."""
    begun = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    return begun + event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def _halves(text: str) -> tuple[str, str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]
