"""`${VAR}` and `${VAR:-default}`: where they may stand, and what becomes of them.

By field, not by content: a variable in a prompt or a path is an error that says so. In YAML that came
over the wire nothing is expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from massgen_mcp.backends.registry import backend_info
from massgen_mcp.backends.urls import host_of, is_loopback
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.config.tree import Value
from massgen_mcp.config.variables import KNOWN_VARIABLES
from massgen_mcp.errors import Problem

__all__ = ["Expansion", "Reference", "expand_agent", "is_local_block", "refuse_elsewhere"]

_REFERENCE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_WORKSPACE = "cwd"
_SERVER_FIELDS = frozenset({"env", "args", "headers", "url"})
_HEADERS = frozenset({"headers", "extra_headers"})
_ENDPOINTS = frozenset({"base_url", "azure_endpoint"})
_FIELDS_IN_WORDS = (
    "api_key, headers, an MCP server's env, args, headers and url, an Azure endpoint and version, "
    "and base_url beside an api_key"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """The variables that stand in one value of a file."""

    text: str
    """As written."""
    names: tuple[str, ...]
    set: bool


@dataclass(slots=True)
class Expansion:
    """What expanding one agent came to. Reading a field of it shows no secret's value but `value` does."""

    value: dict[str, Value]
    references: dict[KeyPath, Reference] = field(default_factory=dict[KeyPath, Reference])
    problems: list[Problem] = field(default_factory=list[Problem])
    unset: tuple[str, ...] = ()
    """Variables named for the agent's key that are not set."""

    def __repr__(self) -> str:
        return f"Expansion(references={self.references!r}, unset={self.unset!r})"


def refuse_elsewhere(value: Value, path: KeyPath, places: Places) -> Iterator[Problem]:
    """A problem for each variable outside of agents' backend blocks."""
    for at, text in _texts(value, path):
        if _names(text):
            yield _not_here(at, places)


