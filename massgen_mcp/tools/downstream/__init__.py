"""Tools of MCP servers that a team file names.

`DownstreamTools` connects when its block is entered, says what there is once `ready`, and runs calls.
"""

from massgen_mcp.tools.downstream.entry import Confiner, Entry, Outside, PackageCache, Spill
from massgen_mcp.tools.downstream.tools import DownstreamTools, SharedServers

__all__ = ["Confiner", "DownstreamTools", "Entry", "Outside", "PackageCache", "SharedServers", "Spill"]
