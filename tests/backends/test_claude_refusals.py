"""What Claude's models refuse is left out or changed once, told and remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from massgen_mcp.backends.claude_parameters import refused_by
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.retry import Paced
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Request
from tests.backends.chats import deltas_of, reply_of
from tests.backends.claudes import (
    HELLO,
    KEY,
    MODEL,
    REQUEST,
    VOTE,
    message,
    open_claude,
    refusal,
    sent_with,
    start,
    stop,
    thought,
    written,
)
from tests.backends.wire import wire

pytestmark = pytest.mark.anyio


NO_CHOICE = 'tool_choice: type "tool" and "any" are not supported for this model.'
NO_BUDGET = (
    '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
    '"output_config.effort" to control thinking behavior.'
)
NO_SILENCE = '"thinking.type.disabled" is not supported for this model. Use "thinking.type.between_tools".'
THINKING_CHANGED = (
    "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot "
    "be modified. These blocks must remain as they were in the original response."
)


# Sampling.


async def test_sampling_takes_the_older_version_of_the_api(pool: Pool) -> None:
    async with wire(HELLO, HELLO, HELLO) as server:
        await deltas_of(await open_claude(server, pool, temperature=0.0), REQUEST)
        await deltas_of(await open_claude(server, pool), REQUEST)
        chosen = {"Anthropic-Version": "2099-01-01"}
        await deltas_of(await open_claude(server, pool, top_p=0.5, extra_headers=chosen), REQUEST)
    versions = [sent.headers["anthropic-version"] for sent in server.requests]
    assert versions == ["2023-06-01", "2026-10-21", "2099-01-01"]


@pytest.mark.parametrize(
    "words",
    [
        "`temperature` is deprecated for this model.",
        "temperature: Extra inputs are not permitted",
        "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.",
    ],
)
async def test_what_a_model_refuses_is_left_out_once_and_remembered(pool: Pool, words: str) -> None:
    async with wire(refusal(words), HELLO, HELLO, HELLO) as server:
        backend = await open_claude(server, pool, temperature=0.3, service_tier="auto")
        first, second = await reply_of(backend, REQUEST), await reply_of(backend, REQUEST)
        third = await reply_of(await open_claude(server, pool, temperature=0.3), REQUEST)
    assert [sent.json.get("temperature") for sent in server.requests] == [0.3, None, None, None]
    assert [sent.json.get("service_tier") for sent in server.requests] == ["auto", "auto", "auto", None]
    versions = [sent.headers["anthropic-version"] for sent in server.requests]
    assert versions == ["2023-06-01", "2026-10-21", "2026-10-21", "2026-10-21"]
    assert (first.attempts, first.usage.requests, second.usage.requests) == (1, 2, 1)
    told = f"127.0.0.1:{server.port} does not take temperature for {MODEL}; left out."
    assert first.warnings == second.warnings == third.warnings == (told,)


async def test_of_two_that_do_not_go_together_temperature_stays(pool: Pool) -> None:
    words = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
    async with wire(refusal(words), HELLO) as server:
        reply = await reply_of(await open_claude(server, pool, temperature=0.3, top_p=0.5), REQUEST)
    assert "top_p" not in server.requests[1].json
    assert server.requests[1].json["temperature"] == 0.3
    assert ["top_p" in warning for warning in reply.warnings] == [True]


async def test_what_is_refused_while_thinking_is_kept_without_it(pool: Pool) -> None:
    words = "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode."
    async with wire(refusal(words), HELLO, HELLO) as server:
        await reply_of(await open_claude(server, pool, temperature=0.3, effort="high"), REQUEST)
        await reply_of(await open_claude(server, pool, temperature=0.3), REQUEST)
    assert [sent.json.get("temperature") for sent in server.requests] == [0.3, None, 0.3]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("This model does not support the effort parameter.", "effort"),
        ("output_config.effort: Input should be 'low', 'medium' or 'high'", "effort"),
        (NO_BUDGET, "thinking"),
        ("adaptive thinking is not supported on this model", "thinking"),
        ("tool_choice forces tool use is not compatible with this model", "tool_choice"),
        ("Thinking may not be enabled when tool_choice forces tool use.", "tool_choice"),
        ("service_tier: Extra inputs are not permitted", "service_tier"),
        ("system.0.cache_control: Extra inputs are not permitted", "cache_control"),
        ("messages.3.content.0.thinking.signature: Field required", None),
        ("tools.0.custom.input_schema: temperature is not a type", None),
        ("credit", None),
    ],
)
def test_a_refusal_is_about_the_parameter_it_names_first(words: str, name: str | None) -> None:
    names = {"temperature", "thinking", "effort", "tool_choice", "service_tier", "cache_control"}
    assert refused_by(names, words) == name


# How deeply to think.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reasoning": {"effort": "high"}}, {"output_config": {"effort": "high"}, "max_tokens": 64_000}),
        ({"effort": "minimal"}, {"output_config": {"effort": "low"}, "max_tokens": 32_000}),
    ],
)
async def test_effort_makes_a_model_think_adaptively(
    pool: Pool, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert await sent_with(pool, **options) == {"thinking": {"type": "adaptive"}, **expected}


async def test_a_model_that_takes_a_budget_alone_is_not_told_to_think_adaptively(pool: Pool) -> None:
    sent = await sent_with(pool, model="claude-opus-4-5", effort="high")
    assert sent == {"output_config": {"effort": "high"}, "max_tokens": 64_000}


@pytest.mark.parametrize(
    ("model", "expected"), [("claude-sonnet-4-6", None), ("claude-sonnet-5", {"type": "disabled"})]
)
async def test_no_effort_turns_thinking_off_where_it_is_on(
    pool: Pool, model: str, expected: dict[str, Any] | None
) -> None:
    sent = await sent_with(pool, model=model, effort="none")
    assert (sent.get("thinking"), "output_config" in sent) == (expected, False)


@pytest.mark.parametrize("name", ["thinking_budget", "max_thinking_tokens"])
async def test_a_budget_leaves_room_for_the_reply(pool: Pool, name: str) -> None:
    budgets: list[dict[str, Any]] = [{name: 8000}, {name: 60_000}]
    small, large = [await sent_with(pool, **budget) for budget in budgets]
    assert small == {"thinking": {"type": "enabled", "budget_tokens": 8000}, "max_tokens": 64_000}
    assert large == {"thinking": {"type": "enabled", "budget_tokens": 60_000}, "max_tokens": 76_000}


async def test_a_budget_above_the_file_s_limit_is_lowered(pool: Pool) -> None:
    async with wire(HELLO, HELLO) as server:
        lowered = await reply_of(
            await open_claude(server, pool, thinking_budget=8000, max_tokens=3000), REQUEST
        )
        left_out = await reply_of(
            await open_claude(server, pool, thinking_budget=8000, max_tokens=1000), REQUEST
        )
    assert server.requests[0].json["thinking"] == {"type": "enabled", "budget_tokens": 2999}
    assert lowered.warnings == ("The thinking budget is lowered to 2999, below max_tokens.",)
    assert "thinking" not in server.requests[1].json
    assert left_out.warnings == ("max_tokens leaves no room to think; thinking is left out.",)


async def test_a_budget_becomes_adaptive_where_the_model_says_so(pool: Pool) -> None:
    async with wire(refusal(NO_BUDGET), HELLO, HELLO) as server:
        first = await reply_of(await open_claude(server, pool, max_thinking_tokens=8000), REQUEST)
        second = await reply_of(await open_claude(server, pool, thinking_budget=2000), REQUEST)
    kinds = [sent.json["thinking"]["type"] for sent in server.requests]
    assert kinds == ["enabled", "adaptive", "adaptive"]
    told = f"127.0.0.1:{server.port} does not take thinking enabled for {MODEL}; thinking is adaptive."
    assert first.warnings == second.warnings == (told,)


async def test_a_model_that_can_not_stop_thinking_thinks_between_tools_or_as_it_likes(pool: Pool) -> None:
    disabled = {"type": "disabled"}
    neither = NO_SILENCE.replace("disabled", "between_tools")
    async with wire(refusal(NO_SILENCE), HELLO, refusal(neither), HELLO) as server:
        backend = await open_claude(server, pool, thinking=disabled)
        first, second = await reply_of(backend, REQUEST), await reply_of(backend, REQUEST)
    kinds = [sent.json.get("thinking", {}).get("type") for sent in server.requests]
    assert kinds == ["disabled", "between_tools", "between_tools", None]
    assert [warning.rpartition("; ")[2] for warning in first.warnings] == ["thinking is between_tools."]
    assert [warning.rpartition("; ")[2] for warning in second.warnings] == ["left out."]


async def test_thinking_nobody_asked_for_is_dropped_without_a_word(pool: Pool) -> None:
    words = "adaptive thinking is not supported on this model"
    async with wire(refusal(words), HELLO) as server:
        reply = await reply_of(await open_claude(server, pool, model="claude-new", effort="high"), REQUEST)
    assert "thinking" not in server.requests[1].json
    assert server.requests[1].json["output_config"] == {"effort": "high"}
    assert reply.warnings == ()


async def test_who_is_told_to_think_is_not_told_which_tool_to_call(pool: Pool) -> None:
    request = replace(REQUEST, tools=(VOTE,), tool_choice="vote")
    assert "tool_choice" not in await sent_with(pool, request, effort="high")
    assert "tool_choice" not in await sent_with(pool, request, thinking_budget=2000)
    assert "tool_choice" in await sent_with(pool, request, thinking={"type": "disabled"})


async def test_a_model_that_is_never_told_which_tool_to_call_decides_itself(pool: Pool) -> None:
    request = replace(REQUEST, tools=(VOTE,), tool_choice="vote")
    async with wire(refusal(NO_CHOICE), HELLO, HELLO) as server:
        backend = await open_claude(server, pool, model="claude-sonnet-5-5")
        first, second = await reply_of(backend, request), await reply_of(backend, request)
    assert ["tool_choice" in sent.json for sent in server.requests] == [True, False, False]
    assert first.warnings == second.warnings == ()


async def test_a_backend_says_whether_its_model_thinks_at_length(pool: Pool) -> None:
    async with wire() as server:
        plain = await open_claude(server, pool)
        deep = await open_claude(server, pool, reasoning={"effort": "max"})
        budget = await open_claude(server, pool, thinking_budget=20_000)
        light = await open_claude(server, pool, effort="low")
        newer = await open_claude(server, pool, model="claude-sonnet-5-5")
    assert isinstance(plain, Paced)
    assert isinstance(deep, Paced)
    told = [backend.deep for backend in (plain, deep, budget, light, newer) if isinstance(backend, Paced)]
    assert told == [False, True, True, False, True]
    assert plain.pause is deep.pause
    assert (plain.info.type, plain.model) == ("claude", MODEL)
    assert KEY not in repr(plain)


# What the provider no longer takes of a conversation.


async def test_thinking_that_is_no_longer_taken_is_left_out(pool: Pool) -> None:
    first = message(start(), thought(0, "hm", "old"), written(1, "4"), stop())
    second = message(start(), thought(0, "hm", "new"), written(1, "5"), stop())
    async with wire(first, refusal(THINKING_CHANGED), second, HELLO) as server:
        backend = await open_claude(server, pool)
        one = await reply_of(backend, REQUEST)
        turns = (*REQUEST.messages, one.message(), Message(role="user", text="Again."))
        two = await reply_of(backend, Request(messages=turns))
        turns = (*turns, two.message(), Message(role="user", text="Again."))
        three = await reply_of(backend, Request(messages=turns))
    thoughts = [
        [
            each["signature"]
            for turn in sent.json["messages"]
            for each in turn["content"]
            if "signature" in each
        ]
        for sent in server.requests
    ]
    assert thoughts == [[], ["old"], [], ["new"]]
    told = f"127.0.0.1:{server.port} no longer takes {MODEL}'s earlier thinking; left out."
    assert (two.warnings, two.usage.requests, three.warnings) == ((told,), 2, ())


async def test_a_container_that_is_gone_is_replaced(pool: Pool) -> None:
    ran = {"id": "container_7"}
    first = message(start(), written(0, "a"), stop(delta={"container": ran}))
    gone = refusal("container_id: Container container_7 has expired", 404, "not_found_error")
    async with wire(first, gone, HELLO) as server:
        backend = await open_claude(server, pool, enable_code_interpreter=True)
        one = await reply_of(backend, REQUEST)
        turns = (*REQUEST.messages, one.message(), Message(role="user", text="Again."))
        two = await reply_of(backend, Request(messages=turns))
    assert [sent.json.get("container") for sent in server.requests] == [None, "container_7", None]
    assert [warning.partition(" no longer ")[2] for warning in two.warnings] == [
        "has the files of earlier code; it starts anew."
    ]


async def test_a_refusal_about_something_else_is_a_failure(pool: Pool) -> None:
    words = "messages.0.content.0: `thinking` blocks are only for assistants"
    async with wire(refusal(words), refusal("nothing known", 422)) as server:
        backend = await open_claude(server, pool, temperature=1.0)
        for number in (1, 2):
            with pytest.raises(BackendError) as caught:
                await reply_of(backend, REQUEST)
            assert (caught.value.kind, caught.value.requests) == ("bad_request", 1)
            assert len(server.requests) == number


async def test_a_model_that_refuses_everything_is_given_up(pool: Pool) -> None:
    names = ["temperature", "top_p", "top_k", "effort", "service_tier", "cache_control", "thinking"]
    async with wire(*[refusal(f"{name}: no") for name in names]) as server:
        options: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 1, "effort": "high"}
        backend = await open_claude(server, pool, service_tier="auto", **options)
        with pytest.raises(BackendError) as caught:
            await reply_of(backend, REQUEST)
    assert (caught.value.kind, caught.value.requests, len(server.requests)) == ("bad_request", 6, 6)


async def test_what_is_refused_again_although_left_out_is_a_failure(pool: Pool) -> None:
    words = "cache_control: no"
    async with wire(refusal(words), refusal(words)) as server:
        with pytest.raises(BackendError, match="cache_control"):
            await reply_of(await open_claude(server, pool), REQUEST)
    assert len(server.requests) == 2
