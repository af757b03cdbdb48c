"""What a run keeps for the process after it: whole or not there, private, gone with the run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from massgen_mcp.workspace.beneath import PART, PathRefused
from massgen_mcp.workspace.kept_folder import KEPT, KeptFolder
from massgen_mcp.workspace.run_folder import RunFolder, agent_writable, old_folders, sweep

ROOT = Path(__file__).parent.parent.parent
RUN = "20260101-0000-aaaaaa"


def _kept(state: Path, run_id: str = RUN, *, days: float = 0.0) -> Path:
    folder = KeptFolder(state, run_id)
    folder.write("a", b"1")
    moment = time.time() - days * 86_400
    os.utime(folder.path, (moment, moment))
    return folder.path


def test_a_file_is_read_as_it_was_written_and_the_last_one_counts(tmp_path: Path):
    kept = KeptFolder(tmp_path, RUN)
    assert (kept.read("a"), kept.has("a")) == (None, False)
    for data in (b"", b"\x00\n\xff" * 1000, b"2"):
        kept.write("a", data)
        assert KeptFolder(tmp_path, RUN).read("a") == data
    assert kept.has("a")


def test_nobody_else_can_read_it_and_no_agent_can_write_it(tmp_path: Path):
    folder = _kept(tmp_path / "state")
    modes = [
        path.stat().st_mode & 0o777 for path in (tmp_path / "state", folder.parent, folder, folder / "a")
    ]
    assert modes == [0o700, 0o700, 0o700, 0o600]
    assert not agent_writable(tmp_path / "state", folder)


def test_nothing_is_made_before_something_is_written(tmp_path: Path):
    run = RunFolder(tmp_path / "state", RUN)
    run.tidy()
    run.close()
    assert not (tmp_path / "state" / KEPT).exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", ".hidden", "x" * 101])
def test_no_name_leads_out(tmp_path: Path, name: str):
    with pytest.raises(PathRefused):
        KeptFolder(tmp_path, name)
    with pytest.raises(PathRefused):
        KeptFolder(tmp_path, RUN).write(name, b"")


@pytest.mark.parametrize("damaged", [slice(-1), slice(1, None), slice(0)])
def test_damage_is_found(tmp_path: Path, damaged: slice):
    file = _kept(tmp_path) / "a"
    file.write_bytes(file.read_bytes()[damaged])
    with pytest.raises(PathRefused, match="a is damaged"):
        KeptFolder(tmp_path, RUN).read("a")


def test_what_can_not_be_read_or_removed_is_said(tmp_path: Path):
    folder = _kept(tmp_path)
    (folder / "b").mkdir()
    with pytest.raises(PathRefused, match="folder"):
        KeptFolder(tmp_path, RUN).read("b")
    (tmp_path / "other" / KEPT).parent.mkdir()
    (tmp_path / "other" / KEPT).write_text("no folder")
    with pytest.raises(PathRefused, match="not a folder"):
        KeptFolder.remove(tmp_path / "other", RUN)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path):
    kept = KeptFolder(tmp_path, RUN)
    kept.write("a", b"1")
    with pytest.raises(TypeError):
        kept.write("a", "text")  # pyright: ignore[reportArgumentType] - what fails after the file was begun
    assert kept.read("a") == b"1"
    assert [path.name for path in kept.path.iterdir()] == ["a"]


_WRITER = """
import sys
from pathlib import Path
from massgen_mcp.workspace.kept_folder import KeptFolder
kept = KeptFolder(Path(sys.argv[1]), sys.argv[2])
for number in range(1_000_000):
    kept.write("a", b"%d " % number * 50_000)
    print(number, flush=True)
"""


def test_a_writer_that_is_killed_leaves_the_last_whole_file(tmp_path: Path):
    for _ in range(3):
        with subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", _WRITER, str(tmp_path), RUN], stdout=subprocess.PIPE, cwd=ROOT
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            told = int(process.stdout.readline())
            process.kill()
            told = max([told, *map(int, process.stdout.read().split())])
        kept = KeptFolder(tmp_path, RUN)
        data = kept.read("a")
        assert data in {b"%d " % number * 50_000 for number in (told, told + 1)}
        kept.tidy()
        assert [path.name for path in kept.path.iterdir()] == ["a"]


def test_it_goes_with_its_run_and_alone(tmp_path: Path):
    other = _kept(tmp_path, "other")
    with_folder, without = _kept(tmp_path), _kept(tmp_path, "text-only")
    RunFolder(tmp_path, RUN).close()
    for run_id in (RUN, "text-only", "unknown"):
        RunFolder.remove(tmp_path, run_id)
    assert (with_folder.exists(), without.exists(), other.exists()) == (False, False, True)
    assert list((tmp_path / KEPT).iterdir()) == [other]


def test_half_removed_folders_are_swept(tmp_path: Path):
    half, whole = _kept(tmp_path), _kept(tmp_path, "whole")
    half.rename(half.with_name(f"{PART}{RUN}-00"))
    sweep(tmp_path)
    assert list((tmp_path / KEPT).iterdir()) == [whole]


def test_a_run_is_as_old_as_the_newest_of_its_folders(tmp_path: Path):
    _kept(tmp_path, "alone", days=31)
    _kept(tmp_path, "fresh")
    _kept(tmp_path, "at-work", days=31)
    RunFolder(tmp_path, "at-work").close()
    (tmp_path / KEPT / ".odd").touch()
    assert old_folders(tmp_path, time.time() - 30 * 86_400) == ["alone"]
