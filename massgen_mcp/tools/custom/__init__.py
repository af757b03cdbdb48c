"""An operator's Python functions as tools: what files say of them here, running them in `.tools`.

Checking a team file must not import what starts processes.
"""

from __future__ import annotations

from massgen_mcp.tools.custom.source import (
    PREFIX,
    CustomFunction,
    Entry,
    Finding,
    Source,
    SourceUnreadable,
    describe,
    read_source,
)

__all__ = [
    "PREFIX",
    "CustomFunction",
    "Entry",
    "Finding",
    "Source",
    "SourceUnreadable",
    "describe",
    "read_source",
]
