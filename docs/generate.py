# ruff: noqa: INP001 - a script beside the pages that it writes, not a package
"""Write what the documentation takes from the code: tables between markers, and the variables in server.json.

`python docs/generate.py` renews them, `--check` only says whether they are current. Keys, values, defaults and
what this version refuses come from the models and the registry. What a key means comes from the docstring
below its field, else from the page, where a person writes it into the last column.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that a checkout can be documented before it is installed

from pydantic import BaseModel  # noqa: E402 - after the path is set, as all below

from massgen_mcp import __version__  # noqa: E402
from massgen_mcp.backends.info import BackendInfo, Capability, Cell, Direction, Support, Task  # noqa: E402
from massgen_mcp.backends.options import Options, Price  # noqa: E402
from massgen_mcp.backends.registry import LEGEND, options_class, public_backends  # noqa: E402
from massgen_mcp.config.agent_tools import AgentTools, ContextPath, CustomTool  # noqa: E402
from massgen_mcp.config.available import not_yet, soft  # noqa: E402
from massgen_mcp.config.massgen_keys import IGNORED  # noqa: E402
from massgen_mcp.config.models import (  # noqa: E402
    AgentConfig,
    AgentKeys,
    Budget,
    Coordination,
    Orchestrator,
    TeamConfig,
    TeamKeys,
    Timeouts,
)
from massgen_mcp.config.paths import Places  # noqa: E402
from massgen_mcp.config.servers import McpServer  # noqa: E402
from massgen_mcp.config.variables import AZURE_ENDPOINT, AZURE_VERSION  # noqa: E402
from massgen_mcp.server.snapshot import SNAPSHOT  # noqa: E402

__all__ = ["PAGES", "SYMBOLS", "main", "renewed", "server_json"]

PAGES = tuple(ROOT / "docs" / name for name in ("backends.md", "configuration.md", "tools.md"))
SERVER = ROOT / "server.json"

SYMBOLS: Mapping[Support, str] = {
    Support.BUILT_IN: "⭐",
    Support.VIA_MCP: "✅",
    Support.VIA_CUSTOM_TOOL: "🔧",
    Support.NONE: "❌",
    Support.VARIES: "varies",
    Support.LIMITED: "limited",
}
_HEADINGS = {Capability.MCP: "MCP"}
_TASKS: tuple[Task, ...] = ("research", "coding", "analysis", "cheap", "private")
_PART = re.compile(r"(?P<head><!-- generated: (?P<name>[\w ]+) -->\n)(?P<body>.*?)(?P<tail><!-- end -->)", re.S)
_ROW = re.compile(r"^\| `(?P<key>\w+)` \|.*\| (?P<meaning>[^|]*) \|$", re.M)
_SECTIONS: Mapping[str, type[BaseModel]] = {
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
    )
}


def renewed(text: str) -> str:
    """A page with every part between markers as it is now."""

    def part(match: re.Match[str]) -> str:
        name, _, argument = match["name"].partition(" ")
        body = _PARTS[name](argument, match["body"])
        return f"{match['head']}\n{body.strip()}\n\n{match['tail']}"

    return _PART.sub(part, text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# Keys of the team file.


def _keys(section: str, old: str) -> str:
    return _key_table(_SECTIONS[section], old)


def _key_table(model: type[BaseModel], old: str, *, without: Iterable[str] = ()) -> str:
    written = {row["key"]: row["meaning"].strip() for row in _ROW.finditer(old)}
    docs, schema = _docstrings(model), model.model_json_schema()
    keys = [key for key in model.model_fields if key not in set(without)]
    states = {key: _state(model, key) for key in keys}
    rows = [
        [
            f"`{key}`",
            _value(schema["properties"][key], schema.get("$defs", {})),
            *([states[key]] if any(states.values()) else []),
            docs.get(key) or written.get(key, ""),
        ]
        for key in keys
    ]
    return _table(["key", "value", *(["this version"] if any(states.values()) else []), "meaning"], rows)


def _backend_keys(_: str, old: str) -> str:
    """The keys that each backend has beside the common ones; backends of one module share a table."""
    modules: dict[str, list[BackendInfo]] = {}
    for row in public_backends():
        modules.setdefault(row.module, []).append(row)
    earlier = dict(re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", old, re.M | re.S))
    parts: list[str] = []
    for rows in sorted(modules.values(), key=lambda rows: rows[0].type):
        title = _code(row.type for row in rows)
        options = options_class(rows[0])
        table = _key_table(options, earlier.get(title, ""), without=Options.model_fields)
        parts.append(f"### {title}\n\n{table}")
    return "\n".join(parts)


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The strings below a model's fields, those of the models above it included."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or base is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, below in zip(statements, statements[1:], strict=False):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    found[name] = " ".join(words.split()).replace("|", "\\|")
                case _:
                    pass
    return found


def _state(model: type[BaseModel], key: str) -> str:
    """What a run does with a key that this version does not have yet; empty for all others."""
    used = model.model_construct(_fields_set={key}, **{key: object()})
    options = used if isinstance(used, Options) else Options(type="groq")
    agent: dict[str, Any] = {"id": "a", "backend": options, "tools": AgentTools()}
    team: dict[str, Any] = {"orchestrator": Orchestrator(), "agents": ()}
    match used:
        case AgentTools():
            agent["tools"] = used
        case AgentKeys():
            agent[key] = used.__dict__[key]
        case Orchestrator():
            team["orchestrator"] = used
        case Coordination():
            team["orchestrator"] = Orchestrator(coordination=used)
        case TeamKeys() if key != "orchestrator":
            team[key] = used.__dict__[key]
        case _:
            pass
    member = AgentConfig.model_construct(_fields_set={*agent}, **agent)
    team["agents"] = (member,)
    whole = TeamConfig.model_construct(_fields_set={*team}, **team)
    if any(problem.path.endswith(key) for problem in not_yet(whole, {"a": ()}, Places({}))):
        return "refused"
    if any(problem.path.endswith(key) for problem in soft(whole, {"a": ()}, Places({}))):
        return "goes without"
    return ""


def _value(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What may stand there, in words, with the default where there is one to speak of."""
    words = _kind(schema, definitions)
    default = schema.get("default")
    if default in (None, False, "", [], {}) or "$ref" in schema:
        return words
    shown = "on" if default is True else f"{default:g}" if isinstance(default, int | float) else f"`{default}`"
    return f"{words}; default {shown}"


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        options = [_kind(option, definitions) for option in schema["anyOf"] if option != {"type": "null"}]
        return " or ".join(dict.fromkeys(options))
    if "$ref" in schema:
        inner = definitions[schema["$ref"].rpartition("/")[2]]
        return f"mapping of {_code(inner['properties'])}"
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return _code("false" if value is False else str(value) for value in values)
    match schema.get("type"):
        case "array":
            items: Mapping[str, Any] = schema.get("items", {})
            return "list of mappings" if "$ref" in items else "list" if items != _TEXT else "list of names"
        case "integer" | "number" as kind:
            return ("whole number" if kind == "integer" else "number") + _bounds(schema)
        case kind:
            return {"string": "text", "boolean": "switch", "object": "mapping"}.get(str(kind), "any")


