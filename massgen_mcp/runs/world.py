"""What runs need of the outside: teams that are resolved, models, tools, files, a journal."""

from __future__ import annotations

import secrets as system_secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.prices import Prices
from massgen_mcp.clock import Clock
from massgen_mcp.engine import Settings
from massgen_mcp.errors import RequestRefused
from massgen_mcp.journal import Journal
from massgen_mcp.runs.ask import Allowance, Ask
from massgen_mcp.runs.material import Material
from massgen_mcp.runs.settings import OnDisconnect
from massgen_mcp.secrets import Secrets
from massgen_mcp.team import AgentSpec
from massgen_mcp.team.shares import Shares
from massgen_mcp.team.spec import Equipment, OpenWorkshop, no_queue, no_tools
from massgen_mcp.tools.toolset import Toolset

__all__ = ["ResolvedTeam", "Teams", "World", "no_material"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTeam:
    """A team ready to be asked: every file read, every key found, nothing spent."""

    name: str
    agents: tuple[AgentSpec, ...]
    strategy: str
    settings: Settings
    allowance: Allowance
    first_round_seconds: float | None = None
    round_seconds: float | None = None
    shares: Shares = field(default_factory=Shares)
    """What each round, turn and request may use of the allowance."""
    why: str = ""
    warnings: tuple[str, ...] = ()
    equipment: Equipment = field(default_factory=Equipment)
    config: dict[str, Any] | None = None
    journalled: bool = True
    named: str | None = None
    """What it is called by where its caller named none, and others would get another."""


class Teams(Protocol):
    """Where teams come from."""

    async def resolve(self, ask: Ask) -> ResolvedTeam:
        """The team a question is for.

        Raises:
            ConfigError: its file can't be used.
            RequestRefused: there is no such team, or nothing is ready to answer.
        """
        ...

    async def catalogue(self, backend: str | None = None, task: str | None = None) -> dict[str, Any]:
        """Backends and teams, ready or why not, as `list_backends` returns it.

        Raises:
            RequestRefused: no such backend or task.
        """
        ...

    async def matrix(self) -> dict[str, Any]:
        """Every backend with everything its row says."""
        ...

    async def validate(self, config: str) -> dict[str, Any]:
        """Problems of a config given by name, path or as YAML text, as `validate_config` returns it."""
        ...

    def names(self) -> list[str]:
        """Names of teams that can be asked."""
        ...

    async def show(self, name: str) -> str:
        """What a team's file resolves to, as text, without secrets.

        Raises:
            RequestRefused: there is no such team.
        """
        ...

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a team file."""
        ...


async def no_material(ask: Ask) -> Material:
    """Nothing, where no files can be read.

    Raises:
        RequestRefused: the question comes with some.
    """
    if ask.files or ask.images:
        raise RequestRefused("No files can be read here. Put their text into `context`. Nothing was spent.")
    return Material()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside that runs need."""

    clock: Clock
    teams: Teams
    prices: Prices
    open_journal: Callable[[], Awaitable[Journal]]
    open_backend: Callable[[AgentSpec, Toolset], Awaitable[Backend]]
    place: Callable[[AgentSpec], AbstractAsyncContextManager[Any]] = no_queue
    """Where requests queue for servers that take only so many at once."""
    open_workshop: OpenWorkshop = no_tools
    """The tools of a run."""
    state_dir: Path | None = None
    """Where the folders of runs lie; None: no run has one."""
    gather: Callable[[Ask], Awaitable[Material]] = no_material
    """Reads the files and images of a question."""
    project: Path | None = None
    """The root that files of a question are named from."""
    random: Callable[[], Random] = lambda: Random(system_secrets.randbits(64))  # noqa: S311 - seeded from the system's
    max_runs: int = 16
    """Runs in motion at once in this process; more wait."""
    max_agents: int | None = None
    """Agents of all runs in motion in this process; None: any number."""
    max_memory: int | None = None
    """MiB of those agents; None: any amount."""
    keep_days: float | None = None
    """Runs that have been over for longer are deleted, once a day; None: they are kept."""
    usd_per_day: float | None = None
    """US dollars of all runs on the state folder that begin in one day, UTC; None: no limit."""
    on_disconnect: OnDisconnect = "auto"
    """What becomes of a run whose caller goes away; the doors see to it."""
    secrets: Secrets = field(default_factory=Secrets)
    """What must not be shown; the doors redact everything by it."""
