"""One version: it stands in `massgen_mcp/__init__.py`, and everything else says the same."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

__all__ = ["server_problems", "source_version", "version_problems"]

_SOURCE = Path("massgen_mcp/__init__.py")
_SCHEMA = Path("tests/docs/server.schema.json")
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


def source_version(root: Path) -> str:
    """The version in the source, read without running it.

    Raises:
        ValueError: there is none.
    """
    for node in ast.parse((root / _SOURCE).read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__version__")], value=ast.Constant(value=str(version))):
                return version
            case _:
                pass
    raise ValueError(f"{_SOURCE} has no line `__version__ = ...`.")


def version_problems(root: Path, *, tag: str | None = None) -> list[str]:
    """Where the version differs from the source's; the tag, where one is given, is `v` and the version."""
    version = source_version(root)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    server = _server(root)
    said = {"server.json": server.get("version")}
    said |= {
        f"server.json, packages[{number}]": package.get("version")
        for number, package in enumerate(server.get("packages", ()))
    }
    if "version" not in project.get("dynamic", ()):
        said["pyproject.toml"] = project.get("version")
    problems = [
        f"{where} has version {other!r}; {_SOURCE} has {version!r}."
        for where, other in said.items()
        if other != version
    ]
    if not _VERSION.fullmatch(version):
        problems.append(f"{_SOURCE}: {version!r} is no version to release, such as 1.2.3 or 1.2.3rc1.")
    if tag is not None and tag != f"v{version}":
        problems.append(f"The tag is {tag!r}; the tag of version {version} is 'v{version}'.")
    return problems


def server_problems(root: Path) -> list[str]:
    """Where server.json differs from the registry's schema, as it is kept here."""
    schema: Any = json.loads((root / _SCHEMA).read_text(encoding="utf-8"))
    validator: Any = Draft202012Validator(schema)
    return [
        f"server.json, {error.json_path}: {error.message}" for error in validator.iter_errors(_server(root))
    ]


def _server(root: Path) -> dict[str, Any]:
    return json.loads((root / "server.json").read_text(encoding="utf-8"))
