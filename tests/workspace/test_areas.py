"""What an agent sees, how it is called, who may write where, and what a presenter has changed."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from massgen_mcp.secrets import Secrets
from massgen_mcp.workspace import finding, moving, reading, writing
from massgen_mcp.workspace.apply import applied, baseline, keep_baseline, load_baseline
from massgen_mcp.workspace.areas import Areas, Context, check_context, context_name
from massgen_mcp.workspace.beneath import PathRefused, unusable
from massgen_mcp.workspace.mounts import mounts
from massgen_mcp.workspace.run_folder import RunFolder, agent_writable, sweep


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "src" / "vendor").mkdir(parents=True)
    (folder / "src" / "main.py").write_text("print(1)\n")
    (folder / "src" / "vendor" / "lib.py").write_text("lib\n")
    (folder / "README.md").write_text("hello\n")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Generator[RunFolder]:
    folder = RunFolder(tmp_path / "state", "20261122-0241-k7f3qx", secrets=Secrets())
    yield folder
    folder.close()


def open_areas(run: RunFolder, *contexts: Context) -> Areas:
    return Areas(run.workspace("agent1"), contexts)


# How things are called


def test_every_way_to_write_a_path_leads_to_the_same_place(run: RunFolder, project: Path) -> None:
    areas = open_areas(run, Context(path=project))
    (areas.workspace.host / "a.txt").write_text("mine")
    shown = run.show("agent2.1", run.snapshots.take(areas.workspace.root).id)
    areas.begin(shown={"agent2.1": shown})
    for path in (
        "a.txt",
        "./a.txt",
        "${cwd}/a.txt",
        f"{areas.workspace.host}/a.txt",
        "//".join(("", *areas.workspace.host.parts[1:], "a.txt")),
    ):
        assert areas.place(path).shown == "a.txt"
    assert reading.read(areas, "answers/agent2.1/a.txt").lines == ("mine",)
    assert areas.place(f"{shown}/a.txt").shown == "answers/agent2.1/a.txt"
    assert areas.place(f"{project}/src/main.py").shown == "project/src/main.py"
    assert areas.place("${cwd}").shown == "."
    areas.close()


def test_the_deepest_context_decides_and_a_file_is_one_alone(run: RunFolder, project: Path) -> None:
    areas = open_areas(
        run,
        Context(path=project, write=True),
        Context(path=project / "src" / "vendor", name="src/vendor"),
        Context(path=project / "README.md", name="README.md"),
    )
    areas.begin(presents=True)
    writing.write(areas, "project/src/new.py", "new\n")
    for path in ("project/src/vendor/lib.py", "project/README.md"):
        with pytest.raises(PathRefused, match=r"read-only"):
            writing.write(areas, path, "x")
    with pytest.raises(PathRefused, match=r"holds what is"):
        moving.delete(areas, "project/src", recursive=True)
    assert reading.read(areas, "project/README.md").lines == ("hello",)
    with pytest.raises(PathRefused, match=r"is a file, not a folder"):
        areas.place("project/README.md/x")
    areas.close()


def test_lists_of_places_can_be_listed_and_searched_but_not_used(run: RunFolder, project: Path) -> None:
    areas = open_areas(
        run, Context(path=project / "src", name="src"), Context(path=project / "README.md", name="README.md")
    )
    taken = run.snapshots.take(areas.workspace.root).id
    areas.begin(shown=run.shown({"agent1.1": taken, "agent2.1": taken, "agent3.1": ""}))
    assert areas.labels == ("agent1.1", "agent2.1")
    assert reading.listing(areas, "answers").rows == (
        ("answers/agent1.1/", None),
        ("answers/agent2.1/", None),
    )
    assert reading.listing(areas, "project").rows == (("project/src/", None), ("project/README.md", None))
    assert reading.listing(areas, ".").rows == (
        ("answers/", None),
        ("project/src/", None),
        ("project/README.md", None),
    )
    assert finding.search(areas, "project", "*.py").paths == (
        "project/src/main.py",
        "project/src/vendor/lib.py",
    )
    assert [line.path for line in finding.grep(areas, "project", "hello").lines] == ["project/README.md"]
    with pytest.raises(PathRefused, match=r"Name one of them: answers/agent1.1, answers/agent2.1"):
        areas.place("answers")
    with pytest.raises(PathRefused, match=r"Name one of them: project/src, project/README.md"):
        areas.place("project")
    with pytest.raises(PathRefused, match=r"you see project/src, project/README.md"):
        areas.place("project/other")
    with pytest.raises(PathRefused, match=r"Besides you see answers/, project/src"):
        areas.place("/nowhere")
    with pytest.raises(PathRefused, match=r"Shown now: agent1.1, agent2.1"):
        areas.place("answers/agent9.9/x")
    areas.close()


def test_without_a_project_its_name_is_free(run: RunFolder) -> None:
    areas = open_areas(run)
    writing.write(areas, "project/x", "x")
    assert reading.read(areas, "project/x").lines == ("x",)
    with pytest.raises(PathRefused, match=r"nothing now"):
        areas.place("answers")
    areas.close()


# Who may write


def test_the_project_is_written_by_the_presenter_alone(run: RunFolder, project: Path) -> None:
    areas = open_areas(run, Context(path=project, write=True))
    with pytest.raises(PathRefused, match=r"until the final answer is presented"):
        writing.write(areas, "project/new.py", "x")
    areas.begin(presents=True)
    writing.write(areas, "project/new.py", "x")
    assert (project / "new.py").stat().st_mode & 0o777 == 0o644
    areas.begin()
    with pytest.raises(PathRefused, match=r"until the final answer is presented"):
        moving.delete(areas, "project/new.py")
    areas.close()


def test_answers_are_never_written(run: RunFolder) -> None:
    areas = open_areas(run)
    writing.write(areas, "a.txt", "mine")
    taken = run.snapshots.take(areas.workspace.root).id
    areas.begin(presents=True, shown=run.shown({"agent1.1": taken}))
    for operation in (
        lambda: writing.write(areas, "answers/agent1.1/a.txt", "x"),
        lambda: writing.edit(areas, "answers/agent1.1/a.txt", [("mine", "x")]),
        lambda: moving.delete(areas, "answers/agent1.1/a.txt"),
        lambda: moving.move(areas, "answers/agent1.1/a.txt", "b.txt"),
    ):
        with pytest.raises(PathRefused, match=r"can't be changed"):
            operation()
    moving.copy(areas, "answers/agent1.1", "theirs")
    writing.edit(areas, "theirs/a.txt", [("mine", "ours")])
    assert run.snapshots.read(taken, "a.txt") == b"mine"
    areas.close()


@pytest.mark.parametrize("protected", ["src/secrets", "secrets", "{}/src/secrets"])
def test_a_protected_path_may_be_given_from_the_project_the_context_or_the_root(
    run: RunFolder, project: Path, protected: str
) -> None:
    (project / "src" / "secrets").mkdir()
    areas = open_areas(
        run,
        Context(path=project / "src", name="src", write=True, protected=(protected.format(project),)),
    )
    areas.begin(presents=True)
    with pytest.raises(PathRefused, match=r"protected"):
        writing.write(areas, "project/src/secrets/x", "x")
    with pytest.raises(PathRefused, match=r"protected"):
        writing.write(areas, "project/src/Secrets/x", "x")
    areas.close()


def test_what_is_protected_need_not_be_there_yet(run: RunFolder, project: Path) -> None:
    areas = open_areas(run, Context(path=project, write=True, protected=("later",)))
    areas.begin(presents=True)
    with pytest.raises(PathRefused, match=r"protected"):
        writing.create_directory(areas, "project/later")
    writing.write(areas, "project/sooner", "x")
    areas.close()


def test_a_protected_path_outside_of_its_context_is_a_mistake(run: RunFolder, project: Path) -> None:
    with pytest.raises(PathRefused, match=r"nothing would be protected"):
        open_areas(run, Context(path=project / "src", write=True, protected=("../README.md",)))


def test_a_protected_file_stays_so_under_another_name(run: RunFolder, project: Path) -> None:
    areas = open_areas(run, Context(path=project, write=True, protected=("src/main.py",)))
    areas.begin(presents=True)
    (project / "src" / "main.py").rename(project / "other.py")
    for operation in (
        lambda: writing.write(areas, "project/other.py", "x"),
        lambda: writing.edit(areas, "project/other.py", [("1", "2")]),
        lambda: moving.move(areas, "project/other.py", "project/third.py"),
    ):
        with pytest.raises(PathRefused, match=r"protected"):
            operation()
    areas.close()


def test_a_program_gets_the_same_rights(run: RunFolder, project: Path) -> None:
    (project / "keep").mkdir()
    (project / "keep" / "file").touch()
    areas = open_areas(
        run,
        Context(path=project, write=True, protected=("keep", "not there")),
        Context(path=project / "README.md", name="README.md"),
    )
    taken = run.snapshots.take(areas.workspace.root).id
    shown = run.shown({"agent1.1": taken})
    areas.begin(shown=shown)
    before = areas.confinement()
    assert before.write == (areas.workspace.host,)
    assert set(before.read) == {shown["agent1.1"], project, project / "README.md"}
    areas.begin(presents=True)
    presenting = areas.confinement(guarded=[project / ".git"])
    assert presenting.write == (areas.workspace.host, project)
    assert set(presenting.read) == {project / "keep", project / "README.md", project / ".git"}
    areas.close()


def test_a_program_of_the_presenter_can_not_make_what_is_protected_and_nothing_is_left_of_that(
    run: RunFolder, project: Path
) -> None:
    absent = (project / "later", project / "src" / "gen")
    areas = open_areas(
        run,
        Context(
            path=project, write=True, protected=("later", "src/gen/deep", "src/vendor", "src/vendor/none")
        ),
    )
    assert areas.confinement().absent == (), "before its turn the whole project is read-only"
    areas.begin(presents=True)
    assert areas.confinement().absent == absent
    for path in absent:
        path.mkdir()  # as a sandbox does
    assert areas.confinement().absent == absent, "in the same turn nothing changes"
    assert areas.confinement().read == (project / "src" / "vendor",), "below it nothing can be made anyway"
    keep_baseline(baseline(areas, run.snapshots), areas, run.kept, "agent1")

    areas.begin()
    assert areas.confinement().absent == ()
    assert not any(path.exists() for path in absent)
    (project / "later").mkdir()
    load_baseline(areas, run.snapshots, run.kept, "agent1")
    assert not (project / "later").exists(), "the process of that turn was killed in it"
    (project / "later").mkdir()
    (project / "later" / "file").write_text("of the operator")
    areas.clear_away(absent)
    areas.clear_away([Path("/nowhere"), project])
    assert (project / "later" / "file").exists()
    areas.close()


def test_what_nobody_could_make_needs_no_protection(run: RunFolder, project: Path) -> None:
    areas = open_areas(run, Context(path=project, write=True, protected=("src/later",)))
    guard = areas.project[0].guard
    assert [*guard.absent()] == [project / "src" / "later"]
    (project / "src" / "later").symlink_to("nowhere")
    assert [*guard.absent()] == [], "a link is there, wherever it leads"
    areas.close()


def test_what_nobody_could_make_has_no_folder_put_in_its_place(run: RunFolder, project: Path) -> None:
    (project / ".git").mkdir()
    (project / ".aws").mkdir()
    (project / "src" / ".env").touch()
    protected = (".git/hooks", ".aws/credentials", "README.md/none", "src/vendor/none", "new/er", "new")
    areas = open_areas(
        run,
        Context(path=project, write=True, protected=(*protected, "src/.env/none")),
        Context(path=project / "src" / "vendor", name="src/vendor"),
        Context(path=project / "src" / "main.py", name="src/main.py", write=True, protected=("none",)),
    )
    areas.look_for_keys()
    areas.begin(presents=True)

    within = areas.confinement(guarded=[project / ".git"])

    assert within.absent == (project / "new",), "below the rest all is read-only, hidden, or no folder"
    (project / ".git" / "hooks").mkdir()
    areas.close()
    assert (project / ".git" / "hooks").is_dir(), "of the operator"


def test_what_is_protected_and_appears_in_the_turn_is_read_only_from_then_on(
    run: RunFolder, project: Path
) -> None:
    areas = open_areas(run, Context(path=project, write=True, protected=("later", "new/er", "gone")))
    (project / "gone").touch()
    areas.begin(presents=True)
    assert areas.confinement().absent == (project / "later", project / "new")

    for name in ("later", "new"):
        (project / name).mkdir()  # as a sandbox does
        assert areas.confinement().absent == (project / "later", project / "new")
    (project / "later").rmdir()
    (project / "later").write_text("of the operator")
    (project / "new" / "other").touch()
    (project / "gone").unlink()
    within = areas.confinement()
    assert within.read == (project / "later",)
    assert within.absent == (project / "new" / "er", project / "gone")

    areas.close()
    assert (project / "later").read_text() == "of the operator"


def test_what_another_run_s_sandbox_left_protects_nothing_but_is_left_to_that_run(
    run: RunFolder, project: Path, tmp_path: Path
) -> None:
    place = project / "later"
    place.mkdir()  # as the other's sandbox does
    areas = open_areas(run, Context(path=project, write=True, protected=("later",)))
    areas.begin(presents=True)
    assert areas.confinement().absent == (place,)
    areas.begin()
    assert place.is_dir(), "it may as well be the operator's"

    areas.begin(presents=True)
    place.rmdir()
    assert areas.confinement().absent == (place,)
    place.mkdir()  # as ours does
    areas.close()
    assert not place.exists()


def test_a_link_that_took_the_place_of_a_folder_around_what_is_protected_is_not_overlooked(
    run: RunFolder, project: Path
) -> None:
    areas = open_areas(run, Context(path=project, write=True, protected=("src/vendor/none",)))
    areas.begin(presents=True)
    (project / "src" / "vendor").rename(project / "aside")
    (project / "src" / "vendor").symlink_to("nowhere")
    with pytest.raises(ValueError, match="is a link"):
        mounts(areas.confinement())
    areas.close()


def test_shown_folders_are_kept_open_from_turn_to_turn(run: RunFolder) -> None:
    areas = open_areas(run)
    shown = run.shown({"agent1.1": run.snapshots.take(areas.workspace.root).id})
    areas.begin(shown=shown)
    held = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        areas.begin(shown=shown)
    assert not held or len(list(Path("/proc/self/fd").iterdir())) == held
    areas.close()


def test_a_folder_that_is_not_there_is_refused(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(PathRefused, match=r"There is no"):
        open_areas(run, Context(path=tmp_path / "nothing"))
    areas = open_areas(run)
    with pytest.raises(PathRefused, match=r"There is no"):
        areas.begin(shown={"agent1.1": tmp_path / "nothing"})
    areas.close()


# Contexts


def test_context_names_are_where_they_lie_in_the_project(tmp_path: Path) -> None:
    assert context_name("src/lib", tmp_path) == "src/lib"
    assert context_name(".", tmp_path) == ""
    assert context_name(str(tmp_path / "a"), tmp_path) == "a"
    assert context_name("/data/papers", tmp_path) == "papers"
    assert context_name("papers", None) == "papers"


def test_too_wide_or_private_contexts_are_refused(tmp_path: Path, project: Path) -> None:
    state = tmp_path / "state"
    for path in (Path("/"), tmp_path, state, state / "runs"):
        with pytest.raises(PathRefused):
            check_context(path, home=tmp_path, private=[state])
    (tmp_path / "link").symlink_to(state)
    with pytest.raises(PathRefused, match=r"overlaps"):
        check_context(tmp_path / "link", home=tmp_path, private=[state])
    check_context(project, home=tmp_path, private=[state])


# Run folders


def test_a_run_folder_is_private_and_named_as_the_team_says(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "state", "r1", snapshot_storage="my/snaps", temporary="/abs/temps")
    workspace = run.workspace("agent1", "work/one")
    assert workspace == tmp_path / "state/runs/r1/workspaces/agent1/work/one"
    assert (run.path / "my" / "snaps" / "objects").is_dir()
    assert (run.path / "temps").is_dir()
    assert {path.stat().st_mode & 0o077 for path in (run.path, workspace, run.scratch, run.path.parent)} == {
        0
    }
    run.close()


def test_folders_of_a_run_may_lie_side_by_side_in_one(tmp_path: Path) -> None:
    names = {"snapshot_storage": ".massgen/snapshots", "temporary": ".massgen/temp_workspaces"}
    run = RunFolder(tmp_path / "state", "r1", **names)  # pyright: ignore[reportArgumentType] - only names
    assert (run.path / ".massgen/snapshots/objects").is_dir()
    assert run.temporary == run.path / ".massgen/temp_workspaces"
    run.tidy()
    assert (run.path / ".massgen/snapshots/objects").is_dir()
    run.close()


@pytest.mark.parametrize(
    ("run_id", "names"),
    [
        ("../x", {}),
        ("", {}),
        ("r", {"snapshot_storage": "../up"}),
        ("r", {"temporary": "workspaces/x"}),
        ("r", {"temporary": "snapshots/x"}),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, run_id: str, names: dict[str, str]) -> None:
    with pytest.raises(PathRefused):
        RunFolder(tmp_path / "state", run_id, **names)  # pyright: ignore[reportArgumentType] - only names
    with pytest.raises(PathRefused):
        RunFolder.remove(tmp_path, "..")


@pytest.mark.parametrize("name", ["..", "a/../..", "~/x", ".", "a\0b"])
def test_a_workspace_stays_in_its_run(run: RunFolder, name: str) -> None:
    with pytest.raises(PathRefused):
        run.workspace("agent1", name)
    with pytest.raises(PathRefused):
        run.workspace("../agent1")


def test_a_run_is_removed_whole_without_following_links(tmp_path: Path, project: Path) -> None:
    run = RunFolder(tmp_path / "state", "r1")
    workspace = run.workspace("agent1")
    (workspace / "out").symlink_to(project)
    (workspace / "locked").mkdir(mode=0o000)
    run.show("agent1.1", run.snapshots.take(workspace).id)
    run.close()
    assert agent_writable(tmp_path / "state", workspace / "team.yaml")
    assert not agent_writable(tmp_path / "state", project)
    RunFolder.remove(tmp_path / "state", "r1")
    RunFolder.remove(tmp_path / "state", "r1")
    RunFolder.remove(tmp_path / "nothing", "r1")
    assert [path.name for path in (tmp_path / "state" / "runs").iterdir()] == []
    assert (project / "README.md").exists()
    (tmp_path / "state" / "runs" / ".massgen-part-r2").mkdir()
    sweep(tmp_path / "state")
    sweep(tmp_path / "nothing")
    assert [path.name for path in (tmp_path / "state" / "runs").iterdir()] == []


def test_a_winners_workspace_is_handed_on_in_a_run_and_to_the_next(run: RunFolder, tmp_path: Path) -> None:
    (run.workspace("agent1") / "a.txt").write_text("won")
    won = run.snapshots.take(run.workspace("agent1")).id
    (run.workspace("agent2") / "mine.txt").write_text("lost")
    folder = run.workspace("agent2")
    run.snapshots.restore(won, folder)
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    following = RunFolder(tmp_path / "state", "r2")
    with RunFolder.snapshots_of(tmp_path / "state", run.path.name) as earlier:
        earlier.restore(won, following.workspace("agent1"))
    assert (following.workspace("agent1") / "a.txt").read_text() == "won"
    following.close()


# What the presenter changed


def test_the_presenters_changes_are_told_whatever_made_them(run: RunFolder, project: Path) -> None:
    (project / ".git").mkdir()
    (project / ".git" / "config").write_text("x")
    areas = open_areas(
        run,
        Context(path=project, write=True),
        Context(path=project / "src" / "main.py", name="src/main.py", write=True),
        Context(path=project / "src" / "vendor", name="src/vendor"),
    )
    before = baseline(areas, run.snapshots)
    assert before.guarded == (project / ".git",)
    areas.begin(presents=True)
    assert applied(areas, run.snapshots, before).changes == ()
    writing.edit(areas, "project/src/main.py", [("1", "2")])
    (project / "README.md").unlink()
    (project / ".mcp.json").write_text("{}")
    (project / ".env").write_text("x")
    done = applied(areas, run.snapshots, before)
    assert {(change.path, change.kind, change.added, change.removed) for change in done.changes} == {
        ("project/README.md", "removed", 0, 1),
        ("project/src/main.py", "changed", 1, 1),
    }
    assert done.changes[-1].diff.startswith("--- a/src/main.py\n+++ b/src/main.py\n")
    assert len(done.warnings) == 2
    assert done.warnings[0].startswith("project/.env is new or changed, and not among the changes shown")
    areas.close()


def test_a_context_that_is_one_file_tells_its_change_alone(run: RunFolder, project: Path) -> None:
    areas = open_areas(run, Context(path=project / "README.md", name="README.md", write=True))
    before = baseline(areas, run.snapshots)
    (project / "other.txt").write_text("x")
    (project / "link").symlink_to("x")
    areas.begin(presents=True)
    writing.write(areas, "project/README.md", "changed\n")
    done = applied(areas, run.snapshots, before)
    assert [change.path for change in done.changes] == ["project/README.md"]
    assert done.warnings == ()
    areas.close()


def test_files_can_be_worked_on_here() -> None:
    assert unusable() == ""
