"""The workflows do what the project's own commands do, with what a release needs and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.release.conftest import ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
_PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")


def _read(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_is_one_for_changes_and_one_for_tags() -> None:
    assert [path.name for path in FILES] == ["ci.yml", "release.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(path: Path) -> None:
    used = [step["uses"] for step in _steps(_read(path)) if "uses" in step]
    assert used
    assert [name for name in used if not _PINNED.fullmatch(name)] == []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert [line for line in lines if not re.search(r" # v\d+\.\d+\.\d+$", line)] == []


def test_an_action_has_one_pin_in_all_files() -> None:
    pins = {
        step["uses"].partition("@")[::2] for path in FILES for step in _steps(_read(path)) if "uses" in step
    }
    assert len({name for name, _ in pins}) == len(pins)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_job_may_only_read_unless_it_says_more_and_ends_in_time(path: Path) -> None:
    workflow = _read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())
    for step in _steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_what_may_write_runs_no_code_of_the_project() -> None:
    for name, job in _read(ROOT / ".github" / "workflows" / "release.yml")["jobs"].items():
        if "permissions" in job:
            assert not any("checkout" in step.get("uses", "") for step in job["steps"]), name


def test_a_release_is_tested_built_attested_and_only_then_published() -> None:
    workflow = _read(ROOT / ".github" / "workflows" / "release.yml")
    jobs = workflow["jobs"]
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    runs = [step["run"] for step in jobs["build"]["steps"] if "run" in step]
    assert runs.index("make test") < runs.index('scripts/release "$GITHUB_REF_NAME" --out dist')
    assert (jobs["attest"]["needs"], jobs["publish"]["needs"]) == ("build", "attest")
    assert jobs["publish"]["environment"] == "release"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_names_of_a_tag_or_branch_reach_the_shell_as_variables_only(path: Path) -> None:
    assert [step["run"] for step in _steps(_read(path)) if "${{" in step.get("run", "")] == []


def test_the_pythons_that_are_tested_are_those_that_are_promised() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert _read(FILES[0])["jobs"]["test"]["strategy"]["matrix"]["python"] == promised
