"""Every wire that llmock speaks, broken in every way it knows: the verdict on how we coped has to be clean.

llmock is somebody else's mock of the providers, on loopback, that watches each attempt and its timing:
whether `Retry-After` was kept, whether what can't succeed was tried again, whether half a stream
passed for a reply.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

import anyio
import pytest
from llmock.scenarios import (
    Behavior,
    Fail,
    Match,
    Reply as Say,
    SlowFirstToken,
    StreamFault,
    ToolCall,
    ToolFault,
)
from llmock.testing import LLMockServer
from llmock.verdict import Verdict, judge

from massgen_mcp.backends.base import AgentRuntime
from massgen_mcp.backends.limits import RequestLimits
from massgen_mcp.backends.open import open_backend
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS, options_class
from massgen_mcp.backends.retry import MAX_ATTEMPTS, ask
from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.errors import BackendError, FailureKind
from massgen_mcp.messages import Delta, Message, Reply, Request, Restarted, ToolSpec, parse_arguments
from tests.backends.wire import make_context

# The lines behind it are counted by the contract's tests.
pytestmark = [pytest.mark.anyio, pytest.mark.no_cover]

SAID = "Canberra is the capital, and has been since the year 1927."
PATIENT = RequestLimits(first_byte=20.0, idle=20.0)
IMPATIENT = RequestLimits(first_byte=1.0, idle=1.0)
LONG = 30.0
"""Seconds of silence, far beyond the limits."""
ASKED = Request(messages=(Message(role="user", text="Which city is the capital of Australia?"),))
VOTE = ToolSpec(
    name="vote",
    description="Vote for an answer.",
    parameters={
        "type": "object",
        "properties": {"answer": {"type": "string"}, "reason": {"type": "string"}},
        "required": ["answer", "reason"],
    },
)
VOTING = Request(messages=ASKED.messages, tools=(VOTE,))
MARK = {"answer": "agent1.1", "reason": "It names the right city."}


@dataclass(frozen=True)
class Dialect:
    """A backend type and the provider that llmock plays for it."""

    type: str
    provider: str

    def __str__(self) -> str:
        return f"{self.type}-{self.provider}"


DIALECTS = (
    Dialect("openai", "openai"),
    Dialect("grok", "openai"),
    Dialect("chatcompletion", "openai"),
    Dialect("chatcompletion", "xai"),
    Dialect("claude", "anthropic"),
    Dialect("gemini", "gemini"),
    Dialect("groq", "groq"),
    Dialect("together", "together"),
)
"""`grok` speaks the Responses API, which llmock has for OpenAI; as xAI it knows chat completions alone."""


class Hasty(Random):
    """Jitter near its least, so that waits grow as they should and the tests stay short."""

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * 0.05


class Settled(SystemClock):
    """A clock that comes back once llmock has written down what it did.

    On a busy machine a retry may come before the attempt that it repeats is closed there; then it is taken
    for another question.
    """

    def __init__(self, server: LLMockServer) -> None:
        self._server = server

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        while self._server.state.journal.in_flight:  # noqa: ASYNC110 - another thread's; it tells no event
            await anyio.sleep(0.005)


@pytest.fixture(scope="module")
def server() -> Generator[LLMockServer]:
    with LLMockServer() as server:
        yield server


@dataclass
class Asked:
    """What became of the question in one dialect."""

    name: str
    verdict: Verdict
    came: Reply | BackendError
    heard: list[Delta]

    @property
    def reply(self) -> Reply:
        assert isinstance(self.came, Reply), (self.name, self.came)
        return self.came

    @property
    def error(self) -> BackendError:
        assert isinstance(self.came, BackendError), (self.name, self.came)
        return self.came

    @property
    def restarts(self) -> int:
        return sum(isinstance(delta, Restarted) for delta in self.heard)

    @property
    def attempts(self) -> int:
        return self.verdict.attempts


async def asked(
    server: LLMockServer,
    pool: Pool,
    faults: Sequence[Behavior],
    *,
    request: Request = ASKED,
    says: Say | None = None,
    dialects: Sequence[Dialect] = DIALECTS,
) -> list[Asked]:
    """One question in each dialect through our adapter and the retry layer, over these faults.

    All at once, told apart by the model's name, since most of it is waiting.
    """
    server.state.reset()
    garbled = any(isinstance(fault, StreamFault) and fault.kind == "malformed" for fault in faults)
    # A reply that was sent whole before we left it counts as whole: what is garbled comes slowly.
    server.state.stream_chaos = replace(server.state.stream_chaos, chunk_delay_ms=40 if garbled else 0)
    for dialect in dialects:
        own = Match(model=str(dialect))
        server.state.scenarios.add(*(replace(fault, match=own) for fault in faults))
        server.state.scenarios.add(replace(says or Say(text=SAID, times=None), match=own))
    came: dict[Dialect, Reply | BackendError] = {}
    heard: dict[Dialect, list[Delta]] = {dialect: [] for dialect in dialects}
    clock = Settled(server)

    async def question(dialect: Dialect) -> None:
        try:
            came[dialect] = await reply_of(
                server, pool, dialect, request=request, heard=heard[dialect], model=str(dialect), clock=clock
            )
        except BackendError as failure:
            came[dialect] = failure

    async with anyio.create_task_group() as tasks:
        for dialect in dialects:
            tasks.start_soon(question, dialect)
    return [
        Asked(str(dialect), verdict_of(server, str(dialect)), came[dialect], heard[dialect])
        for dialect in dialects
    ]


async def reply_of(
    server: LLMockServer,
    pool: Pool,
    dialect: Dialect,
    *,
    request: Request = ASKED,
    heard: list[Delta],
    limits: RequestLimits = PATIENT,
    model: str,
    clock: Clock | None = None,
) -> Reply:
    block = {
        "type": dialect.type,
        "model": model,
        "base_url": server.base_url(dialect.provider),
        "api_key": "sk-test-0123456789abcdefghij",
    }
    options = options_class(BACKENDS[dialect.type]).model_validate(block)
    backend = await open_backend(options, make_context(dialect.type, pool, clock=SystemClock()))
    assert not isinstance(backend, AgentRuntime)
    return await ask(
        backend,
        request,
        clock=clock or SystemClock(),
        random=Hasty(),
        listen=heard.append,
        limits=limits,
    )


def verdict_of(server: LLMockServer, model: str = "") -> Verdict:
    """On all that was asked, or on what was asked of one model."""
    records = server.state.journal.records(wait=5.0)
    return judge(record for record in records if not model or record.model == model)


RECOVERABLE: dict[str, tuple[Behavior, ...]] = {
    "429-retry-after": (Fail(429, retry_after=0.25, times=2),),
    "503-retry-after": (Fail(503, retry_after=0.1),),
    "529-overloaded": (Fail(529, retry_after=0.1),),
    "500-twice": (Fail(500, retry_after=0.05, times=2),),
    "dropped": (StreamFault("disconnect", after_chunks=3),),
    "cut-early": (StreamFault("truncate", after_chunks=1),),
    "cut-in-the-text": (StreamFault("truncate", after_chunks=4),),
    "garbled": (StreamFault("malformed", after_chunks=2),),
    "all-in-a-row": (Fail(502, retry_after=0.05), Fail(503, retry_after=0.05), StreamFault("malformed")),
}


@pytest.mark.parametrize("fault", RECOVERABLE)
async def test_a_fault_that_passes_is_waited_out_and_the_whole_reply_comes(
    server: LLMockServer, pool: Pool, fault: str
) -> None:
    faults = RECOVERABLE[fault]
    injected = sum(getattr(item, "times", 1) or 0 for item in faults)
    for told in await asked(server, pool, faults):
        told.verdict.assert_ok(strict=True)
        assert told.reply.text == SAID, told.name
        assert told.reply.attempts == told.reply.usage.requests == told.attempts == injected + 1, told.name
        assert told.restarts == injected, "whoever listens is told that what streamed before is void"


async def test_a_provider_that_goes_silent_is_left_and_asked_again(server: LLMockServer, pool: Pool) -> None:
    """All dialects at once, told apart by the model's name: each costs a whole limit."""
    server.state.reset()
    replies: dict[str, Reply] = {}
    heard: dict[str, list[Delta]] = {}

    async def question(dialect: Dialect, model: str) -> None:
        heard[model] = []
        replies[model] = await reply_of(
            server, pool, dialect, heard=heard[model], limits=IMPATIENT, model=model
        )

    async with anyio.create_task_group() as tasks:
        for dialect in DIALECTS:
            midway, at_first = f"{dialect}-midway", f"{dialect}-at-first"
            server.state.scenarios.add(
                StreamFault("stall", after_chunks=3, stall_seconds=LONG, match=Match(model=midway)),
                SlowFirstToken(LONG, match=Match(model=at_first)),
            )
            tasks.start_soon(question, dialect, midway)
            tasks.start_soon(question, dialect, at_first)
    verdict = verdict_of(server)
    verdict.assert_ok(strict=True)
    assert len(replies) == 2 * len(DIALECTS)
    assert {reply.attempts for reply in replies.values()} == {2}
    assert all(sum(isinstance(delta, Restarted) for delta in deltas) == 1 for deltas in heard.values())
    assert verdict.attempts == 2 * len(replies)


