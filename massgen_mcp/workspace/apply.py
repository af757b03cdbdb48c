"""What the presenter changed in the project: compared before and after, whatever it was changed with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from massgen_mcp.workspace.areas import Area, Areas
from massgen_mcp.workspace.names import shown
from massgen_mcp.workspace.snapshots import Change, Limits, Note, Snapshot, Snapshots
from massgen_mcp.workspace.taking import OBEYED

__all__ = ["Applied", "Baseline", "applied", "baseline"]

LIMITS = Limits(obeyed=False)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The writable part of a project before the presenter's turn: prefix -> snapshot."""

    snapshots: tuple[tuple[str, str], ...] = ()
    guarded: tuple[Path, ...] = ()
    """Settings and instructions found there: read-only for programs, too."""


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
