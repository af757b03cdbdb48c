"""The life of runs across calls, processes and doors."""

from massgen_mcp.runs.ask import Allowance, Ask
from massgen_mcp.runs.handle import RunHandle
from massgen_mcp.runs.manager import Runs
from massgen_mcp.runs.result import RunResult
from massgen_mcp.runs.users import User
from massgen_mcp.runs.world import ResolvedTeam, Teams, World

__all__ = ["Allowance", "Ask", "ResolvedTeam", "RunHandle", "RunResult", "Runs", "Teams", "User", "World"]
