"""Failures and waits of every API, CPU beside the bare SDKs, and a server that answers while SDKs load."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import anthropic
import anyio
import httpx2
import mcp
import openai
from google import genai

from benchmarks.world import vendor_server
from massgen_mcp.backends.base import AgentRuntime, ModelBackend
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.open import open_backend
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import BACKENDS, options_class, public_backends
from massgen_mcp.backends.retry import ask
from massgen_mcp.clock import SystemClock
from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Message, Reply, Request, ToolSpec
from massgen_mcp.secrets import Secrets

__all__ = ["figures"]

Figure: TypeAlias = tuple[str, str, str, bool]

_TURNS = 25
_ROUNDS = 6
_LOOKS_EVERY = 0.01
_IDLE = 20
"""Looks before the question, to compare with."""
_ROOTED = frozenset({"azure_openai", "claude", "gemini"})
"""Types whose address has no `/v1`."""
_TOOLS = tuple(
    ToolSpec(
        name=name,
        description=f"Call it to {name.replace('_', ' ')}. " * 4,
        parameters={"type": "object", "properties": {"content": {"type": "string"}}, "required": ["content"]},
    )
    for name in ("new_answer", "vote", "read_file")
)
_REQUEST = Request(
    messages=(
        Message(role="system", text="You work in a team, and answer with care. " * 40),
        Message(role="user", text="How many are they, taken together? " * 40),
    ),
    tools=_TOOLS,
)


async def _open(kind: str, port: int, pool: Pool, **options: Any) -> ModelBackend:
    url = f"http://127.0.0.1:{port}" + ("" if kind in _ROOTED else "/v1")
    info = BACKENDS[kind]
    context = BackendContext(info=info, pool=pool, secrets=Secrets(), clock=SystemClock(), environ={})
    block = {"type": kind, "base_url": url, "api_key": "sk-of-the-benchmark", "model": "m", **options}
    backend = await open_backend(options_class(info).model_validate(block), context)
    assert not isinstance(backend, AgentRuntime)
    return backend


async def _ask(backend: ModelBackend, request: Request = _REQUEST) -> Reply:
    return await ask(backend, request, clock=SystemClock(), random=Random(1), timeout=60)  # noqa: S311 - chance, not a secret


async def _seen(port: int) -> list[dict[str, Any]]:
    """What the server was asked since the last look."""
    async with httpx2.AsyncClient() as browser:
        found: list[dict[str, Any]] = (await browser.get(f"http://127.0.0.1:{port}/")).json()
    return found


@asynccontextmanager
async def _pool() -> AsyncGenerator[Pool]:
    pool = Pool(proxies={})
    try:
        yield pool
    finally:
        await pool.aclose()


# A bad key, and a wait.


async def _failures(port: int) -> list[Figure]:
    kinds = [row.type for row in public_backends() if row.kind == "model" and row.type != "local"]
    async with _pool() as pool:
        for kind in kinds:  # loads the SDKs
            await _ask(await _open(kind, port, pool))
        await _seen(port)
        took, final = await _bad_keys(kinds, port, pool)
        gaps = [await _patience(kind, port, pool) for kind in kinds]
    slowest = max(took, key=took.__getitem__)
    words = f"{took[slowest] * 1000:.0f} ms at most ({slowest}), {len(kinds)} backends"
    wait = f"{min(gaps):.2f} to {max(gaps):.2f} s"
    return [
        (
            "401 on every API backend, SDK warm",
            "< 1000 ms, no retry",
            words,
            max(took.values()) < 1 and final,
        ),
        ("429 with retry-after 2 s: one retry", "2.0 to 2.5 s", wait, min(gaps) >= 2 and max(gaps) <= 2.5),
    ]


async def _bad_keys(kinds: list[str], port: int, pool: Pool) -> tuple[dict[str, float], bool]:
    """Seconds until the failure of each, and whether each was asked once and final."""
    took: dict[str, float] = {}
    final = True
    for kind in kinds:
        began = time.perf_counter()
        try:
            await _ask(await _open(kind, port, pool, model="bad-key"))
        except BackendError as error:
            took[kind] = time.perf_counter() - began
            final = final and (error.kind, error.attempts) == ("auth", 1)
    return took, final and len(took) == len(kinds) == len(await _seen(port))


async def _patience(kind: str, port: int, pool: Pool) -> float:
    """Seconds between the two requests of a reply that had to wait."""
    reply = await _ask(await _open(kind, port, pool, model="limited"))
    assert reply.attempts == 2
    first, second = await _seen(port)
    return second["at"] - first["at"]


# CPU.

_Bare: TypeAlias = Callable[[], Awaitable[None]]


def _bare_openai(port: int, body: dict[str, Any], client: httpx2.AsyncClient) -> _Bare:
    sdk: Any = openai.AsyncOpenAI(
        api_key="EMPTY", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, http_client=client
    )

    async def turn() -> None:
        async for event in await sdk.responses.create(**body):
            assert event.type

    return turn


def _bare_claude(port: int, body: dict[str, Any], client: httpx2.AsyncClient) -> _Bare:
    sdk: Any = anthropic.AsyncAnthropic(
        api_key="EMPTY", base_url=f"http://127.0.0.1:{port}", max_retries=0, http_client=client
    )

    async def turn() -> None:
        async for event in await sdk.messages.create(**body):
            assert event.type

    return turn


def _bare_gemini(port: int, body: dict[str, Any], client: httpx2.AsyncClient) -> _Bare:
    options = genai.types.HttpOptions(base_url=f"http://127.0.0.1:{port}", httpx_async_client=client)
    sdk: Any = genai.Client(vertexai=False, api_key="EMPTY", http_options=options)
    config = {
        "system_instruction": body["systemInstruction"],
        "tools": [
            {
                "function_declarations": [
                    {
                        "name": each["name"],
                        "description": each["description"],
                        "parameters_json_schema": each["parametersJsonSchema"],
                    }
                    for each in tool["functionDeclarations"]
                ]
            }
            for tool in body["tools"]
        ],
        "automatic_function_calling": {"disable": True},
    }

    async def turn() -> None:
        stream = await sdk.aio.models.generate_content_stream(
            model="m", contents=body["contents"], config=config
        )
        async for chunk in stream:
            assert chunk.candidates

    return turn


_BARE = {"openai": _bare_openai, "claude": _bare_claude, "gemini": _bare_gemini}


async def _cpu(kind: str, port: int) -> Figure:
    """One ratio within one run: rounds of ours and of the bare SDK's by turns, of the same requests."""
    async with _pool() as pool, httpx2.AsyncClient(timeout=60) as client:
        backend = await _open(kind, port, pool)
        await _ask(backend)
        body = (await _seen(port))[-1]["body"]
        bare = _BARE[kind](port, body, client)

        async def ours() -> None:
            await _ask(backend)

        spent = {ours: 0.0, bare: 0.0}
        for warm in (True, *[False] * _ROUNDS):
            for turn in spent:
                began = time.process_time()
                for _ in range(_TURNS):
                    await turn()
                spent[turn] += 0.0 if warm else time.process_time() - began
    ratio = spent[ours] / spent[bare]
    each = [spent[turn] / _TURNS / _ROUNDS * 1000 for turn in (ours, bare)]
    words = f"{ratio:.2f}x ({each[0]:.1f} ms against {each[1]:.1f} ms)"
    return (f"CPU per streamed turn, {kind}", "<= 2x bare SDK", words, ratio <= 2)


