"""What agents can leave in a workspace does not break its snapshots, for them or for others."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from massgen_mcp.workspace.apply import applied, baseline
from massgen_mcp.workspace.areas import Areas, Context
from massgen_mcp.workspace.reading import listing
from massgen_mcp.workspace.snapshots import Limits, Snapshots
from massgen_mcp.workspace.trees import remove


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def snapshots(tmp_path: Path) -> Generator[Snapshots]:
    kept = Snapshots(tmp_path / "snapshots")
    yield kept
    kept.close()


def nest(folder: Path, name: bytes, depth: int) -> int:
    """A descriptor of the innermost of folders in each other, deeper than paths reach."""
    held = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=held)
        inner = os.open(name, os.O_RDONLY, dir_fd=held)
        os.close(held)
        held = inner
    return held


def test_notes_on_hostile_names_never_make_a_snapshot_unreadable(
    snapshots: Snapshots, workspace: Path
) -> None:
    (workspace / "kept").write_text("kept")
    inner = nest(workspace, "\u00ff".encode() * 120, 20)
    for number in range(1100):
        os.symlink(b"x", b"%04d" % number + b"l" * 200, dir_fd=inner)
    os.close(inner)
    taken = snapshots.take(workspace)

    assert snapshots.get(taken.id) == taken
    assert (snapshots.open(taken.id) / "kept").read_text() == "kept"
    assert taken.notes[-1].why.endswith("more were left out")


@pytest.mark.parametrize("name", [b"\xff", b"a\nb", b"a\x1b[2J", "a\u202eb".encode(), b"tab\tbed"])
def test_what_can_not_be_shown_under_its_name_is_not_kept(
    snapshots: Snapshots, workspace: Path, name: bytes
) -> None:
    (workspace / "plain").write_text("x")
    Path(os.fsdecode(os.fsencode(workspace) + b"/" + name)).write_text("x")
    taken = snapshots.take(workspace)
    areas = Areas(workspace)
    rows = [row for row, _ in listing(areas, ".").rows]
    areas.close()

    assert [path for path, _ in snapshots.files(taken.id)] == ["plain"]
    assert [note.why for note in taken.notes] == ["its name can't be shown as it is"]
    assert "".join(rows).isprintable()
    snapshots.restore(taken.id, workspace)
    assert len(list(workspace.iterdir())) == 2, "what has a note is left alone"


def test_more_folders_than_allowed_are_left_out_as_files_are(tmp_path: Path, workspace: Path) -> None:
    for number in range(300):
        (workspace / f"f{number}").touch()
        (workspace / f"d{number}").mkdir()
    kept = Snapshots(tmp_path / "limited", limits=Limits(files=10, folders=20))
    taken = kept.take(workspace)
    kept.close()

    assert taken.cut
    assert len(taken.notes) <= 51, "what is beyond the limits does not crowd out other notes"


def test_a_deep_nest_and_a_huge_sparse_file_cost_nothing(snapshots: Snapshots, workspace: Path) -> None:
    os.close(nest(workspace, b"d" * 200, 1500))
    with (workspace / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    taken = snapshots.take(workspace)

    assert (taken.files, taken.size) == (0, 0)
    assert {note.why.split(" ")[0] for note in taken.notes} == {"deeper", "too"}
    top = os.open(workspace.parent, os.O_RDONLY)
    remove(top, workspace.name)
    os.close(top)
    assert not workspace.exists()


def test_files_that_change_while_they_are_taken_are_kept_whole_as_they_were_read(
    snapshots: Snapshots, workspace: Path
) -> None:
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (workspace / "grows").write_text("x" * (number % 5000))
            (workspace / "new").write_text("y")
            (workspace / "grows").unlink()
            (workspace / "new").unlink()

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for _ in range(30):
            taken = snapshots.take(workspace)
            for path, entry in snapshots.files(taken.id):
                assert len(snapshots.read(taken.id, path)) == entry.size
    finally:
        stop.set()
        churning.join()


def test_what_programs_obey_in_a_project_is_guarded_however_much_else_is_noted(
    snapshots: Snapshots, workspace: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    (project / "z").mkdir(parents=True)
    (project / "z" / "AGENTS.md").write_text("obey")
    for number in range(1200):
        (project / f"link{number}").symlink_to("x")
    areas = Areas(workspace, [Context(path=project, write=True)])
    before = baseline(areas, snapshots)
    areas.close()

    assert before.guarded == (project / "z" / "AGENTS.md",)


def test_a_project_too_large_to_compare_is_said_to_be_so(
    snapshots: Snapshots, workspace: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with (project / "large").open("wb") as file:
        file.truncate(300 * 1024**2)
    areas = Areas(workspace, [Context(path=project, write=True)])
    found = applied(areas, snapshots, baseline(areas, snapshots))
    areas.close()

    assert found.warnings == (
        "project holds more than is compared (20,000 files, 256 MiB): what changed beyond that is not shown.",
    )


def test_of_a_crowded_folder_only_what_is_listed_is_looked_at(workspace: Path) -> None:
    for number in range(2000):
        (workspace / f"{number:04}").touch()
    areas = Areas(workspace)
    found = listing(areas, ".", limit=3)
    areas.close()

    assert (found.cut, [row for row, _ in found.rows]) == (True, ["0000", "0001", "0002"])
