"""A run that was killed after its answers and before its votes, taken up again by another process.

`python -m benchmarks.resume WHAT FOLDER PORT [RUN]` is one of these processes.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import httpx2

from benchmarks.world import model_server, opened_runs, team_file
from massgen_mcp.backends.sdk import load
from massgen_mcp.runs import Ask, Runs

__all__ = ["figures"]

Figure: TypeAlias = tuple[str, str, str, bool]

_ROUNDS = 5
_MODELS = ["m-4", "m-5", "m-6"]
_BAR = 0.3
_FIRST = 2
"""Messages of a request for a first answer: the system's and the user's."""


# In the processes of their own.


async def _begin(runs: Runs) -> None:
    """Ask, and be killed as soon as all answers are in the journal."""
    handle = await runs.start(Ask(question="How many?", team="three"))
    answers = 0
    with handle.listen() as records:
        async for record in records:
            answers += record.kind == "AnswerGiven"
            if answers == len(_MODELS):
                _say(handle.run_id)
                os.kill(os.getpid(), signal.SIGKILL)


async def _resume(runs: Runs, run_id: str) -> None:
    """Go on with a run: tell how long it took to ask models again, then to its end, and what that is.

    As in a server that has asked before: the SDK's import is any first question's, resumed or not.
    """
    await load("openai")
    began, at = time.perf_counter(), time.time()
    handle = await runs.resume(run_id)
    with handle.listen() as records:
        async for record in records:
            if record.at >= at and record.kind != "Notice":  # the run's own, and not of its past
                break
    _say(f"{time.perf_counter() - began}")
    result = await handle.wait()
    _say(f"{time.perf_counter() - began}")
    _say(result.status)


def _say(word: str) -> None:
    print(word, flush=True)  # the other end waits for it


async def _act(what: str, folder: str, port: str, run_id: str = "") -> None:
    async with opened_runs({}, Path(folder), three=team_file(int(port), _MODELS)) as runs:
        if what == "begin":
            await _begin(runs)
        else:
            await _resume(runs, run_id)


# In the process that prints.


def _run(*arguments: str) -> list[str]:
    """What such a process said."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "benchmarks.resume", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,  # one of them is killed
    )
    return done.stdout.split()


def _answers(port: int) -> int:
    """How many answers the model was asked for since the last look."""
    bodies: list[dict[str, Any]] = httpx2.get(f"http://127.0.0.1:{port}/").json()
    return sum(len(body["messages"]) == _FIRST for body in bodies)


def _round(port: int) -> tuple[float, float, bool]:
    """Seconds until the run was in motion again, and to its end; whether nothing was paid for twice."""
    with tempfile.TemporaryDirectory() as folder:
        (run_id,) = _run("begin", folder, str(port))
        begun = _answers(port)
        live, over, status = _run("resume", folder, str(port), run_id)
    well = (begun, _answers(port), status) == (len(_MODELS), 0, "completed")
    return float(live), float(over), well


def figures() -> list[Figure]:
    """The one time, counted from where a server is ready."""
    with model_server() as port:
        rounds = [_round(port) for _ in range(_ROUNDS)]
    live, over = (statistics.median(part) for part in list(zip(*rounds, strict=True))[:2])
    once = all(well for *_, well in rounds)
    words = (
        f"{live * 1000:.0f} ms with the SDK loaded, and the end after {over * 1000:.0f} ms, with the votes"
        f"{'' if once else '; ANSWERS WERE PAID FOR TWICE'}"
    )
    held = live <= _BAR and once
    return [("resume of three agents' answers, beyond a server's start", "<= 300 ms", words, held)]


if __name__ == "__main__":
    anyio.run(partial(_act, *sys.argv[1:]))
