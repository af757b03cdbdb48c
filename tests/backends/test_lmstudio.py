"""LM Studio: what `lms` is asked to do before the first request, and what its own endpoints say."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from massgen_mcp.backends import lmstudio
from massgen_mcp.backends.base import ModelBackend
from massgen_mcp.backends.limits import RequestLimits
from massgen_mcp.backends.lms import Lms, LmsFailed, LmsModel, find_lms
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import ScriptedClock, SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Delta, ObservedCall, Reply, TextDelta
from massgen_mcp.runs.default_team import loaded_models
from tests.backends.chats import HELLO, REQUEST
from tests.backends.wire import Wire, closed_port, http, http_json, make_context, wire

pytestmark = pytest.mark.anyio

PAUSE = 0.05
NAME = "lmstudio-community/Meta-Llama-3.1-8B-Instruct-GGUF"
ON_DISK = {
    "type": "llm",
    "modelKey": "meta-llama-3.1-8b-instruct",
    "format": "gguf",
    "displayName": "Meta Llama 3.1 8B Instruct",
    "path": f"{NAME}/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
    "sizeBytes": 4920739232,
    "paramsString": "8B",
    "architecture": "llama",
    "maxContextLength": 131072,
    "deviceIdentifier": None,
}
OTHER = {**ON_DISK, "modelKey": "qwen/qwen3-4b", "path": "qwen/qwen3-4b/q.gguf"}
MODELS = b"""{"object":"list","data":[
{"id":"qwen2-vl-7b-instruct","object":"model","type":"vlm","publisher":"mlx-community","arch":"qwen2_vl",
"compatibility_type":"mlx","quantization":"4bit","state":"not-loaded","max_context_length":32768},
{"id":"meta-llama-3.1-8b-instruct","object":"model","type":"llm","publisher":"lmstudio-community","arch":"llama",
"compatibility_type":"gguf","quantization":"Q4_K_M","state":"loaded","max_context_length":131072,
"loaded_context_length":4096},
{"id":"text-embedding-nomic-embed-text-v1.5","object":"model","type":"embeddings","publisher":"nomic-ai",
"arch":"nomic-bert","compatibility_type":"gguf","quantization":"Q4_0","state":"loaded",
"max_context_length":2048}]}"""
"""GET /api/v0/models, in the form that LM Studio documents."""
LISTED = http_json(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})


@dataclass
class Fake:
    """An `lms` on PATH."""

    folder: Path

    def put(self, **state: Any) -> None:
        whole: dict[str, Any] = {"disk": [], "memory": [], **state}
        (self.folder / "state.json").write_text(json.dumps(whole))

    @property
    def asked(self) -> list[dict[str, Any]]:
        path = self.folder / "said.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def commands(self) -> list[str]:
        return [" ".join(entry["arguments"]) for entry in self.asked]

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "OPENAI_API_KEY": "sk-not-for-children-0123456789",
        }


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    program = tmp_path / "bin" / "lms"
    program.parent.mkdir()
    script = Path(__file__).with_name("fake_lms.py")
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{script}" "{tmp_path}" "$@"\n')
    program.chmod(0o755)
    fake = Fake(tmp_path)
    fake.put()
    yield fake
    left = tmp_path / "server.pid"
    if left.exists():
        os.kill(int(left.read_text()), signal.SIGKILL)


async def opened(pool: Pool, environ: dict[str, str], **options: Any) -> ModelBackend:
    block = {"type": "lmstudio", "model": NAME, **options}
    context = replace(make_context("lmstudio", pool, clock=SystemClock()), environ=environ)
    return await lmstudio.connect(lmstudio.Options.model_validate(block), context, pause=PAUSE)


async def deltas_of(backend: ModelBackend) -> list[Delta]:
    async with backend.stream(REQUEST) as deltas:
        return [delta async for delta in deltas]


def steps(deltas: list[Delta]) -> list[str]:
    return [f"{delta.name} {delta.detail}" for delta in deltas if isinstance(delta, ObservedCall)]


def sent_models(server: Wire) -> list[str]:
    return [sent.json["model"] for sent in server.requests if sent.method == "POST"]


async def test_a_model_on_disk_is_loaded_under_the_name_of_the_team_file(pool: Pool, fake: Fake) -> None:
    fake.put(disk=[OTHER, ON_DISK])
    async with wire(LISTED, HELLO) as server:
        *before, text, reply = await deltas_of(await opened(pool, fake.environ, port=server.port))
    assert steps(before) == [f"lms load {NAME}"]
    assert fake.commands == [
        "ps --json",
        "ls --json",
        f"load --exact {ON_DISK['path']} --identifier {NAME} -y",
    ]
    assert text == TextDelta(text="Hello.")
    assert isinstance(reply, Reply)
    assert sent_models(server) == [NAME]


async def test_what_is_loaded_is_asked_for_by_the_name_it_was_loaded_under(pool: Pool, fake: Fake) -> None:
    fake.put(disk=[ON_DISK], memory=[{**ON_DISK, "identifier": "my-llama"}])
    async with wire(LISTED, HELLO, HELLO) as server:
        backend = await opened(pool, fake.environ, port=server.port)
        assert steps(await deltas_of(backend)) == []
        await deltas_of(backend)
    assert sent_models(server) == ["my-llama", "my-llama"]
    assert fake.commands == ["ps --json"], "asked once, before the first request"


async def test_another_machine_s_model_is_not_used(pool: Pool, fake: Fake) -> None:
    """LM Link lists them too; what is asked here is to stay here."""
    away = {**ON_DISK, "identifier": NAME, "deviceIdentifier": "a-server-elsewhere"}
    fake.put(disk=[away], memory=[away])
    async with wire(LISTED) as server:
        with pytest.raises(BackendError, match="has no model"):
            await deltas_of(await opened(pool, fake.environ, port=server.port))


async def test_a_server_that_is_not_there_is_started_and_stays(pool: Pool, fake: Fake) -> None:
    fake.put(disk=[ON_DISK], memory=[{**ON_DISK, "identifier": NAME}])
    port = closed_port()
    *before, reply = await deltas_of(await opened(pool, fake.environ, port=port))
    assert steps(before) == ["lms server start"]
    assert fake.commands == [f"server start --port {port}", "ps --json"]
    assert isinstance(reply, Reply)
    assert reply.text == "Hello."
    client = await pool.client()
    assert (await client.get(f"http://localhost:{port}/v1/models")).is_success


async def test_its_children_see_none_of_our_keys(pool: Pool, fake: Fake) -> None:
    fake.put(disk=[ON_DISK])
    async with wire(LISTED, HELLO) as server:
        await deltas_of(await opened(pool, fake.environ, port=server.port))
    for entry in fake.asked:
        assert "OPENAI_API_KEY" not in entry["environ"]
        assert entry["environ"]["HOME"] == str(fake.folder)


async def test_a_model_that_is_not_there_is_fetched_only_when_asked_for(pool: Pool, fake: Fake) -> None:
    fake.put(disk=[OTHER])
    async with wire(LISTED) as server:
        with pytest.raises(BackendError) as caught:
            await deltas_of(await opened(pool, fake.environ, port=server.port))
    assert str(caught.value) == (
        f"LM Studio has no model {NAME!r} on this machine. "
        f"Fetch it: `lms get {NAME}`; or set `auto_download: true`."
    )
    assert (caught.value.kind, caught.value.requests) == ("not_found", 0)
    assert fake.commands == ["ps --json", "ls --json"]


async def test_a_download_shows_how_far_it_is_and_is_not_taken_for_silence(pool: Pool, fake: Fake) -> None:
    fake.put()
    heard: list[Delta] = []
    halfway = anyio.Event()

    def listen(delta: Delta) -> None:
        heard.append(delta)
        if isinstance(delta, ObservedCall) and "41.50%" in delta.detail:
            halfway.set()

    replies: list[Reply] = []
    clock, limits = ScriptedClock(), RequestLimits(first_byte=60.0, idle=60.0)

    async def question(backend: ModelBackend) -> None:
        replies.append(
            await ask(backend, REQUEST, clock=clock, random=Random(1), listen=listen, limits=limits)
        )

    async with wire(LISTED, HELLO) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(question, await opened(pool, fake.environ, port=server.port, auto_download=True))
        await halfway.wait()
        # Longer than the provider may be silent: fetching is no silence.
        for _ in range(3):
            await clock.advance(50.0)
            await anyio.sleep(3 * PAUSE)
        (fake.folder / "go-on").touch()
    (reply,) = replies
    assert (reply.text, reply.attempts) == ("Hello.", 1)
    assert steps(heard) == [f"lms get {NAME}", f"lms get {NAME}: 41.50%", f"lms load {NAME}"]


async def test_a_run_that_ends_takes_the_download_with_it(pool: Pool, fake: Fake) -> None:
    fake.put()
    async with wire(LISTED) as server:
        backend = await opened(pool, fake.environ, port=server.port, auto_download=True)
        async with backend.stream(REQUEST) as deltas:
            with anyio.fail_after(20):
                async for delta in deltas:
                    if isinstance(delta, ObservedCall) and "41.50%" in delta.detail:
                        break
    assert list(processes_of(fake)) == []


def processes_of(fake: Fake) -> Iterator[str]:
    """Living processes that were told the test's folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            words = path.read_bytes().decode(errors="replace")
            if str(fake.folder) in words:
                yield words


