"""Variables and versions that several files name are the same everywhere; server.json has its form."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from massgen_mcp import __version__
from massgen_mcp.backends.registry import public_backends
from massgen_mcp.config.variables import AZURE_ENDPOINT, AZURE_VERSION, KNOWN_VARIABLES
from tests.docs.pages import PAGES, README, ROOT, tables

SERVER: dict[str, Any] = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
VARIABLES: dict[str, dict[str, Any]] = {
    entry["name"]: entry for entry in SERVER["packages"][0]["environmentVariables"]
}
_OURS = re.compile(r"MASSGEN_MCP(?:_[A-Z]+)+")


@cache
def _read_by_the_code() -> frozenset[str]:
    """Our variables that stand in the code as values, not in a sentence."""
    found: set[str] = set()
    for path in (ROOT / "massgen_mcp").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if _OURS.search(text) else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _OURS.fullmatch(node.value):
                found.add(node.value)
    return frozenset(found)


def _named_in(page: Path) -> set[str]:
    return set(_OURS.findall(page.read_text(encoding="utf-8")))


def test_the_readme_names_every_setting_that_is_read_and_no_other() -> None:
    assert _named_in(README) == _read_by_the_code()


def test_server_json_names_every_setting_that_is_read_and_no_other() -> None:
    assert {name for name in VARIABLES if _OURS.fullmatch(name)} == _read_by_the_code()


def test_no_page_names_a_setting_that_is_not_read() -> None:
    known = _read_by_the_code() | {"MASSGEN_MCP_MAX"}  # MASSGEN_MCP_MAX_*: all three
    for page in PAGES:
        assert _named_in(page) <= known, page.name


def test_server_json_names_the_keys_of_every_backend_that_can_run() -> None:
    executing = [row for row in public_backends() if row.executes]
    wanted = {name for row in executing for name in row.env}
    if any(row.type == "azure_openai" for row in executing):
        wanted |= {AZURE_ENDPOINT, AZURE_VERSION}
    assert {name for name in VARIABLES if not _OURS.fullmatch(name)} == wanted


def test_keys_are_secret_and_nothing_is_required() -> None:
    assert {name for name, entry in VARIABLES.items() if entry["isSecret"]} == {
        name for name in VARIABLES if name.endswith(("_API_KEY", "_TOKEN"))
    }
    assert not any(entry["isRequired"] for entry in VARIABLES.values())


def test_no_page_names_a_key_that_is_not_known() -> None:
    for page in PAGES:
        keys = set(re.findall(r"\b[A-Z][A-Z0-9_]*_API_KEY\b", page.read_text(encoding="utf-8")))
        assert keys <= KNOWN_VARIABLES, page.name


def test_one_version_everywhere() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    versions = [SERVER["version"], *(package["version"] for package in SERVER["packages"])]
    assert {*versions, newest[1]} == {__version__}


def test_the_readme_names_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = next(table for table in tables(README.read_text(encoding="utf-8")) if table[0][0] == "extra")[1:]
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row[0])} == set(
        project["optional-dependencies"]
    )


def test_the_readme_proves_who_owns_the_name_in_the_registry() -> None:
    assert f"<!-- mcp-name: {SERVER['name']} -->" in README.read_text(encoding="utf-8").splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [package["identifier"] for package in SERVER["packages"]] == [project["name"]]


def test_server_json_has_the_form_that_the_registry_documents() -> None:
    schema = json.loads((Path(__file__).parent / "server.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    validator: Any = Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(SERVER)] == []
    for wrong in ({"version": "^1.0"}, {"description": "x" * 101}, {"name": "massgen"}, {"extra": 1}):
        assert not validator.is_valid(SERVER | wrong), wrong
