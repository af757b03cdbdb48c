"""The private folders of agent runtimes, and those that a killed process has left."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from massgen_mcp.backends.cli_folder import make_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")

_ALONE = """
import os, signal, sys; sys.path[:0] = {path!r}
from pathlib import Path
from massgen_mcp.backends.cli_folder import make_folder
made = make_folder("codex", ("home",), parent=Path({parent!r}))
(made.path / "home" / "session").touch()
os.kill(os.getpid(), signal.SIGKILL)
"""


def left_by_a_killed_process(parent: Path) -> Path:
    code = _ALONE.format(path=sys.path, parent=str(parent))
    subprocess.run([sys.executable, "-c", code], check=False)  # noqa: S603 - our own code
    (found,) = parent.glob("massgen-codex-*")
    return found


def test_nobody_else_may_enter_it_and_it_is_gone_after_its_removal(tmp_path: Path) -> None:
    made = make_folder("codex", ("home", "home/inner"), parent=tmp_path)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (made.path, *made.path.glob("home/**"))}
    assert modes == {0o700}
    made.remove()
    made.remove()
    assert not made.path.exists()


def test_what_a_killed_process_has_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    left = left_by_a_killed_process(tmp_path)
    assert (left / "home" / "session").exists()
    make_folder("gemini_cli", parent=tmp_path).remove()
    assert not left.exists()


def test_the_folder_of_a_living_process_stays(tmp_path: Path) -> None:
    mine = make_folder("codex", parent=tmp_path)
    make_folder("codex", parent=tmp_path).remove()
    code = "import sys; sys.path[:0] = {!r}\nfrom pathlib import Path\n{}".format(
        sys.path,
        "from massgen_mcp.backends.cli_folder import make_folder\n"
        f"make_folder('codex', parent=Path({str(tmp_path)!r})).remove()",
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
    assert mine.path.exists()
    mine.remove()


def test_what_is_not_certainly_ours_and_abandoned_is_left_alone(tmp_path: Path) -> None:
    unheld = tmp_path / "massgen-codex-unheld"
    elsewhere = tmp_path / "elsewhere"
    for folder in (unheld, elsewhere):
        folder.mkdir()
    (elsewhere / ".held").touch()
    link = tmp_path / "massgen-codex-link"
    link.symlink_to(elsewhere)
    pipe, linked = tmp_path / "massgen-codex-pipe", tmp_path / "massgen-codex-linked"
    for folder in (pipe, linked):
        folder.mkdir()
    os.mkfifo(pipe / ".held")
    (linked / ".held").symlink_to(elsewhere / ".held")
    named = tmp_path / "of-somebody"
    named.mkdir()
    (named / ".held").touch()
    make_folder("codex", parent=tmp_path).remove()
    assert all(path.exists() for path in (unheld, elsewhere, link, pipe, linked, named))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
def test_another_user_s_folder_is_left_alone(tmp_path: Path) -> None:
    left = left_by_a_killed_process(tmp_path)
    os.chown(left, 65534, 65534)
    make_folder("codex", parent=tmp_path).remove()
    assert left.exists()


def test_what_can_t_be_made_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_folder("codex", ("a/b",), parent=tmp_path)
    assert not list(tmp_path.iterdir())
