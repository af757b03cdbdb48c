"""Google's search and code execution together with functions, on every generation of models."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from massgen_mcp.backends.pool import Pool
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, Message, Reply, Request, TextDelta, ToolCall, ToolResult, ToolSpec
from massgen_mcp.usage import Usage
from tests.backends.gemini_replies import (
    ASKED,
    HELLO,
    REQUEST,
    TOOLS,
    USAGE,
    VOTE,
    VOTE_DECLARED,
    call,
    chunk,
    deltas_of,
    last,
    open_model,
    refusal,
    reply_of,
    said,
    stream,
)
from tests.backends.wire import Cut, Stall, http_json, part, sse_head, wire

pytestmark = pytest.mark.anyio

BOTH: dict[str, Any] = {"enable_web_search": True, "enable_code_execution": True}
OLD: dict[str, Any] = {"model": "gemini-2.5-flash", "enable_web_search": True}
EMPTY: dict[str, Any] = {"generationConfig": {}}
BESIDE: dict[str, Any] = {
    "tools": [{"googleSearch": {}}, {"codeExecution": {}}, {"functionDeclarations": [VOTE_DECLARED]}],
    "toolConfig": {"includeServerSideToolInvocations": True},
}
SEARCH_DECLARED: dict[str, Any] = {
    "name": "google_search",
    "description": "Search the web with Google. Returns what was found, with its sources.",
    "parametersJsonSchema": {
        "type": "object",
        "properties": {"query": {"type": "string", "description": "What to search for."}},
        "required": ["query"],
    },
}
CODE_DECLARED: dict[str, Any] = {
    "name": "code_execution",
    "description": "Run Python in Google's sandbox, which sees no files of the workspace. "
    "Returns what it prints.",
    "parametersJsonSchema": {
        "type": "object",
        "properties": {"code": {"type": "string", "description": "A Python program."}},
        "required": ["code"],
    },
}
FOUND = stream(
    chunk({"text": "It is "}),
    last(
        {"text": "4,810 m."},
        groundingMetadata={
            "webSearchQueries": ["height"],
            "groundingChunks": [
                {"web": {"uri": "https://a.example/1", "title": "a.example"}},
                {"web": {"uri": "https://b.example/2", "title": "b.example"}},
                {"web": {"uri": "https://a.example/1", "title": "again"}},
                {"retrievedContext": {"uri": "x"}},
            ],
        },
    ),
)
FOUND_TEXT = "It is 4,810 m.\n\nSources:\n1. a.example https://a.example/1\n2. b.example https://b.example/2"


def search(query: object = "How high is Mont Blanc?", **fields: Any) -> dict[str, Any]:
    return call("google_search", {"query": query}, **fields)


def response(name: str, output: str, **fields: Any) -> dict[str, Any]:
    return {"functionResponse": {**fields, "name": name, "response": {"output": output}}}


# Beside functions, from the third generation on.


async def test_from_the_third_generation_on_all_stand_in_one_request(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, **BOTH), TOOLS)
    assert server.requests[0].json == ASKED | EMPTY | BESIDE


async def test_the_other_name_of_the_switch_means_the_same(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, enable_code_interpreter=True))
    assert server.requests[0].json == ASKED | EMPTY | {"tools": [{"codeExecution": {}}]}


async def test_a_forced_call_stands_beside_them(pool: Pool) -> None:
    request = Request(messages=REQUEST.messages, tools=(VOTE,), tool_choice="vote")
    async with wire(HELLO) as server:
        await deltas_of(await open_model(server, pool, **BOTH), request)
    assert server.requests[0].json["toolConfig"] == {
        "includeServerSideToolInvocations": True,
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["vote"]},
    }


@pytest.mark.parametrize(
    "words",
    [
        "Tool use with function calling is unsupported",
        "Please enable tool_config.include_server_side_tool_invocations to use Built-in tools with Function",
        "Unknown name \"includeServerSideToolInvocations\" at 'tool_config': Cannot find field.",
    ],
)
async def test_who_refuses_them_together_is_given_functions_from_then_on(pool: Pool, words: str) -> None:
    async with wire(http_json(400, refusal(words)), HELLO, HELLO) as server:
        backend = await open_model(server, pool, **BOTH)
        first = await reply_of(backend, TOOLS)
        await reply_of(backend, TOOLS)
    declared = [VOTE_DECLARED, SEARCH_DECLARED, CODE_DECLARED]
    functions: dict[str, Any] = {"tools": [{"functionDeclarations": declared}]}
    assert server.requests[1].json == server.requests[2].json == ASKED | EMPTY | functions
    assert first.warnings == ()


# As functions of ours.


async def test_a_search_is_a_second_request_whose_findings_go_back(pool: Pool) -> None:
    thought = {"text": "", "thoughtSignature": "c2ln"}
    async with wire(said({"text": "I look."}, thought, search()), FOUND, said({"text": "So."})) as server:
        backend = await open_model(server, pool, **OLD)
        deltas = await deltas_of(backend, TOOLS)
    functions: dict[str, Any] = {"tools": [{"functionDeclarations": [VOTE_DECLARED, SEARCH_DECLARED]}]}
    prompt = (
        "Search the web and report what you find, with names, dates and figures:\n\nHow high is Mont Blanc?"
    )
    turns: list[dict[str, Any]] = [
        {"role": "model", "parts": [{"text": "I look."}, thought, search()]},
        {"role": "user", "parts": [response("google_search", FOUND_TEXT)]},
    ]
    assert [request.json for request in server.requests] == [
        ASKED | EMPTY | functions,
        {
            "contents": [{"role": "user", "parts": [{"text": prompt}]}],
            "tools": [{"googleSearch": {}}],
            "generationConfig": {},
        },
        ASKED | EMPTY | functions | {"contents": [*ASKED["contents"], *turns]},
    ]
    reply = deltas[-1]
    assert deltas[:-1] == [TextDelta(text="I look."), TextDelta(text="So.")]
    assert isinstance(reply, Reply)
    assert (reply.text, reply.calls, reply.finish) == ("So.", (), "stop")
    assert reply.usage == Usage(
        requests=3, input=3 * 41, output=3 * 87, cached=30, reasoning=3 * 64, searches=1
    )
    assert reply.native == {
        "type": "gemini",
        "contents": [*turns, {"role": "model", "parts": [{"text": "So."}]}],
    }


async def test_what_was_found_stays_in_the_conversation(pool: Pool) -> None:
    voted = call()
    async with wire(said(search()), FOUND, said(voted), HELLO) as server:
        backend = await open_model(server, pool, **OLD)
        reply = await reply_of(backend, TOOLS)
        answered = Message(role="tool", results=(ToolResult(call_id=reply.calls[0].id, content="ok"),))
        messages = (*TOOLS.messages, reply.message(), answered)
        await reply_of(backend, Request(messages=messages, tools=(VOTE,)))
    assert reply.calls == (ToolCall(id="call_3_0", name="vote", arguments='{"answer": "agent1.1"}'),)
    assert server.requests[3].json["contents"] == [
        *ASKED["contents"],
        {"role": "model", "parts": [search()]},
        {"role": "user", "parts": [response("google_search", FOUND_TEXT)]},
        {"role": "model", "parts": [voted]},
        {"role": "user", "parts": [response("vote", "ok")]},
    ]


@pytest.mark.parametrize("followed", [True, False])
async def test_a_search_beside_other_calls_is_answered_with_them(
    pool: Pool,
    followed: bool,  # noqa: FBT001 - a row of the table
) -> None:
    voted, looked = call(), search()
    voted["functionCall"]["id"], looked["functionCall"]["id"] = "v1", "s1"
    async with wire(said(looked, voted), FOUND, HELLO) as server:
        backend = await open_model(server, pool, **OLD)
        reply = await reply_of(backend, TOOLS)
        results = (ToolResult(call_id="v1", content="ok"),)
        after = Message(role="tool", results=results) if followed else Message(role="user", text="Go on.")
        await reply_of(backend, Request(messages=(*TOOLS.messages, reply.message(), after), tools=(VOTE,)))
    found = response("google_search", FOUND_TEXT, id="s1")
    ends: list[dict[str, Any]] = (
        [{"role": "user", "parts": [found, response("vote", "ok", id="v1")]}]
        if followed
        else [{"role": "user", "parts": [found]}, {"role": "user", "parts": [{"text": "Go on."}]}]
    )
    assert [each.id for each in reply.calls] == ["v1"]
    assert reply.usage.requests == 2
    assert server.requests[2].json["contents"] == [
        *ASKED["contents"],
        {"role": "model", "parts": [looked, voted]},
        *ends,
    ]


@pytest.mark.parametrize(
    ("parts", "output"),
    [
        ([{"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "4\n"}}, {"text": "Four."}], "4\n"),
        (
            [
                {"executableCode": {"language": "PYTHON", "code": "1/0"}},
                {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "ZeroDivisionError"}},
            ],
            "OUTCOME_FAILED\nZeroDivisionError",
        ),
        ([{"text": " Four. "}], "Four."),
        ([{"codeExecutionResult": {"outcome": "OUTCOME_OK"}}], "Nothing was found."),
    ],
)
async def test_code_is_run_by_a_second_request(pool: Pool, parts: list[Any], output: str) -> None:
    asked = said(call("code_execution", {"code": "print({2: 2}[2] + 2)"}))
    async with wire(asked, said(*parts), HELLO) as server:
        backend = await open_model(server, pool, model="gemini-2.5-pro", enable_code_execution=True)
        await reply_of(backend, TOOLS)
    second = server.requests[1].json
    assert second["tools"] == [{"codeExecution": {}}]
    assert "```python\nprint({2: 2}[2] + 2)\n```" in second["contents"][0]["parts"][0]["text"]
    answered = server.requests[2].json["contents"][-1]["parts"]
    assert answered == [response("code_execution", output)]


async def test_a_tool_of_the_same_name_keeps_it(pool: Pool) -> None:
    own = ToolSpec(name="google_search", description="Ours.", parameters={"type": "object"})
    request = Request(messages=REQUEST.messages, tools=(own,))
    async with wire(said(search(), call("google_search_", {"query": "x"})), FOUND) as server:
        reply = await reply_of(await open_model(server, pool, **OLD), request)
    names = [each["name"] for each in server.requests[0].json["tools"][0]["functionDeclarations"]]
    assert names == ["google_search", "google_search_"]
    assert [each.name for each in reply.calls] == ["google_search"]


async def test_settings_of_the_account_and_of_safety_hold_for_every_request(pool: Pool) -> None:
    block: dict[str, Any] = {
        "safety_settings": {"HARM_CATEGORY_HARASSMENT": "OFF"},
        "extra_body": {"store": False, "service_tier": "flex", "cachedContent": "cachedContents/x"},
    }
    async with wire(said(search()), FOUND, HELLO) as server:
        await reply_of(await open_model(server, pool, **OLD, **block), TOOLS)
    second = server.requests[1].json
    assert (second["store"], second["service_tier"], "cachedContent" in second) == (False, "flex", False)
    assert second["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]


async def test_a_call_that_can_t_be_read_is_told_to_the_model(pool: Pool) -> None:
    wrong = said(search(7), call("google_search", "{nope"), search("  "))
    async with wire(wrong, HELLO) as server:
        reply = await reply_of(await open_model(server, pool, **OLD), TOOLS)
    answered = server.requests[1].json["contents"][-1]["parts"]
    errors = [part["functionResponse"]["response"]["error"] for part in answered]
    assert errors[0] == errors[2] == "'query' must be a text"
    assert "Expecting property name" in errors[1]
    assert reply.usage.requests == 2


async def test_five_searches_are_enough(pool: Pool) -> None:
    script = [exchange for _ in range(5) for exchange in (said(search()), FOUND)]
    async with wire(*script, said({"text": "So."})) as server:
        reply = await reply_of(await open_model(server, pool, **OLD), TOOLS)
    declared = [
        [each["name"] for each in request.json["tools"][0].get("functionDeclarations", [])]
        for request in server.requests[::2]
    ]
    assert declared == [["vote", "google_search"]] * 5 + [["vote"]]
    assert (reply.text, reply.usage.requests) == ("So.", 11)


async def test_more_at_once_are_told_so(pool: Pool) -> None:
    async with wire(said(*[search()] * 6), *[FOUND] * 5, HELLO) as server:
        reply = await reply_of(await open_model(server, pool, **OLD), TOOLS)
    answered = server.requests[6].json["contents"][-1]["parts"]
    outcomes = [next(iter(part["functionResponse"]["response"])) for part in answered]
    assert outcomes == ["output"] * 5 + ["error"]
    assert reply.usage.requests == 7


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http_json(400, refusal("google_search is not supported")), "did not take the request"),
        (stream(last({"text": "x"}, finish="SAFETY")), "declined to answer"),
        (stream(chunk({"text": "x"})), "without a finishReason"),
        (stream(last({"text": "x"}, finish="MAX_TOKENS")), "cut at its output limit"),
    ],
)
async def test_a_search_that_fails_is_told_to_the_model(pool: Pool, answer: bytes, words: str) -> None:
    async with wire(said(search()), answer, HELLO) as server:
        reply = await reply_of(await open_model(server, pool, **OLD), TOOLS)
    (answered,) = server.requests[2].json["contents"][-1]["parts"]
    assert words in answered["functionResponse"]["response"]["error"]
    assert (reply.text, reply.usage.requests) == ("Hello.", 3)


async def test_a_search_that_may_succeed_later_is_left_to_the_retry_layer(pool: Pool) -> None:
    async with wire(said(search()), [Cut()], said(search()), FOUND, HELLO) as server:
        reply = await reply_of(await open_model(server, pool, **OLD), TOOLS)
    assert (reply.text, reply.attempts, reply.usage.requests) == ("Hello.", 2, 5)


async def test_requests_of_an_attempt_that_fails_are_counted(pool: Pool) -> None:
    async with wire(
        said(search()), FOUND, http_json(403, refusal("No.", 403, "PERMISSION_DENIED"))
    ) as server:
        with pytest.raises(BackendError) as caught:
            await reply_of(await open_model(server, pool, **OLD), TOOLS)
    assert (caught.value.kind, caught.value.requests) == ("auth", 3)


async def test_cancelling_a_search_closes_its_connection(pool: Pool) -> None:
    async with wire(said(search()), [sse_head(), part(b": \n\n"), Stall()]) as server:
        backend = await open_model(server, pool, **OLD)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deltas_of, backend, TOOLS)
            await server.request(2)
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await server.requests[1].left.wait()


async def test_leaving_between_two_turns_asks_nothing_more(pool: Pool) -> None:
    async with wire(said({"text": "I look."}, search()), FOUND) as server:
        backend = await open_model(server, pool, **OLD)
        heard: list[Delta] = []
        async with backend.stream(TOOLS) as deltas:
            heard.append(await anext(deltas))
    assert (heard, len(server.requests)) == ([TextDelta(text="I look.")], 1)


async def test_an_older_model_bound_to_a_schema_goes_without_and_says_so(pool: Pool) -> None:
    request = Request(messages=REQUEST.messages, schema={"type": "object", "required": ["a"]})
    async with wire(HELLO, HELLO) as server:
        old = await reply_of(await open_model(server, pool, **OLD), request)
        new = await reply_of(await open_model(server, pool, enable_web_search=True), request)
    assert "tools" not in server.requests[0].json
    assert server.requests[1].json["tools"] == [{"googleSearch": {}}]
    assert old.warnings == (
        "gemini-2.5-flash can't search or run code while the form of its reply is given.",
    )
    assert new.warnings == ()


async def test_grounding_without_functions_needs_no_second_request(pool: Pool) -> None:
    async with wire(FOUND) as server:
        reply = await reply_of(await open_model(server, pool, **OLD))
    assert server.requests[0].json["tools"] == [{"googleSearch": {}}]
    assert (reply.text, reply.usage.requests) == ("It is 4,810 m.", 1)
    assert USAGE["promptTokenCount"] + USAGE["toolUsePromptTokenCount"] == reply.usage.input
