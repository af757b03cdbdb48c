"""Where Claude Code runs: its private folder, its environment made from nothing, its sandbox.

The SDK starts a program by its path and hands it all of our environment. So it is given a script that drops
every variable not meant for it and becomes the command line inside the sandbox.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio.to_thread

from massgen_mcp.backends.agent_place import AgentPlace, FindSandbox
from massgen_mcp.backends.claude_code_access import TOKEN
from massgen_mcp.backends.claude_code_process import Process
from massgen_mcp.backends.context import BackendContext
from massgen_mcp.workspace import confinement
from massgen_mcp.workspace.bond import bonded
from massgen_mcp.workspace.python import python_roots
from massgen_mcp.workspace.sandbox import Sandbox

__all__ = ["Place", "open_place"]

_FOLDERS = ("home", "home/.claude", "fixed", "tmp")
_NOT_FOR_COMMANDS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CODE_EXTRA_BODY",
    "CLAUDE_CODE_MESSAGING_SOCKET",
    "CLAUDE_CODE_MESSAGING_TOKEN",
    TOKEN,
)
_SHELL_LIMITS = "ulimit -v 4194304; ulimit -f 2097152; ulimit -n 1024"
"""The command line itself has none: it reserves far more address space than it uses."""
_PROBE_SECONDS = 20.0
_LAST_WORDS = 300
_ENTER = 'cd "$1" && exec "$0" -c "$2"'

_LAUNCH = """#!/bin/sh
# Becomes Claude Code, with the variables meant for it and in its sandbox.
printf %s "$$" > {pid}
exec env {unset}{command} "$@"
"""
_SHELL = """#!/bin/sh
# Runs one command of Claude Code's shell: without network and without the key.
{limits}
exec {command}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(AgentPlace):
    """Where an agent's Claude Code runs for as long as the agent does."""

    program: Path
    needed: tuple[Path, ...] = ()
    """What the command line itself has to read."""
    has_shell: bool = False
    """Whether the command line's own shell can be had: its commands are confined, and have no network."""

    @property
    def config(self) -> Path:
        """Its config folder, which holds its sessions."""
        return self.home / ".claude"

    @property
    def launcher(self) -> Path:
        """The script that becomes it."""
        return self.root / "launch"

    @property
    def confined(self) -> bool:
        """Whether it may do as it likes: it is held, or the operator wants it free."""
        return self.sandbox is not None

    def variables(self) -> dict[str, str]:
        """The variables that say where it is; everything else is the caller's."""
        own = {
            "HOME": str(self.home),
            "CLAUDE_CONFIG_DIR": str(self.config),
            "TMPDIR": str(self.root / "tmp"),
        }
        if self.confined:
            own["IS_SANDBOX"] = "1"
        if self.has_shell and self.held:
            own["CLAUDE_CODE_SHELL_PREFIX"] = str(self.fixed / "shell")
        path = {"PATH": self.environ["PATH"]} if "PATH" in self.environ else {}
        return {**path, **self.inherited(), **own}

    def write_launcher(self, kept: Iterable[str]) -> None:
        """Make the script anew. It drops every variable of this process but those."""
        others = sorted(set(os.environ) - set(kept))
        unset = "".join(f"-u {shlex.quote(name)} " for name in others if name and "=" not in name)
        argv = self.command([str(self.program)])
        command = shlex.join(bonded(argv) if self.sandbox is None else argv)
        script = _LAUNCH.format(pid=shlex.quote(str(self._pid_file)), unset=unset, command=command)
        _write_script(self.launcher, script)

    def started(self) -> Process | None:
        """The process that the script became; None when it never ran."""
        try:
            pid = int(self._pid_file.read_text())
            self._pid_file.unlink()
        except (OSError, ValueError):
            return None
        return Process(pid)

    @property
    def _pid_file(self) -> Path:
        return self.root / "pid"

    def command(self, argv: Sequence[str], *, network: bool = True) -> Sequence[str]:
        """The command line that runs `argv` here, confined where that works."""
        if self.sandbox is None:
            return argv
        write = (self.workspace, self.root / "tmp")
        return self.confine(
            argv, self.sandbox, cwd=self.workspace, write=write, needs=self.needed, network=network
        )


async def open_place(context: BackendContext, program: Path, *, find: FindSandbox) -> Place:
    """A place for one agent, with the sandbox that works here, as `find` has it."""
    place = await Place.open(context, _FOLDERS, find=find, program=program)
    async with place.opening():
        return await anyio.to_thread.run_sync(_furnished, place)


def _furnished(place: Place) -> Place:
    """The same place, with what the program needs to see and a shell where one can be had."""
    needed = (*_needed(place.program, place.environ), *_launchers(place.sandbox))
    return _with_shell(replace(place, needed=needed))


def _with_shell(place: Place) -> Place:
    """The same place, with the shell where a command of it really runs, and without network."""
    sandbox = place.sandbox
    if sandbox is None:
        return place
    if sandbox.level == "off":
        return replace(place, has_shell=True)
    script = place.fixed / "shell"
    _write_script(script, _SHELL.format(limits=_SHELL_LIMITS, command=_shell_command(place, sandbox)))
    why = _leak(place, script)
    return replace(place, why=f"{sandbox.level}: {why}") if why else replace(place, has_shell=True)


def _leak(place: Place, script: Path) -> str:
    """Why a command can't be run by that script, or may not be: it reached us. Empty where all is well."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reach = f"! (exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]}) 2>/dev/null"
        try:
            tried = subprocess.run(  # noqa: S603 - our own script in our own sandbox
                place.command([str(script), reach]),
                env={"PATH": place.environ.get("PATH", os.defpath)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    if tried.returncode == 0:
        return ""
    said = " ".join(tried.stderr.decode(errors="replace").split())[-_LAST_WORDS:]
    return said or "a command in it still has network"


def _shell_command(place: Place, sandbox: Sandbox) -> str:
    """What runs the command in `$1`, in the folder that the shell is in."""
    path = place.environ.get("PATH", os.defpath)
    unset = [word for name in _NOT_FOR_COMMANDS for word in ("-u", name)]
    bash = shutil.which("bash", path=path) or "/bin/bash"
    if sandbox.level != "bwrap":
        inner = place.command(["/bin/sh", "-c", _ENTER, bash], network=False)
        return f'{shlex.join(["env", *unset, *inner])} "$PWD" "$1"'
    bubblewrap = [
        shutil.which("bwrap", path=path) or "bwrap",
        *("--dev-bind", "/", "/", "--unshare-user", "--unshare-net", "--unshare-pid", "--proc", "/proc"),
        *("--ro-bind", str(place.config), str(place.config), "--die-with-parent", "--"),
    ]
    return f'{shlex.join(["env", *unset, *bubblewrap, bash, "-c"])} "$1"'


def _needed(program: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The program's own folder, and where it is a script, that of what runs it."""
    with program.open("rb") as file:
        script = file.read(2) == b"#!"
    if not script:
        return (program,)
    node = shutil.which("node", path=environ.get("PATH", os.defpath))
    # A package of npm: its files lie around the one that is run.
    return (program.parent, *((Path(node).resolve().parent.parent,) if node else ()))


def _launchers(sandbox: Sandbox | None) -> tuple[Path, ...]:
    """What confines the shell from inside: Landlock's guard is a file of ours, run by our Python."""
    if sandbox is None or sandbox.level != "landlock":
        return ()
    return (*python_roots(), Path(confinement.__file__).parent)


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o700)
