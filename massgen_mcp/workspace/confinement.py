"""What a child process may touch: values that the sandbox launcher turns into a command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

__all__ = ["Confinement", "Level", "ProcessLimits"]

Level: TypeAlias = Literal["bwrap", "landlock", "seatbelt", "off"]
"""How a child is confined. `off`: not at all, by the operator's explicit word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """Limits of one child and its descendants. None: no limit."""

    cpu_seconds: int | None = None
    memory_bytes: int | None = 4 * 1024**3
    file_bytes: int | None = 1024**3
    processes: int | None = 256
    open_files: int | None = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """Where a child lives. Absolute paths; what is named nowhere can't be seen, system folders apart."""

    cwd: Path
    write: tuple[Path, ...] = ()
    """Seen and writable."""
    read: tuple[Path, ...] = ()
    """Seen, read-only; also below a writable folder, where it protects."""
    hide: tuple[Path, ...] = ()
    """Below what is seen, and kept from it: what keeps keys."""
    absent: tuple[Path, ...] = ()
    """Below a writable folder, not there, and not to be made; at some levels an empty folder stands in."""
    home: Path | None = None
    """Its HOME, writable; None gives an empty private one that is gone afterwards."""
    network: bool = False
    nested: bool = False
    """Whether it may open namespaces of its own: for command lines that bring a sandbox."""
    limits: ProcessLimits = field(default_factory=ProcessLimits)
