"""Whether a failure looks like the sandbox's doing, and what to say then."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from massgen_mcp.workspace.confinement import Confinement

__all__ = ["sandbox_hint"]

_SIGNS = re.compile(
    r"EROFS|EACCES|EPERM|ENOENT|ECONNREFUSED|read-only file system|permission denied|operation not permitted"
    r"|no such file or directory|cannot connect|can't open|not found|does not exist|unable to open"
    r"|failed to open",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?<![\w:/.])(?:unix://)?(/[\w.@%+~-]+(?:/[\w.@%+~-]+)*)")
_WITHOUT_PATH = re.compile(r"EROFS|read-only file system|operation not permitted|EPERM", re.IGNORECASE)
_SEEN = tuple(Path(name) for name in ("/usr", "/proc", "/dev", "/tmp"))  # noqa: S108 - the sandbox has its own
_LOOKED_AT = 8192


def sandbox_hint(text: str, confinement: Confinement | None) -> str:
    """What the sandbox seems to have denied in a failure with this text, and the remedy; empty for nothing.

    Never certain: what counts is a path that is there, is named in the failure, and was kept from the server.
    """
    text = text[-_LOOKED_AT:]
    if confinement is None or not _SIGNS.search(text):
        return ""
    writing = _WITHOUT_PATH.search(text) is not None
    for found in _PATH.finditer(text):
        path = Path(found.group(1))
        if _below(path, confinement.hide):
            return _words(f"hides {path}")
        if _below(path, confinement.write):
            continue
        if _below(path, confinement.read):
            return _words(f"keeps {path} from being written")
        if not _below(path, _SEEN) and (_is_there(path) or _is_there(path.parent)):
            return _words(f"keeps {path} from being written" if writing else f"hides {path}")
    if writing:
        return _words("may have denied that")
    return ""


def _below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _words(what: str) -> str:
    return (
        f"The sandbox {what}; set `sandbox: off` for this entry of mcp_servers if it is to have all rights."
    )


def _is_there(path: Path) -> bool:
    try:
        return path != Path("/") and path.exists()
    except OSError:
        return False
