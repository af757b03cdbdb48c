"""The file tools as a model sees them. Constant: prompt caches live on that."""

from __future__ import annotations

from typing import Any

from massgen_mcp.messages import ToolSpec

__all__ = ["CHANGING", "FILE_SPECS", "FILE_TOOLS_GUIDANCE", "IDEMPOTENT", "READ_ONLY"]

FILE_TOOLS_GUIDANCE = (
    "Relative paths lie in your workspace. answers/LABEL/ holds the files made with the answer of that "
    "label, read-only; project/ is the project you were given, if any: read-only, except for who presents "
    "the final answer. Put work worth keeping into files; others see them with your answer."
)

_PATH = {"type": "string", "description": "e.g. src/main.py"}


def _spec(name: str, description: str, required: tuple[str, ...], **properties: dict[str, Any]) -> ToolSpec:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return ToolSpec(name=name, description=description, parameters=parameters)


def _text(description: str = "") -> dict[str, Any]:
    return {"type": "string", "description": description} if description else {"type": "string"}


def _flag(description: str) -> dict[str, Any]:
    return {"type": "boolean", "description": description}


def _number(description: str, minimum: int | None = 1) -> dict[str, Any]:
    bound = {} if minimum is None else {"minimum": minimum}
    return {"type": "integer", "description": description, **bound}


FILE_SPECS: tuple[ToolSpec, ...] = (
    _spec(
        "read_file",
        "Read a text file, or lines of it. A long one is cut, and the end says how to read on.",
        ("path",),
        path=_PATH,
        start_line=_number("first line, from 1; negative counts from the end", None),
        end_line=_number("last line"),
        start_character=_number("of the first line, to read on in a very long one"),
        line_numbers=_flag("put each line's number before it"),
    ),
    _spec(
        "write_file",
        "Write a whole file, replacing what is there. Missing folders are made.",
        ("path", "content"),
        path=_PATH,
        content=_text(),
    ),
    _spec(
        "edit_file",
        "Replace exact text in a file. old_text must occur once, or set replace_all.",
        ("path", "old_text", "new_text"),
        path=_PATH,
        old_text=_text("exactly as in the file, without line numbers"),
        new_text=_text(),
        replace_all=_flag("replace every occurrence"),
    ),
    _spec("create_directory", "Make a folder, and those above it.", ("path",), path=_PATH),
    _spec(
        "list_directory",
        "List a folder: names, folders with a slash, sizes in bytes.",
        (),
        path=_text("default: the workspace"),
        recursive=_flag("with everything below"),
    ),
    _spec(
        "move_file",
        "Move or rename a file or folder. The destination must not exist.",
        ("source", "destination"),
        source=_text(),
        destination=_text(),
    ),
    _spec(
        "search_files",
        "Find files and folders by glob, such as *.py, src/**/test_*.py, *.{js,ts}.",
        ("pattern",),
        pattern=_text("without a slash it matches names in any folder"),
        path=_text("where; default: the workspace"),
    ),
    _spec(
        "grep_files",
        "Find lines by regular expression (Python's syntax, no back-references or look-around).",
        ("pattern",),
        pattern=_text(),
        path=_text("folder or file; default: the workspace"),
        glob=_text("only files that match it"),
        ignore_case=_flag("match both cases"),
        context_lines={**_number("lines to show around each match", 0), "maximum": 20},
    ),
    _spec("get_file_info", "Kind, size, time and permissions of a file or folder.", ("path",), path=_PATH),
    _spec(
        "copy_file",
        "Copy a file or folder, also from answers/ or project/. The destination must not exist.",
        ("source", "destination"),
        source=_text(),
        destination=_text(),
    ),
    _spec(
        "delete_file",
        "Delete a file or an empty folder.",
        ("path",),
        path=_PATH,
        recursive=_flag("a folder with everything in it"),
    ),
    _spec(
        "compare_files",
        "Unified diff of two files, or what differs between two folders.",
        ("first", "second"),
        first=_text(),
        second=_text(),
    ),
)
"""In the order of MassGen's servers."""

READ_ONLY = frozenset(
    {"compare_files", "get_file_info", "grep_files", "list_directory", "read_file", "search_files"}
)
"""They change nothing."""
CHANGING = frozenset(spec.name for spec in FILE_SPECS) - READ_ONLY
IDEMPOTENT = READ_ONLY | {"create_directory", "write_file"}
"""Doing it once more changes nothing further."""
