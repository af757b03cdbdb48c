"""Many runs at once in one process, against the same requests made bare with the openai SDK in one loop.

`python -m benchmarks.load PORT` measures in a process of its own, so that the memory is the product's, and
prints what it found as JSON.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import httpx2

from benchmarks.world import model_server, opened_runs, team_file
from massgen_mcp.journal import Record
from massgen_mcp.runs import Ask, Runs

__all__ = ["figures"]

Figure: TypeAlias = tuple[str, str, str, bool]
_Body: TypeAlias = dict[str, Any]
_Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

_RUNS, _AGENTS = 64, 5
_LATENCY = 0.2
_ROUNDS = 3
_SHARE = 0.45
"""Of a core, that the bare calls are to use where single turns are measured; the bar is for up to 0.5."""
_LIMITS = {"MASSGEN_MCP_MAX_RUNS": str(_RUNS), "MASSGEN_MCP_MAX_AGENTS": str(_RUNS * _AGENTS)}
_ENDS = frozenset({"AnswerGiven", "VoteCast"})
_SCALE = 1_000
_MEBIBYTE = 2**20


@dataclass(kw_only=True)
class _Measured:
    """What the process found. Seconds, of all runs together where nothing else is said."""

    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    bare_wall: list[float] = field(default_factory=list[float])
    bare_cpu: list[float] = field(default_factory=list[float])
    rss: float = 0.0
    """MiB at the most, while all runs were in motion for the first time."""
    turns: list[float] = field(default_factory=list[float])
    """Of each turn of runs that came one after the other, beyond the model's own time."""
    calls: list[float] = field(default_factory=list[float])
    """Of each bare call that came at the same pace, beyond the model's own time."""
    share: float = 0.0
    """Of a core, that those bare calls used."""
    requests: int = 0


# A crowd, and a stream.


async def _together(work: Sequence[_Work], every: float = 0.0) -> tuple[float, float]:
    """Wall and CPU seconds of all this work, begun at once, or so many seconds apart."""
    began, spent = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as tasks:
        for number, item in enumerate(work):
            await anyio.sleep(max(0.0, began + number * every - time.perf_counter()))
            tasks.start_soon(item)
    return time.perf_counter() - began, time.process_time() - spent


async def _asked(runs: Runs, count: int = _RUNS, every: float = 0.0) -> tuple[float, float, list[str]]:
    """Wall and CPU seconds of so many runs, begun at once or so many seconds apart, and their names."""
    names: list[str] = []

    async def ask() -> None:
        handle = await runs.start(Ask(question="How many?", team="five"))
        result = await handle.wait()
        assert result.status == "completed", result
        names.append(handle.run_id)

    wall, cpu = await _together([ask] * count, every)
    return wall, cpu, names


def _turns(records: Sequence[Record]) -> list[float]:
    """Seconds of each turn that ended in an answer or a vote, beyond the model's own."""
    began = {record.turn: record.at for record in records if record.kind == "TurnStarted"}
    return [record.at - began[record.turn] - _LATENCY for record in records if record.kind in _ENDS]


async def _bodies(port: int) -> list[_Body]:
    """What the model was asked since the last look."""
    async with httpx2.AsyncClient() as browser:
        found: list[_Body] = (await browser.get(f"http://127.0.0.1:{port}/")).json()
    return found


def _calling(client: Any, rounds: Sequence[Sequence[_Body]], calls: list[float]) -> _Work:
    """The bare requests of one run: all of a round at once, one round after the other."""

    async def call(body: _Body) -> None:
        began = time.perf_counter()
        async for chunk in await client.chat.completions.create(**body):
            assert chunk.id
        calls.append(time.perf_counter() - began - _LATENCY)

    async def run() -> None:
        for bodies in rounds:
            async with anyio.create_task_group() as tasks:
                for body in bodies:
                    tasks.start_soon(call, body)

    return run


def _as_runs(bodies: Sequence[_Body]) -> list[list[list[_Body]]]:
    """The requests that the model saw, dealt to as many runs: answers first, votes after."""
    answers = [body for body in bodies if len(body["messages"]) == 2]
    votes = [body for body in bodies if len(body["messages"]) > 2]
    return [[answers[number::_RUNS], votes[number::_RUNS]] for number in range(_RUNS)]


