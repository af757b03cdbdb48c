"""How much a workspace may hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from massgen_mcp.workspace.beneath import Root
from massgen_mcp.workspace.trees import walk

__all__ = ["Quota"]

_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Of one workspace."""

    size: int = 4 * 1024**3
    """Bytes on the disk."""
    entries: int = 200_000
    """Files and folders."""

    def excess(self, folder: Path) -> str:
        """What there is too much of, in words; empty where it fits. Counts no further than it has to.

        Raises:
            PathRefused: there is no such folder.
        """
        root = Root.at(folder)
        entries = size = 0
        try:
            for entry in walk(root.fd, most=self.entries + 1):
                entries += 1
                size += entry.stat.st_blocks * _BLOCK
                if entries > self.entries:
                    return f"more than {self.entries:,} files and folders"
                if size > self.size:
                    return f"more than {self.size // 1024**2:,} MiB"
        finally:
            root.close()
        return ""
