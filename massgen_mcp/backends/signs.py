"""How providers say what is wrong: statuses, codes, words and headers, read for what they mean."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import cast

from massgen_mcp.errors import FailureKind

__all__ = ["kind_of_status", "parse_retry_after", "status_of_report", "words_of"]

_CONTEXT = re.compile(
    r"context.{0,20}(?:length|window|size|limit)|maximum context|too many (?:input )?tokens|"
    r"(?:prompt|input|conversation|request) is too (?:long|large)|exceeds? .{0,40}token",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient.?(?:quota|balance|credit|funds)|billing.?(?:error|hard)|exceeded your current quota|"
    r"out of credits?|credit balance",
    re.IGNORECASE,
)
_SPENT = re.compile(r"spend_limit_reached|credit balance is too low", re.IGNORECASE)
_RATE = re.compile(r"rate_limit_exceeded|rate_limit_error")
_NO_MODEL = re.compile(r"model_not_found|model .{0,80}(?:does not exist|not found)", re.IGNORECASE)
_FILTERED = re.compile(
    r"content.?(?:filter|policy)|safety|bio_policy|policy_violation|\binvalid_prompt\b", re.IGNORECASE
)
"""`invalid_prompt` is OpenAI's code for a question that its policy forbids."""
_STATUS_OF_TYPE: Mapping[str, int] = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "bad_request": 400,
    "badrequesterror": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "invalid_prompt": 400,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "too_many_requests": 429,
    "overloaded_error": 529,
}

_RULES: tuple[tuple[tuple[int, ...], re.Pattern[str] | None, FailureKind], ...] = (
    ((401,), None, "auth"),
    ((402,), None, "quota"),
    ((400, 429), _SPENT, "quota"),
    ((429,), _RATE, "rate_limit"),
    ((429,), _QUOTA, "quota"),
    ((429,), None, "rate_limit"),
    ((400, 403, 422), _FILTERED, "refusal"),
    ((403,), None, "auth"),
    ((404, 410), None, "not_found"),
    ((400, 422), _NO_MODEL, "not_found"),
    ((413,), None, "context"),
    ((400, 422), _CONTEXT, "context"),
    ((408, 409, 425), None, "overloaded"),
    ((501, 505), None, "bad_request"),
    (tuple(range(500, 600)), None, "overloaded"),
)
"""Read from above: a status, and what must be in the provider's code or words, mean a kind."""


def kind_of_status(status: int, signs: str) -> FailureKind:
    """The kind of failure that a status means, given the provider's code, type and words."""
    for statuses, pattern, kind in _RULES:
        if status in statuses and (pattern is None or pattern.search(signs)):
            return kind
    return "bad_request"


def status_of_report(error: object) -> tuple[int, str]:
    """The HTTP status that an error inside a stream amounts to, and the provider's own codes for it."""
    fields = _fields(error)
    codes = [str(fields[name]) for name in ("code", "type", "status") if fields.get(name) is not None]
    numbers = [int(code) for code in codes if code.isdecimal() and int(code) in range(400, 600)]
    named = [_STATUS_OF_TYPE[code.lower()] for code in codes if code.lower() in _STATUS_OF_TYPE]
    guess = 400 if _CONTEXT.search(words_of(error)) else 500
    return [*numbers, *named, guess][0], " ".join(codes)


def _fields(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait as `retry-after-ms` or `retry-after` (seconds or a date) say; None when neither does.

    Args:
        headers: of the response, names in lower case.
        now: seconds since the epoch.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text) * scale
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    # A date without a zone is one in UTC, says RFC 9110.
    date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now)


def words_of(body: object, *, depth: int = 8) -> str:
    """What a provider's error says, in its own words; empty when it says nothing down to that depth."""
    if depth == 0:
        return ""
    if isinstance(body, str):
        text = body.strip()
        if text.startswith(("{", "[")):
            try:
                return words_of(json.loads(text), depth=depth - 1)
            except (ValueError, RecursionError):
                pass
        return " ".join(re.sub(r"<[^>]*>", " ", text).split())
    if isinstance(body, list):
        return next((words_of(item, depth=depth - 1) for item in cast("list[object]", body)), "")
    fields = _fields(body)
    for name in ("error", "message", "detail", "msg", "error_description", "title"):
        if fields.get(name):
            return words_of(fields[name], depth=depth - 1)
    return ""
