"""An agent's folders in a run: as they are when it begins, and as they were left where a run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from massgen_mcp.config.folders import names_a_place
from massgen_mcp.runs.attach import named_images
from massgen_mcp.runs.bench import NOT_SHOWN, Work
from massgen_mcp.team.spec import AgentSpec, EarlierWork, TeamSpec
from massgen_mcp.workspace.apply import load_baseline
from massgen_mcp.workspace.areas import Areas
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.run_folder import RunFolder
from massgen_mcp.workspace.trees import names_in, remove
from massgen_mcp.workspace.writing import write_bytes

__all__ = ["open_work"]

_USUAL = "workspace"


def open_work(
    state: Path, folder: RunFolder, spec: TeamSpec, agent: AgentSpec, *, label: str, cwd: str | None
) -> tuple[Work, list[str]]:
    """Open an agent's folders, and say what is not as it should be.

    What the workspace begins with is put there once in a run: whoever goes on with the run finds it as the
    agent has left it.

    Raises:
        PathRefused: a folder is not there, or may not be used.
        OSError: the disk is full, or fails.
    """
    name = cwd if cwd and not names_a_place(cwd) else _USUAL
    areas = Areas(folder.workspace(label, name), spec.equipment.contexts.get(agent.id, ()))
    try:
        areas.look_for_keys()
        notes = _begin(state, folder, areas, spec, agent, label)
        work = Work(folder=folder, areas=areas, label=label)
        try:
            work.before = load_baseline(areas, folder.snapshots, folder.kept, label)
        except PathRefused as error:
            work.lost = True
            notes.append(f"{NOT_SHOWN}: {error}")
        if work.before is not None and work.before.late:
            notes.append(NOT_SHOWN)
    except BaseException:
        areas.close()
        raise
    return work, notes


def _begin(
    state: Path, folder: RunFolder, areas: Areas, spec: TeamSpec, agent: AgentSpec, label: str
) -> list[str]:
    """Put into the workspace what it begins with, unless that was done."""
    earlier = spec.equipment.earlier
    images = () if agent.info.image_input else named_images(spec.attached.images)
    if earlier is None and not images:
        return []
    mark = f"begun-{label}"
    if folder.kept.has(mark):
        return _notes(folder, mark)
    notes = [] if earlier is None else _take_over(state, folder, areas, earlier)
    for path, image in images:
        write_bytes(areas, path, image.data)
    # The mark last: after a crash before it, no agent has worked here, and all is done again.
    folder.kept.write(mark, json.dumps(notes).encode())
    return notes


def _notes(folder: RunFolder, mark: str) -> list[str]:
    """What was said when the workspace was begun."""
    try:
        found: Any = json.loads(folder.kept.read(mark) or b"[]")
    except (PathRefused, ValueError):
        return []
    return [str(note) for note in found]


def _take_over(state: Path, folder: RunFolder, areas: Areas, earlier: EarlierWork) -> list[str]:
    """Make the workspace what an earlier run's answer came with; empty where that is gone."""
    root = areas.workspace.root
    try:
        with folder.snapshots_of(state, earlier.run_id, earlier.storage) as snapshots:
            snapshots.restore(earlier.snapshot, root)
    except PathRefused as error:
        for name in names_in(root.fd):
            remove(root.fd, name)
        return [f"its workspace begins empty, without the files of run {earlier.run_id}: {error}"]
    return []
