"""A file is opened once, as a regular file below an approved folder, and no link is followed there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from massgen_mcp.config.environment import Environment
from massgen_mcp.config.gate import inside, read_text
from massgen_mcp.config.load import load_file
from massgen_mcp.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    approved = tmp_path / "approved"
    (approved / "below").mkdir(parents=True)
    (approved / "a.yaml").write_text("agents: []\n")
    (approved / "below" / "b.yaml").write_text("x: 1\n")
    (tmp_path / "secret.yaml").write_text("hunter2: hunter2\n")
    return approved


def _refusal(path: Path, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(path, approved=[folder])
    text = str(caught.value)
    assert "hunter2" not in text
    return text


def test_files_below_an_approved_folder_are_read(folder: Path) -> None:
    assert read_text(folder / "a.yaml", approved=[folder]) == "agents: []\n"
    assert read_text(folder / "below" / "b.yaml", approved=[folder.parent / "no", folder]) == "x: 1\n"


def test_a_byte_order_mark_is_no_text(folder: Path) -> None:
    (folder / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_text(folder / "bom.yaml", approved=[folder]) == "a: 1"


def test_an_approved_folder_may_itself_be_reached_by_a_link(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert read_text(link / "a.yaml", approved=[link]) == "agents: []\n"
    assert read_text(folder / "a.yaml", approved=[link]) == "agents: []\n"
    assert read_text(link / "below" / "b.yaml", approved=[folder]) == "x: 1\n"


def test_files_elsewhere_are_refused(folder: Path) -> None:
    assert "not inside an approved folder" in _refusal(folder.parent / "secret.yaml", folder)
    assert "not inside an approved folder" in _refusal(folder / ".." / "secret.yaml", folder)
    sibling = folder.parent / "approved2"
    sibling.mkdir()
    (sibling / "c.yaml").write_text("hunter2: 1")
    assert "not inside an approved folder" in _refusal(sibling / "c.yaml", folder)
    with pytest.raises(ConfigError, match=r"\(none\)"):
        read_text(folder / "a.yaml", approved=[])


def test_the_folder_itself_is_no_file(folder: Path) -> None:
    assert inside(folder, [folder]) is None
    assert "not a regular file" in _refusal(folder / "below", folder)


def test_links_below_the_folder_are_not_followed(folder: Path) -> None:
    (folder / "link.yaml").symlink_to(folder.parent / "secret.yaml")
    (folder / "out").symlink_to(folder.parent)
    assert "links are not followed" in _refusal(folder / "link.yaml", folder)
    assert "links are not followed" in _refusal(folder / "out" / "secret.yaml", folder)


def test_a_pipe_or_a_device_does_not_keep_us_waiting(folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")
    assert "not a regular file" in _refusal(folder / "pipe.yaml", folder)
    assert "not a regular file" in _refusal(Path("/dev/zero"), Path("/dev"))


def test_a_large_file_is_refused_by_its_size(folder: Path) -> None:
    (folder / "large.yaml").write_bytes(b"#" * (2 << 20))
    assert "larger than 1 MiB" in _refusal(folder / "large.yaml", folder)


def test_bytes_that_are_not_text_are_refused_with_their_line(folder: Path) -> None:
    (folder / "binary.yaml").write_bytes(b"a: 1\nb: hunter2\xff\xfe\n")
    with pytest.raises(ConfigError) as caught:
        read_text(folder / "binary.yaml", approved=[folder])
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (2, "the file is not UTF-8 text")


def test_a_file_that_is_not_there_is_said_to_be_missing(folder: Path) -> None:
    assert "there is no such file" in _refusal(folder / "none.yaml", folder)


@contextmanager
def an_ordinary_user() -> Generator[None]:
    """Root may read everything, so it becomes nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_may_not_be_read_is_said_to_be_so() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "a.yaml").touch(mode=0)
        with an_ordinary_user():
            assert "permission denied" in _refusal(folder / "a.yaml", folder)


def test_loading_a_file_never_raises_for_what_is_in_it(folder: Path) -> None:
    environment = Environment.of({})
    missing = load_file(folder / "none.yaml", approved=[folder], environment=environment)
    empty = load_file(folder / "a.yaml", approved=[folder], environment=environment)
    assert (missing.team, empty.team) == (None, None)
    assert missing.problems[0].message == "there is no such file"
    assert empty.problems[0].path == "agents"


def test_the_variables_beside_a_file_hold_for_it(folder: Path) -> None:
    (folder / ".env").write_text("GROQ_API_KEY=from-beside\nBOTH=beside\n")
    (folder / "t.yaml").write_text("agent: {id: a, backend: {type: groq}}")
    loaded = load_file(folder / "t.yaml", approved=[folder], environment=Environment.of({"BOTH": "process"}))
    assert loaded.team is not None
    assert loaded.environment.get("GROQ_API_KEY") == "from-beside"
    assert loaded.environment.get("BOTH") == "process"
    assert loaded.team.source == folder / "t.yaml"
