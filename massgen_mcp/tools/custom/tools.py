"""An operator's Python functions as tools of one agent, run in a confined process of their own."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec, parse_arguments
from massgen_mcp.text import visible
from massgen_mcp.tools.custom import runner
from massgen_mcp.tools.custom.arguments import wrong_arguments
from massgen_mcp.tools.custom.process import MAX_LINE, Ended, Failed, Gave, Runner, TookTooLong
from massgen_mcp.tools.custom.source import CustomFunction
from massgen_mcp.workspace.children import launch
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.python import python_roots

__all__ = ["CustomTools", "Launcher", "tool_environment", "tool_reads"]

_RUNNER = Path(runner.__file__).resolve()
_MAX_TEXT = 64 * 1024
_MAX_PARALLEL = 8
_MAX_STARTS = 3
_GRACE = 1.0
_MAX_BESIDE = 200

Tell: TypeAlias = Callable[[str], None]


class Launcher(Protocol):
    """What makes a confined command of a command."""

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command that runs `argv` within the confinement."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the process runs, and what its functions are told of it."""

    confinement: Confinement
    context: Mapping[str, Any]


class CustomTools:
    """The tools; open it before calling, and leave it to end their process.

    The process starts at the first call. A call that hangs is given up after `seconds`, and where it can't be
    stopped the process ends with it. One that crashed is started anew, twice in a run; no call is ever sent
    a second time.

    Args:
        functions: what is offered; of equal names the first counts.
        sandbox: confines the process.
        confinement: where it lives: the agent's workspace and what it may read; the functions' own files and
            this Python are added.
        environ: its variables beside a few harmless ones; empty for none.
        agent_id: told to functions that take `agent_id`: the anonymous one.
        team_folder: where the team's file lies; of what is beside it only Python files are shown.
        taken: names of other tools, which are never shadowed.
        seconds: limit of a call.
        tell: takes the pieces of a streaming function, as `NAME: piece`.
        redact: takes secrets out of what functions give.
        spill: keeps a long text under a suggested name, and says where; without it a long text is only cut.
        python: the interpreter.
    """

    def __init__(
        self,
        functions: Sequence[CustomFunction],
        *,
        sandbox: Launcher,
        confinement: Confinement,
        environ: Mapping[str, str] | None = None,
        agent_id: str = "",
        team_folder: Path | None = None,
        taken: Collection[str] = (),
        seconds: float = 120.0,
        tell: Tell = lambda _: None,
        redact: Callable[[str], str] = lambda text: text,
        spill: Callable[[str, bytes], Awaitable[str]] | None = None,
        python: str = sys.executable,
    ) -> None:
        self._functions: dict[str, CustomFunction] = {}
        self._warnings: list[str] = []
        for function in functions:
            if function.name in taken or function.name in self._functions:
                self._warnings.append(f"The tool {function.name!r} is left out: another has this name.")
            else:
                self._functions[function.name] = function
        self._sandbox = sandbox
        self._environ = tool_environment() | dict(environ or {})
        self._agent_id = agent_id
        self._reads = tool_reads(self._functions.values(), team_folder=team_folder)
        self.seconds = seconds
        """Limit of a call, the start of the process included."""
        self._tell = tell
        self._redact = redact
        self._spill = spill
        self._python = python
        self._place = self._place_of(confinement)
        self._tasks: TaskGroup | None = None
        self._runner: Runner | None = None
        self._started_in: _Place | None = None
        self._crashes = 0
        self._starting = anyio.Lock()
        self._limit = anyio.CapacityLimiter(_MAX_PARALLEL)

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        await self._stop()
        if self._tasks is not None:
            # Nothing runs in it any more; told of an error, it would wrap it into a group.
            await self._tasks.__aexit__(None, None, None)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The definitions."""
        return tuple(
            ToolSpec(name=name, description=function.description, parameters=function.parameters)
            for name, function in self._functions.items()
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out."""
        return tuple(self._warnings)

    def idempotent(self, name: str) -> bool:
        """Nothing says so of any of them."""
        del name
        return False

    def side_effects(self, name: str) -> bool:
        """Anything may happen in one."""
        return name in self._functions

    def begin(self, confinement: Confinement) -> None:
        """From the next call on, live in this confinement: the presenter may write where others may not."""
        self._place = self._place_of(confinement)

    def _place_of(self, confinement: Confinement) -> _Place:
        reads = (*confinement.read, *(path for path in self._reads if path not in confinement.read))
        allowed = dict.fromkeys(str(path) for path in (*confinement.write, *confinement.read))
        context = {
            "agent_cwd": str(confinement.cwd),
            "agent_id": self._agent_id,
            "allowed_paths": list(allowed),
        }
        return _Place(confinement=replace(confinement, read=reads), context=context)

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one call. Failures are results with `is_error`."""
        function = self._functions.get(call.name)
        if function is None:
            return _error(call, f"There is no tool named {call.name!r}.")
        try:
            given = parse_arguments(call)
        except ValueError as error:
            return _error(call, str(error))
        given = _whole_numbers(function.parameters, given)
        if wrong := wrong_arguments(function.parameters, given):
            return _error(call, f"Wrong arguments: {wrong}.")
        async with self._limit:
            return await self._run(call, function, given)

    async def _run(self, call: ToolCall, function: CustomFunction, given: Mapping[str, Any]) -> ToolResult:
        running: Runner | None = None
        try:
            running = await self._running()
            gave = await running.ask(
                {
                    "file": str(function.file),
                    "function": function.function,
                    "arguments": self._arguments(function, given),
                },
                lambda piece: self._tell(visible(self._redact(f"{call.name}: {piece}"))),
                seconds=self.seconds,
            )
        except Failed as error:
            return _error(call, self._fit(str(error)))
        except TookTooLong:
            return _error(call, f"It took longer than {self.seconds:g} s and was stopped.")
        except Ended as error:
            return _error(call, self._fit(f"The process of the custom tools ended: {error}."))
        finally:
            self._let_go_if_stuck(running)
        return await self._result(call, gave)

    def _let_go_if_stuck(self, running: Runner | None) -> None:
        """End a process in which a call goes on that nobody waits for, once no other needs it."""
        if running is self._runner and running is not None and running.stuck and not running.busy:
            self._runner = None
            if self._tasks is not None:
                self._tasks.start_soon(running.stop)

    def _arguments(self, function: CustomFunction, given: Mapping[str, Any]) -> dict[str, Any]:
        context = {name: self._place.context[name] for name in function.context}
        return {**function.defaults, **given, **function.preset, **context}

    async def _result(self, call: ToolCall, gave: Gave) -> ToolResult:
        where = ""
        if self._spill is not None and len(gave.text) > _MAX_TEXT:
            text = self._redact(gave.text).encode("utf-8", "replace")
            where = f"; all of it is in {await self._spill(f'{call.name}.txt', text)}"
        text = self._fit(gave.text, where) or ("" if gave.images else "(It gave nothing.)")
        return ToolResult(call_id=call.id, content=text, images=gave.images)

    def _fit(self, text: str, where: str = "") -> str:
        text = self._redact(text)
        if len(text) <= _MAX_TEXT:
            return text
        half = _MAX_TEXT // 2
        return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out{where} ...]\n{text[-half:]}"

    async def _running(self) -> Runner:
        async with self._starting:
            if self._runner is not None and self._spent(self._runner):
                await self._stop()
            if self._runner is None:
                self._runner = await self._start()
            return self._runner

    def _spent(self, runner: Runner) -> bool:
        """Whether it is to be replaced; one that has moved or hangs serves the calls it has to their end."""
        if runner.lost:
            self._crashes += 1
            return True
        return not runner.busy and (runner.stuck or self._started_in != self._place)

    async def _start(self) -> Runner:
        if self._tasks is None:
            raise AssertionError("open it first")
        if self._crashes >= _MAX_STARTS:
            raise Ended(f"it did so {self._crashes} times in this run and is not started again")
        place = self._place
        # -P: nothing that an agent wrote beside it is ever imported.
        argv = (self._python, "-P", "-B", str(_RUNNER))
        command = self._sandbox.command(argv, place.confinement)
        try:
            child = await launch(
                command, environ=self._environ, max_line=MAX_LINE, grace=_GRACE, patient_errors=True
            )
        except OSError as error:
            raise Ended(f"it can't be started: {error.strerror}") from error
        self._started_in = place
        return Runner(child, self._tasks)

    async def _stop(self) -> None:
        running, self._runner = self._runner, None
        if running is not None:
            await running.stop()


def _error(call: ToolCall, text: str) -> ToolResult:
    return ToolResult(call_id=call.id, content=text, is_error=True)


def _whole_numbers(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Models write 5.0 where 5 is meant; Python's `range` does not take it."""
    whole = {name for name, part in schema["properties"].items() if part.get("type") == "integer"}
    return {
        name: int(value) if name in whole and isinstance(value, float) and value.is_integer() else value
        for name, value in given.items()
    }


