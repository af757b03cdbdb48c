from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from massgen_mcp.messages import ToolResult
from massgen_mcp.tools.downstream import DownstreamTools, Entry, SharedServers
from massgen_mcp.tools.downstream.tools import DownstreamTools as Tools
from tests.tools.downstream import ask, hostile, surroundings

pytestmark = pytest.mark.anyio


def lives(folder: Path) -> int:
    path = folder / "lives"
    return int(path.read_text()) if path.exists() else 0


def counted(folder: Path, name: str = "evil", *, stateless: bool) -> Entry:
    return hostile("changed_since", folder, name=name, stateless=stateless)


async def test_agents_share_a_server_that_remembers_nothing(tmp_path: Path) -> None:
    entry, outside = counted(tmp_path, stateless=True), surroundings(tmp_path)
    with anyio.fail_after(20):
        async with (
            SharedServers(outside) as shared,
            DownstreamTools([entry], outside, shared=shared) as a,
            DownstreamTools([entry], outside, shared=shared) as b,
        ):
            results: list[ToolResult] = []

            async def one(tools: Tools, number: int) -> None:
                results.append(await ask(tools, "evil__echo", n=number))

            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(one, a if number % 2 else b, number)

            assert sorted(json.loads(result.content)["n"] for result in results) == list(range(10))
            assert lives(tmp_path) == 1


async def test_a_server_that_may_remember_is_each_agents_own(tmp_path: Path) -> None:
    entry, outside = counted(tmp_path, stateless=False), surroundings(tmp_path)
    with anyio.fail_after(20):
        async with SharedServers(outside) as shared, DownstreamTools([entry], outside, shared=shared) as a:
            await a.ready()
            async with DownstreamTools([entry], outside, shared=shared) as b:
                await b.ready()

                assert lives(tmp_path) == 2


async def test_an_agent_that_leaves_keeps_the_server_for_the_others(tmp_path: Path) -> None:
    entry, outside = counted(tmp_path, stateless=True), surroundings(tmp_path)
    with anyio.fail_after(20):
        async with SharedServers(outside) as shared, DownstreamTools([entry], outside, shared=shared) as a:
            async with DownstreamTools([entry], outside, shared=shared) as b:
                await b.ready()

            assert (await ask(a, "evil__echo")).content == "{}"
            assert lives(tmp_path) == 1


async def test_nothing_is_shared_outside_of_the_block(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="enter the block first"):
        SharedServers(surroundings(tmp_path)).connection(counted(tmp_path, stateless=True))


async def test_servers_start_beside_each_other_and_nobody_waits_for_them(tmp_path: Path) -> None:
    entries = [hostile("hang", tmp_path, name=f"s{number}", start_limit=1.0) for number in range(3)]
    with anyio.fail_after(20):
        begun = anyio.current_time()
        async with DownstreamTools(entries, surroundings(tmp_path)) as tools:
            assert anyio.current_time() - begun < 0.5, "entering waits for nothing"
            await tools.ready()

            assert tools.down == {"s0", "s1", "s2"}
            assert anyio.current_time() - begun < 3, "not one after the other"


async def test_a_call_after_the_block_is_refused(tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with DownstreamTools([hostile("good", tmp_path)], surroundings(tmp_path)) as tools:
            await tools.ready()
        result = await ask(tools, "evil__echo")

    assert result.content == "evil__echo: the server 'evil' is off for this run: the run is over"
    assert tools.warnings == ()


async def test_an_entry_tells_nothing_secret_of_itself() -> None:
    entry = Entry(
        name="x", command=("a", "--key=geheim"), environ=(("K", "geheim"),), headers=(("A", "geheim"),)
    )

    assert "geheim" not in repr(entry)


@pytest.mark.parametrize(
    ("command", "seconds"),
    [
        (("npx", "-y", "x"), 90),
        (("/usr/bin/uvx", "x"), 90),
        (("pipx", "run", "x"), 90),
        (("npx.cmd", "x"), 90),
        (("npm", "exec", "x"), 90),
        (("uv", "tool", "run", "x"), 90),
        (("uv", "pip"), 15),
        (("node", "npx"), 15),
        (("python",), 15),
        ((), 15),
    ],
)
def test_what_may_be_fetched_first_has_more_time(command: tuple[str, ...], seconds: float) -> None:
    assert Entry(name="x", command=command).start_seconds == seconds


async def test_an_error_inside_of_the_block_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with DownstreamTools([hostile("hang", tmp_path)], surroundings(tmp_path)):
            raise LookupError("mine")


async def test_a_block_that_is_cancelled_ends_its_servers(tmp_path: Path) -> None:
    tools = DownstreamTools([hostile("hang", tmp_path)], surroundings(tmp_path))
    with anyio.move_on_after(0.3) as scope:
        async with tools:
            await tools.ready()

    assert scope.cancelled_caught
    assert tools.down == {"evil"}
