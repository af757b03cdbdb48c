"""What one agent sees, and how it is called.

Relative paths lie in its own workspace. `answers/LABEL/...` are the workspaces as they were with the answers
it is shown, `project/...` is what the operator lets it see of a project. The absolute path of any of these
works, too.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from massgen_mcp.text import visible
from massgen_mcp.workspace.beneath import Opener, PathRefused, Root
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.context import Context
from massgen_mcp.workspace.names import MAX_DEPTH, folded, secret, shown, split
from massgen_mcp.workspace.protection import Protection, can_be_made
from massgen_mcp.workspace.trees import Entry, walk

__all__ = ["ANSWERS", "PROJECT", "Area", "Areas", "Context", "Place", "check_context", "context_name"]

ANSWERS = "answers"
PROJECT = "project"
CWD = "${cwd}"
_LOOKED_AT = 50_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Area:
    """A folder (or one file of it) with the rights an agent has there."""

    prefix: str
    """How paths in it begin for the agent; empty for its workspace."""
    root: Root
    hosts: tuple[tuple[str, ...], ...]
    """The components of its absolute paths: as it was named, and as it is."""
    host: Path
    refusal: str = ""
    """Why nothing can be written; empty where it can."""
    only: str = ""
    """The one file of the folder that belongs to it; empty for all."""
    guard: Protection = field(default_factory=Protection)
    project: bool = False
    """The operator's: what keeps keys is not shown, what programs obey is not written."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: a place in an area, whether or not something is there."""

    area: Area
    parts: tuple[str, ...]

    @property
    def shown(self) -> str:
        """How the agent calls it."""
        path = "/".join(() if self.area.only else self.parts)
        return shown("/".join(part for part in (self.area.prefix, path) if part) or ".")

    @property
    def host(self) -> Path:
        """Its absolute path, for programs in a sandbox and for messages; never to open it here."""
        return self.area.host.joinpath(*self.parts)


