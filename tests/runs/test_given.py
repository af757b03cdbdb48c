"""What came with a question is there for the process that goes on with the run, whatever became of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.errors import RequestRefused
from massgen_mcp.messages import Image
from massgen_mcp.runs.attach import Seated, attach
from massgen_mcp.runs.given import KeptGiven, keep_given, load_given, restore_seated
from massgen_mcp.runs.material import Given, Material, NamedImage
from massgen_mcp.team.spec import AgentSpec, Equipment
from massgen_mcp.workspace.context import Context
from massgen_mcp.workspace.kept_folder import KEPT, KeptFolder

RUN = "20260101-0000-aaaaaa"
ROOT = Path(__file__).parent.parent.parent
SEES = BackendInfo(type="test", title="Test", vendor="test", module="scripted", image_input=True)
BLIND = replace(SEES, image_input=False)
READS = AgentTools(cwd="work")
PICTURE = Image(mime="image/png", data=b"\x89PNG\x00\xff" * 100)


def spec(name: str, info: BackendInfo = SEES) -> AgentSpec:
    return AgentSpec(id=name, info=info, options=Options(type="test"))


TEAM = (spec("reads"), spec("is told"), spec("is told, too"), spec("blind", BLIND))
EQUIPMENT = Equipment(tools={"reads": READS})


def seated(project: Path) -> Seated:
    """A team with a file, a text that no file is, and a picture."""
    (project / "notes.md").write_text("before")
    odd = "what isn't Unicode: \udcff, and \r\n"
    material = Material(
        files=(
            Given(name="notes.md", data=b"before", path=project / "notes.md"),
            Given(name="odd", data=odd.encode("utf-8", "surrogatepass")),
            Given(name="note", data="größer\r\n".encode()),
        ),
        images=(NamedImage(name="a.png", image=PICTURE),),
        contexts=(project / "notes.md",),
        notes=("a folder was left out",),
    )
    return attach(TEAM, EQUIPMENT, material, project=project)


def kept(project: Path, state: Path) -> None:
    keep_given(state, RUN, seated(project))


def loaded(state: Path) -> KeptGiven | None:
    """As the run's first record has it."""
    digests = json.loads(KeptFolder(state, RUN).read("given.json") or b"")["digests"]
    assert len(digests) == 4
    return load_given(state, RUN, digests=digests)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_the_team_is_as_it_was_although_the_files_have_changed(tmp_path: Path, state: Path):
    before = seated(tmp_path)
    assert keep_given(state, RUN, before)
    (tmp_path / "notes.md").write_text("after")
    given = load_given(state, RUN, digests=before.attached.digests)
    after = restore_seated(given, [spec("another"), *TEAM], EQUIPMENT)
    assert after == before
    assert [agent.id for agent in after.agents] == ["reads", "is told", "is told, too"]
    assert [context.name for context in after.equipment.contexts["reads"]] == ["notes.md"]


def test_what_the_team_file_shows_now_stays_beside_it(tmp_path: Path, state: Path):
    kept(tmp_path, state)
    own = Context(path=tmp_path / "src", name="src", write=True)
    now = replace(EQUIPMENT, contexts={"reads": (own,), "is told": (own,)})
    contexts = restore_seated(loaded(state), TEAM, now).equipment.contexts
    assert {agent: [one.name for one in found] for agent, found in contexts.items()} == {
        "reads": ["src", "notes.md"],
        "is told": ["src"],
    }


def test_nothing_is_kept_where_nothing_came(state: Path):
    nothing = attach(TEAM, EQUIPMENT, Material())
    assert not keep_given(state, RUN, nothing)
    assert not state.exists()
    assert load_given(state, RUN, digests={}) is None
    assert restore_seated(None, TEAM, EQUIPMENT) == nothing


