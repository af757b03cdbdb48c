"""The shell as a model uses it, and checks of answers."""

from __future__ import annotations

import json
import os
import re
import stat
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from massgen_mcp.messages import ToolCall, ToolResult
from massgen_mcp.tools.checks import CheckResult, run_check
from massgen_mcp.tools.shell import Shell, ShellSettings
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.landlock import Landlock
from massgen_mcp.workspace.quota import Quota
from massgen_mcp.workspace.sandbox import Sandbox, find_sandbox
from tests.confined import LINUX, listening

pytestmark = [pytest.mark.anyio, LINUX]


async def _shell(folder: Path, settings: ShellSettings | None = None, **environ: str) -> Shell:
    confinement = Confinement(cwd=folder, write=(folder,))
    return Shell(await find_sandbox(), lambda: confinement, settings, environ=environ)


async def _call(shell: Shell, command: object, **arguments: object) -> ToolResult:
    text = json.dumps({"command": command, **arguments})
    return await shell.call(ToolCall(id="1", name="execute_command", arguments=text))


async def test_a_command_runs_in_the_workspace_and_its_exit_code_and_output_are_told(tmp_path: Path) -> None:
    shell = await _shell(tmp_path)
    result = await _call(shell, "echo hi >made; cat made; pwd; [[ a == a ]]; exit 3")

    assert result.content.startswith("Exit code 3, ")
    assert result.content.endswith(f" s.\n\nhi\n{tmp_path}")
    assert not result.is_error
    assert (tmp_path / "made").read_text() == "hi\n"
    assert (await _call(shell, "true")).content.endswith(" s. No output.")


async def test_a_folder_of_the_workspace_can_be_named_but_none_outside_is_there(tmp_path: Path) -> None:
    (tmp_path / "work" / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    shell = await _shell(tmp_path / "work")

    assert (await _call(shell, "pwd", work_dir="sub")).content.endswith(str(tmp_path / "work" / "sub"))
    for outside in ("../outside", str(tmp_path / "outside"), "-P"):
        assert "Exit code 2" in (await _call(shell, "pwd", work_dir=outside)).content


async def test_a_command_has_the_operators_variables_python_and_no_network(tmp_path: Path) -> None:
    shell = await _shell(tmp_path, NAMED="yes")
    probe = "import socket; socket.create_connection(('127.0.0.1', PORT), 1)"
    with listening(tmp_path) as (sockets, reached):
        script = f'echo $NAMED; python3 -c "{probe}"'.replace("PORT", str(sockets.tcp))
        closed = await _call(shell, script)
        assert closed.content.splitlines()[2] == "yes"
        assert reached() == []

        await _call(await _shell(tmp_path, ShellSettings(network=True)), script)
        assert reached() == ["tcp"]


async def test_a_command_is_ended_when_its_time_is_up(tmp_path: Path) -> None:
    results: dict[str, ToolResult] = {}

    async def end(name: str, shell: Shell, **arguments: object) -> None:
        results[name] = await _call(shell, "echo so far; sleep 50", **arguments)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end, "usual", await _shell(tmp_path, ShellSettings(seconds=1)))
        tasks.start_soon(partial(end, "given", await _shell(tmp_path), timeout=1))
    result = results["usual"]

    assert result.content == "Ended after 1 s: its time was up. `timeout` gives more, 600 at most.\n\nso far"
    assert result.is_error
    assert results["given"].content.startswith("Ended after 1 s")


async def test_a_flood_is_ended(tmp_path: Path) -> None:
    result = await _call(await _shell(tmp_path), "yes 0123456789012345678901234567890123456789")

    assert re.match(r"Ended after \d{8,9} bytes of output: that was too much\.\n\n0123456789", result.content)
    assert "bytes left out" in result.content
    assert len(result.content) < 140_000


async def test_what_hides_or_moves_text_is_made_visible(tmp_path: Path) -> None:
    result = await _call(await _shell(tmp_path), "printf 'a\\033[2Jb\\342\\200\\256c'")

    assert "\x1b" not in result.content
    assert "\u202e" not in result.content


@pytest.mark.parametrize(
    ("command", "more", "words"),
    [
        (5, {}, "command must be a string"),
        ("true", {"timeout": 601}, "timeout must be at most 600"),
        ("true", {"timeout": 0}, "timeout must be at least 1"),
        ("true", {"folder": "x"}, "'folder' is not known"),
        ("a\0b", {}, "can't hold a NUL"),
    ],
)
async def test_wrong_arguments_are_told(
    tmp_path: Path, command: object, more: dict[str, Any], words: str
) -> None:
    result = await _call(await _shell(tmp_path), command, **more)

    assert result.is_error
    assert words in result.content


