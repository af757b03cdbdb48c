"""OpenAI by the Responses API."""

from __future__ import annotations

from typing import Literal

from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.reasoning import Reasoning, TextStyle

__all__ = ["Options"]


class Options(BaseOptions):
    """The backend block of `type: openai`."""

    text: TextStyle | None = None
    reasoning: Reasoning | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    parallel_tool_calls: bool | None = None
    organization: str | None = None
    project: str | None = None
