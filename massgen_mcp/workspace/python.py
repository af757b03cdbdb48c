"""The interpreter that this program runs on, as confined children need it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["bare_python", "python_path", "python_roots"]

_SYSTEM = Path("/usr")


def bare_python() -> str:
    """The interpreter itself, not the link to it in a virtual environment."""
    return os.path.realpath(sys.executable)


def python_roots(*, packages: bool = False) -> tuple[Path, ...]:
    """The folders that it needs to run; none for the system's own. `packages`: and those we import from."""
    named = [
        Path(sys.base_prefix),
        Path(os.path.realpath(sys.base_prefix)),
        Path(bare_python()).parent.parent,
    ]
    if packages:
        named += [Path(sys.prefix), *(Path(entry).absolute() for entry in sys.path if entry)]
    roots = sorted({path for path in named if path.exists() and _SYSTEM not in (path, *path.parents)})
    return tuple(path for path in roots if not any(root in path.parents for root in roots))


def python_path() -> tuple[str, ...]:
    """Where a command finds this interpreter, if the system's folders do not have it."""
    return tuple(str(root / "bin") for root in python_roots() if (root / "bin").is_dir())
