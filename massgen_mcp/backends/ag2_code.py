"""Where an AG2 agent's code runs: in our own sandbox, or in AG2's container and cloud environments."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, Process

from massgen_mcp.backends.ag2 import CodeExecution
from massgen_mcp.backends.agent_place import FindSandbox
from massgen_mcp.backends.cli_folder import OwnFolder, make_folder
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.sdk import load
from massgen_mcp.errors import BackendError, MassgenError
from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.sandbox import Sandbox, find_sandbox

__all__ = ["CodeTool", "Shelter", "open_code_tool"]

_SECONDS = 60.0
_KEPT = 64 * 1024
"""Bytes of output kept of the beginning, and as many of the end."""
_MOST = 64 * 1024 * 1024
"""Bytes of output after which a program is ended."""
_PATH = "/usr/local/bin:/usr/bin:/bin"
_TIMED_OUT, _CAN_T_RUN, _ENDED = 124, 126, 137
_ENDS = 3.0
"""Seconds that a program has to be ended in."""
_LANGUAGES = (("python", ("python3", "-c")), ("bash", ("bash", "-c")))
_EXTENSIONS = {
    "docker": ("ag2.extensions.docker", "DockerEnvironment", "ag2[docker]"),
    "cloud": ("ag2.extensions.daytona", "DaytonaEnvironment", "ag2[daytona]"),
}
_DAYTONA_KEY = "DAYTONA_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTool:
    """AG2's tool that runs code, and how to end what it needs."""

    tool: Any
    aclose: Callable[[], Awaitable[None]]


async def open_code_tool(
    config: CodeExecution, context: BackendContext, *, find: FindSandbox = find_sandbox
) -> CodeTool:
    """The tool that a `code_execution_config` means, with the sandbox that `find` finds.

    Raises:
        BackendError: nothing can run code that way here; the text says why and what to install.
    """
    code = await load("ag2.tools.code", extra="ag2")
    if config.executor == "local":
        return await _local(config, context, code.SandboxCodeTool, find)
    environment = await _extension(config, context)
    return CodeTool(tool=code.SandboxCodeTool(environment), aclose=environment.aclose)


async def _extension(config: CodeExecution, context: BackendContext) -> Any:
    module, name, package = _EXTENSIONS[config.executor]
    if config.work_dir is not None:
        raise _refused(f"executor: {config.executor} has no work_dir here", "Remove work_dir.")
    given: dict[str, Any] = {"timeout": int(config.timeout or _SECONDS)}
    if config.image is not None:
        given["image"] = config.image
    if config.executor == "cloud":
        given["api_key"] = _daytona_key(context)
    make = getattr(await load(module, extra="ag2"), name)
    try:
        return make(**given)
    except ImportError as error:
        # AG2 puts something in the place of a class that lacks its package, which says so when called.
        what = f"AG2's extension for executor: {config.executor} is not installed"
        raise _unavailable(what, f"Install it: pip install '{package}', or use executor: local.") from error


def _daytona_key(context: BackendContext) -> str:
    key = context.environ.get(_DAYTONA_KEY, "")
    if not key:
        raise BackendError(
            f"executor: cloud needs a key of Daytona. Set {_DAYTONA_KEY}.",
            kind="auth",
            remedy=f"Set {_DAYTONA_KEY}.",
            connected=False,
        )
    context.secrets.add(key, _DAYTONA_KEY)
    return key


async def _local(
    config: CodeExecution, context: BackendContext, make: Callable[..., Any], find: FindSandbox
) -> CodeTool:
    adapters = await load("ag2.tools.sandbox", extra="ag2")
    runners = {name: argv for name, argv in _LANGUAGES if shutil.which(argv[0], path=_PATH)}
    if not runners:
        raise _unavailable(f"There is neither python3 nor bash in {_PATH}", "Install one of them.")
    try:
        sandbox = await find(context.environ, mode=context.sandbox)
    except MassgenError as error:
        what = f"An AG2 agent's code can't run here: {error}"
        raise _unavailable(what, "Remove code_execution_config, or make a sandbox work.") from error
    folder, made = await anyio.to_thread.run_sync(_folder, context.workspace, config.work_dir)
    shelter = Shelter(
        sandbox, folder, seconds=config.timeout or _SECONDS, readable=context.readable, hidden=context.hidden
    )
    adapter = adapters.CodeAdapter(
        shelter,
        languages=tuple(runners),
        runners={name: adapters.LanguageRunner(inline_argv=argv) for name, argv in runners.items()},
    )

    async def close() -> None:
        if made is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(made.remove)

    return CodeTool(tool=make(adapter), aclose=close)


