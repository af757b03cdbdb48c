"""Which `claude` is run: the one named, else the user's own, else the one that the SDK brings."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from massgen_mcp.errors import BackendError

__all__ = ["find_program"]

_REMEDY = "Install Claude Code (https://claude.com/claude-code), or give `cli_path` in the backend block."


def find_program(named: Path | None, environ: Mapping[str, str], sdk: Path) -> Path:
    """The command line's file, links followed.

    Args:
        named: `cli_path` of the backend block.
        environ: its PATH is searched.
        sdk: the folder of the SDK, which may bring one.

    Raises:
        BackendError: there is none.
    """
    if named is not None:
        return _checked(named.expanduser())
    if found := shutil.which("claude", path=environ.get("PATH", os.defpath)):
        return Path(found).resolve()
    bundled = sdk / "_bundled" / ("claude.exe" if sys.platform == "win32" else "claude")
    if bundled.is_file():
        return bundled.resolve()
    raise _unavailable("There is no `claude` on PATH, and the package claude-agent-sdk brings none here")


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise _unavailable(f"`cli_path` names {str(path)!r}, where there is no file")
    if not os.access(path, os.X_OK):
        raise _unavailable(f"`cli_path` names {str(path)!r}, which can't be run")
    return path.resolve()


def _unavailable(what: str) -> BackendError:
    return BackendError(f"{what}. {_REMEDY}", kind="unavailable", remedy=_REMEDY, connected=False)
