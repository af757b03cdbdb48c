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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread

from massgen_mcp.backends.claude_code_access import TOKEN
from massgen_mcp.backends.claude_code_process import Process
from massgen_mcp.backends.cli_folder import OwnFolder, make_folder
from massgen_mcp.workspace import confinement
from massgen_mcp.workspace.bond import bonded
from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.python import python_roots
from massgen_mcp.workspace.sandbox import Sandbox, SandboxUnavailable, find_sandbox

__all__ = ["FindSandbox", "Place", "open_place"]

FindSandbox: TypeAlias = Callable[[Mapping[str, str]], Awaitable[Sandbox]]

_INHERITED = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
)
_FOLDERS = ("home", "home/.claude", "fixed", "tmp", "work")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
_NOT_FOR_COMMANDS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CODE_EXTRA_BODY",
    "CLAUDE_CODE_MESSAGING_SOCKET",
    "CLAUDE_CODE_MESSAGING_TOKEN",
    TOKEN,
)
_FREE = ProcessLimits(memory_bytes=None, file_bytes=None, processes=None, open_files=None)
"""The command line reserves far more address space than it uses; its shell commands are limited below."""
_SHELL_LIMITS = "ulimit -v 4194304; ulimit -f 2097152; ulimit -n 1024"
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
class Place:
    """One agent's own: nobody else writes here, and it is gone after `remove`."""

    folder: OwnFolder
    cwd: Path
    program: Path
    readable: tuple[Path, ...]
    """Folders that the agent may look at."""
    needed: tuple[Path, ...]
    """What the command line itself has to read."""
    environ: Mapping[str, str]
    sandbox: Sandbox | None
    """None where none works."""
    why: str
    """Why there is none, or no shell in it."""
    hidden: tuple[Path, ...]
    """What it must not see of them."""
    has_shell: bool
    """Whether the command line's own shell can be had: its commands are confined, and have no network."""

    @property
    def root(self) -> Path:
        """What all of its own lies in."""
        return self.folder.path

    @property
    def home(self) -> Path:
        """HOME of the command line."""
        return self.root / "home"

    @property
    def config(self) -> Path:
        """Its config folder, which holds its sessions."""
        return self.home / ".claude"

    @property
    def fixed(self) -> Path:
        """What it may read, but not write."""
        return self.root / "fixed"

    @property
    def launcher(self) -> Path:
        """The script that becomes it."""
        return self.root / "launch"

    @property
    def confined(self) -> bool:
        """Whether it may do as it likes: it is held, or the operator wants it free."""
        return self.sandbox is not None

    @property
    def held(self) -> bool:
        """Whether a sandbox holds it, which also ends it with us."""
        return self.sandbox is not None and self.sandbox.level != "off"

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
        return {**{name: self.environ[name] for name in _INHERITED if name in self.environ}, **own}

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

    def remove(self) -> None:
        """Delete the folder."""
        self.folder.remove()

    @property
    def _pid_file(self) -> Path:
        return self.root / "pid"

    def command(self, argv: Sequence[str], *, network: bool = True) -> Sequence[str]:
        """The command line that runs `argv` here, confined where that works."""
        if self.sandbox is None:
            return argv
        held = Confinement(
            cwd=self.cwd,
            write=(self.cwd, self.root / "tmp"),
            read=(self.fixed, *(path for path in (*self.needed, *self.readable) if path.exists())),
            hide=self.hidden,
            home=self.home,
            network=network,
            nested=True,
            limits=_FREE,
        )
        return self.sandbox.command(argv, held)


async def open_place(
    *,
    program: Path,
    workspace: Path | None,
    readable: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    environ: Mapping[str, str],
    find: FindSandbox = find_sandbox,
) -> Place:
    """A private folder, and the sandbox that works here, as `find` has it."""
    sandbox: Sandbox | None = None
    why = ""
    try:
        sandbox = await find(environ)
    except SandboxUnavailable as error:
        why = str(error)
    folder = await anyio.to_thread.run_sync(make_folder, "claude-code", _FOLDERS)
    try:
        place = Place(
            folder=folder,
            cwd=workspace or folder.path / "work",
            program=program,
            readable=tuple(readable),
            hidden=tuple(hidden),
            needed=(*_needed(program, environ), *_certificates(environ), *_launchers(sandbox)),
            environ=environ,
            sandbox=sandbox,
            why=why,
            has_shell=False,
        )
        return await anyio.to_thread.run_sync(_with_shell, place)
    except BaseException:
        folder.remove()
        raise


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


def _certificates(environ: Mapping[str, str]) -> tuple[Path, ...]:
    paths = (Path(environ[name]) for name in _CERTIFICATES if environ.get(name))
    return tuple(path for path in paths if path.is_absolute() and path.exists())


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o700)
