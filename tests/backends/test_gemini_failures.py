"""Whatever goes wrong with Gemini ends in one of our errors: what, why, what to do, and never a key."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest

from massgen_mcp.backends.account import Account
from massgen_mcp.backends.failures import Failures
from massgen_mcp.backends.gemini_sdk import open_client
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.retry import Paced
from massgen_mcp.clock import ScriptedClock
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.secrets import Secrets
from tests.backends.gemini_replies import (
    HELLO,
    KEY,
    chunk,
    deltas_of,
    last,
    open_model,
    refusal,
    reply_of,
    stream,
)
from tests.backends.wire import Action, Cut, Reset, closed_port, http, http_json, part, sse_head, wire

pytestmark = pytest.mark.anyio

HALF = sse_head() + part(b"data: " + json.dumps(chunk({"text": "Hel"})).encode() + b"\n\n")
INVALID_KEY = [
    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "x"}
]
EXCEEDED = "You exceeded your current quota, please check your plan and billing details."


async def failure(pool: Pool, *actions: Action, **options: Any) -> BackendError:
    """What one attempt ends in."""
    async with wire(actions) as server:
        backend = await open_model(server, pool, **options)
        with pytest.raises(BackendError) as caught:
            await deltas_of(backend)
    return caught.value


def quota(*names: str, delay: str | None = None) -> list[dict[str, Any]]:
    """The details of a quota that is exceeded."""
    violations = [{"quotaMetric": "requests", "quotaId": f"Generate{name}-FreeTier"} for name in names]
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}
    ]
    if delay is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    return details


@pytest.mark.parametrize(
    ("code", "status", "words", "kind", "retryable"),
    [
        (400, "INVALID_ARGUMENT", "Request contains an invalid argument.", "bad_request", False),
        (400, "INVALID_ARGUMENT", "safety_settings[0].category: unsupported", "bad_request", False),
        (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", "auth", False),
        (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", "auth", False),
        (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", "auth", False),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "context",
            False,
        ),
        (401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", "auth", False),
        (403, "PERMISSION_DENIED", "Your API key was reported as leaked.", "auth", False),
        (404, "NOT_FOUND", "models/gemini-x is not found for API version v1", "not_found", False),
        (413, "", "Payload too large", "context", False),
        (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", "rate_limit", True),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0, model: gemini-2.5-pro", "quota", False),
        (500, "INTERNAL", "An internal error has occurred.", "overloaded", True),
        (501, "UNIMPLEMENTED", "No.", "bad_request", False),
        (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", "overloaded", True),
        (504, "DEADLINE_EXCEEDED", "Deadline expired.", "overloaded", True),
    ],
)
async def test_each_status_has_its_kind_before_a_stream_and_inside_one(
    pool: Pool,
    code: int,
    status: str,
    words: str,
    kind: FailureKind,
    retryable: bool,  # noqa: FBT001 - a row of the table
) -> None:
    told = refusal(words, code, status)
    before = await failure(pool, http_json(code, told))
    inside = await failure(pool, stream(chunk({"text": "Hel"}), told))
    whole = await failure(pool, http_json(200, [chunk({"text": "Hel"}), told]))
    for error in (before, inside, whole):
        assert (error.kind, error.retryable, error.connected, error.requests) == (kind, retryable, True, 1)
        assert str(code) in str(error)
        assert words.rstrip(".") in str(error)
        assert str(error).endswith(error.remedy)


async def test_a_key_that_is_no_key_is_found_in_the_details(pool: Pool) -> None:
    error = await failure(pool, http_json(400, refusal("Bad.", details=INVALID_KEY)))
    assert error.kind == "auth"
    assert str(error) == (
        f"{str(error).split(' refused')[0]} refused the key in the backend block (400): Bad. "
        "Set a valid key, or give `api_key` in the backend block."
    )


@pytest.mark.parametrize(
    ("details", "headers", "kind", "wait"),
    [
        (quota("RequestsPerMinutePerProjectPerModel", delay="34.07s"), {}, "rate_limit", 34.07),
        (quota("RequestsPerMinutePerProjectPerModel"), {}, "rate_limit", None),
        (quota("RequestsPerMinutePerProjectPerModel", delay="soon"), {}, "rate_limit", None),
        (quota(delay="2s"), {}, "rate_limit", 2.0),
        (quota("RequestsPerMinute", delay="34s"), {"retry_after": "7"}, "rate_limit", 7.0),
        (quota("RequestsPerDayPerProjectPerModel", delay="5s"), {}, "quota", None),
        (quota("RequestsPerMinute", "InputTokensPerDayPerProject", delay="5s"), {}, "quota", None),
        ([], {}, "quota", None),
        (None, {}, "quota", None),
    ],
)
async def test_a_quota_by_the_minute_is_waited_for_and_one_by_the_day_is_not(
    pool: Pool,
    details: list[dict[str, Any]] | None,
    headers: dict[str, str],
    kind: FailureKind,
    wait: float | None,
) -> None:
    told = http_json(429, refusal(EXCEEDED, 429, "RESOURCE_EXHAUSTED", details), **headers)
    error = await failure(pool, told)
    assert (error.kind, error.retryable, error.retry_after) == (kind, kind == "rate_limit", wait)


async def test_the_wait_that_is_asked_for_holds_everybody_with_the_key(pool: Pool) -> None:
    told = refusal(EXCEEDED, 429, "RESOURCE_EXHAUSTED", quota("RequestsPerMinute", delay="40s"))
    clock = ScriptedClock()
    async with wire(http_json(429, told)) as server:
        backend = await open_model(server, pool, clock=clock)
        other = await open_model(server, pool)
        assert isinstance(backend, Paced)
        assert isinstance(other, Paced)
        with pytest.raises(BackendError) as caught:
            await deltas_of(backend)
        assert backend.pause is other.pause
    assert caught.value.retry_after == 40.0


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        ({"error": {"status": "UNAVAILABLE", "message": "Busy."}}, "overloaded", r"\(503\): Busy"),
        ({"error": {"code": "429", "status": "RESOURCE_EXHAUSTED"}}, "rate_limit", r"\(429\)"),
        ({"candidates": [], "error": {"code": 403, "message": "No."}}, "auth", r"\(403\): No"),
        ({"error": {"message": "Odd."}}, "overloaded", r"\(500\): Odd"),
        ({"error": "plain words"}, "overloaded", r"\(500\): plain words"),
        ({"error": {"code": 7, "details": ["x", {"violations": 3}]}}, "overloaded", r"\(500\)"),
    ],
)
async def test_an_error_inside_a_stream_is_understood_in_any_form(
    pool: Pool, event: dict[str, Any], kind: FailureKind, words: str
) -> None:
    async with wire(stream(chunk({"text": "Hel"}), event)) as server:
        with pytest.raises(BackendError, match=words) as caught:
            await deltas_of(await open_model(server, pool))
    assert caught.value.kind == kind


async def test_an_error_told_in_bare_lines_is_understood(pool: Pool) -> None:
    lines = json.dumps([refusal("Busy.", 503, "UNAVAILABLE")], indent=2).encode()
    error = await failure(pool, HALF, part(lines), part(b""))
    assert (error.kind, error.retryable) == ("overloaded", True)
    assert "Busy" in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html><body><h1>502 Bad\nGateway</h1></body></html>", "502 Bad Gateway"),
        (b"caf\xe9 overloaded", "overloaded"),
        (b'{"message": "top"}', "top"),
        (b'{"error": "plain"}', "plain"),
        (b'[{"error": {"code": 502, "message": "listed"}}]', "listed"),
        (b"", "(502)"),
        (b"[]", "(502)"),
        (b"[" * 200_000, "(502)"),
    ],
)
async def test_the_words_are_found_in_whatever_is_sent(pool: Pool, body: bytes, words: str) -> None:
    error = await failure(pool, http(502, body, "text/html"))
    assert words in str(error)
    assert error.kind == "overloaded"
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    "actions",
    [[HALF, Cut()], [HALF, Reset()], [sse_head(), Cut()], [sse_head(), Reset()], [Cut()], [Reset()]],
)
async def test_a_connection_that_breaks_is_a_network_error(pool: Pool, actions: list[Action]) -> None:
    error = await failure(pool, *actions)
    assert (error.kind, error.retryable, error.connected) == ("network", True, True)


async def test_a_break_after_the_end_was_said_is_still_a_break(pool: Pool) -> None:
    ended = sse_head() + part(b"data: " + json.dumps(last({"text": "Hello."})).encode() + b"\n\n")
    assert (await failure(pool, ended, Reset())).kind == "network"


async def test_a_refusal_that_breaks_off_is_a_network_error(pool: Pool) -> None:
    head = b"HTTP/1.1 503 X\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
    assert (await failure(pool, head, Cut())).kind == "network"


async def test_what_broke_is_asked_for_again_whole(pool: Pool) -> None:
    async with wire([HALF, Cut()], HELLO) as server:
        reply = await reply_of(await open_model(server, pool))
    assert (reply.text, reply.attempts, reply.usage.requests) == ("Hello.", 2, 2)
    assert server.requests[0].json == server.requests[1].json


async def test_nobody_there_is_told_and_counts_as_no_request(pool: Pool) -> None:
    backend = await open_model(f"http://127.0.0.1:{closed_port()}", pool)
    with pytest.raises(BackendError, match="connection refused") as caught:
        await deltas_of(backend)
    error = caught.value
    assert (error.kind, error.connected, error.requests, error.max_attempts) == ("network", False, 0, 2)


async def test_connecting_has_a_limit_although_the_package_sets_none(pool: Pool) -> None:
    async with wire(HELLO) as server:
        backend = await open_model(server, pool)
        client = await pool.client()
        limits: list[Any] = []

        async def look(request: Any) -> None:
            limits.append(request.extensions["timeout"]["connect"])

        client.event_hooks = {"request": [look], "response": []}
        await deltas_of(backend)
    assert limits == [10.0]


async def test_a_redirect_is_not_followed(pool: Pool) -> None:
    answer = http(307, b"", location="https://elsewhere.example/v1")
    async with wire([answer], HELLO) as server:
        with pytest.raises(BackendError, match=r"redirects to elsewhere\.example \(307\)") as caught:
            await deltas_of(await open_model(server, pool))
    assert (caught.value.kind, len(server.requests)) == ("bad_request", 1)


async def test_a_response_without_end_is_cut_off(tls: Any, anyio_backend: str) -> None:
    pool = Pool(proxies={}, tls=tls, max_bytes=50_000)
    try:
        long = stream(chunk({"text": "x" * 200_000}), last())
        error = await failure(pool, long)
    finally:
        await pool.aclose()
    assert (error.kind, error.retryable) == ("protocol", False)


async def test_an_address_that_may_not_be_talked_to_is_refused(pool: Pool) -> None:
    with pytest.raises(ValueError, match="this address can't be used"):
        await open_model("http://169.254.169.254/v1beta", pool)
    failures = Failures(title="Gemini", model="m", key="the block", secrets=Secrets(), clock=ScriptedClock())
    account = Account(base_url="http://x.example", model="m", key=KEY, failures=failures)
    with pytest.raises(BackendError, match="`base_url` can't be used: plain http is only for") as caught:
        await open_client(pool, account, {}, api_version="v1")
    assert (caught.value.kind, caught.value.connected) == ("bad_request", False)


async def test_the_retry_layer_is_the_only_one(pool: Pool) -> None:
    busy = http_json(503, refusal("Busy.", 503, "UNAVAILABLE"))
    async with wire(busy, HELLO) as server:
        with pytest.raises(BackendError):
            await deltas_of(await open_model(server, pool))
    assert len(server.requests) == 1


# The key.


@pytest.mark.parametrize("echo", [KEY, KEY[:14] + "********pqrs", f"Bearer {KEY}"])
async def test_a_key_appears_nowhere(pool: Pool, echo: str) -> None:
    secrets = Secrets()
    for answer in (
        http_json(400, refusal(f"API key not valid: {echo}.")),
        http_json(401, refusal(f"No {echo}.", 401)),
        stream(refusal(f"No {echo}.", 500)),
        http(500, echo.encode()),
    ):
        async with wire(answer) as server:
            backend = await open_model(server, pool, secrets=secrets)
            with pytest.raises(BackendError) as caught:
                await deltas_of(backend)
        error = caught.value
        shown = [str(error), repr(error), error.remedy, repr(vars(error)), repr(backend)]
        shown.append("".join(traceback.format_exception(error)))
        for text in shown:
            assert KEY[:12] not in text


async def test_a_key_that_can_t_be_sent_says_so(pool: Pool) -> None:
    key = "AIza\u201d0123456789abcdefghij"
    error = await failure(pool, HELLO, api_key=key)
    assert str(error).startswith("The key in the backend block holds characters that can't be sent.")
    assert (error.kind, error.connected, error.requests) == ("auth", False, 0)
    assert key not in "".join(traceback.format_exception(error))
