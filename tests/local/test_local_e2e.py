"""The embedded engine and the demo weights themselves. Needs the extras `local` and `demo-model`."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import jsonschema
import pytest

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.demo_model import DEMO_MODEL, installed, prepare
from massgen_mcp.backends.local import LocalBackend, Options, connect
from massgen_mcp.backends.local_child import open_native
from massgen_mcp.backends.local_grammar import Bounds, make_grammar
from massgen_mcp.backends.pulse import PULSE, Pulse
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Brief, Message, Reply, Request, TextDelta

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.anyio,
    pytest.mark.skipif(not (installed() and installed("xllamacpp")), reason="the extras are not installed"),
]

_LABELS = ("agent1.1", "agent2.1", "agent3.1")


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


ANSWER = closed(
    action={"type": "string", "enum": ["new_answer"]},
    content={"type": "string"},
    conclusion={"type": "string", "maxLength": 80},
)
VOTE = closed(
    action={"type": "string", "enum": ["vote"]},
    answer={"type": "string", "enum": [*_LABELS]},
    reason={"type": "string", "maxLength": 200},
)
EVERYTHING = closed(
    choice={"anyOf": [{"const": 'a "quoted" \\ one\n'}, {"type": "null"}, {"enum": ["é", 1, True]}]},
    number={"type": "number"},
    count={"type": ["integer", "null"]},
    sure={"type": "boolean"},
    list={"type": "array", "items": closed(name={"type": "string", "maxLength": 12}), "maxItems": 3},
    pair={"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
    none={"type": "array", "items": {"type": "null"}, "maxItems": 0},
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    folder = tmp_path_factory.mktemp("weights")
    anyio.run(prepare, folder)
    yield folder
    for file in folder.iterdir():
        file.unlink()


@asynccontextmanager
async def agents(cache: Path, count: int, **options: Any) -> AsyncGenerator[list[LocalBackend]]:
    async with AsyncExitStack() as stack:
        backends: list[LocalBackend] = []
        for seed in range(count):
            context = BackendContext(
                info=BACKENDS["local"],
                pool=cast("Any", None),
                secrets=cast("Any", None),
                clock=SystemClock(),
                environ=os.environ,
                seed=seed,
                cache_dir=cache,
            )
            backend = await connect(Options.model_validate({"type": "local", **options}), context)
            stack.push_async_callback(backend.aclose)
            backends.append(backend)
        yield backends


async def reply(backend: LocalBackend, request: Request) -> Reply:
    async with backend.stream(request) as stream:
        deltas = [delta async for delta in stream]
    assert isinstance(deltas[-1], Reply)
    return deltas[-1]


async def together(backends: list[LocalBackend], request: Request) -> list[dict[str, Any]]:
    """What the agents say to the same request at the same time."""
    said: dict[int, dict[str, Any]] = {}

    async def ask(index: int) -> None:
        said[index] = json.loads((await reply(backends[index], request)).text)

    async with anyio.create_task_group() as tasks:
        for index in range(len(backends)):
            tasks.start_soon(ask, index)
    return [said[index] for index in sorted(said)]


def question(text: str) -> Request:
    said = (Message(role="user", text=text),)
    return Request(messages=said, schema=ANSWER, brief=Brief(kind="answer", question=text))


async def test_the_demo_team_answers_simple_questions_and_votes_for_what_is_right(cache: Path) -> None:
    async with agents(cache, 3) as team:
        assert all(agent.is_demo for agent in team)
        capitals = await together(team, question("What is the capital of France?"))
        colours = await together(team, question("What is the colour of a clear daytime sky?"))
        answers = (
            ("agent2.1", "Lyon", "The capital of France is Lyon."),
            ("agent3.1", "Paris", "The capital of France is Paris."),
            ("agent1.1", "France", "France is the capital of France."),
        )
        brief = Brief(kind="vote", question="What is the capital of France?", answers=answers)
        votes = await together(team, Request(messages=(), schema=VOTE, brief=brief))

    assert [answer["conclusion"] for answer in capitals] == ["Paris"] * 3
    assert [answer["conclusion"] for answer in colours] == ["blue"] * 3
    assert [vote["answer"] for vote in votes] == ["agent3.1"] * 3
    for said, schema in ((capitals, ANSWER), (colours, ANSWER), (votes, VOTE)):
        for value in said:
            jsonschema.validate(value, schema)


class Killing(Pulse):
    """Ends the process at its first sign of life."""

    __slots__ = ("_pid",)

    def __init__(self, pid: int | None) -> None:
        super().__init__(SystemClock())
        self._pid = pid

    def beat(self) -> None:
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = None


async def test_the_process_can_be_cancelled_refuse_and_be_killed(cache: Path) -> None:
    brief = Brief(kind="answer", question="word " * 2000)
    async with agents(cache, 2, slots=1) as (first, second):
        with anyio.move_on_after(0.5) as scope:
            await reply(
                first, Request(messages=(), schema=ANSWER, brief=Brief(kind="answer", question="a " * 700))
            )
        assert scope.cancelled_caught
        with pytest.raises(BackendError) as refused:
            await reply(second, Request(messages=(), schema=ANSWER, brief=brief))
        assert refused.value.kind == "context"
        assert (await reply(second, question("What do bees make?"))).usage.cost_usd == 0

        token = PULSE.set(Killing(second.engine.pid))
        try:
            with pytest.raises(BackendError, match="SIGKILL") as lost:
                await reply(second, question("What do bees make?"))
        finally:
            PULSE.reset(token)
        assert lost.value.retryable
        assert (await reply(first, question("What do bees make?"))).text


@pytest.mark.parametrize("schema", [ANSWER, VOTE, EVERYTHING, {"anyOf": [ANSWER, VOTE]}])
def test_the_engine_takes_our_grammars_and_keeps_to_them(schema: dict[str, Any], native: Any) -> None:
    grammar = make_grammar(schema, Bounds(string=40))
    chunks: list[Any] = []

    def take(chunk: Any) -> bool:
        chunks.append(chunk)
        return False

    body = {
        "prompt": "JSON:",
        "grammar": grammar.text,
        "n_predict": grammar.length,
        "seed": 1,
        "stream": True,
    }
    native.handle_completions(body, take)

    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert choices[-1]["finish_reason"] == "stop"
    jsonschema.validate(json.loads("".join(choice["text"] for choice in choices)), schema)


@pytest.fixture(scope="module")
def native(cache: Path) -> Any:
    return open_native(str(cache / DEMO_MODEL.name), context=1024, threads=1, slots=1, template=False)


@pytest.fixture
def chat_model(cache: Path) -> Generator[Path]:
    """The same weights with a chat template, which goes in front of what the file says of itself."""
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    key = struct.pack("<Q", 23) + b"tokenizer.chat_template" + struct.pack("<I", 8)
    # What follows must stay aligned to 32 bytes.
    template += " " * (-(len(key) + 8 + len(template)) % 32)
    pair = key + struct.pack("<Q", len(template)) + template.encode()
    whole = (cache / DEMO_MODEL.name).read_bytes()
    (count,) = struct.unpack_from("<Q", whole, 16)
    path = cache / "chat.gguf"
    path.write_bytes(whole[:16] + struct.pack("<Q", count + 1) + pair + whole[24:])
    yield path
    path.unlink()


async def test_a_model_with_a_chat_template_follows_the_conversation(chat_model: Path, cache: Path) -> None:
    said = (
        Message(role="system", text="Reply in JSON."),
        Message(role="user", text="The capital of France?"),
    )
    async with agents(cache, 1, path=str(chat_model), max_tokens=48, context_size=512) as (agent,):
        assert not agent.is_demo
        async with agent.stream(Request(messages=said, schema=ANSWER)) as stream:
            deltas = [delta async for delta in stream]

    assert isinstance(deltas[0], TextDelta)
    assert isinstance(deltas[-1], Reply)
    jsonschema.validate(json.loads(deltas[-1].text), ANSWER)
    assert deltas[-1].model == "Gemma 3 270m"