_TEXT = {"type": "string"}


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f", {low:g} to {high:,}"
    parts = [
        f"{words} {schema[bound]:g}"
        for bound, words in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "up to"),
            ("exclusiveMaximum", "below"),
        )
        if bound in schema
    ]
    return f", {', '.join(parts)}" if parts else ""


def _ignored(_: str, __: str) -> str:
    """MassGen's keys without a meaning here, by section and reason."""
    rows: list[list[str]] = []
    shown = set(IGNORED["coordination"]) | set(IGNORED["orchestrator"])
    for section, keys in IGNORED.items():
        reasons: dict[str, list[str]] = {}
        for key, reason in keys.items():
            if section != "backend" or key not in shown:
                reasons.setdefault(reason, []).append(key)
        rows += [[f"`{section}`", _code(names), reason] for reason, names in reasons.items()]
    return _table(["section", "keys", "why"], rows)


# Backends.


def _matrix(_: str, __: str) -> str:
    notes: dict[str, int] = {}
    head = ["Backend", *(_HEADINGS.get(column, _title(column)) for column in Capability)]
    rows = [
        [_named(row), *(_cell(row.support[column], notes) for column in Capability)]
        for row in public_backends()
    ]
    below = "\n".join(f"{number}. {words}" for words, number in notes.items())
    return f"{_table(head, rows)}\n{below}\n"


