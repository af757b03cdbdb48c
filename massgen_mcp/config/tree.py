"""YAML text to plain values, every key with its place, under limits that hold before anything is walked.

Written on the parser's events: no constructor runs, no tag is resolved, an alias is counted before it is
followed. Scalars mean what they mean in YAML 1.1, as for everybody who loads such files with PyYAML; where
that surprises (a date, `010`, `1:30`) it is a problem instead of a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import yaml

from massgen_mcp.config.paths import KeyPath, Mark, Places, path_text
from massgen_mcp.errors import Problem

__all__ = ["MAX_BYTES", "Tree", "Value", "parse"]

MAX_BYTES = 1 << 20
_MAX_DEPTH = 32
_MAX_KEYS = 5_000
_MAX_ALIASES = 64
_MAX_NODES = 20_000
_LONGEST_NUMBER = 30
_MERGE = "<<"

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVERS = cast("dict[str, list[tuple[str, re.Pattern[str]]]]", yaml.SafeLoader.yaml_implicit_resolvers)
_TRUE = frozenset({"yes", "true", "on"})
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)\Z")
_PREFIXED = re.compile(r"[-+]?0[xb][0-9a-fA-F_]+\Z")
_QUOTED = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A file's values and places. `problems` is what the text itself gets wrong, `value` what is left."""

    value: dict[str, Value]
    places: Places
    problems: tuple[Problem, ...] = ()
    broken: bool = False
    """The text could not be read to its end: nothing more can be said about it."""


