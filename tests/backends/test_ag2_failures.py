"""What goes wrong in an AG2 agent's turn ends in the same errors as everywhere, and never shows a key."""

from __future__ import annotations

import json
import traceback
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.ag2 import Options
from massgen_mcp.backends.pool import Pool
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import Restarted, Spent, TextDelta, ToolCall
from massgen_mcp.secrets import Secrets
from tests.backends.chats import HELLO, KEY, USAGE, chunk, finish
from tests.backends.runtimes import Tools, asking, turn_deltas, turn_reply
from tests.backends.test_ag2 import LOOKS, agent
from tests.backends.wire import Action, Cut, Reset, Stall, http_json, part, sse, sse_head, wire

pytestmark = pytest.mark.anyio

HALF = sse_head() + part(b"data: " + json.dumps(chunk(content="Hel")).encode() + b"\n\n")


def said(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("actions", "kind", "retryable"),
    [
        ([http_json(401, said("Bad key."))], "auth", False),
        ([http_json(429, said("Slow down."))], "rate_limit", True),
        ([http_json(500, said("Oops."))], "overloaded", True),
        ([http_json(529, said("Busy."))], "overloaded", True),
        ([http_json(400, said("Too long.", code="context_length_exceeded"))], "context", False),
        ([HALF, Cut()], "network", True),
        ([HALF, Reset()], "network", True),
        ([sse(chunk(content="Hel"))], "protocol", True),
        ([sse(chunk(content="Half"), finish("length"), USAGE)], "length", False),
    ],
)
async def test_each_failure_of_the_provider_has_its_kind(
    pool: Pool,
    actions: list[Action],
    kind: FailureKind,
    retryable: bool,  # noqa: FBT001 - a row of the table
) -> None:
    async with wire(actions) as server, agent(pool, server) as runtime:
        with pytest.raises(BackendError) as caught:
            await turn_deltas(runtime, asking("Hi."))
        assert len(server.requests) == 1
    assert (caught.value.kind, caught.value.retryable, caught.value.requests) == (kind, retryable, 1)


async def test_a_turn_that_used_no_tool_is_replayed_whole(pool: Pool) -> None:
    heard: list[object] = []
    async with wire([HALF, Cut()], HELLO) as server, agent(pool, server) as runtime:
        reply = await turn_reply(runtime, asking("Hi."), listen=heard.append)
    assert (reply.text, reply.attempts, reply.usage.requests) == ("Hello.", 2, 2)
    shown = [delta for delta in heard if not isinstance(delta, Spent)]
    assert shown == [TextDelta(text="Hel"), Restarted(attempt=2, why="network"), TextDelta(text="Hello.")]
    assert server.requests[0].json == server.requests[1].json


async def test_after_a_tool_was_used_the_request_alone_is_sent_again(pool: Pool) -> None:
    tools = Tools()
    busy = http_json(503, said("Busy."), retry_after="0.01")
    async with wire(LOOKS, busy, HELLO) as server, agent(pool, server) as runtime:
        reply = await turn_reply(runtime, asking("Hi."), tools)
    assert (reply.text, len(tools.calls), reply.attempts, reply.usage.requests) == ("Hello.", 1, 1, 3)
    assert server.requests[1].json == server.requests[2].json


async def test_a_failure_after_a_tool_was_used_is_final(pool: Pool) -> None:
    async with wire(LOOKS, http_json(401, said("No more."))) as server, agent(pool, server) as runtime:
        with pytest.raises(BackendError) as caught:
            await turn_reply(runtime, asking("Hi."))
    assert (caught.value.kind, caught.value.retryable, caught.value.requests) == ("auth", False, 2)


