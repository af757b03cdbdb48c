from __future__ import annotations

import base64
import json
import os
import queue
import sys
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from massgen_mcp.messages import Image, ToolCall, ToolResult
from massgen_mcp.tools.custom import Entry, describe, read_source, runner
from massgen_mcp.tools.custom.arguments import wrong_arguments
from massgen_mcp.tools.custom.tools import CustomTools, tool_reads
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.sandbox import find_sandbox
from tests.confined import alive

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


def without_ulm(text: str) -> str:
    return text.replace("Ulm", "[x]" * 20)


class Plain:
    """Confines nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Confinement] = []

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        self.asked.append(confinement)
        return tuple(argv)


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sandbox = Plain()
        self.told: list[str] = []
        self.heard = anyio.Event()

    def tell(self, text: str) -> None:
        self.told.append(text)
        self.heard.set()

    @asynccontextmanager
    async def tools(self, code: str, *functions: str, **options: Any) -> AsyncGenerator[CustomTools]:
        file = self.folder / "t.py"
        file.write_text(code)
        source = read_source(file)
        entries = [Entry(function=name, **options.pop("entry", {})) for name in functions or ("f",)]
        described = [describe(entry, source)[0] for entry in entries]
        with anyio.fail_after(20):
            async with CustomTools(
                [function for function in described if function is not None],
                sandbox=self.sandbox,
                confinement=Confinement(cwd=self.folder, write=(self.folder,)),
                tell=self.tell,
                **options,
            ) as tools:
                yield tools

    async def run(self, code: str, arguments: dict[str, Any] | None = None, **options: Any) -> ToolResult:
        async with self.tools(code, **options) as tools:
            return await call(tools, **(arguments or {}))


async def call(tools: CustomTools, name: str = "f", **arguments: Any) -> ToolResult:
    return await tools.call(ToolCall(id="1", name=f"custom_tool__{name}", arguments=json.dumps(arguments)))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_a_function_runs_in_a_process_of_its_own(stage: Stage) -> None:
    result = await stage.run(
        "import os\ndef f(x: int, y: int = 2) -> int:\n    return [x + y, os.getpid()]", {"x": 1}
    )
    total, pid = json.loads(result.content)
    assert total == 3
    assert pid != os.getpid()
    assert not result.is_error
    assert result.call_id == "1"


async def test_an_async_function_runs(stage: Stage) -> None:
    code = "import asyncio\nasync def f(x: str) -> str:\n    await asyncio.sleep(0)\n    return x.upper()"
    assert (await stage.run(code, {"x": "a"})).content == "A"


@pytest.mark.parametrize(
    "code",
    [
        "async def f():\n    for x in 'abc':\n        yield x",
        "def f():\n    yield from 'abc'",
        "def g():\n    yield from 'abc'\ndef f():\n    return g()",
    ],
    ids=["async", "sync", "returned"],
)
async def test_the_pieces_of_a_stream_are_told_and_make_the_whole(stage: Stage, code: str) -> None:
    result = await stage.run(code)
    assert result.content == "abc"
    assert stage.told == [f"custom_tool__f: {x}" for x in "abc"]


async def test_a_function_that_returns_a_coroutine_is_awaited(stage: Stage) -> None:
    code = "async def g():\n    return 'done'\ndef f():\n    return g()"
    assert (await stage.run(code)).content == "done"


MASSGEN = f"""
from massgen.tool import ExecutionResult, TextContent, ImageContent
from massgen.tool._result import AudioContent
from massgen.tool._decorators import context_params

@context_params("agent_cwd")
async def f(agent_cwd: str, agent_id: str, allowed_paths: list) -> ExecutionResult:
    yield ExecutionResult(output_blocks=[TextContent(data=agent_id)], is_streaming=True, is_final=False)
    yield ExecutionResult(output_blocks=[
        TextContent(data=str([agent_cwd] == allowed_paths)),
        ImageContent(data={base64.b64encode(PNG).decode()!r}),
        ImageContent(data="data:image/png;base64," + {base64.b64encode(PNG).decode()!r}),
        ImageContent(data=b"nothing known"),
        ImageContent(data="%"),
        AudioContent(data="AAAA"),
    ])
