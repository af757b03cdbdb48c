"""Requests, wall time and failures of a team of three."""

from __future__ import annotations

import time

import anyio

from benchmarks.world import model_server, opened_runs, team_file
from massgen_mcp.runs import Ask, RunResult, Runs

__all__ = ["figures"]

_ROUNDS = 5


async def _ask(runs: Runs, team: str) -> tuple[RunResult, float]:
    began = time.perf_counter()
    handle = await runs.start(Ask(question="How many?", team=team))
    result = await handle.wait()
    return result, time.perf_counter() - began


async def _measure(port: int, slow: int) -> list[tuple[str, str, str, bool]]:
    same, other = ["m-4", "m-4", "m-4"], ["m-4", "m-5", "m-6"]
    files = {
        "same": team_file(port, same),
        "clear": team_file(port, other),
        "presented": team_file(port, other, strategy="vote"),
        "slow": team_file(slow, other),
        "dead": team_file(port, ["m-4", "m-5", "gone"], dead="gone"),
        "badkey": team_file(port, ["bad-key", "bad-key", "bad-key"]),
    }
    async with opened_runs(**files) as runs:
        await _ask(runs, "clear")
        counts = {name: (await _ask(runs, name))[0].usage.requests for name in ("same", "clear", "presented")}
        walls = [(await _ask(runs, "slow"))[1] for _ in range(_ROUNDS)]
        dead = [await _ask(runs, "dead") for _ in range(_ROUNDS)]
        bad = [await _ask(runs, "badkey") for _ in range(_ROUNDS)]
    result, _ = dead[0]
    gone = next(row for row in result.agents if row.id == "a2")
    named = result.status == "partial" and "a2 failed" in " ".join(result.warnings)
    refused, _ = bad[0]
    remedy = refused.status == "failed" and refused.error.count("api_key") >= 3
    dead_wall, bad_wall = max(took for _, took in dead), max(took for _, took in bad)
    wall = f"{min(walls) * 1000:.0f} to {max(walls) * 1000:.0f} ms"
    tries = f"{dead_wall * 1000:.0f} ms, {gone.attempts} tries"
    asked = tuple(counts.values())
    return [
        ("requests: unanimous, clear ballot, presenter", "3, 6, 7", str(asked), asked == (3, 6, 7)),
        ("wall, answers and votes, 200 ms a reply", "<= 600 ms", wall, min(walls) <= 0.6),
        (
            "one of three refuses connections, and is named",
            "<= 1000 ms, <= 2 tries",
            tries,
            dead_wall <= 1 and gone.attempts <= 2 and named,
        ),
        (
            "bad key on all, with cause and remedy",
            "< 500 ms",
            f"{bad_wall * 1000:.0f} ms",
            bad_wall < 0.5 and remedy,
        ),
    ]


def figures() -> list[tuple[str, str, str, bool]]:
    """All figures of a team."""
    with model_server() as port, model_server(0.2) as slow:
        return anyio.run(_measure, port, slow)