# In the process of its own.


async def _most_memory(found: _Measured) -> None:
    while True:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])  # noqa: ASYNC240 - no disk
        found.rss = max(found.rss, pages * resource.getpagesize() / _MEBIBYTE)
        await anyio.sleep(0.05)


async def _crowd_with_memory(runs: Runs, found: _Measured) -> None:
    """The first crowd, which warms everything up."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_most_memory, found)
        await _asked(runs)
        tasks.cancel_scope.cancel()


async def _measure(port: int) -> _Measured:
    found = _Measured()
    team = team_file(port, [f"m-{number}" for number in range(_AGENTS)])
    async with opened_runs(_LIMITS, five=team) as runs:
        await _crowd_with_memory(runs, found)
        bodies = await _bodies(port)
        import openai  # noqa: PLC0415 - not before the memory is measured

        bare: Any = openai.AsyncOpenAI(api_key="-", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)
        calling = [_calling(bare, rounds, []) for rounds in _as_runs(bodies)]
        await _together(calling)
        for _ in range(_ROUNDS):
            wall, cpu, _ = await _asked(runs)
            found.wall.append(wall)
            found.cpu.append(cpu)
            wall, cpu = await _together(calling)
            found.bare_wall.append(wall)
            found.bare_cpu.append(cpu)
        await _paced(runs, bare, _as_runs(bodies), found)
        found.requests = len(bodies)
        await bare.close()
    return found


async def _paced(runs: Runs, bare: Any, dealt: Sequence[Sequence[Sequence[_Body]]], found: _Measured) -> None:
    """One run after the other, which tells single turns from a crowd's queue; ours and bare in turn."""
    every = statistics.median(found.bare_cpu) / _RUNS / _SHARE
    size = _RUNS // _ROUNDS
    journal = await runs.journal()
    wall = cpu = 0.0
    for number in range(_ROUNDS):
        _, _, names = await _asked(runs, size, every)
        found.turns += [turn for name in names for turn in _turns(await journal.read(name))]
        part = dealt[number * size : (number + 1) * size]
        took, spent = await _together([_calling(bare, rounds, found.calls) for rounds in part], every)
        wall, cpu = wall + took, cpu + spent
    found.share = cpu / wall


# In the process that prints.


def _p99(seconds: Sequence[float]) -> float:
    return sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1] * _SCALE


def figures() -> list[Figure]:
    """Wall, CPU, what a turn adds to its call, memory."""
    with model_server(_LATENCY) as port:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "benchmarks.load", str(port)], stdout=subprocess.PIPE, check=True
        )
    found = _Measured(**json.loads(done.stdout))
    crowd = f"{_RUNS} runs x {_AGENTS} agents at once"
    pairs = ((found.wall, found.bare_wall, "wall"), (found.cpu, found.bare_cpu, "CPU"))
    rows: list[Figure] = []
    for ours, bare, what in pairs:
        mine, other = statistics.median(ours), statistics.median(bare)
        words = f"{mine / other:.2f}x ({mine:.2f} s against {other:.2f} s, {found.requests} requests)"
        rows.append((f"{crowd}: {what}", "<= 1.5x bare SDK", words, mine <= other * 1.5))
    ours, other = _p99(found.turns), _p99(found.calls)
    middle, others = (statistics.median(times) * _SCALE for times in (found.turns, found.calls))
    words = (
        f"{ours - other:.0f} ms (p99 {ours:.0f} against {other:.0f}, "
        f"median {middle:.0f} against {others:.0f} "
        f"beyond the model's {_LATENCY * _SCALE:.0f}; bare calls: {found.share:.0%} of a core)"
    )
    rows.append(
        ("a turn beside a bare call, one run after the other", "p99 + 60 ms", words, ours <= other + 60)
    )
    most = 120 + 3 * _RUNS
    return [*rows, (f"{crowd}: RSS", f"<= {most} MiB", f"{found.rss:.0f} MiB", found.rss <= most)]


if __name__ == "__main__":
    print(json.dumps(asdict(anyio.run(_measure, int(sys.argv[1])))))
