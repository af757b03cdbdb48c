# ruff: noqa: INP001 - beside the pages that it serves, not a package
"""The tables of a team file's keys, made from the models that read it.

What a key means comes from the docstring below its field, else from the page as it is: a person writes it
into the last column, and it stays.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from docs.words import code, table
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options, Price
from massgen_mcp.backends.registry import options_class, public_backends
from massgen_mcp.config.agent_tools import AgentTools, ContextPath, CustomTool
from massgen_mcp.config.available import not_yet, soft
from massgen_mcp.config.massgen_keys import IGNORED
from massgen_mcp.config.models import (
    AgentConfig,
    AgentKeys,
    Budget,
    Coordination,
    Orchestrator,
    RequestShare,
    RoundShare,
    TeamConfig,
    TeamKeys,
    Timeouts,
    TurnShare,
)
from massgen_mcp.config.paths import Places
from massgen_mcp.config.servers import McpServer

__all__ = ["backend_keys", "ignored", "keys"]

_MODELS: Mapping[str, type[BaseModel]] = {
    model.__name__: model
    for model in (
        TeamKeys,
        AgentKeys,
        Options,
        Price,
        AgentTools,
        McpServer,
        CustomTool,
        ContextPath,
        Orchestrator,
        Coordination,
        Timeouts,
        Budget,
        RequestShare,
        TurnShare,
        RoundShare,
    )
}
_ROW = re.compile(r"^\| `(?P<key>\w+)` \|.*\| (?P<meaning>[^|]*) \|$", re.MULTILINE)
_TEXT = {"type": "string"}


def keys(model: str, old: str) -> str:
    """The keys of one model. `old`: the table as it is in the page."""
    return _key_table(_MODELS[model], old)


def backend_keys(_: str, old: str) -> str:
    """The keys that each backend has beside the common ones; backends of one module share a table."""
    modules: dict[str, list[BackendInfo]] = {}
    for row in public_backends():
        modules.setdefault(row.module, []).append(row)
    earlier = re.split(r"^### ", old, flags=re.MULTILINE)
    titles: dict[type[Options], str] = {}
    parts: list[str] = []
    for rows in sorted(modules.values(), key=len, reverse=True):
        options = options_class(rows[0])
        above = next((base for base in titles if issubclass(options, base)), Options)
        own = [key for key in options.model_fields if key not in above.model_fields]
        was = max(earlier, key=lambda part: sum(f"\n| `{key}` |" in part for key in own), default="")
        titles[options] = title = code(row.type for row in rows)
        intro = f"Those of {titles[above]}, and:\n\n" if above in titles else ""
        parts.append(f"### {title}\n\n{intro}{_key_table(options, was, without=above.model_fields)}")
    return "\n".join(parts)


def ignored(_: str, __: str) -> str:
    """MassGen's keys without a meaning here, by section and reason."""
    above = {*IGNORED["coordination"], *IGNORED["orchestrator"]}
    rows: list[list[str]] = []
    for section, names in IGNORED.items():
        reasons: dict[str, list[str]] = {}
        for key, reason in names.items():
            if section != "backend" or key not in above:
                reasons.setdefault(reason, []).append(key)
        rows += [[f"`{section}`", code(found), reason] for reason, found in reasons.items()]
    return table(["section", "keys", "what they are"], rows)


def _key_table(model: type[BaseModel], old: str, *, without: Iterable[str] = ()) -> str:
    written = {row["key"]: row["meaning"].strip() for row in _ROW.finditer(old)}
    docs, schema = _docstrings(model), model.model_json_schema()
    properties: Mapping[str, Any] = schema["properties"]
    states = {key: _state(model, key, properties[key]) for key in properties if key not in set(without)}
    head = ["key", "value", "this version", "meaning"]
    rows = [
        [
            f"`{key}`",
            _value(properties[key], schema.get("$defs", {})),
            state,
            docs.get(key) or written.get(key, ""),
        ]
        for key, state in states.items()
    ]
    if not any(states.values()):
        head, rows = [head[0], head[1], head[3]], [[row[0], row[1], row[3]] for row in rows]
    return table(head, rows)


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The strings below a model's fields, those of the models above it included."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, below in itertools.pairwise(statements):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    found[name] = " ".join(words.split()).replace("|", "\\|")
                case _:
                    pass
    return found


