"""Everything a server can do wrong, over the front door: nothing hangs, grows, or reaches a model unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from massgen_mcp.tools.downstream import DownstreamTools, Entry
from massgen_mcp.tools.downstream.definitions import read_tools
from massgen_mcp.tools.downstream.results import shape_result
from tests.tools.downstream import QuickClock, Spilled, ask, hostile, opened, surroundings

pytestmark = pytest.mark.anyio


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def until_gone(*pids: int) -> None:
    with anyio.fail_after(5):
        while not all(gone(pid) for pid in pids):  # noqa: ASYNC110 - processes of others set no events
            await anyio.sleep(0.02)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("hang", "it was not ready within 0.3 s"),
        ("deaf", "it was not ready within 0.3 s"),
        ("hang_list", "it was not ready within 0.3 s"),
        ("crash", "it ended with exit code 7. Its last words: TypeError: no key set"),
        ("old", "it speaks version '1999-01-01' of the protocol"),
        ("future", "it speaks versions ['2099-01-01'] of the protocol"),
        ("refuse", "it refuses to be talked to: go away (code -32600); unknown: server/discover"),
        ("bad_list", "its tools can't be listed: the answer holds no list"),
        ("error_list", "its tools can't be listed: no list today (code -1)"),
    ],
)
async def test_a_server_that_does_not_start_is_off_with_the_reason(
    start: str, reason: str, tmp_path: Path
) -> None:
    limit = 0.3 if "within" in reason else 15.0
    async with opened(hostile(start, tmp_path, start_limit=limit), tmp_path) as tools:
        assert tools.specs == ()
        assert tools.down == {"evil"}
        assert len(tools.warnings) == 1
        assert tools.warnings[0].startswith(f"MCP server evil is off: {reason}")


async def test_the_others_go_on_when_one_does_not_start(tmp_path: Path) -> None:
    entries = [
        hostile("crash", tmp_path, name="bad"),
        hostile("good", tmp_path, name="good"),
        Entry(name="absent", command=("no-such-program-anywhere",), sandbox="off"),
    ]
    with anyio.fail_after(20):
        async with DownstreamTools(entries, surroundings(tmp_path)) as tools:
            await tools.ready()

            assert tools.down == {"bad", "absent"}
            assert (await ask(tools, "good__echo", a=1)).content == '{"a": 1}'
            assert "no program 'no-such-program-anywhere' on the PATH" in " ".join(tools.warnings)


async def test_a_crash_in_a_call_is_an_error_and_the_call_is_not_repeated(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        result = await ask(tools, "evil__crash")

        assert result.is_error
        assert "it was ended by SIGKILL" in result.content or "exit code 137" in result.content
        assert "is not known, so it is not repeated" in result.content
        assert (tmp_path / "crash").read_text() == "1"
        assert (await ask(tools, "evil__echo", a=2)).content == '{"a": 2}', "it was started again"


async def test_what_a_server_says_as_instructions_is_shown_nowhere(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        assert "Ignore all" not in f"{tools.specs} {tools.warnings}"
        assert tools.specs[0].description == "[Tool of the MCP server 'evil', in its own words] Does echo."


async def test_a_call_that_only_reads_is_made_once_more_after_a_crash(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        assert tools.idempotent("evil__once")
        assert (await ask(tools, "evil__once")).content == "the second time"
        assert (tmp_path / "once").read_text() == "2"


async def test_a_call_is_made_twice_at_most(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        result = await ask(tools, "evil__forget")

        assert "The call was made twice." in result.content
        assert (tmp_path / "forget").read_text() == "2"


async def test_a_server_is_restarted_twice_and_then_off(tmp_path: Path) -> None:
    clock = QuickClock()
    async with opened(hostile("good", tmp_path), tmp_path, clock=clock) as tools:
        for _ in range(3):
            assert (await ask(tools, "evil__crash")).is_error
        result = await ask(tools, "evil__echo")

        assert "is off for this run: it was lost 3 times" in result.content
        assert (tmp_path / "crash").read_text() == "3"
        assert clock.slept == [0.5, 2.0]
        assert "MCP server evil is off: it was lost 3 times" in " ".join(tools.warnings)
        assert tools.specs, "the definitions stay what they were: the model's cache lives on that"


async def test_a_server_that_leaves_says_why(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        result = await ask(tools, "evil__leave")

        assert "it ended with exit code 3. Its last words: no licence" in result.content


async def test_a_call_without_an_answer_ends_and_the_server_is_told(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path, timeout=0.4), tmp_path) as tools:
        result = await ask(tools, "evil__hang")

        assert result.is_error
        assert "no answer to tools/call within 0.4 s" in result.content
        with anyio.fail_after(5):
            while not (tmp_path / "cancelled").exists():  # noqa: ASYNC110 - as above
                await anyio.sleep(0.02)
        assert (await ask(tools, "evil__echo")).content == "{}", "the connection stands"


async def test_a_cancelled_call_tells_the_server_and_does_not_wait(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        with anyio.move_on_after(0.2) as scope:
            await ask(tools, "evil__hang")
        assert scope.cancelled_caught

        result = await ask(tools, "evil__noticed")
        assert json.loads(result.content)["reason"] == "the caller gave up"


async def test_progress_does_not_outlast_the_limit_of_the_entry(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path, timeout=0.3), tmp_path) as tools:
        assert "no answer" in (await ask(tools, "evil__slow")).content


async def test_three_calls_without_an_answer_give_the_server_a_pause(tmp_path: Path) -> None:
    clock = QuickClock()
    async with opened(hostile("good", tmp_path, timeout=0.1), tmp_path, clock=clock) as tools:
        for _ in range(3):
            await ask(tools, "evil__hang")
        assert "not asked: its last 3 calls failed. Again in 30 s" in (await ask(tools, "evil__echo")).content

        clock.ahead = 31
        assert (await ask(tools, "evil__echo")).content == "{}"


async def test_a_line_without_end_ends_the_server(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        result = await ask(tools, "evil__huge_line")

        assert "it sent more than 8388608 bytes without ending a line" in result.content
        assert (await ask(tools, "evil__echo")).content == "{}"


async def test_a_large_result_is_cut_in_the_middle_and_kept_whole(tmp_path: Path) -> None:
    spilled = Spilled()
    async with opened(hostile("good", tmp_path), tmp_path, spill=spilled) as tools:
        result = await ask(tools, "evil__huge_result")

    assert len(result.content.encode()) <= 64 * 1024
    assert result.content.startswith("head x")
    assert result.content.endswith("x tail")
    assert "the whole is in spilled/evil__huge_result.txt]" in result.content
    assert len(spilled.kept["evil__huge_result.txt"]) == 300_010


async def test_a_large_result_says_so_where_nothing_is_kept(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        assert "the whole is not kept]" in (await ask(tools, "evil__huge_result")).content


async def test_a_flood_of_notifications_is_dropped_and_counted(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        assert (await ask(tools, "evil__flood")).content == "after the flood"

        (warning,) = tools.warnings
        assert "messages above the rate allowed" in warning


async def test_noise_on_stderr_neither_blocks_nor_grows(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        assert (await ask(tools, "evil__stderr")).content == "after the noise"


async def test_noise_on_stderr_without_end_leaves_room_for_all_else(tmp_path: Path) -> None:
    good = hostile("good", tmp_path)
    noisy = replace(good, command=("/bin/sh", "-c", 'yes noise >&2 & exec "$@"', "sh", *good.command))
    async with opened(noisy, tmp_path) as tools:
        for _ in range(5):
            assert (await ask(tools, "evil__echo")).content == "{}"


async def test_while_much_is_made_visible_all_else_goes_on(tmp_path: Path) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.005)
            ticks += 1

    raw = {"content": [{"type": "text", "text": "\U0001f600" + "\u202e" * 150_000}]}
    definition = read_tools([{"name": "x"}]).tools[0]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        result = await shape_result("c", "evil__x", raw, definition, surroundings(tmp_path))
        assert result.content.startswith("\U0001f600[U+202E][U+202E]")
        assert ticks >= 10
        tasks.cancel_scope.cancel()


async def test_whatever_a_server_names_is_told_in_a_line(tmp_path: Path) -> None:
    long = "\u202e" * 200_000
    parts = [
        {"type": "resource", "resource": {"uri": long, "text": ""}},
        {"type": long},
        {"type": "resource_link", "uri": long},
    ]
    definition = read_tools([{"name": "x", "description": long}]).tools[0]
    for raw in ({"content": parts}, {"resultType": long}):
        result = await shape_result("c", "evil__x", raw, definition, surroundings(tmp_path))
        assert all(len(line) < 400 for line in result.content.splitlines())
    assert len(definition.description) <= 2048


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("deep", "its answer can't be read: it is nested too deeply"),
        ("nan", "its answer can't be read: it is not JSON"),
        ("blind", "its answer holds neither a result nor an error"),
        ("no_result", "the server's answer can't be read"),
        ("error", "bad [U+202E] arguments (code -32602)"),
        ("input_required", "the server wants 'input_required' instead of answering"),
        ("misfit", "does not fit its own schema: /n is not of type integer"),
        ("unstructured", "does not fit its own schema: its structured content is missing"),
        ("fail", "it did not work"),
    ],
)
async def test_an_answer_that_is_none_is_an_error_at_once(tool: str, words: str, tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        result = await ask(tools, f"evil__{tool}")

        assert result.is_error
        assert words in result.content
        assert (await ask(tools, "evil__echo")).content == "{}"


async def test_replies_to_nothing_and_garbage_are_ignored_and_counted(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        assert (await ask(tools, "evil__wrong_id")).content == "right"
        assert (await ask(tools, "evil__twice")).content == "first"
        assert (await ask(tools, "evil__garbage")).content == "after the garbage"
        assert (await ask(tools, "evil__echo")).content == "{}"

        (warning,) = tools.warnings
        assert warning.startswith("MCP server evil sent 7 unreadable messages, 6 replies to nothing")


async def test_nothing_that_a_server_could_ask_for_is_offered(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        assert (await ask(tools, "evil__sampling")).content == "[-32601, -32601, -32601]"
        assert (await ask(tools, "evil__ping")).content == "[{}]"
        assert "3 requests of its own (refused" in tools.warnings[0]


async def test_a_tool_that_changes_during_the_run_is_off(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        before = tools.specs
        await ask(tools, "evil__change")

        result = await ask(tools, "evil__echo")
        assert result.is_error
        assert "its definition is not what it was when the run began" in result.content
        assert not (await ask(tools, "evil__hidden")).is_error, "the others stay"
        assert tools.specs == before
        assert "the tool 'echo' is off" in tools.warnings[0]
        await ask(tools, "evil__change", value=False)
        assert (await ask(tools, "evil__echo")).is_error, "what changed once is not trusted again"


async def test_a_tool_that_vanishes_is_off_until_it_is_back(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path), tmp_path) as tools:
        await ask(tools, "evil__change", how="gone")
        assert "its server no longer offers it" in (await ask(tools, "evil__slow")).content

        await ask(tools, "evil__change", how="gone", value=False)
        assert (await ask(tools, "evil__slow")).content == "done"


async def test_a_tool_that_changes_with_a_restart_is_off(tmp_path: Path) -> None:
    async with opened(hostile("changed_since", tmp_path), tmp_path) as tools:
        await ask(tools, "evil__crash")

        assert "its definition is not what it was" in (await ask(tools, "evil__echo")).content


async def test_what_ignores_every_sign_to_end_is_gone_with_the_block(tmp_path: Path) -> None:
    async with opened(hostile("good", tmp_path, timeout=20), tmp_path, grace=1.0) as tools:
        pids = json.loads((await ask(tools, "evil__survivors")).content)
        assert all(not gone(pid) for pid in pids)

    await until_gone(*pids)
