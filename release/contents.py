"""What a wheel and an sdist have to hold, and what must not get into them."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

__all__ = ["sdist_problems", "wheel_problems"]

_PACKAGE = "massgen_mcp"
_CONFIGS = f"{_PACKAGE}/_configs"
_MEBIBYTE = 1024 * 1024
_WHEEL_LIMIT, _SDIST_LIMIT = 2 * _MEBIBYTE, 4 * _MEBIBYTE
"""Bytes. What is much larger has something in it that nobody meant to ship."""
_LICENCES = ("LICENSE", "NOTICE")
_IN_SDIST = (
    "CHANGELOG.md",
    "LICENSE",
    "NOTICE",
    "PKG-INFO",
    "README.md",
    "pyproject.toml",
    "server.json",
    "configs/fast.yaml",
    "docs/configuration.md",
    "massgen_mcp/__main__.py",
    "tests/conftest.py",
)
_NEVER = (
    "*.db",
    "*.env",
    "*.gguf",
    "*.key",
    "*.log",
    "*.pem",
    "*.pyc",
    "*.sqlite*",
    ".coverage*",
    ".env*",
    ".git",
    ".hypothesis",
    ".venv",
    "__pycache__",
    "node_modules",
)
"""Names that no part of a path may have."""


def wheel_problems(wheel: Path, root: Path) -> list[str]:
    """What is wrong with a wheel that was built from this source tree."""
    with ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    package = {name for name in held if name.startswith(f"{_PACKAGE}/")}
    info = {name for name in held if name.partition("/")[0].endswith(".dist-info")}
    wanted = {*_files(root, _PACKAGE), *(_in_wheel(name) for name in _files(root, "configs"))}
    licences = {name.rpartition("/")[2] for name in info if "/licenses/" in name}
    return [
        *_wrong_names(held),
        *_too_large(wheel, _WHEEL_LIMIT),
        *_holding(held, root),
        *(f"{wheel.name} lacks {name}." for name in sorted(wanted - package)),
        *(f"{wheel.name} has {name}, which the source has not." for name in sorted(package - wanted)),
        *(f"{wheel.name} has {name} beside the package." for name in sorted(held.keys() - package - info)),
        *(f"{wheel.name} lacks {name}." for name in _LICENCES if name not in licences),
        *(f"{wheel.name} holds the test {name}." for name in sorted(package) if _is_test(name)),
    ]


def sdist_problems(sdist: Path, root: Path) -> list[str]:
    """What is wrong with an sdist that was built from this source tree."""
    held: dict[str, bytes] = {}
    problems: list[str] = []
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            if not member.isfile():
                problems.append(f"{sdist.name}: {member.name} is no ordinary file.")
                continue
            data = archive.extractfile(member)
            held[member.name] = data.read() if data else b""
    top = sdist.name.removesuffix(".tar.gz")
    outside = [name for name in held if not name.startswith(f"{top}/")]
    inside = {name.removeprefix(f"{top}/") for name in held}
    wanted = {*_IN_SDIST, *_files(root, _PACKAGE), *_files(root, "configs")}
    return [
        *problems,
        *_wrong_names(held),
        *_too_large(sdist, _SDIST_LIMIT),
        *_holding(held, root),
        *(f"{sdist.name}: {name} lies outside of {top}." for name in outside),
        *(f"{sdist.name} lacks {name}." for name in sorted(wanted - inside)),
    ]


def _files(root: Path, folder: str) -> Iterable[str]:
    """The source's own files below a folder, as git knows them."""
    listed = subprocess.run(  # noqa: S603 - words of ours
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", folder],  # noqa: S607 - of the PATH that a maintainer has
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def _in_wheel(name: str) -> str:
    return f"{_CONFIGS}/{name.removeprefix('configs/')}"


def _wrong_names(held: Iterable[str]) -> list[str]:
    problems: list[str] = []
    for name in sorted(held):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            problems.append(f"{name} leads out of the archive.")
        problems += [
            f"{name} must not be shipped."
            for part in path.parts
            if any(fnmatch(part, pattern) for pattern in _NEVER)
        ]
    return problems


def _too_large(archive: Path, limit: int) -> list[str]:
    size = archive.stat().st_size
    return [f"{archive.name} has {size:,} bytes; {limit:,} are expected at most."] if size > limit else []


def _holding(held: Mapping[str, bytes], root: Path) -> list[str]:
    """Files that name the folder they were built in."""
    mark = str(root.resolve()).encode()
    return [f"{name} names the folder it was built in." for name, data in held.items() if mark in data]


def _is_test(name: str) -> bool:
    path = PurePosixPath(name)
    return "tests" in path.parts or path.name.startswith(("test_", "conftest"))