def test_the_same_is_kept_once_and_for_us_alone(tmp_path: Path, state: Path):
    kept(tmp_path, state)
    files = list((state / KEPT / RUN).iterdir())
    assert len(files) == 4  # the list, what is read, what two are told, the picture
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@pytest.mark.parametrize("replaced", ["gone", "a link to something else"])
def test_a_file_that_is_gone_or_leads_elsewhere_is_not_shown(tmp_path: Path, state: Path, replaced: str):
    (tmp_path / "private").write_text("secret")
    kept(tmp_path, state)
    (tmp_path / "notes.md").unlink()
    if replaced != "gone":
        (tmp_path / "notes.md").symlink_to(tmp_path / "private")
    after = restore_seated(loaded(state), TEAM, EQUIPMENT)
    assert after.equipment.contexts["reads"] == after.added["reads"] == ()
    assert after.warnings[-1].startswith(f"{tmp_path / 'notes.md'}, which came with the question, is gone")


@pytest.mark.parametrize("lost", ["all", "the list", "a content", "a byte", "the version before"])
def test_what_is_lost_is_said_with_what_to_do(tmp_path: Path, state: Path, lost: str):
    before = seated(tmp_path)
    keep_given(state, RUN, before)
    folder = state / KEPT / RUN
    listed, content = folder / "given.json", next(folder.glob("given-*"))
    digests = before.attached.digests
    match lost:
        case "all":
            folder.rename(state / "elsewhere")
        case "the list":
            listed.unlink()
        case "a content":
            content.unlink()
        case "a byte":
            content.write_bytes(content.read_bytes()[:-1])
        case _:
            digests = {**digests, "notes.md": "0" * 64}
    with pytest.raises(
        RequestRefused, match=r"can't go on: .*notes.md.* continue_run .* give the files"
    ) as why:
        load_given(state, RUN, digests=digests)
    assert str(state) not in str(why.value)


def test_what_another_version_kept_is_refused_and_many_names_are_counted(tmp_path: Path, state: Path):
    kept(tmp_path, state)
    KeptFolder(state, RUN).write("given.json", b'{"version": 0}')
    with pytest.raises(RequestRefused, match=r"\(0, 1, 2, 3, 4 and 3 more\)"):
        load_given(state, RUN, digests={str(number): "0" for number in range(8)})
    with pytest.raises(RequestRefused, match="files or images"):
        load_given(state, RUN, digests={})


def test_an_agent_that_has_left_the_team_is_named(tmp_path: Path, state: Path):
    kept(tmp_path, state)
    with pytest.raises(RequestRefused, match="reads, is told took part"):
        restore_seated(loaded(state), TEAM[2:], EQUIPMENT)


def test_what_can_not_be_kept_holds_the_question_up_before_anything_is_spent(tmp_path: Path):
    (tmp_path / "state").write_text("no folder")
    with pytest.raises(RequestRefused, match=r"can't be kept in .*state: .* Nothing was spent"):
        keep_given(tmp_path / "state", RUN, seated(tmp_path))


_KEEPER = """
import sys
from pathlib import Path
from massgen_mcp.runs.given import keep_given
from tests.runs.test_given import RUN, seated
before = seated(Path(sys.argv[1]))
print("now", flush=True)
for number in range(10_000):
    keep_given(Path(sys.argv[1]) / "states" / str(number), RUN, before)
"""


@pytest.mark.no_cover  # what is killed counts no lines
def test_after_a_kill_all_is_there_or_nothing_counts(tmp_path: Path):
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", _KEEPER, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not (tmp_path / "states" / "3").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    before = seated(tmp_path)
    states = sorted((tmp_path / "states").iterdir(), key=lambda path: int(path.name))
    for whole in states[:-1]:
        assert restore_seated(loaded(whole), TEAM, EQUIPMENT) == before
    given = loaded(states[-1]) if (states[-1] / KEPT / RUN / "given.json").exists() else None
    assert given is None or restore_seated(given, TEAM, EQUIPMENT) == before
