"""What a server is not shown of the folders that its entry names: team files, and the keys beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from massgen_mcp.workspace.names import secret

__all__ = ["team_secrets"]

_TEAM = re.compile(rb"^agents?[ \t]*:", re.MULTILINE)
_LOOKED_AT = 64 * 1024
_MOST = 200
_SETTINGS = ".massgen"


def team_secrets(named: Iterable[Path]) -> tuple[Path, ...]:
    """Team files, and what keeps keys beside them, in folders that are shown; but not what is itself named.

    Elsewhere a server may be meant to read keys of its own.
    """
    shown = dict.fromkeys(named)
    places = (place for path in shown for place in (path, path / _SETTINGS) if place.is_dir())
    return tuple(path for path in dict.fromkeys(_hidden_in(places)) if path not in shown)


def _hidden_in(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        files = (path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"})
        teams = [path for path in islice(files, _MOST) if _is_team(path)]
        if teams:
            yield from teams
            yield from (
                path
                for path in folder.iterdir()
                if not path.is_symlink() and secret((path.name,), folder=path.is_dir())
            )


def _is_team(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return _TEAM.search(file.read(_LOOKED_AT)) is not None
    except OSError:
        return True
