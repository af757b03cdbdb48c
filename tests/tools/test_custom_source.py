from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.tools.custom import CustomFunction, Entry, Finding, SourceUnreadable, describe, read_source


def read(folder: Path, code: str, **entry: Any) -> tuple[CustomFunction | None, tuple[Finding, ...]]:
    file = folder / "t.py"
    file.write_text(code)
    return describe(Entry(function="f", **entry), read_source(file))


def offered(folder: Path, code: str, **entry: Any) -> CustomFunction:
    tool, findings = read(folder, code, **entry)
    assert tool is not None, findings
    return tool


def properties(folder: Path, signature: str, head: str = "", **entry: Any) -> dict[str, Any]:
    tool = offered(folder, f"{head}\ndef f({signature}): ...", **entry)
    return tool.parameters["properties"]


ANNOTATIONS: list[tuple[str, dict[str, Any]]] = [
    ("str", {"type": "string"}),
    ("int", {"type": "integer"}),
    ("float", {"type": "number"}),
    ("bool", {"type": "boolean"}),
    ("list", {"type": "array"}),
    ("list[int]", {"type": "array", "items": {"type": "integer"}}),
    ("List[Any]", {"type": "array"}),
    ("Sequence[str]", {"type": "array", "items": {"type": "string"}}),
    ("set[str]", {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
    ("dict", {"type": "object"}),
    ("dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
    ("Dict[str, Any]", {"type": "object"}),
    ("tuple[int, ...]", {"type": "array", "items": {"type": "integer"}}),
    (
        "tuple[int, str]",
        {"type": "array", "items": {"type": ["integer", "string"]}, "minItems": 2, "maxItems": 2},
    ),
    ("Optional[int]", {"type": ["integer", "null"]}),
    ("int | None", {"type": ["integer", "null"]}),
    ("Union[int, str, int]", {"type": ["integer", "string"]}),
    ("Union[int]", {"type": "integer"}),
    ("list[int] | str", {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "string"}]}),
    ("Any | None", {}),
    ("Literal['a', 'b']", {"type": "string", "enum": ["a", "b"]}),
    ("Literal['a', 1, None]", {"enum": ["a", 1, None]}),
    ("Annotated[int, 'how many']", {"type": "integer", "description": "how many"}),
    ("Annotated[str, Field(description='who')]", {"type": "string", "description": "who"}),
    ("Annotated[str, Doc('who')]", {"type": "string", "description": "who"}),
    ("Annotated[str, 5]", {"type": "string"}),
    ("Final[int]", {"type": "integer"}),
    ("'Optional[str]'", {"type": ["string", "null"]}),
    (
        "typing.Optional[t.List[str]]",
        {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
    ),
    ("Path", {"type": "string"}),
    ("PathLike[str]", {"type": "string"}),
    ("datetime", {"type": "string", "format": "date-time"}),
]


@pytest.mark.parametrize(("annotation", "schema"), ANNOTATIONS, ids=[text for text, _ in ANNOTATIONS])
def test_an_annotation_becomes_a_schema(tmp_path: Path, annotation: str, schema: dict[str, Any]) -> None:
    assert properties(tmp_path, f"x: {annotation}") == {"x": schema}


def test_imported_names_and_aliases_of_types_are_understood(tmp_path: Path) -> None:
    head = (
        "from typing import Optional as Opt, Literal\n"
        "if True:\n    Mode = Literal['fast', 'slow']\n"
        "Number: TypeAlias = int | float\n"
    )
    assert properties(tmp_path, "mode: Mode, n: Opt[Number]", head) == {
        "mode": {"type": "string", "enum": ["fast", "slow"]},
        "n": {"anyOf": [{"type": ["integer", "number"]}, {"type": "null"}]},
    }


@pytest.mark.parametrize(
    "annotation",
    ["np.ndarray", "Callable[[int], str]", "'not python ('", "Loop", "Literal[f]", "x()", "list[Frame]"],
)
def test_an_annotation_that_is_not_understood_takes_anything_and_is_told(
    tmp_path: Path, annotation: str
) -> None:
    tool, findings = read(tmp_path, f"Loop = 'Loop'\ndef f(x: {annotation}): ...")

    assert tool is not None
    assert tool.parameters["properties"]["x"] in ({}, {"type": "array"})
    assert [finding.severity for finding in findings] == ["warning"]
    assert findings[0].message.startswith("t.py:2: f 'x' is annotated")


def test_defaults_make_parameters_optional_and_give_a_type(tmp_path: Path) -> None:
    tool = offered(
        tmp_path,
        "def f(a: str, b: int = 3, c=True, d=None, e: list = [], g: object = object(), *args, h: str, i=-1.5,"
        " j=('x', {'y': 1}), k={1: 2}, **more): ...",
    )
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "integer", "default": 3},
            "c": {"type": "boolean", "default": True},
            "d": {},
            "e": {"type": "array", "default": []},
            "g": {},
            "h": {"type": "string"},
            "i": {"type": "number", "default": -1.5},
            "j": {"type": "array", "default": ["x", {"y": 1}]},
            "k": {},
        },
        "required": ["a", "h"],
        "additionalProperties": False,
    }


