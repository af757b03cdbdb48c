"""Parts of a backend block that several providers share: how deeply to think, how long to talk."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Effort", "Reasoning", "TextStyle", "Verbosity"]

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity: TypeAlias = Literal["low", "medium", "high"]


class Reasoning(BaseModel):
    """`reasoning:` as the Responses API takes it; other providers are given what they have of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    mode: Literal["standard", "pro"] | None = None
    context: str | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    """A ceiling for reasoning, where the provider has one (OpenRouter)."""


class TextStyle(BaseModel):
    """`text:` as the Responses API takes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verbosity: Verbosity | None = None
