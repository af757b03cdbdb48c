"""An AG2 agent's turns: what goes over the wire, what they end in. AG2 and the openai package are real."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from massgen_mcp.backends.ag2 import Options, connect
from massgen_mcp.backends.ag2_model import Entry, Model, Models
from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.backends.sdk import load
from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Image, Reply, Request, Spent, TextDelta, ToolCall
from massgen_mcp.secrets import Secrets
from tests.backends.chats import HELLO, KEY, USAGE, chunk, finish, open_chat
from tests.backends.runtimes import Tools, asking, turn_deltas, turn_reply
from tests.backends.wire import Wire, make_context, sse, wire

pytestmark = pytest.mark.anyio


def calls(*made: tuple[str, str, str]) -> bytes:
    """A reply of tool calls: id, name, arguments."""
    parts = [
        {"index": place, "id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for place, (id_, name, arguments) in enumerate(made)
    ]
    return sse(chunk(tool_calls=parts), finish("tool_calls"), USAGE)


VOTES = calls(("v1", "vote", '{"answer": "agent1.1", "reason": "best"}'))
LOOKS = calls(("c1", "look", '{"at": "the sky"}'))


@asynccontextmanager
async def agent(
    pool: Pool,
    *servers: Wire,
    secrets: Secrets | None = None,
    environ: dict[str, str] | None = None,
    clock: Clock | None = None,
    entry: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncGenerator[AgentRuntime]:
    """An agent whose models are at these servers."""
    entries = tuple(
        {"model": f"m{number}", "base_url": server.url, "api_key": KEY, **(entry or {})}
        for number, server in enumerate(servers, 1)
    )
    given = {"llm_config": {"config_list": entries}} if entries else {}
    context = make_context("ag2", pool, secrets=secrets, clock=clock or SystemClock(), environ=environ)
    runtime = await connect(Options.model_validate({"type": "ag2", **given, **options}), context)
    try:
        yield runtime
    finally:
        await runtime.aclose()


async def test_a_turn_streams_its_text_and_ends_in_one_reply(pool: Pool) -> None:
    answer = sse(chunk(content="Hel"), chunk(content="lo."), finish(), USAGE)
    async with wire(answer) as server, agent(pool, server) as runtime:
        deltas = await turn_deltas(runtime, asking("Say hello."))
    reply = deltas[-1]
    assert isinstance(reply, Reply)
    assert deltas[:-1] == [TextDelta(text="Hel"), TextDelta(text="lo."), Spent(usage=reply.usage)]
    assert (reply.text, reply.calls, reply.finish, reply.model) == ("Hello.", (), "stop", "m-2026-01-01")
    assert (reply.usage.requests, reply.usage.input, reply.usage.output) == (1, 12, 5)
    sent = server.requests[0]
    assert sent.target == "/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json["model"] == "m1"
    assert sent.json["messages"] == [
        {"role": "system", "content": "You are agent1."},
        {"role": "user", "content": "Say hello."},
    ]
    assert [tool["function"]["name"] for tool in sent.json["tools"]] == ["look", "vote"]
    assert sent.json["tools"][0]["function"]["parameters"]["required"] == ["at"]


async def test_a_tool_call_is_run_by_the_team_and_its_result_goes_back(pool: Pool) -> None:
    tools = Tools()
    async with wire(LOOKS, HELLO) as server, agent(pool, server) as runtime:
        reply = await turn_reply(runtime, asking("What colour?"), tools)
    assert tools.calls == [ToolCall(id="c1", name="look", arguments='{"at": "the sky"}')]
    assert (reply.text, reply.calls, reply.usage.requests, reply.usage.input) == ("Hello.", (), 2, 24)
    assert server.requests[1].json["messages"][2:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at": "the sky"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "It is green."},
    ]


async def test_the_picture_of_a_tool_s_result_is_kept_for_the_model(pool: Pool) -> None:
    tools = Tools(images=(Image(mime="image/png", data=b"png"),))
    async with wire(LOOKS, HELLO) as server, agent(pool, server) as runtime:
        await turn_reply(runtime, asking("What colour?"), tools)
    told = server.requests[1].json["messages"][-1]["content"]
    assert told.startswith("It is green.")
    assert "a picture, which you can't be shown" in told, "this server's models are not known to see"


async def test_what_was_used_is_told_after_each_request(pool: Pool) -> None:
    async with wire(LOOKS, HELLO) as server, agent(pool, server) as runtime:
        deltas = await turn_deltas(runtime, asking("What colour?"))
    spent = [delta.usage for delta in deltas if isinstance(delta, Spent)]
    assert [(usage.requests, usage.input) for usage in spent] == [(1, 12), (2, 24)]


async def test_calls_made_together_run_together(pool: Pool) -> None:
    both = anyio.Event()

    async def wait(call: ToolCall) -> None:
        del call
        if len(tools.calls) == 2:
            both.set()
        await both.wait()

    tools = Tools(wait)
    made = calls(("c1", "look", '{"at": "a"}'), ("c2", "look", '{"at": "b"}'))
    async with wire(made, HELLO) as server, agent(pool, server) as runtime:
        with anyio.fail_after(5):
            await turn_reply(runtime, asking("What colour?"), tools)
    results = server.requests[1].json["messages"][3:]
    assert [result["tool_call_id"] for result in results] == ["c1", "c2"]


async def test_a_call_that_ends_the_turn_ends_it_at_once(pool: Pool) -> None:
    tools = Tools()
    async with wire(LOOKS, VOTES, HELLO) as server, agent(pool, server) as runtime:
        reply = await turn_reply(runtime, asking("Vote."), tools)
        assert len(server.requests) == 2
    assert reply.calls == (tools.ended_by,)
    assert (reply.finish, reply.usage.requests) == ("tool_calls", 2)


async def test_a_call_beside_the_one_that_ends_the_turn_is_stopped(pool: Pool) -> None:
    stopped = anyio.Event()

    async def wait(call: ToolCall) -> None:
        if call.name == "look":
            try:
                await anyio.sleep_forever()
            finally:
                stopped.set()

    tools = Tools(wait)
    made = calls(("c1", "look", '{"at": "a"}'), ("v1", "vote", "{}"))
    async with wire(made, HELLO) as server, agent(pool, server) as runtime:
        with anyio.fail_after(5):
            reply = await turn_reply(runtime, asking("Vote."), tools)
        assert stopped.is_set()
        assert reply.calls[0].id == "v1"
        await turn_reply(runtime, asking("Vote.", "Once more."))
    results = server.requests[1].json["messages"][3:5]
    assert [(each["tool_call_id"], each["content"]) for each in results] == [
        ("c1", "The turn ended here."),
        ("v1", "The turn ended here."),
    ]


async def test_unknown_names_and_broken_arguments_are_for_the_team_to_answer(pool: Pool) -> None:
    tools = Tools()
    async with wire(calls(("c1", "fly", "{broken")), HELLO) as server, agent(pool, server) as runtime:
        await turn_reply(runtime, asking("Fly."), tools)
    assert tools.calls == [ToolCall(id="c1", name="fly", arguments="{broken")]
    assert server.requests[1].json["messages"][-1]["content"] == "There is no such tool."


async def test_a_later_turn_goes_on_from_the_conversation(pool: Pool) -> None:
    async with wire(HELLO, HELLO) as server, agent(pool, server) as runtime:
        await turn_reply(runtime, asking("One."))
        await turn_reply(runtime, asking("One.", "Two.", "Three."))
    assert server.requests[1].json["messages"] == [
        {"role": "system", "content": "You are agent1."},
        {"role": "user", "content": "One."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Two.\n\nThree."},
    ]


async def test_the_last_entry_is_sent_although_it_was_sent_before(pool: Pool) -> None:
    async with wire(HELLO, HELLO) as server, agent(pool, server) as runtime:
        await turn_reply(runtime, asking("Again."))
        await turn_reply(runtime, asking("Again."))
    texts = [message["content"] for message in server.requests[1].json["messages"]]
    assert texts == ["You are agent1.", "Again.", "Hello.", "Again."]


async def test_an_agent_s_own_prompt_stands_first(pool: Pool) -> None:
    async with wire(HELLO) as server, agent(pool, server, system_message="Be a poet.") as runtime:
        await turn_reply(runtime, asking("Hi."))
    assert server.requests[0].json["messages"][0]["content"] == "Be a poet.\n\nYou are agent1."


@pytest.mark.parametrize(
    ("entry", "block"),
    [
        ({"temperature": 0.0, "top_p": 0.5, "max_tokens": 7}, {}),
        ({}, {"temperature": 0.0, "top_p": 0.5, "max_tokens": 7}),
        ({"temperature": 0.0, "top_p": 0.5}, {"max_tokens": 7, "top_p": 0.9}),
    ],
)
async def test_sampling_goes_over_the_wire(pool: Pool, entry: dict[str, Any], block: dict[str, Any]) -> None:
    async with wire(HELLO) as server, agent(pool, server, entry=entry, **block) as runtime:
        await turn_reply(runtime, asking("Hi."))
    sent = server.requests[0].json
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.0, 0.5, 7)


async def test_unset_parameters_are_not_sent(pool: Pool) -> None:
    async with wire(HELLO) as server, agent(pool, server) as runtime:
        await turn_reply(runtime, asking("Hi."))
    assert set(server.requests[0].json) == {"messages", "model", "stream", "stream_options", "tools"}


async def test_the_request_s_own_wishes_are_passed_on(pool: Pool) -> None:
    extra: dict[str, Any] = {"extra_body": {"top_k": 3}, "extra_headers": {"x-mine": "1"}}
    async with wire(VOTES) as server, agent(pool, server, **extra) as runtime:
        await turn_reply(runtime, asking("Vote.", tool_choice="vote", max_tokens=9))
    sent = server.requests[0]
    assert sent.json["tool_choice"] == {"type": "function", "function": {"name": "vote"}}
    assert (sent.json["max_tokens"], sent.json["top_k"], sent.headers["x-mine"]) == (9, 3, "1")


async def test_an_azure_deployment_is_asked_in_its_own_form(pool: Pool) -> None:
    async with wire(HELLO) as server:
        entry = {
            "api_type": "azure",
            "base_url": server.url.removesuffix("/v1"),
            "api_version": "2024-10-21",
            "model": "my-deployment",
        }
        async with agent(pool, server, entry=entry) as runtime:
            await turn_reply(runtime, asking("Hi."))
    sent = server.requests[0]
    assert sent.target == "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21"
    assert sent.headers["api-key"] == KEY


@pytest.mark.parametrize(
    ("api_type", "variable", "host"),
    [
        ("openai", "OPENAI_API_KEY", "api.openai.com"),
        ("anthropic", "ANTHROPIC_API_KEY", "api.anthropic.com"),
        ("google", "GEMINI_API_KEY", "generativelanguage.googleapis.com"),
    ],
)
async def test_each_vendor_is_asked_at_its_own_host(api_type: str, variable: str, host: str) -> None:
    async with wire(b"HTTP/1.1 502 no\r\ncontent-length: 0\r\n\r\n") as proxy:
        pool = Pool(proxies={"https": f"http://127.0.0.1:{proxy.port}"})
        block: dict[str, Any] = {"llm_config": {"model": "m", "api_type": api_type}}
        async with agent(pool, environ={variable: KEY}, **block) as runtime:
            with pytest.raises(BackendError, match="proxy"):
                await turn_deltas(runtime, asking("Hi."))
        await pool.aclose()
    assert (proxy.requests[0].method, proxy.requests[0].target) == ("CONNECT", f"{host}:443")


@pytest.mark.parametrize(
    ("api_type", "variable"), [("openai", "ANTHROPIC_API_KEY"), ("google", "OPENAI_API_KEY")]
)
async def test_no_vendor_gets_another_s_key(pool: Pool, api_type: str, variable: str) -> None:
    with pytest.raises(BackendError, match="needs a key") as caught:
        async with agent(pool, environ={variable: KEY}, llm_config={"model": "m", "api_type": api_type}):
            pass
    assert caught.value.kind == "auth"


async def test_the_next_entry_goes_on_where_the_first_fails(pool: Pool) -> None:
    async with wire() as first, wire(HELLO, HELLO) as second, agent(pool, first, second) as runtime:
        reply = await turn_reply(runtime, asking("Hi."))
        await turn_reply(runtime, asking("Hi.", "And now?"))
        assert (len(first.requests), len(second.requests)) == (1, 2)
    assert second.requests[0].json["model"] == "m2"
    assert reply.usage.requests == 2
    assert "'m1' failed, 'm-2026-01-01' went on" in reply.warnings[0]
    assert runtime.model == "m1"


async def test_what_ag2_can_t_do_any_more_is_said_once(pool: Pool) -> None:
    async with wire(HELLO, HELLO) as server, agent(pool, server, entry={"cache_seed": 1}) as runtime:
        first = await turn_reply(runtime, asking("Hi."))
        second = await turn_reply(runtime, asking("Hi.", "Again."))
    assert first.warnings == ("AG2 1.x keeps no cache of replies: cache_seed is not used.",)
    assert second.warnings == ()


async def test_a_team_s_error_in_a_tool_is_the_turn_s(pool: Pool) -> None:
    async def break_(call: ToolCall) -> None:
        raise OSError(call.name)

    async with wire(LOOKS, HELLO) as server, agent(pool, server) as runtime:
        with pytest.raises(OSError, match="look"):
            await turn_deltas(runtime, asking("Hi."), Tools(break_))
        assert len(server.requests) == 1


class Endless(Models):
    """Models that always want to go on."""

    async def ask(self, request: Request, **_: Any) -> Reply:
        return Reply(calls=(ToolCall(id="c", name="look", arguments="{}"),), text=request.tool_choice or "")


async def test_an_agent_that_never_comes_to_an_end_is_stopped() -> None:
    events = await load("ag2.events")
    models = Endless([], events=events, clock=SystemClock(), random=Random(1), prices=None)
    replies: list[Reply] = []
    model = Model(
        models,
        events=events,
        listen=lambda _: None,
        replied=replies.append,
        may_retry=lambda: False,
        tool_choice=None,
        max_tokens=None,
    )
    ask = partial(model, [], SimpleNamespace(prompt=[]), tools=(), response_schema=None, serializer=None)
    for _ in range(100):
        await ask()
    with pytest.raises(BackendError, match="100 model requests in one turn"):
        await ask()
    assert len(replies) == 100


async def test_the_cost_is_that_of_who_serves_the_model(pool: Pool) -> None:
    async with wire(HELLO) as server:
        entry = Entry(
            backend=await open_chat(server, pool, model="gpt-4o"), vendor=BACKENDS["openai"], timeout=None
        )
        models = Models(
            [entry], events=await load("ag2.events"), clock=SystemClock(), random=Random(1), prices=Prices()
        )
        reply = await models.ask(asking("Hi."), listen=lambda _: None, may_retry=lambda: False)
    assert reply.usage.cost_usd == pytest.approx(12 * 2.5e-6 + 5 * 10e-6)
    assert reply.usage.cost_source == "table"
