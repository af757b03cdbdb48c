from __future__ import annotations

import itertools
import json
import re
import string
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, strategies as st

from massgen_mcp.messages import ToolCall
from massgen_mcp.tools.downstream import DownstreamTools
from massgen_mcp.tools.downstream.definitions import read_tools
from massgen_mcp.tools.downstream.fitting import misfit
from massgen_mcp.tools.downstream.names import name_tools
from massgen_mcp.tools.filters import NameLists
from tests.tools.downstream import ask, hostile, opened, surroundings

_FIT = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_TEXT = st.text(min_size=1, max_size=90)
_SERVER = st.text(f"{string.ascii_letters}{string.digits}_-", min_size=1, max_size=64)


@pytest.mark.no_cover
@given(st.lists(st.tuples(_SERVER, _TEXT), max_size=12))
def test_every_tool_has_a_name_of_its_own(tools: list[tuple[str, str]]) -> None:
    names = name_tools(tools, reserved={"vote"})

    assert names.keys() == set(tools)
    assert len(set(names.values())) == len(names)
    assert all(_FIT.match(name) for name in names.values())
    assert names == name_tools(reversed(tools), reserved={"vote"}), "the order does not matter"


def test_ordinary_names_are_kept() -> None:
    assert name_tools([("weather", "get-forecast_2")]) == {
        ("weather", "get-forecast_2"): "weather__get-forecast_2"
    }


def test_names_that_would_be_one_are_told_apart() -> None:
    names = name_tools(
        [("a", "b__c"), ("a__b", "c"), ("fs", "read.file"), ("fs", "read/file"), ("fs", "read_file")]
    )

    assert names["fs", "read_file"] == "fs__read_file"
    assert len(set(names.values())) == 5
    assert all(re.fullmatch(r"a__b__c_[0-9a-f]{8}", names[pair]) for pair in (("a", "b__c"), ("a__b", "c")))


def test_no_tool_is_called_like_one_of_ours() -> None:
    names = name_tools([("our", "tool")], reserved={"our__tool"})

    assert names["our", "tool"].startswith("our__tool_")


def test_a_tool_without_any_name_left_has_none() -> None:
    marked = name_tools([("a", "b.c")])["a", "b.c"]

    assert name_tools([("a", "b.c")], reserved={marked}) == {}


@pytest.mark.anyio
async def test_names_are_mapped_and_what_can_not_be_named_is_left_out_by_name(tmp_path: Path) -> None:
    async with opened(hostile("names", tmp_path), tmp_path) as tools:
        names = [spec.name for spec in tools.specs]
        assert names[3:] == ["evil__vote", "evil__new_answer"]
        assert names[0].startswith("evil__read_file_")
        assert names[0] != names[1]
        assert len(names[2]) == 64
        said = " ".join(tools.warnings)
        assert "the tool 'twin' is left out: it is listed 2 times" in said
        assert "'hid[U+202E]den' is left out: its name holds characters that can't be seen" in said
        assert said.count("a tool without a usable name is left out") == 3
        assert (await ask(tools, names[1], a=1)).content == '{"a": 1}'


@pytest.mark.anyio
async def test_workflow_tools_can_not_be_called_on_a_server(tmp_path: Path) -> None:
    async with opened(hostile("names", tmp_path), tmp_path) as tools:
        result = await ask(tools, "vote")

        assert result.is_error
        assert result.content == "There is no tool named 'vote'. Did you mean evil__vote?"


@pytest.mark.anyio
async def test_schemas_and_descriptions_are_bounded_and_cleaned(tmp_path: Path) -> None:
    async with opened(hostile("schemas", tmp_path), tmp_path) as tools:
        specs = {spec.name.removeprefix("evil__"): spec for spec in tools.specs}
        assert list(specs) == ["good", "long", "hidden", "inside", "words"]
        assert specs["good"].description == "[Tool of the MCP server 'evil', in its own words] Does good."
        assert len(specs["long"].description.encode()) < 2048 + 60
        assert specs["hidden"].description.endswith("[U+202E][U+E0041] end")
        assert specs["words"].parameters["properties"]["a"]["description"] == "b[U+202E]c"
        said = " ".join(tools.warnings)
        for tool, why in {
            "big": "its schema is larger than 32 kB",
            "deep": "its schema is nested deeper than 16",
            "outside": "its schema refers to something outside of itself ('https://evil/x')",
            "text": "its schema is not an object",
            "list": "its schema is not one of an object",
            "key": "its schema holds characters that can't be seen",
            "output": "the schema of its results is not an object",
            "header": "its schema asks for a header that can't be sent",
        }.items():
            assert f"the tool '{tool}' is left out: {why}" in said


