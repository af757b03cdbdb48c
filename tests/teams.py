"""Teams whose agents read their replies from a list: for tests of runs and of the doors above them.

```python
team = scripted_team(a=["answer: 4"], b=["answer: 4"], c=["answer: 4."])
async with Client(build_server(team)) as client: ...
```

A step of a script is what an agent replies to one request:

- `"answer: TEXT"` hands in TEXT; its first line is the conclusion
- `"vote: TEXT"` votes for the answer shown that holds TEXT; `"vote: TEXT add OTHER because REASON"`
- any other text is a plain reply
- an exception is raised
- `After(event, step)` replies only when the event is set
- a `Reply` is that reply
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options, Price
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import Clock, SystemClock
from massgen_mcp.engine import Settings
from massgen_mcp.errors import BackendError, RequestRefused
from massgen_mcp.journal import Journal, MemoryJournal
from massgen_mcp.messages import Delta, Reply, Request, TextDelta, ToolCall
from massgen_mcp.runs import Allowance, Ask, ResolvedTeam, Runs, User, World
from massgen_mcp.runs.settings import OnDisconnect
from massgen_mcp.secrets import Secrets
from massgen_mcp.team import AgentSpec, TeamSpec
from massgen_mcp.team.scrutiny import LENIENT, Scrutiny
from massgen_mcp.team.spec import Charge, Made, OpenWorkshop, Tell, Workshop
from massgen_mcp.tools.toolset import NoTools, Toolset
from massgen_mcp.usage import Usage

__all__ = ["After", "Script", "ScriptedTeam", "Step", "scripted_runs", "scripted_team"]


@dataclass(frozen=True)
class After:
    """A reply that comes once an event is set."""

    event: anyio.Event
    step: str | Reply | Exception


Step: TypeAlias = "str | Reply | Exception | After"
Script: TypeAlias = "Sequence[Step]"


@dataclass
class ScriptedTeam:
    """One team under the name `test`. Called, it gives the `Runs` of a server, as `build_server` wants it."""

    scripts: Mapping[str, Script]
    clock: Clock = field(default_factory=SystemClock)
    strategy: str = "auto"
    settings: Settings = field(default_factory=Settings)
    allowance: Allowance = field(default_factory=Allowance)
    journal: Journal | None = None
    journalled: bool = True
    demo: bool = False
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Agent -> its fallback models; each has a script of its own, under its name in `scripts`."""
    scrutiny: Scrutiny = LENIENT
    warnings: tuple[str, ...] = ()
    price: float | None = 0.01
    """US dollars for each request; None: unknown."""
    on_disconnect: OnDisconnect = "auto"
    secrets: Secrets = field(default_factory=Secrets)
    asked: list[tuple[str, Request]] = field(default_factory=list[tuple[str, Request]])
    """Every request made, with its agent, in order."""
    answering: anyio.Event = field(default_factory=anyio.Event)
    """Set when the first request has come."""
    runs: Runs | None = None
    """The runs of the server that has opened this team."""
    users: Callable[[str], User | None] | None = None
    """A user by name, for runs that are taken up again."""
    opened: int = 0
    _seeds: Iterator[int] = field(default_factory=itertools.count)

    @asynccontextmanager
    async def __call__(self, tasks: TaskGroup) -> AsyncGenerator[Runs]:
        """The runs of one server."""
        self.opened += 1
        self.runs = Runs(self.world(), tasks, users=self.users)
        try:
            yield self.runs
        finally:
            await self.runs.aclose()

    def world(self) -> World:
        """Everything outside that runs need."""
        self.journal = self.journal or MemoryJournal(clock=self.clock, redact=self.secrets.redact_value)
        return World(
            clock=self.clock,
            teams=self,
            prices=Prices(),
            open_journal=self._open_journal,
            open_backend=self._open_backend,
            random=lambda: Random(next(self._seeds)),
            on_disconnect=self.on_disconnect,
            secrets=self.secrets,
        )

    def _price(self) -> Price | None:
        return None if self.price is None else Price(input=self.price / _USAGE.input * 1e6, output=0)

    async def _open_journal(self) -> Journal:
        assert self.journal is not None
        return self.journal

    async def _open_backend(self, spec: AgentSpec, tools: Toolset) -> Backend:
        model = spec.options.model or ""
        return _ScriptedBackend(model if model in self.scripts else spec.id, self)

    # The port `Teams`.

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        """The one team there is."""
        if ask.team not in (None, "test"):
            raise RequestRefused(
                f'Unknown team "{ask.team}". Known: test. Call list_backends for what is ready. '
                "Nothing was spent."
            )
        models = [model for several in self.fallbacks.values() for model in several]
        names = ask.agents or tuple(name for name in self.scripts if name not in models)
        if unknown := [name for name in names if name not in self.scripts]:
            raise RequestRefused(f"Unknown agents: {', '.join(unknown)}. Nothing was spent.")
        return ResolvedTeam(
            name="test",
            agents=tuple(
                AgentSpec(
                    id=name,
                    info=_ROW,
                    options=Options(type="scripted", model=f"{name}-model", price=self._price()),
                    fallbacks=self.fallbacks.get(name, ()),
                    scrutiny=self.scrutiny,
                )
                for name in names
            ),
            strategy=self.strategy,
            settings=self.settings,
            allowance=self.allowance,
            why="the only team of this test",
            warnings=self.warnings,
            journalled=self.journalled,
        )

    async def catalogue(self, backend: str | None = None, task: str | None = None) -> dict[str, Any]:
        """One backend and one team."""
        if backend not in (None, "scripted"):
            raise RequestRefused(f"Unknown backend {backend!r}. Known: scripted. Nothing was spent.")
        return {
            "backends": [{"backend": "scripted", "ready": True}],
            "teams": [{"name": "test", "members": list(self.scripts), "ready": True}],
        } | ({"task": task} if task else {})

    async def matrix(self) -> dict[str, Any]:
        """The one backend, whole."""
        return {"backends": [{"backend": "scripted", "title": "Scripted"}]}

    async def validate(self, config: str) -> dict[str, Any]:
        """A config that has the word `bad` in it is bad."""
        bad = "bad" in config
        return {"ok": not bad, "problems": [{"path": "agents", "message": "bad"}] if bad else []}

    def names(self) -> list[str]:
        """The one name."""
        return ["test"]

    async def show(self, name: str) -> str:
        """A team file that could have made it."""
        if name != "test":
            raise RequestRefused(f'Unknown team "{name}". Known: test.')
        return "agents:\n" + "".join(f"  - id: {agent}\n" for agent in self.scripts)

    def schema(self) -> dict[str, Any]:
        """A schema that takes everything."""
        return {"type": "object"}


