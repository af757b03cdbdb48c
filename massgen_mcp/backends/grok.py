"""xAI's Grok by the Responses API."""

from __future__ import annotations

from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.reasoning import Reasoning, TextStyle

__all__ = ["Options"]


class Options(BaseOptions):
    """The backend block of `type: grok`."""

    enable_x_search: bool = False
    """Search posts on X, beside or instead of the web."""
    reasoning: Reasoning | None = None
    text: TextStyle | None = None
    parallel_tool_calls: bool | None = None
