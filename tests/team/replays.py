"""Teams drawn by lot that can be cut off after any record and gone on with, in one process without time.

Whatever a model says and a tool returns follows from the seed and from what it was asked, so that a run that
goes on from half of its records meets the same world.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

import anyio

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.info import BackendInfo, Workflow
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import Clock, ScriptedClock
from massgen_mcp.engine import Settings
from massgen_mcp.errors import BackendError
from massgen_mcp.journal import Record
from massgen_mcp.journal.codec import Redact, decode, encode
from massgen_mcp.journal.records import Entry, Kind
from massgen_mcp.journal.summary import RESUMED
from massgen_mcp.messages import Delta, Image, Reply, Request, TextDelta, ToolCall, ToolResult, ToolSpec
from massgen_mcp.secrets import Secrets
from massgen_mcp.team import AgentSpec, Ended, EventLog, Limits, Ports, TeamRun, TeamSpec
from massgen_mcp.team.budget import Share
from massgen_mcp.team.shares import Shares
from massgen_mcp.team.spec import Charge, Made, Tell, Workshop
from massgen_mcp.tools.toolset import NoTools, Situation, Toolset
from massgen_mcp.usage import CostSource, Usage

__all__ = ["SECRET", "Life", "ListLog", "World"]

SECRET = "correct-horse-battery"
_PIXEL = b"\x89PNG\r\n"
_LABELS = re.compile(r"agent\d+\.\d+")
_VALID = re.compile(r"Valid labels(?: now)?: (.*)")
_LOOK = ToolSpec(name="look", description="Look.", parameters={"type": "object", "properties": {}})
_CHANGE = ToolSpec(name="change", description="Change.", parameters={"type": "object", "properties": {}})
_START = 1_750_000_000.0
_GLANCE = 0.5


def redacting() -> Redact:
    """What takes the one secret out."""
    secrets = Secrets()
    secrets.add(SECRET, "KEY")
    return secrets.redact_value


class QuickClock(ScriptedClock):
    """Whoever only looks now and then whether something has changed looks seldom: that is what takes time."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(1_000.0 if seconds == _GLANCE else seconds)

    async def _settle(self) -> None:
        # Nothing here waits for another thread or for bytes, so an empty queue says that all tasks wait.
        ready = cast("Any", asyncio.get_running_loop())._ready
        await anyio.lowlevel.checkpoint()
        while ready:
            await anyio.lowlevel.checkpoint()


@dataclass
class ListLog:
    """The pen of a run whose records are a list."""

    clock: Clock
    records: list[Record] = field(default_factory=list[Record])
    run_id: str = "run"
    redact: Redact = field(default_factory=redacting)

    async def append(
        self, kind: Kind, body: Mapping[str, Any], *, turn: int | None = None, call: int | None = None
    ) -> Record:
        record = Record(
            run_id=self.run_id,
            seq=len(self.records) + 1,
            at=self.clock.now(),
            kind=kind,
            body=decode(encode(body, self.redact)),
            turn=turn,
            call=call,
        )
        self.records.append(record)
        await anyio.lowlevel.checkpoint()
        return record

    async def append_all(self, entries: Sequence[Entry]) -> Sequence[Record]:
        return [
            await self.append(entry.kind, entry.body, turn=entry.turn, call=entry.call) for entry in entries
        ]

    async def activity(self, agent: str, tail: str) -> None:
        del agent, tail

    async def cancel_requested(self) -> str | None:
        return None

    async def wait_cancel(self) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    async def leave(self) -> None:
        """Nothing is held."""


class _Model:
    """A model whose reply follows from the request; `sent` gets the digest of each."""

    def __init__(self, world: World, agent: str, life: Life, model: str) -> None:
        self.info = world.rows[agent]
        self.model = model
        self._agent = agent
        self._world = world
        self._life = life
        self._tries: Counter[str] = Counter()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta]]:
        digest = request.digest()
        self._tries[digest] += 1
        self._life.sent.append((self._agent, digest))
        yield self._deltas(request, digest, self._tries[digest])

    async def _deltas(self, request: Request, digest: str, attempt: int) -> AsyncIterator[Delta]:
        world, clock = self._world, self._life.clock
        chance = world.chance(self._agent, digest)
        await clock.sleep(chance.expovariate(1 / 8))
        yield TextDelta(text="thinking ")
        await clock.sleep(chance.expovariate(1 / 8))
        if world.meet is not None:
            await world.meet(self.model, request, clock)
        trouble = world.chance(self._agent, digest, attempt)
        if trouble.random() < world.failing:
            kind = trouble.choice(["auth", "overloaded", "rate_limit", "network", "protocol"])
            raise BackendError(f"scripted {kind}", kind=cast("Any", kind), retryable=kind != "auth")
        yield (world.reply or partial(_reply, world))(self._agent, request, chance)

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


