"""How much may be in motion at once in one process: runs, agents, and the memory of agents' programs.

A run begins once all of it fits, so that no two wait for each other half-way. First come, first served: a
large run is not overtaken for ever by small ones. One that is larger than a limit by itself runs alone.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from massgen_mcp.team.spec import AgentSpec

__all__ = ["Load", "Places", "load_of", "machine_memory"]

_MEBIBYTE = 1024 * 1024
_WAITING = "waiting for other runs"
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a run takes while it is in motion."""

    runs: int = 1
    agents: int = 0
    memory: int = 0
    """MiB of its agents, roughly."""


def load_of(agents: Iterable[AgentSpec]) -> Load:
    """What a run of these agents takes."""
    members = tuple(agents)
    return Load(agents=len(members), memory=sum(agent.info.memory for agent in members))


def machine_memory(limits: Iterable[Path] = _CGROUP_LIMITS) -> int | None:
    """MiB of this machine, or of the container where that has less; None where the system does not say."""
    found: list[int] = []
    if {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys():
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in limits:
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if text.isdecimal():  # `max` where there is no limit
            found.append(int(text))
    return min(found) // _MEBIBYTE if found else None


@dataclass(slots=True, eq=False)
class _Waiting:
    load: Load
    tell: Callable[[str], None]
    turn: anyio.Event = field(default_factory=anyio.Event)


class Places:
    """The places of one process.

    Args:
        runs: at most so many at once.
        agents: of all runs together; None: any number.
        memory: MiB of all agents together; None: any amount.
    """

    def __init__(self, *, runs: int, agents: int | None = None, memory: int | None = None) -> None:
        self._most = (("runs", runs), ("agents", agents), ("memory", memory))
        self._taken = {"runs": 0, "agents": 0, "memory": 0}
        self._queue: deque[_Waiting] = deque()

    @asynccontextmanager
    async def place(self, load: Load, tell: Callable[[str], None]) -> AsyncGenerator[None]:
        """Room for a run, for the time of the block; waits for it.

        Args:
            load: what the run takes.
            tell: told what it waits for whenever that changes, and "" once it may begin.
        """
        waiting = _Waiting(load, tell)
        self._queue.append(waiting)
        self._admit()
        try:
            await waiting.turn.wait()
        except BaseException:
            self._leave(waiting)
            raise
        try:
            yield
        finally:
            self._give_back(load)

    def _leave(self, waiting: _Waiting) -> None:
        if waiting.turn.is_set():  # cancelled at the very moment that its turn came
            self._give_back(waiting.load)
            return
        self._queue.remove(waiting)
        self._admit()

    def _give_back(self, load: Load) -> None:
        for name in self._taken:
            self._taken[name] -= getattr(load, name)
        self._admit()

    def _admit(self) -> None:
        """Let in whoever fits, in order; tell the others what they wait for."""
        while self._queue and not self._lacks(self._queue[0].load):
            first = self._queue.popleft()
            for name in self._taken:
                self._taken[name] += getattr(first.load, name)
            first.tell("")
            first.turn.set()
        for waiting in self._queue:
            waiting.tell(self._lacks(waiting.load) or _WAITING)

    def _lacks(self, load: Load) -> str:
        """What there is too little of for a run to begin now; empty if it may."""
        if not self._taken["runs"]:
            return ""
        for name, most in self._most:
            wanted = getattr(load, name)
            if most is not None and self._taken[name] + wanted > most:
                return _words(name, wanted, max(0, most - self._taken[name]), most)
        return ""


def _words(name: str, wanted: int, free: int, most: int) -> str:
    match name:
        case "runs":
            return _WAITING
        case "agents":
            return f"{_WAITING}: it has {wanted} agents, and {free} of {most} places for agents are free"
        case _:
            return f"{_WAITING}: its agents take about {wanted:,} MiB, and {free:,} of {most:,} are free"
