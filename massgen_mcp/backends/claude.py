"""Anthropic's Claude by the Messages API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from massgen_mcp.backends.options import Options as BaseOptions
from massgen_mcp.backends.reasoning import Effort, Reasoning

__all__ = ["Options", "Thinking"]

_LEAST_BUDGET = 1024


class Thinking(BaseModel):
    """`thinking:` as the Messages API takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["adaptive", "enabled", "disabled"]
    budget_tokens: Annotated[int, Field(ge=_LEAST_BUDGET)] | None = None

    @model_validator(mode="after")
    def _budget(self) -> Thinking:
        if (self.type == "enabled") != (self.budget_tokens is not None):
            raise ValueError("budget_tokens goes with type: enabled, and only with it")
        return self


class Options(BaseOptions):
    """The backend block of `type: claude`."""

    top_k: Annotated[int, Field(ge=0)] | None = None
    stop_sequences: tuple[str, ...] | None = None
    thinking: Thinking | None = None
    thinking_budget: Annotated[int, Field(ge=_LEAST_BUDGET)] | None = None
    """Tokens for thinking, where the model takes a budget; else it thinks adaptively."""
    max_thinking_tokens: Annotated[int, Field(ge=_LEAST_BUDGET)] | None = None
    """Another name of `thinking_budget`."""
    effort: Effort | None = None
    reasoning: Reasoning | None = None
    """`reasoning.effort` means the same as `effort`."""
    service_tier: Literal["auto", "standard_only"] | None = None
