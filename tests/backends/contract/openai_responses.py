"""The Responses API, as OpenAI, xAI and Azure's v1 API say it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from massgen_mcp.messages import Image, ToolCall
from tests.backends.contract.dialect import Body, Dialect, Fault
from tests.backends.contract.openai_chat import openai_faults
from tests.backends.responses_events import (
    CREATED,
    call as called_item,
    completed,
    done,
    event,
    message,
    said,
    stream,
    text_delta,
)
from tests.backends.wire import http_json

__all__ = ["ResponsesDialect"]

_THOUGHT: Body = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "c2VjcmV0"}
_UNKNOWN: Body = {"id": "bn_1", "type": "brand_new_call", "status": "completed", "found": [{"deep": None}]}


class ResponsesDialect(Dialect):
    """`/responses`."""

    name = "responses"
    key_headers = frozenset({"authorization"})

    def said(self, *pieces: str, reasoning: Sequence[str] = ()) -> bytes:
        thoughts = [
            event("response.reasoning_summary_text.delta", output_index=0, summary_index=0, delta=piece)
            for piece in reasoning
        ]
        item = message("".join(pieces))
        deltas = [text_delta(piece) for piece in pieces]
        return stream(CREATED, *thoughts, *deltas, done(item), completed(item))

    def called(self, *calls: ToolCall) -> bytes:
        items = [
            called_item(call.arguments, id=f"fc_{place}", call_id=call.id, name=call.name)
            for place, call in enumerate(calls)
        ]
        return said(*items)

    def native(self) -> tuple[bytes, list[Body]]:
        items = [_THOUGHT, _UNKNOWN, message("I vote."), called_item(call_id="c1", name="vote")]
        return said(*items), items

    def counted(self) -> bytes:
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60},
            "output_tokens": 50,
            "output_tokens_details": {"reasoning_tokens": 30},
            "total_tokens": 150,
        }
        return stream(CREATED, done(message()), completed(message(), usage=usage))

    def begun(self) -> bytes:
        return stream(CREATED, text_delta("Hel"), end=False)

    def early(self) -> bytes:
        return stream(CREATED, text_delta("Hello."), done(message()))

    def cut_off(self) -> bytes:
        return self._ended("incomplete", incomplete_details={"reason": "max_output_tokens"})

    def declined(self, words: str) -> bytes:
        item = message(content=[{"type": "refusal", "refusal": words}])
        return stream(CREATED, done(item), completed(item))

    def reported(self, words: str) -> bytes:
        error = {"code": "server_error", "message": words}
        return self._ended("failed", error=error)

    def _ended(self, status: str, **fields: Any) -> bytes:
        response: Body = {"id": "resp_1", "status": status, "output": [], **fields}
        return stream(CREATED, text_delta("Hel"), event(f"response.{status}", response=response))

    def empty(self) -> bytes:
        return stream(CREATED, completed())

    def faults(self, words: str) -> Mapping[str, Fault]:
        return openai_faults(words)

    def refusing(self, parameter: str) -> bytes:
        told = f"Unsupported parameter: {parameter!r} is not supported with this model."
        error = {"message": told, "type": "invalid_request_error", "param": parameter, "code": None}
        return http_json(400, {"error": error})

    def echoed(self, body: Body) -> list[Body]:
        """All between what the user said and the results."""
        items: list[Body] = body["input"]
        kinds = [item.get("type") or item["role"] for item in items]
        first = max(place for place, kind in enumerate(kinds) if kind in {"user", "system"})
        return [item for item in items[first + 1 :] if item.get("type") != "function_call_output"]

    def results(self, body: Body) -> list[tuple[str, str]]:
        """Items of their own behind the calls."""
        items: list[Body] = body["input"]
        last = max(place for place, item in enumerate(items) if item.get("type") == "function_call")
        after = items[last + 1 :]
        assert {item["type"] for item in after} == {"function_call_output"}
        return [(item["call_id"], item["output"]) for item in after]

    def forced(self, body: Body) -> str | None:
        choice: Any = body.get("tool_choice")
        return choice if choice is None or isinstance(choice, str) else choice["name"]

    def shown(self, body: Body) -> list[Image]:
        parts: list[Body] = body["input"][-1]["content"]
        found = [part.get("image_url") or part.get("file_data") for part in parts]
        return [_image(address) for address in found if address]

    def parameter(self, body: Body, key: str) -> object:
        return body.get({"max_tokens": "max_output_tokens"}.get(key, key))


def _image(address: str) -> Image:
    head, _, data = address.partition(";base64,")
    return Image(mime=head.removeprefix("data:"), data=base64.b64decode(data))
