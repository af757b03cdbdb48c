"""Where root's processes can be counted, by what the system says of itself."""

from __future__ import annotations

from pathlib import Path

from massgen_mcp.workspace.root import RootLimits, pids_folder


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

    assert limits.held(["true"], 10)[1] == "-IS"
    assert limits.held(["true"], None)[0] == "unshare"
    assert '"most": 14' in limits.held(["true"], 10)[3]
