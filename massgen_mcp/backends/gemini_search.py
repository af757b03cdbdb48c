"""Google's own tools as functions of ours, for models that refuse them beside other functions.

A call of one becomes a second request that has that tool alone; what it finds goes back as its result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import cast

from massgen_mcp.backends.gemini_reading import Turn
from massgen_mcp.backends.gemini_wire import Item
from massgen_mcp.messages import ToolCall, ToolSpec, parse_arguments

__all__ = ["CODE", "SEARCH", "BuiltIn", "built_ins", "functions_for"]

_RESULT = "codeExecutionResult"
_WELL = "OUTCOME_OK"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn:
    """A tool that runs at Google."""

    item: Mapping[str, object]
    """As a request asks for it."""
    spec: ToolSpec
    """As a function that stands for it; it takes one text."""
    prompt: str
    """What the second request says, around that text."""
    result: Callable[[Turn], str]
    """What the second request found."""

    def ask(self, call: ToolCall) -> list[Item]:
        """The contents of the second request.

        Raises:
            ValueError: the call's arguments are not what the function takes, in words for the model.
        """
        (name,) = self.spec.parameters["properties"]
        value = parse_arguments(call).get(name)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name!r} must be a text")
        return [{"role": "user", "parts": [{"text": self.prompt.format(value)}]}]


def _spec(name: str, description: str, argument: str, meaning: str) -> ToolSpec:
    properties = {argument: {"type": "string", "description": meaning}}
    return ToolSpec(
        name=name,
        description=description,
        parameters={"type": "object", "properties": properties, "required": [argument]},
    )


def _found(turn: Turn) -> str:
    sources = [f"{place}. {title} {address}" for place, (title, address) in enumerate(turn.sources, 1)]
    return "\n".join([turn.text.strip(), "", "Sources:", *sources]) if sources else turn.text.strip()


def _printed(turn: Turn) -> str:
    results = [cast("Item", part[_RESULT]) for part in turn.parts if _RESULT in part]
    return "\n".join(_output(result) for result in results) or turn.text.strip()


def _output(result: Item) -> str:
    outcome, output = str(result.get("outcome", _WELL)), str(result.get("output", ""))
    return output if outcome == _WELL else f"{outcome}\n{output}".strip()


SEARCH = BuiltIn(
    item={"googleSearch": {}},
    spec=_spec(
        "google_search",
        "Search the web with Google. Returns what was found, with its sources.",
        "query",
        "What to search for.",
    ),
    prompt="Search the web and report what you find, with names, dates and figures:\n\n{}",
    result=_found,
)
CODE = BuiltIn(
    item={"codeExecution": {}},
    spec=_spec(
        "code_execution",
        "Run Python in Google's sandbox, which sees no files of the workspace. Returns what it prints.",
        "code",
        "A Python program.",
    ),
    prompt="Run this program once, exactly as it is, and say what it prints:\n\n```python\n{}\n```",
    result=_printed,
)


def built_ins(*, search: bool, code: bool) -> tuple[BuiltIn, ...]:
    """Those that a team file switches on."""
    return (*([SEARCH] if search else ()), *([CODE] if code else ()))


def functions_for(tools: Collection[BuiltIn], taken: Collection[str]) -> dict[str, BuiltIn]:
    """The tools by the names of their functions, which differ from those that are taken."""
    named: dict[str, BuiltIn] = {}
    for tool in tools:
        name = tool.spec.name
        while name in taken:
            name += "_"
        named[name] = replace(tool, spec=replace(tool.spec, name=name))
    return named
