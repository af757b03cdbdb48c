"""The parameters of a message: what the team file sets, what a model refuses, what was changed for it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from massgen_mcp.backends.claude_models import most_output, thinks_adaptively, thinks_unasked
from massgen_mcp.backends.claude_wire import to_tool_choice
from massgen_mcp.messages import Request

if TYPE_CHECKING:
    from massgen_mcp.backends.claude import Options
    from massgen_mcp.backends.reasoning import Effort

__all__ = ["LEAST_BUDGET", "SAMPLING", "Parameters", "is_deep", "refused_by", "thinking_of"]

SAMPLING = ("temperature", "top_p", "top_k")
"""Parameters that only the API's older version takes, and only for models that have them."""
LEAST_BUDGET = 1024
"""Tokens for thinking, at least."""

_USUAL_OUTPUT = 32_000
_DEEP_OUTPUT = 64_000
_BESIDE_THINKING = 16_000
"""Tokens for a reply besides its thinking."""
_DEEP = frozenset({"high", "xhigh", "max"})

_INSTEAD: Mapping[str, tuple[str, ...]] = {
    "enabled": ("enabled", "adaptive"),
    "disabled": ("disabled", "between_tools"),
    "adaptive": ("adaptive",),
}
"""A way to think, and what comes nearest to it where a model refuses it."""

_WORDS: tuple[tuple[str, str], ...] = (
    ("tool_choice", r"tool_choice"),
    # One of two that don't go together is enough to leave out, and the other is the better known.
    ("top_p", r"(?:`?temperature`? and )?`?top_p\b"),
    ("temperature", r"temperature\b"),
    ("top_k", r"top_k\b"),
    ("effort", r"\beffort\b"),
    ("thinking", r"\bthinking\b|budget_tokens"),
    ("service_tier", r"service_tier"),
    ("cache_control", r"cache_control"),
)
"""Parameters that a request may lose, and how refusals name them; the one named first is meant.

What bounds cost or form is never left out.
"""
_ABOUT_CONTENT = re.compile(r"\s*(?:messages|tools|system)\b")


@dataclass(frozen=True, slots=True)
class _Thinking:
    """A way to think, and whether the team file asks for it."""

    type: str
    budget: int | None = None
    asked: bool = True


def _effort_of(options: Options) -> Effort | None:
    """How deeply to think, however it was written."""
    return options.effort or (options.reasoning.effort if options.reasoning else None)


def thinking_of(options: Options, model: str) -> _Thinking | None:
    """How to think, as the options say it; None where the model is left to itself."""
    if options.thinking is not None:
        return _Thinking(options.thinking.type, options.thinking.budget_tokens)
    if budget := options.thinking_budget or options.max_thinking_tokens:
        return _Thinking("enabled", budget)
    match _effort_of(options):
        case None:
            return None
        case "none":
            return _Thinking("disabled") if thinks_unasked(model) else None
        case _:
            return _Thinking("adaptive", asked=False) if thinks_adaptively(model) else None


def is_deep(options: Options, model: str) -> bool:
    """Whether it is to think at length: told to, or of a kind that does so by itself."""
    thinking, effort = thinking_of(options, model), _effort_of(options)
    if thinking is None and effort is None:
        return thinks_unasked(model)
    return effort in _DEEP or (thinking is not None and thinking.budget is not None)