"""


async def test_what_massgens_tools_import_and_return_is_understood(stage: Stage) -> None:
    result = await stage.run(MASSGEN, agent_id="agent2")
    assert result.content.splitlines() == [
        "agent2",
        "True",
        "[A picture of a kind that is not known here.]",
        "[A picture that is not base64.]",
        "[A sound, which can't be shown here.]",
    ]
    assert result.images == (Image(mime="image/png", data=PNG),) * 2


async def test_pictures_are_held_to_a_size(stage: Stage) -> None:
    code = (
        "from massgen.tool import ExecutionResult, ImageContent\n"
        "def f():\n    return ExecutionResult([ImageContent(data=b'GIF89a' + b'0' * 5_000_000)])"
    )
    assert (await stage.run(code)).content == "[A picture of 5000006 bytes, too much to show.]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("None", "(It gave nothing.)"),
        ("{'a': [1, Path('x')]}", '{"a": [1, "x"]}'),
        ("b'bytes'", "bytes"),
        ("3.5", "3.5"),
        ("D(1)", '{"x": 1}'),
        ("M()", '{"y": 2}'),
        ("Path('x')", "x"),
    ],
)
async def test_a_value_becomes_text(stage: Stage, value: str, text: str) -> None:
    code = (
        "from dataclasses import dataclass\nfrom pathlib import Path\n"
        "@dataclass\nclass D:\n    x: int\nclass M:\n    def model_dump(self):\n        return {'y': 2}\n"
        f"def f():\n    return {value}"
    )
    assert (await stage.run(code)).content == text


async def test_what_a_function_prints_and_reads_disturbs_nothing(stage: Stage) -> None:
    code = (
        "import os, sys\n"
        "def f():\n"
        "    print('noise'); os.write(1, b'noise\\n'); sys.stdout.flush()\n"
        "    os.system('echo noise')\n"
        "    return repr(sys.stdin.read())"
    )
    assert (await stage.run(code)).content == "''"


async def test_an_exception_is_an_error_with_its_last_line_and_place(stage: Stage) -> None:
    code = "def g():\n    raise ValueError('no such city: Ulm')\ndef f():\n    g()"
    result = await stage.run(code, redact=without_ulm)
    assert result.is_error
    assert result.content == "ValueError: no such city: " + "[x]" * 20 + " (t.py, line 2)"


async def test_what_a_stream_gave_before_it_failed_is_told(stage: Stage) -> None:
    result = await stage.run("def f():\n    yield 'half'\n    raise SystemExit(3)")
    assert result.is_error
    assert result.content == "SystemExit: 3 (t.py, line 3)\nBefore that it gave:\nhalf"


async def test_a_file_that_can_t_be_imported_is_the_calls_error(stage: Stage) -> None:
    async with stage.tools("import not_installed_here\ndef f(): ...") as tools:
        for _ in range(2):
            result = await call(tools)
            assert result.is_error
            assert "No module named 'not_installed_here' (t.py, line 1)" in result.content


async def test_a_function_that_cancels_itself_has_failed(stage: Stage) -> None:
    result = await stage.run("import asyncio\nasync def f():\n    raise asyncio.CancelledError")
    assert result.is_error
    assert result.content == "it cancelled itself"


async def test_a_name_that_is_no_function_at_run_time_is_an_error(stage: Stage) -> None:
    result = await stage.run("def f(): ...\nexec('f = 3')")
    assert result.content == "TypeError: f is not a function"


async def test_modules_beside_the_file_can_be_imported(stage: Stage) -> None:
    (stage.folder / "helper_of_t.py").write_text("VALUE = 'helped'")
    assert (await stage.run("import helper_of_t\ndef f():\n    return helper_of_t.VALUE")).content == "helped"


async def test_preset_and_default_arguments_are_given_and_presets_can_t_be_overridden(stage: Stage) -> None:
    code = "def f(a: int, b: int, key: str):\n    return f'{a} {b} {key}'"
    options: dict[str, Any] = {"entry": {"preset": {"key": "k"}, "defaults": {"b": 2}}}
    async with stage.tools(code, **options) as tools:
        assert (await call(tools, a=1)).content == "1 2 k"
        assert (await call(tools, a=1, b=3)).content == "1 3 k"
        assert "there is no key" in (await call(tools, a=1, key="mine")).content


async def test_whole_numbers_written_as_decimals_are_whole(stage: Stage) -> None:
    assert (
        await stage.run("def f(n: int, x: float):\n    return f'{n!r} {x!r}'", {"n": 5.0, "x": 5})
    ).content == "5 5"


async def test_wrong_calls_are_errors_before_anything_starts(stage: Stage) -> None:
    async with stage.tools("def f(x: int): ...") as tools:
        assert (await call(tools, x="a")).content == "Wrong arguments: x must be integer, not string."
        assert (await call(tools)).content == "Wrong arguments: x is missing."
        bad = await tools.call(ToolCall(id="1", name="custom_tool__f", arguments="{"))
        assert bad.is_error
        assert (await call(tools, "other")).content == "There is no tool named 'custom_tool__other'."
    assert stage.sandbox.asked == []


def test_arguments_are_held_against_every_kind_of_schema() -> None:
    schema: dict[str, Any] = {
        "properties": {
            "a": {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]},
            "b": {"enum": ["x", 1]},
            "c": {"type": ["string", "null"]},
            "d": {"type": "object", "additionalProperties": {"type": "boolean"}},
            "e": {"type": "array", "minItems": 2, "maxItems": 2},
            "f": {},
        },
        "additionalProperties": True,
    }
    good = {"a": [1], "b": 1, "c": None, "d": {"y": True}, "e": [1, 2], "f": {"any": 1}, "g": 1}
    assert wrong_arguments(schema, good) == ""
    bad = {"a": ["1"], "b": 2, "c": True, "d": {"y": 1}, "e": [1]}
    assert wrong_arguments(schema, bad) == (
        "a fits none of its types; b must be one of 'x', 1; c must be string or null, not boolean; "
        "d.y must be boolean, not integer; e must have 2 items, not 1"
    )
    many: dict[str, Any] = {"properties": {}, "additionalProperties": False}
    assert wrong_arguments(many, dict.fromkeys("abcdefg")).endswith("(and 2 more)")


async def test_calls_run_side_by_side(stage: Stage) -> None:
    code = "import threading\nboth = threading.Barrier(2)\ndef f():\n    both.wait(10)\n    return 'met'"
    results: list[str] = []
    async with stage.tools(code) as tools, anyio.create_task_group() as tasks:

        async def one() -> None:
            results.append((await call(tools)).content)

        tasks.start_soon(one)
        tasks.start_soon(one)
    assert results == ["met", "met"]
    assert len(stage.sandbox.asked) == 1


async def test_a_call_that_takes_too_long_is_stopped_and_the_next_one_works(stage: Stage) -> None:
    code = (
        "import asyncio, os, time\n"
        "def f(how: str):\n    time.sleep(60 if how == 'hang' else 0)\n    return str(os.getpid())\n"
        "async def g():\n    await asyncio.sleep(60)\n"
        "async def h():\n    time.sleep(60)\n"
    )
    async with stage.tools(code, "f", "g", "h") as tools:

        async def hang(name: str = "f", **arguments: str) -> str:
            tools.seconds, usual = 0.4, tools.seconds
            result = await call(tools, name, **arguments)
            tools.seconds = usual
            return result.content

        first = (await call(tools, how="")).content
        assert await hang("g") == "It took longer than 0.4 s and was stopped."
        assert (await call(tools, how="")).content == first  # a coroutine can be stopped: the process stays
        assert "took longer" in await hang(how="hang")
        second = (await call(tools, how="")).content
        assert second != first
        assert "took longer" in await hang("h")
        assert (await call(tools, how="")).content not in {first, second}


async def test_a_cancelled_call_leaves_the_tools_usable(stage: Stage) -> None:
    code = "import asyncio\nasync def f(x: bool):\n    yield 'begun'\n    await asyncio.sleep(60 if x else 0)"
    async with stage.tools(code) as tools:
        async with anyio.create_task_group() as tasks:

            async def hang() -> None:
                await call(tools, x=True)

            tasks.start_soon(hang)
            await stage.heard.wait()
            tasks.cancel_scope.cancel()
        assert (await call(tools, x=False)).content == "begun"
    assert len(stage.sandbox.asked) == 1


async def test_a_crash_is_an_error_and_the_process_is_started_twice_more(stage: Stage) -> None:
    code = (
        "import os\ndef f(x: bool):\n    if x:\n        print('out of luck'); os._exit(7)\n    return 'fine'"
    )
    async with stage.tools(code) as tools:
        for _ in range(3):
            assert (await call(tools, x=False)).content == "fine"
            crashed = await call(tools, x=True)
            assert crashed.is_error
            assert crashed.content == "The process of the custom tools ended: it ended with exit code 7."
        last = await call(tools, x=False)
        assert "did so 3 times in this run and is not started again" in last.content


async def test_a_process_that_can_t_be_started_is_an_error(stage: Stage) -> None:
    result = await stage.run("def f(): ...", python="/nowhere/python")
    assert result.is_error
    assert "can't be started" in result.content


async def test_a_child_that_writes_nonsense_is_lost(stage: Stage, tmp_path: Path) -> None:
    for number, line in enumerate(("no json", "[1]")):
        fake = tmp_path / f"fake{number}"
        fake.write_text(f"#!/bin/sh\nread x\necho '{line}'\nread x\n")
        fake.chmod(0o755)
        result = await stage.run("def f(): ...", python=str(fake))
        assert result.is_error
        assert "it wrote what is" in result.content


async def test_answers_that_nobody_asked_for_and_bad_pictures_are_passed_over(
    stage: Stage, tmp_path: Path
) -> None:
    fake = tmp_path / "fake"
    fake.write_text(
        '#!/bin/sh\nread x\necho \'{"call": 99, "done": "a"}\'\n'
        'echo \'{"call": 1, "done": "b", "images": [3, {"mime": "x", "data": "%"}]}\'\nread x\n'
    )
    fake.chmod(0o755)
    result = await stage.run("def f(): ...", python=str(fake))
    assert (result.content, result.images) == ("b", ())


async def test_long_output_keeps_its_head_and_tail(stage: Stage) -> None:
    result = await stage.run("def f():\n    for _ in range(300):\n        yield 'x' * 1000\n    yield 'end'")
    assert result.content.startswith("x" * 1000)
    assert result.content.endswith("xend")
    assert "characters left out" in result.content
    assert len(result.content) < 66_000
    swollen = await stage.run("def f():\n    return 'Ulm ' * 16000", redact=without_ulm)
    assert "characters left out" in swollen.content


async def test_the_environment_is_made_from_nothing(stage: Stage) -> None:
    code = "import os\ndef f():\n    return sorted(os.environ)"
    names = json.loads((await stage.run(code, environ={"GIVEN": "1"})).content)
    assert "GIVEN" in names
    assert set(names) <= {
        "GIVEN",
        "PATH",
        "LANG",
        "LC_CTYPE",
        "PYTHONUTF8",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUSERBASE",
    }


async def test_nothing_is_imported_from_the_folder_it_runs_in(stage: Stage) -> None:
    result = await stage.run("import sys\ndef f():\n    return [p for p in sys.path if p in ('', '.')]")
    assert result.content == "[]"


async def test_another_confinement_takes_a_new_process_and_the_same_one_does_not(stage: Stage) -> None:
    async with stage.tools("import os\ndef f(agent_cwd: str):\n    return [os.getpid(), agent_cwd]") as tools:
        first = (await call(tools)).content
        tools.begin(Confinement(cwd=stage.folder, write=(stage.folder,)))
        assert (await call(tools)).content == first
        tools.begin(Confinement(cwd=stage.folder / "w"))
        second = json.loads((await call(tools)).content)
    assert second[1] == str(stage.folder / "w")
    assert [confinement.cwd for confinement in stage.sandbox.asked] == [stage.folder, stage.folder / "w"]


async def test_names_are_prefixed_and_never_shadow_others(stage: Stage) -> None:
    async with stage.tools("def f(): ...\ndef g(): ...", "f", "g", "g", taken={"custom_tool__f"}) as tools:
        assert [spec.name for spec in tools.specs] == ["custom_tool__g"]
        assert len(tools.warnings) == 2
        assert not tools.idempotent("custom_tool__g")
        assert tools.side_effects("custom_tool__g")


def test_in_the_teams_own_folder_only_python_is_shown(tmp_path: Path) -> None:
    team, deeper = tmp_path, tmp_path / "tools"
    for folder in (team, deeper):
        (folder / "package").mkdir(parents=True)
        (folder / "package" / "__init__.py").touch()
        (folder / "t.py").write_text("def f(): ...")
        (folder / ".env").write_text("KEY=secret")
    tools = [describe(Entry(function="f"), read_source(folder / "t.py"))[0] for folder in (team, deeper)]
    functions = [tool for tool in tools if tool is not None]

    seen = [path for path in tool_reads(functions, team_folder=team) if path.is_relative_to(tmp_path)]
    assert sorted(seen) == [team / "package", team / "t.py", deeper]
    assert [path for path in tool_reads(functions) if path.is_relative_to(tmp_path)] == [team]
    assert any(Path(sys.prefix).is_relative_to(path) for path in tool_reads(functions))


async def test_in_the_sandbox_a_function_sees_its_own_file_and_the_workspace_alone(tmp_path: Path) -> None:
    sandbox = await find_sandbox()
    own, work = tmp_path / "own", tmp_path / "work"
    own.mkdir()
    work.mkdir()
    (tmp_path / "secret").write_text("secret")
    (own / "t.py").write_text(
        "import pathlib\n"
        "def f(agent_cwd: str):\n"
        "    pathlib.Path(agent_cwd, 'made').write_text('x')\n"
        f"    return [p.name for p in pathlib.Path({str(tmp_path)!r}).iterdir()]\n"
        "def g():\n    pathlib.Path(__file__).write_text('')\n"
    )
    source = read_source(own / "t.py")
    described = [describe(Entry(function=name), source)[0] for name in "fg"]
    functions = [function for function in described if function is not None]
    confinement = Confinement(cwd=work, write=(work,))
    async with CustomTools(functions, sandbox=sandbox, confinement=confinement) as tools:
        seen = await call(tools)
        assert sorted(json.loads(seen.content)) == ["own", "work"], seen
        assert "Read-only file system" in (await call(tools, "g")).content
    assert (work / "made").read_text() == "x"


class Wire:
    """Both ends of the runner's pipes, with the runner in this process."""

    def __init__(self) -> None:
        (self.takes, self._in), (self._out, self.writes) = os.pipe(), os.pipe()
        self.ended = threading.Event()
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with os.fdopen(self._out, "rb") as lines:
            for line in lines:
                self._lines.put(line)

    def send(self, message: dict[str, Any]) -> None:
        os.write(self._in, json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any]:
        return json.loads(await anyio.to_thread.run_sync(self._lines.get, True, 10))

    async def close(self) -> None:
        os.close(self._in)
        assert await anyio.to_thread.run_sync(self.ended.wait, 10)
        os.close(self.writes)
        self._reader.join(10)


