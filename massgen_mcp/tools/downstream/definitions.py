"""A server's tools as it lists them, made fit to be shown to a model, or refused."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map

from massgen_mcp.text import shorten, visible
from massgen_mcp.tools.downstream.failures import CallFailed, Refused
from massgen_mcp.tools.downstream.session import Session

__all__ = ["Definition", "Listing", "list_tools", "read_tools"]

_MAX_PAGES = 20
_MAX_TOOLS = 128
_MAX_DESCRIPTION = 2048
_MAX_SCHEMA = 32 * 1024
_MAX_DEPTH = 16
_MAX_NAME = 128
_NESTED = f"{{}} is nested deeper than {_MAX_DEPTH}"
_TITLES = frozenset({"description", "title", "$comment"})
_REFS = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One tool of one server."""

    tool: str
    """As its server calls it."""
    description: str
    """Its server's words, cleaned and cut."""
    parameters: Mapping[str, Any]
    output: Mapping[str, Any] | None
    read_only: bool | None
    """As its server says; None where it says nothing."""
    repeatable: bool
    """Whether its server says that a second call does nothing more."""
    digest: str
    headers: Mapping[tuple[str, ...], str] = field(default_factory=dict[tuple[str, ...], str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a server offers, and what of it was left out and why."""

    tools: tuple[Definition, ...]
    notes: tuple[str, ...] = ()


async def list_tools(session: Session, *, seconds: float) -> Listing:
    """All tools of a server, page by page.

    Raises:
        CallFailed: they can't be listed.
        WireLost: it ended meanwhile.
    """
    raw: list[Any] = []
    notes: list[str] = []
    cursor: str | None = None
    seen: set[str] = set()
    for _page in range(_MAX_PAGES):
        try:
            result = await session.request(
                "tools/list", {"cursor": cursor} if cursor is not None else {}, seconds=seconds
            )
        except Refused as refused:
            raise CallFailed(f"its tools can't be listed: {refused}") from refused
        tools, following = result.get("tools"), result.get("nextCursor")
        if not isinstance(tools, list):
            raise CallFailed("its tools can't be listed: the answer holds no list")
        raw += cast("list[Any]", tools)
        if not isinstance(following, str) or following in seen or len(raw) > _MAX_TOOLS:
            break
        cursor = following
        seen.add(following)
    else:
        notes.append(f"only its first {_MAX_PAGES} pages of tools are used")
    return read_tools(raw, notes)


def read_tools(raw: list[Any], notes: list[str] | None = None) -> Listing:
    """Tools from the list that a server sent. Two of one name are both left out."""
    found: list[Definition] = []
    notes = list(notes or [])
    if len(raw) > _MAX_TOOLS:
        notes.append(f"only its first {_MAX_TOOLS} tools are used")
        raw = raw[:_MAX_TOOLS]
    names = Counter(_name(tool) for tool in raw)
    for tool in raw:
        name = _name(tool)
        if name is None:
            notes.append("a tool without a usable name is left out")
        elif names[name] > 1:
            note = f"the tool {_shown(name)} is left out: it is listed {names[name]} times"
            notes += [] if note in notes else [note]
        else:
            try:
                found.append(_read(name, cast("dict[str, Any]", tool)))
            except ValueError as error:
                notes.append(f"the tool {_shown(name)} is left out: {error}")
    return Listing(tools=tuple(found), notes=tuple(notes))


def _name(tool: object) -> str | None:
    name = cast("dict[str, Any]", tool).get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) and 0 < len(name) <= _MAX_NAME else None


def _shown(name: str) -> str:
    return repr(visible(name))


def _read(name: str, tool: dict[str, Any]) -> Definition:
    if visible(name) != name:
        raise ValueError("its name holds characters that can't be seen")
    words = tool.get("description")
    words = words if isinstance(words, str) else ""
    schema = tool.get("inputSchema", {})
    _check(schema, "its schema")
    if schema.get("type", "object") != "object":
        raise ValueError("its schema is not one of an object")
    if (problem := find_invalid_x_mcp_header(schema)) is not None:
        raise ValueError(f"its schema asks for a header that can't be sent: {visible(problem)}")
    output = tool.get("outputSchema")
    if output is not None:
        _check(output, "the schema of its results")
    hints = tool.get("annotations")
    hints = cast("dict[str, Any]", hints) if isinstance(hints, dict) else {}
    read_only = hints.get("readOnlyHint")
    read_only = read_only if isinstance(read_only, bool) else None
    return Definition(
        tool=name,
        description=_cut(visible(words.strip()[: 4 * _MAX_DESCRIPTION]).strip()),
        parameters={key: value for key, value in _clean(schema).items() if key != "$schema"},
        output=output,
        read_only=read_only,
        repeatable=read_only is True or hints.get("idempotentHint") is True,
        digest=_digest(name, words, schema),
        headers=x_mcp_header_map(schema),
    )


def _digest(name: str, description: str, schema: dict[str, Any]) -> str:
    text = json.dumps([name, description, schema], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _cut(text: str) -> str:
    """The text in 2 kB of UTF-8."""
    while len(text.encode("utf-8", "replace")) > _MAX_DESCRIPTION:
        over = len(text.encode("utf-8", "replace")) - _MAX_DESCRIPTION
        text = shorten(text, len(text) - max(1, over // 4))
    return text


def _check(schema: Any, what: str) -> None:
    if not isinstance(schema, dict):
        raise ValueError(f"{what} is not an object")  # noqa: TRY004 - one error type for what a server got wrong
    try:
        size = len(json.dumps(schema, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise ValueError(_NESTED.format(what)) from None
    if size > _MAX_SCHEMA:
        raise ValueError(f"{what} is larger than {_MAX_SCHEMA // 1024} kB")
    for path, value in _walk(cast("dict[str, Any]", schema), what):
        key = path[-1] if path else ""
        if key in _REFS and isinstance(value, str) and not value.startswith("#"):
            raise ValueError(
                f"{what} refers to something outside of itself ({shorten(visible(value), 80)!r})"
            )
        if isinstance(value, str) and key not in _TITLES and visible(value) != value:
            raise ValueError(f"{what} holds characters that can't be seen")


def _walk(schema: dict[str, Any], what: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in the schema with the keys that lead to it; keys are values, too."""
    ready: list[tuple[tuple[str, ...], Any]] = [((), schema)]
    while ready:
        path, value = ready.pop()
        if len(path) > _MAX_DEPTH:
            raise ValueError(_NESTED.format(what))
        yield path, value
        if isinstance(value, dict):
            for key, item in cast("dict[str, Any]", value).items():
                yield (*path, ""), key
                ready.append(((*path, key), item))
        elif isinstance(value, list):
            # A list in a schema has no name of its own: `description` inside `enum` is a value.
            ready += [((*path, ""), item) for item in cast("list[Any]", value)]


def _clean(schema: Any) -> Any:
    """The schema with its words made visible."""
    if isinstance(schema, dict):
        items = cast("dict[str, Any]", schema).items()
        return {
            key: visible(value) if key in _TITLES and isinstance(value, str) else _clean(value)
            for key, value in items
        }
    if isinstance(schema, list):
        return [_clean(item) for item in cast("list[Any]", schema)]
    return schema
