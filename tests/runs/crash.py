"""A team that can be killed anywhere and taken up again, in processes that cost little to begin.

```python
with Zygote() as zygote:
    end = zygote.work(place)                                  # a run from its beginning to its end
    end = zygote.work(place, die_at=17)                       # killed when its 17th record is written
    end = zygote.work(place, resume=True)                     # taken up by another process
    end = zygote.work(place, serve=("1", "2"))                # a server that is asked these questions
```

Three agents with file tools answer, look again, vote; one answers anew, so a second ballot is opened while
another reads a file. A model's reply follows from the request alone. Each request, and each call of a tool,
leaves a line behind. A server's teams are smaller: three agents without tools that answer and vote.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self, cast

import anyio
import anyio.lowlevel

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import SystemClock
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.engine import Settings
from massgen_mcp.errors import MassgenError
from massgen_mcp.journal import Entry, Journal, Record, RunLog, RunRow, open_journal
from massgen_mcp.messages import Delta, Reply, Request, ToolCall, ToolResult
from massgen_mcp.runs import Allowance, Ask, ResolvedTeam, Runs, World
from massgen_mcp.runs.media import Studio
from massgen_mcp.runs.result import RunResult
from massgen_mcp.runs.workshop import Machine, open_workshop
from massgen_mcp.secrets import Secrets
from massgen_mcp.team import AgentSpec
from massgen_mcp.team.spec import Charge, Equipment, TeamSpec, Tell, Workshop
from massgen_mcp.tools.downstream.entry import PackageCache
from massgen_mcp.tools.toolset import Toolset
from massgen_mcp.usage import Usage
from massgen_mcp.workspace.context import Context

__all__ = ["CALLS", "TOOLS", "End", "Zygote", "all_left", "left", "world"]

CALLS = "calls.log"
TOOLS = "tools.log"
_ROW = BackendInfo(type="scripted", title="Scripted", vendor="test", module="scripted", hidden=True)
_SEED = 3
_LABELS = {"a": "agent2", "b": "agent3", "c": "agent1"}
"""What the seed makes of the agents."""
_BETTER = f"{_LABELS['b']}.2"

Script = Sequence[Mapping[str, Any]]
_SCRIPTS: Mapping[str, Script] = {
    "a": (
        {"name": "write_file", "arguments": {"path": "plan.txt", "content": "first\n"}},
        {"name": "edit_file", "arguments": {"path": "plan.txt", "old_text": "first", "new_text": "alpha"}},
        {"name": "new_answer", "arguments": {"content": "alpha", "conclusion": "alpha"}},
        {"name": "read_file", "arguments": {"path": "plan.txt"}},
        {"vote": True},
    ),
    "b": (
        {"name": "new_answer", "arguments": {"content": "beta", "conclusion": "beta"}},
        {"name": "write_file", "arguments": {"path": "better.txt", "content": "better\n"}},
        {"name": "new_answer", "arguments": {"content": "better beta", "conclusion": "better"}},
        {"vote": True},
        {"name": "edit_file", "arguments": {"path": "better.txt", "old_text": "better", "new_text": "best"}},
        {"name": "write_file", "arguments": {"path": "project/done.txt", "content": "done\n"}},
        {"name": "new_answer", "arguments": {"content": "the best", "conclusion": "best"}},
    ),
    "c": (
        {"name": "list_directory", "arguments": {"path": "."}},
        {"name": "new_answer", "arguments": {"content": "gamma", "conclusion": "gamma"}},
        {"name": "write_file", "arguments": {"path": "notes.txt", "content": "notes\n"}},
        {"vote": True},
    ),
}


_SMALL: Mapping[str, Script] = {
    agent: (
        {"name": "new_answer", "arguments": {"content": agent, "conclusion": agent}},
        {"vote": True},
        {"name": "new_answer", "arguments": {"content": f"{agent} at last", "conclusion": agent}},
    )
    for agent in _SCRIPTS
}


def _leave_line(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


class Model:
    """A model whose reply follows from what it is shown; `calls` gets a line for each request."""

    def __init__(
        self, agent: str, calls: Path, die_at: int, *, scripts: Mapping[str, Script] = _SCRIPTS
    ) -> None:
        self.info = _ROW
        self.model = f"{agent}-model"
        self._agent = agent
        self._calls = calls
        self._die_at = die_at
        self._scripts = scripts

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        """Leave a line, then reply."""
        question = request.brief.question if request.brief else ""
        _leave_line(self._calls, f"{question} {self._agent} {request.digest()}")
        if self._die_at and len(self._calls.read_text().splitlines()) == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        yield self._deltas(request)

    async def _deltas(self, request: Request) -> AsyncIterator[Delta]:
        await anyio.lowlevel.checkpoint()
        said = sum(message.role == "assistant" for message in request.messages)
        script = self._scripts[self._agent]
        step = script[min(said, len(script) - 1)]
        if "vote" in step:
            text = "\n".join(
                message.text + "".join(result.content for result in message.results)
                for message in request.messages
            )
            other = f"{_LABELS['c' if self._agent == 'a' else 'a']}.1"
            chosen = _BETTER if f"{_BETTER}" in text and self._agent != "b" else other
            step = {"name": "vote", "arguments": {"answer": chosen, "reason": "it is right"}}
        name, arguments = str(step["name"]), json.dumps(step["arguments"])
        call = ToolCall(id=f"call-{said}", name=name, arguments=arguments)
        yield Reply(
            calls=(call,),
            finish="tool_calls",
            model=self.model,
            native={"said": said},
            usage=Usage(requests=1, input=100, output=10, cost_usd=0.01, cost_source="provider"),
        )

    async def aclose(self) -> None:
        """Nothing is held."""


class _Team:
    """The one team. A `Teams` as far as runs need it."""

    def __init__(self, place: Path, *, small: bool) -> None:
        self._place = place
        self._small = small

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        """It."""
        del ask
        await anyio.lowlevel.checkpoint()
        project = (Context(path=self._place / "project", write=True),)
        equipment = Equipment(
            tools={agent: AgentTools(cwd="work") for agent in _SCRIPTS},
            contexts=dict.fromkeys(_SCRIPTS, project),
        )
        return ResolvedTeam(
            name="crash",
            agents=tuple(
                AgentSpec(id=agent, info=_ROW, options=Options(type="scripted", model=f"{agent}-model"))
                for agent in _SCRIPTS
            ),
            strategy="vote",
            settings=Settings(seed=_SEED, present_always=not self._small),
            allowance=Allowance(seconds=60),
            equipment=Equipment() if self._small else equipment,
            config={"name": "crash"},
        )


class _Mortal:
    """A journal whose process dies when a record has been written."""

    def __init__(self, journal: Journal, die_at: int) -> None:
        self._journal = journal
        self._left = die_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def begin(self, *args: Any, **kwargs: Any) -> RunLog:
        """As the journal does."""
        log = await self._journal.begin(*args, **kwargs)
        return cast("RunLog", _MortalLog(log, self))

    async def take_over(self, *args: Any, **kwargs: Any) -> RunLog:
        """As the journal does."""
        log = await self._journal.take_over(*args, **kwargs)
        return cast("RunLog", _MortalLog(log, self))

    def written(self) -> None:
        """One record more."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class _MortalLog:
    def __init__(self, log: RunLog, journal: _Mortal) -> None:
        self._log = log
        self._journal = journal
        journal.written()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, *args: Any, **kwargs: Any) -> Record:
        """As the journal does."""
        record = await self._log.append(*args, **kwargs)
        self._journal.written()
        return record

    async def append_all(self, entries: Sequence[Entry]) -> Sequence[Record]:
        """As the journal does. Nobody can die between these."""
        found = await self._log.append_all(entries)
        for _ in found:
            self._journal.written()
        return found