class Areas:
    """Everything one agent sees, for one run. `begin` says what changes with a turn.

    Args:
        workspace: its own folder, there already.
        contexts: of the project; they need not be different folders: the deepest decides.
        opener: how paths are resolved; tests choose it.

    Raises:
        PathRefused: a folder is not there.
    """

    def __init__(
        self, workspace: Path, contexts: Iterable[Context] = (), *, opener: Opener | None = None
    ) -> None:
        self._opener = opener
        self._held = contextlib.ExitStack()
        self._shown: dict[str, Area] = {}
        self._contexts = tuple(contexts)
        self.presents = False
        self.keys: tuple[Path, ...] = ()
        """What keeps keys in the project, once it was looked for."""
        self.absent: tuple[Path, ...] = ()
        """Where programs of this turn leave empty folders, since what is protected there must not be made."""
        with contextlib.ExitStack() as undo:
            undo.push(self._held)
            self.workspace = self._area("", workspace, self._open(workspace))
            self._project = tuple(self._context(context) for context in self._contexts)
            undo.pop_all()

    def _open(self, path: Path, *, linked: bool = False) -> Root:
        root = Root.at(path, linked=linked, opener=self._opener)
        self._held.callback(root.close)
        return root

    @staticmethod
    def _area(prefix: str, path: Path, root: Root, refusal: str = "") -> Area:
        real = Path(os.path.realpath(path))
        hosts = tuple(dict.fromkeys((path.absolute().parts[1:], real.parts[1:])))
        return Area(prefix=prefix, root=root, hosts=hosts, host=real, refusal=refusal)

    def _context(self, context: Context) -> Area:
        real = Path(os.path.realpath(context.path))
        single = real.is_file()
        prefix = "/".join(part for part in (PROJECT, context.name) if part)
        folder = real.parent if single else real
        area = self._area(prefix, context.path, self._open(folder))
        protected: list[Path] = []
        if context.write:
            read_only = (other.path for other in self._contexts if not other.write)
            protected = [*_protected(context, real), *(Path(os.path.realpath(path)) for path in read_only)]
        return Area(
            prefix=prefix,
            root=area.root,
            hosts=area.hosts,
            host=folder,
            refusal="" if context.write else "The project is read-only here.",
            only=real.name if single else "",
            guard=Protection.of(area.root, folder, protected),
            project=True,
        )

    def begin(self, *, presents: bool = False, shown: Mapping[str, Path] | None = None) -> None:
        """A turn begins: whether it may write to the project, and label -> folder of each snapshot it sees.

        Raises:
            PathRefused: one of the folders is not there.
        """
        fresh: dict[str, Area] = {}
        for label, path in (shown or {}).items():
            old = self._shown.get(label)
            if old is not None and old.host == Path(os.path.realpath(path)):
                fresh[label] = old
                continue
            words = f"{ANSWERS}/ shows the work behind the answers; it can't be changed. Copy what you need."
            fresh[label] = self._area(f"{ANSWERS}/{label}", path, self._open(path, linked=True), words)
        self._shown = fresh
        if not presents:
            self.clear_away(self.absent)
            self.absent = ()
        elif not self.presents:
            # Only now: what stands in for it must stay while a command of this turn may still run.
            writable = [area for area in self._project if not area.refusal]
            free = (path for area in writable for path in area.guard.absent())
            self.absent = tuple(path for path in dict.fromkeys(free) if not os.path.lexists(path))
        self.presents = presents

    def clear_away(self, absent: Iterable[Path]) -> None:
        """Remove the empty folders that a sandbox has left in the place of what was not to be made."""
        for area, path in itertools.product(self._project, absent):
            with contextlib.suppress(OSError, ValueError):
                *above, name = path.relative_to(area.host).parts
                with area.root.in_folder(above) as folder:
                    os.rmdir(name, dir_fd=folder)

    def look_for_keys(self) -> None:
        """Find what keeps keys in the project, so that programs don't see it either; slow in a large one."""
        self.keys = tuple(path for area in self._project for path in _keys_in(area))

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers whose work can be seen now."""
        return tuple(self._shown)

    @property
    def project(self) -> tuple[Area, ...]:
        """What can be seen of the project."""
        return self._project

    def place(self, path: str) -> Place:
        """Where a path leads.

        Raises:
            PathRefused: to nothing this agent may see, or to a list of places rather than one.
        """
        places = self.places(path)
        if len(places) == 1 and not self.is_list(path):
            return places[0]
        names = ", ".join(place.shown for place in places) or "nothing now"
        raise PathRefused(f"{visible(path)} is a list of places. Name one of them: {names}.", "kind")

    def is_list(self, path: str) -> bool:
        """Whether a path is no folder, but a list of what is shown."""
        parts = split(path)[1]
        whole = any(area.prefix == PROJECT for area in self._project)
        return parts == (ANSWERS,) or (parts == (PROJECT,) and bool(self._project) and not whole)

    def places(self, path: str) -> tuple[Place, ...]:
        """The same for operations on whole folders: `answers` and `project` are all that is below them.

        Raises:
            PathRefused: to nothing this agent may see.
        """
        if path == CWD or path.startswith(CWD + "/"):
            path = "." + path[len(CWD) :]
        absolute, parts = split(path)
        if absolute:
            return (self._absolute(path, parts),)
        if parts and parts[0] == ANSWERS:
            return self._in_answers(path, parts)
        if parts and parts[0] == PROJECT and self._project:
            return self._in_project(path, parts)
        return (Place(self.workspace, parts),)

    def _in_answers(self, path: str, parts: tuple[str, ...]) -> tuple[Place, ...]:
        if len(parts) == 1:
            return tuple(Place(area, ()) for area in self._shown.values())
        area = self._shown.get(parts[1])
        if area is None:
            known = f"Shown now: {', '.join(self._shown)}." if self._shown else "None is shown now."
            raise PathRefused(
                f"{visible(path)}: there is no answer {visible(parts[1])!r}. {known}", "missing"
            )
        return (Place(area, parts[2:]),)

    def _in_project(self, path: str, parts: tuple[str, ...]) -> tuple[Place, ...]:
        best = _deepest(((tuple(area.prefix.split("/")), area) for area in self._project), parts)
        if best is not None:
            prefix, area = best
            return (_within(area, parts[len(prefix) :], path),)
        if len(parts) == 1:
            return tuple(_within(area, (), path) for area in self._project)
        names = ", ".join(area.prefix for area in self._project)
        raise PathRefused(f"{visible(path)}: of the project you see {names}.", "missing")

    def _absolute(self, path: str, parts: tuple[str, ...]) -> Place:
        areas = (self.workspace, *self._shown.values(), *self._project)
        best = _deepest(((host, area) for area in areas for host in area.hosts), parts)
        if best is None:
            seen = [ANSWERS + "/"] * bool(self._shown) + [area.prefix for area in self._project]
            also = f" Besides you see {', '.join(seen)}." if seen else ""
            raise PathRefused(
                f"{visible(path)} is outside of what you may see. "
                f"Relative paths lie in your workspace.{also}",
                "outside",
            )
        host, area = best
        return _within(area, parts[len(host) :], path)

    def check_writable(self, place: Place, *, tree: bool = False) -> None:
        """Refuse where nothing may be written.

        Args:
            place: what would change.
            tree: everything below it would change, too.

        Raises:
            PathRefused: as said.
        """
        area = place.area
        if area.project and not area.refusal and not self.presents:
            raise PathRefused(
                f"{place.shown}: the project is read-only until the final answer is presented. "
                "Work on a copy in your workspace.",
                "read_only",
            )
        if area.refusal:
            raise PathRefused(f"{place.shown}: {area.refusal}", "read_only")
        if area.project:
            area.guard.check(place.parts, place.shown, tree=tree)
        elif place.parts and folded(place.parts[0]) in self._taken():
            raise PathRefused(
                f"{place.shown}: the name {place.parts[0]}/ is taken for what you are shown.",
                "name",
            )

    def _taken(self) -> Sequence[str]:
        return (ANSWERS, PROJECT) if self._project else (ANSWERS,)

    def confinement(self, *, guarded: Iterable[Path] = ()) -> Confinement:
        """The same rights for a program: absolute paths, since it does not know ours.

        Whether what is protected is there is looked at each time: the operator and other runs go on working.

        Args:
            guarded: what else is read-only, such as settings found in the project.
        """
        writable = [area for area in self._project if self.presents and not area.refusal]
        read_only = [area for area in self._project if area not in writable]
        write = tuple(Place(area, _own(area)).host for area in writable)
        free = dict.fromkeys(path for area in writable for path in area.guard.absent(self.absent))
        protected = [path for area in writable for path in area.guard.paths if os.path.lexists(path)]
        read = (
            *(area.host for area in self._shown.values()),
            *(Place(area, _own(area)).host for area in read_only),
            *(path for path in protected if not {path, *path.parents} & {*free}),
            *guarded,
        )
        absent = tuple(
            path
            for path in free
            if not {*path.parents} & {*free} and can_be_made(path, write=write, read=read, hide=self.keys)
        )
        self.absent = tuple(path for path in absent if path in self.absent or not os.path.lexists(path))
        return Confinement(
            cwd=self.workspace.host,
            write=(self.workspace.host, *write),
            read=read,
            hide=self.keys,
            absent=absent,
        )

    def close(self) -> None:
        """Let go of all folders."""
        self._shown = {}
        self.clear_away(self.absent)
        self._held.close()


def _protected(context: Context, real: Path) -> list[Path]:
    """Relative paths are meant from the context or from the project; both are protected."""
    found: list[Path] = []
    for path in context.protected:
        inside = Path(os.path.realpath(real / path))
        if not inside.is_relative_to(real):
            raise PathRefused(
                f"The protected path {path} is not inside {context.path}, so nothing would be protected.",
                "outside",
            )
        found.append(inside)
        if context.name and path.startswith(f"{context.name}/"):
            found.append(real / path[len(context.name) + 1 :])
    return found


def _keys_in(area: Area) -> Iterator[Path]:
    """What keeps keys below a folder of the project, in its first so many entries."""
    if area.only:
        return

    def into(entry: Entry) -> bool:
        return not secret(entry.parts, folder=True) and len(entry.parts) < MAX_DEPTH

    for entry in itertools.islice(walk(area.root.fd, into=into), _LOOKED_AT):
        if not entry.is_link and secret(entry.parts, folder=entry.is_folder):
            yield area.host.joinpath(*entry.parts)


def _own(area: Area) -> tuple[str, ...]:
    return (area.only,) if area.only else ()


def _within(area: Area, parts: tuple[str, ...], path: str) -> Place:
    """A place in an area; of a single file there is just that."""
    if not area.only:
        return Place(area, parts)
    if parts:
        raise PathRefused(f"{visible(path)}: {area.prefix} is a file, not a folder.", "kind")
    return Place(area, (area.only,))


def _deepest(
    named: Iterable[tuple[tuple[str, ...], Area]], parts: tuple[str, ...]
) -> tuple[tuple[str, ...], Area] | None:
    fitting = [(name, area) for name, area in named if parts[: len(name)] == name]
    return max(fitting, key=lambda pair: len(pair[0]), default=None)


def context_name(path: str, project: Path | None) -> str:
    """What a context path is called below `project/`: where it lies in the project, else its last name."""
    absolute = Path(path) if Path(path).is_absolute() or project is None else project / path
    if project is not None:
        with contextlib.suppress(ValueError):
            relative = Path(os.path.realpath(absolute)).relative_to(os.path.realpath(project))
            return "" if relative == Path() else relative.as_posix()
    return PurePosixPath(absolute.as_posix()).name


def check_context(path: Path, *, home: Path, private: Iterable[Path]) -> None:
    """Refuse folders that no agent may see: the whole disk or home, and our own state and settings.

    Raises:
        PathRefused: as said, with the remedy.
    """
    real = Path(os.path.realpath(path))
    if real in {Path("/"), Path(os.path.realpath(home))}:
        raise PathRefused(f"{path} is too much to show to agents. Name the folders they need.", "outside")
    for folder in private:
        kept = Path(os.path.realpath(folder))
        if real.is_relative_to(kept) or kept.is_relative_to(real):
            raise PathRefused(
                f"{path} overlaps with {folder}, where this program keeps runs or settings. "
                "Name a folder beside it.",
                "outside",
            )