async def test_a_failed_turn_leaves_no_trace_in_the_conversation(pool: Pool) -> None:
    script = (LOOKS, http_json(401, said("No more.")), HELLO)
    async with wire(*script) as server, agent(pool, server) as runtime:
        with pytest.raises(BackendError):
            await turn_deltas(runtime, asking("One."))
        await turn_reply(runtime, asking("One.", "Two."))
    texts = [message["content"] for message in server.requests[2].json["messages"]]
    assert texts == ["You are agent1.", "One.\n\nTwo."]


async def test_leaving_a_turn_closes_its_connection(pool: Pool) -> None:
    async with wire([HALF, Stall()], HELLO) as server, agent(pool, server) as runtime:
        async with runtime.run_turn(asking("Hi."), Tools()) as deltas:
            async for delta in deltas:
                assert delta == TextDelta(text="Hel")
                break
        with anyio.fail_after(5):
            await server.requests[0].left.wait()
        assert (await turn_reply(runtime, asking("Hi."))).text == "Hello."
    texts = [message["content"] for message in server.requests[1].json["messages"]]
    assert texts == ["You are agent1.", "Hi."]


async def test_cancelling_a_turn_closes_its_connection(pool: Pool) -> None:
    async with wire([HALF, Stall()]) as server, agent(pool, server) as runtime:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn_deltas, runtime, asking("Hi."))
            await server.request()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await server.requests[0].left.wait()


async def test_a_turn_stopped_in_a_tool_is_gone_on_from(pool: Pool) -> None:
    begun = anyio.Event()

    async def wait(call: ToolCall) -> None:
        del call
        begun.set()
        await anyio.sleep_forever()

    async with wire(LOOKS, HELLO) as server, agent(pool, server) as runtime:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(turn_deltas, runtime, asking("One."), Tools(wait))
            await begun.wait()
            tasks.cancel_scope.cancel()
        await turn_reply(runtime, asking("Two."))
    roles = [(message["role"], message["content"]) for message in server.requests[1].json["messages"]]
    assert roles[1:] == [
        ("user", "One."),
        ("assistant", ""),
        ("tool", "The turn ended here."),
        ("user", "Two."),
    ]


@pytest.mark.parametrize("echo", [KEY, f"Bearer {KEY}"])
async def test_a_key_appears_nowhere(pool: Pool, echo: str) -> None:
    secrets = Secrets()
    refusal = http_json(401, said(f"No such key: {echo}."))
    async with wire(refusal) as server, agent(pool, server, secrets=secrets) as runtime:
        with pytest.raises(BackendError) as caught:
            await turn_deltas(runtime, asking("Hi."))
    error = caught.value
    shown = [*traceback.format_exception(error), str(error), repr(vars(error)), repr(vars(runtime))]
    assert not any(KEY[:8] in text for text in shown)


async def test_a_turn_without_a_word_is_tried_again_only_where_it_used_nothing(pool: Pool) -> None:
    nothing = sse(finish(), USAGE)
    async with wire(nothing, HELLO, LOOKS, nothing, nothing) as server, agent(pool, server) as runtime:
        assert (await turn_reply(runtime, asking("Hi."))).attempts == 2
        with pytest.raises(BackendError, match="empty reply") as caught:
            await turn_reply(runtime, asking("Hi.", "And now?"))
    assert (caught.value.kind, caught.value.retryable) == ("protocol", False)


async def test_a_defect_within_ag2_is_told_as_one(pool: Pool) -> None:
    async with wire(HELLO) as server, agent(pool, server) as runtime:
        broken: Any = asking("Hi.")
        object.__setattr__(broken, "tools", (*broken.tools, *broken.tools, None))
        with pytest.raises(BackendError, match="AG2 failed within its turn: AttributeError") as caught:
            await turn_deltas(runtime, broken)
    assert caught.value.kind == "protocol"


def test_group_chats_are_refused_with_what_to_do_instead() -> None:
    block = {"type": "ag2", "llm_config": {"model": "m"}, "group_config": {"agents": ()}}
    with pytest.raises(ValueError, match="make each of its agents an agent of the team"):
        Options.model_validate(block)
