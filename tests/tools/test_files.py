"""The file tools as a model uses them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.config.agent_tools import OWN_FILE_TOOLS
from massgen_mcp.messages import ToolCall
from massgen_mcp.tools.file_specs import CHANGING, FILE_SPECS, READ_ONLY
from massgen_mcp.tools.files import FileTools
from massgen_mcp.tools.filters import Candidate, NameLists, choose
from massgen_mcp.workspace.areas import Areas, Context
from massgen_mcp.workspace.quota import Quota

pytestmark = pytest.mark.anyio


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def tools(tmp_path: Path, workspace: Path) -> Generator[FileTools]:
    project = tmp_path / "project"
    project.mkdir()
    (project / "main.py").write_text("print(1)\n")
    areas = Areas(workspace, [Context(path=project)])
    yield FileTools(areas)
    areas.close()


async def use(tools: FileTools, name: str, **arguments: Any) -> str:
    result = await tools.call(ToolCall(id="1", name=name, arguments=json.dumps(arguments)))
    assert not result.is_error, result.content
    return result.content


async def fail(tools: FileTools, name: str, arguments: str | dict[str, Any]) -> str:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    result = await tools.call(ToolCall(id="1", name=name, arguments=text))
    assert result.is_error, result.content
    return result.content


async def test_the_tools_carry_the_names_people_filter_by(tools: FileTools) -> None:
    names = {spec.name for spec in tools.specs}
    assert names == {*OWN_FILE_TOOLS, "grep_files"}
    assert names == READ_ONLY | CHANGING
    assert len(json.dumps([[spec.name, spec.description, spec.parameters] for spec in FILE_SPECS])) < 6000


async def test_the_filter_of_the_guide_leaves_nothing_that_writes(tools: FileTools) -> None:
    refused = NameLists(refused=("write_file", "create_directory", "move_file"))
    left = choose([Candidate(name=spec.name) for spec in tools.specs], refused)
    assert set(left.names) == READ_ONLY


async def test_only_what_can_be_done_twice_is_repeated_after_a_crash(tools: FileTools) -> None:
    assert {spec.name for spec in tools.specs if tools.idempotent(spec.name)} == READ_ONLY | {
        "write_file",
        "create_directory",
    }
    assert "answers/LABEL/" in tools.guidance


async def test_a_file_goes_through_its_life(tools: FileTools, workspace: Path) -> None:
    assert await use(tools, "write_file", path="a/b.py", content="one\ntwo\n") == (
        "Wrote the new file a/b.py (8 bytes)."
    )
    assert (await use(tools, "write_file", path="a/b.py", content="one\ntwo\n")).startswith("Replaced")
    assert await use(tools, "read_file", path="a/b.py") == "one\ntwo"
    assert await use(tools, "read_file", path="a/b.py", line_numbers=True) == "     1\tone\n     2\ttwo"
    assert (
        await use(tools, "edit_file", path="a/b.py", old_text="two", new_text="2")
        == "Edited a/b.py in line 2."
    )
    assert await use(tools, "create_directory", path="c") == "c is there."
    assert await use(tools, "copy_file", source="a/b.py", destination="c/d.py") == (
        "Copied a/b.py to c/d.py (6 bytes)."
    )
    assert await use(tools, "copy_file", source="a", destination="e") == "Copied a to e (6 bytes)."
    assert await use(tools, "move_file", source="c/d.py", destination="c/e.py") == "Moved c/d.py to c/e.py."
    assert await use(tools, "list_directory") == "a/\nc/\ne/\nproject/"
    assert await use(tools, "list_directory", path="c") == "e.py  6"
    assert await use(tools, "search_files", pattern="*.py") == "a/b.py\nc/e.py\ne/b.py"
    assert await use(tools, "grep_files", pattern="^o.e$", path="c") == "c/e.py:1: one"
    assert await use(tools, "compare_files", first="a/b.py", second="c/e.py") == "The files are the same."
    assert await use(tools, "delete_file", path="c", recursive=True) == "Deleted c."
    assert await use(tools, "list_directory") == "a/\ne/\nproject/"


async def test_a_long_file_says_how_to_read_on(tools: FileTools, workspace: Path) -> None:
    (workspace / "long.txt").write_text("".join(f"{number}\n" for number in range(1, 3001)))
    first = await use(tools, "read_file", path="long.txt")
    assert first.endswith("\n2000\n[lines 1 to 2000 of 3000; read on with start_line=2001]")
    assert (await use(tools, "read_file", path="long.txt", start_line=2001)).endswith(
        "\n3000\n[lines 2001 to 3000 of 3000]"
    )
    assert await use(tools, "read_file", path="long.txt", start_line=5, end_line=6) == (
        "5\n6\n[lines 5 to 6 of 3000; read on with start_line=7]"
    )
    (workspace / "wide.txt").write_text("x" * 50_000)
    assert (await use(tools, "read_file", path="wide.txt")).endswith(
        "x\n[lines 1 to 1 of 1; read on with start_line=1, start_character=40001]"
    )
    assert len(await use(tools, "read_file", path="wide.txt", start_character=40_001)) == 10_000


async def test_a_file_of_many_megabytes_is_read_off_the_loop(tools: FileTools, workspace: Path) -> None:
    (workspace / "big.txt").write_text("line\n" * 500_000)
    assert (
        await use(tools, "read_file", path="big.txt", start_line=-1)
    ) == "line\n[lines 500000 to 500000 of 500000]"


async def test_empty_and_odd_files_are_said_to_be_so(tools: FileTools, workspace: Path) -> None:
    (workspace / "empty").write_text("")
    (workspace / "latin").write_bytes(b"caf\xe9")
    (workspace / "bin").write_bytes(b"\0")
    (workspace / "link").symlink_to("empty")
    assert await use(tools, "read_file", path="empty") == "[the file is empty]"
    assert "not all of it is UTF-8" in await use(tools, "read_file", path="latin")
    assert "is binary" in await fail(tools, "read_file", {"path": "bin"})
    assert "symbolic link (not followed)" in await use(tools, "get_file_info", path="link")
    assert await use(tools, "compare_files", first="bin", second="latin") == (
        "The files differ, and are not both text."
    )


async def test_information_says_what_may_be_done(tools: FileTools, workspace: Path) -> None:
    (workspace / "f").write_text("12345")
    text = await use(tools, "get_file_info", path="f")
    assert re.fullmatch(r"kind: file\nsize: 5 bytes\nchanged: \S+\+00:00\npermissions: -rw-r--r--", text), (
        text
    )
    assert "read-only: project/main.py" in await use(tools, "get_file_info", path="project/main.py")
    assert "kind: folder" in await use(tools, "get_file_info", path=".")
    assert "a list of 0" in await use(tools, "get_file_info", path="answers")


async def test_nothing_found_is_an_answer_too(tools: FileTools, workspace: Path) -> None:
    (workspace / "sub").mkdir()
    (workspace / "sub" / "f").write_text("x")
    assert await use(tools, "search_files", pattern="*.rs") == "Nothing matches *.rs among 2 names."
    assert await use(tools, "grep_files", pattern="zzz") == "No line matches in 1 files."
    assert await use(tools, "list_directory", path="answers") == "answers is empty."
    assert await use(tools, "compare_files", first="sub", second="sub") == "The folders hold the same."
    assert "One is a folder" in await fail(tools, "compare_files", {"first": "sub", "second": "sub/f"})


async def test_long_results_are_cut_and_say_so(tools: FileTools, workspace: Path) -> None:
    for number in range(1100):
        (workspace / f"{number:04}-{'x' * 80}").write_text("x")
    listed = await use(tools, "list_directory")
    assert len(listed) < 41_000
    assert listed.endswith("[there is more than these 1000; list a folder below, or use search_files]")
    assert (
        (await use(tools, "search_files", pattern="*"))
        .splitlines()[-1]
        .startswith("[stopped: only the first")
    )
    (workspace / "lines").write_text("match\n" * 300)
    assert (await use(tools, "grep_files", pattern="mat", glob="lines")).splitlines()[-1] == (
        "[stopped: only the first 200 matches are shown; narrow the pattern, the path or the glob]"
    )


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("read_file", {}, "path is missing. It takes path: string, start_line?: integer"),
        ("read_file", {"path": 1}, "path must be a string"),
        ("read_file", {"path": "a", "end_line": 0}, "end_line must be at least 1"),
        ("read_file", {"path": "a", "start_line": True}, "start_line must be a whole number"),
        ("read_file", {"path": "a", "line_number": True}, "did you mean line_numbers?"),
        ("read_file", {"path": "a", "zzzz": 1}, "'zzzz' is not known"),
        ("grep_files", {"pattern": "a", "context_lines": 21}, "at most 20"),
        ("delete_file", {"path": "a", "recursive": "yes"}, "recursive must be true or false"),
        ("write_file", '{"path": "a"', "can't be read"),
        ("write_file", '{"path": "a", "path": "b", "content": ""}', "same key twice"),
        ("open_file", {"path": "a"}, "There is no file tool 'open_file'. There are: read_file"),
        ("grep_files", {"pattern": "("}, "no regular expression"),
        ("read_file", {"path": "../x"}, "'..' is not allowed"),
        ("write_file", {"path": "project/main.py", "content": ""}, "The project is read-only here"),
    ],
)
async def test_a_mistake_is_told_so_that_it_is_not_repeated(
    tools: FileTools, name: str, arguments: str | dict[str, Any], why: str
) -> None:
    assert why in await fail(tools, name, arguments)


async def test_null_means_absent_for_what_is_optional(tools: FileTools, workspace: Path) -> None:
    (workspace / "f").write_text("x")
    assert await use(tools, "read_file", path="f", start_line=None, line_numbers=None) == "x"


async def test_parallel_edits_of_one_file_are_all_kept(tools: FileTools, workspace: Path) -> None:
    (workspace / "f").write_text("".join(f"<{number}>\n" for number in range(20)))
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            arguments = json.dumps({"path": "f", "old_text": f"<{number}>", "new_text": f"done {number}"})
            tasks.start_soon(tools.call, ToolCall(id=str(number), name="edit_file", arguments=arguments))
    assert (workspace / "f").read_text() == "".join(f"done {number}\n" for number in range(20))


async def test_nothing_is_added_to_a_workspace_that_holds_too_much(tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "large").write_bytes(os.urandom(1_500_000))
    areas = Areas(workspace, [Context(path=tmp_path / "project")])
    tools = FileTools(areas, quota=Quota(size=2 * 1024**2, entries=30))
    await use(tools, "write_file", path="mine", content="x")
    for name in ("a", "b"):
        await use(tools, "copy_file", source="project/large", destination=name)

    full = "The workspace holds more than 2 MiB. Delete some before you add more."
    assert await fail(tools, "write_file", {"path": "c", "content": "x"}) == full
    assert await fail(tools, "edit_file", {"path": "mine", "old_text": "x", "new_text": "xx"}) == full
    assert await fail(tools, "copy_file", {"source": "mine", "destination": "c"}) == full
    assert await fail(tools, "create_directory", {"path": "c"}) == full
    assert await use(tools, "read_file", path="mine") == "x"
    await use(tools, "delete_file", path="a")
    await use(tools, "write_file", path="c", content="x")
    for number in range(28):
        await use(tools, "create_directory", path=f"d{number}")
    assert "more than 30 files and folders" in await fail(tools, "create_directory", {"path": "one-more"})
    areas.close()