async def test_what_was_fetched_and_is_not_there_is_said(pool: Pool, fake: Fake) -> None:
    fake.put(nowhere=True)
    (fake.folder / "go-on").touch()
    async with wire(LISTED) as server:
        with pytest.raises(BackendError, match="has no model"):
            await deltas_of(await opened(pool, fake.environ, port=server.port, auto_download=True))


async def test_lms_has_its_own_limit(pool: Pool, fake: Fake) -> None:
    """Six hours for a download, which pass here at one look."""

    class Hasty(SystemClock):
        def monotonic(self) -> float:
            return super().monotonic() * 500_000

    fake.put()
    context = replace(make_context("lmstudio", pool, clock=Hasty()), environ=fake.environ)
    async with wire(LISTED) as server:
        block = {"type": "lmstudio", "model": NAME, "port": server.port, "auto_download": True}
        backend = await lmstudio.connect(lmstudio.Options.model_validate(block), context, pause=PAUSE)
        with pytest.raises(BackendError, match="had not finished after 21600 s") as caught:
            await deltas_of(backend)
    assert caught.value.kind == "timeout"
    assert list(processes_of(fake)) == []


@pytest.mark.parametrize("command", ["load", "get", "server"])
async def test_what_lms_could_not_do_is_told_in_its_own_words(pool: Pool, fake: Fake, command: str) -> None:
    fake.put(disk=[] if command == "get" else [ON_DISK], fails={command: "not enough memory"})
    async with wire(LISTED) as server:
        port = closed_port() if command == "server" else server.port
        with pytest.raises(BackendError, match="ended with code 1: Error: not enough memory") as caught:
            await deltas_of(await opened(pool, fake.environ, port=port, auto_download=True))
    assert f"`lms {command}" in str(caught.value)
    assert (caught.value.kind, caught.value.requests) == ("unavailable", 0)


