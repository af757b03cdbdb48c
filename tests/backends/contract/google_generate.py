"""generateContent, as Google says it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from massgen_mcp.messages import Image, ToolCall
from tests.backends.contract.dialect import BAD_REQUEST, Body, Dialect, Fault
from tests.backends.gemini_replies import chunk, last, refusal, said, stream
from tests.backends.wire import http_json

__all__ = ["GenerateDialect"]

_NAMES = {"temperature": "temperature", "top_p": "topP", "max_tokens": "maxOutputTokens"}


class GenerateDialect(Dialect):
    """`:streamGenerateContent`."""

    name = "generate"
    key_headers = frozenset({"x-goog-api-key"})

    def said(self, *pieces: str, reasoning: Sequence[str] = ()) -> bytes:
        thoughts = [chunk({"text": piece, "thought": True}) for piece in reasoning]
        return stream(*thoughts, *(chunk({"text": piece}) for piece in pieces), last())

    def called(self, *calls: ToolCall) -> bytes:
        return said(*(_call(call) for call in calls))

    def native(self) -> tuple[bytes, list[Body]]:
        parts: list[Body] = [
            {"text": "Hm.", "thought": True},
            {"brandNew": {"found": [{"deep": None}]}},
            {"text": "I vote.", "thoughtSignature": "c2ln"},
            {
                "functionCall": {"id": "c1", "name": "vote", "args": {"answer": "agent1.1"}},
                "thoughtSignature": "c2lnbmVk",
            },
        ]
        return stream(chunk(*parts[:2]), last(*parts[2:])), parts

    def counted(self) -> bytes:
        usage = {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 60,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 30,
            "totalTokenCount": 150,
        }
        return stream(last({"text": "Hello."}) | {"usageMetadata": usage})

    def begun(self) -> bytes:
        return stream(chunk({"text": "Hel"}), end=False)

    def early(self) -> bytes:
        return stream(chunk({"text": "Hello."}))

    def cut_off(self) -> bytes:
        return stream(last({"text": "Hel"}, finish="MAX_TOKENS"))

    def declined(self, words: str) -> bytes:
        return stream(last(finish="SAFETY", finishMessage=words))

    def reported(self, words: str) -> bytes:
        return stream(chunk({"text": "Hel"}), refusal(words, 503, "UNAVAILABLE"))

    def empty(self) -> bytes:
        return stream(last())

    def faults(self, words: str) -> Mapping[str, Fault]:
        def fault(code: int, status: str, said: str = words, *details: Body, **headers: str) -> Fault:
            return Fault(code, refusal(said, code, status, list(details)), headers)

        of_a_day = {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
        }
        too_long = f"The input token count (1048577) exceeds the maximum number of tokens allowed. {words}"
        return {
            "auth": fault(401, "UNAUTHENTICATED"),
            "forbidden": fault(403, "PERMISSION_DENIED"),
            "not_found": fault(404, "NOT_FOUND"),
            "rate_limit": fault(429, "RESOURCE_EXHAUSTED", retry_after="2"),
            "quota": fault(429, "RESOURCE_EXHAUSTED", words, of_a_day),
            "broken": fault(500, "INTERNAL"),
            "busy": fault(503, "UNAVAILABLE"),
            "context": fault(400, "INVALID_ARGUMENT", too_long),
            "bad_request": fault(400, "INVALID_ARGUMENT", f"{BAD_REQUEST}: {words}"),
        }

    def refusing(self, parameter: str) -> bytes:
        return http_json(400, refusal(f"{parameter} is not supported by this model."))

    def echoed(self, body: Body) -> list[Body]:
        turns: list[Body] = [content for content in body["contents"] if content["role"] == "model"]
        return turns[-1]["parts"]

    def results(self, body: Body) -> list[tuple[str, str]]:
        """Parts of one content behind the model's."""
        before, after = body["contents"][-2:]
        assert (before["role"], after["role"]) == ("model", "user")
        answers: list[Body] = [part["functionResponse"] for part in after["parts"]]
        return [(answer["id"], answer["response"]["output"]) for answer in answers]

    def forced(self, body: Body) -> str | None:
        config: Body = body.get("toolConfig", {}).get("functionCallingConfig", {})
        if not config:
            return None
        assert config["mode"] == "ANY"
        return next(iter(config.get("allowedFunctionNames", ["required"])))

    def shown(self, body: Body) -> list[Image]:
        data = [part["inlineData"] for part in body["contents"][-1]["parts"] if "inlineData" in part]
        return [Image(mime=each["mimeType"], data=base64.b64decode(each["data"])) for each in data]

    def parameter(self, body: Body, key: str) -> object:
        return body.get("generationConfig", {}).get(_NAMES[key])


def _call(call: ToolCall) -> Body:
    """Whole calls come, as objects; what is no object comes as gateways send it."""
    try:
        arguments: Any = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    return {"functionCall": {"id": call.id, "name": call.name, "args": arguments}}