def _reply(world: World, agent: str, request: Request, chance: Random) -> Reply:
    usage = Usage(requests=1, input=chance.randint(50, 900), output=20)
    if world.rows[agent].free:
        usage = Usage(requests=1)
    act = chance.random()
    words = SECRET if chance.random() < 0.1 else "well"
    nonce = request.digest()[:8]
    if act < 0.05:
        return Reply(text=f"{words}. Answer: {chance.randint(1, 3)}", usage=usage)
    if act < world.looking and agent in world.tooled:
        calls = _uses(nonce, words, chance, same=world.same)
        return Reply(calls=tuple(calls), text=words, usage=usage, native={"seen": [words]})
    if act < world.looking + 0.05:
        return Reply(calls=(ToolCall(id=nonce, name="vote", arguments="{"),), usage=usage)
    if act < world.looking + 0.08:
        return Reply(calls=(_call(nonce, 1, "nowhere", {"at": words}),), usage=usage)
    name, done = _handed_in(request, words, chance, world)
    workflow = world.rows[agent].workflow
    if workflow == "tools":
        both = name == "vote" and chance.random() < 0.05
        other = _call(nonce, 2, "new_answer", {"content": "It is both.", "conclusion": "both"})
        calls = [_call(nonce, 1, name, done), *([other] if both else [])]
        return Reply(calls=tuple(calls), usage=usage, native={"seen": [words]})
    text = json.dumps({"action": name} | done)
    return Reply(text=text if workflow == "json_schema" else f"Well.\n```json\n{text}\n```", usage=usage)


def _uses(nonce: str, words: str, chance: Random, *, same: float) -> list[ToolCall]:
    """Calls of tools: of one again and again, of a new kind, of none there is, beside a vote for nothing."""
    again = chance.random() < same
    name = "look" if chance.random() < 0.5 else "change"
    arguments = {} if again else {"at": nonce, "words": words}
    calls = [_call(nonce, 1, "look" if again else name, arguments)]
    if chance.random() < 0.2:
        calls.append(_call(nonce, 2, "change", {"at": f"{nonce}-2"}))
    if chance.random() < 0.1:
        calls.append(_call(nonce, 3, "nothing", {}))
    if chance.random() < 0.05:
        calls.append(_call(nonce, 4, "vote", {"answer": "agent9.9", "reason": "r"}))
    return calls


def _handed_in(
    request: Request, words: str, chance: Random, world: World
) -> tuple[str, dict[str, str | list[str]]]:
    labels = _valid(request)
    if labels and chance.random() < world.voting:
        label = chance.choice([*labels, *labels, *labels, "agent9.9"])
        return "vote", {"answer": label, "reason": f"it is {words}", "add": labels[:1]}
    value = chance.randint(1, world.values)
    return "new_answer", {"content": f"It is {value}, {words}.", "conclusion": str(value)}


def _call(nonce: str, number: int, name: str, arguments: Mapping[str, Any]) -> ToolCall:
    return ToolCall(id=f"{nonce}-{number}", name=name, arguments=json.dumps(arguments))


def _valid(request: Request) -> list[str]:
    """The labels that a careful reader would take for valid."""
    for message in reversed(request.messages):
        for text in (message.text, *(result.content for result in message.results)):
            found = _VALID.findall(text)
            if found:
                return _LABELS.findall(found[-1])
    shown = [label for label, _, _ in request.brief.answers] if request.brief else []
    return shown if request.brief and request.brief.kind == "vote" else []


