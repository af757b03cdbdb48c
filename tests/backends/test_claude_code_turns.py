"""Turns of Claude Code, through the real SDK: what streams, what is used, which tools are called."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from massgen_mcp.errors import JournalError
from massgen_mcp.messages import (
    Image,
    Message,
    ObservedCall,
    ReasoningDelta,
    Reply,
    Request,
    Spent,
    TextDelta,
)
from tests.backends.claude_code_stage import (
    NEW_ANSWER,
    QUESTION,
    SONNET,
    SYSTEM,
    WORD,
    Stage,
    Tools,
    assistant,
    deltas_of,
    event,
    failure_of,
    reply_of,
    result,
    text,
    totals,
    uses,
)

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="a script is the program")]


async def test_text_and_thinking_stream_and_the_turn_ends_in_a_reply_with_its_usage(stage: Stage) -> None:
    turn = [
        event(type="message_start", message={"usage": {"input_tokens": 100, "cache_read_input_tokens": 50}}),
        event(type="content_block_delta", delta={"type": "thinking_delta", "thinking": "Hm."}),
        event(type="content_block_delta", delta={"type": "text_delta", "text": "It is "}),
        event(type="content_block_delta", delta={"type": "text_delta", "text": "42."}),
        assistant(text("It is 42.")),
        event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 30}),
        result(
            "It is 42.",
            **totals(0.5, inputTokens=100, outputTokens=30, cacheReadInputTokens=50, thinkingTokens=7),
        ),
    ]
    async with stage.agent(turn) as agent:
        deltas = await deltas_of(agent)

    assert deltas[:3] == [ReasoningDelta(text="Hm."), TextDelta(text="It is "), TextDelta(text="42.")]
    spent, reply = deltas[3:]
    assert isinstance(spent, Spent)
    assert spent.usage.tokens == 180
    assert isinstance(reply, Reply)
    assert (reply.text, reply.calls, reply.model) == ("It is 42.", (), SONNET)
    usage = reply.usage
    assert (usage.requests, usage.input, usage.output, usage.cached, usage.reasoning) == (1, 150, 30, 50, 7)
    assert (usage.cost_usd, usage.cost_source) == (0.5, "provider")


async def test_running_totals_become_what_each_turn_took(stage: Stage) -> None:
    first = [result("one", **totals(0.5, inputTokens=100, outputTokens=10))]
    second = [result("two", **totals(0.75, inputTokens=160, outputTokens=30))]
    async with stage.agent(first, second) as agent:
        await reply_of(agent)
        usage = (await reply_of(agent)).usage
    assert (usage.input, usage.output, usage.cost_usd) == (60, 20, 0.25)


async def test_usage_adds_up_over_turns_of_which_one_failed_and_one_was_cut_off(stage: Stage) -> None:
    def told(cost: float, put_in: int, **more: Any) -> dict[str, Any]:
        return {**totals(cost, inputTokens=put_in, outputTokens=10), **more}

    start = event(type="message_start", message={"usage": {"input_tokens": 400}})
    end = event(type="message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 0})
    turns: list[list[dict[str, Any]]] = [
        [result("one", **told(0.5, 100))],
        [result("no", is_error=True, api_error_status=400, **told(0.75, 300))],
        [start, end, {"call": ["new_answer", {}]}, {"hang": True}],
        [result("four", **told(1.5, 750))],
        [result("five", **told(2.0, 800))],
    ]
    async with stage.agent(*turns) as agent:
        first = (await reply_of(agent)).usage
        await failure_of(agent)
        cut, fourth, fifth = [(await reply_of(agent)).usage for _ in range(3)]
    assert [usage.input for usage in (first, cut, fourth, fifth)] == [100, 400, 50, 50]
    # The dollars of the fourth turn's totals are those of the one before, too: nobody can say how many.
    assert [usage.cost_usd for usage in (first, cut, fourth, fifth)] == [0.5, None, None, 0.5]


async def test_totals_that_begin_anew_are_the_turn_s_own(stage: Stage) -> None:
    first = [result("one", **totals(0.5, inputTokens=100, outputTokens=10))]
    second = [result("two", **totals(0.25, inputTokens=60, outputTokens=5))]
    async with stage.agent(first, second) as agent:
        await reply_of(agent)
        usage = (await reply_of(agent)).usage
    assert (usage.input, usage.output, usage.cost_usd) == (60, 5, 0.25)


async def test_a_result_without_totals_counts_by_itself_and_has_no_price(stage: Stage) -> None:
    counts = {"input_tokens": 5, "output_tokens": 7, "cache_creation_input_tokens": 3}
    async with stage.agent([result("x", usage=counts, total_cost_usd=0)]) as agent:
        usage = (await reply_of(agent)).usage
    assert (usage.input, usage.cache_write, usage.output, usage.cost_usd) == (8, 3, 7, None)


async def test_its_own_tools_are_observed_and_ours_are_called_in_this_process(stage: Stage) -> None:
    turn = [
        assistant(text("Let me look."), uses("Bash", command="ls  -l\n src")),
        assistant(uses("TodoWrite"), number=2),
        assistant(uses("mcp__massgen__new_answer", content="42"), number=3),
        {"call": ["new_answer", {"content": "42"}]},
        result("", terminal_reason="completed"),
    ]
    tools = Tools()
    async with stage.agent(turn) as agent:
        deltas = await deltas_of(agent, tools=tools)
        session = agent.session

    observed = [delta for delta in deltas if isinstance(delta, ObservedCall)]
    assert observed == [ObservedCall(name="Bash", detail="ls -l src"), ObservedCall(name="TodoWrite")]
    (called,) = tools.calls
    assert (called.id, called.name, json.loads(called.arguments)) == (
        "toolu_3",
        "new_answer",
        {"content": "42"},
    )
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert (reply.calls, reply.finish) == ((called,), "tool_calls")
    assert reply.native == {
        "session": session,
        "tools": ["Bash", "TodoWrite"],
        "requests": 3,
        "end": "completed",
    }
    (back,) = stage.log("back")
    assert back["result"]["_meta"] == {"claude/endTurn": True}, "ends the turn without another request"
    (listed,) = stage.log("tools")
    assert [tool["name"] for tool in listed["result"]["tools"]] == ["new_answer"]


async def test_what_subagents_say_is_not_its_own_text(stage: Stage) -> None:
    inner = {"parent_tool_use_id": "toolu_task"}
    delta = event(type="content_block_delta", delta={"type": "text_delta", "text": "inner"})
    delta["say"] |= inner
    turn = [
        delta,
        {"say": {**assistant(text("inner"), uses("Read", file_path="a"))["say"], **inner}},
        assistant(text("Whole.")),
        {"say": {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed"}}},
        result(""),
    ]
    async with stage.agent(turn) as agent:
        deltas = await deltas_of(agent)
    assert deltas[:-1] == [ObservedCall(name="Read", detail="a")]
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.model) == ("Whole.", SONNET)


async def test_a_call_that_does_not_end_the_turn_comes_back_and_the_turn_goes_on(stage: Stage) -> None:
    turn: list[dict[str, Any]] = [{"call": ["read", {}]}, result("It is 42.")]
    async with stage.agent(turn) as agent:
        reply = await reply_of(agent, tools=Tools())
    (back,) = stage.log("back")
    assert "_meta" not in back["result"]
    assert back["result"]["content"] == [{"type": "text", "text": "read is done"}]
    assert (reply.text, reply.calls) == ("It is 42.", ())


async def test_the_pictures_of_a_tool_s_result_are_passed_on(stage: Stage) -> None:
    images = (Image(mime="image/png", data=b"png"), Image(mime="application/pdf", data=b"pdf"))
    async with stage.agent([{"call": ["read", {}]}, result("It is green.")]) as agent:
        await reply_of(agent, tools=Tools(images=images))
    (back,) = stage.log("back")
    words, picture = back["result"]["content"]
    assert words["text"] == "read is done\n[1 documents can't be shown to you here.]"
    assert picture == {"type": "image", "data": "cG5n", "mimeType": "image/png"}


async def test_calls_made_together_run_together(stage: Stage) -> None:
    tools = Tools(together=2)
    async with stage.agent([{"together": ["read", "look"]}, result("Both.")]) as agent:
        reply = await reply_of(agent, tools=tools)
    assert (reply.text, [call.name for call in tools.calls]) == ("Both.", ["read", "look"])


async def test_what_breaks_on_our_side_ends_the_turn_as_it_is(stage: Stage) -> None:
    tools = Tools(breaks=JournalError("the disk is full"))
    async with stage.agent([{"call": ["new_answer", {}]}, {"wait": True}]) as agent:
        with pytest.raises(JournalError, match="the disk is full"):
            await deltas_of(agent, tools=tools)


async def test_later_turns_send_only_what_the_session_does_not_hold(stage: Stage) -> None:
    vote = Message(role="user", text="Now vote.")
    later = Request(
        messages=(SYSTEM, QUESTION, Message(role="assistant", text="42"), vote), tools=(NEW_ANSWER,)
    )
    async with stage.agent([result("1")], [result("2")], [result("3")]) as agent:
        await reply_of(agent)
        await reply_of(agent, later)
        await reply_of(agent, later)
    assert stage.said == [[text(QUESTION.text)], [text("Now vote.")], [text("Now vote.")]]


async def test_pictures_and_documents_are_shown(stage: Stage) -> None:
    shown = Message(
        role="user",
        text="See.",
        images=(Image(mime="image/png", data=b"png"), Image(mime="application/pdf", data=b"pdf")),
    )
    async with stage.agent([result("1")]) as agent:
        await reply_of(agent, Request(messages=(shown,)))
    picture, document, words = stage.said[0]
    assert (picture["type"], document["type"], words) == ("image", "document", text("See."))
    assert picture["source"] == {"type": "base64", "media_type": "image/png", "data": "cG5n"}


async def test_an_end_without_a_result_is_no_reply(stage: Stage) -> None:
    async with stage.agent([WORD, {"exit": 0}]) as agent:
        failure = await failure_of(agent)
    assert (failure.kind, failure.retryable) == ("protocol", True)
    assert "before its turn was complete" in str(failure)