def _texts(value: Value, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    match value:
        case str():
            yield path, value
        case dict():
            for key, item in value.items():
                yield from _texts(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from _texts(item, (*path, index))
        case _:
            return


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for escape, name, _ in _REFERENCE.findall(text) if not escape)


def _not_here(path: KeyPath, places: Places) -> Problem:
    return places.problem(
        path,
        "a variable can't stand here.",
        hint=f"Variables are for {_FIELDS_IN_WORDS}. Write $${{NAME}} for the text itself.",
    )


def expand_agent(
    agent: dict[str, Value],
    path: KeyPath,
    *,
    environment: Environment,
    places: Places,
    inline: bool,
) -> Expansion:
    """The agent's mapping with its variables replaced where they may stand."""
    return _Expander(agent, path, environment, places, inline=inline).run()


class _Expander:
    def __init__(
        self,
        agent: dict[str, Value],
        path: KeyPath,
        environment: Environment,
        places: Places,
        *,
        inline: bool,
    ) -> None:
        self._agent = agent
        self._path = path
        self._environment = environment
        self._places = places
        self._inline = inline
        block = agent.get("backend")
        self._block: dict[str, Value] = block if isinstance(block, dict) else {}
        self._optional = agent.get("optional") is True
        self._out = Expansion(value={})
        self._unset: list[str] = []

    def run(self) -> Expansion:
        for key, value in self._agent.items():
            if key == "backend" and isinstance(value, dict):
                self._out.value[key] = self._mapping(value, (*self._path, key))
                continue
            self._out.problems += refuse_elsewhere(value, (*self._path, key), self._places)
            self._out.value[key] = _unescaped(value)
        self._out.unset = tuple(dict.fromkeys(self._unset))
        return self._out

    def _mapping(self, entry: dict[str, Value], path: KeyPath) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for key, value in entry.items():
            at = (*path, key)
            expanded = self._value(value, at, entry)
            dropped = value is not None and expanded is None and isinstance(value, str)
            if not dropped:
                found[key] = expanded
        return found

    def _value(self, value: Value, path: KeyPath, entry: Mapping[str, Value]) -> Value:
        match value:
            case dict():
                return self._mapping(value, path)
            case list():
                return [self._value(item, (*path, index), entry) for index, item in enumerate(value)]
            case str() if "${" in value:
                return self._text(value, path, entry)
            case _:
                return value

    def _text(self, text: str, path: KeyPath, entry: Mapping[str, Value]) -> str | None:
        names = tuple(name for name in _names(text) if name != _WORKSPACE)
        if not names:
            return _REFERENCE.sub(
                lambda match: match.group(0)[1:] if match.group(1) else match.group(0), text
            )
        if not self._may(path, entry):
            self._out.problems.append(_not_here(path, self._places))
            return text
        missing = tuple(name for name in self._missing(text))
        self._out.references[path] = Reference(text, names, set=not missing)
        if self._inline:
            self._out.problems += self._said(names, path)
            return text
        if missing:
            return self._without(missing, text, path)
        return _REFERENCE.sub(self._replacement, text)

    def _missing(self, text: str) -> Iterator[str]:
        for match in _REFERENCE.finditer(text):
            escape, name, default = match.groups()
            if not escape and name != _WORKSPACE and default is None and self._environment.get(name) is None:
                yield name

    def _replacement(self, match: re.Match[str]) -> str:
        escape, name, default = match.groups()
        if escape:
            return match.group(0)[1:]
        if name == _WORKSPACE:
            return match.group(0)
        return self._environment.get(name) or default or ""

    def _may(self, path: KeyPath, entry: Mapping[str, Value]) -> bool:
        below = path[len(self._path) + 1 :]
        words = [part for part in below if isinstance(part, str)]
        key = words[-1]
        if key == "api_key":
            return True
        if "mcp_servers" in words:
            return any(word in _SERVER_FIELDS for word in words[1:])
        if any(word in _HEADERS for word in words):
            return True
        azure = self._block.get("type") == "azure_openai" or entry.get("api_type") == "azure"
        if key in _ENDPOINTS:
            return azure or "api_key" in entry
        return azure and key == "api_version"

    def _said(self, names: tuple[str, ...], path: KeyPath) -> Iterator[Problem]:
        for name in dict.fromkeys(names):
            if name in KNOWN_VARIABLES:
                state = "is set" if self._environment.get(name) is not None else "is not set"
                yield self._places.problem(path, f"{name} {state}.", severity="notice")
            else:
                yield self._places.problem(
                    path, "variables are not expanded in YAML that is given inline.", severity="notice"
                )

    def _without(self, missing: tuple[str, ...], text: str, path: KeyPath) -> str | None:
        """What stands in the place of a text whose variables are not set; None when the key is left out."""
        name = missing[0]
        message = f"the variable {name} is not set ({self._environment.where()})."
        near = self._environment.near(name)
        hint = f"Set it. {', '.join(near)} is set: was that meant?" if near else "Set it."
        block = (*self._path, "backend")
        if path == (*block, "api_key") and is_local_block(self._block):
            self._out.problems.append(
                self._places.problem(path, message, severity="warning", hint="EMPTY is sent instead.")
            )
            return None
        if self._optional and (*block, "mcp_servers") != path[: len(block) + 1]:
            self._unset += missing
            self._out.problems.append(
                self._places.problem(path, message, severity="warning", hint="This agent sits out.")
            )
            return None
        self._out.problems.append(self._places.problem(path, message, hint=hint))
        return text


def _unescaped(value: Value) -> Value:
    match value:
        case str():
            return value.replace("$${", "${")
        case dict():
            return {key: _unescaped(item) for key, item in value.items()}
        case list():
            return [_unescaped(item) for item in value]
        case _:
            return value


def is_local_block(block: Mapping[str, Value]) -> bool:
    """Whether a backend block, as written, is answered on this machine."""
    base_url = block.get("base_url")
    if isinstance(base_url, str):
        return is_loopback(host_of(base_url))
    kind = block.get("type")
    info = backend_info(kind) if isinstance(kind, str) else None
    return info is not None and info.local
