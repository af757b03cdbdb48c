"""A list reads a team file again when anything it depends on has changed, and not before."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from pathlib import Path

import pytest

from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_file
from massgen_mcp.config.readiness import Readiness
from massgen_mcp.runs.kept import KeptTeams, Looked, Row

PLAIN = "agent: {id: a, backend: {type: openai}}"


class Shelf:
    """A folder with one team file, and how often it was read."""

    def __init__(self, folder: Path, text: str = PLAIN) -> None:
        self.file = folder / "team.yaml"
        self.file.write_text(text, encoding="utf-8")
        self.kept = KeptTeams()
        self.reads = 0

    def _read(self) -> Loaded:
        self.reads += 1
        return load_file(self.file, approved=[self.file.parent], environment=Environment.of({}))

    def load(self, *, day: str = "Monday", looked: Looked | None = None) -> Loaded:
        return self.kept.load(self.file, self._read, depends=day, looked=looked)


def test_a_file_that_stays_as_it_is_is_read_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.load() is shelf.load()
    assert shelf.reads == 1


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.load()
    shelf.file.write_text("agent: {id: b, backend: {type: gemini}}", encoding="utf-8")
    os.utime(shelf.file, (1, 1))
    changed = shelf.load().team
    assert changed is not None
    assert changed.agents[0].id == "b"


def test_a_folder_is_looked_into_once_for_all_files_of_a_list(tmp_path: Path) -> None:
    shelf, looked = Shelf(tmp_path), dict[Path, Hashable]()
    first = shelf.load(looked=looked)
    assert list(looked) == [tmp_path]
    shelf.file.write_text("agent: {id: b, backend: {type: gemini}}", encoding="utf-8")
    assert shelf.load(looked=looked) is first
    assert shelf.load(looked={}) is not first


@pytest.mark.anyio
async def test_a_row_is_made_again_when_the_file_or_the_state_of_an_agent_has_changed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    made: list[Loaded] = []

    async def row(states: Sequence[Readiness]) -> Row:
        async def make() -> Row:
            made.append(loaded)
            return {"made": len(made)}

        loaded = shelf.load()
        return await shelf.kept.row(shelf.file, loaded, states, make)

    down, up = [Readiness(ready=False, why="nobody is there")], [Readiness(ready=True)]
    assert [await row(down), await row(down), await row(up)] == [{"made": 1}, {"made": 1}, {"made": 2}]
    shelf.file.write_text("agent: {id: b, backend: {type: gemini}}", encoding="utf-8")
    assert await row(up) == {"made": 3}


def test_variables_beside_it_and_another_day_change_it(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.load()
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-test", encoding="utf-8")
    assert shelf.load().environment.get("OPENAI_API_KEY") == "sk-test"
    shelf.load(day="Tuesday")
    assert shelf.reads == 3


@pytest.mark.parametrize(
    "text",
    [
        "agent: {id: a, backend: {type: openai, custom_tools: [{path: tools.py, function: f}]}}",
        f"{PLAIN}\norchestrator: {{context_paths: [{{path: ., permission: read}}]}}",
        "agents: broken",
    ],
    ids=["custom tools", "context paths", "broken"],
)
def test_what_reaches_beyond_the_folder_is_always_read(tmp_path: Path, text: str) -> None:
    shelf = Shelf(tmp_path, text)
    shelf.load()
    shelf.load()
    assert shelf.reads == 2


def test_a_folder_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.load()
    shelf.file.unlink()
    tmp_path.rmdir()
    assert shelf.load().team is None