def tool_environment() -> dict[str, str]:
    """Variables of a Python child that runs an operator's code: none of the operator's own."""
    base = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    # Its HOME is private, but packages installed for the user alone lie in the real one.
    return base | ({"PYTHONUSERBASE": site.getuserbase()} if site.ENABLE_USER_SITE else {})


def tool_reads(functions: Collection[CustomFunction], *, team_folder: Path | None = None) -> tuple[Path, ...]:
    """What that child has to see: this Python with its packages, our runner, and what is beside the files.

    In the team's own folder, where keys may lie in a `.env`, that is only Python files and packages.
    """
    # Packages in development lie anywhere; but where the server was started may be the whole project.
    hidden = {Path.cwd(), Path.home(), Path("/")}
    packages = [Path(entry) for entry in sys.path if entry and Path(entry) not in hidden]
    found = [*python_roots(), Path(sys.prefix), *packages, _RUNNER]
    team = team_folder.resolve() if team_folder is not None else None
    for folder in dict.fromkeys(function.file.parent for function in functions):
        found += _python_in(folder) if team is not None and team.is_relative_to(folder) else [folder]
    outside = [path for path in dict.fromkeys(found) if path.exists()]
    return tuple(
        path for path in outside if not any(path != top and path.is_relative_to(top) for top in outside)
    )


def _python_in(folder: Path) -> list[Path]:
    modules = [path for path in sorted(folder.glob("*.py")) if path.is_file() and not path.is_symlink()]
    packages = [path.parent for path in sorted(folder.glob("*/__init__.py")) if not path.parent.is_symlink()]
    return [*modules, *packages][:_MAX_BESIDE]
