"""Google's Gemini by generateContent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from massgen_mcp.backends.options import Options as BaseOptions, as_tuples
from massgen_mcp.backends.reasoning import Reasoning

__all__ = ["HARM_CATEGORIES", "HARM_THRESHOLDS", "Options", "SafetySetting"]

HARM_CATEGORIES = (
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
)
HARM_THRESHOLDS = ("BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF")

ThinkingLevel = Literal["minimal", "low", "medium", "high", "xhigh"]


class SafetySetting(BaseModel):
    """One filter: a kind of harm and from what probability on it blocks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: str
    threshold: str

    @field_validator("category", mode="after")
    @classmethod
    def _category(cls, value: str) -> str:
        return _one_of(value, HARM_CATEGORIES, "harm category")

    @field_validator("threshold", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "OFF" if value is False else value  # OFF without quotes is a boolean in YAML 1.1

    @field_validator("threshold", mode="after")
    @classmethod
    def _threshold(cls, value: str) -> str:
        return _one_of(value, HARM_THRESHOLDS, "threshold")


def _one_of(value: str, valid: tuple[str, ...], what: str) -> str:
    if value.upper() not in valid:
        raise ValueError(f"unknown {what}; valid are {', '.join(valid)}")
    return value.upper()


class Options(BaseOptions):
    """The backend block of `type: gemini`."""

    top_k: Annotated[int, Field(ge=0)] | None = None
    seed: int | None = None
    stop_sequences: tuple[str, ...] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    safety_settings: tuple[SafetySetting, ...] = ()
    """A list of `{category, threshold}`, or a mapping of the one to the other."""
    thinking_budget: Annotated[int, Field(ge=-1)] | None = None
    """Tokens; 0 off, -1 as the model likes (2.5 models)."""
    thinking_level: ThinkingLevel | None = None
    """For models from 3 on."""
    include_thoughts: bool | None = None
    reasoning: Reasoning | None = None
    api_version: Literal["v1", "v1beta", "v1alpha"] | None = None

    @field_validator("safety_settings", mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return as_tuples(value)
        settings = cast("Mapping[str, object]", value)
        return tuple({"category": kind, "threshold": threshold} for kind, threshold in settings.items())

    @model_validator(mode="after")
    def _one_kind_of_thinking(self) -> Options:
        if self.thinking_budget is not None and self.thinking_level is not None:
            raise ValueError("give thinking_budget (2.5 models) or thinking_level (3 and later), not both")
        return self
