"""The variables this program knows by name."""

from __future__ import annotations

from massgen_mcp.backends.registry import BACKENDS

__all__ = ["AZURE_ENDPOINT", "AZURE_VERSION", "KNOWN_VARIABLES"]

AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
AZURE_VERSION = "AZURE_OPENAI_API_VERSION"

KNOWN_VARIABLES = frozenset(
    {name for row in BACKENDS.values() for name in row.env}
    | {AZURE_ENDPOINT, AZURE_VERSION, "CLAUDE_CODE_OAUTH_TOKEN"}
)
"""Those whose being set or not may be told to whoever sends YAML."""
