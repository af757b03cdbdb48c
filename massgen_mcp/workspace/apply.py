"""What the presenter changed in the project: compared before and after, whatever it was changed with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from massgen_mcp.workspace.areas import Area, Areas
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.kept_folder import KeptFolder
from massgen_mcp.workspace.names import shown
from massgen_mcp.workspace.snapshots import Change, Limits, Note, Snapshot, Snapshots
from massgen_mcp.workspace.taking import OBEYED

__all__ = ["Applied", "Baseline", "applied", "baseline", "keep_baseline", "load_baseline"]

LIMITS = Limits(obeyed=False)
_VERSION = 1
"""Of what is kept of a baseline."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The writable part of a project before the presenter's turn: prefix -> snapshot."""

    snapshots: tuple[tuple[str, str], ...] = ()
    guarded: tuple[Path, ...] = ()
    """Settings and instructions found there: read-only for programs, too."""
    late: bool = False
    """Taken anew, since the one from before the turn was lost: what was changed before it is not shown."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What has changed since, and what a person should look at."""

    changes: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()


def baseline(areas: Areas, snapshots: Snapshots) -> Baseline:
    """Keep the writable part of the project as it is before the presenter's turn.

    Raises:
        PathRefused: a folder is gone.
        OSError: the disk is full, or fails.
    """
    found: list[tuple[str, str]] = []
    guarded: list[Path] = []
    for area in _writable(areas):
        snapshot = snapshots.take(area.root, limits=LIMITS)
        found.append((area.prefix, snapshot.id))
        guarded += [area.host / note.path for note in _obeyed(area, snapshot)]
    return Baseline(tuple(found), tuple(guarded))


def keep_baseline(before: Baseline, areas: Areas, kept: KeptFolder, label: str) -> None:
    """Have a baseline outlive this process, for the agent of that label.

    Raises:
        OSError: the disk is full, or fails.
    """
    value = {
        "version": _VERSION,
        "snapshots": [list(pair) for pair in before.snapshots],
        "guarded": [os.fspath(path) for path in before.guarded],
        "late": before.late,
        "folders": _folders(areas),
        "absent": [os.fspath(path) for path in areas.absent],
    }
    kept.write(_named_for(label), json.dumps(value).encode())


def load_baseline(areas: Areas, snapshots: Snapshots, kept: KeptFolder, label: str) -> Baseline | None:
    """The baseline that was kept for that agent; None where there is none.

    What a sandbox left in the project when its turn was cut short is cleared away.

    Raises:
        PathRefused: it is damaged, or of other folders than these.
    """
    data = kept.read(_named_for(label))
    if data is None:
        return None
    value: dict[str, Any] = json.loads(data)
    if value["version"] != _VERSION:
        raise PathRefused("another version of this program kept what was there.", "text")
    if value["folders"] != _folders(areas):
        raise PathRefused("the team file shows other folders of the project than before.", "missing")
    areas.clear_away(map(Path, value.get("absent", ())))
    found = tuple((str(prefix), str(snapshot)) for prefix, snapshot in value["snapshots"])
    for _, snapshot in found:
        snapshots.get(snapshot)
    # What is there no more can't be shown read-only to programs.
    guarded = tuple(path for path in map(Path, value["guarded"]) if os.path.lexists(path))
    return Baseline(found, guarded, late=value["late"])


def _named_for(label: str) -> str:
    return f"baseline-{label}"


def _folders(areas: Areas) -> list[list[str]]:
    """What of the project can be written, by the name and the place of each."""
    return [[area.prefix, os.fspath(area.host), area.only] for area in _writable(areas)]


def _writable(areas: Areas) -> Iterator[Area]:
    return (area for area in areas.project if not area.refusal)


def _obeyed(area: Area, snapshot: Snapshot) -> list[Note]:
    return [note for note in snapshot.notes if note.why == OBEYED and not area.only]


def applied(areas: Areas, snapshots: Snapshots, before: Baseline) -> Applied:
    """What is different in the project now.

    Raises:
        PathRefused: the baseline is not there, or damaged.
        OSError: the disk is full, or fails.
    """
    known = dict(before.snapshots)
    changes: dict[str, Change] = {}
    warnings: list[str] = []
    for area in _writable(areas):
        if area.prefix not in known:
            continue
        old, new = snapshots.get(known[area.prefix]), snapshots.take(area.root, limits=LIMITS)
        for change in snapshots.changes(old.id, new.id):
            if area.only in {"", change.path}:
                host = str(area.host / change.path)
                changes.setdefault(host, replace(change, path=_named(area, change.path)))
        warnings += _planted(area, old, new)
    return Applied(tuple(changes.values()), tuple(dict.fromkeys(warnings)))


def _named(area: Area, path: str) -> str:
    return area.prefix if area.only else f"{area.prefix}/{path}"


def _planted(area: Area, old: Snapshot, new: Snapshot) -> Iterator[str]:
    """What can't be shown as a change, and must not go unseen."""
    if area.only:
        return
    if old.cut or new.cut:
        yield (
            f"{area.prefix} holds more than is compared ({LIMITS.files:,} files, "
            f"{LIMITS.size // 1024**2} MiB): what changed beyond that is not shown."
        )
    before = {note.path: note.why for note in old.notes}
    for note in new.notes:
        if note.path != "." and before.get(note.path) != note.why:
            path = shown(_named(area, note.path))
            yield f"{path} is new or changed, and not among the changes shown: {note.why}."
