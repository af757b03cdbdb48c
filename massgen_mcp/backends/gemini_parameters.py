"""The parameters of generateContent: what the team file sets, what a model refuses, what was left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from massgen_mcp.backends import parameters
from massgen_mcp.backends.reasoning import Effort

if TYPE_CHECKING:
    from massgen_mcp.backends.gemini import Options

__all__ = ["CHOICE", "Parameters", "generation_of", "is_old", "merged", "refused_by", "thinks_deeply"]

_Fields: TypeAlias = Mapping[str, Any]

CHOICE = "toolConfig.functionCallingConfig"

_CONFIG = "generationConfig."
_THINKING = f"{_CONFIG}thinkingConfig."
_WORDS: Mapping[str, tuple[str, str]] = {
    f"{_THINKING}thinkingBudget": ("thinking_budget", r"thinking[_ ]?budget|\bbudget\b"),
    f"{_THINKING}thinkingLevel": ("thinking_level", r"thinking[_ ]?level"),
    f"{_THINKING}includeThoughts": ("include_thoughts", r"include[_ ]?thoughts"),
    f"{_CONFIG}temperature": ("temperature", r"\btemperature\b"),
    f"{_CONFIG}topP": ("top_p", r"\btop_?p\b"),
    f"{_CONFIG}topK": ("top_k", r"\btop_?k\b"),
    f"{_CONFIG}seed": ("seed", r"\bseed\b"),
    f"{_CONFIG}presencePenalty": ("presence_penalty", r"presence_?penalty|penalty is not"),
    f"{_CONFIG}frequencyPenalty": ("frequency_penalty", r"frequency_?penalty|penalty is not"),
    CHOICE: ("a forced tool call", r"function[_ ]?calling[_ ]?(?:config|mode)|allowed_?function_?names"),
}
"""Parameters that a request may lose: their names in a team file, and how refusals name them.

What bounds cost, form or safety is never left out.
"""
_OLD = re.compile(r"gemini-[12]\b")
"""Models that think by a budget, and that take no tools of their own beside functions."""
_LEVELS: Mapping[Effort, str] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
_BUDGETS: Mapping[Effort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}
"""As the vendor maps efforts in its interface for OpenAI's clients."""
_DEEP_LEVELS = frozenset({"HIGH", "XHIGH"})
_DEEP_BUDGET = 16384


def is_old(model: str) -> bool:
    """Whether a model is of the generations before the third; one that is not known is not."""
    return _OLD.search(model) is not None


def generation_of(options: Options, model: str) -> dict[str, Any]:
    """What the team file sets for how a reply is made, by the names that go over the wire."""
    return {
        f"{_CONFIG}temperature": options.temperature,
        f"{_CONFIG}topP": options.top_p,
        f"{_CONFIG}topK": options.top_k,
        f"{_CONFIG}seed": options.seed,
        f"{_CONFIG}presencePenalty": options.presence_penalty,
        f"{_CONFIG}frequencyPenalty": options.frequency_penalty,
        f"{_CONFIG}stopSequences": options.stop_sequences and list(options.stop_sequences),
        **_thinking(options, model),
    }


def _thinking(options: Options, model: str) -> dict[str, Any]:
    reasoning = options.reasoning
    effort = reasoning.effort if reasoning else None
    level = options.thinking_level.upper() if options.thinking_level else None
    budget = options.thinking_budget
    if level is None and budget is None:
        if is_old(model):
            most = reasoning.max_tokens if reasoning else None
            budget = most if most is not None else _BUDGETS[effort] if effort else None
        else:
            level = _LEVELS[effort] if effort else None
    shown = True if reasoning and reasoning.summary else None
    return {
        f"{_THINKING}thinkingBudget": budget,
        f"{_THINKING}thinkingLevel": level,
        f"{_THINKING}includeThoughts": shown
        if options.include_thoughts is None
        else options.include_thoughts,
    }


def thinks_deeply(options: Options, model: str) -> bool:
    """Whether a model is told to think at length, and may be silent for longer."""
    thinking = _thinking(options, model)
    budget = thinking[f"{_THINKING}thinkingBudget"] or 0
    return thinking[f"{_THINKING}thinkingLevel"] in _DEEP_LEVELS or budget >= _DEEP_BUDGET


class Parameters(parameters.Parameters):
    """Those of generateContent, by the names that people are told."""

    def __init__(self, wanted: Mapping[str, Any], refused: Collection[str]) -> None:
        super().__init__(wanted, refused)
        self.left_out = tuple(shown for name, (shown, _) in _WORDS.items() if name in self.left_out)


def merged(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The body with what the team file adds to it, which wins field by field, in either spelling."""
    both = dict(body)
    known = {_plain(name): name for name in both}
    for given, value in extra.items():
        name = known.get(_plain(given), given)
        old: object = both.get(name)
        inner = isinstance(old, dict) and isinstance(value, Mapping)
        both[name] = merged(cast("_Fields", old), cast("_Fields", value)) if inner else value
    return both


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def refused_by(sent: Collection[str], words: str) -> str | None:
    """Which of the parameters sent a refusal is about; None when it is about something else."""
    for name, (_, pattern) in _WORDS.items():
        if name in sent and re.search(pattern, words, re.IGNORECASE):
            return name
    if "thinking" in words.lower():
        return min((name for name in sent if name.startswith(_THINKING)), default=None)
    return None
