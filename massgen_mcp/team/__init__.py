"""One run in motion: prompts, workflow tools, turns, the pump, limits."""

from massgen_mcp.team.log import EventLog, Listener
from massgen_mcp.team.pump import Ended, TeamRun
from massgen_mcp.team.spec import AgentSpec, Limits, Ports, TeamSpec

__all__ = ["AgentSpec", "Ended", "EventLog", "Limits", "Listener", "Ports", "TeamRun", "TeamSpec"]
