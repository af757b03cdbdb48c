"""A run as it is asked of a team: values only, worked out before anything is spent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from pydantic import SecretStr

from massgen_mcp.backends.base import Backend
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.clock import Clock
from massgen_mcp.engine import AgentId, Settings
from massgen_mcp.messages import Image
from massgen_mcp.team.scrutiny import LENIENT, Scrutiny
from massgen_mcp.team.shares import Shares
from massgen_mcp.tools.toolset import NoTools, Toolset
from massgen_mcp.usage import Usage

if TYPE_CHECKING:
    from massgen_mcp.config.agent_tools import AgentTools
    from massgen_mcp.workspace.context import Context

__all__ = [
    "AgentSpec",
    "Attached",
    "ChangedFile",
    "Charge",
    "Earlier",
    "EarlierWork",
    "Equipment",
    "Exchange",
    "Limits",
    "Made",
    "MadeFile",
    "OpenWorkshop",
    "Ports",
    "TeamSpec",
    "Tell",
    "Workshop",
    "no_queue",
    "no_tools",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """One agent of a run."""

    id: AgentId
    info: BackendInfo
    options: Options
    system_message: str = ""
    weight: float = 1.0
    scrutiny: Scrutiny = LENIENT
    """How hard it looks before it votes."""
    fallbacks: tuple[str, ...] = ()
    """Models of the same backend that take over when its own can't answer."""
    seed: int = 0
    api_key: SecretStr | None = None
    """The key from the environment; one in the team file stands in `options`."""
    key_name: str = ""
    """The variable behind the key in the team file, where it names one."""
    environ: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """The variables that hold for its team."""
    sandbox: Literal["auto", "off"] = "auto"
    """`off`: its programs are not confined, by the operator's explicit word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how much. Seconds, US dollars; None: no limit."""

    seconds: float = 600.0
    first_round_seconds: float | None = None
    round_seconds: float | None = None
    usd: float | None = None
    tokens: int | None = None
    requests: int | None = None
    unpriced_tokens: int | None = 200_000
    """Holds where a model's price is not known and `tokens` is not set."""
    shares: Shares = field(default_factory=Shares)
    """What each round, turn and request may use of it; the seconds of rounds and requests are kept elsewhere:
    in `first_round_seconds` and `round_seconds`, and in the agents' options."""

    @property
    def answering_seconds(self) -> float:
        """When answering closes, so that time is left to vote and present: a minute or a quarter before."""
        return self.seconds - min(60.0, self.seconds / 4)

    def round(self, number: int) -> float | None:
        """The limit of round `number`, from 1."""
        return self.first_round_seconds if number <= 1 else self.round_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierWork:
    """The files of another run's answer, with which the agents of a follow-up begin."""

    run_id: str
    snapshot: str
    storage: str = "snapshots"
    """What that run's team called the folder of its snapshots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What the agents of a team may use beside their models: values for the workshop of a run."""

    tools: Mapping[AgentId, AgentTools] = field(default_factory=dict[AgentId, "AgentTools"])
    contexts: Mapping[AgentId, tuple[Context, ...]] = field(
        default_factory=dict[AgentId, "tuple[Context, ...]"]
    )
    """What each may see of the project; only a presenter may write to it, where that is granted."""
    planning: bool = False
    """Tools with side effects wait for the presenter's turn."""
    planning_words: str = ""
    """The operator's own instruction for that."""
    snapshot_storage: str = "snapshots"
    temporary: str = "temp_workspaces"
    private: bool = False
    """Nothing may leave this machine."""
    beside: Path | None = None
    """The folder of the team file."""
    approved: tuple[Path, ...] = ()
    """Other folders that custom tools may be loaded from."""
    optional: frozenset[AgentId] = frozenset()
    """Agents that the run goes on without where their tools can't be had."""
    earlier: EarlierWork | None = None
    """What each workspace is when it is first made; None: empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What came with the question: data for the agents, never instructions."""

    texts: Mapping[AgentId, str] = field(default_factory=dict[AgentId, str])
    """The files as each agent is shown them: whole, or listed where it can read them by itself."""
    images: tuple[Image, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name -> SHA-256 of all of it, for the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A question that was asked before in the same conversation, and the answer that was presented."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What a follow-up goes on from."""

    exchanges: tuple[Exchange, ...]
    """Oldest first."""
    own: Mapping[AgentId, str] = field(default_factory=dict[AgentId, str])
    """The last answer of each agent that took part in the newest of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamSpec:
    """A question for a team."""

    question: str
    agents: tuple[AgentSpec, ...]
    strategy: str
    settings: Settings
    limits: Limits
    context: str = ""
    tag: str = ""
    """The run's random fence around what is only data; made by the run where it is empty."""
    attached: Attached = field(default_factory=Attached)
    earlier: Earlier | None = None
    equipment: Equipment = field(default_factory=Equipment)
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The resolved configuration, secrets as references: what the journal keeps."""


Tell: TypeAlias = Callable[[AgentId, str], None]
"""Told what an agent's tools are doing, in a few words."""
Charge: TypeAlias = Callable[[AgentId, Usage], None]
"""Told what an agent's tool used of a provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeFile:
    """A file that came with the answer."""

    path: str
    mime: str
    bytes: int
    local_path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """A file of the project that the presenter changed."""

    path: str
    added: int
    """Lines."""
    removed: int
    diff: str = ""
    """Unified; empty for what is no text, or too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the agents of a run leave behind beside the answer."""

    files: tuple[MadeFile, ...] = ()
    changes: tuple[ChangedFile, ...] = ()
    warnings: tuple[str, ...] = ()


class Workshop(Protocol):
    """Where the agents of a run get their tools, open for as long as the run."""

    async def toolset(self, agent: AgentId) -> Toolset:
        """That agent's tools, once they are up.

        Raises:
            BackendError: they can't be had as the team file wants them; kind `unavailable`.
        """
        ...

    async def made(self, snapshot: str | None) -> Made:
        """What came of the run: the files of the final answer's snapshot, and changes to the project."""
        ...


class _Empty:
    """The workshop of a team without tools."""

    async def toolset(self, agent: AgentId) -> Toolset:
        """None."""
        del agent
        return NoTools()

    async def made(self, snapshot: str | None) -> Made:
        """Nothing."""
        del snapshot
        return Made()


@asynccontextmanager
async def no_tools(run_id: str, spec: TeamSpec, tell: Tell, charge: Charge) -> AsyncGenerator[Workshop]:
    """A workshop in which there is nothing."""
    del run_id, spec, tell, charge
    yield _Empty()


def no_queue(spec: AgentSpec) -> AbstractAsyncContextManager[None]:
    """The place of a backend that takes any number of requests at once."""
    del spec
    return nullcontext()


OpenWorkshop: TypeAlias = Callable[[str, TeamSpec, Tell, Charge], AbstractAsyncContextManager[Workshop]]
"""The tools of the run of that id, for as long as it lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The outside world of a run. Each has a real and a scripted filling; the journal is the fifth."""

    clock: Clock
    random: Random
    open_backend: Callable[[AgentSpec, Toolset], Awaitable[Backend]]
    """The agent's backend, beside the tools and the folder it works with."""
    place: Callable[[AgentSpec], AbstractAsyncContextManager[Any]] = no_queue
    """Held while a request is under way: a local server takes only so many at once. Waiting for it counts
    against the time of its turn, its round and the run, not of the request."""
    open_workshop: OpenWorkshop = no_tools
    """The tools of the run of that id."""
