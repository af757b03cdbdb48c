"""Ways out of a workspace, each tried with every operation it could work with.

Run as a program by root, it tries them all as an ordinary user: `python escapes.py UID FOLDER`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Generator
from pathlib import Path

from massgen_mcp.workspace import comparing, finding, moving, reading, writing
from massgen_mcp.workspace.areas import Areas, Context
from massgen_mcp.workspace.beneath import PathRefused, by_kernel, by_walk
from massgen_mcp.workspace.run_folder import RunFolder

SECRET = "the secret outside"
OPENERS = {"kernel": by_kernel, "walk": by_walk}


class World:
    """A workspace, and beside it what must not be reached."""

    def __init__(self, folder: Path, opener: Callable[..., int]) -> None:
        self.folder = folder
        self.workspace = folder / "ws1"
        self.workspace.mkdir()
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.secret = self.outside / "secret.txt"
        self.secret.write_text(SECRET)
        twin = folder / "ws1x"
        twin.mkdir()
        (twin / "secret.txt").write_text(SECRET)
        self.project = folder / "project"
        (self.project / "src" / "deep").mkdir(parents=True)
        (self.project / "src" / "main.py").write_text("print(1)\n")
        (self.project / "src" / "deep" / "keep.txt").write_text("keep")
        self.areas = Areas(
            self.workspace,
            [Context(path=self.project, write=True, protected=("src/deep",))],
            opener=opener,
        )
        self.before = self.state()

    def state(self) -> dict[str, str]:
        """Everything outside of the workspace."""
        return {
            str(path): path.read_text()
            for top in (self.outside, self.folder / "ws1x", self.project)
            for path in sorted(top.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    def link(self, name: str, target: Path | str) -> None:
        (self.workspace / name).symlink_to(target)

    def refused(self, path: str) -> None:
        """Every operation on that path is refused, shows nothing and changes nothing."""
        areas = self.areas
        tries: list[Callable[[], object]] = [
            lambda: reading.read(areas, path).lines,
            lambda: writing.write(areas, path, "overwritten"),
            lambda: writing.edit(areas, path, [("secret", "changed")]),
            lambda: moving.copy(areas, path, "stolen.txt"),
            lambda: comparing.compare_files(areas, path, path),
            lambda: finding.grep(areas, path, "secret").lines,
        ]
        for number, attempt in enumerate(tries):
            try:
                shown = attempt()
            except PathRefused:
                continue
            raise AssertionError(f"operation {number} on {path!r} went through: {shown!r}")
        assert self.state() == self.before

    def close(self) -> None:
        self.areas.close()


def parent_folders(world: World) -> None:
    for path in (
        "../outside/secret.txt",
        "a/../../outside/secret.txt",
        "..",
        "project/../../outside/secret.txt",
    ):
        world.refused(path)


def absolute_paths(world: World) -> None:
    world.refused(str(world.secret))
    world.refused("/etc/passwd")
    world.refused("//etc/passwd")


def sibling_with_the_same_beginning(world: World) -> None:
    world.refused(f"{world.workspace}x/secret.txt")


def symlink_to_a_file(world: World) -> None:
    world.link("link.txt", world.secret)
    world.refused("link.txt")


def symlink_to_a_folder(world: World) -> None:
    world.link("dir", world.outside)
    world.refused("dir/secret.txt")
    world.refused("dir/new.txt")
    assert not finding.search(world.areas, ".", "secret.txt").paths


def symlink_upwards(world: World) -> None:
    (world.workspace / "a").mkdir()
    (world.workspace / "a" / "up").symlink_to("../..")
    world.refused("a/up/outside/secret.txt")


def symlink_loop(world: World) -> None:
    world.link("loop", "loop")
    world.refused("loop")
    world.refused("loop/x")


def dangling_symlink_is_not_written_through(world: World) -> None:
    world.link("new", world.outside / "made.txt")
    world.refused("new")
    assert not (world.outside / "made.txt").exists()


def hardlink(world: World) -> None:
    os.link(world.secret, world.workspace / "hard.txt")
    world.refused("hard.txt")


def fifo(world: World) -> None:
    os.mkfifo(world.workspace / "pipe")
    world.refused("pipe")


def unix_socket(world: World) -> None:
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(world.workspace)  # a socket's path may be only so long
    try:
        server.bind("socket")
    finally:
        os.chdir(here)
        server.close()
    world.refused("socket")


def device(world: World) -> None:
    try:
        os.mknod(world.workspace / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:  # only root makes devices, and only outside of a container
        world.link("null", "/dev/null")
    world.refused("null")


def magic_links_of_proc(world: World) -> None:
    world.link("self", "/proc/self/root")
    world.link("cwd", "/proc/self/cwd")
    world.refused("self/etc/passwd")
    world.refused("cwd")
    world.refused("/proc/self/environ")
    for path in ("/proc", "/proc/self/fd"):
        with contextlib.suppress(PathRefused):
            Areas(world.workspace, [Context(path=Path(path))]).close()
            raise AssertionError(f"{path} can be shown to agents")


def names_that_mean_something_else(world: World) -> None:
    for name in (
        "~/secret",
        "~root/secret",
        "a\0b",
        "secret.txt.",
        "secret.txt ",
        "a /b",
        "\ud800",
        "a\nb",
        "",
        "x" * 256,
    ):
        world.refused(name)
    world.refused("/".join(["d" * 200] * 30))


def case_twin(world: World) -> None:
    (world.workspace / "Readme.md").write_text("mine")
    for path in ("README.md", "readme.MD"):
        try:
            writing.write(world.areas, path, "twin")
        except PathRefused as error:
            assert "Readme.md" in str(error)  # noqa: PT017 - also run without pytest
        else:
            raise AssertionError(path)
    assert [path.name for path in world.workspace.iterdir()] == ["Readme.md"]


def unicode_twin(world: World) -> None:
    composed, apart = (unicodedata.normalize(form, "ärger.txt") for form in ("NFC", "NFD"))
    (world.workspace / composed).write_text("mine")
    try:
        writing.write(world.areas, f"{apart}", "twin")
    except PathRefused:
        pass
    else:
        raise AssertionError("written beside its twin")


def protected_by_another_name(world: World) -> None:
    world.areas.begin(presents=True)
    for path in ("project/src/deep/keep.txt", "project/src/DEEP/keep.txt", "project/SRC/deep/new.txt"):
        try:
            writing.write(world.areas, path, "overwritten")
        except PathRefused:
            continue
        raise AssertionError(path)
    assert world.state() == world.before


def protected_when_its_parent_is_renamed(world: World) -> None:
    world.areas.begin(presents=True)
    tries: list[Callable[[], object]] = [
        lambda: moving.move(world.areas, "project/src", "project/other"),
        lambda: moving.move(world.areas, "project/src", "stolen"),
        lambda: moving.delete(world.areas, "project/src", recursive=True),
        lambda: moving.move(world.areas, "project/src/deep", "project/src/moved"),
    ]
    for attempt in tries:
        try:
            attempt()
        except PathRefused:
            continue
        raise AssertionError("moved or deleted what is protected")
    assert world.state() == world.before
    # A shell may have renamed the parent; the folder stays protected by what it is.
    (world.project / "src").rename(world.project / "other")
    after = world.state()
    later: list[Callable[[], object]] = [
        lambda: writing.write(world.areas, "project/other/deep/keep.txt", "overwritten"),
        lambda: writing.write(world.areas, "project/other/deep/new.txt", "new"),
        lambda: moving.delete(world.areas, "project/other", recursive=True),
        lambda: moving.delete(world.areas, "project/other/deep/keep.txt"),
        lambda: moving.move(world.areas, "project/other", "project/third"),
    ]
    for attempt in later:
        try:
            attempt()
        except PathRefused:
            continue
        raise AssertionError("changed what is protected after its parent was renamed")
    assert world.state() == after


def swap_between_check_and_use(world: World) -> None:
    """A thread swaps a folder for a link to outside, and a file for a link, as fast as it can."""
    real = world.workspace / "real"
    real.mkdir()
    (real / "secret.txt").write_text("harmless")
    (world.workspace / "folder").mkdir()
    (world.workspace / "folder" / "secret.txt").write_text("harmless")
    stop = threading.Event()

    def swap() -> None:
        link, folder, away = (world.workspace / name for name in ("link", "folder", "away"))
        while not stop.is_set():
            with contextlib.suppress(OSError):
                link.symlink_to(world.outside)
                folder.rename(away)
                link.rename(folder)
                folder.unlink()
                away.rename(folder)

    swapper = threading.Thread(target=swap, daemon=True)
    swapper.start()
    try:
        for number in range(150):
            with contextlib.suppress(PathRefused):
                assert reading.read(world.areas, "folder/secret.txt").lines != (SECRET,)
            with contextlib.suppress(PathRefused):
                writing.write(world.areas, "folder/secret.txt", f"harmless {number}")
            if number % 10 == 0:
                with contextlib.suppress(PathRefused):
                    found = finding.grep(world.areas, ".", "the secret").lines
                    assert not any(SECRET in line.text for line in found)
    finally:
        stop.set()
        swapper.join(10)
    assert world.state() == world.before


def what_is_shown_is_read_only_and_can_be_removed(world: World) -> None:
    (world.workspace / "sub").mkdir()
    (world.workspace / "sub" / "a.txt").write_text("mine")
    (world.workspace / "out").symlink_to(world.outside)
    run = RunFolder(world.folder / "state", "r1")
    taken = run.snapshots.take(world.workspace)
    shown = run.show("agent1.1", taken.id)
    world.areas.begin(shown={"agent1.1": shown})
    assert reading.read(world.areas, "answers/agent1.1/sub/a.txt").lines == ("mine",)
    assert {path.stat().st_mode & 0o222 for path in (shown, *shown.rglob("*"))} == {0}
    own = run.workspace("agent2")
    run.snapshots.restore(taken.id, own)
    (own / "sub" / "a.txt").write_text("theirs")
    run.snapshots.restore(taken.id, own)
    assert (own / "sub" / "a.txt").read_text() == "mine"
    run.snapshots.open(taken.id)
    run.snapshots.prune([])
    run.close()
    RunFolder.remove(world.folder / "state", "r1")
    assert not list((world.folder / "state" / "runs").iterdir())
    assert world.state() == world.before


ESCAPES: tuple[Callable[[World], None], ...] = (
    parent_folders,
    absolute_paths,
    sibling_with_the_same_beginning,
    symlink_to_a_file,
    symlink_to_a_folder,
    symlink_upwards,
    symlink_loop,
    dangling_symlink_is_not_written_through,
    hardlink,
    fifo,
    unix_socket,
    device,
    magic_links_of_proc,
    names_that_mean_something_else,
    case_twin,
    unicode_twin,
    protected_by_another_name,
    protected_when_its_parent_is_renamed,
    swap_between_check_and_use,
    what_is_shown_is_read_only_and_can_be_removed,
)


@contextlib.contextmanager
def world(folder: Path, opener: Callable[..., int]) -> Generator[World]:
    """A fresh one."""
    made = World(folder, opener)
    try:
        yield made
    finally:
        made.close()


def main() -> None:
    """Try everything as the user given."""
    uid, folder = int(sys.argv[1]), Path(sys.argv[2])
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    for name, opener in OPENERS.items():
        for escape in ESCAPES:
            with tempfile.TemporaryDirectory(dir=folder) as made, world(Path(made), opener) as there:
                escape(there)
            print(name, escape.__name__)  # noqa: T201 - for the test that started it


if __name__ == "__main__":
    main()