async def test_the_runner_speaks_lines_until_its_input_ends(stage: Stage) -> None:
    (stage.folder / "t.py").write_text(
        MASSGEN.replace("async def f", "async def h")
        + "import asyncio, dataclasses, pathlib, threading\n"
        + "go = threading.Event()\n"
        + "@dataclasses.dataclass\nclass D:\n    x: int\n"
        + "class M:\n    def model_dump(self):\n        return {}\n"
        + "def f(kind):\n"
        + "    if kind == 'wait':\n        go.wait(10)\n"
        + "    if kind == 'raise':\n        raise KeyError(kind)\n"
        + "    return {'long': 'x' * 399999, 'd': D(1), 'm': M(), 'b': b'b', 'p': go}.get(kind)\n"
        + "def g():\n    yield from 'ab'\n"
        + "async def k():\n    go.set()\n    await asyncio.sleep(60)\n"
    )
    wire, file = Wire(), str(stage.folder / "t.py")

    async def ask(number: int, function: str, **arguments: Any) -> dict[str, Any]:
        request = {"call": number, "file": file, "function": function}
        wire.send({**request, "arguments": arguments})
        return await wire.receive()

    runner.offer_massgen()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.serve, wire.takes, wire.writes, wire.ended.set)
            assert await ask(1, "f", kind="b") == {"call": 1, "done": "b", "images": []}
            assert await ask(2, "f", kind="d") == {"call": 2, "done": '{"x": 1}', "images": []}
            assert (await ask(3, "f", kind="m"))["done"] == "{}"
            assert "Event" in (await ask(4, "f", kind="p"))["done"]
            assert "137855 characters left out" in (await ask(5, "f", kind="long"))["done"]
            assert "KeyError: 'raise'" in (await ask(6, "f", kind="raise"))["error"]
            assert await ask(7, "g") == {"call": 7, "piece": "a"}
            assert await wire.receive() == {"call": 7, "piece": "b"}
            assert (await wire.receive())["done"] == "ab"
            context = {"agent_cwd": "w", "agent_id": "a", "allowed_paths": ["w"]}
            assert await ask(8, "h", **context) == {"call": 8, "piece": "a"}
            assert "sound" in (await wire.receive())["piece"]
            assert len((await wire.receive())["images"]) == 2
            wire.send({"cancel": 99})
            wire.send({"call": 9, "file": file, "function": "f", "arguments": {"kind": "wait"}})
            assert "TypeError" in (await ask(10, "__name__"))["error"]
            wire.send({"cancel": 9})
            assert await wire.receive() == {"call": 9, "cancelled": True, "running": True}
            wire.send({"call": 11, "file": file, "function": "k", "arguments": {}})
            assert (await ask(12, "f", kind="wait"))["done"] == ""
            wire.send({"cancel": 11})
            assert await wire.receive() == {"call": 11, "cancelled": True, "running": False}
            await wire.close()
            tasks.cancel_scope.cancel()
    for name in [name for name in sys.modules if name == "massgen" or name.startswith("massgen.")]:
        del sys.modules[name]