class _Tools(NoTools):
    """Two tools that take their time: one may be repeated."""

    def __init__(self, world: World, agent: str, life: Life) -> None:
        self.specs = (_LOOK, _CHANGE) if agent in world.tooled else ()
        self.workspace = Path("work") if agent in world.tooled else None
        self.guidance = "Mind the files." if agent in world.tooled else ""
        self._world = world
        self._agent = agent
        self._life = life
        self._taken = 0
        self._state = "empty"

    def idempotent(self, name: str) -> bool:
        return name == "look" or self._world.plain

    async def begin(self, situation: Situation) -> None:
        self._life.situations.append((self._agent, situation))
        chance = self._world.chance(self._agent, "begin", len(situation.shown), situation.presents)
        await self._life.clock.sleep(chance.uniform(0, self._world.slow_begin))

    async def snapshot(self, *, empty: bool = False) -> str:
        del empty
        if not self.specs:
            return ""
        await self._life.clock.sleep(self._world.chance(self._agent, "snapshot").uniform(0, 2))
        return f"snapshot-{self._agent}"

    async def call(self, call: ToolCall) -> ToolResult:
        self._life.called.append((self._agent, call))
        chance = self._world.chance(self._agent, call.id, call.arguments)
        await self._life.clock.sleep(chance.uniform(0, 25))
        if chance.random() < 0.1 and self._life.charge is not None:
            self._life.charge(self._agent, Usage(requests=1, input=7, output=1, cost_usd=0.001))
        pictures = (Image(mime="image/png", data=_PIXEL),) if chance.random() < 0.2 else ()
        words = f"seen {SECRET}" if chance.random() < 0.2 else "seen"
        return ToolResult(call_id=call.id, content=words, is_error=chance.random() < 0.2, images=pictures)


class _OnePrice:
    async def cost(
        self, info: BackendInfo, options: Options, usage: Usage, *, served: str = ""
    ) -> tuple[float | None, CostSource]:
        del info, options, served
        return usage.tokens / 100_000, "table"


@dataclass
class Life:
    """One process's part of a run."""

    clock: ScriptedClock
    sent: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    called: list[tuple[str, ToolCall]] = field(default_factory=list[tuple[str, ToolCall]])
    situations: list[tuple[str, Situation]] = field(default_factory=list[tuple[str, Situation]])
    charge: Charge | None = None
    ended: Ended | None = None
    records: list[Record] = field(default_factory=list[Record])
    """All of the run's, from its beginning."""
    run: TeamRun | None = None
    error: BaseException | None = None

    @property
    def outcome(self) -> tuple[Any, ...]:
        """What a run comes to that must not depend on when it was interrupted."""
        assert self.ended is not None
        found = self.ended.outcome
        content = found.answer.content if found.answer else ""
        return (found.status, found.stopped_by, found.winner, content, found.rule)


