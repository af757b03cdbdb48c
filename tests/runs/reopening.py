"""A run's workshop, opened by itself: what one process leaves in it, another finds."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import anyio

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import SystemClock
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.engine import Settings
from massgen_mcp.messages import Image, ToolCall
from massgen_mcp.runs.media import Studio
from massgen_mcp.runs.workshop import Machine, open_workshop
from massgen_mcp.secrets import Secrets
from massgen_mcp.team.spec import AgentSpec, Attached, EarlierWork, Equipment, Limits, TeamSpec, Workshop
from massgen_mcp.tools.downstream.entry import PackageCache
from massgen_mcp.tools.toolset import Situation, Toolset
from massgen_mcp.workspace.context import Context

__all__ = ["RUN", "in_a_process_that_is_killed", "in_a_process_that_stays", "opened", "use"]

MEASURES_CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""Where coverage tells the processes that a test starts to count lines too."""
RUN = "20260101-0000-aaaaaa"
_SEES = BackendInfo(type="test", title="Test", vendor="test", module="scripted")


def _nobody(agent: str, what: object) -> None:
    """Is told."""


def _machine(place: Path) -> Machine:
    secrets, clock, pool = Secrets(), SystemClock(), Pool()
    return Machine(
        state_dir=place / "state",
        environ={"PATH": "/usr/bin:/bin"},
        secrets=secrets,
        clock=clock,
        packages=PackageCache(place / "packages"),
        studio=Studio(pool=pool, prices=Prices(), secrets=secrets, clock=clock),
    )


@asynccontextmanager
async def opened(
    place: Path, *, run_id: str = RUN, earlier: EarlierWork | None = None, images: tuple[Image, ...] = ()
) -> AsyncGenerator[tuple[Workshop, Toolset]]:
    """A workshop and the tools of its one agent, which may write to `project` when it presents."""
    (place / "project").mkdir(exist_ok=True)
    spec = TeamSpec(
        question="?",
        agents=(AgentSpec(id="a", info=_SEES, options=Options(type="test")),),
        strategy="auto",
        settings=Settings(seed=4),
        limits=Limits(),
        attached=Attached(images=images),
        equipment=Equipment(
            tools={"a": AgentTools(cwd="work")},
            contexts={"a": (Context(path=place / "project", write=True),)},
            earlier=earlier,
        ),
    )
    async with open_workshop(_machine(place), run_id, spec, _nobody, _nobody) as workshop:
        yield workshop, await workshop.toolset("a")


async def use(tools: Toolset, name: str, **arguments: Any) -> None:
    """Call a tool, which does it."""
    result = await tools.call(ToolCall(id="1", name=name, arguments=json.dumps(arguments)))
    assert not result.is_error, result.content


async def _work(
    place: Path, script: Sequence[tuple[str, dict[str, Any]]], options: Mapping[str, Any], took: Connection
) -> None:
    async with opened(place, **options) as (_, tools):
        for name, arguments in script:
            if name == "begin":
                await tools.begin(Situation(**arguments))
            elif name == "snapshot":
                took.send(await tools.snapshot(**arguments))
            else:
                await use(tools, name, **arguments)
        os.kill(os.getpid(), signal.SIGKILL)


def _works(*arguments: Any) -> None:
    anyio.run(_work, *arguments)


async def _stay(place: Path, options: Mapping[str, Any]) -> None:
    async with opened(place, **options):
        await anyio.sleep_forever()


def _stays(*arguments: Any) -> None:
    anyio.run(_stay, *arguments)


def _makes() -> ForkServerContext:
    """A server that has everything loaded makes the processes: each is a new one, and quickly there."""
    makes = multiprocessing.get_context("forkserver")
    makes.set_forkserver_preload([__name__])
    # All of them are killed, and what is killed counts no lines.
    measured = os.environ.pop(MEASURES_CHILDREN, None)
    forkserver.ensure_running()
    if measured is not None:
        os.environ[MEASURES_CHILDREN] = measured
    return makes


def in_a_process_that_stays(place: Path, **options: Any) -> BaseProcess:
    """Open the workshop in a process of its own, which does nothing else until it is killed."""
    process = _makes().Process(target=_stays, args=(place, options))
    process.start()
    return process


def in_a_process_that_is_killed(
    place: Path, *script: tuple[str, dict[str, Any]], **options: Any
) -> list[str]:
    """Do this in the workshop in a process of its own, and kill it. Returns the snapshots it took."""
    makes = _makes()
    took, told = makes.Pipe(duplex=False)
    process = makes.Process(target=_works, args=(place, script, options, told))
    process.start()
    told.close()
    process.join(timeout=30)
    assert process.exitcode == -signal.SIGKILL
    snapshots: list[str] = []
    while took.poll():
        try:
            snapshots.append(took.recv())
        except EOFError:
            break
    took.close()
    return snapshots
