"""What agents do with files: read, write, edit, list, move, copy, delete, find, compare."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from massgen_mcp.workspace import comparing, finding, moving, reading, writing
from massgen_mcp.workspace.areas import Areas, Context
from massgen_mcp.workspace.beneath import PathRefused, explained, put
from massgen_mcp.workspace.differing import diff
from massgen_mcp.workspace.names import folded, secret, split, twin
from massgen_mcp.workspace.trees import copy_tree, remove, walk


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def areas(tmp_path: Path, workspace: Path) -> Generator[Areas]:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "main.py").write_text("print(1)\n")
    (project / ".env").write_text("KEY=1\n")
    (project / ".git").mkdir()
    (project / ".git" / "HEAD").write_text("ref\n")
    seen = Areas(workspace, [Context(path=project, write=True)])
    yield seen
    seen.close()


# Reading


def test_a_file_is_read_by_lines_from_either_end(areas: Areas, workspace: Path) -> None:
    (workspace / "a.txt").write_text("".join(f"line {number}\n" for number in range(1, 11)))
    assert reading.read(areas, "a.txt").total == 10
    assert reading.read(areas, "a.txt", start=3, end=4).lines == ("line 3", "line 4")
    assert reading.read(areas, "a.txt", start=3, end=4).more == (5, 1)
    last = reading.read(areas, "a.txt", start=-2)
    assert (last.first, last.lines, last.more) == (9, ("line 9", "line 10"), None)
    assert reading.read(areas, "a.txt", start=-99).first == 1
    with pytest.raises(PathRefused, match=r"has 10 lines"):
        reading.read(areas, "a.txt", start=11)


@given(st.text("ab\né", max_size=60), st.integers(1, 9), st.integers(1, 4))
def test_reading_on_where_it_was_cut_gives_the_whole_file(text: str, room: int, lines: int) -> None:
    import tempfile  # noqa: PLC0415 - a fixture would be shared by all examples

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "f").write_text(text, encoding="utf-8", newline="")
        areas = Areas(Path(folder))
        pieces: list[str] = []
        at: tuple[int, int] | None = (1, 1)
        previous = 0
        while at is not None:
            start, character = at
            got = reading.read(
                areas, "f", start=start, character=character, max_lines=lines, max_characters=room
            )
            for number, line in enumerate(got.lines, got.first):
                pieces += ["" if number == previous or not previous else "\n", line]
                previous = number
            at = got.more
        areas.close()
    assert "".join(pieces) == text.removesuffix("\n")


def test_what_is_no_text_is_said_to_be_so(areas: Areas, workspace: Path) -> None:
    (workspace / "b.bin").write_bytes(b"\x7fELF\0\0")
    (workspace / "w.txt").write_bytes("hi".encode("utf-16"))
    (workspace / "l.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(PathRefused, match=r"binary .6 bytes"):
        reading.read(areas, "b.bin")
    with pytest.raises(PathRefused, match=r"UTF-16"):
        reading.read(areas, "w.txt")
    assert reading.read(areas, "l.txt").damaged
    with pytest.raises(PathRefused, match=r"is a folder"):
        reading.read(areas, ".")
    with pytest.raises(PathRefused, match=r"There is no nothing"):
        reading.read(areas, "nothing")


def test_a_very_long_line_is_read_in_pieces(areas: Areas, workspace: Path) -> None:
    (workspace / "min.js").write_text("x" * 100_000 + "\nlast\n")
    got = reading.read(areas, "min.js", max_characters=1000)
    assert (len(got.lines[0]), got.more) == (1000, (1, 1001))
    assert reading.read(areas, "min.js", start=2).lines == ("last",)


def test_listing_says_what_is_what(areas: Areas, workspace: Path) -> None:
    (workspace / "sub").mkdir()
    (workspace / "sub" / "inner.txt").write_text("12345")
    (workspace / "link").symlink_to("/etc")
    os.mkfifo(workspace / "pipe")
    (workspace / ".massgen-part-x").write_text("half")
    assert reading.listing(areas, ".").rows == (
        ("link (symbolic link, not followed)", None),
        ("pipe (special file)", None),
        ("sub/", None),
        ("project/", None),
    )
    assert ("sub/inner.txt", 5) in reading.listing(areas, ".", recursive=True).rows
    assert reading.listing(areas, ".", limit=1).cut


# Writing


def test_writing_makes_folders_and_keeps_the_mode(areas: Areas, workspace: Path) -> None:
    assert writing.write(areas, "a/b/run.sh", "echo 1\n")
    (workspace / "a" / "b" / "run.sh").chmod(0o755)
    assert not writing.write(areas, "a/b/run.sh", "echo 2\n")
    assert (workspace / "a" / "b" / "run.sh").read_text() == "echo 2\n"
    assert stat.S_IMODE((workspace / "a" / "b" / "run.sh").stat().st_mode) == 0o755
    assert [path.name for path in (workspace / "a" / "b").iterdir()] == ["run.sh"]


def test_a_write_that_fails_leaves_what_was_there(workspace: Path) -> None:
    (workspace / "f").write_text("old")

    def pieces() -> Generator[bytes]:
        yield b"new"
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = os.open(workspace, os.O_RDONLY)
    with pytest.raises(OSError, match=r"No space"):
        put(folder, "f", pieces())
    os.close(folder)
    assert (workspace / "f").read_text() == "old"
    assert [path.name for path in workspace.iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("path", "content", "why"),
    [
        ("answers/x", "x", "no answer"),
        ("Answers/x", "x", "is taken"),
        (".", "x", "itself can't be changed"),
        ("sub", "x", "is a folder"),
        ("file/x", "x", "not a folder"),
        ("a\\b", "x", "write '/'"),
        ("a\u202eb", "x", "invisible"),
        (".massgen-part-1", "x", "are taken"),
        ("/".join("d" * 40), "x", "deeper than 32"),
        ("x", "\ud800", "not valid Unicode"),
        ("project/.git/hooks/pre-commit", "x", "settings or instructions"),
        ("project/CLAUDE.md", "x", "settings or instructions"),
        ("project/.ENV.local", "x", "settings or instructions"),
        ("project/src/sitecustomize.py", "x", "settings or instructions"),
    ],
)
def test_what_may_not_be_written_is_refused_with_the_reason(
    areas: Areas, workspace: Path, path: str, content: str, why: str
) -> None:
    (workspace / "sub").mkdir()
    (workspace / "file").write_text("x")
    areas.begin(presents=True)
    with pytest.raises(PathRefused, match=why):
        writing.write(areas, path, content)


def test_too_much_is_not_written(areas: Areas) -> None:
    with pytest.raises(PathRefused, match=r"larger than"):
        writing.write(areas, "x", "x" * (writing.MAX_FILE + 1))
    writing.write(areas, "y", "x" * writing.MAX_FILE)
    with pytest.raises(PathRefused, match=r"would be larger"):
        writing.edit(areas, "y", [("x", "xx")], every=True)


def test_an_edit_replaces_exact_text_once(areas: Areas, workspace: Path) -> None:
    (workspace / "a.py").write_text("one\ntwo\ntwo\n")
    assert writing.edit(areas, "a.py", [("one", "1")]).lines == (1,)
    with pytest.raises(PathRefused, match=r"2 times, first in line 2"):
        writing.edit(areas, "a.py", [("two", "2")])
    assert writing.edit(areas, "a.py", [("two", "2")], every=True).count == 2
    assert (workspace / "a.py").read_text() == "1\n2\n2\n"


def test_an_edit_that_finds_nothing_says_where_it_may_be_meant(areas: Areas, workspace: Path) -> None:
    (workspace / "a.py").write_text("def f():\n    return 1\n")
    with pytest.raises(PathRefused, match=r"like line 2"):
        writing.edit(areas, "a.py", [("  return 1 \n", "x")])
    with pytest.raises(PathRefused, match=r"may have changed"):
        writing.edit(areas, "a.py", [("nowhere", "x")])
    with pytest.raises(PathRefused, match=r"is empty"):
        writing.edit(areas, "a.py", [("", "x")])
    with pytest.raises(PathRefused, match=r"There is no b.py"):
        writing.edit(areas, "b.py", [("a", "b")])


def test_an_edit_keeps_line_ends_and_bytes_it_does_not_know(areas: Areas, workspace: Path) -> None:
    (workspace / "w.txt").write_bytes(b"one\r\ntwo\r\n\xff")
    writing.edit(areas, "w.txt", [("one\ntwo", "1\n2")])
    assert (workspace / "w.txt").read_bytes() == b"1\r\n2\r\n\xff"


def test_folders_are_made_and_may_be_there(areas: Areas, workspace: Path) -> None:
    writing.create_directory(areas, "a/b")
    writing.create_directory(areas, "a/b")
    (workspace / "file").write_text("x")
    with pytest.raises(PathRefused, match=r"is no folder"):
        writing.create_directory(areas, "file")
    with pytest.raises(PathRefused, match=r"already"):
        writing.create_directory(areas, "A/c")


# Moving, copying, deleting


def test_moving_and_copying_go_only_where_nothing_is(areas: Areas, workspace: Path) -> None:
    (workspace / "a.txt").write_text("a")
    (workspace / "b.txt").write_text("b")
    for operation in (moving.move, moving.copy):
        with pytest.raises(PathRefused, match=r"there already"):
            operation(areas, "a.txt", "b.txt")
    moving.move(areas, "a.txt", "A.txt")
    moving.move(areas, "A.txt", "sub/a.txt")
    assert moving.copy(areas, "sub", "copied") == (1, 1)
    assert (workspace / "copied" / "a.txt").read_text() == "a"
    with pytest.raises(PathRefused, match=r"can't go into itself"):
        moving.copy(areas, "sub", "sub/inner")
    with pytest.raises(PathRefused, match=r"There is no nothing"):
        moving.move(areas, "nothing", "x")
    with pytest.raises(PathRefused, match=r"already"):
        moving.move(areas, "b.txt", "SUB")
    with pytest.raises(PathRefused, match=r"There is no gone"):
        moving.move(areas, "gone/x", "y")


def test_a_folder_with_a_link_in_it_is_not_copied_nor_moved_elsewhere(areas: Areas, workspace: Path) -> None:
    (workspace / "sub").mkdir()
    (workspace / "sub" / "link").symlink_to("/etc/passwd")
    for operation in (moving.copy, moving.move):
        with pytest.raises(PathRefused, match=r"link"):
            operation(areas, "sub", f"else/{operation.__name__}")
    assert (workspace / "sub" / "link").is_symlink()


def test_a_folder_goes_between_project_and_workspace_without_keys_or_settings(
    areas: Areas, workspace: Path, tmp_path: Path
) -> None:
    assert moving.copy(areas, "project/src", "src") == (1, 9)
    with pytest.raises(PathRefused, match=r"keys or passwords"):
        moving.copy(areas, "project", "all")
    areas.begin(presents=True)
    (workspace / "new").mkdir()
    (workspace / "new" / ".mcp.json").write_text("{}")
    with pytest.raises(PathRefused, match=r"settings or instructions"):
        moving.copy(areas, "new", "project/new")
    with pytest.raises(PathRefused, match=r"settings or instructions"):
        moving.delete(areas, "project/.git", recursive=True)
    (workspace / "new" / ".mcp.json").unlink()
    moving.copy(areas, "new", "project/new")
    moving.delete(areas, "project/new")
    assert not (tmp_path / "project" / "new").exists()


def test_deleting_a_full_folder_needs_a_word(areas: Areas, workspace: Path) -> None:
    (workspace / "sub" / "deep").mkdir(parents=True)
    (workspace / "sub" / "deep" / "f").write_text("x")
    (workspace / "sub" / "out").symlink_to("/etc")
    (workspace / "sub" / "deep").chmod(0o500)
    with pytest.raises(PathRefused, match=r"Set recursive"):
        moving.delete(areas, "sub")
    moving.delete(areas, "sub", recursive=True)
    with pytest.raises(PathRefused, match=r"There is no sub"):
        moving.delete(areas, "sub")
    assert [path.name for path in workspace.iterdir()] == []


def test_a_tree_deeper_than_any_path_is_removed(areas: Areas, workspace: Path) -> None:
    here = os.open(workspace, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    with pytest.raises(PathRefused, match=r"folders below each other"):
        moving.copy(areas, "d", "e")
    moving.delete(areas, "d", recursive=True)
    moving.delete(areas, "e", recursive=True)
    assert [path.name for path in workspace.iterdir()] == []


# Finding and comparing


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.py", "a/b/c.py", True),
        ("a/*.py", "a/b/c.py", False),
        ("a/**/*.py", "a/b/c.py", True),
        ("a/**/*.py", "a/c.py", True),
        ("**", "a/b", True),
        ("**/b", "b", True),
        ("*.{js,ts}", "x.ts", True),
        ("*.{js", "x.{js", True),
        ("/a/b/", "a/b", True),
        ("[ab].txt", "b.txt", True),
        ("{a,b}" * 20, "a" * 20, False),
    ],
)
def test_globs_match_as_people_expect(pattern: str, path: str, fits: bool) -> None:  # noqa: FBT001
    assert finding.matches(pattern, path) is fits


def test_searching_finds_names_and_stops_at_its_limits(areas: Areas, workspace: Path) -> None:
    for name in ("a.py", "sub/b.py", "node_modules/c.py"):
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_text("x")
    assert finding.search(areas, ".", "*.py").paths == ("a.py", "sub/b.py")
    assert finding.search(areas, "project", "*.py").paths == ("project/src/main.py",)
    assert finding.search(areas, ".", "*", limit=1).stopped == "only the first 1 are shown"
    assert finding.search(areas, ".", "*", spent=finding.Spent(files=1)).stopped == "too many files"
    late = finding.Spent(clock=iter(range(0, 1000, 9)).__next__)
    assert finding.search(areas, ".", "*", spent=late).stopped == "it took too long"
    with pytest.raises(PathRefused, match=r"There is no nothing"):
        finding.search(areas, "nothing", "*")


def test_grep_shows_matches_with_their_neighbours(areas: Areas, workspace: Path) -> None:
    (workspace / "a.txt").write_text("one\ntwo\nthree\nfour\nfive\r\n")
    (workspace / "b.bin").write_bytes(b"two\0")
    found = finding.grep(areas, ".", "t[wh]", context=1).lines
    assert [(line.number, line.hit) for line in found] == [(1, False), (2, True), (3, True), (4, False)]
    assert [line.text for line in finding.grep(areas, "a.txt", "FIVE$", ignore_case=True).lines] == ["five"]
    assert finding.grep(areas, ".", "t", limit=1).stopped == "only the first 1 matches are shown"
    assert not finding.grep(areas, ".", "two", glob="*.py").lines
    assert not finding.grep(areas, "project", "KEY").lines
    assert finding.grep(areas, ".", "e", spent=finding.Spent(size=1)).stopped == "too many bytes"
    with pytest.raises(PathRefused, match=r"keys or passwords"):
        finding.grep(areas, "project/.env", "KEY")
    with pytest.raises(PathRefused, match=r"There is no nothing"):
        finding.grep(areas, "nothing", "x")


def test_files_and_folders_are_compared(areas: Areas, workspace: Path) -> None:
    moving.copy(areas, "project/src", "src")
    assert comparing.compare_files(areas, "src/main.py", "project/src/main.py") is None
    assert not list(comparing.compare_folders(areas, "src", "project/src"))
    (workspace / "src" / "main.py").write_text("print(2)\n")
    (workspace / "src" / "new.py").write_text("x")
    (workspace / "src" / "sub").mkdir()
    found = comparing.compare_files(areas, "project/src/main.py", "src/main.py")
    assert found is not None
    assert "-print(1)\n+print(2)\n" in found.text
    assert list(comparing.compare_folders(areas, "src", "project/src")) == [
        ("main.py", "differs"),
        ("new.py", "only in src"),
        ("sub", "only in src"),
    ]
    assert comparing.is_folder(areas, "src")


def test_two_files_of_one_size_are_told_apart(areas: Areas, workspace: Path) -> None:
    for name in ("one", "two"):
        (workspace / name).mkdir()
        (workspace / name / "f").write_text(name)
    assert list(comparing.compare_folders(areas, "one", "two")) == [("f", "differs")]


# Diffs and names

_LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d"]), max_size=12).map("".join)


def _patched(old: str, text: str) -> str:
    """The old text with a unified diff applied, by the book."""
    before, after, position = old.split("\n"), list[str](), 0
    if before[-1] == "":
        before.pop()
    lines = [line for line in text.split("\n")[2:] if line]
    cut = False
    for number, line in enumerate(lines):
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            at = int(start) - (1 if count != "0" else 0)
            after += before[position:at]
            position = at
        elif line.startswith("\\"):
            cut = cut or not lines[number - 1].startswith("-")
        else:
            after += [] if line[0] == "-" else [line[1:]]
            position += line[0] != "+"
    rest = before[position:]
    ended = old.endswith("\n") if rest else not cut
    return "\n".join([*after, *rest]) + ("\n" if (after or rest) and ended else "")


@given(_LINES, _LINES)
def test_a_diff_leads_from_one_text_to_the_other(old: str, new: str) -> None:
    found = diff(old.encode(), new.encode(), "f")
    if old == new:
        assert found.text == ""
    elif "\\" not in found.text:
        assert _patched(old, found.text) == new
    assert found.added - found.removed == len(new.splitlines()) - len(old.splitlines())


def test_a_diff_of_much_is_cut_and_of_very_different_texts_coarse() -> None:
    old, new = ("".join(f"{word} {number}\n" for number in range(3000)) for word in ("old", "new"))
    found = diff(old.encode(), new.encode(), "f", limit=1000)
    assert (found.added, found.removed) == (3000, 3000)
    assert found.text.endswith("[the diff goes on; it is longer than 1,000 characters]\n")
    assert (
        diff(None, b"x", "f").text
        == "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file\n"
    )
    assert diff(b"\xff", b"x", "f").text == ""


@given(st.text(max_size=40))
def test_any_text_is_a_safe_path_or_refused(text: str) -> None:
    try:
        _, parts = split(text)
    except PathRefused:
        return
    assert not {"", ".", ".."} & set(parts)
    assert not any("/" in part or "\0" in part or part[-1] in ". " for part in parts)


@given(st.text(min_size=1, max_size=10))
def test_a_name_is_the_twin_of_its_other_forms_alone(name: str) -> None:
    assert folded(folded(name)) == folded(name)
    assert twin(name, [name]) == ""
    assert twin(name, [f"{name}x"]) == ""
    if name.swapcase().swapcase() == name != name.swapcase() and folded(name) == folded(name.swapcase()):
        assert twin(name, [name.swapcase()]) == name.swapcase()


@pytest.mark.parametrize(
    ("path", "keeps"),
    [
        (".env", True),
        (".ENV.production", True),
        (".env.example", False),
        ("a/.ssh/known_hosts", True),
        ("id_ed25519", True),
        ("id_ed25519.pub", False),
        ("id_work", True),
        ("id_map.py", False),
        (".docker/config.json", True),
        ("docker/config.json", False),
        ("cert.PEM", True),
        ("src/main.py", False),
    ],
)
def test_files_that_keep_keys_are_known_by_name(path: str, keeps: bool) -> None:  # noqa: FBT001
    assert secret(tuple(path.split("/"))) is keeps


def test_every_failure_of_the_system_is_put_into_words() -> None:
    assert str(explained(OSError(errno.ENOSPC, "x"), "a")) == "a: the disk is full."
    assert str(explained(OSError(errno.EIO, "Input/output error"), "a")) == "a: Input/output error."
    assert explained(OSError(errno.ENOENT, "x"), "").kind == "missing"


def test_what_is_too_much_to_copy_or_compare_is_refused(workspace: Path) -> None:
    (workspace / "a").mkdir()
    for name in ("1", "2"):
        (workspace / "a" / name).write_text("12345")
    source, target = (os.open(workspace / name, os.O_RDONLY) for name in ("a", "."))
    with pytest.raises(PathRefused, match="too many files"):
        copy_tree(source, target, linked=False, limit=100, files=1)
    with pytest.raises(PathRefused, match="too much"):
        copy_tree(source, target, linked=False, limit=9, files=9)
    spared = frozenset({(workspace / "a" / "2").stat().st_ino})
    with pytest.raises(PathRefused, match="protected"):
        remove(target, "a", spare=spared)
    assert (workspace / "a" / "2").exists()
    remove(target, "nothing")
    for descriptor in (source, target):
        os.close(descriptor)


def test_comparing_sees_what_is_no_file(areas: Areas, workspace: Path) -> None:
    for name in ("one", "two"):
        (workspace / name).mkdir()
        (workspace / name / "link").symlink_to("x")
        (workspace / name / "folder").mkdir()
    os.link(workspace / "one" / "link", workspace / "two" / "also", follow_symlinks=False)
    (workspace / "one" / "f").write_text("x")
    (workspace / "two" / "f").write_text("x")
    os.link(workspace / "two" / "f", workspace / "hard")
    assert list(comparing.compare_folders(areas, "one", "two")) == [
        ("also", "only in two"),
        ("f", "differs"),
    ]


def test_a_file_that_goes_away_while_it_is_looked_for_is_no_failure(workspace: Path) -> None:
    (workspace / "sub").mkdir()
    (workspace / "f").write_text("x")
    folder = os.open(workspace, os.O_RDONLY)
    seen: list[str] = []
    for entry in walk(folder):
        seen.append(entry.name)
        if entry.name == "f":
            (workspace / "sub").rmdir()
    os.close(folder)
    assert seen == ["f", "sub"]
