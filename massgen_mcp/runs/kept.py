"""Team files as they were last read, for lists: those are asked for often, and while others need the time."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from massgen_mcp.config.load import Loaded
from massgen_mcp.config.readiness import Readiness

__all__ = ["KeptTeams", "Looked", "Row"]


Row: TypeAlias = "dict[str, Any]"
Looked: TypeAlias = "dict[Path, Hashable]"
"""How the folders were that one list has looked into."""


@dataclass(slots=True)
class KeptTeams:
    """What is read again only once something beside the file, or of what else it depends on, has changed."""

    _kept: dict[Path, tuple[Hashable, Loaded]] = field(default_factory=dict[Path, tuple[Hashable, Loaded]])
    _rows: dict[Path, tuple[Loaded, Sequence[Readiness], Row]] = field(
        default_factory=dict[Path, "tuple[Loaded, Sequence[Readiness], Row]"]
    )

    def load(
        self, path: Path, read: Callable[[], Loaded], *, depends: Hashable, looked: Looked | None = None
    ) -> Loaded:
        """The team in that file.

        Args:
            path: the file.
            read: reads it.
            depends: what else it depends on.
            looked: folders that were looked into just now, and need not be again; added to.
        """
        seen = {} if looked is None else looked
        folder = path.parent
        if folder not in seen:
            seen[folder] = _state(folder)
        state = (seen[folder], depends)
        kept = self._kept.get(path)
        if kept is not None and kept[0] == state:
            return kept[1]
        loaded = read()
        if not _reaches_out(loaded):
            self._kept[path] = (state, loaded)
        return loaded

    async def row(
        self, path: Path, loaded: Loaded, states: Sequence[Readiness], make: Callable[[], Awaitable[Row]]
    ) -> Row:
        """What a list says of the team in that file, its agents being ready or not as these say."""
        kept = self._rows.get(path)
        if kept is not None and kept[0] is loaded and kept[1] == states:
            return kept[2]
        row = await make()
        self._rows[path] = (loaded, states, row)
        return row


def _state(folder: Path) -> Hashable:
    """Every entry of a folder: a team's variables lie beside it."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return None
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found))


def _reaches_out(loaded: Loaded) -> bool:
    """Whether it depends on files elsewhere: sources of tools, folders that agents are shown."""
    team = loaded.team
    if team is None or team.orchestrator.context_paths:
        return True
    tools = (agent.tools for agent in team.agents)
    return any(each.custom_tools or each.auto_discover_custom_tools or each.context_paths for each in tools)
