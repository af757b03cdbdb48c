"""The shell: one command of a model's, run in the sandbox with what its agent may see and write."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import anyio
import anyio.to_thread

from massgen_mcp.errors import MassgenError
from massgen_mcp.messages import ToolCall, ToolResult, ToolSpec
from massgen_mcp.text import visible
from massgen_mcp.tools.check import checked_arguments
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.python import python_roots
from massgen_mcp.workspace.quota import Quota
from massgen_mcp.workspace.run_command import (
    MOST_SECONDS,
    USUAL_SECONDS,
    Ended,
    Launcher,
    command_environment,
    run_command,
)

__all__ = ["EXECUTE_COMMAND", "Shell", "ShellLauncher", "ShellSettings"]

EXECUTE_COMMAND = "execute_command"
_PARTS = re.compile(r"[;&|\n()`]+")
"""Between the commands of a line, roughly."""
_SHELL = "bash" if shutil.which("bash", path="/usr/bin:/bin") else "sh"
_GO = 'cd -- "$1" && shift && exec "$@"'


class ShellLauncher(Launcher, Protocol):
    """A launcher that knows what it does not hold."""

    @property
    def why(self) -> str:
        """What it does not hold; empty for nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellSettings:
    """What the team file says about commands.

    Raises:
        ValueError: a pattern is no regular expression.
    """

    seconds: float = USUAL_SECONDS
    """The limit of a command that asks for none."""
    allowed: tuple[str, ...] | None = None
    """Regular expressions for how commands begin; None allows all. They protect nothing: the sandbox does."""
    blocked: tuple[str, ...] = ()
    network: bool = False
    """Whether the operator opened the network."""

    def __post_init__(self) -> None:
        for pattern in (*(self.allowed or ()), *self.blocked):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}.") from error

    def refusal(self, command: str) -> str:
        """Why the team file does not want this command; empty when it does."""
        parts = [part for part in map(str.strip, _PARTS.split(command)) if part]
        for pattern in self.blocked:
            if any(re.match(pattern, part) for part in parts):
                return f"This team does not run commands like {pattern!r}."
        if self.allowed is not None:
            for part in parts:
                if not any(re.match(pattern, part) for pattern in self.allowed):
                    return f"This team runs only commands like {', '.join(self.allowed)}, not {part!r}."
        return ""


class Shell:
    """The shell of one agent.

    Args:
        launcher: what confines the commands.
        place: what they may see and write now; asked before each command.
        settings: what the team file says.
        environ: variables that the operator gives to commands.
        quota: what the workspace may hold. While it holds more, commands can take away, but not write.
    """

    def __init__(
        self,
        launcher: ShellLauncher,
        place: Callable[[], Confinement],
        settings: ShellSettings | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        quota: Quota | None = None,
    ) -> None:
        self._launcher = launcher
        self._place = place
        self._settings = settings or ShellSettings()
        self._environ = command_environment(environ)
        self._quota = quota or Quota()
        self._excess = ""
        self._specs = (_spec(self._settings),)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The definition, constant for a run."""
        return self._specs

    @property
    def guidance(self) -> str:
        """How commands run, for the agent."""
        network = "with network access" if self._settings.network else "without network access"
        bare = self._launcher.level == "landlock" and not self._settings.network
        held = " There are no sockets at all, not even to itself." if bare else ""
        return (
            f"{EXECUTE_COMMAND} runs in your workspace, {network}. Its commands can write there and in"
            f" $TMPDIR, which each finds empty. Nothing keeps running after a command.{held}"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator is to know of the level in force."""
        if self._launcher.level == "off":
            return (f"{EXECUTE_COMMAND} runs without a sandbox: {self._launcher.why}.",)
        if self._launcher.level in {"landlock", "seatbelt"}:
            return (f"{EXECUTE_COMMAND} is confined by {self._launcher.level}: {self._launcher.why}.",)
        return ()

    def idempotent(self, name: str) -> bool:
        """Never: nobody knows what a command does."""
        del name
        return False

    def side_effects(self, name: str) -> bool:
        """Beyond the workspace only where the network is open."""
        del name
        return self._settings.network

    async def call(self, call: ToolCall) -> ToolResult:
        """Run one command. Failures are results with `is_error`; only cancellation raises."""
        try:
            arguments = checked_arguments(self._specs[0], call)
            seconds = float(arguments.get("timeout", self._settings.seconds))
            ended = await self._run(arguments["command"], arguments.get("work_dir", ""), seconds)
        except (ValueError, MassgenError) as error:
            return ToolResult(call_id=call.id, content=str(error), is_error=True)
        except OSError as error:
            return ToolResult(
                call_id=call.id, content=f"The command can't be started: {error}.", is_error=True
            )
        told = _told(ended, seconds)
        if self._excess:
            told += f"\n[The workspace holds {self._excess}. Until you delete some, commands can't write.]"
        return ToolResult(call_id=call.id, content=told, is_error=bool(ended.killed or self._excess))

    async def _run(self, command: str, folder: str, seconds: float) -> Ended:
        if refusal := self._settings.refusal(command):
            raise ValueError(refusal)
        if "\0" in command or "\0" in folder:
            raise ValueError("A command can't hold a NUL character.")
        place = self._place()
        in_container = self._launcher.level == "docker"
        read = place.read if in_container else (*place.read, *python_roots())
        confinement = replace(place, read=read, network=place.network or self._settings.network)
        if self._excess:
            await self._measure(place)
        if self._excess:
            confinement = replace(confinement, limits=replace(confinement.limits, file_bytes=0))
        argv: Sequence[str] = ("sh" if in_container else _SHELL, "-c", command)
        if folder:
            argv = ("/bin/sh", "-c", _GO, "massgen-command", folder, *argv)
        ended = await run_command(
            self._launcher, argv, confinement, environ=self._environ, seconds=min(seconds, MOST_SECONDS)
        )
        await self._measure(place)
        return ended

    async def _measure(self, place: Confinement) -> None:
        self._excess = await anyio.to_thread.run_sync(self._quota.excess, place.cwd)


def _spec(settings: ShellSettings) -> ToolSpec:
    properties: dict[str, Any] = {
        "command": {"type": "string", "description": "as typed into a shell"},
        "timeout": {
            "type": "integer",
            "description": f"seconds until it is ended; {settings.seconds:g} unless given",
            "minimum": 1,
            "maximum": int(MOST_SECONDS),
        },
        "work_dir": {"type": "string", "description": "a folder to run it in; the workspace unless given"},
    }
    wishes = [f"Only commands like {', '.join(settings.allowed)}."] if settings.allowed else []
    wishes += [f"No commands like {', '.join(settings.blocked)}."] if settings.blocked else []
    description = "Run a shell command in your workspace: its output, both streams, and its exit code."
    return ToolSpec(
        name=EXECUTE_COMMAND,
        description=" ".join([description, *wishes]),
        parameters={
            "type": "object",
            "properties": properties,
            "required": ["command"],
            "additionalProperties": False,
        },
    )


def _told(ended: Ended, seconds: float) -> str:
    match ended.killed:
        case "time":
            head = (
                f"Ended after {seconds:g} s: its time was up. `timeout` gives more, {MOST_SECONDS:g} at most."
            )
        case "output":
            head = f"Ended after {ended.output_bytes} bytes of output: that was too much."
        case "":
            head = f"Exit code {ended.exit_code}, {ended.seconds:.1f} s."
    output = visible(ended.output).strip("\n")
    return f"{head}\n\n{output}" if output else f"{head} No output."