async def test_a_long_text_is_kept_whole_where_there_is_a_place_for_it(stage: Stage) -> None:
    kept: dict[str, bytes] = {}

    async def spill(name: str, data: bytes) -> str:
        await anyio.lowlevel.checkpoint()
        kept[name] = data
        return f"tool_results/{name}"

    result = await stage.run("def f():\n    return 'x' * 100_000 + 'Ulm'", spill=spill, redact=without_ulm)
    assert "left out; all of it is in tool_results/custom_tool__f.txt ...]" in result.content
    assert len(result.content) < 66_000
    assert kept == {"custom_tool__f.txt": b"x" * 100_000 + b"[x]" * 20}


@pytest.mark.parametrize(
    "line",
    [
        '{"call": []}',
        '{"call": {"a": 1}, "done": "x"}',
        '{"call": 1, "done": "b", "images": 3}',
        '{"call": null}',
    ],
)
async def test_what_a_function_writes_past_its_runner_fails_no_more_than_its_call(
    stage: Stage, tmp_path: Path, line: str
) -> None:
    fake = tmp_path / "fake"
    fake.write_text(f'#!/bin/sh\nread x\necho \'{line}\'\necho \'{{"call": 1, "done": "b"}}\'\nread x\n')
    fake.chmod(0o755)

    assert (await stage.run("def f(): ...", python=str(fake))).content == "b"