def _folder(workspace: Path | None, name: str | None) -> tuple[Path, OwnFolder | None]:
    """The folder to work in, and what is to be removed afterwards."""
    inside = PurePosixPath(name or "")
    if inside.is_absolute() or ".." in inside.parts:
        raise _refused(f"work_dir {name!r} leaves the agent's folder", "Give a relative path.")
    made = make_folder("ag2", ("work",)) if workspace is None else None
    folder = (made.path / "work" if made is not None else workspace or Path()) / inside
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve(), made


def _unavailable(what: str, remedy: str) -> BackendError:
    return BackendError(f"{what}. {remedy}", kind="unavailable", remedy=remedy, connected=False)


def _refused(what: str, remedy: str) -> BackendError:
    return BackendError(f"{what}. {remedy}", kind="bad_request", remedy=remedy, connected=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a program ended, as AG2 takes it: `124` is out of time."""

    output: str
    exit_code: int


class Shelter:
    """Our sandbox in the shape of AG2's: both its factory and the one sandbox that it makes.

    A program sees its folder, what its agent may read and the system's; no network, no home, no other
    process.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        folder: Path,
        *,
        seconds: float,
        readable: Sequence[Path] = (),
        hidden: Sequence[Path] = (),
    ) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._seconds = seconds
        limits = ProcessLimits(cpu_seconds=max(1, round(seconds)))
        self._confinement = Confinement(cwd=folder, write=(folder,), hide=tuple(hidden), limits=limits)
        self._readable = tuple(readable)

    @property
    def workdir(self) -> PurePosixPath:
        """The folder, as programs see it."""
        return PurePosixPath(self._folder)

    @property
    def host_workdir(self) -> Path | None:
        """The same folder."""
        return self._folder

    @asynccontextmanager
    async def open(self, context: object = None) -> AsyncGenerator[Shelter]:
        """The sandbox for one call."""
        del context
        yield self

    async def exec(
        self,
        argv: list[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - AG2's own name for it
    ) -> Outcome:
        """Run a program to its end, or to the limit of its time or output."""
        del env
        # What others have handed in comes into being as the run goes on.
        read = tuple(path for path in self._readable if path.exists())
        command = self._sandbox.command(argv, replace(self._confinement, read=read))
        environ = {"PATH": _PATH, "LANG": "C.UTF-8"}
        try:
            process = await anyio.open_process(
                command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=environ, start_new_session=True
            )
        except (OSError, ValueError) as error:
            return Outcome(output=f"It can't be started: {error}", exit_code=_CAN_T_RUN)
        seconds = min(timeout or self._seconds, self._seconds)
        async with _ended_at_last(process):
            output, whole, code = _Output(), True, _ENDED
            with anyio.move_on_after(seconds) as limit:
                whole = process.stdout is None or await output.read(process.stdout)
                if whole:
                    code = await process.wait()
            if limit.cancelled_caught:
                return Outcome(output=output.text(f"ended after {seconds:g} s"), exit_code=_TIMED_OUT)
            return Outcome(output=output.text("" if whole else "ended: too much output"), exit_code=code)


@asynccontextmanager
async def _ended_at_last(process: Process) -> AsyncGenerator[None]:
    """Whatever happens inside, the process is gone afterwards."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                # What holds it ends all of it when asked to, and only then where no sandbox works.
                process.terminate()
                with anyio.move_on_after(_ENDS):
                    await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()


class _Output:
    """What a program writes: the beginning, the end, and how much was between."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._bytes = 0

    async def read(self, stream: ByteReceiveStream) -> bool:
        """Read to the end; False when it is too much."""
        async for data in stream:
            self._bytes += len(data)
            room = _KEPT - len(self._head)
            self._head += data[:room]
            self._tail = (self._tail + data[max(0, room) :])[-_KEPT:]
            if self._bytes > _MOST:
                return False
        return True

    def text(self, ending: str) -> str:
        left_out = self._bytes - len(self._head) - len(self._tail)
        cut = f"\n[{left_out} bytes left out]\n".encode() if left_out else b""
        text = (bytes(self._head) + cut + bytes(self._tail)).decode(errors="replace").strip()
        return f"{text}\n[{ending}]".strip() if ending else text