FINAL: dict[str, tuple[Fail, FailureKind]] = {
    "400": (Fail(400), "bad_request"),
    "401": (Fail(401), "auth"),
    "403": (Fail(403), "auth"),
    "422": (Fail(422), "bad_request"),
}


@pytest.mark.parametrize("status", FINAL)
async def test_what_no_retry_can_mend_is_asked_once(server: LLMockServer, pool: Pool, status: str) -> None:
    fault, kind = FINAL[status]
    for told in await asked(server, pool, [fault]):
        told.verdict.assert_ok(strict=True)
        assert (told.error.kind, told.error.attempts, told.attempts) == (kind, 1, 1), told.name
        assert told.restarts == 0, told.name


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "others"])
async def test_a_prompt_that_is_too_long_is_asked_once_and_called_by_its_name(
    server: LLMockServer, pool: Pool, provider: str
) -> None:
    dialects = [each for each in DIALECTS if provider == _wording(each)]
    words = {"anthropic": "prompt is too long: 9 tokens > 8 maximum"}.get(
        provider, "The input token count exceeds the maximum number of tokens allowed (8)."
    )
    code = "context_length_exceeded" if provider == "others" else None
    for told in await asked(server, pool, [Fail(400, message=words, code=code)], dialects=dialects):
        told.verdict.assert_ok(strict=True)
        assert (told.error.kind, told.attempts) == ("context", 1), told.name


