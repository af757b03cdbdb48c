"""The tool definitions as served: read from a checked-in file, since deriving them takes too long."""

from __future__ import annotations

import json
from importlib.resources import files

import mcp_types as types

__all__ = ["SNAPSHOT", "load_tools"]

SNAPSHOT = files("massgen_mcp.server") / "definitions.json"


def load_tools() -> list[types.Tool]:
    """The definitions, in the order listed."""
    return [types.Tool.model_validate(tool) for tool in json.loads(SNAPSHOT.read_text(encoding="utf-8"))]
