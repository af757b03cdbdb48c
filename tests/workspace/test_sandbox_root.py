"""Where root's processes can be counted, by what the system says of itself."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from massgen_mcp.workspace.root import JOIN, RootLimits, pids_folder


def _system(folder: Path, kind: str) -> Path:
    """A /proc/self that tells of control groups in a folder of ours."""
    tree = folder / "tree"
    options = "rw,pids" if kind == "cgroup" else "rw"
    (folder / "cgroup").write_text("8:pids:/own\n4:memory,x:/other\n0::/own\n")
    (folder / "mountinfo").write_text(
        f"30 20 0:1 / /sys rw - sysfs sysfs rw\n31 30 0:2 / {tree} rw - {kind} {kind} {options}\n"
    )
    return tree


def test_in_a_tree_for_processes_the_folder_lies_below_our_own_group(tmp_path: Path) -> None:
    tree = _system(tmp_path, "cgroup")
    (tree / "own").mkdir(parents=True)

    assert pids_folder(tmp_path) is None, "a folder that is no control group has no pids.max to remain in it"
    assert (tree / "own" / "massgen-mcp").is_dir()


def test_without_a_tree_there_is_no_folder(tmp_path: Path) -> None:
    for kind in ("cgroup", "cgroup2", "tmpfs"):
        _system(tmp_path, kind)

        assert pids_folder(tmp_path) is None


def test_without_control_groups_a_process_of_ours_counts() -> None:
    limits = RootLimits(unshare=("unshare", "--mount", "--"), pids=None)
    shell = ("sh", "-c", "true")

    assert limits.held(shell, 10)[1] == "-IS"
    assert limits.held(shell, None)[0] == "unshare"
    assert '"most": 14' in limits.held(shell, 10)[3]


def test_a_control_group_is_for_one_command_and_goes_once_it_has_been_done_with_for_long(
    tmp_path: Path,
) -> None:
    limits = RootLimits(unshare=("unshare", "--mount", "--"), pids=tmp_path)
    for name, age in (("command-1-used", 90), ("command-1-starting", 5)):
        (tmp_path / name).mkdir()
        moment = time.time() - age
        os.utime(tmp_path / name, (moment, moment))

    script = limits.held(("sh", "-c", "true"), 10)[5]

    (made,) = tmp_path.glob(f"command-{os.getpid()}-*")
    assert f"group={made}\n" in script
    assert (made / "pids.max").read_text() == "14"
    assert {path.name for path in tmp_path.iterdir()} == {made.name, "command-1-starting"}


def test_the_folder_of_the_control_groups_is_made_again_when_it_is_gone(tmp_path: Path) -> None:
    limits = RootLimits(unshare=("unshare", "--mount", "--"), pids=tmp_path / "gone" / "massgen-mcp")

    limits.held(("sh", "-c", "true"), 10)

    (made,) = tmp_path.glob("gone/massgen-mcp/command-*")
    assert (made / "pids.max").read_text() == "14"


def test_a_command_does_not_begin_without_its_control_group(tmp_path: Path) -> None:
    tmp_path.joinpath("of").mkdir()
    ended = subprocess.run(  # noqa: S603 - our own script
        ["/bin/sh", "-c", f"exec 4<{tmp_path}/of; {JOIN} echo begun"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (125, "")