async def test_a_function_that_forks_prints_and_hangs_leaves_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.sandbox = await find_sandbox()  # pyright: ignore[reportAttributeAccessIssue] - a real one for once
    mark = f"6{os.getpid():08}"
    code = (
        "import os, subprocess, sys, time\n"
        "def f():\n"
        "    print('noise' * 100000)\n"
        "    sys.stdout.flush()\n"
        f"    subprocess.Popen(['setsid', 'sleep', '{mark}'])\n"
        "    if os.fork() == 0:\n        time.sleep(60)\n"
        "    try:\n        return open('/etc/shadow').read() + open(os.path.expanduser('~/.env')).read()\n"
        "    except OSError as error:\n        return 'refused'\n"
    )
    async with stage.tools(code) as tools:
        assert (await call(tools)).content == "refused"
    assert alive(mark) == []


async def test_without_a_sandbox_what_a_function_started_is_gone_when_we_are(tmp_path: Path) -> None:
    mark = f"6{os.getpid():07}1"
    script = (
        "import anyio, json, pathlib, sys\n"
        "from massgen_mcp.workspace.sandbox import find_sandbox\n"
        "from tests.tools.test_custom_tools import Stage, call\n"
        "async def main():\n"
        "    stage = Stage(pathlib.Path(sys.argv[1]))\n"
        "    stage.sandbox = await find_sandbox(mode='off')\n"
        '    code = \'import subprocess\\ndef f():\\n    subprocess.Popen(["setsid", "sleep", "MARK"])\'\n'
        "    async with stage.tools(code.replace('MARK', sys.argv[2])) as tools:\n"
        "        await call(tools)\n"
        "        print('ready', flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    root = str(Path(__file__).parents[2])
    process = await anyio.open_process(
        [sys.executable, "-c", script, str(tmp_path), mark], cwd=root, env={**os.environ, "PYTHONPATH": root}
    )
    async with process:
        assert process.stdout is not None
        with anyio.fail_after(45):
            assert (await process.stdout.receive()).startswith(b"ready")
        assert alive(mark, at_least=1)
        process.kill()
        assert await anyio.to_thread.run_sync(alive, mark) == []