# The first question of a process.

_IMPORTS = """
import importlib, time
import mcp.server, httpx2  # what the server has by then
began = time.perf_counter()
for name in ("openai.resources.responses.responses", "anthropic", "google.genai"):
    importlib.import_module(name)
print(time.perf_counter() - began)
"""


@dataclass(frozen=True, kw_only=True)
class _First:
    """Seconds of a first question."""

    asked: float
    """Until all three models were asked."""
    took: float
    """Until the answer."""
    looks: list[float]
    """Of each look meanwhile."""
    idle: list[float]
    """Of each look before."""


def _team(port: int) -> str:
    agents = "".join(
        f"  - id: {kind}\n    backend:\n      type: {kind}\n      model: m\n      api_key: sk-of-benchmarks\n"
        f"      base_url: http://127.0.0.1:{port}{'' if kind in _ROOTED else '/v1'}\n"
        "      price: {input: 1, output: 1}\n"
        for kind in _BARE
    )
    return f"agents:\n{agents}"


def _write(folder: Path, team: str) -> None:
    (folder / "teams").mkdir(parents=True)
    (folder / "teams" / "three.yaml").write_text(team, encoding="utf-8")


async def _look(client: mcp.Client) -> float:
    """Seconds of one `list_backends`."""
    began = time.perf_counter()
    result = await client.call_tool("list_backends", {})
    assert not result.is_error, result.content
    return time.perf_counter() - began


