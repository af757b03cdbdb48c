"""Which folders of this machine a caller may name files from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Roots", "find_roots"]

_SYSTEM = (
    "/Applications",
    "/Library",
    "/System",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var",
)
"""Where no project lies by itself; what lies deeper, as a home below /root or /var, may be one."""


@dataclass(frozen=True, slots=True)
class Roots:
    """The folders, and where they come from; with none of them, why."""

    folders: tuple[Path, ...]
    why: str
    warnings: tuple[str, ...] = ()
    """What was named and can't be used."""

    @property
    def first(self) -> Path | None:
        """Where relative paths are looked for first, and `git:` looks."""
        return self.folders[0] if self.folders else None


def find_roots(
    *,
    given: Sequence[Path] = (),
    environ: Mapping[str, str],
    cwd: Path,
    home: Path,
    http: bool = False,
) -> Roots:
    """What the operator names, else the host's project, else the working folder where it may be a project.

    Args:
        given: the `--root` flags.
        environ: for `MASSGEN_MCP_ROOTS` and `CLAUDE_PROJECT_DIR`.
        cwd: the working folder of the server.
        home: of the user.
        http: served over HTTP: only what the operator names counts.
    """
    named = [*given]
    source = "--root"
    if not named and (listed := environ.get("MASSGEN_MCP_ROOTS")):
        named = [Path(part) for part in listed.split(os.pathsep) if part]
        source = "MASSGEN_MCP_ROOTS"
    if named:
        return _named(named, source, home)
    if http:
        return Roots((), "over HTTP none is opened unless the operator names it with --root")
    for path, where in (
        (environ.get("CLAUDE_PROJECT_DIR"), "CLAUDE_PROJECT_DIR"),
        (cwd, "the working folder"),
    ):
        if not path:
            continue
        folder = Path(path)
        if not folder.is_absolute() or not folder.is_dir():
            continue
        if trouble := _too_much(folder.resolve(), home.resolve()):
            return Roots((), f"{where} is {folder}, {trouble}")
        return Roots((folder.resolve(),), where)
    return Roots((), "the working folder is gone")


def _named(named: Sequence[Path], source: str, home: Path) -> Roots:
    """The operator's own choice: only the whole disk is refused."""
    found: list[Path] = []
    warnings: list[str] = []
    for path in named:
        words = str(path)
        folder = home / words[2:] if words.startswith("~/") else path
        if not folder.is_absolute():
            warnings.append(f"{source}: {path} is not an absolute path.")
        elif not folder.is_dir():
            warnings.append(f"{source}: there is no folder {path}.")
        elif folder.resolve() == Path("/"):
            warnings.append(f"{source}: {path} is the whole disk. Name the project's folder.")
        else:
            found.append(folder.resolve())
    return Roots(tuple(dict.fromkeys(found)), source if found else "; ".join(warnings), tuple(warnings))


def _too_much(folder: Path, home: Path) -> str:
    if folder == Path(folder.anchor):
        return "the whole disk"
    if home == folder or home.is_relative_to(folder):
        return "which holds your whole home folder"
    return "a folder of the system's" if str(folder) in _SYSTEM else ""