def _wording(dialect: Dialect) -> str:
    return dialect.provider if dialect.provider in {"anthropic", "gemini"} else "others"


async def test_a_provider_that_stays_down_is_given_up_after_growing_waits(
    server: LLMockServer, pool: Pool
) -> None:
    for told in await asked(server, pool, [Fail(500, times=None)]):
        told.verdict.assert_ok(strict=True)
        assert (told.error.kind, told.attempts) == ("overloaded", MAX_ATTEMPTS), told.name


async def test_a_stream_that_is_always_cut_is_never_taken_for_a_reply(
    server: LLMockServer, pool: Pool
) -> None:
    for told in await asked(server, pool, [StreamFault("truncate", after_chunks=4, times=None)]):
        assert told.error.kind == "protocol", told.name
        # llmock can't see that the caller was given an error instead of the half it had.
        assert {finding.code for finding in told.verdict.findings} == {"truncated_stream_accepted"}, told.name


@pytest.mark.parametrize("fault", ["disconnect", "truncate"])
async def test_a_tool_call_survives_faults_before_it(
    server: LLMockServer, pool: Pool, fault: Literal["disconnect", "truncate"]
) -> None:
    faults = [Fail(503, retry_after=0.05), StreamFault(fault, after_chunks=2)]
    says = Say(tool_calls=(ToolCall("vote", MARK),), times=None)
    for told in await asked(server, pool, faults, request=VOTING, says=says):
        told.verdict.assert_ok(strict=True)
        (call,) = told.reply.calls
        assert (call.name, json.loads(call.arguments)) == ("vote", MARK), told.name


async def test_a_call_of_a_tool_that_was_never_offered_is_passed_on_as_it_is(
    server: LLMockServer, pool: Pool
) -> None:
    says = Say(tool_calls=(ToolCall("vote", MARK),))
    for told in await asked(server, pool, [ToolFault("unknown_tool")], request=VOTING, says=says):
        told.verdict.assert_ok(strict=True)
        (call,) = told.reply.calls
        assert call.name != "vote", told.name


async def test_broken_arguments_reach_the_model_as_its_own_mistake(server: LLMockServer, pool: Pool) -> None:
    """Gemini sends whole objects: its wire has no place for half of one."""
    says = Say(tool_calls=(ToolCall("vote", MARK),))
    dialects = [each for each in DIALECTS if each.type != "gemini"]
    faults = [ToolFault("malformed_arguments")]
    for told in await asked(server, pool, faults, request=VOTING, says=says, dialects=dialects):
        told.verdict.assert_ok(strict=True)
        (call,) = told.reply.calls
        with pytest.raises(ValueError, match=r"Unterminated|delimiter|Expecting"):
            parse_arguments(call)
