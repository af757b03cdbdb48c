"""What an operator shows agents of a project: a value, for team files and runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Context"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A file or folder of a project that an agent may see."""

    path: Path
    name: str = ""
    """What it is called below `project/`; empty for the project as a whole."""
    write: bool = False
    """Whether the presenter may change it."""
    protected: tuple[str, ...] = ()
    """What is never written in it: relative to it, or absolute."""
