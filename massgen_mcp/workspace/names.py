"""What a path may look like, and which names keep secrets or would be obeyed."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from massgen_mcp.text import visible
from massgen_mcp.workspace.beneath import PART, PathRefused

__all__ = ["MAX_DEPTH", "check_new_name", "folded", "obeyed", "secret", "shown", "split", "twin"]

MAX_DEPTH = 32
_MAX_NAME, _MAX_PATH = 255, 4096
_DELETE = 0x7F

_SECRET_NAMES = frozenset(
    {
        ".netrc",
        "_netrc",
        ".npmrc",
        ".pypirc",
        ".pgpass",
        ".git-credentials",
        ".htpasswd",
        ".vault-token",
        "login.keyring",
        "user.keystore",
    }
)
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".azure", ".gcloud", "keyrings"})
_SECRET_ENDS = (".pem", ".p12", ".pfx", ".jks", ".kdbx", ".keyring", ".keychain", ".keychain-db", ".ppk")
_SECRET_PATHS = ((".docker", "config.json"), (".config", "gh"), (".config", "gcloud"))
_PRIVATE_KEYS = ("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_xmss")
_HARMLESS_ENV = frozenset({".env.example", ".env.sample", ".env.template", ".env.dist"})

_OBEYED = frozenset(
    {
        ".git",
        ".gitmodules",
        ".massgen",
        ".claude",
        ".codex",
        ".gemini",
        ".cursor",
        ".vscode",
        ".idea",
        ".envrc",
        ".mcp.json",
        ".claude.json",
        ".cursorrules",
        "claude.md",
        "claude.local.md",
        "agents.md",
        "gemini.md",
        "sitecustomize.py",
        "usercustomize.py",
        "node_modules",
        "__pycache__",
        ".venv",
    }
)


def split(path: str) -> tuple[bool, tuple[str, ...]]:
    """Whether a path is absolute, and its components.

    Raises:
        PathRefused: it holds something that no path here may hold.
    """
    shown = visible(path[:200])
    if not path:
        raise PathRefused("The path is empty. The workspace itself is '.'.", "name")
    try:
        long = len(path.encode()) > _MAX_PATH
    except UnicodeEncodeError as error:
        raise PathRefused(f"{shown} is not valid Unicode.", "name") from error
    if any(letter < " " or ord(letter) == _DELETE for letter in path):
        raise PathRefused(f"{shown} holds a control character.", "name")
    if path.startswith("~"):
        raise PathRefused(f"{shown}: '~' is not expanded. Relative paths lie in your workspace.", "outside")
    parts = tuple(part for part in path.split("/") if part not in {"", "."})
    if ".." in parts:
        raise PathRefused(f"{shown}: '..' is not allowed. Write the path from your workspace on.", "outside")
    if long:
        raise PathRefused(f"The path is longer than {_MAX_PATH} bytes.", "name")
    for part in parts:
        if part[-1] in ". ":
            raise PathRefused(f"{shown}: a name may not end in a dot or a space.", "name")
        if len(part.encode()) > _MAX_NAME:
            raise PathRefused(f"{shown}…: a name is longer than {_MAX_NAME} bytes.", "name")
    return path.startswith("/"), parts


def check_new_name(parts: Sequence[str]) -> None:
    """Refuse to make what people or other systems could not handle.

    Raises:
        PathRefused: as said.
    """
    path = "/".join(parts)
    if len(parts) > MAX_DEPTH:
        raise PathRefused(f"{visible(path)} is deeper than {MAX_DEPTH} folders.", "name")
    if "\\" in path:
        raise PathRefused(f"{visible(path)}: write '/' between folders, not '\\'.", "name")
    if visible(path) != path:
        raise PathRefused(f"{visible(path)} holds invisible characters.", "name")
    if any(part.startswith(PART) for part in parts):
        raise PathRefused(f"Names that begin with {PART} are taken.", "name")


def shown(path: str) -> str:
    """A path as it can be told on one line; for what has no odd names, the path itself."""
    return visible(path).replace("\n", "\u240a").replace("\t", "\u2409")


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """The name as a file system sees it that knows neither case nor ways to compose characters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def twin(name: str, siblings: Iterable[str]) -> str:
    """A sibling that is the same name elsewhere, such as `Readme` for `README`; empty if there is none."""
    wanted = folded(name)
    return next((other for other in siblings if other != name and folded(other) == wanted), "")


def secret(parts: Sequence[str], *, folder: bool = False) -> bool:
    """Whether the file (or folder) there keeps keys or passwords, by its name."""
    names = [folded(part) for part in parts]
    if any(name in _SECRET_FOLDERS for name in names):
        return True
    if any(pair in itertools.pairwise(names) for pair in _SECRET_PATHS):
        return True
    return bool(names) and not folder and _secret_file(names[-1])


def _secret_file(name: str) -> bool:
    if name.startswith(".env"):
        return name not in _HARMLESS_ENV
    if name in _SECRET_NAMES or name.endswith(_SECRET_ENDS):
        return True
    if name.startswith(_PRIVATE_KEYS):
        return not name.endswith(".pub")
    # Other keys of SSH's are named so too, but `id_map.py` is no key.
    return name.startswith("id_") and "." not in name


def obeyed(parts: Sequence[str]) -> bool:
    """Whether some program obeys what lies there: settings, hooks, instructions."""
    return any((name := folded(part)) in _OBEYED or name.startswith(".env") for part in parts)
