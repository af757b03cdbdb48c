"""The registry: every backend by its type, and ways to find one.

Reading it imports no vendor's package and no pydantic; `options_class` alone imports a backend's module.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from massgen_mcp.backends.info import BackendInfo, Support
from massgen_mcp.backends.rows import COMPATIBLE, HOSTED, LOCAL, RUNTIMES

if TYPE_CHECKING:
    from massgen_mcp.backends.options import Options

__all__ = [
    "BACKENDS",
    "LEGEND",
    "backend_info",
    "by_host",
    "by_model_name",
    "options_class",
    "public_backends",
    "runs_elsewhere",
    "suggest",
]

BACKENDS: Mapping[str, BackendInfo] = MappingProxyType(
    {row.type: row for row in (*HOSTED, *RUNTIMES, *COMPATIBLE, *LOCAL)}
)

LEGEND: Mapping[Support, str] = MappingProxyType(
    {
        Support.BUILT_IN: "Built-in: a native feature of the backend",
        Support.VIA_MCP: "MCP-based or available: through MCP servers or our own tools",
        Support.VIA_CUSTOM_TOOL: "Via custom tools: a tool that calls a provider, which may need its key",
        Support.NONE: "Not available",
        Support.VARIES: "Varies: depends on the provider behind it",
        Support.LIMITED: "Limited: works with some models only",
    }
)


def backend_info(type: str) -> BackendInfo | None:  # noqa: A002 - the word of the team file
    """The row of that type; None when there is none."""
    return BACKENDS.get(type)


@cache
def public_backends() -> tuple[BackendInfo, ...]:
    """The rows that listings show, in the default team's order of preference."""
    return tuple(sorted((row for row in BACKENDS.values() if not row.hidden), key=lambda row: row.rank))


def by_model_name(name: str) -> tuple[BackendInfo, ...]:
    """The rows a bare model name may mean: those that know the very name, else those whose patterns match.

    Agent runtimes are never meant by a bare name: the model's own API is.
    """
    rows = [row for row in public_backends() if row.kind == "model"]
    exact = [row for row in rows if row.patterns and _knows(row, name)]
    matching = [row for row in rows if any(fnmatch.fnmatchcase(name, pattern) for pattern in row.patterns)]
    return tuple({row.type: row for row in (*exact, *matching)}.values())


def _knows(row: BackendInfo, name: str) -> bool:
    return name in row.aliases or any(model.name == name for model in row.models)


def runs_elsewhere(info: BackendInfo, model: str) -> bool:
    """Whether a local server would hand the question on to machines of its vendor."""
    name = model.strip().lower().rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in info.elsewhere)


def by_host(host: str) -> BackendInfo | None:
    """The row whose vendor owns that host name, by itself or as a subdomain; None for all others."""
    name = host.lower().rstrip(".")
    for row in public_backends():
        if any(name == owned or name.endswith(f".{owned}") for owned in row.hosts):
            return row
    return None


def suggest(type: str) -> str | None:  # noqa: A002 - the word of the team file
    """The type somebody probably meant: by the rows' synonyms first, then by the distance of the spelling.

    It is compared with the types first, and more strictly with the synonyms. A hidden row is never meant.
    """
    word = type.strip().lower()
    plain = word.replace("-", "_").replace(" ", "_")
    for row in public_backends():
        if word in row.synonyms or plain in (row.type, *row.synonyms):
            return row.type
    close = difflib.get_close_matches(plain, [row.type for row in public_backends()], n=1, cutoff=0.6)
    if close:
        return close[0]
    named = {name: row.type for row in public_backends() for name in row.synonyms}
    close = difflib.get_close_matches(plain, named, n=1, cutoff=0.8)
    return named[close[0]] if close else None


def options_class(info: BackendInfo) -> type[Options]:
    """The model of that backend's block in a team file. Imports its module, never a vendor's package."""
    module = importlib.import_module(f"massgen_mcp.backends.{info.module}")
    options: type[Options] = module.Options
    return options
