"""Who of a team takes part: optional agents without a key sit out, and all others must be ready."""

from __future__ import annotations

from dataclasses import dataclass

from massgen_mcp.config.environment import Environment
from massgen_mcp.config.models import AgentConfig, TeamConfig
from massgen_mcp.config.readiness import Readiness, agent_readiness
from massgen_mcp.errors import RequestRefused

__all__ = ["Seating", "seat_agents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seating:
    """Who takes part, and who does not and why."""

    agents: tuple[AgentConfig, ...]
    out: tuple[tuple[AgentConfig, Readiness], ...] = ()
    """Agents that are not ready, with what each lacks."""
    spare: tuple[AgentConfig, ...] = ()
    """Ready, and not needed: the team has its `max_agents`."""


def seat_agents(team: TeamConfig, environment: Environment) -> Seating:
    """The agents of a run, as far as settings tell; servers are not asked whether they run.

    Raises:
        RequestRefused: an agent that is not optional is not ready, or fewer than `min_agents` are.
    """
    ready: list[AgentConfig] = []
    out: list[tuple[AgentConfig, Readiness]] = []
    for agent in team.agents:
        found = agent_readiness(agent, environment)
        if found.ready:
            ready.append(agent)
        else:
            out.append((agent, found))
    needed = [(agent, found) for agent, found in out if not agent.optional]
    if needed:
        raise RequestRefused(f"Team {team.name!r}: {_why(needed)} Nothing was spent.")
    least = team.orchestrator.min_agents
    if len(ready) < least:
        have = f"{len(ready)} of at least {least} agents are ready"
        raise RequestRefused(f"Team {team.name!r}: {have}. {_why(out)} Nothing was spent.")
    most = team.orchestrator.max_agents or len(ready)
    return Seating(agents=tuple(ready[:most]), out=tuple(out), spare=tuple(ready[most:]))


def _why(lacking: list[tuple[AgentConfig, Readiness]]) -> str:
    lines = [f"{agent.id}: {found.why}. {found.remedy}".strip() for agent, found in lacking]
    return " ".join(line if line.endswith((".", "?")) else f"{line}." for line in lines)
