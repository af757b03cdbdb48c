"""What a backend block may say to every model behind the Responses API."""

from __future__ import annotations

from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.reasoning import Reasoning, TextStyle

__all__ = ["ResponsesOptions"]


class ResponsesOptions(BaseOptions):
    """Keys that OpenAI, xAI and Azure's v1 API share."""

    text: TextStyle | None = None
    reasoning: Reasoning | None = None
    parallel_tool_calls: bool | None = None
