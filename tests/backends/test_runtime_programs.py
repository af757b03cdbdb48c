"""Whether the programs of others that agent runtimes start are there, as it is told before a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.backends import codex, gemini_cli
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.readiness import Readiness, readiness

KEYS = {"OPENAI_API_KEY": "a key of these tests", "GEMINI_API_KEY": "a key of these tests"}


def installed(folder: Path, *names: str) -> Environment:
    """Surroundings in which these programs are on the PATH, and nothing else."""
    folder.mkdir()
    for name in names:
        (folder / name).touch(mode=0o700)
    return Environment.of({**KEYS, "PATH": str(folder)})


def codex_state(environment: Environment, **block: Any) -> Readiness:
    return readiness(codex.Options.model_validate({"type": "codex", **block}), environment)


def gemini_state(environment: Environment) -> Readiness:
    return readiness(gemini_cli.Options(type="gemini_cli"), environment)


def test_a_key_without_the_program_is_not_ready_and_says_how_to_install_it(tmp_path: Path) -> None:
    state = codex_state(installed(tmp_path / "bin"))
    assert (state.ready, state.key) == (False, "set")
    assert state.why == "the program `codex` is not installed"
    assert "npm install -g @openai/codex" in state.remedy


def test_with_its_program_it_is_ready(tmp_path: Path) -> None:
    assert codex_state(installed(tmp_path / "bin", "codex")).ready


def test_a_program_that_is_named_is_looked_for_where_it_is_named(tmp_path: Path) -> None:
    nothing = installed(tmp_path / "bin")
    own = tmp_path / "own"
    assert codex_state(nothing, cli_path=own).why == f"the program `{own}` is not installed"
    own.touch()
    assert codex_state(nothing, cli_path=own).ready


@pytest.mark.parametrize(
    ("there", "missing"), [((), "gemini"), (("gemini",), "node"), (("gemini", "node"), "")]
)
def test_gemini_cli_needs_node_too(tmp_path: Path, there: tuple[str, ...], missing: str) -> None:
    state = gemini_state(installed(tmp_path / "bin", *there))
    assert state.ready == (not missing)
    assert state.why == (f"the program `{missing}` is not installed" if missing else "")
