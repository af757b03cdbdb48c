"""What a file of Python functions offers as tools, read from its text alone: nothing in it is run.

`validate_config` reports what is found here, so it must stay without side effects.
"""

from __future__ import annotations

import ast
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from massgen_mcp.errors import Severity
from massgen_mcp.tools.custom.annotations import (
    Names,
    Schema,
    literal_of,
    schema_of,
    schema_of_value,
)
from massgen_mcp.tools.custom.docstrings import Documented, read_docstring

__all__ = [
    "CONTEXT",
    "PREFIX",
    "CustomFunction",
    "Entry",
    "Finding",
    "Source",
    "SourceUnreadable",
    "describe",
    "read_source",
]

PREFIX = "custom_tool__"
"""Before every name, as in MassGen."""
CONTEXT = ("agent_cwd", "agent_id", "allowed_paths")
"""Parameters that the run fills in; a model never sees them."""

Part: TypeAlias = Literal["path", "function", "name", "description", "preset_args", "default_params"]
"""Keys of an entry of `custom_tools`."""

_MAX_BYTES = 1024 * 1024
_MAX_DESCRIPTION = 2000
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_MAX_NAME = 64


class SourceUnreadable(Exception):
    """The file can't be used; the text says why, without any of its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong with one function of an entry."""

    part: Part
    """The key of the entry it is about."""
    message: str
    hint: str = ""
    severity: Severity = "error"
    line: int | None = None
    """In the Python file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One function as a team file declares it."""

    function: str
    name: str = ""
    """The tool's, without the prefix; empty for the function's own."""
    description: str = ""
    """Empty for the docstring's."""
    preset: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments that are always given; the model does not see them."""
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments that are given where the model gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomFunction:
    """A function that can be offered."""

    file: Path
    function: str
    name: str
    """With the prefix."""
    description: str
    parameters: Schema
    preset: Mapping[str, Any]
    defaults: Mapping[str, Any]
    context: tuple[str, ...]
    """Which of `CONTEXT` it takes."""


FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A parsed file."""

    file: Path
    functions: Mapping[str, FunctionNode]
    others: frozenset[str]
    """Names that the module has from elsewhere: imported, assigned, classes."""
    names: Names


