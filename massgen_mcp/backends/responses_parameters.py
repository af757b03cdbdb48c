"""The parameters of a response: what the team file sets, what a model refuses, what was left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, cast

from massgen_mcp.backends import parameters

__all__ = ["ENCRYPTED", "Parameters", "refused_by"]

ENCRYPTED = "reasoning.encrypted_content"
"""What `include` asks for, so that reasoning can be given back although nothing is stored."""

_WORDS: Mapping[str, str] = {
    "include": r"include|encrypted content|encrypted_content",
    "parallel_tool_calls": r"parallel_tool_calls|parallelToolCalls",
    "reasoning.context": r"reasoning\.context",
    "reasoning.effort": r"reasoning[._]effort|reasoningEffort",
    "reasoning.max_tokens": r"reasoning\.max_tokens",
    "reasoning.mode": r"reasoning\.mode",
    "reasoning.summary": r"reasoning[._]summary|reasoning summaries",
    "temperature": "temperature",
    "text.verbosity": "verbosity",
    "tool_choice": "tool_choice|toolChoice",
    "top_p": "top_p|topP",
}
"""Parameters that a request may lose, and how refusals without a field name them.

What bounds cost or form, or keeps the provider from storing, is never left out.
"""


class Parameters(parameters.Parameters):
    """Those of a response."""

    def body(self, extra_body: Mapping[str, Any]) -> dict[str, Any]:
        """As fields of the request; `extra_body` of the team file wins, but adds to `include`."""
        body = self.fields()
        extra = dict(extra_body)
        more: object = extra.get("include")
        if isinstance(more, list | tuple):
            both = [*body.get("include", ()), *cast("list[object]", more)]
            extra["include"] = list(dict.fromkeys(both))
        return {**body, **extra}


def refused_by(sent: Collection[str], param: str | None, words: str) -> str | None:
    """Which of the parameters sent a provider's refusal is about; None when it is about something else.

    Args:
        sent: names of parameters.
        param: the field the provider names, as `reasoning.effort`; its word is final.
        words: what it says.
    """
    flexible = sorted(name for name in sent if name in _WORDS)
    if param:
        field = param.partition("[")[0]
        return next((name for name in flexible if name == field or name.startswith(f"{field}.")), None)
    return next((name for name in flexible if re.search(rf"\b(?:{_WORDS[name]})\b", words)), None)
