"""Custom tools of an agent: which functions its entries mean, and what is wrong with them.

The functions' sources are read here, never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from massgen_mcp.config.agent_tools import AgentTools, CustomTool
from massgen_mcp.config.paths import KeyPath
from massgen_mcp.config.seat import Seat
from massgen_mcp.errors import Problem
from massgen_mcp.tools.custom.source import (
    CustomFunction,
    Entry,
    Finding,
    Source,
    SourceUnreadable,
    describe,
    read_source,
)

__all__ = ["MASSGEN_MEDIA", "check_custom", "custom_functions", "is_media", "media_functions"]

MASSGEN_MEDIA: Mapping[str, str] = {
    "understand_image": "understand_image",
    "understand_audio": "understand_audio",
    "understand_video": "understand_video",
    "understand_file": "understand_file",
    "read_media": "understand_file",
    "text_to_image_generation": "generate_image",
    "image_to_image_generation": "generate_image",
    "text_to_video_generation": "generate_video",
    "text_to_speech_transcription_generation": "generate_audio",
    "text_to_speech_continue_generation": "generate_audio",
    "generate_media": "generate_image",
    "text_to_file_generation": "",
}
"""Functions that MassGen brings, which need no file here -> our tool for it; empty where file tools do it."""
_MASSGEN = ("massgen", "tool")
"""Where MassGen's own functions lie."""


def is_media(tool: CustomTool) -> bool:
    """Whether an entry asks for functions that MassGen brings, by their names or by MassGen's own files."""
    theirs = tool.path is None or PurePosixPath(tool.path.replace("\\", "/")).parts[:2] == _MASSGEN
    return theirs and bool(tool.function) and set(MASSGEN_MEDIA).issuperset(tool.function)


def media_functions(tools: AgentTools) -> tuple[str, ...]:
    """Our media tools that the entries ask for."""
    left_out = set(tools.exclude_custom_tools)
    asked = (
        MASSGEN_MEDIA[name]
        for tool in tools.custom_tools
        if is_media(tool)
        for name in tool.function
        if left_out.isdisjoint({name, MASSGEN_MEDIA[name]})
    )
    return tuple(name for name in dict.fromkeys(asked) if name)


def custom_functions(
    tools: AgentTools, *, beside: Path, approved: Sequence[Path] = ()
) -> tuple[CustomFunction, ...]:
    """The functions of a valid team file, in its order, without those in `exclude_custom_tools`.

    Args:
        tools: of one agent.
        beside: the team file's folder.
        approved: other folders that tools may be loaded from.
    """
    reader = _Reader(beside, approved)
    described = [
        describe(entry, source)[0]
        for tool in tools.custom_tools
        if tool.path is not None and not is_media(tool)
        for source in [reader.read(tool.path)]
        if isinstance(source, Source)
        for entry in _entries(tool)
    ]
    left_out = set(tools.exclude_custom_tools)
    return tuple(
        function
        for function in described
        if function is not None and left_out.isdisjoint({function.name, function.function})
    )


def check_custom(seat: Seat, *, beside: Path, approved: Sequence[Path] = ()) -> Iterator[Problem]:
    """Problems of the functions themselves; what is wrong with the entries' keys is checked elsewhere."""
    reader = _Reader(beside, approved)
    first: dict[str, int] = {}
    for index, tool in enumerate(seat.agent.tools.custom_tools):
        if tool.path is None or not tool.function or is_media(tool):
            continue
        at: KeyPath = ("custom_tools", index)
        source = reader.read(tool.path)
        if isinstance(source, str):
            yield seat.problem(*at, "path", message=f"{source}.", hint=_remedy(tool.path, beside))
            continue
        yield from _counts(seat, at, tool)
        for entry in _entries(tool):
            function, findings = describe(entry, source)
            for finding in findings:
                yield _problem(seat, at, finding)
            if function is not None and first.setdefault(function.name, index) != index:
                message = f"custom_tools[{first[function.name]}] has this name, too: {function.name}."
                yield seat.problem(*at, "name", message=message, hint="Give another `name`.")


class _Reader:
    """Reads each file once."""

    def __init__(self, beside: Path, approved: Sequence[Path]) -> None:
        self._beside = beside
        self._within = (beside, *approved)
        self._read: dict[str, Source | str] = {}

    def read(self, path: str) -> Source | str:
        """The source, or why it can't be had."""
        if path not in self._read:
            try:
                self._read[path] = read_source(self._beside / path, within=self._within)
            except SourceUnreadable as error:
                self._read[path] = str(error)
        return self._read[path]


def _entries(tool: CustomTool) -> Iterator[Entry]:
    presets = tool.preset_args
    for index, function in enumerate(tool.function):
        preset: Mapping[str, Any] | None = presets if isinstance(presets, dict) else _at(presets, index)
        yield Entry(
            function=function,
            name=_at(tool.name, index) or "",
            description=_at(tool.description, index) or "",
            preset=preset or {},
            defaults=tool.default_params or {},
        )


def _at(items: Sequence[Any] | None, index: int) -> Any:
    return items[index] if items is not None and index < len(items) else None


def _counts(seat: Seat, at: KeyPath, tool: CustomTool) -> Iterator[Problem]:
    """A list beside `function` has one item for each of them."""
    wanted = len(tool.function)
    presets = () if isinstance(tool.preset_args, dict) else tool.preset_args or ()
    for key, items in (("name", tool.name), ("description", tool.description), ("preset_args", presets)):
        if items and len(items) != wanted:
            message = f"{len(items)} for {wanted} functions."
            yield seat.problem(*at, key, message=message, hint="Give one for each function, in their order.")


def _problem(seat: Seat, at: KeyPath, finding: Finding) -> Problem:
    return seat.problem(
        *at, finding.part, message=f"{finding.message}.", severity=finding.severity, hint=finding.hint
    )


def _remedy(path: str, beside: Path) -> str:
    if PurePosixPath(path.replace("\\", "/")).parts[:1] == ("massgen",):
        return "It is one of MassGen's own files: copy it beside the team file and name the copy."
    return f"Relative paths lie beside the team file, in {beside}."
