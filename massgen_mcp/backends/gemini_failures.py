"""What Google says is wrong, read for what it means: statuses by name, quotas by the day, waits in a body."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.signs import words_of
from massgen_mcp.errors import BackendError

__all__ = ["refusal_words", "reported", "status_failure"]

_STATUS: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_BAD_REQUEST = 400
_LIMITED = 429
_BAD_KEY = re.compile(r"api[ _]key (?:not valid|expired|invalid|not found)|API_KEY_INVALID", re.IGNORECASE)
_ELSEWHERE = re.compile(r"location is not supported|not available in your (?:country|region)", re.IGNORECASE)
_NOTHING_FREE = re.compile(r"\blimit: 0\b")
"""How a quota reads that this account does not have at all."""
_PER_DAY = re.compile(r"per_?day", re.IGNORECASE)
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")


def status_failure(
    status: int, body: object, failures: Failures, *, headers: Mapping[str, str] | None = None
) -> BackendError:
    """An answer with an HTTP status other than success.

    Args:
        status: the HTTP status, or the one that an error inside a stream amounts to.
        body: what was said: text, or JSON as parsed.
        failures: makes the error.
        headers: of the response, names in lower case.
    """
    error, words = _error(body), words_of(body)
    if status == _BAD_REQUEST:
        return _bad_request(error, words, body, failures)
    if status == _LIMITED:
        return _limited(error, words, body, failures, headers)
    return failures.status(status, body, headers=headers, code=str(error.get("status") or ""))


def _bad_request(error: dict[str, Any], words: str, body: object, failures: Failures) -> BackendError:
    signs = f"{words} {' '.join(str(detail.get('reason', '')) for detail in _details(error))}"
    if _BAD_KEY.search(signs):
        return failures.make(
            "auth",
            f"{failures.title} refused the key in {failures.key} (400)",
            words=words,
            remedy="Set a valid key, or give `api_key` in the backend block.",
        )
    if _ELSEWHERE.search(words):
        return failures.make(
            "auth",
            f"{failures.title} does not let the key in {failures.key} use {failures.model!r} (400)",
            words=words,
            remedy="Check what the account has access to, and from where.",
        )
    failure = failures.status(_BAD_REQUEST, body, code=str(error.get("status") or ""))
    if failure.kind != "refusal":
        return failure
    # Who declines says so in a reply; a 400 that talks of safety is about the settings.
    return failures.make(
        "bad_request",
        f"{failures.title} did not take the request for {failures.model!r} (400)",
        words=words,
        remedy="Check the options of the backend block.",
    )


def _limited(
    error: dict[str, Any], words: str, body: object, failures: Failures, headers: Mapping[str, str] | None
) -> BackendError:
    details = _details(error)
    quotas = [str(violation.get("quotaId", "")) for detail in details for violation in _violations(detail)]
    delays = [delay for detail in details if (delay := _seconds(detail.get("retryDelay"))) is not None]
    code = str(error.get("status") or "")
    if _NOTHING_FREE.search(words) or any(_PER_DAY.search(quota) for quota in quotas):
        code = "insufficient_quota"
    elif quotas or delays:
        # Of a minute's quota, too, the text says that "your current quota" is exceeded.
        code = "rate_limit_exceeded"
    failure = failures.status(_LIMITED, body, headers=headers, code=code)
    if failure.kind == "rate_limit" and failure.retry_after is None and delays:
        failure.retry_after = max(delays)
    return failure


def reported(body: object, failures: Failures) -> BackendError:
    """An error that came inside an answer that looked like success."""
    error = _error(body)
    code = error.get("code")
    named = _STATUS.get(str(error.get("status") or "").upper(), 500)
    status = code if isinstance(code, int) and code in range(400, 600) else named
    return status_failure(status, body, failures)


def refusal_words(body: object) -> str:
    """What a refused request is told, fields that are named in its details included."""
    fields = [
        f"{violation.get('field', '')} {violation.get('description', '')}"
        for detail in _details(_error(body))
        for violation in _list(detail.get("fieldViolations"))
    ]
    return " ".join([words_of(body), *fields])


def _error(body: object) -> dict[str, Any]:
    """The error of a body, which some interfaces put into a list."""
    if isinstance(body, list) and body:
        return _error(cast("list[object]", body)[0])
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    inner: object = fields.get("error")
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else fields


def _details(error: dict[str, Any]) -> list[dict[str, Any]]:
    return _list(error.get("details"))


def _violations(detail: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from _list(detail.get("violations"))


def _list(value: object) -> list[dict[str, Any]]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def _seconds(text: object) -> float | None:
    found = _DELAY.fullmatch(text) if isinstance(text, str) else None
    return float(found[1]) if found else None