def _title(column: Capability) -> str:
    return column.value.replace("_", " ").capitalize()


def _named(row: BackendInfo) -> str:
    return f"`{row.type}`" + ("" if row.executes else " (not yet)")


def _cell(cell: Cell, notes: dict[str, int]) -> str:
    words = [f"with `{cell.key}`" if cell.key else "", _variables_as_code(cell.note)]
    note = "; ".join(filter(None, words))
    number = f" ({notes.setdefault(note, len(notes) + 1)})" if note else ""
    direction = f" {cell.direction.value}" if isinstance(cell.direction, Direction) else ""
    return f"{SYMBOLS[cell.support]}{direction}{number}"


def _variables_as_code(text: str) -> str:
    return re.sub(r"\b[A-Z]+(?:_[A-Z]+)+\b", lambda match: f"`{match.group()}`", text)


def _legend(_: str, __: str) -> str:
    return "\n".join(f"- {SYMBOLS[support]}: {words}" for support, words in LEGEND.items())


def _setup(_: str, __: str) -> str:
    rows = [
        [
            _named(row),
            row.title,
            " or ".join(f"`{name}`" for name in row.env) or "none",
            _flags(row),
            f"`{row.default_model}`" if row.default_model else "",
            row.base_url or "",
            _variables_as_code(row.setup),
        ]
        for row in public_backends()
    ]
    head = ["Backend", "Name", "Key", "Built-in tools", "Default model", "Address", "Setup"]
    return _table(head, rows)


def _flags(row: BackendInfo) -> str:
    also = {native: alias for alias, native in row.flag_aliases.items()}
    return ", ".join(f"`{flag}`" + (f" (or `{also[flag]}`)" if flag in also else "") for flag in row.flags)


def _models(_: str, __: str) -> str:
    rows = [
        [f"`{row.type}`", _code(model.name for model in row.models if model.retires is None)]
        for row in public_backends()
        if row.models
    ]
    return _table(["Backend", "Models"], rows)


def _retirements(_: str, __: str) -> str:
    found = sorted(
        (model.retires, row.rank, model.name, row.type, model.successor)
        for row in public_backends()
        for model in row.models
        if model.retires is not None
    )
    rows = [
        [f"{day:%Y-%m-%d}", f"`{kind}`", f"`{name}`", f"`{successor}`" if successor else ""]
        for day, _rank, name, kind, successor in found
    ]
    return _table(["From", "Backend", "Model", "Use instead"], rows)


def _names(_: str, __: str) -> str:
    rows = [
        [f"`{row.type}`", f"`{name}`", f"`{exact}`"]
        for row in public_backends()
        for name, exact in row.aliases.items()
    ]
    return _table(["Backend", "Written", "Sent"], rows)


def _guide(_: str, __: str) -> str:
    rows = [[task, "<br>".join(_ranked(task))] for task in _TASKS]
    return _table(["Task", "Best first"], rows)


def _ranked(task: Task) -> Iterator[str]:
    ranks = sorted(
        (model.tasks[task], row.rank, row.type, model.name)
        for row in public_backends()
        for model in row.models
        if task in model.tasks and model.retires is None
    )
    for place, (_, _rank, kind, name) in enumerate(ranks, 1):
        yield f"{place}. `{kind}`: `{name}`"


