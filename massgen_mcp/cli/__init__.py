"""The terminal: the same runs as over MCP, for people and scripts."""

from massgen_mcp.cli.program import main

__all__ = ["main"]