def test_a_schema_nested_beyond_measure_is_left_out() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"type": "object", "properties": {"a": schema}}

    assert read_tools([{"name": "x", "inputSchema": schema}]).notes == (
        "the tool 'x' is left out: its schema is nested deeper than 16",
    )


@pytest.mark.anyio
async def test_at_most_128_tools_of_a_server_are_used(tmp_path: Path) -> None:
    async with opened(hostile("many", tmp_path), tmp_path) as tools:
        assert len(tools.specs) == 128
        assert tools.warnings == ("MCP server evil: only its first 128 tools are used",)


@pytest.mark.anyio
async def test_at_most_20_pages_of_tools_are_read(tmp_path: Path) -> None:
    async with opened(hostile("pages", tmp_path), tmp_path) as tools:
        assert [spec.name for spec in tools.specs] == [f"evil__t{number}" for number in range(20)]
        assert tools.warnings == ("MCP server evil: only its first 20 pages of tools are used",)


@pytest.mark.anyio
async def test_pages_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    async with opened(hostile("loop", tmp_path), tmp_path) as tools:
        assert [spec.name for spec in tools.specs] == ["evil__t0"]


@pytest.mark.anyio
@pytest.mark.parametrize("start", ["none", "no_tools"])
async def test_a_server_without_tools_is_named(start: str, tmp_path: Path) -> None:
    async with opened(hostile(start, tmp_path), tmp_path) as tools:
        assert tools.warnings == ("MCP server evil offers no tools",)
        assert tools.down == frozenset()


@pytest.mark.anyio
async def test_a_server_of_the_newer_generation_alone_is_understood(tmp_path: Path) -> None:
    async with opened(hostile("modern", tmp_path), tmp_path) as tools:
        assert (await ask(tools, "evil__echo", a=1)).content == '{"a": 1}'


@pytest.mark.anyio
async def test_what_is_changed_and_what_may_be_repeated_is_told(tmp_path: Path) -> None:
    entry = hostile("good", tmp_path, side_effects=(("echo", True), ("crash", False)))
    async with opened(entry, tmp_path) as tools:
        assert tools.side_effects("evil__echo"), "the operator's word counts more than the server's"
        assert not tools.side_effects("evil__crash")
        assert not tools.side_effects("evil__once")
        assert tools.side_effects("evil__hang"), "who says nothing may change things"
        assert tools.side_effects("evil__forget")
        assert tools.side_effects("unknown")
        assert tools.idempotent("evil__once")
        assert tools.idempotent("evil__forget")
        assert not tools.idempotent("evil__hang")
        assert not tools.idempotent("unknown")


@pytest.mark.anyio
async def test_what_is_filtered_is_neither_shown_nor_called(tmp_path: Path) -> None:
    entry = hostile("good", tmp_path, lists=NameLists(refused=("hang",)))
    async with opened(entry, tmp_path) as tools:
        choice = tools.choose(NameLists(allowed=("echo", "mcp__evil__hang", "nothing")))

        assert [spec.name for spec in tools.specs] == ["evil__echo"]
        assert [problem.entry for problem in choice.problems] == ["nothing"]
        assert "There is no tool named 'evil__hang'" in (await ask(tools, "evil__hang")).content


@pytest.mark.anyio
async def test_what_is_offered_is_not_known_before_the_servers_said_it(tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with DownstreamTools([hostile("good", tmp_path)], surroundings(tmp_path)) as tools:
            with pytest.raises(RuntimeError, match=r"await ready\(\) first"):
                _ = tools.specs
            assert (await ask(tools, "evil__echo")).content == "{}", "a call waits by itself"


@pytest.mark.parametrize(
    ("value", "schema", "where"),
    [
        ({"a": 1}, {"type": "object", "required": ["b"]}, "/b is missing"),
        (
            {"a": "x"},
            {"properties": {"a": {"type": ["integer", "null"]}}},
            "/a is not of type integer or null",
        ),
        ([1, "x"], {"items": {"type": "number"}}, "/1 is not of type number"),
        ({"a": 1}, {"additionalProperties": False}, "/a is not to be there"),
        (2, {"enum": [1, "2"]}, "it is none of the values allowed"),
        (True, {"const": 1}, "it is not 1"),
        (1, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "it fits none of anyOf"),
        (1, {"allOf": [{"type": "integer"}, {"type": "string"}]}, "it is not of type string"),
        ({"a": 1}, {"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"required": ["z"]}}}, "/z is missing"),
        (1.5, {"type": "integer"}, "it is not of type integer"),
        (True, {"type": "number"}, "it is not of type number"),
    ],
)
def test_a_value_that_does_not_fit_is_found(value: object, schema: dict[str, object], where: str) -> None:
    assert misfit(value, schema) == where


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"a": 1}, {"properties": {"a": {"type": "integer"}}, "additionalProperties": False}),
        (2.0, {"type": "integer"}),
        ("x", {"pattern": "(a+)+$"}),
        (1, {"$ref": "https://evil/x"}),
        (1, {"$ref": "#/nowhere"}),
        (1, {"type": "number-like"}),
        (1, {"oneOf": [{"type": "integer"}, {"type": "string"}]}),
        (1, {"$ref": "#"}),
        (None, True),
        ({"x": 1}, {"patternProperties": {"x": {}}, "additionalProperties": False}),
    ],
)
def test_what_fits_or_can_not_be_decided_is_let_through(value: object, schema: dict[str, object]) -> None:
    assert not misfit(value, {"anyOf": [schema]})


