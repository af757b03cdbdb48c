"""An agent's place in a run: its model, its conversation so far, and what it has used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from massgen_mcp.backends.base import Backend
from massgen_mcp.engine import AnswerId
from massgen_mcp.messages import Message
from massgen_mcp.team.spec import AgentSpec
from massgen_mcp.tools.toolset import NoTools, Toolset
from massgen_mcp.usage import Usage

__all__ = ["AgentState", "Seat"]

AgentState: TypeAlias = Literal[
    "waiting", "working", "answered", "voted", "presented", "abstained", "failed", "stopped"
]


@dataclass(slots=True, kw_only=True)
class Seat:
    """What the team keeps for one agent while a run is in motion."""

    spec: AgentSpec
    label: str
    backend: Backend | None = None
    toolset: Toolset = field(default_factory=NoTools)
    """Its tools, from its first turn on."""
    conversation: tuple[Message, ...] = ()
    """Of finished turns only: a stopped turn leaves no trace, so prefixes stay stable."""
    seen: frozenset[AnswerId] = frozenset()
    """Answers that the conversation holds."""
    usage: Usage = field(default_factory=Usage)
    lost: Usage = field(default_factory=Usage)
    """Requests that were under way when their turn was stopped, at what was set aside for them."""
    attempts: int = 0
    retries: int = 0
    tool_calls: int = 0
    charged: Usage = field(default_factory=Usage)
    """Of tools that asked a provider, not written down yet."""
    seconds: float = 0.0
    model: str = ""
    """As served, once a reply has come."""
    state: AgentState = "waiting"
    error: str = ""
    error_kind: str = ""
    retired: list[Backend] = field(default_factory=list[Backend])
    """Models that a fallback took over from, to be closed at the end."""
    fallen: int = 0
    """How many of its fallback models it has gone on to."""
    warnings: list[str] = field(default_factory=list[str])
    repeats: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """How often the same call of a tool was made."""
