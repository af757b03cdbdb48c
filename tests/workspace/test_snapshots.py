"""Snapshots: complete or not there, never changed, nothing stored twice, no keys in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.snapshots import Limits, Snapshots

ROOT = Path(__file__).parent.parent.parent
KEY = "correct-horse-battery-7"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.py").write_text("print(1)\n")
    (folder / "run.sh").write_text("echo hi\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def snapshots(tmp_path: Path) -> Generator[Snapshots]:
    secrets = Secrets()
    secrets.add(KEY, "OPENAI_API_KEY")
    kept = Snapshots(tmp_path / "snapshots", secrets=secrets)
    yield kept
    kept.close()


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() if path.is_file() else "/"
        for path in sorted(folder.rglob("*"))
    }


def settled(folder: Path) -> None:
    """Files whose change is so long ago that their times can be trusted."""
    deadline = time.monotonic() + 5
    newest = max(path.stat().st_ctime_ns for path in folder.rglob("*") if path.is_file())
    while time.time_ns() - newest < 60_000_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def contents(snapshots: Snapshots) -> int:
    return len(list((snapshots.folder / "objects").iterdir()))


def test_a_snapshot_is_laid_out_as_the_workspace_was(snapshots: Snapshots, workspace: Path) -> None:
    before = tree(workspace)
    taken = snapshots.take(workspace)
    (workspace / "src" / "main.py").write_text("print(2)\n")
    folder = snapshots.open(taken.id)
    assert tree(folder) == before
    assert os.access(folder / "run.sh", os.X_OK)
    assert (taken.files, taken.size, taken.notes) == (2, 17, ())
    assert snapshots.open(taken.id) == folder
    assert snapshots.get(taken.id) == taken


def test_the_same_content_has_the_same_name_and_is_stored_once(
    snapshots: Snapshots, workspace: Path, tmp_path: Path
) -> None:
    first = snapshots.take(workspace)
    count = contents(snapshots)
    other = tmp_path / "other"
    snapshots.restore(first.id, other_folder(other))
    assert tree(other) == tree(workspace)
    assert snapshots.take(other).id == first.id
    assert contents(snapshots) == count
    assert snapshots.ids() == (first.id,)


def other_folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_readers_cant_change_what_they_are_shown(snapshots: Snapshots, workspace: Path) -> None:
    folder = snapshots.open(snapshots.take(workspace).id)
    modes = {path.stat().st_mode & 0o222 for path in (folder, *folder.rglob("*"))}
    assert modes == {0}
    one, two = folder / "src" / "main.py", workspace / "src" / "main.py"
    assert one.stat().st_ino != two.stat().st_ino


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(
    snapshots: Snapshots, workspace: Path
) -> None:
    settled(workspace)
    first = snapshots.take(workspace)
    # With the content gone from the store, only a second read would bring it back.
    name = next(entry.name for path, entry in snapshots.files(first.id) if path == "src/main.py")
    (snapshots.folder / "objects" / name).unlink()
    assert snapshots.take(workspace).id == first.id
    assert not (snapshots.folder / "objects" / name).exists()
    path = workspace / "src" / "main.py"
    found = path.stat()
    path.write_text("print(9)\n")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert snapshots.take(workspace).id != first.id


def test_links_keys_and_special_files_are_left_out_with_a_note(snapshots: Snapshots, workspace: Path) -> None:
    (workspace / "link").symlink_to("/etc/passwd")
    os.link(workspace / "run.sh", workspace / "hard")
    os.mkfifo(workspace / "pipe")
    for name in (".env", "id_rsa", "server.pem", ".npmrc"):
        (workspace / name).write_text("x")
    (workspace / ".ssh").mkdir()
    (workspace / ".ssh" / "config").write_text("x")
    (workspace / "id_map.py").write_text("kept")
    (workspace / ".env.example").write_text("kept")
    (workspace / "notes.txt").write_text(f"the key is {KEY}, remember")
    (workspace / ".git").mkdir()
    (workspace / ".git" / "config").write_text("[remote]\nurl = https://me:hunter2@example.org/x\n")
    (workspace / ".git" / "HEAD").write_text("ref: x\n")
    taken = snapshots.take(workspace)
    assert {note.path: note.why for note in taken.notes} == {
        "link": "a symbolic link to /etc/passwd",
        "hard": "a hard link",
        "run.sh": "a hard link",
        "pipe": "not a regular file",
        ".env": "by its name it keeps keys or passwords",
        "id_rsa": "by its name it keeps keys or passwords",
        "server.pem": "by its name it keeps keys or passwords",
        ".npmrc": "by its name it keeps keys or passwords",
        ".ssh": "by its name it keeps keys or passwords",
        "notes.txt": "holds the value of OPENAI_API_KEY",
        ".git/config": "holds a login",
    }
    assert [path for path, _ in snapshots.files(taken.id)] == [
        ".env.example",
        ".git/HEAD",
        "id_map.py",
        "src/main.py",
    ]
    assert KEY.encode() not in b"".join(
        path.read_bytes() for path in snapshots.folder.rglob("*") if path.is_file()
    )


def test_a_key_across_the_pieces_of_a_large_file_is_found(snapshots: Snapshots, workspace: Path) -> None:
    piece = 4 * 1024 * 1024
    (workspace / "large.txt").write_text("a" * (piece - 8) + KEY + "b" * piece)
    (workspace / "fine.bin").write_bytes(bytes(range(256)) * (piece // 200))
    taken = snapshots.take(workspace)
    assert [note.path for note in taken.notes] == ["large.txt"]
    assert snapshots.read(taken.id, "fine.bin") == (workspace / "fine.bin").read_bytes()
    (workspace / "again.bin").write_bytes((workspace / "fine.bin").read_bytes())
    count = contents(snapshots)
    assert snapshots.take(workspace).files == taken.files + 1
    assert contents(snapshots) == count + 1  # the folder's new list


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(files=1), "more than 1 files"),
        (Limits(size=10), "too large: all files together may have 10 bytes"),
        (Limits(depth=0), "deeper than 0 folders"),
    ],
    ids=["files", "size", "depth"],
)
def test_what_is_beyond_the_limits_is_left_out_with_a_note(
    tmp_path: Path, workspace: Path, limits: Limits, why: str
) -> None:
    kept = Snapshots(tmp_path / "limited", limits=limits)
    assert why in {note.why for note in kept.take(workspace).notes}
    kept.close()


def test_restoring_makes_a_workspace_what_it_was(snapshots: Snapshots, workspace: Path) -> None:
    (workspace / "link").symlink_to("src")
    before = tree(workspace)
    taken = snapshots.take(workspace)
    (workspace / "src" / "main.py").write_text("broken")
    (workspace / "src" / "more.py").write_text("new")
    (workspace / "run.sh").unlink()
    (workspace / "run.sh").mkdir()
    (workspace / "empty").rmdir()
    (workspace / "empty").write_text("a file now")
    (workspace / "evil").symlink_to("/etc")
    snapshots.restore(taken.id, workspace)
    assert tree(workspace) == before
    assert (workspace / "run.sh").stat().st_mode & 0o777 == 0o755
    assert snapshots.take(workspace).id == taken.id


def test_a_restored_file_is_the_workspaces_own(snapshots: Snapshots, workspace: Path) -> None:
    taken = snapshots.take(workspace)
    (workspace / "src" / "main.py").unlink()
    snapshots.restore(taken.id, workspace)
    with (workspace / "src" / "main.py").open("a") as file:
        file.write("more\n")
    assert snapshots.read(taken.id, "src/main.py") == b"print(1)\n"


def test_changes_are_told_by_path_with_a_diff(snapshots: Snapshots, workspace: Path) -> None:
    before = snapshots.take(workspace)
    (workspace / "src" / "main.py").write_text("print(1)\nprint(2)\n")
    (workspace / "run.sh").unlink()
    (workspace / "new.bin").write_bytes(b"\0\1")
    after = snapshots.take(workspace)
    changes = snapshots.changes(before.id, after.id)
    assert [(change.path, change.kind, change.added, change.removed) for change in changes] == [
        ("new.bin", "added", 0, 0),
        ("run.sh", "removed", 0, 1),
        ("src/main.py", "changed", 1, 0),
    ]
    assert changes[2].diff == ("--- a/src/main.py\n+++ b/src/main.py\n@@ -1 +1,2 @@\n print(1)\n+print(2)\n")
    assert (changes[0].before, changes[1].after) == ("", "")
    assert not snapshots.changes(after.id, after.id)
    assert not snapshots.changes(before.id, after.id, diffs=False)[2].diff


def test_a_file_that_becomes_a_folder_is_removed_and_added(snapshots: Snapshots, workspace: Path) -> None:
    before = snapshots.take(workspace)
    (workspace / "run.sh").unlink()
    (workspace / "run.sh").mkdir()
    (workspace / "run.sh" / "inner").write_text("x")
    changes = snapshots.changes(before.id, snapshots.take(workspace).id)
    assert [(change.path, change.kind) for change in changes] == [
        ("run.sh", "removed"),
        ("run.sh/inner", "added"),
    ]


def test_pruning_keeps_what_is_kept_and_nothing_else(snapshots: Snapshots, workspace: Path) -> None:
    first = snapshots.take(workspace)
    settled(workspace)
    (workspace / "src" / "main.py").write_text("print(2)\n")
    second = snapshots.take(workspace)
    snapshots.open(first.id)
    (snapshots.folder / "manifests" / ".massgen-part-dead").mkdir()
    (snapshots.folder / "objects" / ".massgen-part-dead").write_text("half")
    assert snapshots.prune([second.id]) > 0
    assert snapshots.ids() == (second.id,)
    assert snapshots.read(second.id, "src/main.py") == b"print(2)\n"
    assert snapshots.read(second.id, "run.sh") == b"echo hi\n"
    assert not list(snapshots.folder.rglob(".massgen-part-*"))
    with pytest.raises(PathRefused, match=r"not here"):
        snapshots.get(first.id)
    (workspace / "src" / "main.py").write_text("print(1)\n")
    assert snapshots.take(workspace).id == first.id
    assert snapshots.read(first.id, "src/main.py") == b"print(1)\n"


def test_damage_is_found_and_said(snapshots: Snapshots, workspace: Path, tmp_path: Path) -> None:
    taken = snapshots.take(workspace)
    name = next(entry.name for path, entry in snapshots.files(taken.id) if path == "src/main.py")
    content = snapshots.folder / "objects" / name
    content.chmod(0o644)
    content.write_text("print(666")
    with pytest.raises(PathRefused, match=r"not what was stored"):
        snapshots.read(taken.id, "src/main.py")
    content.write_text("")
    with pytest.raises(PathRefused, match=r"missing or cut"):
        snapshots.open(taken.id)
    assert not list((snapshots.folder / "trees").iterdir())
    content.unlink()
    with pytest.raises(PathRefused, match=r"is missing"):
        snapshots.restore(taken.id, other_folder(tmp_path / "other"))
    manifest = snapshots.folder / "manifests" / taken.id / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{}")
    with pytest.raises(PathRefused, match=r"manifest was changed"):
        snapshots.get(taken.id)


@pytest.mark.parametrize("name", ["", "../x", "0" * 39, "0" * 40])
def test_what_is_no_snapshot_is_refused(snapshots: Snapshots, name: str) -> None:
    with pytest.raises(PathRefused, match=r"no snapshot|not here"):
        snapshots.get(name)


@pytest.mark.parametrize("path", ["nothing", "src", "src/nothing", "nothing/x", "src/main.py/x"])
def test_reading_what_a_snapshot_has_not_is_refused(snapshots: Snapshots, workspace: Path, path: str) -> None:
    taken = snapshots.take(workspace)
    with pytest.raises(PathRefused, match=r"no .* in this snapshot"):
        snapshots.read(taken.id, path)


_TAKER = """
import sys
from pathlib import Path
from massgen_mcp.workspace.snapshots import Snapshots
folder = Path(sys.argv[1])
snapshots = Snapshots(folder / "snapshots")
number = 0
while True:
    number += 1
    for name in range(20):
        (folder / "workspace" / f"{name}.txt").write_text(f"{number} {name} " * 2000)
    taken = snapshots.take(folder / "workspace")
    snapshots.open(taken.id)
    print(taken.id, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.011])
