"""`agents: ["openai/gpt-5", "gemini-2.5-pro"]`: a team from names, over what the operator has set up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.registry import (
    backend_info,
    by_model_name,
    options_class,
    public_backends,
    suggest,
)
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.models import AgentConfig, TeamConfig
from massgen_mcp.config.readiness import readiness
from massgen_mcp.errors import RequestRefused

if TYPE_CHECKING:
    from massgen_mcp.backends.options import Options

__all__ = ["resolve_agents"]

_MOST = 16
_NAME = re.compile(r"[A-Za-z0-9@][\w.:@/\-]*\Z")
_NOTHING_SPENT = "Nothing was spent."


def resolve_agents(names: Sequence[str], *, environment: Environment, name: str = "agents") -> TeamConfig:
    """A team with one agent for each of `TYPE/MODEL`, a bare model name, or a backend's type.

    Every backend must be set up already: no address, key or path can be given this way.

    Raises:
        RequestRefused: a name is unknown, may mean several backends, or its backend has no key.
    """
    if not 1 <= len(names) <= _MOST:
        raise RequestRefused(f"Give 1 to {_MOST} agents, not {len(names)}. {_NOTHING_SPENT}")
    taken: dict[str, int] = {}
    agents = tuple(_agent(text, environment, taken) for text in names)
    return TeamConfig(name=name, agents=agents)


def _agent(text: str, environment: Environment, taken: dict[str, int]) -> AgentConfig:
    wanted = text.strip()
    if not _NAME.match(wanted) or "://" in wanted or ".." in wanted:
        raise RequestRefused(
            f"{_shown(wanted)!r} is not the name of a backend or model. "
            f"Write openai/gpt-5, gemini-2.5-pro or a backend's type. {_NOTHING_SPENT}"
        )
    info, model = _backend(wanted, environment)
    options = _options(info, model)
    found = readiness(options, environment)
    if not found.ready:
        raise RequestRefused(
            f"{_shown(wanted)}: {found.why}. {found.remedy} {_NOTHING_SPENT}".replace("  ", " ")
        )
    base = info.type
    taken[base] = taken.get(base, 0) + 1
    number = taken[base]
    return AgentConfig(id=base if number == 1 else f"{base}-{number}", backend=options)


def _backend(wanted: str, environment: Environment) -> tuple[BackendInfo, str | None]:
    first, _, rest = wanted.partition("/")
    named = backend_info(first)
    if named is not None and not named.hidden:
        model = rest or named.default_model
        if model is None and named.type != "local":
            raise RequestRefused(f"{first} has no default model; write {first}/MODEL. {_NOTHING_SPENT}")
        return named, model
    rows = by_model_name(wanted)
    if len(rows) > 1:
        ready = [row for row in rows if readiness(_options(row, wanted), environment).ready]
        rows = tuple(ready) or rows
    if len(rows) > 1:
        choices = ", ".join(f"{row.type}/{wanted}" for row in rows)
        raise RequestRefused(f"{wanted} may be any of {choices}: name one. {_NOTHING_SPENT}")
    if not rows:
        raise RequestRefused(_unknown(wanted, first))
    return rows[0], wanted


def _unknown(wanted: str, first: str) -> str:
    meant = suggest(first)
    hint = f" Did you mean {meant!r}?" if meant else ""
    known = ", ".join(sorted(row.type for row in public_backends()))
    return (
        f"No backend is known for {_shown(wanted)!r}.{hint} "
        f"Write TYPE/MODEL with a type of {known}. {_NOTHING_SPENT}"
    )


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:80])


def _options(info: BackendInfo, model: str | None) -> Options:
    given: dict[str, Any] = {"type": info.type} | ({"model": model} if model else {})
    try:
        return options_class(info)(**given)
    except ValidationError as error:
        what = error.errors()[0]["msg"]
        name = _shown(model or info.type)
        raise RequestRefused(
            f"{info.type} can't be asked for {name!r} by name alone: {what}. {_NOTHING_SPENT}"
        ) from None
