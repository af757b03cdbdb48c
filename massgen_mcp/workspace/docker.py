"""Docker as a launcher: each command in a container of its own, where the operator asked for that."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import anyio

from massgen_mcp.workspace.confinement import Confinement, ProcessLimits
from massgen_mcp.workspace.mounts import mounts
from massgen_mcp.workspace.sandbox import SandboxUnavailable

__all__ = ["DOCKER_IMAGE", "Docker", "find_docker"]

DOCKER_IMAGE = "python:3.12-slim"
_SECONDS = 20.0
_TMP_BYTES = 1024**3
_WORDS = 300
_HOME = "/tmp/home"  # noqa: S108 - inside the container
_INHERITED = (
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "HOME",
    "PATH",
    "XDG_RUNTIME_DIR",
)
"""What the docker command itself needs to find its daemon; none of it reaches a container."""

_BONDED = """exec 3<&0
( cat <&3; kill -9 -1 ) >/dev/null 2>&1 &
exec 3<&-
mkdir -p "$HOME"
exec "$@" </dev/null"""
"""The daemon, not we, is the parent of a container. So its input is the bond: when that ends, so does it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """How containers are started here."""

    program: str
    environ: Mapping[str, str]
    image: str = DOCKER_IMAGE
    memory: str = ""
    """As docker takes it; empty for the limit of the confinement."""
    cpus: float | None = None
    network: Literal["none", "bridge", "host"] = "none"
    variables: tuple[str, ...] = ()
    """Names of the variables that a container gets from its launcher."""
    level: Literal["docker"] = "docker"
    why: str = ""

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        """The command line that runs `argv` in a container. It has to be started with a pipe as its input."""
        own = (f"{name}={self.environ[name]}" for name in _INHERITED if name in self.environ)
        return (
            "/usr/bin/env",
            *own,
            self.program,
            *("run", "--rm", "--interactive", "--init", "--read-only"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--network", self.network),
            *("--user", f"{os.getuid()}:{os.getgid()}"),
            *("--tmpfs", f"/tmp:rw,exec,size={_TMP_BYTES},mode=1777"),  # noqa: S108 - inside the container
            *_limits(confinement.limits, self.memory, self.cpus),
            *_mounts(confinement),
            *_hidden(confinement),
            *("--workdir", str(confinement.cwd)),
            *("--env", f"HOME={confinement.home or _HOME}", "--env", "LANG=C.UTF-8"),
            *(word for name in self.variables for word in ("--env", name)),
            *("--entrypoint", "/bin/sh", self.image, "-c", _BONDED, "massgen-command"),
            *argv,
        )


async def find_docker(docker: Docker) -> Docker:
    """The same, once its daemon and its image are known to be there.

    Raises:
        SandboxUnavailable: they are not; the text says what is missing.
    """
    program = shutil.which(docker.program, path=docker.environ.get("PATH", os.defpath))
    if program is None:
        raise _unavailable("docker is not installed", "Install it, or use execution mode local.")
    words = await _asked(docker, program, "version", "--format", "{{.Server.Version}}")
    if words:
        raise _unavailable(
            f"docker does not answer ({words})", "Start its daemon, or use execution mode local."
        )
    if await _asked(docker, program, "image", "inspect", "--format", "{{.Id}}", docker.image):
        raise _unavailable(f"the image {docker.image} is not here", f"Fetch it: docker pull {docker.image}")
    return docker


def _unavailable(reason: str, remedy: str) -> SandboxUnavailable:
    return SandboxUnavailable(f"command tool unavailable: {reason}. {remedy}")


async def _asked(docker: Docker, program: str, *arguments: str) -> str:
    """Why docker says no; empty when it says yes."""
    environ = {name: docker.environ[name] for name in _INHERITED if name in docker.environ}
    try:
        with anyio.fail_after(_SECONDS):
            ended = await anyio.run_process(
                (program, *arguments), env=environ, stdin=subprocess.DEVNULL, check=False
            )
    except (OSError, TimeoutError) as error:
        return str(error) or f"nothing within {_SECONDS:g} s"
    if ended.returncode == 0:
        return ""
    return " ".join(ended.stderr.decode(errors="replace").split())[-_WORDS:] or "no reason given"


def _limits(limits: ProcessLimits, memory: str, cpus: float | None) -> Iterator[str]:
    if memory or limits.memory_bytes is not None:
        yield from ("--memory", memory or str(limits.memory_bytes))
    if cpus is not None:
        yield from ("--cpus", f"{cpus:g}")
    if limits.processes is not None:
        yield from ("--pids-limit", str(limits.processes))
    for name, value in (
        ("cpu", limits.cpu_seconds),
        ("fsize", limits.file_bytes),
        ("nofile", limits.open_files),
    ):
        if value is not None:
            yield from ("--ulimit", f"{name}={value}:{value}")


def _mounts(confinement: Confinement) -> Iterator[str]:
    for mount in mounts(confinement):
        place = _field(str(mount.path), "src"), _field(str(mount.path), "dst")
        options = ("type=bind", *place, *(() if mount.writable else ("readonly",)))
        yield from ("--mount", ",".join(options))


def _hidden(confinement: Confinement) -> Iterator[str]:
    for path in (*confinement.hide, *confinement.absent):
        place = _field(str(path), "dst")
        if path.is_dir() or path in confinement.absent:
            yield from ("--mount", f"type=tmpfs,{place},tmpfs-size=4096,tmpfs-mode=0555")
        elif path.exists():
            yield from ("--mount", f"type=bind,src=/dev/null,{place},readonly")


def _field(path: str, name: str) -> str:
    """One field of docker's comma-separated option."""
    field = f"{name}={path}"
    return '"{}"'.format(field.replace('"', '""')) if set(field) & set(',"') else field
