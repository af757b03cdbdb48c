"""Downstream servers of others, from npm: over stdio in the sandbox, and over HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from massgen_mcp.tools.downstream import DownstreamTools, Entry, Outside, PackageCache
from massgen_mcp.tools.filters import NameLists
from massgen_mcp.workspace.sandbox import find_sandbox
from tests.e2e.programs import E2E, adopt_orphans, descendants, node, program, wait_until
from tests.tools.downstream import ask

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.timeout(180)]

_BIN = E2E / "node_modules" / ".bin"
SHORT_LIST = ("write_file", "create_directory", "move_file")
READING = {
    "read_file",
    "read_text_file",
    "read_media_file",
    "read_multiple_files",
    "list_directory",
    "list_directory_with_sizes",
    "directory_tree",
    "search_files",
    "get_file_info",
    "list_allowed_directories",
}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    adopt_orphans()
    before = descendants()
    yield
    wait_until(lambda: not descendants() - before, seconds=5, what="every server has ended")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    return folder


def server(name: str, *arguments: str, **more: object) -> Entry:
    command = (node(), program(_BIN / f"mcp-server-{name}"), *arguments)
    return replace(Entry(name=name, command=command), **more)  # pyright: ignore[reportArgumentType] - fields by name


@asynccontextmanager
async def opened(*entries: Entry, folder: Path, **more: object) -> AsyncGenerator[DownstreamTools]:
    outside = Outside(
        folder=folder / "servers",
        cache=PackageCache(folder / "cache"),
        sandbox=await find_sandbox(os.environ),
    )
    with anyio.fail_after(120):
        async with DownstreamTools(entries, replace(outside, **more)) as tools:  # pyright: ignore[reportArgumentType] - fields by name
            await tools.ready()
            yield tools


async def test_files_are_read_and_written_where_the_agent_works_and_nowhere_else(
    tmp_path: Path, workspace: Path
) -> None:
    entry = server("filesystem", str(workspace))
    async with opened(entry, folder=tmp_path, workspace=workspace) as tools:
        assert tools.warnings == ()
        assert (await ask(tools, "filesystem__read_text_file", path=f"{workspace}/a.txt")).content == "hello"
        written = await ask(tools, "filesystem__write_file", path=f"{workspace}/b.txt", content="x")
        assert not written.is_error
        assert (workspace / "b.txt").read_text() == "x"
        assert (await ask(tools, "filesystem__read_text_file", path="/etc/passwd")).is_error
        assert tools.side_effects("filesystem__write_file")
        assert not tools.side_effects("filesystem__read_text_file")


async def test_the_documented_list_leaves_no_tool_that_can_write(tmp_path: Path, workspace: Path) -> None:
    entry = server("filesystem", str(workspace))
    async with opened(entry, folder=tmp_path, workspace=workspace) as tools:
        choice = tools.choose(NameLists(refused=SHORT_LIST))

        assert {spec.name.removeprefix("filesystem__") for spec in tools.specs} == READING
        assert choice.problems == ()
        assert choice.also_refused == ("filesystem__edit_file",)
        edited = await ask(tools, "filesystem__edit_file", path=f"{workspace}/a.txt", edits=[])
        assert "There is no tool named" in edited.content


async def test_what_the_operator_only_points_at_is_not_written_and_the_reason_is_given(
    tmp_path: Path, workspace: Path
) -> None:
    async with opened(server("filesystem", str(workspace)), folder=tmp_path) as tools:
        written = await ask(tools, "filesystem__write_file", path=f"{workspace}/b.txt", content="x")

        assert written.is_error
        assert "from being written; set `sandbox: off` for this entry" in written.content
        assert not (workspace / "b.txt").exists()


async def test_everything_works(tmp_path: Path) -> None:
    told: list[str] = []
    async with opened(server("everything"), folder=tmp_path, tell=told.append) as tools:
        assert (await ask(tools, "everything__echo", message="x")).content == "Echo: x"
        assert (await ask(tools, "everything__get-sum", a=2, b=3)).content.endswith("5.")
        picture = await ask(tools, "everything__get-tiny-image")
        assert [image.mime for image in picture.images] == ["image/png"]
        structured = await ask(tools, "everything__get-structured-content", location="New York")
        assert json.loads(structured.content)["temperature"] == 33
        await ask(tools, "everything__trigger-long-running-operation", duration=2, steps=4)
        assert told
        assert told[0].startswith("everything__trigger-long-running-operation: ")
        found = json.loads((await ask(tools, "everything__get-env")).content)
        assert not {name for name in found if "KEY" in name or "TOKEN" in name}
        assert tools.warnings == ()


async def test_a_memory_is_kept_where_the_agent_works(tmp_path: Path, workspace: Path) -> None:
    entry = server("memory", environ=(("MEMORY_FILE_PATH", str(workspace / "memory.jsonl")),))
    (workspace / "memory.jsonl").touch()
    async with opened(entry, folder=tmp_path, workspace=workspace) as tools:
        entity = {"name": "sky", "entityType": "thing", "observations": ["blue"]}
        assert not (await ask(tools, "memory__create_entities", entities=[entity])).is_error
    async with opened(entry, folder=tmp_path, workspace=workspace) as tools:
        assert "blue" in (await ask(tools, "memory__read_graph")).content


@contextmanager
def everything_over_http() -> Generator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [node(), program(_BIN / "mcp-server-everything"), "streamableHttp"]
    environ = {"PATH": os.environ["PATH"], "PORT": str(port)}
    with subprocess.Popen(  # noqa: S603 - the server
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: _listens(port), seconds=20, what="the server listens")
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


async def test_everything_works_over_http(tmp_path: Path) -> None:
    told: list[str] = []
    with everything_over_http() as url:
        entry = Entry(name="everything", url=url)
        async with opened(entry, folder=tmp_path, tell=told.append) as tools:
            assert tools.warnings == ()
            assert (await ask(tools, "everything__echo", message="x")).content == "Echo: x"
            await ask(tools, "everything__trigger-long-running-operation", duration=2, steps=4)
            assert told
            assert (await ask(tools, "everything__get-tiny-image")).images


async def test_all_at_once_start_beside_each_other(tmp_path: Path, workspace: Path) -> None:
    entries = [server("filesystem", str(workspace)), server("everything"), server("memory")]
    async with opened(*entries, folder=tmp_path, workspace=workspace) as tools:
        owners = {spec.name.partition("__")[0] for spec in tools.specs}

        assert owners == {"filesystem", "everything", "memory"}
        assert len({spec.name for spec in tools.specs}) == len(tools.specs)
