"""Appends to the journal, against the file system's own fsync of as many bytes, and its share of a run."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import anyio

from benchmarks.world import model_server, opened_runs, team_file
from massgen_mcp.journal import Record, open_journal
from massgen_mcp.runs import Ask, Runs
from massgen_mcp.secrets import Secrets

__all__ = ["figures"]

Figure: TypeAlias = tuple[str, str, str, bool]

_APPENDS = 400
_RUNS = 15
_SCALE = 1_000
_UNSYNCED: Mapping[str, Any] = {"agent": "a1", "kind": "vote", "ballot": 1, "shown": ["a0.1", "a1.1", "a2.1"]}
_SYNCED: Mapping[str, Any] = {
    "agent": "a1",
    "reply": {"text": "It is four, since two and two are four. " * 20, "calls": [], "finish": "stop"},
    "usage": {"requests": 1, "input": 500, "output": 50, "cost_usd": 0.001},
}


def _secrets() -> Secrets:
    secrets = Secrets()
    for number in range(5):
        secrets.add(f"sk-bench-{number}-{'q7' * 20}", f"KEY_{number}")
    return secrets


def _written() -> int:
    """Bytes that this process has written so far: of the log, whose file may have had its size before."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["wchar"])


async def _appends(folder: Path) -> tuple[float, float, float, int]:
    """Median seconds of an append, of one that is synced, of a plain fsync of as many bytes; and the bytes.

    Each takes its turn, so that noise meets them all.
    """
    journal = await open_journal(folder, redact=_secrets().redact_value)
    log = await journal.begin("bench", question="?", team="bench", body={})
    descriptor = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    plain: list[float] = []
    synced: list[float] = []
    bare: list[float] = []
    grown: list[int] = []
    for _ in range(_APPENDS):
        began = time.perf_counter()
        await log.append("TurnStarted", _UNSYNCED, turn=1)
        plain.append(time.perf_counter() - began)
        before, began = _written(), time.perf_counter()
        await log.append("CallReplied", _SYNCED, turn=1, call=1)
        synced.append(time.perf_counter() - began)
        grown.append(_written() - before)
        data, began = os.urandom(grown[-1]), time.perf_counter()
        os.write(descriptor, data)
        os.fsync(descriptor)
        bare.append(time.perf_counter() - began)
    os.close(descriptor)
    await log.append("Finished", {"status": "completed"})
    await journal.aclose()
    median = statistics.median
    return median(plain), median(synced), median(bare), int(median(grown))


async def _ask(runs: Runs) -> Sequence[Record]:
    """The records of one run."""
    handle = await runs.start(Ask(question="How many?", team="clear"))
    result = await handle.wait()
    assert result.status == "completed", result
    return await (await runs.journal()).read(handle.run_id)


async def _again(folder: Path, kept: Sequence[Sequence[Record]]) -> float:
    """CPU seconds of writing these runs' records once more."""
    journal = await open_journal(folder, redact=_secrets().redact_value)
    spent = time.process_time()
    for first, *others in kept:
        log = await journal.begin(first.run_id, question="How many?", team="clear", body=first.body)
        for record in others:
            await log.append(record.kind, record.body, turn=record.turn, call=record.call)
    spent = time.process_time() - spent
    await journal.aclose()
    return spent


async def _share(port: int, folder: Path) -> tuple[float, float]:
    """CPU seconds of a run, and of its journal alone."""
    async with opened_runs(clear=team_file(port, ["m-4", "m-5", "m-6"])) as runs:
        kept = [await _ask(runs) for _ in range(_RUNS)]
        began = time.process_time()
        for _ in range(_RUNS):
            handle = await runs.start(Ask(question="How many?", team="clear"))
            await handle.wait()
        whole = time.process_time() - began
    return whole / _RUNS, await _again(folder, kept) / _RUNS


async def _measure(port: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        plain, synced, bare, size = await _appends(Path(folder, "appends"))
        whole, journal = await _share(port, Path(folder, "again"))
    ratio, share = synced / bare, journal / whole
    return [
        ("journal append, median", "<= 0.2 ms", f"{plain * _SCALE:.2f} ms", plain <= 0.0002),
        (
            "journal append that survives power loss",
            "<= 1.5x plain fsync",
            f"{ratio:.2f}x ({synced * _SCALE:.2f} ms against {bare * _SCALE:.2f} ms of {size:,} bytes)",
            ratio <= 1.5,
        ),
        (
            "the journal's share of a run's CPU, 0 ms models",
            "< 5 %",
            f"{share:.1%} ({journal * _SCALE:.1f} of {whole * _SCALE:.1f} ms)",
            share < 0.05,
        ),
    ]


def figures() -> list[Figure]:
    """Appends and their share."""
    with model_server() as port:
        return anyio.run(_measure, port)