def test_a_schema_that_branches_without_end_is_given_up_soon() -> None:
    names = [f"n{number}" for number in range(40)]
    defs = {name: {"anyOf": [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in itertools.pairwise(names)}

    assert not misfit(1, {"$ref": "#/$defs/n0", "$defs": {**defs, "n39": False}})


@pytest.mark.anyio
async def test_parts_of_every_kind_are_shown_or_named(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        one = await ask(tools, "evil__image")
        assert [image.mime for image in one.images] == ["image/png", "image/png"]
        assert one.images[0].data.startswith(b"\x89PNG")
        assert one.content.count("an image that can't be read") == 2

        two = await ask(tools, "evil__images")
        assert len(two.images) == 1
        assert "an image of 2621444 bytes is left out: 4194304 in all are shown" in two.content

        sound = (await ask(tools, "evil__audio")).content.splitlines()
        assert sound == [
            "[5 bytes of audio/wav are left out]",
            "[5 bytes of application/pdf are left out]",
            "[a part that can't be read (audio) is left out]",
        ]
        lines = await ask(tools, "evil__resources")
        assert lines.content.startswith(
            "[resource x://a]\ninside\n[link to x://b more]\n[a part of unknown kind 'h"
        )
        assert len(lines.images) == 1
        assert lines.content.endswith("[1005 more parts are left out]")
        assert (await ask(tools, "evil__fits")).content == '{"n": 1}'
        assert (await ask(tools, "evil__hidden")).content == "a[U+202E]b\u241b[31m"


@pytest.mark.anyio
async def test_arguments_that_can_not_be_read_are_the_models_mistake(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        result = await tools.call(ToolCall(id="1", name="evil__echo", arguments="[1]"))

        assert result.is_error
        assert result.content == "evil__echo: the arguments must be a JSON object, not list"


@pytest.mark.anyio
async def test_progress_goes_up_with_its_words(tmp_path: Path) -> None:
    told: list[str] = []
    async with opened(hostile("good", tmp_path), tmp_path, tell=told.append) as tools:
        assert (await ask(tools, "evil__slow")).content == "done"

    assert told
    assert set(told) == {"evil__slow: working"}
    assert len(told) <= 2, "at most a line a second"


@pytest.mark.anyio
async def test_the_environment_is_made_from_nothing(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/root", "OPENAI_API_KEY": "sk-x", "HTTPS_PROXY": "http://p"}
    entry = hostile("good", tmp_path, environ=(("TOKEN", "t-1234567890"),))
    async with opened(entry, tmp_path, environ=environ) as tools:
        found = json.loads((await ask(tools, "evil__environment")).content)

    own = tmp_path / "servers" / "evil"
    assert found == {
        "HOME": str(own / "home"),
        "HTTPS_PROXY": "http://p",
        "LANG": "C.UTF-8",
        "MASSGEN_MCP_DEPTH": "1",
        "PATH": "/usr/bin:/bin",
        "TMPDIR": str(own / "tmp"),
        "TOKEN": "t-1234567890",
    }


@pytest.mark.anyio
async def test_arguments_nested_beyond_reason_are_not_sent(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        for levels, fits in ((60, True), (70, False)):
            arguments = '{"a":' * levels + "1" + "}" * levels
            result = await tools.call(ToolCall(id="1", name="evil__echo", arguments=arguments))

            assert result.is_error is not fits
            assert ("nested deeper than 64" in result.content) is not fits
