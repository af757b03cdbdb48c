"""One agent with everything that its checks look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.registry import by_host
from massgen_mcp.backends.urls import host_of
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.expand import Reference
from massgen_mcp.config.models import AgentConfig
from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.config.readiness import address_of
from massgen_mcp.config.tree import Value
from massgen_mcp.errors import Problem, Severity

__all__ = ["Seat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """An agent, its row, and its place in the file."""

    agent: AgentConfig
    info: BackendInfo
    path: KeyPath
    places: Places
    environment: Environment
    inline: bool = False
    """The YAML came over the wire, not from the operator's folders."""
    raw: Mapping[str, Value] = field(default_factory=dict[str, Value])
    """The agent as written, before variables were replaced."""
    references: Mapping[KeyPath, Reference] = field(default_factory=dict[KeyPath, Reference])
    broken: frozenset[str] = frozenset()
    """Keys of the block that can't be read, and are told of: nothing follows from what is left."""

    @property
    def provider(self) -> BackendInfo:
        """The row whose built-in tools there are: for `chatcompletion`, that of the host's owner."""
        if self.info.type != "chatcompletion":
            return self.info
        address = address_of(self.agent.backend, self.environment)
        return (by_host(host_of(address)) if address else None) or self.info

    def problem(
        self, *keys: str | int, message: str, severity: Severity = "error", hint: str = ""
    ) -> Problem:
        """A problem in this agent's backend block, at that key."""
        return self.places.problem((*self.path, "backend", *keys), message, severity=severity, hint=hint)

    def server_path(self, index: int) -> KeyPath:
        """Where an MCP server's entry stands in the block, in a list or in a mapping of names."""
        block = self.raw.get("backend")
        entries = block.get("mcp_servers") if isinstance(block, dict) else None
        named = isinstance(entries, dict) and index < len(entries)
        return "mcp_servers", list(entries)[index] if isinstance(entries, dict) and named else index
