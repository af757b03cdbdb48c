from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pydantic import ValidationError

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.local import LocalBackend, Options, connect
from massgen_mcp.backends.pulse import PULSE, Pulse
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Brief, Delta, Image, Message, Reply, Request, Restarted, TextDelta, ToolSpec
from massgen_mcp.usage import Usage

pytestmark = pytest.mark.anyio

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"content": {"type": "string"}, "conclusion": {"type": "string"}},
    "required": ["content", "conclusion"],
}
ASK = Request(messages=(Message(role="user", text="Capital?"),))
Scripted = Callable[..., Any]


def text(piece: str) -> dict[str, Any]:
    return {"event": "text", "text": piece}


async def deltas(backend: LocalBackend, request: Request = ASK) -> list[Delta]:
    with anyio.fail_after(30):
        async with backend.stream(request) as stream:
            return [delta async for delta in stream]


async def reply(backend: LocalBackend, request: Request = ASK) -> Reply:
    last = (await deltas(backend, request))[-1]
    assert isinstance(last, Reply)
    return last


async def failure(backend: LocalBackend, request: Request = ASK) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await deltas(backend, request)
    return caught.value


async def test_text_streams_and_the_reply_says_what_it_used(scripted: Scripted) -> None:
    steps = [{"event": "busy"}, text("Par"), text("is"), "done"]
    async with scripted({"replies": [steps]}) as backend:
        got = await deltas(backend)

    assert got == [
        TextDelta(text="Par"),
        TextDelta(text="is"),
        Reply(
            text="Paris",
            model="Scripted 1B",
            usage=Usage(requests=1, input=11, output=7, cached=3, cost_usd=0.0, cost_source="free"),
        ),
    ]


