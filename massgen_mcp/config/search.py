"""Where teams are looked for by name, and which files may be named by path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from massgen_mcp.config.environment import user_config_folder
from massgen_mcp.config.gate import inside
from massgen_mcp.config.trust import PROJECT_FOLDER, trusted
from massgen_mcp.errors import RequestRefused

__all__ = [
    "Place",
    "Search",
    "TeamFile",
    "default_search",
    "find_team",
    "list_teams",
    "shipped_configs",
]

Place: TypeAlias = Literal["operator", "project", "user", "shipped"]

_EXAMPLES = "@examples/"
_SUFFIXES = (".yaml", ".yml")
_NAME = re.compile(r"[A-Za-z0-9_][\w.\-]*(/[A-Za-z0-9_][\w.\-]*)*\Z")
_LONGEST_NAME = 200
_LONGEST_PATH = 4_096
_MOST_KNOWN = 40
_DEEPEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamFile:
    """A team file and where it was found."""

    name: str
    """As one asks for it."""
    path: Path
    folder: Path
    """The approved folder it lies in."""
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The folders that are looked in, the first that has a name wins."""

    folders: tuple[tuple[Place, Path], ...]
    untrusted: Path | None = None
    """A `.massgen/` that is there and counts for nothing until `massgen-mcp trust` names its project."""

    @property
    def approved(self) -> tuple[Path, ...]:
        """The folders a path may lie in."""
        return tuple(folder for _, folder in self.folders)


def shipped_configs() -> Path | None:
    """The teams that come with this program: in an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    return None


def default_search(
    *,
    operator: Sequence[Path] = (),
    home: Path,
    config_folder: Path | None = None,
    working_folder: Path | None = None,
    terminal: bool = False,
    state: Path | None = None,
) -> Search:
    """The search of a server or terminal.

    Args:
        operator: folders given on the command line or in `MASSGEN_MCP_CONFIG_DIRS`.
        home: the user's home folder, for MassGen's own agents folder.
        config_folder: the user's config folder; None: where the system has it.
        working_folder: where the process was started; its `.massgen/` counts for the terminal, whose user
            chose it, and elsewhere after `trust`.
        terminal: whether a person at a terminal started it.
        state: where trust is remembered.
    """
    folders: list[tuple[Place, Path]] = []
    folders.extend(("operator", folder) for folder in operator)
    untrusted: Path | None = None
    project = working_folder / PROJECT_FOLDER if working_folder is not None else None
    if working_folder is not None and project is not None and project.is_dir():
        if terminal or (state is not None and trusted(working_folder, state=state)):
            folders.append(("project", project))
        else:
            untrusted = project
    folders.append(("user", config_folder or user_config_folder()))
    folders.append(("user", home / ".config" / "massgen" / "agents"))
    if (shipped := shipped_configs()) is not None:
        folders.append(("shipped", shipped))
    unique: dict[Path, Place] = {}
    for place, folder in folders:
        unique.setdefault(folder, place)
    return Search(folders=tuple((place, folder) for folder, place in unique.items()), untrusted=untrusted)


def find_team(name_or_path: str, search: Search) -> TeamFile:
    """The team of that name, `@examples/NAME`, or path inside an approved folder.

    Raises:
        RequestRefused: there is none, and the text lists the known ones; or it can't be looked for.
    """
    wanted = name_or_path.strip()
    is_path = wanted.endswith(_SUFFIXES)
    if len(wanted) > (_LONGEST_PATH if is_path else _LONGEST_NAME):
        raise RequestRefused(
            f"A team's name has at most {_LONGEST_NAME} characters, and this has {len(wanted)}. "
            "Nothing was spent."
        )
    try:
        found = _find(wanted, search)
    except PermissionError as error:
        # Not passed over: a folder further down may have another team of that name.
        raise RequestRefused(
            f"Team \"{_printable(wanted)}\" can't be looked for: a folder of teams can't be read (permission "
            "denied). Nothing was spent."
        ) from error
    except (OSError, RuntimeError, ValueError):
        found = None  # a name that no file can have, a home that nobody has, a link to itself
    if found is None:
        raise RequestRefused(_unknown(wanted, search))
    return found


def _find(wanted: str, search: Search) -> TeamFile | None:
    if wanted.startswith(_EXAMPLES):
        shipped = tuple(pair for pair in search.folders if pair[0] == "shipped")
        return _by_name(wanted.removeprefix(_EXAMPLES), shipped)
    named = _by_name(wanted, search.folders) if len(wanted) <= _LONGEST_NAME else None
    return named or _by_path(wanted, search)


def list_teams(search: Search) -> tuple[TeamFile, ...]:
    """Every team that can be asked for by name, the folders' order kept; shipped ones in folders excepted."""
    found: dict[str, TeamFile] = {}
    for place, folder in search.folders:
        for path in _yaml_files(folder, 1):
            team = TeamFile(name=path.stem, path=path, folder=folder, place=place)
            found.setdefault(team.name, team)
    return tuple(found.values())


def _by_name(name: str, folders: Sequence[tuple[Place, Path]]) -> TeamFile | None:
    stem = name
    for suffix in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    if not _NAME.match(stem):
        return None
    for place, folder in folders:
        for suffix in _SUFFIXES:
            path = folder / f"{stem}{suffix}"
            if path.is_file() or path.is_symlink():
                return TeamFile(name=stem, path=path, folder=folder, place=place)
    # `@examples/NAME` of a file in a folder below.
    for place, folder in folders:
        if place == "shipped" and "/" not in stem:
            for path in _yaml_files(folder, _DEEPEST):
                if path.stem == stem:
                    return TeamFile(name=stem, path=path, folder=folder, place=place)
    return None


def _by_path(text: str, search: Search) -> TeamFile | None:
    path = Path(text).expanduser()
    if path.suffix not in _SUFFIXES:
        return None
    for place, folder in search.folders:
        found = inside(path, [folder])
        if found is not None:
            base, steps = found
            whole = base.joinpath(*steps)
            if whole.is_file():
                return TeamFile(name=whole.stem, path=whole, folder=base, place=place)
    return None


def _yaml_files(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.suffix in _SUFFIXES and not entry.name.startswith("."):
            yield entry
        elif depth > 1 and entry.is_dir() and not entry.is_symlink():
            yield from _yaml_files(entry, depth - 1)


def _unknown(wanted: str, search: Search) -> str:
    names = [team.name for team in list_teams(search)]
    text = f'Unknown team "{_printable(wanted)}".'
    if Path(wanted).suffix in _SUFFIXES and ("/" in wanted or "\\" in wanted) and not wanted.startswith("@"):
        text += " A path must name a file inside one of the approved folders."
    if close := difflib.get_close_matches(wanted, names, n=1, cutoff=0.6):
        text += f' Did you mean "{close[0]}"?'
    text += f" Known: {', '.join(names[:_MOST_KNOWN]) or 'none'}."
    if search.untrusted is not None:
        project = search.untrusted.parent
        text += f" Found, not trusted: {search.untrusted} (massgen-mcp trust {project})."
    return f"{text} Call list_backends for what is ready. Nothing was spent."


def _printable(wanted: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in wanted[:80])