class _Refused(Exception):
    """Reading stops here."""

    def __init__(self, message: str, mark: Mark | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mark = mark
        self.hint = hint


@dataclass(slots=True)
class _Node:
    mark: Mark
    value: bool | int | float | str | None = None
    text: str = ""
    """A scalar as written."""
    trap: str = ""
    """Why a scalar does not mean what it looks like."""
    items: list[_Node] | None = None
    entries: list[tuple[str, Mark, _Node]] | None = None
    size: int = 1
    """Nodes below and with this one, aliases followed."""
    depth: int = 1
    open: bool = False

    def children(self) -> Iterator[_Node]:
        yield from self.items or ()
        for _, _, node in self.entries or ():
            yield node


def parse(text: str) -> Tree:
    """Read the text of a team file. Never raises; what is wrong is in `problems`."""
    try:
        root = _compose(text)
        reader = _Walk()
        value = reader.mapping(root, ())
        return Tree(value=value, places=Places(reader.marks), problems=tuple(reader.found))
    except _Refused as refused:
        line, column = refused.mark or (None, None)
        message = refused.message + ("." if refused.hint else "")
        problem = Problem(path="", message=message, line=line, column=column, hint=refused.hint)
        return Tree(value={}, places=Places({}), problems=(problem,), broken=True)
    except RecursionError:  # pragma: no cover - the depth limit is far below the interpreter's
        problem = Problem(path="", message="nested too deeply")
        return Tree(value={}, places=Places({}), problems=(problem,), broken=True)


def _compose(text: str) -> _Node:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _Refused("larger than 1 MiB")
    composer = _Composer()
    loader = _Loader(text)
    try:
        while loader.check_event():
            composer.take(loader.get_event())
    except yaml.MarkedYAMLError as error:
        raise _Refused(_wording(error), _mark(error.problem_mark or error.context_mark)) from error
    except yaml.YAMLError as error:
        raise _Refused("not YAML: it holds a character that YAML does not allow") from error
    finally:
        loader.dispose()
    if composer.root is None:
        raise _Refused("the file is empty")
    if composer.root.entries is None:
        raise _Refused("a team file is a mapping of keys, such as `agents:`", composer.root.mark)
    return composer.root


def _mark(mark: Any) -> Mark | None:
    return None if mark is None else Mark(mark.line + 1, mark.column + 1)


def _wording(error: yaml.MarkedYAMLError) -> str:
    """The parser's words without anything that it quotes from the file, punctuation apart."""
    words = str(error.problem or error.context or "it can't be read")

    def shown(match: re.Match[str]) -> str:
        quoted = match.group(1)
        harmless = quoted.startswith("<") or (len(quoted) <= 2 and not quoted.isalnum())  # noqa: PLR2004 - "\t" as the parser writes it
        return quoted if harmless else "something else"

    return f"not YAML: {_QUOTED.sub(shown, words)}"


class _Composer:
    """Builds the nodes from events, counting."""

    def __init__(self) -> None:
        self.root: _Node | None = None
        self._stack: list[_Node] = []
        self._keys: list[tuple[str, Mark] | None] = []
        self._anchors: dict[str, _Node] = {}
        self._counts = {"documents": 0, "keys": 0, "aliases": 0}

    def take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self._add(_scalar(event), event)
            case yaml.SequenceStartEvent():
                self._open(_Node(self._at(event), items=[]), event)
            case yaml.MappingStartEvent():
                self._open(_Node(self._at(event), entries=[]), event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self._count("documents", 1, "there is more than one document in the file", self._at(event))
            case _:
                pass

    @staticmethod
    def _at(event: Any) -> Mark:
        return Mark(event.start_mark.line + 1, event.start_mark.column + 1)

    def _count(self, what: str, limit: int, message: str, mark: Mark) -> None:
        self._counts[what] += 1
        if self._counts[what] > limit:
            raise _Refused(message, mark)

    def _open(self, node: _Node, event: Any) -> None:
        self._keep(node, event)
        if len(self._stack) >= _MAX_DEPTH:
            raise _Refused(f"nested more than {_MAX_DEPTH} levels deep", node.mark)
        node.open = True
        self._stack.append(node)
        self._keys.append(None)

    def _close(self) -> None:
        node = self._stack.pop()
        self._keys.pop()
        node.open = False
        node.size = 1 + sum(child.size for child in node.children())
        node.depth = 1 + max((child.depth for child in node.children()), default=0)
        if node.size > _MAX_NODES:
            raise _Refused(f"more than {_MAX_NODES:,} values once its aliases are followed", node.mark)
        if node.depth > _MAX_DEPTH + 1:
            raise _Refused(f"nested more than {_MAX_DEPTH} levels deep", node.mark)
        self._place(node)

    def _keep(self, node: _Node, event: Any) -> None:
        if event.tag is not None:
            raise _Refused("tags (such as !name) are not accepted", node.mark, "Remove the tag.")
        if event.anchor is not None:
            self._anchors[event.anchor] = node

    def _add(self, node: _Node, event: Any) -> None:
        self._keep(node, event)
        self._place(node)

    def _alias(self, event: Any) -> None:
        mark = self._at(event)
        self._count("aliases", _MAX_ALIASES, f"more than {_MAX_ALIASES} aliases", mark)
        node = self._anchors.get(event.anchor)
        if node is None:
            raise _Refused("an alias without its anchor", mark)
        if node.open:
            raise _Refused("an alias inside what it stands for", mark)
        self._place(node)

    def _place(self, node: _Node) -> None:
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        if parent.items is not None:
            parent.items.append(node)
            return
        key = self._keys[-1]
        if key is None:
            if node.items is not None or node.entries is not None:
                raise _Refused("a key must be a word, not a list or mapping", node.mark)
            self._count("keys", _MAX_KEYS, f"more than {_MAX_KEYS:,} keys", node.mark)
            # Keys are words whatever YAML makes of them (`on`, `no`, `1`).
            self._keys[-1] = (node.text, node.mark)
            return
        cast("list[tuple[str, Mark, _Node]]", parent.entries).append((*key, node))
        self._keys[-1] = None


def _scalar(event: Any) -> _Node:
    mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
    text: str = event.value
    if event.implicit[0]:
        for tag, pattern in [*_RESOLVERS.get(text[:1], ()), *_RESOLVERS.get("*", ())]:
            if pattern.match(text):
                return _meaning(tag.rpartition(":")[2], text, mark)
    return _Node(mark, text, text)


def _meaning(tag: str, text: str, mark: Mark) -> _Node:
    plain = text.replace("_", "")
    value: bool | int | float | str | None = text
    trap = ""
    match tag:
        case "null":
            value = None
        case "bool":
            value = text.lower() in _TRUE
        case "int" | "float" if len(text) > _LONGEST_NUMBER:
            trap = "YAML reads this as a number, and it is too long for one"
        case "int" if _DECIMAL.match(text):
            value = int(plain)
        case "int" if _PREFIXED.match(text):
            value = int(plain, 0)
        case "int":
            trap = "YAML reads this as a number in base 8 or 60"
        case "float" if ":" in text or text.lower().lstrip("+-") in (".inf", ".nan"):
            trap = "YAML reads this as a number that is not meant here"
        case "float":
            value = float(plain)
        case "timestamp":
            trap = "YAML reads this as a date"
        case _:
            pass
    return _Node(mark, value, text, trap=trap)


@dataclass(slots=True)
class _Walk:
    """From nodes to values. What it walks is small: the composer has counted it."""

    marks: dict[KeyPath, Mark] = field(default_factory=dict[KeyPath, Mark])
    found: list[Problem] = field(default_factory=list[Problem])

    def mapping(self, node: _Node, path: KeyPath) -> dict[str, Value]:
        """The mapping's own keys, then those merged in by `<<` that it does not set itself."""
        value: dict[str, Value] = {}
        merged: list[_Node] = []
        for key, mark, child in node.entries or ():
            at = (*path, key)
            if key == _MERGE:
                merged += self._merged(child, at, mark)
            elif key in value:
                first = self.marks[at].line
                self._find(at, mark, f"set twice, first in line {first}.", "Remove one of them.")
            else:
                self.marks[at] = mark
                value[key] = self._value(child, at)
        for source in merged:
            self._merge(source, value, path)
        return value

    def _merge(self, source: _Node, value: dict[str, Value], path: KeyPath) -> None:
        further: list[_Node] = []
        for key, mark, child in source.entries or ():
            if key == _MERGE:
                further += self._merged(child, (*path, key), mark)
            elif key not in value:
                self.marks[*path, key] = mark
                value[key] = self._value(child, (*path, key))
        for node in further:
            self._merge(node, value, path)

    def _merged(self, node: _Node, path: KeyPath, mark: Mark) -> list[_Node]:
        sources = [node] if node.entries is not None else node.items or [node]
        if all(source.entries is not None for source in sources):
            return sources
        self._find(path, mark, "`<<` takes a mapping, or a list of them")
        return []

    def _find(self, path: KeyPath, mark: Mark, message: str, hint: str = "") -> None:
        self.found.append(
            Problem(path=path_text(path), message=message, line=mark.line, column=mark.column, hint=hint)
        )

    def _value(self, node: _Node, path: KeyPath) -> Value:
        if node.entries is not None:
            return self.mapping(node, path)
        if node.items is not None:
            items: list[Value] = []
            for index, child in enumerate(node.items):
                at = (*path, index)
                self.marks[at] = child.mark
                items.append(self._value(child, at))
            return items
        if node.trap:
            self._find(path, node.mark, f"{node.trap}.", "If it is text, put it in quotes.")
        return node.value