class World:
    """One seed's team, and everything around it."""

    def __init__(self, seed: int, *, plain: bool = False, newsy: bool = False) -> None:
        """One team.

        Args:
            seed: which.
            plain: nothing depends on time: whatever happens, the outcome is the same.
            newsy: agents answer again and again while others use tools.
        """
        pick = Random(seed)
        self.seed = seed
        self.reply: Callable[[str, Request, Random], Reply] | None = None
        """What models say, where it is not drawn by lot."""
        self.meet: Callable[[str, Request, Clock], Awaitable[None]] | None = None
        """Awaited by each model, under its name, before it replies: for what takes time or fails."""
        self.plain = plain
        names = "abcde"[: pick.randint(2 if plain else 1, 4)]
        self.rows = {name: _row(pick) for name in names}
        self.tooled = frozenset(name for name in names if pick.random() < 0.7)
        self.failing = 0.0 if plain else pick.choice([0.0, 0.05, 0.15])
        self.looking = pick.choice([0.1, 0.4, 0.6])
        self.same = pick.choice([0.1, 0.9])
        self.voting = pick.choice([0.6, 0.95])
        self.values = pick.choice([1, 2, 4, 50])
        self.slow_begin = pick.choice([0.0, 1.0, 15.0])
        self.cancel_after = None if plain else pick.choice([None, None, None, 10.0, 40.0])
        self.places = None if plain else pick.choice([None, None, 1, 2])
        more = Random(f"more {seed}")
        self.settings = Settings(
            seed=seed,
            quorum=None if plain else pick.choice([None, None, 2]),
            exclude_self=pick.choice([None, True, False]),
            min_agents=pick.choice([1, 1, 2]),
            presentation="reuse" if plain else pick.choice(["winner", "reuse", "synthesize"]),
            present_always=pick.random() < 0.2 and not plain,
            max_answers=1 if plain else pick.choice([1, 2, 3]),
            lead=None if plain else more.choice([None, 1, 2]),
            novelty=None if plain else more.choice([None, 0.5]),
            tell_news=plain or more.random() < 0.7,
            max_news=None if plain else more.choice([None, 1]),
            max_rounds=None if plain else more.choice([None, None, 3]),
            skip_voting=pick.random() < 0.1,
        )
        limits = Limits(
            seconds=pick.choice([30.0, 120.0, 600.0]),
            first_round_seconds=pick.choice([None, 25.0]),
            round_seconds=pick.choice([None, 25.0]),
            tokens=pick.choice([None, None, 20_000, 200_000]),
            requests=pick.choice([None, None, 4, 30]),
            usd=pick.choice([None, None, 0.2, 5.0]),
            shares=Shares(turn=Share(seconds=pick.choice([None, None, 40.0]))),
        )
        if newsy:
            self.tooled, self.looking, self.voting, self.values = frozenset(names), 0.5, 0.4, 50
            self.settings = Settings(
                seed=seed,
                max_answers=3,
                presentation=self.settings.presentation,
                max_news=self.settings.max_news,
            )
            limits, self.cancel_after = Limits(seconds=3_000), None
        self.spec = TeamSpec(
            question="How many?",
            tag="data-0123456789abcdef",
            agents=tuple(
                AgentSpec(
                    id=name,
                    info=self.rows[name],
                    options=Options(type="scripted"),
                    fallbacks=() if plain else more.choice([(), (), ("spare",), ("spare", "last")]),
                )
                for name in names
            ),
            strategy="vote" if newsy else "auto" if plain else pick.choice(["auto", "vote"]),
            settings=self.settings,
            limits=Limits(seconds=1e9) if plain else limits,
        )

    def chance(self, *what: object) -> Random:
        """The same for the same."""
        return Random(hashlib.sha256(repr((self.seed, what)).encode()).digest())

    async def live(self, past: Sequence[Record] = ()) -> Life:
        """Run the team from the beginning, or from where the records end."""
        clock = QuickClock(past[-1].at + 100 if past else _START)
        life = Life(clock=clock)
        log = ListLog(clock, list(past))
        if past:
            await log.append("Notice", {"event": RESUMED})
        else:
            await log.append("RunStarted", {"question": "How many?"})
        places = self._places(clock)

        @asynccontextmanager
        async def open_workshop(
            run_id: str, spec: TeamSpec, tell: Tell, charge: Charge
        ) -> AsyncGenerator[Workshop]:
            del run_id, spec, tell
            life.charge = charge
            yield _Bench(self, life)

        async def open_backend(spec: AgentSpec, tools: Toolset) -> Backend:
            del tools
            await clock.sleep(self.chance(spec.id, "open").uniform(0, 1))
            return cast("Backend", _Model(self, spec.id, life, spec.options.model or f"{spec.id}-model"))

        ports = Ports(
            clock=clock,
            random=Random(self.seed),
            open_backend=open_backend,
            open_workshop=open_workshop,
            place=places,
        )
        run = life.run = TeamRun(
            self.spec,
            ports=ports,
            prices=cast("Prices", _OnePrice()),
            log=EventLog(log),
            past=list(log.records) if past else (),
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clock.run)
            if self.cancel_after is not None:
                tasks.start_soon(self._cancel, run, clock)
            try:
                life.ended = await run.drive()
            except Exception as error:  # noqa: BLE001 - it is for the test to judge
                life.error = error
            tasks.cancel_scope.cancel()
        life.records = log.records
        return life

    def _places(self, clock: ScriptedClock) -> Any:
        limiter = anyio.Semaphore(self.places or 100)

        def place(spec: AgentSpec) -> AbstractAsyncContextManager[Any]:
            del spec
            return limiter

        return place

    async def _cancel(self, run: TeamRun, clock: ScriptedClock) -> None:
        await clock.sleep(self.cancel_after or 0)
        run.cancel("scripted")


class _Bench:
    """A workshop that takes its time to open."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life
        self._tools = {agent: _Tools(world, agent, life) for agent in world.rows}
        self._ready: set[str] = set()

    async def toolset(self, agent: str) -> Toolset:
        if agent not in self._ready:
            await self._life.clock.sleep(self._world.chance(agent, "tools").uniform(0, 3))
            self._ready.add(agent)
        return cast("Toolset", self._tools[agent])

    async def made(self, snapshot: str | None) -> Made:
        del snapshot
        await anyio.lowlevel.checkpoint()
        return Made()


def _row(pick: Random) -> BackendInfo:
    workflow: Workflow = pick.choice(["tools", "tools", "tools", "json_schema", "text"])
    return BackendInfo(
        type="scripted",
        title="Scripted",
        vendor="test",
        module="scripted",
        hidden=True,
        workflow=workflow,
        free=pick.random() < 0.2,
    )
