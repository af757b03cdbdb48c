"""The variables this program knows by name."""

from __future__ import annotations

from massgen_mcp.backends.registry import BACKENDS

__all__ = ["AZURE_ENDPOINT", "AZURE_VERSION", "KNOWN_KEYS", "KNOWN_VARIABLES"]

AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
AZURE_VERSION = "AZURE_OPENAI_API_VERSION"

KNOWN_KEYS = frozenset({name for row in BACKENDS.values() for name in row.env} | {"CLAUDE_CODE_OAUTH_TOKEN"})
"""Those that hold a key."""

KNOWN_VARIABLES = KNOWN_KEYS | {AZURE_ENDPOINT, AZURE_VERSION}
"""Those whose being set or not may be told to whoever sends YAML."""
