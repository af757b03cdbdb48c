"""The cells that several rows share, and short ways to write a row's tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

from massgen_mcp.backends.info import Capability, Cell, Direction, ModelInfo, Support, Task

__all__ = [
    "AUDIO_TOOL",
    "BUILT_IN",
    "IMAGE_TOOL",
    "MCP",
    "NONE",
    "SEES",
    "VARIES",
    "VIDEO_TOOL",
    "matrix",
    "model",
    "names",
]

BUILT_IN = Cell(support=Support.BUILT_IN)
MCP = Cell(support=Support.VIA_MCP)
NONE = Cell(support=Support.NONE)
VARIES = Cell(support=Support.VARIES)

SEES = Cell(
    support=Support.BUILT_IN,
    direction=Direction.UNDERSTAND,
    note="pictures are made by a tool, with OPENAI_API_KEY or GOOGLE_API_KEY",
)
IMAGE_TOOL = Cell(support=Support.VIA_CUSTOM_TOOL, direction=Direction.BOTH, key="OPENAI_API_KEY")
AUDIO_TOOL = Cell(support=Support.VIA_CUSTOM_TOOL, direction=Direction.BOTH, key="OPENAI_API_KEY")
VIDEO_TOOL = Cell(
    support=Support.VIA_CUSTOM_TOOL,
    direction=Direction.BOTH,
    key="GOOGLE_API_KEY",
    note="understanding works with OPENAI_API_KEY too",
)


def matrix(
    *,
    web: Cell = NONE,
    code: Cell = MCP,
    shell: Cell = MCP,
    image: Cell = IMAGE_TOOL,
    audio: Cell = AUDIO_TOOL,
    video: Cell = VIDEO_TOOL,
    mcp: Cell = MCP,
    filesystem: Cell = MCP,
    custom_tools: Cell = MCP,
) -> Mapping[Capability, Cell]:
    """A row of the support matrix, every column filled."""
    return MappingProxyType(
        {
            Capability.WEB_SEARCH: web,
            Capability.CODE_EXECUTION: code,
            Capability.SHELL: shell,
            Capability.IMAGE: image,
            Capability.AUDIO: audio,
            Capability.VIDEO: video,
            Capability.MCP: mcp,
            Capability.FILESYSTEM: filesystem,
            Capability.CUSTOM_TOOLS: custom_tools,
        }
    )


def model(
    name: str,
    *,
    retires: str | None = None,
    successor: str = "",
    sampling: bool = True,
    **tasks: int,
) -> ModelInfo:
    """A model. `retires` is an ISO date; each further keyword is a task with the model's rank in it."""
    return ModelInfo(
        name=name,
        retires=date.fromisoformat(retires) if retires else None,
        successor=successor,
        sampling=sampling,
        tasks=MappingProxyType({_task(task): rank for task, rank in tasks.items()}),
    )


def names(table: dict[str, str]) -> Mapping[str, str]:
    """A read-only table of names."""
    return MappingProxyType(table)


_TASKS: Mapping[str, Task] = {
    "research": "research",
    "coding": "coding",
    "analysis": "analysis",
    "cheap": "cheap",
    "private": "private",
}


def _task(name: str) -> Task:
    return _TASKS[name]