class Parameters:
    """What to send besides model, system text, messages and tools.

    Args:
        options: the backend block.
        request: what is asked.
        model: by its exact name.
        title: who is asked, as a person knows it.
        refused: names that this model refused before.
        most: the most tokens of a reply, where the provider has said so.
    """

    def __init__(
        self,
        options: Options,
        request: Request,
        *,
        model: str,
        title: str,
        refused: Collection[str],
        most: int | None = None,
    ) -> None:
        self._options = options
        self._model = model
        self._title = title
        self._refused = refused
        self._notes: list[str] = []
        wanted = self._wanted(request, most)
        self._sent = {name: value for name, value in wanted.items() if name not in refused}
        told = sorted(name for name in wanted if name in refused and name != "tool_choice")
        self._notes += [f"{title} does not take {name} for {model}; left out." for name in told]

    @property
    def names(self) -> frozenset[str]:
        """What is sent, and may be refused."""
        return frozenset(self._sent)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or changed, for a person to read."""
        return tuple(self._notes)

    @property
    def samples(self) -> bool:
        """Whether anything is sent that only the API's older version takes."""
        return not self.names.isdisjoint(SAMPLING)

    def body(self) -> dict[str, Any]:
        """As fields of the request."""
        fields = dict(self._sent)
        if "effort" in fields:
            fields["output_config"] = {"effort": fields.pop("effort")}
        return fields

    def _wanted(self, request: Request, most: int | None) -> dict[str, Any]:
        options = self._options
        wanted: dict[str, Any] = {name: getattr(options, name) for name in SAMPLING}
        wanted["service_tier"] = options.service_tier
        wanted["stop_sequences"] = list(options.stop_sequences) if options.stop_sequences else None
        effort = _effort_of(options)
        wanted["effort"] = {"none": None, "minimal": "low"}.get(effort, effort) if effort else None
        wanted["max_tokens"] = self._max_tokens(request, most)
        wanted["thinking"] = self._thinking(wanted["max_tokens"])
        wanted["tool_choice"] = to_tool_choice(request)
        if wanted["thinking"] is not None and wanted["thinking"]["type"] != "disabled":
            # Who is told to think can't be told which tool to call.
            wanted["tool_choice"] = None
        return {name: value for name, value in wanted.items() if value is not None}

    def _max_tokens(self, request: Request, most: int | None) -> int:
        asked = request.max_tokens or self._options.max_tokens
        if asked is None:
            return min(self._usual_output(), most or most_output(self._model))
        if most is not None and asked > most:
            self._notes.append(f"max_tokens is lowered to {most}, the most that {self._model} takes.")
            return most
        return asked

    def _usual_output(self) -> int:
        thinking = thinking_of(self._options, self._model)
        usual = _DEEP_OUTPUT if is_deep(self._options, self._model) else _USUAL_OUTPUT
        return max(usual, (thinking.budget or 0) + _BESIDE_THINKING) if thinking else usual

    def _thinking(self, max_tokens: int) -> dict[str, Any] | None:
        wish = thinking_of(self._options, self._model)
        if wish is None:
            return None
        way = next((way for way in _INSTEAD[wish.type] if f"thinking.{way}" not in self._refused), None)
        if way != wish.type and wish.asked:
            changed = f"thinking is {way}" if way else "left out"
            self._notes.append(
                f"{self._title} does not take thinking {wish.type} for {self._model}; {changed}."
            )
        if way != "enabled":
            return {"type": way} if way else None
        budget = min(wish.budget or LEAST_BUDGET, max_tokens - 1)
        if budget < LEAST_BUDGET:
            self._notes.append("max_tokens leaves no room to think; thinking is left out.")
            return None
        if budget != wish.budget:
            self._notes.append(f"The thinking budget is lowered to {budget}, below max_tokens.")
        return {"type": way, "budget_tokens": budget}

    def refusal(self, words: str) -> str | None:
        """What to remember of a refusal in those words; None when it is about something else."""
        name = refused_by((*self._sent, "cache_control"), words)
        return f"thinking.{self._sent[name]['type']}" if name == "thinking" else name


def refused_by(sent: Collection[str], words: str) -> str | None:
    """Which of the parameters sent a provider's refusal is about; None when it is about something else."""
    if _ABOUT_CONTENT.match(words) and "cache_control" not in words:
        return None
    found = {
        name: match.start()
        for name, pattern in _WORDS
        if name in sent and (match := re.search(pattern, words)) is not None
    }
    return min(found, key=found.__getitem__, default=None)
