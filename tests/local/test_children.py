from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from massgen_mcp.workspace.children import Child, ChildLost, launch, own_environment

pytestmark = pytest.mark.anyio

_ECHO = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"


@asynccontextmanager
async def running(code: str, *, grace: float = 10) -> AsyncGenerator[Child]:
    with anyio.fail_after(20):
        child = await launch(
            [sys.executable, "-S", "-c", code], environ=own_environment({}), max_line=1000, grace=grace
        )
        try:
            yield child
        finally:
            await child.stop()


async def test_lines_go_in_and_come_out() -> None:
    async with running(_ECHO) as child:
        await child.send(b"one")
        await child.send(b"two")

        assert await child.receive() == b"ONE"
        assert await child.receive() == b"TWO"


async def test_a_cancelled_wait_loses_nothing() -> None:
    async with running(_ECHO) as child:
        with anyio.move_on_after(0.01):
            await child.receive()
        await child.send(b"one")

        assert await child.receive() == b"ONE"


async def test_the_last_words_of_a_crashed_child_are_told() -> None:
    code = (
        "import os, sys\nprint('loading', file=sys.stderr)\nprint('no memory', file=sys.stderr)\nos.abort()"
    )
    async with running(code) as child:
        with pytest.raises(ChildLost, match="ended by SIGABRT: loading / no memory"):
            await child.receive()


async def test_an_exit_code_is_told() -> None:
    async with running("raise SystemExit(3)") as child:
        with pytest.raises(ChildLost, match=r"^it ended with exit code 3$"):
            await child.receive()


async def test_a_signal_without_a_name_is_told_by_number() -> None:
    async with running("import os, signal\nos.kill(os.getpid(), 40)") as child:
        with pytest.raises(ChildLost, match="ended by signal 40"):
            await child.receive()


async def test_a_child_that_only_closes_its_output_is_lost_too() -> None:
    async with running("import os, time\nos.close(1)\ntime.sleep(60)", grace=0.05) as child:
        with pytest.raises(ChildLost, match="closed its output"):
            await child.receive()


async def test_a_line_without_end_is_not_kept() -> None:
    async with running("print('x' * 5000, end='', flush=True)\ninput()") as child:
        with pytest.raises(ChildLost, match="more than 1000 bytes without ending"):
            await child.receive()


async def test_what_is_sent_to_a_child_that_left_says_so() -> None:
    async with running("import os\nos.close(0)\nprint('bye', flush=True)") as child:
        await child.receive()
        with pytest.raises(ChildLost, match="exit code 0"):
            await _send_for_ever(child)


async def _send_for_ever(child: Child) -> None:
    while True:
        await child.send(b"x" * 100_000)


async def test_a_flood_of_errors_never_makes_the_child_wait() -> None:
    code = """if True:
        import os
        for _ in range(100):
            try:
                os.write(2, b'e' * 10_000)
            except BlockingIOError:
                pass
        print('done', flush=True)
    """
    async with running(code) as child:
        assert await child.receive() == b"done"


async def test_a_child_that_ignores_the_end_of_its_input_is_killed() -> None:
    code = "import time\nprint('up', flush=True)\ntime.sleep(60)"
    with anyio.fail_after(20):
        child = await launch([sys.executable, "-S", "-c", code], environ=own_environment({}))
        await child.receive()
        pid = child.pid
        await child.stop(grace=0.05)
        await child.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_program_that_is_not_there_leaves_nothing_open() -> None:
    before = _open_files()
    with pytest.raises(OSError, match="No such file"):
        await launch(["/nowhere/python"], environ={})

    assert _open_files() == before


async def test_a_child_sees_nothing_of_our_environment() -> None:
    given = {"OPENAI_API_KEY": "sk-secret", "HOME": "/home/me", "LD_LIBRARY_PATH": "/lib/here"}

    made = own_environment(given)

    assert sorted(made) == ["LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONUTF8"]
    assert "" not in made["PYTHONPATH"].split(os.pathsep)


_PARENT = """
import sys, anyio
from massgen_mcp.workspace.children import launch, own_environment
async def main():
    child = await launch([sys.executable, *sys.argv[1:]], environ=own_environment({}))
    print(child.pid, flush=True)
    await anyio.sleep_forever()
anyio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="waits on a process by its descriptor")
@pytest.mark.parametrize(
    "arguments",
    [("-S", "-c", "import sys; sys.stdin.read()"), ("-P", "-m", "massgen_mcp.backends.local_child")],
    ids=["a child that reads its input", "the model's process"],
)
def test_a_child_ends_with_us_even_when_we_are_killed(arguments: tuple[str, ...]) -> None:
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _PARENT, *arguments],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"},
    ) as parent:
        assert parent.stdout is not None
        descriptor = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            ended, _, _ = select.select([descriptor], [], [], 20)
        finally:
            os.close(descriptor)

    assert ended


async def test_a_child_starts_where_it_is_told(tmp_path: Path) -> None:
    with anyio.fail_after(20):
        child = await launch(
            [sys.executable, "-Sc", "import os; print(os.getcwd())"], environ={}, cwd=tmp_path
        )
        try:
            assert await child.receive() == str(tmp_path).encode()
        finally:
            await child.stop()


async def test_a_child_may_say_any_amount_beside_what_it_answers_while_that_is_watched() -> None:
    code = (
        "import sys\nsys.stderr.write('noise\\n' * 100_000 + 'last')\n"
        "sys.stderr.flush()\nprint('done', flush=True)"
    )
    with anyio.fail_after(20):
        child = await launch([sys.executable, "-Sc", code], environ={}, patient_errors=True)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(child.watch_errors)
                assert await child.receive() == b"done"
            assert child.last_words(2) == "noise / last"
        finally:
            await child.stop()


async def test_what_a_child_started_ends_with_it_although_it_ignores_the_request() -> None:
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-Sc', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with anyio.fail_after(20):
        child = await launch([sys.executable, "-Sc", code], environ={}, grace=0.1, term_grace=0.1)
        pid = int(await child.receive())
        await child.stop()
        with anyio.fail_after(5):
            while _alive(pid):  # noqa: ASYNC110 - processes of others set no events
                await anyio.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
