from __future__ import annotations

from pathlib import Path

import pytest

from massgen_mcp.config.check_custom import custom_functions, media_functions
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.load import Loaded, load_file


class Folder:
    """An operator's folder with a team file and the files beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, entries: str, *, approved: tuple[Path, ...] = ()) -> Loaded:
        file = self.path / "team.yaml"
        file.write_text(
            f"agent:\n  id: a\n  backend:\n    type: groq\n    model: m\n    custom_tools: {entries}\n"
        )
        return load_file(
            file, approved=(self.path, *approved), environment=Environment.of({"GROQ_API_KEY": "k"})
        )

    def problems(self, entries: str) -> list[str]:
        loaded = self.load(entries)
        assert all(problem.line == 6 for problem in loaded.errors)
        return [f"{problem.path}: {problem.message} {problem.hint}" for problem in loaded.errors]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "t.py").write_text("def f(x: int, key: str = ''):\n    'Does f.'\nasync def g(y): ...\n")
    return Folder(tmp_path)


def test_the_functions_of_a_file_are_found(folder: Folder) -> None:
    loaded = folder.load(
        "[{path: t.py, function: f, name: h, preset_args: {key: k}},"
        " {path: t.py, function: [f], description: [D]}]"
    )
    assert loaded.errors == ()
    assert loaded.team is not None
    first, second = custom_functions(loaded.team.agents[0].tools, beside=folder.path)
    assert (first.name, first.description, list(first.parameters["properties"])) == (
        "custom_tool__h",
        "Does f.",
        ["x"],
    )
    assert (second.name, second.description) == ("custom_tool__f", "D")


def test_presets_and_names_may_be_lists_with_one_for_each_function(folder: Folder) -> None:
    entry = "[{path: t.py, function: [f, g], name: [a, b], preset_args: [{key: k}, {y: 1}]}]"
    loaded = folder.load(entry)
    assert loaded.team is not None
    tools = loaded.team.agents[0].tools
    assert [dict(tool.preset) for tool in custom_functions(tools, beside=folder.path)] == [
        {"key": "k"},
        {"y": 1},
    ]


def test_excluded_tools_are_left_out(folder: Folder) -> None:
    loaded = folder.load("[{path: t.py, function: f}]\n    exclude_custom_tools: [f]")
    assert loaded.team is not None
    assert custom_functions(loaded.team.agents[0].tools, beside=folder.path) == ()


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ("[{path: t.py, function: nope}]", "[0].function: t.py has no function 'nope'. Known: f, g."),
        (
            "[{path: t.py, function: g}]",
            "[0].function: t.py:3: g parameter 'y' has neither a type nor a default.",
        ),
        (
            "[{path: x.py, function: f}]",
            "[0].path: there is no such file. Relative paths lie beside the team file, in ",
        ),
        (
            "[{path: massgen/tool/x.py, function: f}]",
            "[0].path: there is no such file. It is one of MassGen's own",
        ),
        (
            "[{path: /etc/passwd, function: f}]",
            "[0].path: it lies outside of the folders that tools may be loaded from.",
        ),
        (
            "[{path: t.py, function: f, preset_args: {z: 1}}]",
            "[0].preset_args: t.py:1: f has no parameter 'z'.",
        ),
        ("[{path: t.py, function: [f, g], name: one, preset_args: {y: 1}}]", "[0].name: 1 for 2 functions."),
        (
            "[{path: t.py, function: f}, {path: t.py, function: f}]",
            "[1].name: custom_tools[0] has this name, too",
        ),
    ],
    ids=["function", "untyped", "missing", "massgen", "outside", "preset", "counts", "twice"],
)
def test_a_bad_entry_is_a_problem_with_its_line(folder: Folder, entries: str, problem: str) -> None:
    found = folder.problems(entries)
    assert any(text.startswith(f"agent.backend.custom_tools{problem}") for text in found), found


def test_tools_in_another_approved_folder_may_be_named_by_their_whole_path(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "t.py").write_text("def f(): ...")
    entry = f"[{{path: {other / 't.py'}, function: f}}]"
    assert Folder(own).load(entry, approved=(other,)).errors == ()
    assert len(Folder(own).load(entry).errors) == 1


def test_massgens_own_media_functions_mean_our_media_tools(folder: Folder) -> None:
    loaded = folder.load(
        "[{function: [understand_image, text_to_file_generation]},"
        " {path: massgen/tool/_multimodal_tools/text_to_image_generation.py,"
        " function: text_to_image_generation},"
        " {path: t.py, function: f}]"
    )
    assert loaded.errors == ()
    assert loaded.team is not None
    tools = loaded.team.agents[0].tools
    assert media_functions(tools) == ("understand_image", "generate_image")
    assert [tool.function for tool in custom_functions(tools, beside=folder.path)] == ["f"]
