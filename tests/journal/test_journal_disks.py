"""Real disks that are full or read-only: what was acknowledged stays, and the cause is said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_DRIVER = Path(__file__).with_name("disk_driver.py")
_ROOT = _DRIVER.parents[2]
_APART = ("unshare", "--user", "--map-root-user", "--mount")


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    words = [*_APART, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0  # noqa: S603 - words of ours


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not _may_mount():
        pytest.skip("needs a user namespace in which disks can be mounted")
    disk = tmp_path_factory.mktemp("disk")
    done = subprocess.run(  # noqa: S603 - words of ours
        [*_APART, sys.executable, str(_DRIVER), str(disk)],
        cwd=_ROOT,
        env={"PYTHONPATH": str(_ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return json.loads(done.stdout)


def test_a_disk_that_fills_up_is_said_and_loses_nothing_that_was_acknowledged(seen: dict[str, Any]) -> None:
    assert "can't be used: the disk is full" in seen["why"]
    assert seen["kept"]


def test_a_journal_goes_on_once_there_is_room_again(seen: dict[str, Any]) -> None:
    assert seen["goes on"]


def test_a_journal_on_a_disk_without_a_byte_left_is_read_and_pruned(seen: dict[str, Any]) -> None:
    assert seen["read when full"] == [["new", "completed"]]
    assert seen["records when full"]
    assert seen["pruned when full"] == ["new"]
    assert seen["begun after that"] == "r3"
    assert "closed" in seen["begun when closed"]


@pytest.mark.parametrize("which", ["why", "begun when full", "no new one"])
def test_who_has_no_room_is_told_how_to_make_some(seen: dict[str, Any], which: str) -> None:
    assert "can't be used: the disk is full" in seen[which]
    assert "`massgen-mcp runs prune" in seen[which]
    assert "journal: off" not in seen[which]


@pytest.mark.parametrize("which", ["read-only", "new, read-only"])
def test_a_read_only_disk_is_refused_with_the_remedy(seen: dict[str, Any], which: str) -> None:
    assert "can't be used: the disk is read-only" in seen[which]
    assert "MASSGEN_MCP_STATE_DIR" in seen[which]
