"""Folders of a run as a team file names them, and paths that lead out of where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from massgen_mcp.config.agent_tools import ContextPath
from massgen_mcp.config.models import Orchestrator
from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.config.seat import Seat
from massgen_mcp.errors import Problem
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.names import check_new_name, split

__all__ = [
    "USUAL_WORKSPACE",
    "check_contexts_lie",
    "check_paths",
    "check_run_folders",
    "names_a_place",
    "outside",
    "run_folder",
    "unfit",
]

USUAL_WORKSPACE = "workspace"
_OURS = ("workspaces", "scratch")
"""Folders of a run that no team file names."""
_ELSEWHERE = "lies neither in the project nor beside the team file."
_NAME_IT = "Name its folder with --root or MASSGEN_MCP_ROOTS."
_PLAIN = "Give a plain relative path, such as workspace."


def outside(path: str) -> bool:
    """Whether a relative path leads out of the folder it is taken from."""
    return ".." in PurePath(path.replace("\\", "/")).parts or path.startswith("~")


def names_a_place(path: str) -> bool:
    """Whether a path says where on a machine it lies, on this one or on one with Windows."""
    return PurePath(path).is_absolute() or bool(PureWindowsPath(path).drive)


def run_folder(path: str) -> tuple[str, ...]:
    """The steps below a run's folder that a path means: of an absolute one only its last name counts.

    Raises:
        PathRefused: no folder of a run can be called that.
    """
    absolute, parts = split(str(PurePosixPath(path)))
    parts = parts[-1:] if absolute else parts
    if not parts:
        raise PathRefused("It names no folder.", "name")
    check_new_name(parts)
    return parts


def unfit(path: str) -> tuple[str, str]:
    """Why no folder of a run can be called that, and what to do; empty where one can."""
    if outside(path):
        return "must not lead out of the run's folder", ""
    try:
        run_folder(path)
    except PathRefused:
        return "no folder can be called that.", _PLAIN
    return "", ""


def check_run_folders(orchestrator: Orchestrator, at: KeyPath, places: Places) -> Iterator[Problem]:
    """Problems of the folders that all agents of a run share."""
    taken: list[tuple[str, ...]] = []
    for key, usual in (("snapshot_storage", "snapshots"), ("agent_temporary_workspace", "temp_workspaces")):
        path: str | None = getattr(orchestrator, key)
        message, hint = unfit(path) if path is not None else ("", "")
        if message:
            yield places.problem((*at, key), message, hint=hint)
            continue
        folder = run_folder(usual if path is None else path)
        if folder[0] in _OURS:
            message = f"a run has a folder {folder[0]} of its own."
            yield places.problem((*at, key), message, hint=f"Give another name, such as {usual}.")
        elif any(_overlap(folder, other) for other in taken):
            message = "another folder of a run has this name, or lies in it or around it."
            yield places.problem((*at, key), message, hint="Give another one.")
        taken.append(folder)


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two folders are the same, or one lies in the other."""
    steps = min(len(one), len(other))
    return one[:steps] == other[:steps]


def check_paths(seat: Seat, folders: Sequence[Path]) -> Iterator[Problem]:
    """Absolute paths of an agent that lie neither in these folders, nor below one of them."""
    block = (*seat.path, "backend")
    tools = seat.agent.tools
    yield from check_contexts_lie(tools.context_paths, (*block, "context_paths"), seat.places, folders)
    for index, server in enumerate(tools.mcp_servers):
        if server.cwd is not None and _elsewhere(server.cwd, folders):
            path = (*seat.server_path(index), "cwd")
            yield seat.problem(*path, message=_ELSEWHERE, hint=_NAME_IT)


def check_contexts_lie(
    contexts: Sequence[ContextPath], path: KeyPath, places: Places, folders: Sequence[Path]
) -> Iterator[Problem]:
    """The same for context paths."""
    for index, context in enumerate(contexts):
        if _elsewhere(context.path, folders):
            yield places.problem((*path, index, "path"), _ELSEWHERE, hint=_NAME_IT)


def _elsewhere(text: str, folders: Sequence[Path]) -> bool:
    path = Path(text)
    if not path.is_absolute() or not folders:
        return False
    real = path.resolve()
    return not any(real.is_relative_to(folder.resolve()) for folder in folders)
