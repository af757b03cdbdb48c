"""A release needs one version everywhere, its section in the changelog, and exactly what was tagged."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from massgen_mcp import __version__
from release import changelog_problems, notes, server_problems, source_version, version_problems
from release.__main__ import main
from tests.release.conftest import ROOT

RELEASED = """# Changelog

## Unreleased

## 1.2.0 - 2026-11-30

- Do this.
- Do that.

## 1.1.0 - 2026-10-01

- Do one thing.
"""


# The changelog.


def test_a_release_with_its_section_passes() -> None:
    assert changelog_problems(RELEASED, "1.2.0") == []
    assert notes(RELEASED, "1.2.0") == "- Do this.\n- Do that."


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            RELEASED.replace("## Unreleased\n", "## [Unreleased]\n\n- Do more.\n"),
            ["CHANGELOG.md: `Unreleased` is not empty. Move its lines below `## 1.2.0 - DAY`."],
        ),
        (RELEASED.replace("1.2.0", "1.3.0"), ["CHANGELOG.md has no section `## 1.2.0 - DAY`."]),
        ("# Changelog\n", ["CHANGELOG.md has no section `## 1.2.0 - DAY`."]),
        (
            RELEASED.replace("2026-11-30", "unreleased"),
            ["CHANGELOG.md: 1.2.0 has 'unreleased' where its day belongs, as 2026-01-31."],
        ),
        (
            RELEASED.replace("- Do this.\n- Do that.\n", ""),
            ["CHANGELOG.md: the section of 1.2.0 is empty."],
        ),
        (
            RELEASED.replace("## 1.2.0", "## 2.0.0 - 2026-12-01\n\n- Do all.\n\n## 1.2.0"),
            ["CHANGELOG.md: the newest section is that of 2.0.0, not of 1.2.0."],
        ),
    ],
    ids=["not empty", "another", "none", "no day", "empty", "not the newest"],
)
def test_a_release_without_its_section_fails(text: str, problems: list[str]) -> None:
    assert changelog_problems(text, "1.2.0") == problems


def test_a_version_that_nobody_has_heard_of_has_no_notes() -> None:
    assert notes(RELEASED, "9.9.9") == ""


# The version.


def test_this_source_has_one_version_and_a_server_json_of_the_registrys_form() -> None:
    assert source_version(ROOT) == __version__
    assert version_problems(ROOT) == []
    assert version_problems(ROOT, tag=f"v{__version__}") == []
    assert server_problems(ROOT) == []


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source tree with just what the gates read."""
    root = tmp_path / "source"
    for name in ("massgen_mcp/__init__.py", "tests/docs/server.schema.json", "server.json", "pyproject.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    changes = f"# Changelog\n\n## {__version__} - 2026-11-30\n\n- Ask a team.\n"
    (root / "CHANGELOG.md").write_text(changes, encoding="utf-8")
    return root


def test_a_version_that_differs_is_named_with_its_place(source: Path) -> None:
    server = json.loads((source / "server.json").read_text(encoding="utf-8"))
    server["version"] = server["packages"][0]["version"] = "9.9.9"
    (source / "server.json").write_text(json.dumps(server), encoding="utf-8")
    assert version_problems(source, tag="v9.9.9") == [
        f"server.json has version '9.9.9'; massgen_mcp/__init__.py has {__version__!r}.",
        f"server.json, packages[0] has version '9.9.9'; massgen_mcp/__init__.py has {__version__!r}.",
        f"The tag is 'v9.9.9'; the tag of version {__version__} is 'v{__version__}'.",
    ]


def test_a_version_that_is_none_is_refused(source: Path) -> None:
    (source / "massgen_mcp" / "__init__.py").write_text('__version__ = "soon"\n', encoding="utf-8")
    assert "massgen_mcp/__init__.py: 'soon' is no version to release, such as 1.2.3 or 1.2.3rc1." in (
        version_problems(source)
    )
    (source / "massgen_mcp" / "__init__.py").write_text('"""Nothing."""\n', encoding="utf-8")
    with pytest.raises(ValueError, match="has no line `__version__"):
        source_version(source)


def test_a_server_json_of_another_form_is_named_with_its_place(source: Path) -> None:
    server = json.loads((source / "server.json").read_text(encoding="utf-8"))
    server["description"] = "x" * 101
    (source / "server.json").write_text(json.dumps(server), encoding="utf-8")
    (problem,) = server_problems(source)
    assert problem.startswith("server.json, $.description: ")


# The tag.


def _git(source: Path, *words: str) -> None:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=source, check=True, capture_output=True)  # noqa: S603, S607 - words of ours


@pytest.fixture
def tagged(source: Path) -> Path:
    """The same as a repository, at the tag of its version."""
    # Not the whole of it: what is built is looked into elsewhere.
    _git(source, "init", "--quiet")
    _git(source, "add", ".")
    _git(source, "commit", "--quiet", "--message", "All")
    _git(source, "tag", f"v{__version__}")
    return source


def _refused(source: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main([*words, "--out", str(source.parent / "dist")], root=source) == 1
    return capsys.readouterr().err.splitlines()


def test_a_tag_is_needed(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _refused(source, capsys) == [
        "release: Name the tag, or say --draft to build what is here.",
    ]


def test_only_what_was_tagged_is_released(tagged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tagged / "new.txt").write_text("", encoding="utf-8")
    assert _refused(tagged, capsys, f"v{__version__}") == [
        "release: The work tree differs from its commit: a release is built from what is committed.",
    ]
    _git(tagged, "add", ".")
    _git(tagged, "commit", "--quiet", "--message", "More")
    assert _refused(tagged, capsys, f"v{__version__}") == [
        f"release: What is checked out is not v{__version__}.",
    ]


def test_a_folder_with_something_in_it_is_not_written_to(
    tagged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tagged.parent / "dist").mkdir()
    (tagged.parent / "dist" / "old.whl").write_text("", encoding="utf-8")
    (line,) = _refused(tagged, capsys, f"v{__version__}")
    assert line.endswith("is not empty. Take another --out, or clear it away.")


def test_what_cant_be_built_or_lacks_something_is_refused(
    tagged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _refused(tagged, capsys, f"v{__version__}")
    assert lines
    assert all(line.startswith(("release: It can't be built", "release: massgen_mcp")) for line in lines[:1])