def scripted_team(**scripts: Script) -> ScriptedTeam:
    """A team of these agents, each with the replies it will give."""
    return ScriptedTeam(scripts)


def scripted_runs(tasks: TaskGroup, **scripts: Script) -> Runs:
    """The runs of such a team, where no server is needed."""
    return Runs(scripted_team(**scripts).world(), tasks)


_ROW = BackendInfo(type="scripted", title="Scripted", vendor="test", module="scripted", hidden=True)
_USAGE = Usage(requests=1, input=100, output=10)
"""Of every reply."""


class _ScriptedBackend:
    """An agent of a `ScriptedTeam`, from the beginning of its script."""

    def __init__(self, agent: str, team: ScriptedTeam) -> None:
        self.info = _ROW
        self.model = f"{agent}-model"
        self.is_demo = team.demo
        self._agent = agent
        self._team = team
        self._steps: Iterator[Step] = iter(team.scripts[agent])

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        self._team.asked.append((self._agent, request))
        self._team.answering.set()
        yield self._deltas(request)

    async def _deltas(self, request: Request) -> AsyncIterator[Delta]:
        step = next(self._steps, None)
        if isinstance(step, After):
            await step.event.wait()
            step = step.step
        if step is None:
            raise BackendError(f"The script of {self._agent} is at its end.", kind="protocol")
        if isinstance(step, Exception):
            raise step
        reply = step if isinstance(step, Reply) else self._reply(step, request)
        yield TextDelta(text=reply.text or "...")
        yield reply

    def _reply(self, step: str, request: Request) -> Reply:
        kind, _, rest = step.partition(": ")
        if kind not in {"answer", "vote"}:
            return Reply(text=step, model=self.model, usage=_USAGE)
        if kind == "answer":
            name, arguments = "new_answer", {"content": rest, "conclusion": rest.splitlines()[0]}
        else:
            text, _, reason = rest.partition(" because ")
            text, _, other = text.partition(" add ")
            name, arguments = "vote", {"answer": _label(text, request), "reason": reason}
            arguments |= {"add": [_label(other, request)]} if other else {}
        call = ToolCall(id="call-1", name=name, arguments=json.dumps(arguments))
        return Reply(calls=(call,), finish="tool_calls", model=self.model, usage=_USAGE)

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


def _label(text: str, request: Request) -> str:
    """The label of the answer that holds the text; the text itself if none does."""
    shown = request.brief.answers if request.brief else ()
    return next((label for label, _, content in shown if text in content), text)


def workshop_of(
    tools: Mapping[str, Toolset],
) -> OpenWorkshop:
    """The port of a workshop that holds these tools by agent, and none for others."""

    class Bench:
        async def toolset(self, agent: str) -> Toolset:
            await anyio.lowlevel.checkpoint()
            return tools.get(agent, NoTools())

        async def made(self, snapshot: str | None) -> Made:
            await anyio.lowlevel.checkpoint()
            return Made()

    @asynccontextmanager
    async def open_workshop(
        run_id: str, spec: TeamSpec, tell: Tell, charge: Charge
    ) -> AsyncGenerator[Workshop]:
        yield Bench()

    return open_workshop