async def _first(port: int, folder: Path, *, looking: bool) -> _First:
    """The first question of a fresh server."""
    _write(folder, _team(port))
    environ = {
        "HOME": str(folder),
        "MASSGEN_MCP_CONFIG_DIRS": str(folder / "teams"),
        "MASSGEN_MCP_STATE_DIR": str(folder / "state"),
        "PATH": os.environ["PATH"],
    }
    server = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "massgen_mcp"],
        env=environ,
        cwd=Path(__file__).parents[1],
    )
    looks: list[float] = []
    idle: list[float] = []
    async with mcp.Client(server) as client:
        idle += [await _look(client) for _ in range(_IDLE)]
        answered = anyio.Event()
        began, at = time.perf_counter(), time.time()
        took = 0.0

        async def question() -> None:
            nonlocal took
            result = await client.call_tool("ask_team", {"question": "2 + 2?", "team": "three"})
            assert not result.is_error, result.content
            took = time.perf_counter() - began
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(question)
            while looking and not answered.is_set():
                looks.append(await _look(client))
                await anyio.sleep(_LOOKS_EVERY)
    asked = {request["path"]: request["at"] - at for request in reversed(await _seen(port))}
    assert len(asked) == len(_BARE)
    return _First(asked=max(asked.values()), took=took, looks=looks, idle=idle[1:])


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


async def _start(port: int) -> list[Figure]:
    await _seen(port)
    with tempfile.TemporaryDirectory() as folder:
        alone = await _first(port, Path(folder, "alone"), looking=False)
        seen = await _first(port, Path(folder, "looked at"), looking=True)
    done = await anyio.run_process([sys.executable, "-c", _IMPORTS])
    bare = float(done.stdout)
    p95, worst = _p95(seen.looks), max(seen.looks)
    overlap = f"{alone.asked:.2f} s, answer after {alone.took:.2f} s"
    meanwhile = (
        f"p95 {p95 * 1000:.0f} ms, max {worst * 1000:.0f} ms of {len(seen.looks)} looks "
        f"(idle p95 {_p95(seen.idle) * 1000:.0f} ms)"
    )
    return [
        (
            "first ask of openai, claude, gemini: all three asked",
            f"<= imports ({bare:.2f} s) + 25 %",
            overlap,
            alone.asked <= bare * 1.25,
        ),
        (
            "list_backends meanwhile",
            "p95 < 50, max < 250 ms",
            meanwhile,
            p95 < 0.05 and worst < 0.25,
        ),
    ]


async def _measure(port: int) -> list[Figure]:
    first = await _start(port)
    return [*await _failures(port), *[await _cpu(kind, port) for kind in _BARE], *first]


def figures() -> list[Figure]:
    """All figures of the backends."""
    with vendor_server() as port:
        return anyio.run(_measure, port)