async def test_a_server_that_answers_is_asked_even_where_lms_does_not(pool: Pool, fake: Fake) -> None:
    fake.put(fails={"ps": "no connection to LM Studio"})
    async with wire(LISTED, HELLO) as server:
        *_, reply = await deltas_of(await opened(pool, fake.environ, port=server.port))
    assert isinstance(reply, Reply)
    assert sent_models(server) == [NAME]


async def test_without_lms_nothing_is_asked_before_the_request(pool: Pool) -> None:
    async with wire(HELLO) as server:
        await deltas_of(await opened(pool, {}, port=server.port))
    assert [sent.target for sent in server.requests] == ["/v1/chat/completions"]


async def test_another_machine_s_server_is_left_alone(pool: Pool, fake: Fake) -> None:
    backend = await opened(pool, fake.environ, base_url="http://192.0.2.1:1234/v1")
    assert isinstance(backend, lmstudio.Backend)
    assert (backend.model, backend.deep, backend.info) == (NAME, False, BACKENDS["lmstudio"])
    await backend.aclose()
    assert fake.commands == []


@pytest.mark.parametrize("auto_install", [False, True])
async def test_without_lms_a_server_that_is_not_there_comes_with_what_to_install(
    pool: Pool, *, auto_install: bool
) -> None:
    backend = await opened(pool, {}, port=closed_port(), auto_install=auto_install)
    with pytest.raises(BackendError) as caught:
        await deltas_of(backend)
    words = str(caught.value)
    assert "`lms server start --port" in words
    assert "There is no `lms` on PATH: install LM Studio from https://lmstudio.ai/download" in words
    assert ("`auto_install` does not do that" in words) is auto_install
    assert words.endswith(caught.value.remedy)


