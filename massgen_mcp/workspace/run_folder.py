"""The folders of one run below the state folder: private, named by us, removed as a whole.

Everything below `runs/` is written by agents: nothing there is ever read as settings, now or later. What must
be trusted after a crash is kept beside it.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace.beneath import PART, PathRefused, Root, explained
from massgen_mcp.workspace.kept_folder import KeptFolder
from massgen_mcp.workspace.names import check_new_name, split
from massgen_mcp.workspace.snapshots import Snapshots
from massgen_mcp.workspace.trees import make_folders, names_in, remove, remove_parts

__all__ = ["RUNS", "RunFolder", "agent_writable", "old_folders", "sweep"]

RUNS = "runs"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class RunFolder:
    """Where one run's files lie.

    Args:
        state: the state folder.
        run_id: the run's name.
        snapshot_storage: what the team calls the folder of snapshots.
        temporary: what the team calls the folder in which agents see each other's work.

    Raises:
        PathRefused: the folder can't be made, or a name leads out of it.
    """

    def __init__(
        self,
        state: Path,
        run_id: str,
        *,
        snapshot_storage: str = "snapshots",
        temporary: str = "temp_workspaces",
        secrets: Secrets | None = None,
    ) -> None:
        if not _NAME.fullmatch(run_id):
            raise PathRefused(f"{run_id[:60]!r} is no name of a run.", "name")
        parts = [_inside(name) for name in (snapshot_storage, temporary, "workspaces", "scratch")]
        if any(_overlap(*pair) for pair in itertools.combinations(parts, 2)):
            raise PathRefused(
                "snapshot_storage and agent_temporary_workspace must lie beside each other, "
                "and beside 'workspaces' and 'scratch'.",
                "name",
            )
        self.path = state / RUNS / run_id
        self.kept = KeptFolder(state, run_id)
        """What no agent can reach."""
        try:
            for folder in (state, state / RUNS, self.path):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise explained(error, str(self.path)) from error
        self._root = Root.at(self.path)
        self._temporary = parts[1]
        try:
            storage = self._folder(parts[0])
            self._folder(parts[1])
            self.scratch = self._folder(parts[3])
            self.snapshots = Snapshots(storage, secrets=secrets)
        except BaseException:
            self._root.close()
            raise

    def _folder(self, parts: tuple[str, ...]) -> Path:
        descriptor = make_folders(self._root, parts)
        try:
            os.fchmod(descriptor, 0o700)
        except OSError as error:
            raise explained(error, "/".join(parts)) from error
        finally:
            os.close(descriptor)
        return self.path.joinpath(*parts)

    @property
    def temporary(self) -> Path:
        """Where agents see each other's work, as `show` makes it."""
        return self.path.joinpath(*self._temporary)

    def workspace(self, label: str, name: str = "workspace") -> Path:
        """An agent's own folder, made where it is missing.

        Args:
            label: which agent, as the others know it: the path may stand in answers.
            name: what the team file calls it (`cwd`).

        Raises:
            PathRefused: the name leads out of the run.
        """
        return self._folder(("workspaces", _checked(label), *_inside(name)))

    def show(self, label: str, snapshot: str) -> Path:
        """A read-only folder of an answer's snapshot, named by the answer's label, the same for all agents.

        Raises:
            PathRefused: the snapshot is not there, or damaged.
        """
        return self.snapshots.open(snapshot, into=self.temporary, name=_checked(label))

    def shown(self, snapshots: Mapping[str, str]) -> dict[str, Path]:
        """Label -> folder, for label -> snapshot.

        Raises:
            PathRefused: one of them is not there, or damaged.
        """
        return {label: self.show(label, snapshot) for label, snapshot in snapshots.items() if snapshot}

    def tidy(self) -> None:
        """Remove what a process that died has left half done. Only for who alone drives the run.

        Workspaces stay as they were left. What is laid out to be looked at is laid out anew from snapshots.

        Raises:
            PathRefused: something can't be removed.
            OSError: the disk fails.
        """
        self.kept.tidy()
        remove_parts(self._root.fd)
        with self._root.in_folder(self._temporary) as shown:
            for name in names_in(shown):
                remove(shown, name)

    @staticmethod
    @contextmanager
    def snapshots_of(state: Path, run_id: str, storage: str = "snapshots") -> Generator[Snapshots]:
        """Borrow the snapshots of another run, to read them.

        Raises:
            PathRefused: they are not there (any more).
        """
        folder = (state / RUNS / _checked(run_id)).joinpath(*_inside(storage))
        if not (folder / "manifests").is_dir():
            raise PathRefused(f"The files of run {run_id} are not here any more.", "missing")
        snapshots = Snapshots(folder)
        try:
            yield snapshots
        finally:
            snapshots.close()

    def close(self) -> None:
        """Let go of the folders; they stay."""
        self.snapshots.close()
        self._root.close()

    @staticmethod
    def remove(state: Path, run_id: str) -> None:
        """Remove a run's folders with all that is in them, never following a link; what isn't there is fine.

        Raises:
            PathRefused: something can't be removed.
        """
        if not _NAME.fullmatch(run_id):
            raise PathRefused(f"{run_id[:60]!r} is no name of a run.", "name")
        KeptFolder.remove(state, run_id)
        if not (state / RUNS).is_dir():
            return
        root = Root.at(state / RUNS)
        try:
            part = f"{PART}{run_id}-{os.urandom(4).hex()}"
            # Renamed first: what is half removed is no run any more.
            os.rename(run_id, part, src_dir_fd=root.fd, dst_dir_fd=root.fd)
            remove(root.fd, part)
        except FileNotFoundError:
            return
        except OSError as error:
            raise explained(error, run_id) from error
        finally:
            root.close()


def sweep(state: Path) -> None:
    """Remove what a removal that was cut short has left."""
    KeptFolder.sweep(state)
    if not (state / RUNS).is_dir():
        return
    root = Root.at(state / RUNS)
    try:
        for name in names_in(root.fd):
            if name.startswith(PART):
                remove(root.fd, name)
    finally:
        root.close()


def old_folders(state: Path, before: float) -> list[str]:
    """The runs whose folders were last changed before that moment, in seconds since the epoch."""
    changed = KeptFolder.changed(state)
    if (state / RUNS).is_dir():
        with os.scandir(state / RUNS) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    moment = entry.stat(follow_symlinks=False).st_mtime
                    changed[entry.name] = max(moment, changed.get(entry.name, moment))
    return sorted(run_id for run_id, moment in changed.items() if moment < before)


def agent_writable(state: Path, path: Path) -> bool:
    """Whether agents of any run may have written there: never read settings from such a path."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(state / RUNS))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise PathRefused(f"{name[:60]!r} can't name a folder here.", "name")
    return name


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two folders are the same, or one lies in the other."""
    steps = min(len(one), len(other))
    return one[:steps] == other[:steps]


def _inside(name: str) -> tuple[str, ...]:
    """A path of the team file's as one inside the run, whatever it was: only its name counts."""
    absolute, parts = split(str(PurePosixPath(name)))
    if absolute:
        parts = parts[-1:]
    if not parts:
        raise PathRefused(f"{name!r} names no folder.", "name")
    check_new_name(parts)
    return parts
