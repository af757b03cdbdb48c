"""What a tool call returns: the structured part, complete on its own, and the same as text.

Some hosts show their model the one, some the other. Everything passes the redactor, and nothing in it can
hide or reorder text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import mcp_types as types

from massgen_mcp.runs import RunResult
from massgen_mcp.runs.lines import RULES, duration, money
from massgen_mcp.runs.result import Detail
from massgen_mcp.secrets import Secrets
from massgen_mcp.text import shorten, visible

__all__ = ["data_reply", "footer", "refusal", "run_reply", "shown", "text_of_run"]

_WHY = 300
"""Characters of why a result is not whole, in the line below the answer; the structured part has all."""
_ROOM = 400
"""Characters of JSON for files, and as many for changes, in a reply about a run; all are to be had."""


def shown(text: str, secrets: Secrets) -> str:
    """Text as it may leave this process."""
    return visible(secrets.redact(text))


def run_reply(
    result: RunResult,
    secrets: Secrets,
    *,
    detail: Detail,
    is_error: bool,
    images: Sequence[types.ImageContent] = (),
) -> types.CallToolResult:
    """A reply about a run, with pictures that it made. A summary names only the first of many files."""
    data = result.public(detail)
    if detail != "votes" and (more := _shorten(data, result.run_id)):
        data["warnings"] = [*data.get("warnings", ()), more]
    reply = data_reply(data, text_of_run(result), secrets, is_error=is_error)
    return reply.model_copy(update={"content": [*reply.content, *images]}) if images else reply


def _shorten(data: dict[str, Any], run_id: str) -> str:
    """Leave out what makes a reply long, and say where it is."""
    words: list[str] = []
    for key, what in (("changes", "changed in the project"), ("files", "made")):
        rows: list[Any] = data.get(key, [])
        fit = _fitting(rows)
        if fit < len(rows):
            data[key] = rows[:fit]
            words.append(f"{len(rows) - fit:,} more files were {what}")
    call = f'get_run(run_id="{run_id}", detail="files")'
    return f"{' and '.join(words)}: {call} lists them." if words else ""


def _fitting(rows: Sequence[Any]) -> int:
    """How many rows there is room for; the first in any case."""
    room = _ROOM
    for count, row in enumerate(rows):
        room -= len(json.dumps(row, ensure_ascii=False)) + 2
        if room < 0:
            return max(1, count)
    return len(rows)


def data_reply(
    data: Mapping[str, Any], text: str | None, secrets: Secrets, *, is_error: bool = False
) -> types.CallToolResult:
    """A reply with this structured part. Without a text of its own the text is the same as JSON."""
    structured = cast("dict[str, Any]", _shown_value(secrets.redact_value(dict(data))))
    words = json.dumps(structured, ensure_ascii=False) if text is None else shown(text, secrets)
    return types.CallToolResult(
        is_error=is_error,
        content=[types.TextContent(type="text", text=words)],
        structured_content=structured,
    )


def refusal(words: str, secrets: Secrets) -> types.CallToolResult:
    """A call that can't be served: what, why, and what to do."""
    content = types.TextContent(type="text", text=shown(words, secrets))
    return types.CallToolResult(is_error=True, content=[content])


def text_of_run(result: RunResult) -> str:
    """The answer as Markdown with one line below it; without an answer, why and what to do."""
    more = f"The team is still at work. Collect its answer with {result.next}." if result.next else ""
    body = result.answer or result.error or more
    parts = [body, f"---\n{footer(result)}"]
    if result.answer and result.error:
        parts.insert(1, result.error)
    return "\n\n".join(part for part in parts if part)


def footer(result: RunResult) -> str:
    """`completed · gemini's answer (by vote) · $0.03 · 21 s · run 20261122-0241-k7f3qx`.

    Where not all went well, why it did not, in the same line: there are hosts that show only this.
    """
    rule = RULES.get(result.agreement.rule, "") if result.agreement else ""
    parts = [
        f"{result.status}: {result.phase} {result.done}" if result.phase else result.status,
        f"{result.winner}'s answer" + (f" ({rule})" if rule else "") if result.winner else "",
        money(result.usage.cost_usd),
        duration(result.seconds),
        f"run {result.run_id}",
        _why_not_whole(result),
    ]
    return " · ".join(part for part in parts if part)


def _why_not_whole(result: RunResult) -> str:
    if result.status not in {"partial", "cancelled"} or not result.answer:
        return ""
    return shorten(" ".join(" ".join(result.warnings).split()), _WHY)


def _shown_value(value: Any) -> Any:
    """A JSON value with every text in it made visible, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {visible(key): _shown_value(item) for key, item in items}
    if isinstance(value, list):
        return [_shown_value(item) for item in cast("list[Any]", value)]
    return value
