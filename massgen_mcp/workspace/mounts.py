"""Which paths of a confinement become mounts, in which order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.system import LINKED, PACKAGES

__all__ = ["Mount", "mounts"]


@dataclass(frozen=True, slots=True)
class Mount:
    """One path of the host, seen at the same place."""

    path: Path
    writable: bool


def mounts(confinement: Confinement) -> tuple[Mount, ...]:
    """Every path to be seen, outer before inner; of a path named twice, what protects it.

    A path below a writable folder that is read-only, or must not be made, could be got at by moving a folder
    between them away. So those are mounts too: a mount can't be renamed.
    """
    writable = {_checked(path) for path in (*confinement.write, *filter(None, (confinement.home,)))}
    named = {_checked(path) for path in confinement.read}
    readable = {path for path in named if not _shown(path) or _around(path, writable)}
    absent = {_checked(path) for path in confinement.absent}
    pins = {pin for path in (*readable, *absent) for pin in _between(path, writable)}
    found = {path: Mount(path, writable=True) for path in (*writable, *pins)}
    found.update({path: Mount(path, writable=False) for path in readable})
    for path in (*found, *absent):
        _refuse_links(path, writable)
    return tuple(sorted(found.values(), key=lambda mount: (len(mount.path.parts), str(mount.path))))


def _between(path: Path, writable: set[Path]) -> Iterator[Path]:
    """The folders from a writable root, exclusive, to the path, exclusive."""
    roots = _around(path, writable)
    for parent in path.parents if roots else ():
        if parent == roots[0]:
            return
        yield parent


def _around(path: Path, roots: set[Path]) -> list[Path]:
    """Those of the roots that hold the path, the nearest first."""
    return [parent for parent in path.parents if parent in roots]


def _shown(path: Path) -> bool:
    """Whether every child sees it anyway."""
    return any(path.is_relative_to(system) for system in (*PACKAGES, *LINKED))


def _refuse_links(path: Path, writable: set[Path]) -> None:
    """A child may have put a link below what it writes, so that the next one is shown what lies behind."""
    for root in _around(path, writable):
        place = root
        for part in path.relative_to(root).parts:
            place /= part
            if place.is_symlink():
                raise ValueError(
                    f"{place} is a link below a folder that commands write: it can't be shown to them."
                )


def _checked(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts or path == Path("/"):
        raise ValueError(f"{str(path)!r} can't be shown to a confined process: an absolute path below / is.")
    return Path(os.path.normpath(path))