async def test_patterns_of_the_team_file_are_followed_part_by_part(tmp_path: Path) -> None:
    blocked = await _shell(tmp_path, ShellSettings(blocked=("rm .*",)))
    allowed = await _shell(tmp_path, ShellSettings(allowed=("echo", "cat")))

    assert "does not run commands like 'rm .*'" in (await _call(blocked, "true; rm x")).content
    assert not (await _call(blocked, "echo farm x")).is_error
    assert "only commands like echo, cat, not 'ls'" in (await _call(allowed, "echo x | cat && ls")).content
    assert not (await _call(allowed, "echo x | cat")).is_error
    assert "Only commands like echo, cat." in allowed.specs[0].description
    assert "No commands like rm .*." in blocked.specs[0].description


def test_a_pattern_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        ShellSettings(blocked=("(",))


async def test_what_the_level_does_not_hold_is_a_warning(tmp_path: Path) -> None:
    def shell(sandbox: Sandbox) -> Shell:
        return Shell(sandbox, lambda: Confinement(cwd=tmp_path))

    landlock = shell(Sandbox("landlock", "not held: x", Landlock(root=os.geteuid() == 0)))
    off = shell(await find_sandbox(mode="off"))
    strong = shell(await find_sandbox())

    assert landlock.warnings == ("execute_command is confined by landlock: not held: x.",)
    assert "There are no sockets at all" in landlock.guidance
    assert "runs without a sandbox" in off.warnings[0]
    assert strong.warnings == ()
    assert "without network access" in strong.guidance
    assert not strong.idempotent("execute_command")


async def test_a_command_that_can_not_be_started_is_a_result(tmp_path: Path) -> None:
    class Missing:
        level = "docker"
        why = ""

        def command(self, argv: object, confinement: Confinement) -> tuple[str, ...]:
            return (str(tmp_path / "missing"),)

    result = await _call(Shell(Missing(), lambda: Confinement(cwd=tmp_path)), "true")
    wrong = await _call(
        Shell(await find_sandbox(), lambda: Confinement(cwd=Path("x"), write=(Path("x"),))), "true"
    )

    assert "can't be started" in result.content
    assert "'x' can't be shown" in wrong.content
    assert result.is_error
    assert wrong.is_error


async def _checked(command: str, files: Path, *, seconds: float = 20) -> CheckResult:
    return await run_check(await find_sandbox(), command, files, seconds=seconds)


async def test_a_check_runs_on_a_copy_and_its_end_is_evidence(tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "sub").mkdir(parents=True)
    (files / "run").write_text("#!/bin/sh\necho ran; echo x >sub/made; exit 4\n")
    (files / "run").chmod(0o555)
    (files / "link").symlink_to("run")
    for path in (files / "sub", files):
        path.chmod(stat.S_IRUSR | stat.S_IXUSR)

    result = await _checked("./link", files)

    assert (result.passed, result.exit_code, result.tail) == (False, 4, "ran")
    assert result.evidence == "$ ./link\n(exit code 4)\nran"
    assert not (files / "sub" / "made").exists()
    assert (await _checked("test -x run", files)).passed


async def test_a_check_that_does_not_end_fails_with_what_it_wrote(tmp_path: Path) -> None:
    result = await _checked("seq 3000; sleep 50", tmp_path, seconds=1)

    assert (result.passed, result.killed) == (False, "time")
    assert result.tail.endswith("2999\n3000")
    assert len(result.tail) <= 4000
    assert "its time was up" in result.evidence


async def test_a_pattern_of_the_team_file_sees_words_whole(tmp_path: Path) -> None:
    allowed = await _shell(tmp_path, ShellSettings(allowed=("python3 -c",)))

    assert (await _call(allowed, "python3 -c 'print(1)'")).is_error, "a bracket begins another command"
    assert not (await _call(allowed, "python3 -c pass")).is_error
    assert "not 'ls'" in (await _call(allowed, "python3 -c pass\nls")).content


async def test_while_a_workspace_holds_too_much_commands_can_only_take_away(tmp_path: Path) -> None:
    place = Confinement(cwd=tmp_path, write=(tmp_path,))
    shell = Shell(await find_sandbox(), lambda: place, quota=Quota(size=1024**2, entries=50))

    filled = await _call(shell, "head -c 2000000 /dev/urandom >large; for i in 1 2 3; do echo x >$i; done")
    assert "[The workspace holds more than 1 MiB. Until you delete some" in filled.content
    await _call(shell, "echo more >>1; echo more >4")
    assert (tmp_path / "1").read_text() == "x\n"
    assert not (await _call(shell, "rm large; echo gone")).is_error
    assert not (await _call(shell, "echo more >4")).is_error
    assert (tmp_path / "4").read_text() == "more\n"
    assert "more than 50 files" in (await _call(shell, "mkdir d; cd d; seq 60 | xargs touch")).content