def read_source(path: Path, *, within: Sequence[Path] = ()) -> Source:
    """Parse a file.

    Args:
        path: the file.
        within: folders one of which must hold it, links followed; empty for any place.

    Raises:
        SourceUnreadable: it is missing, elsewhere, too large, not a file or not Python.
    """
    resolved = path.resolve()
    if within and not any(resolved.is_relative_to(folder.resolve()) for folder in within):
        raise SourceUnreadable("it lies outside of the folders that tools may be loaded from")
    text = _read(resolved)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise SourceUnreadable(f"line {error.lineno} is not Python of this version: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise SourceUnreadable("it is not Python text") from error
    return _scan(resolved, tree)


def _read(path: Path) -> bytes:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError as error:
        raise SourceUnreadable("there is no such file") from error
    except OSError as error:
        raise SourceUnreadable(f"it can't be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SourceUnreadable("it is not a regular file")
    with os.fdopen(handle, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise SourceUnreadable("it is larger than 1 MiB")
    return data


def _scan(path: Path, tree: ast.Module) -> Source:
    functions: dict[str, FunctionNode] = {}
    others: set[str] = set()
    imported: dict[str, str] = {}
    aliases: dict[str, ast.expr] = {}
    for node in _top(tree.body):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                functions[node.name] = node
            case ast.ImportFrom() | ast.Import():
                pairs = {alias.asname or alias.name: alias.name.rpartition(".")[2] for alias in node.names}
                imported |= pairs
                others |= set(pairs)
            case ast.ClassDef():
                others.add(node.name)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                aliases[name] = value
                others.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                aliases[name] = value
                others.add(name)
            case _:
                pass
    return Source(
        file=path,
        functions=functions,
        others=frozenset(others) - set(functions),
        names=Names(imported, aliases),
    )


def _top(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of the module itself, those under `if` and `try` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for field_name in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(node, field_name, ()):
                    yield from _top(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def describe(entry: Entry, source: Source) -> tuple[CustomFunction | None, tuple[Finding, ...]]:
    """The tool that an entry means, None where there is an error, and everything wrong with it."""
    name = entry.name.removeprefix(PREFIX) or entry.function
    findings = list(_check_name(name))
    node = source.functions.get(entry.function)
    if node is None:
        findings.append(_no_function(entry.function, source))
        return None, tuple(findings)
    reader = _Signature(entry, source, node)
    parameters = reader.parameters()
    findings += reader.findings
    if any(finding.severity == "error" for finding in findings):
        return None, tuple(findings)
    described = entry.description or reader.documented.description
    tool = CustomFunction(
        file=source.file,
        function=entry.function,
        name=PREFIX + name,
        description=described[:_MAX_DESCRIPTION].strip() or f"The function {entry.function}.",
        parameters=parameters,
        preset=dict(entry.preset),
        defaults=dict(entry.defaults),
        context=tuple(reader.context),
    )
    return tool, tuple(findings)


def _check_name(name: str) -> Iterator[Finding]:
    if not _NAME.fullmatch(name) or len(PREFIX + name) > _MAX_NAME:
        longest = _MAX_NAME - len(PREFIX)
        yield Finding(
            part="name",
            message=f"{name[:80]!r} can't be a tool's name",
            hint=f"Give a `name` of at most {longest} letters, digits, `_` and `-`.",
        )


def _no_function(name: str, source: Source) -> Finding:
    if name in source.others:
        return Finding(
            part="function",
            message=f"{name!r} is not defined by `def` in {source.file.name}",
            hint="Define a function there that calls it.",
        )
    public = [known for known in source.functions if not known.startswith("_")]
    known = ", ".join(public[:10])
    hint = f"Known: {known}." if known else "It defines none."
    return Finding(part="function", message=f"{source.file.name} has no function {name!r}", hint=hint)


class _Signature:
    """Reads one function's parameters."""

    def __init__(self, entry: Entry, source: Source, node: FunctionNode) -> None:
        self._entry = entry
        self._source = source
        self._node = node
        self.documented: Documented = read_docstring(ast.get_docstring(node, clean=False))
        self.context: list[str] = []
        self.findings: list[Finding] = []

    def parameters(self) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        arguments = self._node.args
        if arguments.posonlyargs and not self._all_defaults(arguments):
            self._find("function", "has positional-only parameters", "Remove the `/` of its signature.")
        hidden = {*CONTEXT, *_decorated_context(self._node)}
        names: set[str] = set()
        for argument, default in _pairs(arguments):
            names.add(argument.arg)
            if argument.arg in self._entry.preset:
                continue
            if argument.arg in hidden:
                self._hide(argument, default)
                continue
            properties[argument.arg] = self._property(argument, default)
            if default is None and argument.arg not in self._entry.defaults:
                required.append(argument.arg)
        self._check_given(names, open_ended=arguments.kwarg is not None)
        return {
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    def _all_defaults(self, arguments: ast.arguments) -> bool:
        return len(arguments.defaults) == len(arguments.posonlyargs) + len(arguments.args)

    def _hide(self, argument: ast.arg, default: ast.expr | None) -> None:
        if argument.arg in CONTEXT:
            self.context.append(argument.arg)
        elif default is None:
            self._find(
                "function",
                f"takes {argument.arg!r} from MassGen, which is not known here",
                "Give it a default.",
                line=argument.lineno,
            )

    def _property(self, argument: ast.arg, default: ast.expr | None) -> Schema:
        schema: Schema = {}
        plain, value = literal_of(default) if default is not None else (False, None)
        if argument.annotation is not None:
            schema, odd = schema_of(argument.annotation, self._source.names)
            if odd:
                self._find(
                    "function",
                    f"{argument.arg!r} is annotated {odd[:80]!r}, so any value is taken",
                    "Use str, int, float, bool, list, dict or Literal.",
                    line=argument.lineno,
                    severity="warning",
                )
        elif default is None:
            self._find(
                "function",
                f"parameter {argument.arg!r} has neither a type nor a default",
                f"Write `{argument.arg}: str`, or give it in `preset_args`.",
                line=argument.lineno,
            )
        else:
            schema = schema_of_value(value)
        if argument.arg in self._entry.defaults:
            plain, value = True, self._entry.defaults[argument.arg]
        if text := self.documented.parameters.get(argument.arg):
            schema = {"description": text[:_MAX_DESCRIPTION], **schema}
        return {**schema, "default": value} if plain and value is not None else schema

    def _check_given(self, names: set[str], *, open_ended: bool) -> None:
        for part, given in (("preset_args", self._entry.preset), ("default_params", self._entry.defaults)):
            for name in given:
                if name not in names and not (open_ended and part == "preset_args"):
                    known = ", ".join(sorted(names)) or "none"
                    self._find(
                        "preset_args" if part == "preset_args" else "default_params",
                        f"has no parameter {name[:80]!r}",
                        f"Its parameters: {known}.",
                    )

    def _find(
        self, part: Part, message: str, hint: str, *, line: int | None = None, severity: Severity = "error"
    ) -> None:
        line = line or self._node.lineno
        place = f"{self._source.file.name}:{line}: {self._node.name}"
        self.findings.append(
            Finding(part=part, message=f"{place} {message}", hint=hint, severity=severity, line=line)
        )


def _pairs(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Each parameter that can be given by its name, with its default."""
    plain = [*arguments.posonlyargs, *arguments.args]
    missing = len(plain) - len(arguments.defaults)
    for index, argument in enumerate(plain):
        if index >= len(arguments.posonlyargs):
            yield argument, arguments.defaults[index - missing] if index >= missing else None
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _decorated_context(node: FunctionNode) -> set[str]:
    """Names in MassGen's decorator `@context_params("messages", ...)`."""
    found: set[str] = set()
    for decorator in node.decorator_list:
        if not isinstance(decorator, ast.Call):
            continue
        called = decorator.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name == "context_params":
            found |= {
                item.value
                for item in decorator.args
                if isinstance(item, ast.Constant) and isinstance(item.value, str)
            }
    return found