GOOGLE = '''
    """Search the archive.

    Looks everywhere.

    Args:
        query: What to look for,
            in a few words.
        limit (int): How many.
        *rest: Ignored.

    Returns:
        Something.

    Note:
        Slow.
    """
'''
NUMPY = '''
    """Search the archive.

    Parameters
    ----------
    query : str
        What to look for,
        in a few words.
    limit, offset : int, optional
        How many.

    Returns
    -------
    str
        Something.
    """
'''
PLAIN = '''
    """Search the archive.

    :param query: What to look for,
        in a few words.
    :param int limit: How many.
    :returns: Something
        long.
    """
'''


@pytest.mark.parametrize(
    ("text", "description"),
    [
        (GOOGLE, "Search the archive.\n\nLooks everywhere.\n\nNote:\n    Slow."),
        (NUMPY, "Search the archive."),
        (PLAIN, "Search the archive."),
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_a_docstring_describes_the_tool_and_its_parameters(
    tmp_path: Path, text: str, description: str
) -> None:
    tool = offered(tmp_path, f"async def f(query: str, limit: int = 5):{text}")

    assert tool.description == description
    assert tool.parameters["properties"] == {
        "query": {"description": "What to look for, in a few words.", "type": "string"},
        "limit": {"description": "How many.", "type": "integer", "default": 5},
    }


def test_a_word_with_a_colon_that_is_no_section_stays(tmp_path: Path) -> None:
    code = (
        "def f(x: int):\n    '''Do it.\n\n    Mind: it is slow.\n\n"
        "    Args:\n        Nothing to say (really), x\n    '''"
    )
    assert offered(tmp_path, code).description == "Do it.\n\nMind: it is slow."


def test_the_description_of_the_entry_wins_and_a_bare_function_has_one(tmp_path: Path) -> None:
    assert offered(tmp_path, 'def f():\n    "Old."', description="New.").description == "New."
    assert offered(tmp_path, "def f(): ...").description == "The function f."
    assert len(offered(tmp_path, f'def f():\n    "{"x" * 5000}"').description) == 2000


def test_preset_and_context_arguments_are_hidden(tmp_path: Path) -> None:
    tool = offered(
        tmp_path,
        "@context_params('messages')\n@tools.other('x')\n@plain\n"
        "def f(q: str, key, agent_cwd, allowed_paths=None, messages=None): ...",
        preset={"key": "k"},
    )
    assert list(tool.parameters["properties"]) == ["q"]
    assert tool.context == ("agent_cwd", "allowed_paths")
    assert tool.preset == {"key": "k"}


def test_default_params_are_shown_and_make_an_argument_optional(tmp_path: Path) -> None:
    tool = offered(tmp_path, "def f(q: str): ...", defaults={"q": "all"})
    assert tool.parameters["properties"] == {"q": {"type": "string", "default": "all"}}
    assert "required" not in tool.parameters


def test_a_tool_is_named_as_given_with_a_prefix(tmp_path: Path) -> None:
    assert offered(tmp_path, "def f(): ...").name == "custom_tool__f"
    assert offered(tmp_path, "def f(): ...", name="custom_tool__g").name == "custom_tool__g"
    assert offered(tmp_path, "def f(): ...", name="g").name == "custom_tool__g"


@pytest.mark.parametrize("name", ["a b", "x" * 60, "ü"])
def test_a_name_that_no_provider_takes_is_refused(tmp_path: Path, name: str) -> None:
    tool, (finding,) = read(tmp_path, "def f(): ...", name=name)
    assert tool is None
    assert finding.part == "name"
    assert "at most 51 letters" in finding.hint


@pytest.mark.parametrize(
    ("code", "part", "message", "hint"),
    [
        ("def g(): ...\ndef _h(): ...", "function", "t.py has no function 'f'", "Known: g."),
        ("", "function", "t.py has no function 'f'", "It defines none."),
        ("from m import f", "function", "'f' is not defined by `def` in t.py", "Define a function there"),
        ("import f", "function", "not defined by `def`", "Define"),
        ("f = partial(g)", "function", "not defined by `def`", "Define"),
        ("class f: ...", "function", "not defined by `def`", "Define"),
        (
            "\ndef f(x): ...",
            "function",
            "t.py:2: f parameter 'x' has neither a type nor a default",
            "Write `x: str`",
        ),
        ("def f(x: int, /): ...", "function", "positional-only", "Remove the `/`"),
        (
            "@context_params('messages')\ndef f(messages): ...",
            "function",
            "takes 'messages' from MassGen",
            "default",
        ),
    ],
    ids=["other", "empty", "imported", "module", "assigned", "class", "untyped", "positional", "context"],
)
def test_a_function_that_can_t_be_offered_says_where_and_why(
    tmp_path: Path, code: str, part: str, message: str, hint: str
) -> None:
    tool, (finding,) = read(tmp_path, code)
    assert tool is None
    assert finding.part == part
    assert message in finding.message
    assert hint in finding.hint


def test_positional_only_parameters_with_defaults_are_left_alone(tmp_path: Path) -> None:
    assert properties(tmp_path, "x: int = 1, /, y: int = 2") == {"y": {"type": "integer", "default": 2}}


def test_arguments_for_parameters_that_are_not_there_are_refused(tmp_path: Path) -> None:
    _, findings = read(tmp_path, "def f(a: int): ...", preset={"b": 1}, defaults={"c": 1})
    assert [(finding.part, finding.hint) for finding in findings] == [
        ("preset_args", "Its parameters: a."),
        ("default_params", "Its parameters: a."),
    ]
    assert offered(tmp_path, "def f(a: int, **more): ...", preset={"b": 1}).preset == {"b": 1}


def test_functions_under_if_and_try_are_found(tmp_path: Path) -> None:
    code = (
        "try:\n    import x\nexcept ImportError:\n    if 1:\n        pass\n    else:\n        def f(): ...\n"
        "with a:\n    x[0] = 1"
    )
    assert offered(tmp_path, code).name == "custom_tool__f"


def test_reading_runs_nothing(tmp_path: Path) -> None:
    offered(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(): ...")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"def f(:", "line 1 is not Python of this version"),
        (b"x = '\xff'", "not Python"),
        (b"\0", "not Python"),
        (b"#" * (1024 * 1024 + 1), "larger than 1 MiB"),
    ],
    ids=["syntax", "bytes", "null", "large"],
)
def test_a_file_that_is_not_python_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "t.py").write_bytes(data)
    with pytest.raises(SourceUnreadable, match=why):
        read_source(tmp_path / "t.py")


def test_a_missing_file_a_folder_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "name").mkdir()
    with pytest.raises(SourceUnreadable, match="no such file"):
        read_source(tmp_path / "missing.py")
    with pytest.raises(SourceUnreadable, match="not a regular file"):
        read_source(tmp_path / "pipe")
    with pytest.raises(SourceUnreadable, match="not a regular file"):
        read_source(tmp_path / "name")
    (tmp_path / "t.py").write_text("")
    with pytest.raises(SourceUnreadable, match="can't be opened"):
        read_source(tmp_path / "t.py" / "x")


def test_a_file_is_taken_from_the_folders_given_alone_links_followed(tmp_path: Path) -> None:
    approved, other = tmp_path / "a", tmp_path / "b"
    approved.mkdir()
    other.mkdir()
    (other / "t.py").write_text("def f(): ...")
    (approved / "link.py").symlink_to(other / "t.py")
    with pytest.raises(SourceUnreadable, match="outside of the folders"):
        read_source(approved / "link.py", within=[approved])
    assert "f" in read_source(approved / "link.py", within=[approved, other]).functions