def _state(model: type[BaseModel], key: str, schema: Mapping[str, Any]) -> str:
    """What a run does about a key, or values of it, that this version does not have; empty for all others."""
    if "$ref" in schema:
        return ""  # a part with a table of its own
    values = _choices(schema)
    states = {value: _state_of(model, key, value) for value in values or (object(),)}
    default = model.model_fields[key].default
    used = {value: state for value, state in states.items() if value != default}
    if len({*used.values()}) == 1:
        return next(iter(used.values()))
    return f"only {code(str(value) for value, state in used.items() if not state)}"


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    options = [schema, *schema.get("anyOf", ())]
    return [value for option in options for value in option.get("enum", ())]


def _state_of(model: type[BaseModel], key: str, value: object) -> str:
    part = model.model_construct(_fields_set={key}, **{key: value})
    agent: dict[str, Any] = {"id": "a", "backend": Options(type="groq"), "tools": AgentTools()}
    team: dict[str, Any] = {"orchestrator": Orchestrator()}
    match part:
        case Options() if key != "type":
            agent["backend"] = part.model_copy(update={"type": "groq"})
        case AgentTools() if key != "mcp_servers":
            agent["tools"] = part
        case AgentKeys():
            agent |= part.__dict__
        case Orchestrator():
            team["orchestrator"] = part
        case Coordination():
            team["orchestrator"] = Orchestrator(coordination=part)
        case TeamKeys():
            team |= part.__dict__
        case _:
            pass
    member = AgentConfig.model_construct(_fields_set={key}, **agent)
    whole = TeamConfig.model_construct(_fields_set={key}, **team, agents=(member,))
    for found, words in ((not_yet, "refused"), (soft, "goes without")):
        problems = found(whole, {agent["id"]: ()}, Places({}))
        if any(problem.path.rpartition(".")[2] == key for problem in problems):
            return words
    return ""


def _value(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What may stand there, in words, with the default where there is one to speak of."""
    words, default = _kind(schema, definitions), schema.get("default")
    if default in (None, False, "", [], {}) or "$ref" in schema:
        return words
    shown = "on" if default is True else f"`{default}`" if isinstance(default, str) else f"{default:g}"
    return f"{words}; default {shown}"


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    match schema:
        case {"anyOf": options}:
            found = [_kind(option, definitions) for option in options if option != {"type": "null"}]
            words = " or ".join(dict.fromkeys(found))
        case {"$ref": reference}:
            name = reference.rpartition("/")[2]
            words = "mapping" if name in _MODELS else f"mapping of {code(definitions[name]['properties'])}"
        case {"enum": values}:
            words = code("false" if value is False else str(value) for value in values)
        case {"format": "password"}:
            words = "secret text"
        case {"type": "array", "items": {"$ref": _}}:
            words = "list of mappings"
        case {"type": "array", **more}:
            words = "list of names" if more.get("items") == _TEXT else "list"
        case {"type": str(kind)}:
            words = _PLAIN.get(kind, kind) + _bounds(schema)
        case _:
            words = "mapping"
    return words


_PLAIN = {
    "string": "text",
    "boolean": "switch",
    "object": "mapping",
    "integer": "whole number",
    "null": "nothing",
}
_BOUNDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "to",
    "exclusiveMaximum": "and below",
}


def _bounds(schema: Mapping[str, Any]) -> str:
    return "".join(f" {words} {schema[bound]}" for bound, words in _BOUNDS.items() if bound in schema)