async def test_a_model_the_server_does_not_know_has_lm_studio_s_remedy(pool: Pool) -> None:
    missing = http_json(404, {"error": {"message": "model not found", "type": "invalid_request_error"}})
    async with wire(missing) as server:
        with pytest.raises(BackendError, match=rf"Fetch it: `lms get {NAME}`"):
            await deltas_of(await opened(pool, {}, port=server.port))


async def test_other_failures_keep_their_own_words(pool: Pool) -> None:
    async with wire(http_json(400, {"error": {"message": "bad things"}})) as server:
        with pytest.raises(BackendError, match="bad things") as caught:
            await deltas_of(await opened(pool, {}, port=server.port))
    assert "`lms" not in str(caught.value)


# The program.


async def test_it_is_found_on_path_and_where_lm_studio_puts_it(tmp_path: Path, fake: Fake) -> None:
    assert find_lms(fake.environ) == str(fake.folder / "bin" / "lms")
    home = tmp_path / "home"
    assert find_lms({"HOME": str(home)}) is None
    assert find_lms({}) is None
    program = home / ".lmstudio" / "bin" / "lms"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_lms({"HOME": str(home), "PATH": "/nowhere"}) == str(program)


async def test_a_list_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    program = tmp_path / "lms"
    program.write_text("#!/bin/sh\necho Welcome to LM Studio\n")
    program.chmod(0o755)
    with pytest.raises(LmsFailed, match="something else than a list"):
        await Lms.at(str(program), {}).models()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        (NAME, True),
        (NAME.lower(), True),
        ("meta-llama-3.1-8b-instruct", True),
        (f"{NAME}/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", True),
        ("meta-llama-3.1-8b", False),
        ("lmstudio-community", False),
        ("lmstudio-community/Meta-Llama-3.1-8B", False),
    ],
)
def test_a_name_means_a_model_by_its_key_or_its_path(name: str, *, meant: bool) -> None:
    assert LmsModel.model_validate(ON_DISK).is_called(name) is meant


# Its own endpoints.


async def test_what_is_loaded_is_asked_of_its_own_api(pool: Pool) -> None:
    async with wire(http(200, MODELS, "application/json; charset=utf-8")) as server:
        row = replace(BACKENDS["lmstudio"], base_url=server.url)
        assert await loaded_models(row, pool) == ["meta-llama-3.1-8b-instruct"]
    assert [sent.target for sent in server.requests] == ["/api/v0/models"]
