"""The file tools: calls of a model's become operations on what its agent sees."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.to_thread

from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec
from massgen_mcp.text import visible
from massgen_mcp.tools.check import checked_arguments
from massgen_mcp.tools.file_specs import CHANGING, FILE_SPECS, FILE_TOOLS_GUIDANCE, IDEMPOTENT
from massgen_mcp.workspace import comparing, finding, moving, reading, writing
from massgen_mcp.workspace.areas import Areas
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.quota import Quota

__all__ = ["FileTools"]

_QUICK = frozenset({"create_directory", "get_file_info"})
"""Done at once; all others may read or sync much, and leave the loop."""
_QUICK_SIZE, _QUICK_FOLDER = 1024 * 1024, 64 * 1024
_MAX_TEXT = 40_000
_MAX_ROWS = 1000
_THREADS = 2
_BLOCK = 20 * 1024
"""As which a file is counted at least: by it, there are too many files when there are too many bytes."""
_UTF8 = 4
"""Bytes that a character may take."""
_OFTEN = 64
"""A workspace is measured again after one part in so many of what it may hold."""


class FileTools:
    """The file tools of one agent.

    Args:
        areas: what it sees; its owner begins turns and closes it.
        quota: what the workspace may hold. While it holds more, files can be read and deleted alone.
    """

    def __init__(self, areas: Areas, *, quota: Quota | None = None) -> None:
        self._areas = areas
        self._quota = quota or Quota()
        self._unmeasured = self._quota.size
        """Bytes that may have come since the workspace was measured; at first it never was."""
        self._specs = {spec.name: spec for spec in FILE_SPECS}
        # Changes are made one after the other, so that parallel edits of a file don't lose each other.
        self._changing = anyio.Lock()
        self._threads = anyio.CapacityLimiter(_THREADS)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The definitions, constant."""
        return FILE_SPECS

    @property
    def guidance(self) -> str:
        """How paths are written, for the agent."""
        return FILE_TOOLS_GUIDANCE

    def idempotent(self, name: str) -> bool:
        """Whether a call of that tool may be repeated after a crash."""
        return name in IDEMPOTENT

    def side_effects(self, name: str) -> bool:
        """None beyond the workspace: the project can be written in the presenter's turn alone."""
        del name
        return False

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call. Failures are results with `is_error`; only cancellation raises."""
        spec = self._specs.get(call.name)
        if spec is None:
            names = ", ".join(self._specs)
            return _failed(call, f"There is no file tool {call.name[:60]!r}. There are: {names}.")
        try:
            arguments = checked_arguments(spec, call)
            if call.name in CHANGING:
                async with self._changing:
                    if call.name != "delete_file":
                        await self._check_room(self._most(call.name, arguments))
                    text = await self._run(call.name, arguments)
            else:
                text = await self._run(call.name, arguments)
        except (PathRefused, ValueError) as error:
            return _failed(call, str(error))
        except OSError as error:  # of the disk, in the middle of something
            return _failed(call, f"{call.name} failed: {error.strerror or error}.")
        return ToolResult(call_id=call.id, content=text)

    async def _check_room(self, size: int) -> None:
        """Refuse to add to a workspace that holds too much; it is measured as often as that could matter."""
        if self._unmeasured + size > self._quota.size // _OFTEN:
            excess = await anyio.to_thread.run_sync(self._quota.excess, self._areas.workspace.host)
            if excess:
                raise PathRefused(f"The workspace holds {excess}. Delete some before you add more.", "size")
            self._unmeasured = 0
        self._unmeasured += size

    def _most(self, name: str, arguments: dict[str, Any]) -> int:
        """The most bytes that a call can add."""
        match name:
            case "write_file":
                return _BLOCK + _UTF8 * len(arguments["content"])
            case "create_directory":
                return _BLOCK
            case "edit_file":
                return writing.MAX_FILE
            case _:
                return self._quota.size

    async def _run(self, name: str, arguments: dict[str, Any]) -> str:
        operation = _OPERATIONS[name]
        if self._is_quick(name, arguments):
            return operation(self._areas, **arguments)
        return await anyio.to_thread.run_sync(
            lambda: operation(self._areas, **arguments), limiter=self._threads
        )

    def _is_quick(self, name: str, arguments: dict[str, Any]) -> bool:
        if name == "read_file":
            return reading.info(self._areas, arguments["path"]).st_size <= _QUICK_SIZE
        if name == "list_directory":
            path = arguments.get("path", ".")
            whole = arguments.get("recursive", False)
            listed = self._areas.is_list(path)
            return not whole and (listed or reading.info(self._areas, path).st_size <= _QUICK_FOLDER)
        return name in _QUICK


def _failed(call: ToolCall, words: str) -> ToolResult:
    return ToolResult(call_id=call.id, content=words, is_error=True)


def _read_file(
    areas: Areas,
    path: str,
    start_line: int = 1,
    end_line: int | None = None,
    start_character: int = 1,
    *,
    line_numbers: bool = False,
) -> str:
    start = start_line or 1
    text = reading.read(
        areas, path, start=start, end=end_line, character=start_character, max_characters=_MAX_TEXT
    )
    if not text.size:
        return "[the file is empty]"
    lines: Iterable[str] = text.lines
    if line_numbers:
        lines = (f"{number:6}\t{line}" for number, line in enumerate(lines, text.first))
    body = "\n".join(lines)
    last = text.first + len(text.lines) - 1
    notes: list[str] = []
    if text.first > 1 or text.more is not None:
        notes.append(f"lines {text.first} to {last} of {text.total}")
    if text.more is not None:
        line, character = text.more
        at = f"start_line={line}" + (f", start_character={character}" if character > 1 else "")
        notes.append(f"read on with {at}")
    if text.damaged:
        notes.append("not all of it is UTF-8: what is not, is shown as \ufffd")
    return f"{body}\n[{'; '.join(notes)}]" if notes else body


def _write_file(areas: Areas, path: str, content: str) -> str:
    new = writing.write(areas, path, content)
    return f"{'Wrote the new file' if new else 'Replaced'} {visible(path)} ({len(content.encode()):,} bytes)."


def _edit_file(areas: Areas, path: str, old_text: str, new_text: str, *, replace_all: bool = False) -> str:
    edited = writing.edit(areas, path, [(old_text, new_text)], every=replace_all)
    times = "" if edited.count == 1 else f" and in {edited.count - 1} more places"
    return f"Edited {visible(path)} in line {edited.lines[0]}{times}."


def _create_directory(areas: Areas, path: str) -> str:
    writing.create_directory(areas, path)
    return f"{visible(path)} is there."


def _list_directory(areas: Areas, path: str = ".", *, recursive: bool = False) -> str:
    found = reading.listing(areas, path, recursive=recursive, limit=_MAX_ROWS)
    rows = [name if size is None else f"{name}  {size:,}" for name, size in found.rows]
    hint = f"there is more than these {_MAX_ROWS}; list a folder below, or use search_files"
    return _rows(rows, hint if found.cut else "") or f"{visible(path)} is empty."


def _rows(rows: Iterable[str], more: str) -> str:
    """The rows, as many as fit, and what there is more of."""
    shown: list[str] = []
    room = _MAX_TEXT
    for row in rows:
        room -= len(row) + 1
        if room < 0:
            more = more or "there is more; narrow it down"
            break
        shown.append(row)
    return "\n".join([*shown, *([f"[{more}]"] if more else [])])


def _move_file(areas: Areas, source: str, destination: str) -> str:
    moving.move(areas, source, destination)
    return f"Moved {visible(source)} to {visible(destination)}."


def _copy_file(areas: Areas, source: str, destination: str) -> str:
    files, size = moving.copy(areas, source, destination)
    count = "" if files == 1 else f"{files:,} files, "
    return f"Copied {visible(source)} to {visible(destination)} ({count}{size:,} bytes)."


def _delete_file(areas: Areas, path: str, *, recursive: bool = False) -> str:
    moving.delete(areas, path, recursive=recursive)
    return f"Deleted {visible(path)}."


def _search_files(areas: Areas, pattern: str, path: str = ".") -> str:
    found = finding.search(areas, path, pattern)
    stopped = f"stopped: {found.stopped}; narrow the pattern or the path" if found.stopped else ""
    return _rows(found.paths, stopped) or f"Nothing matches {visible(pattern)} among {found.files:,} names."


def _grep_files(
    areas: Areas,
    pattern: str,
    path: str = ".",
    glob: str = "",
    context_lines: int = 0,
    *,
    ignore_case: bool = False,
) -> str:
    found = finding.grep(areas, path, pattern, glob=glob, ignore_case=ignore_case, context=context_lines)
    rows = (f"{line.path}{':' if line.hit else '-'}{line.number}: {line.text}" for line in found.lines)
    stopped = f"stopped: {found.stopped}; narrow the pattern, the path or the glob" if found.stopped else ""
    return _rows(rows, stopped) or f"No line matches in {found.files:,} files."


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISLNK, "symbolic link (not followed)"),
)


def _get_file_info(areas: Areas, path: str) -> str:
    if areas.is_list(path):
        return f"{visible(path)}: a list of {len(areas.places(path))} folders or files; list it."
    found = reading.info(areas, path)
    kind = next((words for test, words in _KINDS if test(found.st_mode)), "special file")
    changed = datetime.fromtimestamp(found.st_mtime, tz=UTC).isoformat(timespec="seconds")
    rows = [f"kind: {kind}", f"size: {found.st_size:,} bytes", f"changed: {changed}"]
    rows.append(f"permissions: {stat.filemode(found.st_mode)}")
    try:
        areas.check_writable(areas.place(path))
    except PathRefused as error:
        rows.append(f"read-only: {error}")
    return "\n".join(rows)


def _compare_files(areas: Areas, first: str, second: str) -> str:
    folders = comparing.is_folder(areas, first), comparing.is_folder(areas, second)
    if folders[0] is not folders[1]:
        raise PathRefused("One is a folder, the other is not. Compare two files or two folders.", "kind")
    if folders[0]:
        found = (f"{path}: {how}" for path, how in comparing.compare_folders(areas, first, second))
        return _rows(found, "") or "The folders hold the same."
    differs = comparing.compare_files(areas, first, second)
    if differs is None:
        return "The files are the same."
    if not differs.text:
        return "The files differ, and are not both text."
    return _rows(differs.text.splitlines(), "")


_OPERATIONS: dict[str, Callable[..., str]] = {
    "read_file": _read_file,
    "write_file": _write_file,
    "edit_file": _edit_file,
    "create_directory": _create_directory,
    "list_directory": _list_directory,
    "move_file": _move_file,
    "search_files": _search_files,
    "grep_files": _grep_files,
    "get_file_info": _get_file_info,
    "copy_file": _copy_file,
    "delete_file": _delete_file,
    "compare_files": _compare_files,
}
