"""A run that goes on in another process finds its folders as they were left, and nothing half done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.errors import BackendError
from massgen_mcp.messages import Image, ToolCall
from massgen_mcp.runs.bench import NOT_SHOWN
from massgen_mcp.runs.servers import spill_to
from massgen_mcp.team.spec import EarlierWork, Made
from massgen_mcp.tools.toolset import Situation, Toolset
from massgen_mcp.workspace.areas import Areas
from massgen_mcp.workspace.beneath import PART
from massgen_mcp.workspace.kept_folder import KeptFolder
from massgen_mcp.workspace.run_folder import RunFolder
from tests.confined import LINUX
from tests.runs.reopening import RUN, in_a_process_that_is_killed, in_a_process_that_stays, opened, use

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60), LINUX]

PRESENTS = ("begin", {"presents": True})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "calc.py").write_text("a - b\n")
    return folder


def _wrote(path: str, content: str) -> tuple[str, dict[str, str]]:
    return ("write_file", {"path": path, "content": content})


def _folder(tools: Toolset) -> Path:
    assert tools.workspace is not None
    return tools.workspace


def _files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


def _changed(made: Made) -> dict[str, tuple[int, int]]:
    return {change.path: (change.added, change.removed) for change in made.changes}


async def test_what_the_presenter_changed_before_the_crash_is_among_the_changes(
    tmp_path: Path, project: Path
):
    in_a_process_that_is_killed(tmp_path, PRESENTS, _wrote("project/calc.py", "a + b\n"))
    async with opened(tmp_path) as (workshop, tools):
        await tools.begin(Situation(presents=True, resumed=True))
        await use(tools, "write_file", path="project/new.py", content="1\n2\n")
        made = await workshop.made(None)
    assert (project / "calc.py").read_text() == "a + b\n"
    assert _changed(made) == {"calc.py": (1, 1), "new.py": (2, 0)}
    assert (made.warnings, tools.warnings) == ((), ())


@pytest.mark.usefixtures("project")
async def test_a_presenter_whose_turn_was_over_is_not_forgotten(tmp_path: Path):
    in_a_process_that_is_killed(tmp_path, PRESENTS, _wrote("project/calc.py", "a + b\n"))
    async with opened(tmp_path) as (workshop, _):
        made = await workshop.made(None)
    assert _changed(made) == {"calc.py": (1, 1)}


async def test_what_was_guarded_stays_guarded_and_what_is_gone_is_left_alone(tmp_path: Path, project: Path):
    (project / "CLAUDE.md").write_text("be kind")
    in_a_process_that_is_killed(tmp_path, PRESENTS)
    (project / "CLAUDE.md").unlink()
    async with opened(tmp_path) as (_, tools):
        await tools.begin(Situation(presents=True, resumed=True))
        assert project / ".git" in tools.confinement().read  # type: ignore[attr-defined] # of a bench
        assert project / "CLAUDE.md" not in tools.confinement().read  # type: ignore[attr-defined] # of a bench


@pytest.mark.parametrize("how", ["gone", "damaged", "without its snapshot"])
async def test_a_baseline_that_can_not_be_had_is_taken_anew_and_said(tmp_path: Path, project: Path, how: str):
    in_a_process_that_is_killed(tmp_path, PRESENTS, _wrote("project/calc.py", "a + b\n"))
    kept = tmp_path / "state" / "kept" / RUN / "baseline-agent1"
    if how == "gone":
        kept.unlink()
    elif how == "damaged":
        kept.write_bytes(kept.read_bytes()[:-3])
    else:
        manifests = tmp_path / "state" / "runs" / RUN / "snapshots" / "manifests"
        for manifest in manifests.iterdir():
            manifest.rename(manifest.with_name(f"{PART}{manifest.name}"))
    async with opened(tmp_path) as (workshop, tools):
        await tools.begin(Situation(presents=True, resumed=True))
        await use(tools, "write_file", path="project/new.py", content="1\n")
        made = await workshop.made(None)
    assert _changed(made) == {"new.py": (1, 0)}
    assert [NOT_SHOWN in warning for warning in tools.warnings] == [True]
    assert (project / "calc.py").read_text() == "a + b\n"
    async with opened(tmp_path) as (workshop, tools):
        assert _changed(await workshop.made(None)) == {"new.py": (1, 0)}
        assert [NOT_SHOWN in warning for warning in tools.warnings] == [True]


@pytest.mark.parametrize("differs", [{"folders": [["project", "/elsewhere", ""]]}, {"version": 0}])
@pytest.mark.usefixtures("project")
async def test_a_baseline_of_other_folders_or_versions_is_not_used(tmp_path: Path, differs: dict[str, Any]):
    in_a_process_that_is_killed(tmp_path, PRESENTS, _wrote("project/calc.py", "a + b\n"))
    kept = KeptFolder(tmp_path / "state", RUN)
    value = json.loads(kept.read("baseline-agent1") or b"")
    kept.write("baseline-agent1", json.dumps({**value, **differs}).encode())
    async with opened(tmp_path) as (_, tools):
        assert [NOT_SHOWN in warning for warning in tools.warnings] == [True]


async def test_a_workspace_is_as_it_was_left_and_nothing_half_done_is_in_it(tmp_path: Path):
    in_a_process_that_is_killed(tmp_path, ("begin", {}), _wrote("src/a.py", "1"), _wrote("b.txt", "2"))
    runs = tmp_path / "state" / "runs" / RUN
    work = runs / "workspaces" / "agent1" / "work"
    halves = [work / "src" / f"{PART}1", runs / "snapshots" / "objects" / f"{PART}2"]
    halves += [tmp_path / "state" / "kept" / RUN / f"{PART}3"]
    for half in halves:
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_text("half")
    (runs / "temp_workspaces" / "agent1.1").mkdir()
    (runs / "scratch" / "result").mkdir()
    async with opened(tmp_path) as (_, tools):
        assert _files(_folder(tools)) == {"src/a.py": "1", "b.txt": "2"}
    assert not any(half.exists() for half in halves)
    assert not list((runs / "temp_workspaces").iterdir())
    assert not (runs / "scratch" / "result").exists()


async def test_pictures_that_were_given_are_not_written_again(tmp_path: Path):
    picture = (Image(mime="image/png", data=b"\x89PNG"),)
    async with opened(tmp_path, images=picture) as (_, tools):
        given = _folder(tools) / "given" / "1.png"
        assert given.read_bytes() == b"\x89PNG"
        given.unlink()
    async with opened(tmp_path, images=picture) as (_, tools):
        assert not given.exists()


async def test_a_large_result_never_takes_the_place_of_one_that_an_agent_was_told_of(tmp_path: Path):
    (tmp_path / "work").mkdir()
    for expected in ("tool_results/1-log", "tool_results/2-log", "tool_results/3-log"):
        areas = Areas(tmp_path / "work")
        assert await spill_to(areas)("log", expected.encode()) == expected
        areas.close()
    assert (tmp_path / "work" / "tool_results" / "1-log").read_text() == "tool_results/1-log"


async def test_a_runtimes_turn_begins_again_from_its_workspace_even_an_empty_one(tmp_path: Path):
    begun, again = in_a_process_that_is_killed(
        tmp_path,
        ("begin", {}),
        ("snapshot", {"empty": True}),
        _wrote("a.txt", "1"),
        ("snapshot", {"empty": True}),
        _wrote("b.txt", "2"),
    )
    async with opened(tmp_path) as (_, tools):
        await tools.begin(Situation(start=again))
        assert _files(_folder(tools)) == {"a.txt": "1"}
        await tools.begin(Situation(start=begun))
        assert _files(_folder(tools)) == {}
        assert (await tools.snapshot(), await tools.snapshot(empty=True)) == ("", begun)


async def test_no_agent_reaches_what_is_kept(tmp_path: Path):
    kept = KeptFolder(tmp_path / "state", RUN)
    kept.write("baseline-agent2", b"{}")
    async with opened(tmp_path) as (_, tools):
        await tools.begin(Situation(presents=True))
        for path in (kept.path / "baseline-agent2", Path("../../../../../kept") / RUN / "baseline-agent2"):
            for name, more in (("read_file", {}), ("write_file", {"content": "mine"})):
                arguments = json.dumps({"path": str(path), **more})
                assert (await tools.call(ToolCall(id="1", name=name, arguments=arguments))).is_error
    assert kept.read("baseline-agent2") == b"{}"


async def test_folders_that_can_not_be_kept_or_tidied_are_said_before_an_agent_works(tmp_path: Path):
    kept = tmp_path / "state" / "kept"
    kept.parent.mkdir()
    kept.write_text("no folder")
    with pytest.RaisesGroup(pytest.RaisesExc(BackendError, match="it can't have its folders")):
        async with opened(tmp_path, images=(Image(mime="image/png", data=b""),)):
            pass
    kept.unlink()
    (kept / RUN / f"{PART}1").mkdir(parents=True)
    with pytest.raises(BackendError, match="folder can't be tidied"):
        async with opened(tmp_path):
            pass


# A follow-up.


def _earlier_run(place: Path) -> EarlierWork:
    (snapshot,) = in_a_process_that_is_killed(
        place, ("begin", {}), _wrote("src/a.py", "1"), ("snapshot", {}), _wrote("later.txt", "2")
    )
    return EarlierWork(run_id=RUN, snapshot=snapshot)


async def test_a_follow_up_begins_with_the_files_of_the_answer_once(tmp_path: Path):
    earlier = _earlier_run(tmp_path)
    in_a_process_that_is_killed(
        tmp_path,
        ("read_file", {"path": "src/a.py"}),
        _wrote("src/a.py", "mended"),
        run_id="next",
        earlier=earlier,
    )
    async with opened(tmp_path, run_id="next", earlier=earlier) as (_, tools):
        assert _files(_folder(tools)) == {"src/a.py": "mended"}
        assert tools.warnings == ()
    async with opened(tmp_path, run_id="another", earlier=earlier) as (_, tools):
        assert _files(_folder(tools)) == {"src/a.py": "1"}
    async with opened(tmp_path) as (_, tools):
        assert _files(_folder(tools)) == {"src/a.py": "1", "later.txt": "2"}


async def test_a_kill_while_the_files_are_taken_over_has_it_done_again_whole(in_memory: Path):
    wrote = [_wrote(f"d{number % 7}/{number}.txt", f"{number}" * 20) for number in range(120)]
    (snapshot,) = in_a_process_that_is_killed(in_memory, ("begin", {}), *wrote, ("snapshot", {}))
    earlier = EarlierWork(run_id=RUN, snapshot=snapshot)
    work = in_memory / "state" / "runs" / "next" / "workspaces" / "agent1" / "work"
    process = in_a_process_that_stays(in_memory, run_id="next", earlier=earlier)
    while not (work / "d3").exists():
        assert process.is_alive()
    process.kill()
    process.join()
    assert not (in_memory / "state" / "kept" / "next" / "begun-agent1").exists()
    (work / "d0" / "0.txt").write_text("half")
    async with opened(in_memory, run_id="next", earlier=earlier) as (_, tools):
        files = _files(_folder(tools))
    assert files == {arguments["path"]: arguments["content"] for _, arguments in wrote}


@pytest.mark.parametrize("gone", ["its folder", "the snapshot", "a content"])
async def test_without_the_earlier_files_the_workspace_is_empty_and_it_is_said(tmp_path: Path, gone: str):
    earlier = _earlier_run(tmp_path)
    if gone == "its folder":
        RunFolder.remove(tmp_path / "state", RUN)
    elif gone == "the snapshot":
        earlier = EarlierWork(run_id=RUN, snapshot="0" * 40)
    else:
        for content in (tmp_path / "state" / "runs" / RUN / "snapshots" / "objects").iterdir():
            if content.read_bytes() == b"1":
                content.unlink()
    for _ in range(2):
        async with opened(tmp_path, run_id="next", earlier=earlier) as (_, tools):
            assert _files(_folder(tools)) == {}
            (warning,) = tools.warnings
            assert warning.startswith(f"its workspace begins empty, without the files of run {RUN}: ")
    kept = KeptFolder(tmp_path / "state", "next")
    (kept.path / "begun-agent1").write_bytes(b"damaged")
    async with opened(tmp_path, run_id="next", earlier=earlier) as (_, tools):
        assert tools.warnings == ()