def test_nothing_half_is_seen_after_kill_9(tmp_path: Path, delay: float) -> None:
    (tmp_path / "workspace").mkdir()
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", _TAKER, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdout is not None
        told = process.stdout.readline().strip()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    kept = Snapshots(tmp_path / "snapshots")
    assert {told, *(name for name in rest if len(name) == 40)} <= set(kept.ids())
    for name in kept.ids():
        assert len([kept.read(name, path) for path, _ in kept.files(name)]) == kept.get(name).files == 20
    for folder in (kept.folder / "trees").iterdir():
        assert folder.name.startswith(".massgen-part-") or len(list(folder.iterdir())) == 20
    kept.prune([told])
    assert kept.ids() == (told,)
    assert not list(kept.folder.rglob(".massgen-part-*"))
    kept.close()


_RESTORER = """
import sys
from pathlib import Path
from massgen_mcp.workspace.snapshots import Snapshots
folder = Path(sys.argv[1])
snapshots = Snapshots(folder / "snapshots")
print("now", flush=True)
while True:
    for name in sys.argv[2:]:
        snapshots.restore(name, folder / "workspace")
"""


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.013])
def test_a_restoration_that_is_killed_is_made_whole_by_the_next(
    snapshots: Snapshots, workspace: Path, delay: float
) -> None:
    wanted = tree(workspace)
    first = snapshots.take(workspace)
    for number in range(50):
        (workspace / f"{number}").mkdir()
        (workspace / f"{number}" / "large").write_text(f"{number}" * 20_000)
    second = snapshots.take(workspace)
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", _RESTORER, str(workspace.parent), first.id, second.id],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    snapshots.restore(first.id, workspace)
    found = {path: text for path, text in tree(workspace).items() if ".massgen-part-" not in path}
    assert found == wanted
    assert snapshots.take(workspace).id == first.id


