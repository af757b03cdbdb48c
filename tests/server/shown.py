"""What a tool call showed its caller, and a team worth looking at."""

from __future__ import annotations

from typing import Any

import mcp_types as types

__all__ = ["SPLIT", "data", "text"]

SPLIT = {
    "a": ["answer: 4\nfour", "vote: 5 because it is right"],
    "b": ["answer: 5\nfive", "vote: 4 because it is even"],
    "c": ["answer: 6\nsix", "vote: 5"],
}
"""Three answers; b wins the vote."""


def data(result: types.CallToolResult) -> dict[str, Any]:
    """The structured part."""
    found: dict[str, Any] = result.structured_content or {}
    return found


def text(result: types.CallToolResult) -> str:
    """The text part."""
    (found,) = result.content
    assert isinstance(found, types.TextContent)
    return found.text
