"""What a row of the registry says about a backend. Data only: importing this loads no vendor's package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias

__all__ = [
    "BackendInfo",
    "Capability",
    "Cell",
    "Direction",
    "ModelInfo",
    "Support",
    "Task",
    "TimeLimits",
    "Workflow",
]

Workflow: TypeAlias = Literal["tools", "json_schema", "text"]
"""How an agent hands in answers and votes: as functions, one constrained object, or a last fenced block."""

Task: TypeAlias = Literal["research", "coding", "analysis", "cheap", "private"]


class Capability(StrEnum):
    """The columns of the support matrix."""

    WEB_SEARCH = "web_search"
    CODE_EXECUTION = "code_execution"
    SHELL = "shell"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    MCP = "mcp"
    FILESYSTEM = "filesystem"
    CUSTOM_TOOLS = "custom_tools"


class Support(StrEnum):
    """How a capability is there."""

    BUILT_IN = "built_in"
    VIA_MCP = "via_mcp"
    VIA_CUSTOM_TOOL = "via_custom_tool"
    NONE = "none"
    VARIES = "varies"
    LIMITED = "limited"


class Direction(StrEnum):
    """For pictures, sound and video: reading them, making them, or both."""

    UNDERSTAND = "understand"
    GENERATE = "generate"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the support matrix."""

    support: Support
    direction: Direction | None = None
    key: str = ""
    """The variable whose key it needs beyond the backend's own; empty for none."""
    note: str = ""
    """What the symbol alone does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What we know of one model. Unknown models are never refused; these facts only inform."""

    name: str
    retires: date | None = None
    """The day the provider has said it stops serving it, or stopped."""
    successor: str = ""
    tasks: Mapping[Task, int] = field(default_factory=lambda: MappingProxyType(dict[Task, int]()))
    """Rank, from 1, in the selection guide's list for a task."""
    sampling: bool = True
    """Whether it takes temperature and top_p."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimits:
    """Seconds. Defaults of a row; `timeout` and `timeout_settings` of a team file override."""

    first_byte: float = 120.0
    idle: float = 120.0
    deep_idle: float = 300.0
    """Instead of `idle` when reasoning effort is high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo:
    """A backend's row: the only place that says what it can do."""

    type: str
    title: str
    vendor: str
    """The default team takes one agent per vendor."""
    module: str
    """The module of `massgen_mcp.backends` holding its `Options` and `Backend`."""
    executes: bool = True
    """False: a team file naming it validates, and a run says that it is not available yet."""
    kind: Literal["model", "runtime"] = "model"
    local: bool = False
    """Nothing leaves this machine, so it may be part of a private team."""
    workflow: Workflow = "tools"
    env: tuple[str, ...] = ()
    """Variables that may hold its key, the first that is set wins."""
    key_optional: bool = False
    """It can work without a key (local servers, subscriptions)."""
    base_url: str | None = None
    loaded_path: str = "models"
    """Where a local server lists the models in its memory: below `base_url`, or with `/` from its root on."""
    on_demand: bool = False
    """A local server that loads a model from its disk when it is first asked for."""
    elsewhere: tuple[str, ...] = ()
    """Shell-style patterns of models that a local server hands on to machines of its vendor."""
    hosts: tuple[str, ...] = ()
    """Host names (and their subdomains) that the key from `env` may be sent to."""
    default_model: str | None = None
    models: tuple[ModelInfo, ...] = ()
    patterns: tuple[str, ...] = ()
    """Shell-style patterns of bare model names that mean this backend."""
    synonyms: tuple[str, ...] = ()
    """Names people use for it, for suggestions."""
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(dict[str, str]()))
    """Model names people use -> the provider's exact id."""
    price_provider: str | None = None
    """Its id in the price table; None: unknown or free."""
    free: bool = False
    support: Mapping[Capability, Cell] = field(
        default_factory=lambda: MappingProxyType(dict[Capability, Cell]())
    )
    image_input: bool = False
    """Its API takes pictures as part of a message."""
    hidden: bool = False
    """Left out of listings; for tests and simulation."""
    flags: tuple[str, ...] = ()
    """`enable_*` switches it takes natively."""
    flag_aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(dict[str, str]()))
    """`enable_*` switches it takes under another name -> the native one."""
    flag_reasons: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(dict[str, str]()))
    """Why an `enable_*` switch is refused, where there is more to say than that it is not there."""
    sampling: tuple[str, ...] = ("temperature", "top_p", "max_tokens")
    untaken: tuple[str, ...] = ()
    """Keys of every block that there is no way to hand on to it."""
    limits: TimeLimits = TimeLimits()
    max_concurrent: int | None = None
    memory: int = 1
    """MiB that one agent takes while a run is in motion, its own program included, roughly."""
    extra: str | None = None
    """The extra of this package that brings what it needs."""
    package: str | None = None
    """The module that this extra brings, by which one sees whether it is installed."""
    programs: tuple[str, ...] = ()
    """Programs of others that it starts, by which one sees whether they are installed."""
    setup: str = ""
    """One line: how a person makes it ready."""
    rank: int = 99
    """Place in the default team's order of preference."""