async def test_options_reach_the_model(scripted: Scripted) -> None:
    options = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "max_tokens": 64, "seed": 5}
    extra = {"repeat_penalty": 1.1, "n_predict": 9}
    async with scripted({"replies": [["heard", "done"]]}, **options, extra_body=extra, threads=2) as backend:
        load, complete = json.loads((await reply(backend)).text)

    assert complete["kind"] == "chat"
    assert complete["body"] == {
        "messages": [{"role": "user", "content": "Capital?"}],
        "n_predict": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "seed": 5,
    }
    assert (load["threads"], load["slots"], load["context"]) == (2, 3, 0)
    assert set(load["environ"]) <= {"LC_CTYPE", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONUTF8"}


async def test_each_agent_has_a_seed_and_all_share_one_process(scripted: Scripted) -> None:
    async with scripted({"replies": [["heard", "done"]]}, agents=3) as backends:
        replies = [await reply(backend) for backend in backends]
        heard = json.loads(replies[-1].text)

    assert [message["op"] for message in heard] == ["load", "complete", "complete", "complete"]
    assert [message["body"]["seed"] for message in heard[1:]] == [0, 1, 2]


async def test_agents_at_once_each_get_their_own_reply(scripted: Scripted) -> None:
    got: dict[int, str] = {}

    async def ask(index: int, backend: LocalBackend) -> None:
        question = Request(messages=(Message(role="user", text=f"Question {index}"),))
        heard = json.loads((await reply(backend, question)).text)
        got[index] = heard[-1]["body"]["messages"][0]["content"]

    script = {"replies": [["heard", "done"]]}
    async with scripted(script, agents=5, slots=2) as backends, anyio.create_task_group() as tasks:
        for index, backend in enumerate(backends):
            tasks.start_soon(ask, index, backend)

    assert got == {index: f"Question {index}" for index in range(5)}


async def test_one_that_reads_passes_on_what_belongs_to_others(scripted: Scripted) -> None:
    replies = [
        [text("slow")],
        [text("quick"), "done"],
        [
            {"id": 1, **text("er")},
            {"id": 1, "event": "done", "finish": "stop", "input": 1, "output": 1, "cached": 0},
            "done",
        ],
    ]
    async with scripted({"replies": replies}, agents=3) as (first, second, third):
        got: list[str] = []
        async with anyio.create_task_group() as tasks, first.stream(ASK) as stream:
            assert await anext(stream) == TextDelta(text="slow")

            async def rest() -> None:
                got.extend([delta.text async for delta in stream if isinstance(delta, TextDelta | Reply)])

            tasks.start_soon(rest)
            await anyio.lowlevel.checkpoint()
            assert (await reply(second)).text == "quick"
            await failure(third)
            while len(got) < 2:
                await anyio.lowlevel.checkpoint()

    assert got == ["er", "slower"]


async def test_a_cancelled_request_frees_its_slot(scripted: Scripted) -> None:
    replies = [[text("a")], [{"id": 1, **text("late")}, "heard", "done"]]
    async with scripted({"replies": replies}, agents=2, slots=1) as (first, second):
        async with first.stream(ASK) as stream:
            await anext(stream)
        heard = json.loads((await reply(second)).text)

    assert [message["op"] for message in heard] == ["load", "complete", "cancel", "complete"]
    assert heard[2]["id"] == heard[1]["id"]


async def test_a_request_that_waits_for_a_slot_is_cancelled_without_being_sent(scripted: Scripted) -> None:
    replies = [[text("a")], ["heard", "done"]]
    async with scripted({"replies": replies}, agents=2, slots=1) as (first, second):
        async with first.stream(ASK) as stream:
            await anext(stream)
            with anyio.move_on_after(0.02) as scope:
                await deltas(second)
            assert scope.cancelled_caught
        heard = json.loads((await reply(second)).text)

    assert [message["op"] for message in heard] == ["load", "complete", "cancel", "complete"]


class Heartbeat(Pulse):
    __slots__ = ("heard",)

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.heard = anyio.Event()

    def beat(self) -> None:
        super().beat()
        self.heard.set()


async def test_every_event_tells_the_watchdog_that_the_model_lives(scripted: Scripted) -> None:
    pulse = Heartbeat()
    token = PULSE.set(pulse)
    try:
        async with (
            scripted({"replies": [[{"event": "busy"}]]}) as backend,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(deltas, backend)
            with anyio.fail_after(20):
                await pulse.heard.wait()
            tasks.cancel_scope.cancel()
    finally:
        PULSE.reset(token)

    assert pulse.begun


async def test_a_crash_in_native_code_fails_the_request_and_the_next_one_works(scripted: Scripted) -> None:
    async with scripted({"replies": [[text("a"), "crash"]]}) as backend:
        error = await failure(backend)
        again = await failure(backend)

    assert (error.kind, error.retryable, error.max_attempts) == ("network", True, 2)
    assert "SIGABRT: ggml: out of memory" in str(error)
    assert str(again) == str(error)


async def test_a_process_that_ended_between_requests_is_started_again(scripted: Scripted) -> None:
    async with scripted({"replies": [[text("a"), "done", "leave"]]}) as backend:
        await reply(backend)
        with anyio.fail_after(20):
            while backend.engine.pid is not None:
                await anyio.lowlevel.checkpoint()

        assert (await reply(backend)).text == "a"


async def test_a_process_that_takes_no_more_requests_is_lost(scripted: Scripted) -> None:
    async with scripted({"replies": [["deaf", text("a"), "done", "stay"]]}) as backend:
        await reply(backend)
        error = await failure(backend)

        assert (error.kind, error.retryable) == ("network", True)
        assert (await reply(backend)).text == "a"


async def test_a_crash_fails_everything_in_the_process(scripted: Scripted) -> None:
    script = {"replies": [[text("a")], ["crash"]]}
    async with scripted(script, agents=2) as (first, second), first.stream(ASK) as stream:
        await anext(stream)
        assert (await failure(second)).kind == "network"
        with pytest.raises(BackendError, match="SIGABRT"):
            await anext(stream)


async def test_a_process_that_keeps_crashing_is_not_started_for_ever(scripted: Scripted) -> None:
    async with scripted({"replies": [["crash"]]}) as backend:
        errors = [await failure(backend) for _ in range(4)]

    assert [error.kind for error in errors] == ["network", "network", "network", "unavailable"]
    assert "ended 3 times in a row" in str(errors[-1])
    assert not errors[-1].retryable


@pytest.mark.parametrize("word", ["garbage", "list", "flood", "leave"])
async def test_what_is_no_message_of_ours_ends_the_process(word: str, scripted: Scripted) -> None:
    async with scripted({"replies": [[text("a"), word]]}) as backend:
        error = await failure(backend)

    assert (error.kind, error.retryable) == ("network", True)


@pytest.mark.parametrize("event", [{"event": "text", "text": 5}, {"event": "done"}, {"event": "news"}])
async def test_an_event_that_is_not_understood_is_an_error(event: dict[str, Any], scripted: Scripted) -> None:
    async with scripted({"replies": [[event]]}) as backend:
        assert (await failure(backend)).kind == "protocol"


@pytest.mark.parametrize(
    ("why", "kind"),
    [
        ("exceed_context_size_error", "context"),
        ("invalid_request_error", "bad_request"),
        ("native", "protocol"),
    ],
)
async def test_the_engines_refusals_have_our_kinds(why: str, kind: str, scripted: Scripted) -> None:
    steps = [{"event": "error", "why": why, "text": "said so"}]
    async with scripted({"replies": [steps]}) as backend:
        error = await failure(backend)

    assert (error.kind, error.retryable) == (kind, why == "native")
    assert "said so" in str(error)


@pytest.mark.parametrize(
    ("load", "kind", "words"),
    [
        (
            {"event": "failed", "why": "missing", "text": "No module"},
            "unavailable",
            'pip install "massgen-mcp[local]"',
        ),
        (
            {"event": "failed", "why": "file", "text": "it does not begin with GGUF"},
            "not_found",
            "begin with GGUF",
        ),
        ({"event": "failed", "why": "load", "text": "no memory"}, "unavailable", "no memory"),
        ({"event": "news"}, "unavailable", "not understood"),
        ("crash", "unavailable", "SIGABRT"),
        ("garbage", "unavailable", "did not load"),
    ],
)
async def test_a_model_that_does_not_load_says_why(
    load: Any, kind: str, words: str, scripted: Scripted
) -> None:
    async with scripted({"load": load}) as backend:
        error = await failure(backend)

    assert (error.kind, error.retryable, error.connected) == (kind, False, False)
    assert words in str(error)


@pytest.mark.parametrize(
    ("logged", "kind", "remedy"),
    [
        (
            "load: tensor 'x' data is not within the file bounds, model is corrupted or incomplete",
            "not_found",
            "complete GGUF file",
        ),
        ("gguf_init_from_reader: tensor '' has invalid number of dimensions", "not_found", "complete GGUF"),
        ("ggml_aligned_malloc: insufficient memory (98304.00 MB)", "unavailable", "smaller context_size"),
    ],
    ids=["cut", "garbled", "memory"],
)
async def test_the_engine_s_log_says_why_a_model_does_not_load_and_what_helps(
    logged: str, kind: str, remedy: str, scripted: Scripted
) -> None:
    failed = {"event": "failed", "why": "load", "text": "RuntimeError: Failed to init server"}
    async with scripted({"load": [{"log": [logged, "srv: failed to load model"]}, failed]}) as backend:
        error = await failure(backend)

    assert (error.kind, error.retryable) == (kind, False)
    assert f": {logged} (RuntimeError: Failed to init server). " in str(error)
    assert remedy in error.remedy


async def test_a_cancelled_load_leaves_no_process(scripted: Scripted) -> None:
    async with scripted({"load": "silence", "replies": []}) as backend:
        with anyio.move_on_after(0.3) as scope:
            await deltas(backend)

        assert scope.cancelled_caught
        assert backend.engine.pid is None


async def test_a_python_that_is_not_there_is_told(
    outside: Callable[..., BackendContext], tmp_path: Path
) -> None:
    model = tmp_path / "m.gguf"
    model.touch()
    backend = await connect(Options(type="local", path=str(model)), outside(), python="/nowhere/python")

    error = await failure(backend)
    await backend.aclose()

    assert (error.kind, "can't be started" in str(error)) == ("unavailable", True)


async def test_the_last_to_leave_ends_the_process(scripted: Scripted) -> None:
    async with scripted({"replies": [["done"], [text("x"), "done"]]}, agents=2) as (first, second):
        await failure(first)
        await first.aclose()
        await first.aclose()
        assert (await reply(second)).text == "x"
        await second.aclose()

        assert second.engine.pid is None


async def test_closing_fails_what_is_still_running(scripted: Scripted) -> None:
    async with scripted({"replies": [[text("a")]]}) as backend, backend.stream(ASK) as stream:
        await anext(stream)
        await backend.aclose()
        with pytest.raises(BackendError, match="it was stopped"):
            await anext(stream)


async def test_closing_while_the_model_loads_leaves_no_process(scripted: Scripted) -> None:
    async with scripted({"load": ["stay", {}], "replies": []}) as backend:
        errors: list[BackendError] = []

        async def ask() -> None:
            errors.append(await failure(backend))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await backend.aclose()
        errors.append(await failure(backend))

        assert ["it was stopped" in str(error) for error in errors] == [True, True]
        assert backend.engine.pid is None


async def test_a_cut_reply_is_asked_for_once_more_shorter(scripted: Scripted) -> None:
    answer = '{"content":"It is Paris.","conclusion":"Paris"}'
    replies = [[text('{"content":"It'), "length"], [text(answer), "done"]]
    async with scripted({"replies": replies}) as backend:
        got = await deltas(backend, Request(messages=ASK.messages, schema=SCHEMA))

    assert got[1] == Restarted(attempt=2, why="the reply was cut; a shorter one is asked for")
    assert isinstance(got[-1], Reply)
    assert got[-1].text == answer
    assert (got[-1].usage.requests, got[-1].usage.output) == (2, 16)


async def test_a_reply_that_is_cut_twice_is_a_failure(scripted: Scripted) -> None:
    async with scripted({"replies": [[text("{"), "length"]]}) as backend:
        error = await failure(backend, Request(messages=ASK.messages, schema=SCHEMA))
        plain = await failure(backend)

    assert (error.kind, plain.kind) == ("length", "length")
    assert "max_tokens" in error.remedy


@pytest.mark.parametrize("wrong", ["Paris", '{"content":"a"', "[]"])
async def test_a_reply_that_is_not_the_object_asked_for_is_a_failure(wrong: str, scripted: Scripted) -> None:
    async with scripted({"replies": [[text(wrong), "done"]]}) as backend:
        error = await failure(backend, Request(messages=ASK.messages, schema=SCHEMA))

    assert (error.kind, error.retryable) == ("protocol", True)


async def test_an_empty_reply_is_a_failure(scripted: Scripted) -> None:
    async with scripted({"replies": [[text(" \n"), "done"]]}) as backend:
        error = await failure(backend)

    assert (error.kind, "empty reply" in str(error)) == ("protocol", True)


async def test_a_base_model_gets_a_prompt_and_its_reply_comes_whole(scripted: Scripted) -> None:
    wrote = ' {"action":"new_answer","conclusion":"Paris","content":"It is Paris."}'
    script = {
        "load": {"template": False, "name": ""},
        "replies": [[text(wrote[:9]), text(wrote[9:]), "done"]],
    }
    request = Request(
        messages=ASK.messages,
        brief=Brief(kind="answer", question="Capital?"),
        schema={**SCHEMA, "properties": {"action": {}, **SCHEMA["properties"]}},
    )
    async with scripted(script) as backend:
        piece, whole = await deltas(backend, request)

    assert isinstance(whole, Reply)
    assert piece == TextDelta(text=whole.text)
    assert json.loads(whole.text) == {
        "action": "new_answer",
        "content": "It is Paris.",
        "conclusion": "Paris",
    }
    assert whole.model == "scripted"


async def test_images_are_refused_and_tools_are_named_as_left_out(scripted: Scripted) -> None:
    picture = Request(messages=(Message(role="user", text="?", images=(Image(mime="image/png", data=b""),)),))
    tool = ToolSpec(name="search", description="", parameters={})
    async with scripted({"replies": [[text("x"), "done"]]}) as backend:
        error = await failure(backend, picture)
        warned = await reply(backend, Request(messages=ASK.messages, tools=(tool,)))

    assert error.kind == "bad_request"
    assert warned.warnings == ("local: the embedded model was not offered any tool.",)


@pytest.mark.parametrize("where", ["path", "model_path", "MASSGEN_MCP_GGUF"])
async def test_a_model_file_that_is_not_there_is_named(
    where: str, outside: Callable[..., BackendContext], tmp_path: Path
) -> None:
    missing = str(tmp_path / "no.gguf")
    variable = where.isupper()
    options = Options.model_validate({"type": "local"} | ({} if variable else {where: missing}))

    with pytest.raises(BackendError, match=r"no\.gguf") as caught:
        await connect(options, outside(environ={where: missing} if variable else {}))

    assert caught.value.kind == "not_found"
    assert ("MASSGEN_MCP_GGUF" if variable else "path") in caught.value.remedy


@pytest.mark.parametrize("named", ["~nobody-of-that-name/m.gguf", ".", "a\0b"])
async def test_what_can_not_be_a_model_file_is_named(
    named: str, outside: Callable[..., BackendContext]
) -> None:
    with pytest.raises(BackendError, match="is no file that can be used") as caught:
        await connect(Options(type="local", path=named), outside())

    assert (caught.value.kind, caught.value.remedy) == ("not_found", "Name a GGUF file in path.")


async def test_the_blocks_path_wins_over_the_variable(
    outside: Callable[..., BackendContext], tmp_path: Path
) -> None:
    mine, other = tmp_path / "mine.gguf", tmp_path / "other.gguf"
    mine.touch()
    other.touch()
    environ = {"MASSGEN_MCP_GGUF": str(other)}

    chosen = await connect(Options(type="local", model_path=str(mine)), outside(environ=environ))
    default = await connect(Options(type="local", model="my model"), outside(environ=environ))

    assert (chosen.model, chosen.is_demo) == ("mine", False)
    assert (default.model, default.engine.spec.path, default.is_demo) == ("my model", other, False)
    await chosen.aclose()
    await default.aclose()


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"base_url": "http://localhost:1"}, "takes no base_url"),
        ({"api_key": "k", "extra_headers": {"a": "b"}}, "takes no api_key, extra_headers"),
        ({"path": "a.gguf", "model_path": "b.gguf"}, "two names of one setting"),
        ({"threads": 0}, "threads"),
        ({"gguf": "a"}, "gguf"),
    ],
)
def test_a_block_that_makes_no_sense_is_refused(block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Options.model_validate({"type": "local", **block})