class _Logged:
    """Tools that leave a line behind for each call that is made."""

    def __init__(self, tools: Toolset, agent: str, log: Path) -> None:
        self._tools = tools
        self._agent = agent
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tools, name)

    async def call(self, call: ToolCall) -> ToolResult:
        """Leave a line, then do it."""
        _leave_line(self._log, json.dumps([self._agent, call.name, call.arguments]))
        return await self._tools.call(call)


class _LoggedWorkshop:
    def __init__(self, workshop: Workshop, log: Path) -> None:
        self._workshop = workshop
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._workshop, name)

    async def toolset(self, agent: str) -> Toolset:
        """As the workshop has it."""
        return cast("Toolset", _Logged(await self._workshop.toolset(agent), agent, self._log))


def world(place: Path, *, die_at: int = 0, die_at_call: int = 0, small: bool = False) -> World:
    """Everything outside, in one folder."""
    (place / "project").mkdir(parents=True, exist_ok=True)
    state, clock, secrets, pool = place / "state", SystemClock(), Secrets(), Pool()
    machine = Machine(
        state_dir=state,
        environ={"PATH": "/usr/bin:/bin"},
        secrets=secrets,
        clock=clock,
        packages=PackageCache(place / "packages"),
        studio=Studio(pool=pool, prices=Prices(), secrets=secrets, clock=clock),
    )

    async def journal() -> Journal:
        real = await open_journal(state, clock=clock)
        return cast("Journal", _Mortal(real, die_at)) if die_at else real

    async def open_backend(spec: AgentSpec, tools: Toolset) -> Backend:
        del tools
        await anyio.lowlevel.checkpoint()
        scripts = _SMALL if small else _SCRIPTS
        return Model(spec.id, place / CALLS, die_at_call, scripts=scripts)

    @asynccontextmanager
    async def workshop(run_id: str, spec: TeamSpec, tell: Tell, charge: Charge) -> AsyncGenerator[Workshop]:
        async with open_workshop(machine, run_id, spec, tell, charge) as opened:
            yield cast("Workshop", _LoggedWorkshop(opened, place / TOOLS))

    return World(
        clock=clock,
        teams=cast("Any", _Team(place, small=small)),
        prices=Prices(),
        open_journal=journal,
        open_backend=open_backend,
        open_workshop=workshop,
        state_dir=state,
        project=place / "project",
        random=lambda: Random(os.urandom(8)),
        secrets=secrets,
    )


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended: killed, or with this."""

    killed: bool
    result: Mapping[str, Any]
    """Of the run; `refused` holds the words where it could not go on."""


async def _work(place: Path, *, die_at: int, die_at_call: int, resume: bool) -> dict[str, Any]:
    result: RunResult | None = None
    async with anyio.create_task_group() as tasks:
        runs = Runs(world(place, die_at=die_at, die_at_call=die_at_call), tasks)
        try:
            if resume:
                handle = await runs.resume((await runs.rows(limit=1))[0].run_id)
            else:
                handle = await runs.start(Ask(question="Which?"))
            result = await handle.wait(50)
        except MassgenError as error:
            return {"refused": str(error)}
        finally:
            with anyio.CancelScope(shield=True):
                await runs.aclose()
            tasks.cancel_scope.cancel()
    assert result is not None
    return result.model_dump(mode="json")


async def _serve(place: Path, questions: Sequence[str], *, die_at: int) -> dict[str, Any]:
    """Ask what has not been asked yet, take up what nobody drives, until all runs there are are over."""
    async with anyio.create_task_group() as tasks:
        runs = Runs(world(place, die_at=die_at, small=True), tasks)
        asked = {row.question for row in await runs.rows(limit=100)}
        for question in questions:
            if question not in asked:
                await runs.start(Ask(question=question))
        while any(row.state in {"running", "interrupted"} for row in await runs.rows(limit=100)):
            await runs.resume_interrupted()
            await anyio.sleep(0.1)
        await runs.aclose()
        tasks.cancel_scope.cancel()
    return {}


def all_left(place: Path) -> list[tuple[RunRow, list[Record]]]:
    """What the journal says of all runs, the newest first."""

    async def read() -> list[tuple[RunRow, list[Record]]]:
        journal = await open_journal(place / "state", clock=SystemClock())
        try:
            return [(row, list(await journal.read(row.run_id))) for row in await journal.rows(limit=100)]
        finally:
            await journal.aclose()

    return asyncio.run(read())


def left(place: Path) -> tuple[RunRow, list[Record]]:
    """What it says of the one run."""
    (found,) = all_left(place)
    return found


class Zygote:
    """A process with everything imported, that begets those that work."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.runs.crash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def work(
        self,
        place: Path,
        *,
        die_at: int = 0,
        die_at_call: int = 0,
        resume: bool = False,
        serve: Sequence[str] = (),
    ) -> End:
        """Let a process work there, from the question or from where the last one stopped, until it ends.

        Args:
            place: the folder.
            die_at: the record after which it is killed, counted from its beginning; 0 for none.
            die_at_call: the request in which it is killed, counted over all processes; 0 for none.
            resume: whether it goes on with a run.
            serve: the questions that it is asked as a server.
        """
        wish = {
            "place": str(place),
            "die_at": die_at,
            "die_at_call": die_at_call,
            "resume": resume,
            "serve": list(serve),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(wish)}\n")
        self._process.stdin.flush()
        end = json.loads(self._process.stdout.readline())
        assert not end["broken"], "the process broke; its words are on stderr"
        return End(killed=end["killed"], result=end["result"])


def _beget(wish: Mapping[str, Any]) -> dict[str, Any]:
    place = Path(wish["place"])
    place.mkdir(parents=True, exist_ok=True)
    said = place / f"result-{os.getpid()}.json"
    said.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        work: Callable[[], Coroutine[Any, Any, dict[str, Any]]] = partial(
            _work, place, die_at=wish["die_at"], die_at_call=wish["die_at_call"], resume=wish["resume"]
        )
        if wish["serve"]:
            work = partial(_serve, place, wish["serve"], die_at=wish["die_at"])
        try:
            said.write_text(json.dumps(asyncio.run(work())))
        except BaseException:  # noqa: BLE001 - the edge of a process
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return {
        "killed": os.WIFSIGNALED(status),
        "broken": os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0,
        "result": json.loads(said.read_text()) if said.exists() else {},
    }


def _warm_up() -> None:
    """Load all that a run loads, so that its children need not."""
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(_work(Path(place), die_at=0, die_at_call=0, resume=False))
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _warm_up()
    for line in sys.stdin:
        sys.stdout.write(f"{json.dumps(_beget(json.loads(line)))}\n")
        sys.stdout.flush()