def test_a_dirty_workspace_becomes_exactly_the_snapshot(snapshots: Snapshots, workspace: Path) -> None:
    (workspace / ".claude").mkdir()
    (workspace / ".claude" / "settings.json").write_text("{}")
    taken = snapshots.take(workspace)
    wanted = tree(workspace)
    (workspace / ".claude" / "settings.json").write_text("changed")
    (workspace / ".claude" / "later.json").write_text("later")
    (workspace / "src" / "main.py").unlink()
    (workspace / "src" / "main.py").mkdir()
    (workspace / "run.sh").chmod(0o600)
    (workspace / "node_modules" / "x").mkdir(parents=True)
    (workspace / ".env").write_text("KEY=later")
    (workspace / "link").symlink_to("/etc/passwd")
    (workspace / "empty").rmdir()
    os.mkfifo(workspace / "pipe")
    (workspace / "src").chmod(0)
    other = Snapshots(snapshots.folder)
    other.restore(taken.id, workspace)
    other.close()
    assert tree(workspace) == wanted
    assert os.access(workspace / "run.sh", os.X_OK)
    assert not (workspace / "link").is_symlink()


def test_what_a_snapshot_left_out_is_not_restored_but_left_as_it_is_now(
    snapshots: Snapshots, workspace: Path
) -> None:
    (workspace / ".env").write_text("KEY=1")
    (workspace / "link").symlink_to("a")
    taken = snapshots.take(workspace)
    (workspace / ".env").write_text("KEY=2")
    (workspace / "link").unlink()
    snapshots.restore(taken.id, workspace)
    assert (workspace / ".env").read_text() == "KEY=2"
    assert not (workspace / "link").is_symlink()


def test_more_notes_than_fit_are_counted(snapshots: Snapshots, workspace: Path) -> None:
    for number in range(1005):
        (workspace / f"link{number}").symlink_to("x")
    notes = snapshots.take(workspace).notes
    assert (len(notes), notes[-1].why) == (1001, "5 more were left out")