# Tools.


def _tool(name: str, _: str) -> str:
    tool = next(tool for tool in json.loads(SNAPSHOT.read_text(encoding="utf-8")) if tool["name"] == name)
    schema = tool["inputSchema"]
    rows = [
        [
            f"`{key}`" + (" (required)" if key in schema.get("required", ()) else ""),
            _kind(value, {}),
            value.get("description", ""),
        ]
        for key, value in schema["properties"].items()
    ]
    quoted = "\n".join(f"> {line}".rstrip() for line in tool["description"].splitlines())
    hints = ", ".join(f"`{hint}: {str(value).lower()}`" for hint, value in tool["annotations"].items())
    return f"{quoted}\n\n{_table(['argument', 'value', 'meaning'], rows)}\nAnnotations: {hints}.\n"


_PARTS: Mapping[str, Callable[[str, str], str]] = {
    "keys": _keys,
    "backend_keys": _backend_keys,
    "ignored": _ignored,
    "matrix": _matrix,
    "legend": _legend,
    "setup": _setup,
    "models": _models,
    "retirements": _retirements,
    "names": _names,
    "guide": _guide,
    "tool": _tool,
}


# server.json.


def server_json(text: str) -> str:
    """The registry's description of this server: its version, and the variables of the backends that run."""
    server = json.loads(text)
    server["version"] = __version__
    for package in server["packages"]:
        package["version"] = __version__
        own = [entry for entry in package["environmentVariables"] if entry["name"].startswith("MASSGEN_MCP_")]
        package["environmentVariables"] = [*_key_entries(), *own]
    return _one_line_each(json.dumps(server, indent=2, ensure_ascii=False)) + "\n"


def _key_entries() -> Iterator[dict[str, Any]]:
    uses: dict[str, list[str]] = {}
    for row in public_backends():
        for name in row.env if row.executes else ():
            uses.setdefault(name, []).append(row.type)
    for name, kinds in uses.items():
        words = f"Enables the {' and '.join(kinds)} backend{'s' if len(kinds) > 1 else ''}"
        yield {"name": name, "description": words, "isRequired": False, "isSecret": True}
        if "azure_openai" in kinds:
            for other, what in ((AZURE_ENDPOINT, "Address of"), (AZURE_VERSION, "API version for")):
                words = f"{what} the Azure OpenAI resource"
                yield {"name": other, "description": words, "isRequired": False, "isSecret": False}


def _one_line_each(text: str) -> str:
    """Innermost objects on a line of their own: a change of one variable is a change of one line."""
    inner = re.compile(r"\{\n(\s+\"[^{}\[\]]*?)\n\s+\}")
    return inner.sub(lambda match: "{ " + " ".join(match.group(1).split()) + " }", text)


# The command.


def _pages() -> Iterator[tuple[Path, str, str]]:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        yield path, text, renewed(text)
    text = SERVER.read_text(encoding="utf-8")
    yield SERVER, text, server_json(text)


def main(arguments: Sequence[str]) -> int:
    """Renew what is generated, or with `--check` only compare. 1: something is not current, or lacks words."""
    stale = [(path, new) for path, old, new in _pages() if old != new]
    for path, new in stale:
        if "--check" not in arguments:
            path.write_text(new, encoding="utf-8")
        sys.stderr.write(f"{path.relative_to(ROOT)} {'is not current' if '--check' in arguments else 'renewed'}\n")
    wordless = [key for _, _, new in _pages() for key in re.findall(r"^\| (`\w+`) \|.*\|  \|$", new, re.M)]
    if wordless:
        sys.stderr.write(f"Say in docs/configuration.md what these mean: {', '.join(wordless)}\n")
    return int(bool(wordless or (stale and "--check" in arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
