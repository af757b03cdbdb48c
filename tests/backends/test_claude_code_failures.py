"""What goes wrong within Claude Code: its kind, its remedy, and who tries again."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from massgen_mcp.backends.base import RuntimeTurn
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import ScriptedClock, SystemClock
from tests.backends.claude_code_stage import (
    QUESTION,
    REQUEST,
    Stage,
    Tools,
    assistant,
    failed,
    failure_of,
    reply_of,
    result,
    text,
    uses,
)

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="a script is the program")]


FAILURES: Mapping[str, tuple[list[dict[str, Any]], str, bool]] = {
    "key": (failed("Invalid API key", status=401, error="authentication_failed"), "auth", False),
    "Log in with `claude`": (failed("Not logged in", error="authentication_failed"), "auth", False),
    "what the account has access to": (failed("API Error: 403 no", status=403), "auth", False),
    "balance is too low": (
        failed("Credit balance is too low", status=400, error="billing_error"),
        "quota",
        False,
    ),
    "used up": (failed("Credit balance", error="billing_error"), "quota", False),
    "slow down": (failed("slow down", status=429, error="rate_limit"), "rate_limit", True),
    "Overloaded": (failed("Overloaded", status=529), "overloaded", True),
    "no model": (failed("no model", status=404, error="model_not_found"), "not_found", False),
    "too long": (failed("Too much", status=400, terminal_reason="prompt_too_long"), "context", False),
    "bad thing": (failed("bad thing", status=400), "bad_request", False),
    "safeguards": (
        failed("safeguards", error="invalid_request", stop_reason="refusal"),
        "refusal",
        False,
    ),
    "max_tokens": (failed("too much", error="max_output_tokens"), "length", False),
    "ECONNREFUSED": (failed("Connection refused (ECONNREFUSED)", error="server_error"), "network", False),
    "malformed": (failed("an empty or malformed response", error="unknown"), "protocol", True),
    "max_turns": ([result("", subtype="error_max_turns", is_error=True)], "length", False),
    "max_budget_usd": ([result("", subtype="error_max_budget_usd")], "quota", False),
    "it broke": (
        [result("", subtype="error_during_execution", is_error=True, errors=["it broke"])],
        "network",
        False,
    ),
    "reply is empty": ([result("")], "protocol", True),
}
"""What a failure's text has to say -> how the command line reports it, its kind, whether to try again."""


async def test_each_failure_has_its_kind_and_its_remedy(stage: Stage) -> None:
    found: dict[str, tuple[str, bool]] = {}
    async with stage.agent(*(steps for steps, _, _ in FAILURES.values())) as agent:
        for words in FAILURES:
            failure = await failure_of(agent)
            assert words in str(failure)
            found[words] = (failure.kind, failure.retryable)
    assert found == {words: (kind, retryable) for words, (_, kind, retryable) in FAILURES.items()}


async def test_after_a_tool_was_used_nothing_is_simply_asked_again(stage: Stage) -> None:
    turn = [assistant(uses("Write", file_path="a.py")), *failed("Overloaded", status=529)]
    async with stage.agent(turn) as agent:
        failure = await failure_of(agent)
    assert (failure.kind, failure.retryable) == ("overloaded", False)


def retry(status: int | None, error: str, delay: int = 2000) -> dict[str, Any]:
    fields = {"attempt": 1, "max_retries": 3, "retry_delay_ms": delay, "error_status": status, "error": error}
    return {"say": {"type": "system", "subtype": "api_retry", **fields}}


@pytest.mark.parametrize(
    ("said", "kind", "retryable", "after"),
    [
        (retry(401, "authentication_failed"), "auth", False, None),
        (retry(429, "rate_limit"), "rate_limit", True, 2.0),
        (retry(None, "overloaded", 500), "overloaded", True, 0.5),
    ],
    ids=["key", "rate", "overloaded"],
)
async def test_its_own_retries_are_left_to_the_one_retry_layer(
    stage: Stage, said: dict[str, Any], kind: str, retryable: object, after: float | None
) -> None:
    async with stage.agent([said, {"wait": True}]) as agent:
        begun = time.monotonic()
        failure = await failure_of(agent)
        assert time.monotonic() - begun < 2
    assert (failure.kind, failure.retryable, failure.retry_after) == (kind, retryable, after)
    assert failure.requests == 1


async def test_its_own_retries_hold_once_a_tool_was_used_or_nobody_was_reached(stage: Stage) -> None:
    turn = [
        retry(None, "unknown"),
        assistant(uses("Bash", command="make")),
        retry(529, "overloaded"),
        result("done"),
    ]
    async with stage.agent(turn) as agent:
        assert (await reply_of(agent)).text == "done"


async def test_a_used_up_plan_says_when_it_resets_and_is_not_asked_again(stage: Stage) -> None:
    clock = ScriptedClock()
    until = int(clock.now()) + 3600
    info = {"status": "rejected", "resetsAt": until, "rateLimitType": "five_hour"}
    turn = [
        {"say": {"type": "rate_limit_event", "rate_limit_info": info}},
        *failed("You've hit your 5-hour limit", status=429, error="rate_limit"),
    ]
    around = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-a-token"}
    async with stage.agent(turn, environ=around, clock=clock) as agent:
        failure = await failure_of(agent)
    assert (failure.kind, failure.retryable) == ("rate_limit", False)
    assert failure.retry_after == pytest.approx(3600, abs=1)
    assert "2025-06-15 16:06 UTC" in str(failure)


async def test_an_older_message_of_a_used_up_plan_is_read_too(stage: Stage) -> None:
    turn = failed("Claude AI usage limit reached|1750003600", status=429)
    async with stage.agent(turn, clock=ScriptedClock(start=1_750_000_000.0)) as agent:
        failure = await failure_of(agent)
    assert (failure.kind, failure.retry_after) == ("rate_limit", pytest.approx(3600, abs=1))


async def test_words_that_nobody_can_read_end_the_turn(stage: Stage) -> None:
    async with stage.agent([{"say": {"type": "assistant"}}]) as agent:
        failure = await failure_of(agent)
    assert failure.kind == "protocol"


async def test_the_retry_layer_asks_the_same_session_again(stage: Stage) -> None:
    async with stage.agent([retry(529, "overloaded", 10), {"wait": True}], [result("It is 42.")]) as agent:
        reply = await ask(RuntimeTurn(agent, Tools()), REQUEST, clock=SystemClock(), random=Random(1))
    assert (reply.text, reply.attempts, reply.usage.requests) == ("It is 42.", 2, 2)
    assert stage.said == [[text(QUESTION.text)]] * 2
